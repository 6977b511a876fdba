"""The training benchmark runs, and what it compares is the same computation."""

import importlib
from dataclasses import replace

import pytest
import torch
import tyro

from augment.base.command import UsageError
from distill.bench import BenchConfig, _Bench, bench, loss_difference
from distill.benches import campaign
from distill.benches.campaign import Campaign, commands
from distill.benches.speed import count_flops
from tests import tiny_distil


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("TWENTYFOLD_CACHE", str(tmp_path / "cache"))
    data = tiny_distil.rows(tmp_path / "train.json")
    tokenizer = tiny_distil.bert(tmp_path / "model")
    return BenchConfig(
        data=data,
        tokenizer=tokenizer,
        batch_size=4,
        steps=1,
        repeats=2,
        layers=4,
        width=32,
        heads=2,
        device="cpu",
        dtype="float32",
    )


def test_both_ways_have_the_same_losses(config):
    assert loss_difference(_Bench(config)) < 1e-5


def test_the_comparison_would_see_a_difference(config, monkeypatch):
    from distill.benches import plain

    monkeypatch.setattr(plain, "mse_loss", lambda one, other: 1.001 * (one - other).square().mean())
    assert loss_difference(_Bench(config)) > 1e-4


def test_every_part_prints_its_row(config, capsys):
    parts = ("intermediate", "prediction", "masking", "features", "memory", "speed")
    bench(replace(config, parts=parts, batch_sizes=(2, 3)))
    shown = capsys.readouterr().out
    for words in (
        "| intermediate stage |",
        "| prediction stage, cached logits |",
        "masking: a step takes",
        "features: 6 rows",
        "kept for the backward pass",
        "cores; float32",
        "\n| 2 | ",
        "\n| 3 | ",
    ):
        assert words in shown


def test_wrong_usage(config):
    with pytest.raises(UsageError, match="must be even"):
        BenchConfig(data="x", layers=5)


def test_operations_are_counted_both_ways():
    first = torch.randn(3, 5, requires_grad=True)
    second = torch.randn(5, 7, requires_grad=True)
    forward = 2 * 3 * 5 * 7
    assert count_flops(lambda: first @ second) == forward
    assert count_flops(lambda: (first @ second).sum().backward()) == 3 * forward


CONFIGS = {
    "augment.build": "BuildConfig",
    "distill.finetune": "FinetuneConfig",
    "distill.bench": "BenchConfig",
    "distill.study": "StudyConfig",
}


@pytest.mark.parametrize("small", [{}, {"limit_contexts": 2, "max_steps": 3, "arms": ("a", "b")}])
def test_the_campaigns_commands_are_taken(small):
    asked = Campaign(dev="dev.json", **small)
    made = dict(commands(asked, "train.json", "cpu", ["--layers", "4", "--batch-sizes", "2", "3"]))
    assert list(made) == [
        "tests", "build", "teacher", "measured in float16", "measured in bfloat16", "study"
    ]  # fmt: skip
    taken = {
        name: tyro.cli(getattr(importlib.import_module(module), CONFIGS[module]), args=flags)
        for name, (module, *flags) in made.items()
        if name != "tests"
    }
    assert taken["build"].limit_contexts == asked.limit_contexts
    assert taken["teacher"].max_steps == asked.max_steps
    assert taken["study"].arms == asked.arms
    assert taken["study"].teacher == str(taken["teacher"].output)
    assert taken["measured in float16"].batch_sizes == (2, 3)


def test_the_campaign_runs_on_past_a_failure_and_names_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        campaign, "commands", lambda *_: [("bad", ["no_such_module"]), ("good", ["this"])]
    )
    with pytest.raises(RuntimeError, match=r"failed: bad \(exit 1, see .*bad\.log\)"):
        campaign.run_campaign(Campaign(dev="x", work=tmp_path / "work"), "x", "cpu", [])
    shown = capsys.readouterr().out.splitlines()
    assert shown[2].endswith("No module named no_such_module |")
    assert shown[3].endswith("Namespaces are one honking great idea -- let's do more of those! |")


def test_the_campaign_wants_a_dev_set(config):
    with pytest.raises(UsageError, match=r"--gpu\.dev"):
        bench(replace(config, parts=("gpu",)))
