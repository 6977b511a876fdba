"""eval.baselines: gold scores 100, all-empty the share of unanswerable questions."""

import json
from pathlib import Path

import pytest

from eval.baselines import Baselines, write_baselines
from eval.squad_v2 import SquadV2, score_files

SAMPLE = Path(__file__).parents[1] / "augment" / "embedded" / "sample-dev-v2.0.json"


def test_gold_and_empty_on_the_bundled_sample(tmp_path, capsys):
    write_baselines(Baselines(dev=str(SAMPLE), out=tmp_path))
    content = json.loads(SAMPLE.read_text())
    questions = [qa for a in content["data"] for p in a["paragraphs"] for qa in p["qas"]]
    impossible = sum(qa["is_impossible"] for qa in questions)
    gold = score_files(SquadV2(dev=str(SAMPLE), predictions=tmp_path / "gold.json"))
    empty = score_files(SquadV2(dev=str(SAMPLE), predictions=tmp_path / "empty.json"))
    assert (gold.exact, gold.f1, gold.total) == (100.0, 100.0, len(questions))
    assert empty.exact == empty.f1 == pytest.approx(100 * impossible / len(questions))
    assert f"{len(questions)} questions each" in capsys.readouterr().out
