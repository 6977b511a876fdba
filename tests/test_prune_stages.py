"""Pruning in a whole training: every recipe, resume, logs, and what reads the result."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from distill.prune import Pruner, load_pruned
from distill.prune.compaction import bake
from distill.prune.masks import NEURONS
from distill.prune_report import ReportConfig, report
from distill.recipes import PruningStage, find_recipe, recipe_names
from distill.training import stages
from distill.training.pruning import pruning_groups
from distill.training.stages import distil
from eval.predict import Protocol, Reader
from eval.reading.encoder import parts_of
from eval.reading.pruned import read_pruned
from tests import tiny_distil
from tests.tiny_distil import job, rows, shrink

SHORT = Protocol(max_seq_length=32, doc_stride=8, max_query_length=8)


@pytest.fixture
def data(tmp_path):
    return rows(tmp_path / "train.json", impossible=False)


def sparse(name, teacher, student="teacher:1,2,3,4", **fields):
    """Shrink a recipe; regularised so hard that a few steps remove something."""
    dense_block = None if find_recipe(name).stages[0].dense_block is None else (8, 8)
    given = {
        "attention_block": (8, 8),
        "dense_block": dense_block,
        "regularization": 400.0,
        "score_learning_rate": 1.0,
        "prune_start": 0.0,
        "epochs": 2,
        **fields,
    }
    return shrink(find_recipe(name), student, [teacher], **given)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((name, "bert") for name in recipe_names() if "sparse" in name),
        ("bert-hybrid-sparse-squad1", "roberta"),
        ("bert-block-sparse-squad1", "distilbert"),
    ],
)
def test_every_recipe_on_every_kind(tmp_path, data, name, kind):
    teacher = (
        tiny_distil.roberta(tmp_path / "t")
        if kind == "roberta"
        else tiny_distil.bert(tmp_path / "t")
    )
    student = "teacher:1,2,3,4"
    if kind == "distilbert":
        student = tiny_distil.distilbert(tmp_path / "student")
    recipe = sparse(name, teacher, student)
    out = tmp_path / "out"
    record = distil(job(recipe, out, data, dev=data, dev_steps=2, logging_steps=1))
    assert record["stages"][0]["last_losses"]["regularization_loss"] > 0
    model = load_pruned(out)
    assert 0 <= model.pruned.linear_density < 1
    assert record["parameters"] == model.pruned.parameters < model.pruned.dense_parameters
    assert record["scores"]["total"] == 6
    reader = Reader.load(str(out), protocol=SHORT)
    assert reader.answer("who sat ?", "The cat sat on the mat .", may_be_null=False).text
    assert "load_pruned" in (out / "README.md").read_text()
    shown = load_file(out / "model.safetensors")
    assert not any("parametrizations" in key or "scores" in key for key in shown)


def test_the_finished_model_answers_as_the_masked_one_did(tmp_path, data, monkeypatch):
    teacher = tiny_distil.bert(tmp_path / "teacher")
    seen = {}
    compact = stages.compact

    def spy(student, **kwargs):
        student.eval()
        ids = torch.arange(4, 20)[None]
        with torch.no_grad():
            seen["logits"] = student(input_ids=ids).start_logits
        return compact(student, **kwargs)

    monkeypatch.setattr(stages, "compact", spy)
    distil(job(sparse("minilm-hybrid-sparse-squad1", teacher), tmp_path / "out", data))
    model = load_pruned(tmp_path / "out")
    with torch.no_grad():
        found = model(input_ids=torch.arange(4, 20)[None]).start_logits
    assert torch.allclose(found, seen["logits"], atol=1e-5)
    assert model.pruned.linear_density < 1


@pytest.mark.parametrize("dropped", [False, True])
def test_heads_without_queries_go_where_the_stage_says_so(tmp_path, data, monkeypatch, dropped):
    """One head of the masked student loses its queries just before it is compacted."""
    teacher = tiny_distil.bert(tmp_path / "teacher")
    compact = stages.compact

    def without_queries(student, **kwargs):
        bake(student)
        with torch.no_grad():
            for linear in parts_of(student)[0].linears().values():
                linear.weight.fill_(0.1)
            parts_of(student)[0].query.weight[:16] = 0
        return compact(student, **kwargs)

    monkeypatch.setattr(stages, "compact", without_queries)
    recipe = sparse("bert-block-sparse-squad1", teacher, drop_uniform_heads=dropped)
    distil(job(recipe, tmp_path / "out", data))
    layer = load_pruned(tmp_path / "out").pruned.layers[0]
    assert layer.heads == ((1,) if dropped else (0, 1))
    assert layer.dropped_uniform_heads == ((0,) if dropped else ())
    assert layer.uniform_heads == (() if dropped else (0,))


class Stop(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **_):
        if state.global_step == self.step:
            raise KeyboardInterrupt


def test_an_interrupted_run_continues_the_schedule(tmp_path, data, monkeypatch):
    teacher = tiny_distil.bert(tmp_path / "teacher")
    recipe = sparse("bert-block-sparse-squad1", teacher, prune_hold=0.3)
    steps = []
    set_step = Pruner.set_step

    def spy(self, step, num_steps):
        steps.append((step, num_steps))
        set_step(self, step, num_steps)

    monkeypatch.setattr(Pruner, "set_step", spy)
    distil(job(recipe, tmp_path / "whole", data, save_steps=1))
    whole, steps[:] = steps[:], []
    assert whole == [(0, 1), *((step, 6) for step in range(7))]
    killed = job(recipe, tmp_path / "killed", data, save_steps=1)
    with monkeypatch.context() as patch:
        callbacks = stages._callbacks
        patch.setattr(stages, "_callbacks", lambda *given: [*callbacks(*given), Stop(5)])
        with pytest.raises(KeyboardInterrupt):
            distil(killed)
    steps.clear()
    distil(killed)
    assert steps == [(0, 1), *((step, 6) for step in range(4, 7))]
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "killed"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_density_is_lower_with_regularisation(tmp_path, data):
    teacher = tiny_distil.bert(tmp_path / "teacher")
    found = []
    for strength in (0.0, 400.0):
        recipe = sparse("bert-block-sparse-squad1", teacher, regularization=strength)
        distil(job(recipe, tmp_path / f"out{strength:.0f}", data))
        found.append(load_pruned(tmp_path / f"out{strength:.0f}").pruned.linear_density)
    assert found[1] < found[0] <= 1


def test_a_later_stage_fills_what_is_left(tmp_path, data):
    """Zeros within kept rows and columns may grow again; nothing that was removed comes back."""
    teacher = tiny_distil.bert(tmp_path / "teacher")
    recipe = sparse("bert-block-sparse-squad1", teacher)
    (pruning,) = recipe.stages
    plain = replace(find_recipe("minilm-3l-384d-squad2").stages[1], teacher=teacher, batch_size=4)
    distil(job(replace(recipe, stages=(pruning, plain)), tmp_path / "out", data))
    before = load_pruned(tmp_path / "out/stages/1-prediction").pruned
    after = load_pruned(tmp_path / "out").pruned
    assert after.parameters == before.parameters
    assert [layer.heads for layer in after.layers] == [layer.heads for layer in before.layers]
    assert after.linear_density > before.linear_density
    assert read_pruned(tmp_path / "out/pruning.json") == after  # what cards quote


def test_scores_have_their_own_rate_and_no_decay(tmp_path):
    stage = sparse("minilm-hybrid-sparse-squad1", "t", weight_decay=0.01).stages[0]
    assert isinstance(stage, PruningStage)
    from transformers import AutoModelForQuestionAnswering

    student = AutoModelForQuestionAnswering.from_pretrained(tiny_distil.bert(tmp_path / "t"))
    pruner = Pruner(student, stage)
    module = torch.nn.ModuleList([student, pruner])
    groups = pruning_groups(module, stage)
    given = [id(p) for group in groups for p in group["params"]]
    assert sorted(given) == sorted(id(p) for p in module.parameters())
    assert groups[-1]["lr"] == stage.score_learning_rate
    assert groups[-1]["weight_decay"] == 0
    assert {id(p) for p in groups[-1]["params"]} == {id(p) for p in pruner.parameters()}
    assert any(name.endswith(NEURONS) for name in pruner.scores)
    assert [group["weight_decay"] for group in groups] == [0.01, 0.0, 0.0]


def test_logs_show_how_far_it_is(tmp_path, data):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    teacher = tiny_distil.bert(tmp_path / "teacher")
    run = job(sparse("bert-block-sparse-squad1", teacher), tmp_path / "out", data, logging_steps=1)
    distil(run)
    (folder,) = (tmp_path / "out/logs").iterdir()
    log = EventAccumulator(str(folder)).Reload()
    tags = log.Tags()["scalars"]
    for name in ("density", "density_layer_4", "threshold", "regularization_loss", "kd_loss"):
        assert f"train/{name}" in tags, tags
    values = [event.value for event in log.Scalars("train/density")]
    assert values[-1] < 1


def test_report(tmp_path, data, capsys):
    teacher = tiny_distil.bert(tmp_path / "teacher")
    out = tmp_path / "out"
    distil(job(sparse("bert-block-sparse-squad1", teacher), out, data))
    pruned = load_pruned(out).pruned
    capsys.readouterr()
    pytest.importorskip("matplotlib")
    report(ReportConfig(model=str(out), picture=tmp_path / "density.svg"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split("|")[1].strip() == "layer"
    cells = [cell.strip() for cell in lines[2].split("|")[1:-1]]
    layer = pruned.layers[0]
    assert cells[:3] == ["1", str(len(layer.heads)), str(layer.neurons)]
    assert cells[3] == f"{layer.weights['query'] / 32**2:.1%}"
    assert f"heads removed: {pruned.removed_heads} of 8" in "\n".join(lines)
    assert (tmp_path / "density.svg").read_bytes().startswith(b"<?xml")


def test_what_does_not_fit_is_said_before_anything_is_trained(tmp_path, data):
    teacher = tiny_distil.bert(tmp_path / "teacher")
    blocks = sparse("bert-block-sparse-squad1", teacher).stages[0]
    neurons = sparse("bert-hybrid-sparse-squad1", teacher).stages[0]
    plain = replace(find_recipe("minilm-3l-384d-squad2").stages[1], teacher=teacher, batch_size=4)
    hidden = replace(
        find_recipe("minilm-3l-384d-squad2").stages[0],
        teacher=teacher,
        batch_size=4,
        rows="original",
    )
    recipe = sparse("bert-block-sparse-squad1", teacher)
    for stages_, message in (
        ((plain, replace(blocks, attention_block=(24, 8))), "do not divide"),
        ((neurons, blocks), "--stages.1.dense-block None"),
        ((blocks, hidden), "--stages.1.attention-weight 0"),
    ):
        with pytest.raises(ValueError, match=message):
            distil(job(replace(recipe, stages=stages_), tmp_path / "out", data))
        assert not (tmp_path / "out.incomplete").exists()


def test_a_pruned_reader_teaches_and_is_fine_tuned(tmp_path, data):
    """As the teacher of hidden states and of spans, and as a student, whose card says so."""
    teacher = tiny_distil.bert(tmp_path / "teacher")
    pruned = tmp_path / "pruned"
    distil(job(sparse("minilm-hybrid-sparse-squad1", teacher), pruned, data))
    plain = find_recipe("minilm-3l-384d-squad2")
    taught = shrink(
        plain, tiny_distil.bert(tmp_path / "s", layers=2), [str(pruned)] * 2, attention_weight=0.0
    )
    distil(job(taught, tmp_path / "taught", data, max_steps=1))
    assert not (tmp_path / "taught/pruning.json").exists()
    again = replace(
        shrink(plain, str(pruned), [teacher] * 2),
        stages=(replace(plain.stages[1], teacher=teacher, batch_size=4),),
    )
    distil(job(again, tmp_path / "again", data, max_steps=1))
    assert "load_pruned" in (tmp_path / "again/README.md").read_text()
    assert (
        load_pruned(tmp_path / "again").pruned.removed_heads
        == load_pruned(pruned).pruned.removed_heads
    )
