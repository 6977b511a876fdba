"""eval.squad_v1: the official 1.1 figures to the last digit, and where 1.1 differs from 2.0."""

import hashlib
import json
import re
import string
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.squad_v1 import SquadV1, normalize_answer, percent, score, score_files, token_f1

DATA = Path(__file__).parents[1].parent / "shared" / "data"
real = pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data: the SQuAD dev sets")


def squad(*golds):
    qas = [
        {"id": str(i), "question": "q", "answers": [{"text": t, "answer_start": 0} for t in texts]}
        for i, texts in enumerate(golds)
    ]
    return {"data": [{"paragraphs": [{"context": "", "qas": qas}]}]}


def transcribed(golds, said):
    """The rules of evaluate-v1.1.py, one by one."""

    def normal(text):
        text = "".join(c for c in text.lower() if c not in string.punctuation)
        return re.sub(r"\b(a|an|the)\b", " ", text).split()

    def overlap(gold, words):
        same = sum((Counter(gold) & Counter(words)).values())
        if same == 0:
            return 0
        precision, recall = 1.0 * same / len(words), 1.0 * same / len(gold)
        return (2 * precision * recall) / (precision + recall)

    exact = f1 = 0
    for texts, text in zip(golds, said, strict=True):
        exact += max(normal(gold) == normal(text) for gold in texts)
        f1 += max(overlap(normal(gold), normal(text)) for gold in texts)
    return 100.0 * exact / len(golds), 100.0 * f1 / len(golds)


TEXTS = st.text(st.sampled_from("aAnthe .,-'\n“é1x"), max_size=12)


@given(st.lists(st.tuples(st.lists(TEXTS, min_size=1, max_size=3), TEXTS), min_size=1))
def test_equals_the_rules(rows):
    golds, said = [row[0] for row in rows], [row[1] for row in rows]
    ours = score(squad(*golds), {str(i): text for i, text in enumerate(said)})
    assert (ours.exact_match, ours.f1) == transcribed(golds, said)


def test_nothing_against_nothing_scores_no_f1():
    """1.1 has no rule for empty answers: "the" equals "a", and shares no word with it."""
    scores = score(squad(["the"]), {"0": "a"})
    assert (scores.exact_match, scores.f1) == (100.0, 0.0)


def test_f1_by_hand():
    """Two words of three predicted are among the four wanted: 2 * (2/3 * 1/2) / (2/3 + 1/2)."""
    assert token_f1("x y z", "x y v w") == pytest.approx(4 / 7, abs=1e-15)


def test_sums_run_from_left_to_right():
    """Ten times 0.1 is 0.9999999999999999 so; a compensated sum (Python 3.12 on) gives 1.0."""
    assert percent([0.1] * 10) == 100.0 * 0.9999999999999999 / 10


@real
def test_equals_the_official_figures_to_the_last_digit():
    expected = json.loads((DATA / "predictions/expected.json").read_text())
    expected = expected["rnet-ensemble-dev-v1.1.json"]
    content = json.loads((DATA / "squad/dev-v1.1.json").read_text())
    said = json.loads((DATA / "predictions/rnet-ensemble-dev-v1.1.json").read_text())
    ours = score(content, said)
    found = {"exact_match": ours.exact_match, "f1": ours.f1}
    assert (found, ours.total) == (expected["scores"], expected["total"])


def test_unanswerable_questions_belong_to_v2():
    with pytest.raises(ValueError, match=r"question 1: no gold answer(?s:.)*eval\.squad_v2"):
        score(squad(["x"], []), {"0": "x", "1": ""})


def test_a_missing_id_is_named_and_not_scored_as_0():
    with pytest.raises(ValueError, match="question 1: no prediction"):
        score(squad(["x"], ["y"]), {"0": "x"})


def test_protocol_is_read_from_beside_the_predictions(tmp_path, capsys):
    (tmp_path / "dev.json").write_text(json.dumps(squad(["x"])))
    said = tmp_path / "predictions.json"
    said.write_text('{"0": "x"}')
    made = {"protocol_signature": "farm,384", "files": {"predictions.json": "0" * 64}}
    (tmp_path / "predict.json").write_text(json.dumps(made))
    config = SquadV1(dev=str(tmp_path / "dev.json"), predictions=said)
    assert "protocol:unknown|" in score_files(config).signature  # not the bytes it names
    made["files"]["predictions.json"] = hashlib.sha256(said.read_bytes()).hexdigest()
    (tmp_path / "predict.json").write_text(json.dumps(made))
    assert "protocol:farm,384|" in score_files(config).signature
    assert json.loads(capsys.readouterr().out.split("}\n")[0] + "}")["exact_match"] == 100.0


def test_normalising_is_idempotent():
    assert normalize_answer(normalize_answer("The A-Team, Inc.")) == "ateam inc"
