"""From logits to the best spans of each window, by array work over a batch of windows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eval.reading.protocol import Protocol
from eval.reading.windows import IntArray, Window

FloatArray = NDArray[np.float32]


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
    if protocol.name == "run_qa":
        first, last, score = _pairs_of_best(starts, ends, context, offsets, protocol)
    else:
        first, last, score = _best_end_of_each_start(starts, ends, context, protocol)
    order = largest(score, protocol.n_best_size)
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


def largest(values: FloatArray, number: int) -> NDArray[np.int64]:
    """Find the indices of the largest values of each row, largest first, equal ones in order.

    Sorts 64-bit keys, value above and index below, which NumPy does several times faster than a
    stable argsort: the bits of a float, read as an integer, rise with it once those of negative
    numbers are turned over.

    Args:
        values: (rows, columns), no NaN.
        number: how many; no more than there are columns.

    Returns:
        (rows, number)
    """
    keys = (values + np.float32(0)).view(np.int32).astype(np.int64)  # + 0 makes -0.0 equal 0.0
    keys ^= (keys >> 32) & 0x7FFFFFFF
    keys <<= 32
    columns = values.shape[1]
    keys |= np.arange(columns - 1, -1, -1)
    keys.sort(axis=1)
    found: NDArray[np.int64] = (columns - 1) - (keys[:, : -number - 1 : -1] & 0xFFFFFFFF)
    return found


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
    first, last = largest(starts, n), largest(ends, n)
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
    protocol: Protocol,
) -> tuple[NDArray[np.int64], NDArray[np.int64], FloatArray]:
    """farm: the best span of all; for the n-best list, of each start its best end.

    The largest end logit within `max_answer_length` tokens is found by doubling: a range of
    2 w tokens is two ranges of w.
    """
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
