"""Logits to answers under both protocols: by hand, and against nested loops."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.benches.plain import plain_farm, plain_run_qa
from eval.reading.answers import NO_SPAN_ODDS, choose_answers, sigmoid
from eval.reading.protocol import Protocol
from eval.reading.spans import WindowSpans, find_spans, largest
from eval.reading.windows import Window, WindowRule

CONTEXT = "ab cd ef gh ij kl mn op qr st uv wx"
"""Twelve words of two letters: word i is at characters 3 i to 3 i + 2."""


def window(row, first, number):
    """`[CLS] q [SEP]`, words `first` to `first + number` of CONTEXT, `[SEP]`."""
    starts = 3 * np.arange(first, first + number, dtype=np.int32)
    ids = np.zeros(number + 4, np.int32)
    return Window(row, ids, None, 3, np.stack([starts, starts + 2], axis=1))


def answers_of(windows, logits, protocol, may_be_null=True, batch=3):
    """Through batches padded with a tempting 99, in another order than the windows'."""
    spans = WindowSpans.empty(len(windows), protocol.n_best_size)
    order = np.argsort([-len(w) for w in windows], kind="stable")
    for begin in range(0, len(order), batch):
        rows = order[begin : begin + batch]
        length = max(len(windows[row]) for row in rows) + 2
        padded = np.full((2, len(rows), length), 99, np.float32)
        for index, row in enumerate(rows):
            for side in (0, 1):
                padded[side, index, : len(windows[row])] = logits[row][side]
        spans.put(rows, find_spans([windows[row] for row in rows], *padded, protocol))
    rows = np.array([w.row for w in windows])
    contexts = [CONTEXT] * (int(rows[-1]) + 1)
    return choose_answers(rows, spans, contexts, protocol, may_be_null), contexts


def logits_of(length, null, **tokens):
    """Start and end logits: `null` is the class token's sum; `s4=3` sets start logit 4 to 3."""
    logits = (np.full(length, -9, np.float32), np.full(length, -9, np.float32))
    logits[0][0] = null
    logits[1][0] = 0
    for name, value in tokens.items():
        logits["se".index(name[0])][int(name[1:])] = value
    return logits


TWO = [window(0, 0, 6), window(0, 4, 6)]
"""Two windows of one question, over words 0 to 5 and 4 to 9."""


def test_where_the_protocols_differ():
    """Two windows. In both the null beats that window's own best span:

    window 0: span "cd" 2 + 1 = 3, null 4; window 1: span "ij" 4 + 5 = 9, null 10.
    farm: every window says null, so "" (its lead is min(4 - 3, 10 - 9) = 1).
    run_qa: the smallest null, 4, against the best span, 9: -5, so "ij".
    """
    logits = [logits_of(10, 4, s4=2, e4=1), logits_of(10, 10, s3=4, e3=5)]
    farm = answers_of(TWO, logits, Protocol(name="farm"))[0][0]
    run_qa = answers_of(TWO, logits, Protocol(name="run_qa"))[0][0]
    assert (farm.text, farm.null_odds) == ("", 1.0)
    assert (run_qa.text, run_qa.null_odds) == ("ij", -5.0)
    assert (run_qa.start, run_qa.end, run_qa.score) == (12, 14, 9.0)
    assert run_qa.no_answer_probability == pytest.approx(1 / (1 + np.exp(5)), rel=1e-12)
    assert farm.score == 4.0  # of the null that it says


def test_one_window_that_answers_is_enough_for_farm():
    """Window 1 prefers its span, 9, to its null, 8: farm answers with it."""
    logits = [logits_of(10, 4, s4=2, e4=1), logits_of(10, 8, s3=4, e3=5)]
    farm = answers_of(TWO, logits, Protocol(name="farm"))[0][0]
    assert (farm.text, farm.null_odds) == ("ij", -1.0)


