"""From the best spans of all windows to the answer of each question.

Array work over all questions; the same by nested loops is in `eval.benches.plain`, and the tests
hold the two equal.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from eval.reading.protocol import Protocol
from eval.reading.spans import FloatArray, WindowSpans

NO_SPAN_ODDS = float(np.finfo(np.float32).max)
"""The null's lead where no span can be given at all: finite, as JSON has no infinity."""


class Span(NamedTuple):
    """A piece of the context that a reader offers: `context[start:end]`."""

    text: str
    start: int
    end: int
    start_logit: float
    end_logit: float
    score: float
    """Sum of the two logits."""


class RankedSpans(Sequence[Span]):
    """The spans of one question, best first, cut out of the context when they are looked at.

    Most of the twenty are never looked at, and making them all takes longer than finding them.
    """

    def __init__(self, context: str, columns: Sequence[NDArray[Any]], rows: slice) -> None:
        self._context, self._columns, self._rows = context, columns, rows

    def __len__(self) -> int:
        return int(self._rows.stop - self._rows.start)

    @overload
    def __getitem__(self, index: int) -> Span: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Span]: ...
    def __getitem__(self, index: int | slice) -> Span | Sequence[Span]:
        if isinstance(index, slice):
            return tuple(self)[index]
        row = range(self._rows.start, self._rows.stop)[index]
        start, end, *scores = (column.item(row) for column in self._columns)
        return Span(self._context[start:end], start, end, *scores)

    def __iter__(self) -> Iterator[Span]:
        columns = [column[self._rows].tolist() for column in self._columns]
        texts = (self._context[start:end] for start, end in zip(*columns[:2], strict=True))
        return map(Span._make, zip(texts, *columns, strict=True))


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
    spans: Sequence[Span]
    """The best spans, best first, without the null."""
    null: Span
    """The null's logits, with an empty text."""


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
    first_window = np.searchsorted(rows, np.arange(len(contexts)))
    null = spans.null_start + spans.null_end
    lowest = np.lexsort((null, rows))[first_window]
    nulls = np.stack([spans.null_start[lowest], spans.null_end[lowest], null[lowest]], axis=1)
    picked, count = _best_of_questions(rows, spans.score, len(contexts), protocol.n_best_size)
    names = ("start", "end", "start_logit", "end_logit", "score")
    columns = [getattr(spans, name).ravel()[picked] for name in names]
    ends = np.cumsum(count)
    if protocol.name == "run_qa":
        begins = ends - count  # at the very end for a last question without spans: hence the 0
        start_logit, end_logit = (np.append(c, np.float32(0))[begins] for c in columns[2:4])
        odds = nulls[:, 2] - start_logit - end_logit
    else:
        odds = np.minimum.reduceat(null - spans.score[:, 0], first_window)
    odds = np.where(count > 0, odds, np.float32(NO_SPAN_ODDS))
    table = zip(
        contexts,
        (ends - count).tolist(),
        ends.tolist(),
        odds.tolist(),
        sigmoid(odds).tolist(),
        nulls.tolist(),
        strict=True,
    )
    answers = []
    for context, begin, end, lead, probability, empty in table:
        offered = RankedSpans(context, columns, slice(begin, end))
        null_span = Span("", 0, 0, *empty)
        says_null = begin == end or (may_be_null and protocol.null_wins(lead))
        said = null_span if says_null else offered[0]
        answer = (said.text, said.start, said.end, said.score, probability, lead)
        answers.append(Answer(*answer, offered, null_span))
    return answers


def sigmoid(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """1 / (1 + exp(-x)), in double precision, without overflow for far values."""
    small = np.exp(-np.abs(values.astype(np.float64)))
    return np.where(values >= 0, 1.0, small) / (1.0 + small)


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
