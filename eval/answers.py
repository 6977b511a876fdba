"""From a reader's logits to answers, by either of the two protocols that published scores used.

Array work throughout: the spans of all windows at once, then the windows of all questions. The
same by nested loops is in `eval.plain`, and the tests hold the two equal.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eval.windows import IntArray, Window, WindowRule

FloatArray = NDArray[np.float32]
DEFAULT_ANSWER_LENGTH = {"run_qa": 30, "farm": 1000}
NO_SPAN_ODDS = float(np.finfo(np.float32).max)
"""The null's lead where no span can be given at all: finite, as JSON has no infinity."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How a question is cut into windows and how the windows' logits become one answer.

    `run_qa`: transformers' example. The null scores its minimum over windows and wins if it beats
    the best span by more than the threshold.
    `farm`: Haystack 1.1 to 1.3, raw scores. The null wins if in every window it is at least as
    good as that window's best span (plus the threshold).

    Source: transformers examples/pytorch/question-answering/utils_qa.py; Haystack v1.1.0
    QuestionAnsweringHead.
    Differs: padding is never among the best starts and ends; equal logits go to the earlier token;
    where run_qa would answer the literal "empty" for want of a span, the answer is "".
    """

    name: Literal["run_qa", "farm"] = "run_qa"
    max_seq_length: int = 384
    doc_stride: int = 128
    max_query_length: int = 64
    max_answer_length: int | None = None
    """In tokens; None for the protocol's own: 30 for run_qa, 1,000 for farm."""
    n_best_size: int = 20
    """Spans kept of a question; for run_qa also the starts and ends tried in a window."""
    null_score_diff_threshold: float = 0.0

    def __post_init__(self) -> None:
        if self.max_answer_length is None:
            object.__setattr__(self, "max_answer_length", DEFAULT_ANSWER_LENGTH[self.name])
        for name in ("max_answer_length", "n_best_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)}: must be at least 1")
        if not np.isfinite(self.null_score_diff_threshold):
            raise ValueError("null_score_diff_threshold: must be a finite number")
        _ = self.window_rule

    @property
    def window_rule(self) -> WindowRule:
        """The window part of the protocol: `doc_stride` is an overlap, or a step for farm."""
        return WindowRule(
            max_seq_length=self.max_seq_length,
            doc_stride=self.doc_stride,
            max_query_length=self.max_query_length,
            stride_is="overlap" if self.name == "run_qa" else "step",
        )

    def null_wins(self, null_odds: float) -> bool:
        """Decide for 'no answer' from the null's lead over the spans."""
        if self.name == "run_qa":
            return null_odds > self.null_score_diff_threshold
        return null_odds >= self.null_score_diff_threshold

    def signature(self) -> str:
        """Name the protocol and its settings in a few words."""
        return (
            f"{self.name},len={self.max_seq_length},stride={self.doc_stride},"
            f"query={self.max_query_length},answer={self.max_answer_length},"
            f"nbest={self.n_best_size},null={self.null_score_diff_threshold}"
        )


class Span(NamedTuple):
    """A piece of the context that a reader offers: `context[start:end]`."""

    text: str
    start: int
    end: int
    start_logit: float
    end_logit: float
    score: float
    """Sum of the two logits."""


class Answer(NamedTuple):
    """What a reader says to one question."""

    text: str
    """Empty for 'no answer'."""
    start: int
    """First character of the answer in the context; 0 for 'no answer'."""
    end: int
    """Character after the last; 0 for 'no answer'."""
    score: float
    """Sum of the start and end logits of the answer, or of the null's."""
    no_answer_probability: float
    """Sigmoid of `null_odds`."""
    null_odds: float
    """The null's score less the best span's, as the protocol compares them."""
    spans: tuple[Span, ...]
    """The best spans, best first, without the null."""
    null: Span
    """The null's logits, with an empty text."""


