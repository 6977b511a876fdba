"""Whole recipes on small models: every stage, every kind of model, kills, processes, errors."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForQuestionAnswering,
    BertModel,
    PreTrainedModel,
    RobertaForMaskedLM,
)

from augment.base import commit
from augment.base.checkpoints import load_config
from augment.base.command import UsageError
from augment.base.models import model_sha256
from augment.base.records import differences
from augment.build import BuildConfig, build
from distill.recipes import find_recipe, haystack_fidelity
from distill.training.job import plan_of
from distill.training.stages import distil
from eval.predict import Protocol, Reader
from tests import tiny_distil
from tests.tiny_distil import job, rows, shrink, two_stages

ROOT = Path(__file__).parents[1]


@pytest.fixture
def data(tmp_path):
    return rows(tmp_path / "train.json")


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("the cat sat on the mat\na dog in the river\n" * 4)
    return path


def weights(folder):
    return load_file(folder / "model.safetensors")


def same(one, other):
    first, second = weights(one), weights(other)
    return all(torch.equal(first[name], second[name]) for name in first.keys() | second.keys())


def test_tinybert(tmp_path, data):
    teacher = tiny_distil.bert(tmp_path / "teacher")
    student = tiny_distil.bert(tmp_path / "general", layers=2, seed=3, head=BertModel)
    build(
        BuildConfig(
            train=data,
            out=tmp_path / "set",
            mlm="embedded",
            glove="none",
            copies_per_example=2,
            num_workers=1,
        )
    )
    recipe = shrink(find_recipe("tinybert-6l-768d-squad2"), student, [teacher, teacher])
    out = tmp_path / "out"
    record = distil(job(recipe, out, str(tmp_path / "set"), dev=data, dev_steps=2))
    intermediate, prediction = record["stages"]
    assert intermediate["windows"]["rows"] == 3 * prediction["windows"]["rows"]
    assert set(intermediate["last_losses"]) >= {"loss", "hidden_loss", "attention_loss"}
    assert set(prediction["last_losses"]) >= {"loss", "kd_loss"}
    assert prediction["teacher_windows_computed"] == len_windows(prediction)
    assert record["scores"]["total"] == 6
    assert sorted(path.name for path in (out / "stages").iterdir()) == [
        "1-intermediate",
        "2-prediction",
    ]
    assert same(out, out / "stages" / "2-prediction")
    head = "qa_outputs.weight"  # rests in the intermediate stage
    assert not torch.equal(weights(out)[head], weights(out / "stages/1-intermediate")[head])
    reader = Reader.load(str(out), protocol=Protocol(max_seq_length=32, doc_stride=8))
    assert reader.model.config.num_hidden_layers == 2
    assert reader.answer("who sat ?", "The cat sat on the mat .").text is not None
    assert (out / "README.md").is_file()
    assert not list(tmp_path.glob("out.*"))
    shown = json.dumps(json.loads((out / "training.json").read_text()))
    assert str(tmp_path) not in shown


def len_windows(record):
    return record["windows"]["windows"]


def test_tinyroberta_with_its_general_stage(tmp_path, data, text):
    general = tiny_distil.roberta(tmp_path / "base", head=RobertaForMaskedLM)
    squad = tiny_distil.roberta(tmp_path / "squad", seed=4)
    large = tiny_distil.roberta(tmp_path / "large", seed=5, layers=6, width=64)
    student = tiny_distil.roberta(tmp_path / "student", layers=2, head=RobertaForMaskedLM)
    recipe = shrink(find_recipe("tinyroberta-squad2"), student, [general, squad, large])
    record = distil(job(recipe, tmp_path / "out", data, text=(text,), max_steps=3))
    assert [stage["stage"]["kind"] for stage in record["stages"]] == [
        "intermediate",
        "intermediate",
        "prediction",
    ]
    assert set(record["stages"][2]["last_losses"]) >= {"kd_loss", "hard_loss"}
    AutoModelForQuestionAnswering.from_pretrained(tmp_path / "out")


def test_distilbert_on_squad_1(tmp_path):
    data = rows(tmp_path / "train.json", impossible=False)
    teacher = tiny_distil.bert(tmp_path / "teacher")
    student = tiny_distil.distilbert(tmp_path / "student")
    recipe = shrink(find_recipe("distilbert-squad1"), student, [teacher])
    record = distil(job(recipe, tmp_path / "out", data, dev=data))
    assert set(record["scores"]) == {"exact_match", "f1", "total", "signature"}
    model = AutoModelForQuestionAnswering.from_pretrained(tmp_path / "out")
    assert model.config.model_type == "distilbert"


def test_minilm(tmp_path, data):
    teacher = tiny_distil.bert(tmp_path / "teacher", layers=6)
    recipe = shrink(find_recipe("minilm-3l-384d-squad2"), "teacher:2,4,6", [teacher, teacher])
    record = distil(job(recipe, tmp_path / "out", data))
    assert (
        AutoModelForQuestionAnswering.from_pretrained(tmp_path / "out").config.num_hidden_layers
        == 3
    )
    assert record["parameters"] == sum(v.numel() for v in weights(tmp_path / "out").values())


def test_haystack_fidelity(tmp_path, data):
    teacher = tiny_distil.bert(tmp_path / "teacher")
    recipe = haystack_fidelity(two_stages(teacher))
    assert recipe.stages[0].attention_target == "probabilities"
    record = distil(job(recipe, tmp_path / "out", data, max_steps=2))
    assert record["stages"][0]["last_losses"]["attention_loss"] < 0.1  # of probabilities


def test_projections_are_trained(tmp_path, data, monkeypatch):
    """Haystack's were not in the optimizer: a random matrix that never moved."""
    seen = []
    from distill.training import stages

    train_stage = stages.train_stage

    def spy(distiller, *args, **kwargs):
        before = {k: v.clone() for k, v in distiller.state_dict().items()}
        result = train_stage(distiller, *args, **kwargs)
        seen.append((before, distiller.state_dict()))
        return result

    monkeypatch.setattr(stages, "train_stage", spy)
    teacher = tiny_distil.bert(tmp_path / "teacher", width=64)
    student = tiny_distil.bert(tmp_path / "student", layers=2)
    recipe = two_stages(teacher, student)
    distil(job(recipe, tmp_path / "out", data, max_steps=2))
    before, after = seen[0]
    projections = [name for name in before if name.startswith("projections")]
    assert len(projections) == 3  # the embeddings and two layers
    assert not any(torch.equal(before[name], after[name]) for name in projections)
    assert not any("projections" in name for name in weights(tmp_path / "out"))


