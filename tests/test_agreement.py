"""eval.agreement: groups and shares by hand, and a real reader over a few rows."""

import json

import pytest

from augment.base.command import UsageError
from augment.base.models import model_sha256
from augment.build import BuildConfig, build
from augment.check import check
from augment.shards import open_shards, read_rows
from eval.agreement import (
    Agreement,
    JudgedRow,
    agreement,
    by_copy,
    by_share,
    judge,
    pick_rows,
    table,
)
from eval.reading.protocol import Protocol
from eval.reading.reader import Reader
from eval.squad_v2 import question_scores
from tests.small_sets import small_set
from tests.tiny_readers import save_bert


def row(source, copy, context, texts=(), question="who sat ?"):
    return {
        "id": source if copy == 0 else f"{source}#{copy:02}",
        "source_id": source,
        "copy_index": copy,
        "context": context,
        "question": question,
        "answers": {"text": list(texts), "answer_start": [context.find(t) for t in texts]},
        "is_impossible": not texts,
        "title": "",
    }


JUDGED = [
    JudgedRow("x", 0, 0.0, 1, 1.0, "a"),
    JudgedRow("y", 0, 0.0, 0, 0.5, "a"),
    JudgedRow("x", 1, 0.1, 1, 1.0, "a"),
    JudgedRow("y", 1, 0.15, 1, 1.0, "a"),
    JudgedRow("x", 2, 0.2, 0, 0.5, "a"),
    JudgedRow("y", 2, 0.0, 0, 0.0, "a"),
]
"""Two questions; the reader is right on the original of x alone."""


def test_groups_by_hand():
    """`kept` looks at x alone: right in copy 1, wrong in copy 2."""
    found = [(g.name, g.rows, g.exact, g.f1, g.kept) for g in by_copy(JUDGED)]
    assert found == [
        ("original", 2, 50.0, 75.0, 100.0),
        ("all copies", 4, 50.0, 62.5, 50.0),
        ("1", 2, 100.0, 100.0, 100.0),
        ("2", 2, 0.0, 25.0, 0.0),
    ]
    found = [(g.name, g.rows, g.exact, g.kept) for g in by_share(JUDGED)]
    assert found == [
        ("none", 1, 0.0, None),
        ("over 0 to 10 %", 1, 100.0, 100.0),
        ("over 10 to 20 %", 2, 50.0, 0.0),
    ]


def test_table():
    lines = table("copy", by_copy(JUDGED)).splitlines()
    assert lines[2] == "| original | 2 | 50.0 | 75.0 | 100.0 |"
    assert "| none | 1 | 0.0 | 0.0 | - |" in table("words", by_share(JUDGED))


def test_a_sample_takes_all_copies_of_evenly_spread_questions():
    rows = [row(source, copy, "the cat") for copy in range(3) for source in "abcdef"]
    picked = pick_rows(lambda: rows, 2)
    assert [(r["source_id"], r["copy_index"]) for r in picked] == [
        (source, copy) for copy in range(3) for source in "ad"
    ]
    assert pick_rows(lambda: rows, 99) == rows


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    protocol = Protocol(max_seq_length=40, doc_stride=8, max_query_length=12)
    return Reader.load(save_bert(tmp_path_factory.mktemp("r")), protocol=protocol, device="cpu")


def test_rows_are_judged_by_the_readers_own_answers(reader):
    """Labels made of what the reader says: all right; then one of them spoiled."""
    contexts = ["The cat sat on the mat .", "The dog sat on the mat ."]
    said = reader.answer_many([("who sat ?", text) for text in contexts], may_be_null=False)
    rows = [
        row("x", copy, text, [answer.text])
        for copy, (text, answer) in enumerate(zip(contexts, said, strict=True))
    ]
    judged = judge(rows, reader, may_be_null=False)
    assert [(j.copy_index, j.exact, j.f1) for j in judged] == [(0, 1, 1.0), (1, 1, 1.0)]
    assert judged[1].share_replaced == 1 / 7
    rows[1]["answers"]["text"] = ["nothing of it"]
    assert [j.exact for j in judge(rows, reader, may_be_null=False)] == [1, 0]


def test_copies_without_their_original(reader):
    with pytest.raises(ValueError, match="question x: copies without their original"):
        judge([row("x", 1, "the cat")], reader, may_be_null=False)


def test_the_file_says_how_the_figures_were_made(tmp_path, glove_file, monkeypatch, capsys):
    """The tiny reader has 64 positions, so the protocol's windows are made short."""
    (tmp_path / "train.json").write_text(json.dumps(small_set()))
    places = {"train": str(tmp_path / "train.json"), "out": tmp_path / "set"}
    build(BuildConfig(**places, mlm="none", glove=str(glove_file), num_shards=1, num_workers=1))
    model, written = save_bert(tmp_path / "bert"), tmp_path / "figures.json"
    short = {"max_seq_length": 40, "doc_stride": 8, "max_query_length": 12}
    monkeypatch.setattr("eval.agreement.Protocol", lambda name: Protocol(name=name, **short))
    agreement(Agreement(augmented=tmp_path / "set", model=str(model), sample=2, out_file=written))
    text = written.read_text()
    made = json.loads(text)["configuration"]
    assert (made["augmented"], made["model"], made["sample"]) == ("set", "bert", 2)
    assert (made["dtype"], made["model_sha256"]) == ("float32", model_sha256(model))
    assert made["protocol"]["max_answer_length"] == 30
    assert str(tmp_path) not in text


def test_answers_become_columns_that_everything_reads(tmp_path, glove_file, monkeypatch):
    """Checked, opened, filtered and read again as a set; the labels and texts are the old ones."""
    (tmp_path / "train.json").write_text(json.dumps(small_set()))
    places = {"train": str(tmp_path / "train.json"), "out": tmp_path / "set"}
    build(BuildConfig(**places, mlm="none", glove=str(glove_file), num_shards=2, num_workers=1))
    model = save_bert(tmp_path / "bert")
    short = {"max_seq_length": 40, "doc_stride": 8, "max_query_length": 12}
    monkeypatch.setattr("eval.agreement.Protocol", lambda name: Protocol(name=name, **short))
    out = tmp_path / "judged"
    asked = Agreement(augmented=tmp_path / "set", model=str(model), sample=1, write=out)
    figures = agreement(asked)
    assert check(out) == check(tmp_path / "set")
    before, after = list(read_rows(tmp_path / "set")), list(read_rows(out))
    assert [{name: row[name] for name in before[0]} for row in after] == before
    assert f"|n:{len(after)}|" in figures["signature"]  # all of them, whatever the sample
    for row in after:
        _, f1 = question_scores(row["reader_answer"], tuple(row["answers"]["text"]))
        assert row["reader_f1"] == pytest.approx(f1)
    assert {row["reader_f1"] for row in after} > {0.0}
    opened = open_shards(out, cache=tmp_path / "cache")
    wrong = opened.filter(lambda row: row["reader_f1"] == 0.0)
    assert 0 < len(wrong) < len(after)
    judged = json.loads((out / "manifest.json").read_text())["judged"]
    assert judged["model_sha256"] == model_sha256(model)
    card = (out / "README.md").read_text()
    assert "what the reader `bert` answered" in card
    assert "- name: reader_f1\n    dtype: float" in card
    with pytest.raises(UsageError, match="judged: exists; choose another folder"):
        agreement(asked)


def test_usage():
    with pytest.raises(UsageError, match="sample 0: must be at least 1"):
        Agreement(augmented="set", model="m", sample=0)