@pytest.mark.parametrize(
    ("name", "null", "threshold", "text"),
    [
        ("run_qa", 3, 0, "cd"),  # equal: run_qa wants the null to lead
        ("farm", 3, 0, ""),  # equal: Haystack puts the null first
        ("run_qa", 4, 0, ""),
        ("run_qa", 4, 1, "cd"),
        ("run_qa", 1, -3, ""),
        ("farm", 4, 2, "cd"),
        ("farm", 2, -1, ""),
    ],
)
def test_threshold(name, null, threshold, text):
    protocol = Protocol(name=name, null_score_diff_threshold=threshold)
    logits = [logits_of(10, null, s4=2, e4=1)]
    assert answers_of(TWO[:1], logits, protocol)[0][0].text == text
    assert answers_of(TWO[:1], logits, protocol, may_be_null=False)[0][0].text == "cd"


def test_answer_length_counts_tokens():
    """Start 4 and end 7 are four words: too long for 3; the best shorter one is 4 to 6."""
    logits = [logits_of(10, -9, s4=5, e7=5, e6=4)]
    for name in ("run_qa", "farm"):
        assert answers_of(TWO[:1], logits, Protocol(name=name))[0][0].text == "cd ef gh ij"
        short = Protocol(name=name, max_answer_length=3)
        assert answers_of(TWO[:1], logits, short)[0][0].text == "cd ef gh"
    assert Protocol(name="run_qa").max_answer_length == 30
    assert Protocol(name="farm").max_answer_length == 1000


def test_the_spans_of_an_answer_are_a_sequence():
    """Ranked: "cd" 5 + 5, "cd ef" 5 + 4, "ef" 1 + 4, of which two are kept."""
    logits = [logits_of(10, -9, s4=5, e4=5, s5=1, e5=4)]
    answer = answers_of(TWO[:1], logits, Protocol(n_best_size=2))[0][0]
    cd, cd_ef = answer.spans
    assert (cd.text, cd.start, cd.end, cd.start_logit, cd.end_logit, cd.score) == (
        *("cd", 3, 5),
        *(5, 5, 10),
    )
    assert (cd_ef.text, cd_ef.score) == ("cd ef", 9)
    assert len(answer.spans) == 2
    assert (answer.spans[0], answer.spans[1]) == (cd, cd_ef)
    assert (answer.spans[-1], answer.spans[-2]) == (cd_ef, cd)
    assert (answer.spans[:1], answer.spans[1:]) == ((cd,), (cd_ef,))
    with pytest.raises(IndexError):
        answer.spans[2]
    assert answer.null == ("", 0, 0, -9, 0, -9)
    assert (answer.text, answer.start, answer.end, answer.score) == ("cd", 3, 5, 10)


def test_a_protocol_says_all_that_counts():
    assert Protocol().signature() == (
        "run_qa,len=384,stride=128,query=None,answer=30,nbest=20,null=0.0"
    )
    farm = Protocol(name="farm", doc_stride=100, n_best_size=1, null_score_diff_threshold=-1.5)
    assert farm.signature() == "farm,len=384,stride=100,query=64,answer=1000,nbest=1,null=-1.5"
    given = {"stride_is": "step", "strip_questions": False, "answers_end": "next"}
    rule = WindowRule(max_seq_length=384, doc_stride=100, max_query_length=64, **given)
    assert farm.window_rule == rule
    assert Protocol().window_rule == WindowRule(max_query_length=sys.maxsize)
    assert Protocol(max_answer_length=1).max_answer_length == 1


def test_run_qa_ranks_question_tokens_and_then_drops_them():
    """With one start tried, the best start is the question's: no span is left, so "" it is."""
    logits = [logits_of(10, -9, s1=7, s4=5, e4=5)]
    answer = answers_of(TWO[:1], logits, Protocol(n_best_size=1))[0][0]
    assert (answer.text, len(answer.spans), answer.null_odds) == ("", 0, NO_SPAN_ODDS)
    assert answer.no_answer_probability == 1.0  # and never run_qa's literal "empty"
    assert answers_of(TWO[:1], logits, Protocol(n_best_size=2))[0][0].text == "cd"
    assert answers_of(TWO[:1], logits, Protocol(name="farm", n_best_size=1))[0][0].text == "cd"


def test_a_context_without_tokens_is_answered_by_nothing():
    for name in ("run_qa", "farm"):
        empty = answers_of([window(0, 0, 0)], [logits_of(4, -5)], Protocol(name=name), False)
        assert (empty[0][0].text, empty[0][0].no_answer_probability) == ("", 1.0)