def test_the_same_run_gives_the_same_weights(tmp_path, data):
    teacher = tiny_distil.bert(tmp_path / "teacher")
    for name in ("one", "two"):
        distil(job(two_stages(teacher), tmp_path / name, data))
    assert same(tmp_path / "one", tmp_path / "two")


@pytest.mark.parametrize("kind", ["intermediate", "prediction"])
def test_accumulation_equals_the_large_batch(tmp_path, data, kind):
    teacher = tiny_distil.bert(tmp_path / "teacher", dropout=0.0)
    # Adam takes the same steps from gradients that are four times as large, unless its epsilon is
    # larger than they are; and clipping would do the same.
    recipe = two_stages(teacher, adam_epsilon=10.0, learning_rate=0.1, max_grad_norm=1e9)
    stage = next(stage for stage in recipe.stages if stage.kind == kind)
    recipe = replace(recipe, stages=(stage,))
    losses = []
    for name, accumulation in (("whole", 1), ("split", 4)):
        record = distil(job(recipe, tmp_path / name, data, accumulation=accumulation))
        losses.append(record["stages"][0]["last_losses"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    whole, split = weights(tmp_path / "whole"), weights(tmp_path / "split")
    for name in whole:
        assert torch.allclose(whole[name], split[name], atol=1e-5), name


def test_teachers_of_one_name_are_two(tmp_path, data):
    teachers = [
        tiny_distil.bert(tmp_path / place / "best", seed=seed) for place, seed in ("a1", "b2")
    ]
    recipe = two_stages(teachers[0])
    plan = plan_of(job(recipe, tmp_path / "out", data), [])
    stages = (recipe.stages[0], replace(recipe.stages[1], teacher=teachers[1]))
    other = plan_of(job(replace(recipe, stages=stages), tmp_path / "out", data), [])
    assert plan["recipe"] == other["recipe"]
    (difference,) = differences(plan, other)
    assert difference.startswith("models.stages.1.teacher: ")


def test_a_changed_field_of_a_stage_is_named(tmp_path, data):
    teacher = tiny_distil.bert(tmp_path / "teacher")
    plans = [
        plan_of(job(two_stages(teacher, epochs=epochs), tmp_path / "out", data), [])
        for epochs in (2, 3)
    ]
    assert differences(*plans) == [
        "recipe.stages.0.epochs: 2 there, 3 here",
        "recipe.stages.1.epochs: 2 there, 3 here",
    ]


def test_the_last_step_is_logged_and_dev_scores_take_no_entry_away(tmp_path, data):
    teacher = tiny_distil.bert(tmp_path / "teacher")
    recipe = two_stages(teacher)
    run = job(recipe, tmp_path / "out", data, dev=data, dev_steps=1, max_steps=3)
    for stage in distil(run)["stages"]:
        assert stage["last_losses"]["loss"] > 0


def test_killed_after_its_record_was_written(tmp_path, data, monkeypatch):
    """The record must not make another model of the student whose predictions lie there."""
    teacher = tiny_distil.bert(tmp_path / "teacher")
    run = job(two_stages(teacher), tmp_path / "out", data, dev=data, max_steps=1)
    with monkeypatch.context() as patch:
        patch.setattr("distill.training.stages.write_card", None)
        with pytest.raises(TypeError):
            distil(run)
    record = distil(run)
    made = json.loads((tmp_path / "out/eval/predict.json").read_text())
    assert made["model_sha256"] == record["weights_sha256"] == model_sha256(tmp_path / "out")
    load_config(tmp_path / "out")
    path = tmp_path / "out" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"out: not the model that its training\.json names"):
        load_config(tmp_path / "out")
    (tmp_path / "out" / "training.json").unlink()
    load_config(tmp_path / "out")


def test_every_shard_is_hashed_once_and_every_teacher_loaded_once(tmp_path, data, monkeypatch):
    teachers = [tiny_distil.bert(tmp_path / name, seed=seed) for seed, name in enumerate("ab")]
    config = BuildConfig(
        train=data,
        out=tmp_path / "set",
        mlm="embedded",
        glove="none",
        copies_per_example=2,
        num_shards=2,
        num_workers=1,
    )
    build(config)
    recipe = two_stages(teachers[0])
    stages = (*recipe.stages, replace(recipe.stages[1], teacher=teachers[1]))
    hashed, loaded = Counter(), Counter()
    digest, load = hashlib.file_digest, PreTrainedModel.from_pretrained.__func__

    def count_digest(file, name):
        hashed[file.name] += 1
        return digest(file, name)

    def count_load(cls, folder, **options):
        loaded[str(folder)] += 1
        return load(cls, folder, **options)

    monkeypatch.setattr(commit, "_hashes", {})
    monkeypatch.setattr(hashlib, "file_digest", count_digest)
    monkeypatch.setattr(PreTrainedModel, "from_pretrained", classmethod(count_load))
    distil(job(replace(recipe, stages=stages), tmp_path / "out", str(config.out), max_steps=1))
    shards = [str(path) for path in sorted((config.out / "data").iterdir())]
    assert [hashed[path] for path in shards] == [1, 1]
    assert [loaded[teacher] for teacher in teachers] == [1, 1]
    assert {hashed[f"{teacher}/model.safetensors"] for teacher in teachers} == {1}


def test_students_of_some_steps_are_kept_and_the_training_is_the_same(tmp_path, data):
    recipe = two_stages(tiny_distil.bert(tmp_path / "teacher"))
    last = distil(job(recipe, tmp_path / "plain", data))["stages"][0]["steps"]
    distil(job(recipe, tmp_path / "kept", data, keep_steps=(1, last, 99)))
    assert same(tmp_path / "plain", tmp_path / "kept")
    stages = tmp_path / "kept" / "stages"
    names = ("1-intermediate", "2-prediction")
    kept = [f"{name}-step-{step}" for name in names for step in (1, last)]
    assert {path.name for path in stages.iterdir()} == {*names, *kept}
    assert same(stages / kept[1], stages / "1-intermediate")
    assert not same(stages / kept[0], stages / "1-intermediate")
    reader = Reader.load(stages / kept[0], protocol=Protocol(max_seq_length=32, doc_stride=8))
    assert reader.answer("who sat ?", "The cat sat on the mat .").text is not None
    with pytest.raises(UsageError, match="--keep-steps 0: steps count from 1"):
        job(recipe, tmp_path / "none", data, keep_steps=(0,))


def test_a_loss_that_explodes_is_an_error(tmp_path, data):
    teacher = tiny_distil.bert(tmp_path / "teacher")
    recipe = two_stages(teacher, learning_rate=1e30)
    with pytest.raises(ValueError, match="lower the learning rate"):
        distil(job(recipe, tmp_path / "out", data))
    assert not (tmp_path / "out").exists()


def test_complete_already_and_made_otherwise(tmp_path, data, capsys):
    teacher = tiny_distil.bert(tmp_path / "teacher")
    first = job(two_stages(teacher), tmp_path / "out", data, max_steps=1)
    record = distil(first)
    assert distil(first) == record
    assert "complete already" in capsys.readouterr().out
    other = replace(first, max_steps=2)
    with pytest.raises(UsageError, match="max_steps: 1 there, 2 here"):
        distil(other)
    assert distil(replace(other, overwrite=True))["stages"][0]["steps"] == 2


RUN = """
import os, signal, sys
from pathlib import Path
from transformers import TrainerCallback
from distill.training import stages
from distill.training.stages import distil
from tests.tiny_distil import job, two_stages

teacher, out, data, stage, step = sys.argv[1:]

class Kill(TrainerCallback):
    def on_step_end(self, args, state, control, **_):
        if state.global_step == int(step):
            os.kill(os.getpid(), signal.SIGKILL)

if int(step):
    callbacks = stages._callbacks
    stages._callbacks = lambda job, index, *rest: callbacks(job, index, *rest) + (
        [Kill()] if index == int(stage) else [])
distil(job(two_stages(teacher), Path(out), data, save_steps=2))
"""


def run(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-c", RUN, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "step"), [(0, 1), (0, 5), (1, 5)])
def test_killed_and_run_again_gives_the_same_weights(tmp_path, data, stage, step):
    """Same rows, optimizer, schedule, dropout and, above all, the same losses as before."""
    teacher = tiny_distil.bert(tmp_path / "teacher")
    assert run(teacher, tmp_path / "whole", data, 0, 0).returncode == 0
    assert run(teacher, tmp_path / "killed", data, stage, step).returncode == -signal.SIGKILL
    assert not (tmp_path / "killed").exists()
    done = run(teacher, tmp_path / "killed", data, 0, 0)
    assert done.returncode == 0, done.stderr
    assert same(tmp_path / "whole", tmp_path / "killed")
    steps = json.loads((tmp_path / "killed/training.json").read_text())["stages"][0]["steps"]
    assert steps == 6  # of two epochs, so that step 5 is in the second


@pytest.mark.slow
def test_a_checkpoint_cut_short_is_not_resumed_from(tmp_path, data):
    teacher = tiny_distil.bert(tmp_path / "teacher")
    assert run(teacher, tmp_path / "whole", data, 0, 0).returncode == 0
    assert run(teacher, tmp_path / "killed", data, 0, 5).returncode == -signal.SIGKILL
    checkpoints = tmp_path / "killed.incomplete/stages/1-intermediate.incomplete/checkpoints"
    last = max(checkpoints.iterdir(), key=lambda path: int(path.name.split("-")[1]))
    (last / "SHA256SUMS").unlink()
    (last / "optimizer.pt").write_bytes(b"cut")
    assert run(teacher, tmp_path / "killed", data, 0, 0).returncode == 0
    assert same(tmp_path / "whole", tmp_path / "killed")


def wrong_tokenizer(tmp_path, data):
    teacher = tiny_distil.bert(tmp_path / "teacher")
    student = tiny_distil.roberta(tmp_path / "student", layers=2)
    return job(two_stages(teacher, student), tmp_path / "out", data), "tokenizer"


def no_span_head(tmp_path, data):
    teacher = tiny_distil.bert(tmp_path / "teacher", head=BertModel)
    student = tiny_distil.bert(tmp_path / "student", layers=2)
    return job(two_stages(teacher, student), tmp_path / "out", data), "qa_outputs"


def layer_out_of_range(tmp_path, data):
    teacher = tiny_distil.bert(tmp_path / "teacher")
    return job(two_stages(teacher, layer_map=(2, 5)), tmp_path / "out", data), "layers 1 to 4"


def student_layer_out_of_range(tmp_path, data):
    teacher = tiny_distil.bert(tmp_path / "teacher")
    return job(two_stages(teacher, "teacher:2,5"), tmp_path / "out", data), "layers 1 to 4"


def layers_do_not_divide(tmp_path, data):
    teacher = tiny_distil.bert(tmp_path / "teacher")
    return job(two_stages(teacher, "teacher:1,2,3"), tmp_path / "out", data), "layer-map"


def changed_shard(tmp_path, data):
    teacher = tiny_distil.bert(tmp_path / "teacher")
    build(
        BuildConfig(
            train=data,
            out=tmp_path / "set",
            mlm="embedded",
            glove="none",
            copies_per_example=1,
            num_workers=1,
        )
    )
    shard = next((tmp_path / "set" / "data").iterdir())
    shard.write_bytes(shard.read_bytes()[:-1])
    return job(two_stages(teacher), tmp_path / "out", str(tmp_path / "set")), "expected"


def too_long(tmp_path, data):
    teacher = tiny_distil.bert(tmp_path / "teacher")
    recipe = replace(two_stages(teacher), max_seq_length=384)
    return job(recipe, tmp_path / "out", data), "64 positions"


def no_text(tmp_path, data):
    teacher = tiny_distil.bert(tmp_path / "teacher")
    recipe = two_stages(teacher)
    stage = replace(recipe.stages[0], rows="text")
    return job(replace(recipe, stages=(stage,)), tmp_path / "out", data), "--text"


def other_heads(tmp_path, data):
    teacher = tiny_distil.bert(tmp_path / "teacher")
    student = tiny_distil.bert(tmp_path / "student", layers=2)
    config = json.loads((tmp_path / "student/config.json").read_text())
    config["num_attention_heads"] = 4
    (tmp_path / "student/config.json").write_text(json.dumps(config))
    return job(two_stages(teacher, student), tmp_path / "out", data), "attention-weight 0"


def no_tokenizer(tmp_path, data):
    teacher = tiny_distil.bert(tmp_path / "teacher")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "teacher" / name).unlink()
    return job(two_stages(teacher), tmp_path / "out", data), "tokenizer's files"


def no_dev_set(tmp_path, data):
    teacher = tiny_distil.bert(tmp_path / "teacher")
    dev = str(tmp_path / "dve.json")
    return job(two_stages(teacher), tmp_path / "out", data, dev=dev), "dve.json"


def impossible_questions_in_squad_1(tmp_path, data):
    teacher = tiny_distil.bert(tmp_path / "teacher")
    recipe = replace(two_stages(teacher), score="squad_v1")
    return job(recipe, tmp_path / "out", data, dev=data), "questions without an answer"


def a_dev_question_without_text(tmp_path, data):
    teacher = tiny_distil.bert(tmp_path / "teacher")
    dev = tmp_path / "dev.json"
    dev.write_text(Path(data).read_text().replace('"question": "who sat ?", ', "", 1))
    return job(two_stages(teacher), tmp_path / "out", data, dev=str(dev)), "q0a: no question text"


def no_such_teacher(tmp_path, data):
    return job(two_stages("./teacher"), tmp_path / "out", data), "teacher: no such model folder"


def foreign_folder(tmp_path, data):
    teacher = tiny_distil.bert(tmp_path / "teacher")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    return job(two_stages(teacher), tmp_path / "out", data), "not a student made here"


@pytest.mark.parametrize(
    "case",
    [
        wrong_tokenizer,
        no_span_head,
        layer_out_of_range,
        student_layer_out_of_range,
        layers_do_not_divide,
        changed_shard,
        too_long,
        no_text,
        other_heads,
        no_tokenizer,
        no_dev_set,
        impossible_questions_in_squad_1,
        a_dev_question_without_text,
        no_such_teacher,
        foreign_folder,
    ],
    ids=lambda case: case.__name__,
)
def test_errors_come_before_any_training(tmp_path, data, case, monkeypatch):
    wrong, message = case(tmp_path, data)
    monkeypatch.setattr("distill.training.stages.train_stage", None)
    with pytest.raises((ValueError, UsageError, FileNotFoundError), match=message):
        distil(wrong)
    assert not (tmp_path / "out.incomplete").exists()
