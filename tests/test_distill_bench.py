"""The training benchmark runs, and what it compares is the same computation."""

import pytest

from augment.base.command import UsageError
from distill.bench import BenchConfig, _Bench, bench, loss_difference
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
    from dataclasses import replace

    bench(replace(config, parts=("intermediate", "prediction", "masking", "features", "memory")))
    shown = capsys.readouterr().out
    for words in (
        "| intermediate stage |",
        "| prediction stage, cached logits |",
        "masking: a step takes",
        "features: 6 rows",
        "kept for the backward pass",
        "cores; float32",
    ):
        assert words in shown


def test_wrong_usage(config):
    with pytest.raises(UsageError, match="must be even"):
        BenchConfig(data="x", layers=5)
