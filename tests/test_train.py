"""The commands `distill.train` and `distill.finetune`: recipes on the command line."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from augment.base.command import UsageError
from distill.finetune import FinetuneConfig, finetune
from distill.recipes import find_recipe, recipe_names
from distill.train import TrainConfig, defaults, named_recipe, resolve
from distill.training.job import Job
from tests import tiny_distil

ROOT = Path(__file__).parents[1]


def command(module, *arguments):
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )


def config(name="tinybert-6l-768d-squad2", **fields):
    return TrainConfig(**{**defaults(find_recipe(name)), "output": Path("out"), **fields})


def test_recipe_is_found_on_the_command_line():
    assert named_recipe(["--data", "x", "--recipe", "tinyroberta-squad2"]) == "tinyroberta-squad2"
    assert named_recipe(["--recipe=minilm-3l-384d-squad2"]) == "minilm-3l-384d-squad2"
    assert named_recipe(["--data", "x"]) is None
    assert named_recipe(["--recipe"]) is None


@pytest.mark.parametrize("name", recipe_names())
def test_untouched_a_recipe_stays_what_it_is(name):
    assert resolve(config(name)) == find_recipe(name)


def test_teacher_replaces_every_stages():
    recipe = resolve(config(teacher="mine"))
    assert [stage.teacher for stage in recipe.stages] == ["mine", "mine"]


def test_stages_can_be_left_out():
    recipe = resolve(config(only_stages=(1,)))
    assert [stage.kind for stage in recipe.stages] == ["prediction"]
    with pytest.raises(UsageError, match="there are 0 to 1"):
        config(only_stages=(2,))


def test_fidelity_is_haystacks():
    recipe = resolve(config(fidelity="haystack"))
    assert {stage.attention_target for stage in recipe.stages} == {"probabilities"}
    assert all(stage.count_padding for stage in recipe.stages)


def test_a_field_of_a_stage_can_be_set(tmp_path):
    teacher = tiny_distil.bert(tmp_path / "teacher")
    data = tiny_distil.rows(tmp_path / "train.json")
    done = command(
        *("distill.train", "--recipe", "distbert-squad2-768d", "--data", data),
        *("--output", tmp_path / "out", "--teacher", teacher, "--student", "teacher:2,4"),
        *("--max-seq-length", 32, "--doc-stride", 8, "--max-query-length", 8, "--max-steps", 2),
        *("--stages.0.batch-size", 4, "--stages.1.batch-size", 2, "--stages.1.hard-weight", 0.5),
        *("--device", "cpu", "--dtype", "float32"),
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "out" / "training.json").read_text())
    stages = [stage["stage"] for stage in record["stages"]]
    assert [stage["batch_size"] for stage in stages] == [4, 2]
    assert stages[1]["hard_weight"] == 0.5
    assert record["plan"]["recipe"]["name"] == "tinybert-6l-768d-squad2"
    assert "no copies in it" in done.stderr
    assert done.stdout.count("examples") == 2


def test_help_and_mistakes_are_fast_and_clear():
    shown = command("distill.train", "--recipe", "tinyroberta-squad2", "--help")
    assert "--stages.2.temperature" in shown.stdout
    assert "1.5" in shown.stdout
    unknown = command("distill.train", "--recipe", "tinybert", "--data", "x", "--output", "y")
    assert unknown.returncode == 2
    assert "tinybert-6l-768d-squad2" in unknown.stderr
    missing = command("distill.train", "--recipe", "tinyroberta-squad2", "--output", "y")
    assert missing.returncode == 2
    assert "--text" in missing.stderr
    for module in ("distill.train", "distill.finetune", "distill.bench", "distill.recipes"):
        code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=120)
        assert done.returncode == 0, module


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_steps": 0},
        {"save_steps": 0},
        {"dev_steps": 5},
        {"dev_limit": -1},
        {"accumulation": 0},
        {"accumulation": 27},  # of 26 rows
        {"output": Path()},
    ],
    ids=str,
)
def test_wrong_usage(wrong):
    with pytest.raises(UsageError):
        Job(**{"recipe": resolve(config()), "output": Path("out"), "data": "x", **wrong})


def test_a_cpu_has_no_float16(tmp_path):
    with pytest.raises(UsageError, match="bfloat16 or float32"):
        _ = replace(tiny_distil.job(resolve(config()), tmp_path, "x"), dtype="float16").place


def test_finetune_makes_a_reader(tmp_path):
    data = tiny_distil.rows(tmp_path / "train.json")
    model = tiny_distil.bert(tmp_path / "model", dropout=0.0)
    small = {"max_seq_length": 32, "doc_stride": 8, "max_query_length": 8, "batch_size": 4}
    run = FinetuneConfig(
        train=data,
        output=tmp_path / "out",
        model=model,
        dev=data,
        device="cpu",
        dtype="float32",
        learning_rate=1e-3,
        epochs=20,
        logging_steps=10,
        **small,
    )
    record = finetune(run)
    assert record["stages"][0]["last_losses"]["hard_loss"] < 1.0  # at first log(24), about 3
    assert record["scores"]["total"] == 6
    layers = replace(
        run, output=tmp_path / "two", model="teacher:1,4", layers_of=str(tmp_path / "out"), epochs=1
    )
    assert finetune(layers)["parameters"] < record["parameters"]
    with pytest.raises(UsageError, match="go together"):
        replace(layers, layers_of=None)
