"""Parameter groups, schedule, checkpoints, GPUs; and that scoring does not switch dropout off."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

from augment.base.command import UsageError
from augment.base.resuming import PROGRESS, last_whole_checkpoint
from augment.base.stored import seal
from distill.models.distiller import SpanDistiller
from distill.rows.batches import Batches
from distill.rows.features import find_source, load_features
from distill.training.dev_score import DevScore
from distill.training.trainer import (
    Place,
    _served,
    check_gpus,
    learning_rate_share,
    parameter_groups,
    train_stage,
)
from tests import tiny_distil
from tests.tiny_distil import job, two_stages

CPU = Place(device="cpu", dtype="float32", logging_steps=1)


def test_schedule_rises_and_falls_in_straight_lines():
    # 10 steps, 2 of warmup: 0, 1/2, then 8/8, 7/8 ... 1/8
    shares = [learning_rate_share(step, 10, 0.2) for step in range(11)]
    assert shares == [0, 0.5, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8, 0]
    assert learning_rate_share(0, 3, 0.0) == 1


def test_schedule_is_transformers():
    from transformers import get_linear_schedule_with_warmup

    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = get_linear_schedule_with_warmup(optimizer, 4, 20)
    for step in range(20):
        assert schedule.get_last_lr()[0] == pytest.approx(learning_rate_share(step, 20, 0.2))
        optimizer.step()
        schedule.step()


def test_biases_and_norms_are_not_decayed(tmp_path):
    teacher = tiny_distil.bert(tmp_path / "teacher")
    stage = two_stages(teacher, weight_decay=0.01).stages[1]
    student = AutoModelForQuestionAnswering.from_pretrained(teacher)
    decayed, plain = parameter_groups(SpanDistiller(student, stage), stage)
    assert decayed["weight_decay"] == 0.01
    assert plain["weight_decay"] == 0
    assert all(parameter.dim() == 2 for parameter in decayed["params"])
    assert all(parameter.dim() == 1 for parameter in plain["params"])
    assert sum(p.numel() for g in (decayed, plain) for p in g["params"]) == student.num_parameters()
    every = two_stages(teacher, weight_decay=0.01, decay_all=True).stages[1]
    assert len(parameter_groups(SpanDistiller(student, every), every)) == 1


def test_a_checkpoint_that_is_not_whole_gives_way_to_the_one_before(tmp_path, capsys):
    for step in (2, 4, 10):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "optimizer.pt").write_bytes(bytes(9))
        (folder / PROGRESS).write_text(json.dumps({"step": step, "seconds": 1.5 * step}))
        if step != 10:
            seal(folder)
    found, seconds = last_whole_checkpoint(tmp_path)
    assert found == tmp_path / "checkpoint-4"
    assert seconds == 6.0
    assert not (tmp_path / "checkpoint-10").exists()
    assert capsys.readouterr().err == ""
    (tmp_path / "checkpoint-4" / "optimizer.pt").write_bytes(b"wrong")
    assert last_whole_checkpoint(tmp_path) == (tmp_path / "checkpoint-2", 3.0)
    assert "checkpoint-4: damaged (optimizer.pt: changed" in capsys.readouterr().err
    (tmp_path / "checkpoint-2" / "optimizer.pt").unlink()
    assert last_whole_checkpoint(tmp_path) == (None, 0.0)
    assert last_whole_checkpoint(tmp_path / "absent") == (None, 0.0)


@pytest.mark.parametrize(
    ("gpu", "built", "served"),
    [
        ((7, 0), ["sm_70", "sm_80", "sm_90"], True),
        ((7, 0), ["sm_75", "sm_80", "sm_90", "compute_90"], False),  # a V100 and CUDA 13
        ((8, 6), ["sm_80", "sm_90"], True),
        ((12, 1), ["sm_90", "compute_120"], True),
        ((9, 0), ["sm_80", "sm_90a"], True),
        ((8, 0), ["sm_86"], False),
    ],
)
def test_which_gpus_a_torch_serves(gpu, built, served):
    assert _served(*gpu, built) is served


def test_several_gpus_want_torchrun(monkeypatch):
    gpu = Place(device="cuda", dtype="float16")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    with pytest.raises(UsageError, match="torchrun --nproc-per-node 4"):
        check_gpus(gpu)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda: (7, 0))
    monkeypatch.setattr("torch.cuda.get_arch_list", lambda: ["sm_80"])
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "Tesla V100")
    with pytest.raises(UsageError, match=r"Tesla V100 \(sm_70\).*CUDA 12.6"):
        check_gpus(gpu)
    check_gpus(CPU)


def test_a_dev_score_is_over_the_questions_that_the_scorer_reads(tmp_path):
    """A scorer looks at texts alone: an answer with a wrong place is scored, not left out."""
    data = Path(tiny_distil.rows(tmp_path / "dev.json"))
    data.write_text(data.read_text().replace('"answer_start": ', '"answer_start": 1', 1))
    teacher = tiny_distil.bert(tmp_path / "teacher")
    recipe, asked = two_stages(teacher), {"dev": str(data), "dev_steps": 2, "dev_limit": 2}
    run = job(recipe, tmp_path / "out", str(data), **asked)
    scores = DevScore(
        AutoModelForQuestionAnswering.from_pretrained(teacher),
        AutoTokenizer.from_pretrained(teacher),
        run,
    )
    assert [q.id for q in scores.gold] == ["q0a", "q0b", "q1a", "q1b"]  # of two paragraphs
    assert scores.gold[0].answers == ("sat",)


def test_dropout_is_on_after_a_dev_score(tmp_path):
    """FARM left the student in eval mode after its first evaluation, so dropout was off."""
    data = tiny_distil.rows(tmp_path / "dev.json")
    teacher = tiny_distil.bert(tmp_path / "teacher")
    recipe = two_stages(teacher)
    stage = recipe.stages[1]
    student = AutoModelForQuestionAnswering.from_pretrained(teacher)
    tokenizer = AutoTokenizer.from_pretrained(teacher)
    features = load_features(find_source("original", data), tokenizer, rule_of(recipe), tmp_path)
    modes = []
    student.bert.register_forward_pre_hook(lambda module, _: modes.append(module.training))
    supervised = SpanDistiller(student, stage)
    supervised.stage = stage.__class__(**{**vars(stage), "kind": "supervised"})
    scores = DevScore(
        student, tokenizer, job(recipe, tmp_path / "out", data, dev=data, dev_steps=2)
    )
    logged = []
    scores_log = scores.on_step_end

    def spy(*args, **kwargs):
        scores_log(*args, **kwargs)
        logged.append(student.training)

    scores.on_step_end = spy
    train_stage(
        supervised,
        supervised.stage,
        Batches(features, 4, 4, 1, 0),
        None,
        CPU,
        tmp_path / "work",
        callbacks=[scores],
    )
    assert logged == [True] * 4
    steps = [mode for mode in modes if mode]
    assert len(steps) == 4
    assert False in modes  # the scores themselves ran without dropout
    entries = [entry for entry in scores.trainer.state.log_history if "dev_f1" in entry]
    assert [entry["step"] for entry in entries] == [2, 4]


def rule_of(recipe):
    from eval.reading.windows import WindowRule

    return WindowRule(
        max_seq_length=recipe.max_seq_length,
        doc_stride=recipe.doc_stride,
        max_query_length=recipe.max_query_length,
    )