@dataclass(frozen=True)
class WindowSpans:
    """The best spans of every window; the score is -inf where a window has fewer."""

    start: IntArray
    """First characters in the context, (windows, n)."""
    end: IntArray
    """Characters after the last, (windows, n)."""
    start_logit: FloatArray
    end_logit: FloatArray
    score: FloatArray
    """Falling in each row, (windows, n)."""
    null_start: FloatArray
    """Start logit of the class token, (windows,)."""
    null_end: FloatArray

    @classmethod
    def empty(cls, num_windows: int, n_best_size: int) -> "WindowSpans":
        """Make room for the spans of `num_windows`."""
        shape = (num_windows, n_best_size)
        return cls(
            start=np.zeros(shape, np.int32),
            end=np.zeros(shape, np.int32),
            start_logit=np.zeros(shape, np.float32),
            end_logit=np.zeros(shape, np.float32),
            score=np.full(shape, -np.inf, np.float32),
            null_start=np.zeros(num_windows, np.float32),
            null_end=np.zeros(num_windows, np.float32),
        )

    def put(self, rows: NDArray[np.int64], found: "WindowSpans") -> None:
        """Store the spans of some windows."""
        for name, values in vars(found).items():
            target = getattr(self, name)
            if target.ndim == 1:
                target[rows] = values
            else:
                target[rows, : values.shape[1]] = values


def find_spans(
    windows: Sequence[Window], start_logits: FloatArray, end_logits: FloatArray, protocol: Protocol
) -> WindowSpans:
    """Find the best spans of each window.

    Args:
        windows: a batch.
        start_logits, end_logits: (windows, length), padded on the right.
    """
    places = np.arange(start_logits.shape[1])
    lengths = np.array([len(window) for window in windows])
    real = places < lengths[:, None]
    starts = np.where(real, start_logits, -np.inf).astype(np.float32, copy=False)
    ends = np.where(real, end_logits, -np.inf).astype(np.float32, copy=False)
    context = np.zeros_like(real)
    offsets = np.zeros((*real.shape, 2), dtype=np.int32)
    for index, window in enumerate(windows):
        context[index, window.context_start : window.context_end] = True
        offsets[index, window.context_start : window.context_end] = window.offsets
    choose = _pairs_of_best if protocol.name == "run_qa" else _best_end_of_each_start
    first, last, score = choose(starts, ends, context, offsets, protocol)
    order = np.argsort(-score, axis=1, kind="stable")[:, : protocol.n_best_size]
    first, last = np.take_along_axis(first, order, axis=1), np.take_along_axis(last, order, axis=1)
    return WindowSpans(
        start=np.take_along_axis(offsets[:, :, 0], first, axis=1),
        end=np.take_along_axis(offsets[:, :, 1], last, axis=1),
        start_logit=np.take_along_axis(starts, first, axis=1),
        end_logit=np.take_along_axis(ends, last, axis=1),
        score=np.take_along_axis(score, order, axis=1),
        null_start=starts[:, 0],
        null_end=ends[:, 0],
    )


def choose_answers(
    rows: NDArray[np.int64],
    spans: WindowSpans,
    contexts: Sequence[str],
    protocol: Protocol,
    may_be_null: bool,
) -> list[Answer]:
    """Choose the answer of each question from the spans of its windows.

    Args:
        rows: the question of each window, never falling, (windows,).
        contexts: of each question.
        may_be_null: whether 'no answer' may be given.
    """
    num_questions = len(contexts)
    first_window = np.searchsorted(rows, np.arange(num_questions))
    null = spans.null_start + spans.null_end
    lead = np.minimum.reduceat(null - spans.score[:, 0], first_window)
    lowest = np.lexsort((null, rows))[first_window]
    picked, count = _best_of_questions(rows, spans.score, num_questions, protocol.n_best_size)
    table = [
        getattr(spans, name).ravel()[picked].tolist()
        for name in ("start", "end", "start_logit", "end_logit", "score")
    ]
    best_rows = np.concatenate([[0], np.cumsum(count)[:-1]])
    if protocol.name == "run_qa" and len(picked):
        best = picked[np.minimum(best_rows, len(picked) - 1)]
        lead = null[lowest] - spans.start_logit.ravel()[best] - spans.end_logit.ravel()[best]
    lead = np.where(count > 0, lead, np.float32(NO_SPAN_ODDS))
    probabilities = sigmoid(lead).tolist()
    nulls = np.stack([spans.null_start[lowest], spans.null_end[lowest], null[lowest]], 1).tolist()
    ranked = list(zip(*table, strict=True))
    answers = []
    for index, context in enumerate(contexts):
        begin = int(best_rows[index])
        offered = tuple(
            Span(context[start:end], start, end, start_logit, end_logit, score)
            for start, end, start_logit, end_logit, score in ranked[begin : begin + count[index]]
        )
        odds, empty = float(lead[index]), Span("", 0, 0, *nulls[index])
        says_null = not offered or (may_be_null and protocol.null_wins(odds))
        said = empty if says_null else offered[0]
        answers.append(
            Answer(
                *(said.text, said.start, said.end, said.score),
                *(probabilities[index], odds, offered, empty),
            )
        )
    return answers


