"""Scores of several systems with bootstrap intervals."""

import json

import numpy as np
import pytest

from augment.base.command import UsageError
from eval import squad_v2
from eval.compare import Compare, compare, interval, resample
from tests.tiny_readers import write_dev


@pytest.fixture
def files(tmp_path):
    dev = write_dev(tmp_path / "dev.json")
    answers = {"gold": "sat", "half": "sat on", "empty": ""}
    paths = []
    for name, text in answers.items():
        predictions = {
            f"q{n}{part}": text if part == "a" else "" for n in range(3) for part in "ab"
        }
        paths.append(tmp_path / f"{name}.json")
        paths[-1].write_text(json.dumps(predictions))
    return str(dev), tuple(paths)


def test_scores_are_the_official_ones_and_leads_are_paired(files, tmp_path, capsys):
    dev, paths = files
    out = tmp_path / "out.json"
    rows = compare(Compare(dev=dev, predictions=paths, num_resamples=500, out_file=out))
    for row, path in zip(rows, paths, strict=True):
        official = squad_v2.score(json.loads(open(dev).read()), json.loads(path.read_text()))
        assert row["exact"] == pytest.approx(official.exact)
        assert row["f1"] == pytest.approx(official.f1)
    gold, half, empty = rows
    assert gold["exact_low"] == pytest.approx(100) == gold["exact_high"]  # right on every question
    assert gold["f1_lead"] == gold["f1_lead_low"] == gold["f1_lead_high"] == 0
    assert half["f1_lead"] == pytest.approx(half["f1"] - 100)
    assert empty["f1_low"] < 50 < empty["f1_high"]
    assert empty["f1_lead_high"] < 0
    assert json.loads(out.read_text()) == rows
    assert "gold.json: exact 100.00 (100.00 to 100.00), lead +0.00" in capsys.readouterr().out


def test_an_interval_is_that_of_the_mean():
    # 1,000 questions, half of them right: the standard error is 100 * sqrt(1/4 / 1000) = 1.58
    scores = np.zeros((1, 1000, 1))
    scores[0, :500] = 100
    low, high = interval(resample(scores, 4000, seed=0)[:, 0, 0], 0.95)
    assert low == pytest.approx(50 - 1.96 * 1.58, abs=0.3)
    assert high == pytest.approx(50 + 1.96 * 1.58, abs=0.3)


def test_the_same_seed_draws_the_same_questions_for_every_system():
    scores = np.random.default_rng(0).random((1, 50, 2))
    draws = resample(np.repeat(scores, 2, axis=0), 300, seed=3)
    assert np.allclose(draws[:, 0], draws[:, 1])
    assert np.array_equal(draws, resample(np.repeat(scores, 2, axis=0), 300, seed=3))


def test_missing_ids_are_named(files, tmp_path):
    dev, paths = files
    (tmp_path / "short.json").write_text('{"q0a": "sat"}')
    with pytest.raises(ValueError, match="q0b"):
        compare(Compare(dev=dev, predictions=(*paths, tmp_path / "short.json")))


@pytest.mark.parametrize("wrong", [{"predictions": ()}, {"level": 1.0}, {"num_resamples": 0}])
def test_wrong_usage(files, wrong):
    dev, paths = files
    with pytest.raises(UsageError):
        Compare(**{"dev": dev, "predictions": paths, **wrong})
