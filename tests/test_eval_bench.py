"""eval.bench: its arithmetic, and that both ways of every row are run and compared."""

import json

import numpy as np
import pytest

from augment.base.command import UsageError
from eval.bench import Bench, bench
from eval.benches.plain import plain_run_qa
from eval.benches.predicting import (
    answers_from_logits,
    equal_answers,
    plain_logits,
    sorted_logits,
    unpadded,
)
from eval.benches.timing import Comparison, take_turns
from eval.reading.protocol import Protocol
from eval.reading.reader import Reader
from eval.reading.windows import cut_windows
from tests.tiny_readers import CONTEXTS, save_bert, write_dev


def test_a_row_by_hand():
    row = Comparison("x", (2.0, 4.0, 9.0), (1.0, 1.0, 3.0), "y")
    assert row.ratios == [2.0, 4.0, 3.0]
    assert row.line() == "| x | 4 s | 1 s | 3.0 (2.0 to 4.0) | y |"


def test_the_ways_take_turns():
    log = []
    plain, ours = take_turns(lambda: log.append("p"), lambda: log.append("o"), 2)
    assert log == ["p", "o"] * 3  # the first turn does not count
    assert len(plain) == len(ours) == 2


def test_scoring_row_scores_equally_by_both_commands(tmp_path, capsys):
    dev = write_dev(tmp_path / "dev.json")
    config = Bench(rows=("scoring",), dev=dev, repeats=1, out_file=tmp_path / "bench.json")
    (row,) = bench(config)
    assert row.note == "6 predictions; equal scores"
    assert row.line() in capsys.readouterr().out
    written = json.loads((tmp_path / "bench.json").read_text())
    assert written["rows"][0]["ratio"] == row.ratio
    assert written["cores"] >= 1


def test_answers_of_a_reader_are_equal_both_ways(tmp_path):
    protocol = Protocol(max_seq_length=40, doc_stride=8, max_query_length=12)
    reader = Reader.load(save_bert(tmp_path), protocol=protocol, device="cpu", batch_size=3)
    contexts = [text for text in CONTEXTS for _ in range(3)]
    questions = ["who sat ?", "what river ?", "where in france ?"] * 3
    windows = cut_windows(reader.tokenizer, questions, contexts, protocol.window_rule).windows
    logits = plain_logits(reader, windows)
    plain = plain_run_qa(windows, unpadded(windows, logits), contexts, protocol, True)
    ours = answers_from_logits(windows, logits, contexts, protocol, batch_size=4)
    assert equal_answers(ours, plain)
    assert [a.text for a in reader.read(questions, contexts)] == [r["text"] for r in plain]
    for one, other in zip(
        unpadded(windows, sorted_logits(reader, windows)), unpadded(windows, logits), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-4)
    plain[3]["nbest"][0]["text"] += "!"
    assert not equal_answers(ours, plain)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rows": ("scoring",)}, "--dev"),
        ({"rows": ("answers",), "dev": "dev.json"}, "--model"),
        ({"repeats": 0}, "repeats 0: must be at least 1"),
        ({"sample": 0}, "sample 0: must be at least 1"),
    ],
)
def test_usage(wrong, message):
    with pytest.raises(UsageError, match=message):
        Bench(**wrong)