def sigmoid(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """1 / (1 + exp(-x)), in double precision, without overflow for far values."""
    small = np.exp(-np.abs(values.astype(np.float64)))
    return np.where(values >= 0, 1.0, small) / (1.0 + small)


def _pairs_of_best(
    starts: FloatArray,
    ends: FloatArray,
    context: NDArray[np.bool_],
    offsets: IntArray,
    protocol: Protocol,
) -> tuple[NDArray[np.int64], NDArray[np.int64], FloatArray]:
    """run_qa: pair the n best starts with the n best ends of a window.

    Question and special tokens take part in the ranking and are left out after it, as there.
    """
    n = protocol.n_best_size
    first = np.argsort(-starts, axis=1, kind="stable")[:, :n]
    last = np.argsort(-ends, axis=1, kind="stable")[:, :n]
    pairs = (len(starts), -1)
    score = (
        np.take_along_axis(starts, first, 1)[:, :, None]
        + np.take_along_axis(ends, last, 1)[:, None, :]
    )
    length = last[:, None, :] - first[:, :, None] + 1
    inside = (
        np.take_along_axis(context, first, 1)[:, :, None]
        & np.take_along_axis(context, last, 1)[:, None, :]
    )
    begins = np.take_along_axis(offsets[:, :, 0], first, 1)[:, :, None]
    stops = np.take_along_axis(offsets[:, :, 1], last, 1)[:, None, :]
    assert protocol.max_answer_length is not None
    valid = inside & (length > 0) & (length <= protocol.max_answer_length) & (begins < stops)
    shape = score.shape
    return (
        np.broadcast_to(first[:, :, None], shape).reshape(pairs),
        np.broadcast_to(last[:, None, :], shape).reshape(pairs),
        np.where(valid, score, -np.inf).astype(np.float32, copy=False).reshape(pairs),
    )


def _best_end_of_each_start(
    starts: FloatArray,
    ends: FloatArray,
    context: NDArray[np.bool_],
    offsets: IntArray,
    protocol: Protocol,
) -> tuple[NDArray[np.int64], NDArray[np.int64], FloatArray]:
    """farm: the best span of all; for the n-best list, of each start its best end.

    The largest end logit within `max_answer_length` tokens is found by doubling: a range of
    2 w tokens is two ranges of w.
    """
    context = context & (offsets[:, :, 0] < offsets[:, :, 1])
    starts = np.where(context, starts, np.float32(-np.inf))
    best = np.where(context, ends, np.float32(-np.inf))
    length = ends.shape[1]
    last = np.broadcast_to(np.arange(length), ends.shape).copy()
    assert protocol.max_answer_length is not None
    limit, width = min(protocol.max_answer_length, length), 1
    while width < limit:
        shift = min(width, limit - width)
        better = best[:, shift:] > best[:, :-shift]
        best[:, :-shift] = np.where(better, best[:, shift:], best[:, :-shift])
        last[:, :-shift] = np.where(better, last[:, shift:], last[:, :-shift])
        width += shift
    return np.broadcast_to(np.arange(length), ends.shape), last, starts + best


def _best_of_questions(
    rows: NDArray[np.int64], score: FloatArray, num_questions: int, n_best_size: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rank the spans of all windows of each question; equal scores stay in their order.

    Returns:
        Flat indices of the spans, question by question, best first; and how many of each.
    """
    valid = np.flatnonzero(np.isfinite(score.ravel()))
    question = np.repeat(rows, score.shape[1])[valid]
    order = np.lexsort((-score.ravel()[valid], question))
    question = question[order]
    count = np.bincount(question, minlength=num_questions)
    rank = np.arange(len(order)) - np.repeat(np.cumsum(count) - count, count)
    kept = rank < n_best_size
    return valid[order[kept]], np.minimum(count, n_best_size)