def test_a_token_of_no_width_is_no_answer_for_run_qa_and_an_empty_one_for_farm():
    """Haystack ranks such a span with the others and gives its text, ""."""
    only = window(0, 0, 3)
    only.offsets[1] = [4, 4]
    logits = [logits_of(7, -20, s4=5, e4=5, s3=1, e3=1)]
    for name, empty in (("run_qa", False), ("farm", True)):
        answer = answers_of([only], logits, Protocol(name=name))[0][0]
        assert (answer.text == "", answer.null_odds < 0) == (empty, True)


LOGIT = st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0]) | st.floats(-4, 4, width=32)


@st.composite
def questions(draw):
    """Some questions of one to three windows, with logits full of ties."""
    windows, logits = [], []
    for row in range(draw(st.integers(1, 3))):
        for _ in range(draw(st.integers(1, 3))):
            first = draw(st.integers(0, 11))
            windows.append(window(row, first, draw(st.integers(1, 12 - first))))
            sides = st.lists(LOGIT, min_size=len(windows[-1]), max_size=len(windows[-1]))
            logits.append(tuple(np.array(draw(sides), np.float32) for _ in range(2)))
    return windows, logits


@settings(max_examples=300, deadline=None)
@given(
    given_logits=questions(),
    n_best=st.integers(1, 20),
    longest=st.integers(1, 13),
    may_be_null=st.booleans(),
)
def test_run_qa_equals_nested_loops(given_logits, n_best, longest, may_be_null):
    windows, logits = given_logits
    protocol = Protocol(n_best_size=n_best, max_answer_length=longest)
    ours, contexts = answers_of(windows, logits, protocol, may_be_null)
    plain = plain_run_qa(windows, logits, contexts, protocol, may_be_null)
    assert [answer.text for answer in ours] == [result["text"] for result in plain]
    assert [answer.null_odds for answer in ours] == [result["null_odds"] for result in plain]
    for answer, result in zip(ours, plain, strict=True):
        named = [(s["text"], s["score"], s["start_logit"]) for s in result["nbest"]]
        assert [(s.text, s.score, s.start_logit) for s in answer.spans] == named
        assert answer.null.score == result["null"]["score"]


@settings(max_examples=300, deadline=None)
@given(given_logits=questions(), longest=st.integers(1, 13), may_be_null=st.booleans())
def test_farm_equals_the_full_matrix(given_logits, longest, may_be_null):
    windows, logits = given_logits
    protocol = Protocol(name="farm", max_answer_length=longest)
    ours, contexts = answers_of(windows, logits, protocol, may_be_null)
    plain = plain_farm(windows, logits, contexts, protocol, may_be_null)
    assert [answer.null_odds for answer in ours] == [result["null_odds"] for result in plain]
    assert [answer.spans[0].score for answer in ours] == [result["score"] for result in plain]
    assert [not answer.text for answer in ours] == [not result["text"] for result in plain]


def test_sigmoid_of_far_values():
    found = sigmoid(np.array([-1e30, -1.0, 0.0, 1.0, 3e38], np.float32))
    assert found[[0, 2, 4]].tolist() == [0.0, 0.5, 1.0]
    assert found[1] + found[3] == pytest.approx(1, abs=1e-15)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_best_size": 0}, "n_best_size 0: must be at least 1"),
        ({"max_answer_length": 0}, "max_answer_length 0: must be at least 1"),
        ({"null_score_diff_threshold": float("nan")}, "must be a finite number"),
        ({"max_seq_length": 0}, "max_seq_length 0: must be at least 1"),
    ],
)
def test_bad_settings(wrong, message):
    with pytest.raises(ValueError, match=message):
        Protocol(**wrong)


@given(
    st.lists(LOGIT | st.just(-np.inf) | st.just(-0.0), min_size=1, max_size=40),
    st.integers(1, 40),
)
def test_largest_equals_a_stable_sort(values, number):
    row = np.array([values], np.float32)
    found = largest(row, min(number, len(values)))
    assert found.tolist() == np.argsort(-row, axis=1, kind="stable")[:, :number].tolist()
