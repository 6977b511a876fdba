"""Cut a question and its context into overlapping windows that fit a reader.

A window is `[CLS] question [SEP] part of the context [SEP]`, or what the tokenizer makes of a
pair. Used to train and to predict. Each distinct text is tokenised once, whatever the number of
questions asked of a context or its copies; text such as "[MASK]" stays text.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from augment.variants.offsets import check_offsets, holds_blanks, trimmed

IntArray = NDArray[np.int32]

CHUNK = 1000
"""Texts handed to the tokenizer at once: bounds the memory of its lists of Python integers."""


@dataclass(frozen=True, kw_only=True)
class WindowRule:
    """How far apart windows lie and how long they are, in tokens."""

    max_seq_length: int = 384
    """A window with its special tokens."""
    doc_stride: int = 128
    """See `stride_is`."""
    max_query_length: int = 64
    """A longer question loses its end; counted."""
    stride_is: Literal["overlap", "step"] = "overlap"
    """`overlap`: tokens that neighbouring windows share (run_qa, and training here).
    `step`: tokens between the starts of neighbouring windows (farm)."""
    strip_questions: bool = True
    """Drop white space before a question (run_qa). To a byte-level tokenizer it is tokens."""
    answers_end: Literal["own", "next"] = "own"
    """`own`: where the answer's last token ends (run_qa, and training here). `next`: where the
    token after it starts, stripped of white space (farm): with what the tokenizer dropped between;
    a span of white space alone is empty."""

    def __post_init__(self) -> None:
        for name in ("max_seq_length", "doc_stride", "max_query_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)}: must be at least 1")

    def step(self, capacity: int) -> int:
        """Tokens from one window's start to the next, where `capacity` context tokens fit.

        Raises:
            ValueError: the windows would stand still or leave gaps.
        """
        step = capacity - self.doc_stride if self.stride_is == "overlap" else self.doc_stride
        if not 0 < step <= capacity:
            raise ValueError(
                f"max_seq_length {self.max_seq_length} leaves room for {capacity} tokens of "
                f"context beside the longest question; with doc_stride {self.doc_stride} as "
                f"{self.stride_is} windows cannot cover it; change max_seq_length or doc_stride"
            )
        return step


@dataclass(frozen=True, slots=True)
class Window:
    """One input of a reader."""

    row: int
    """Which of the rows given to `cut_windows` it belongs to."""
    input_ids: IntArray
    """(length,), without padding; the first token is [CLS] or its like."""
    token_type_ids: IntArray | None
    """(length,), where the tokenizer has them."""
    context_start: int
    """Position of the first context token."""
    offsets: IntArray
    """(context tokens, 2): start and end of each in the context, in characters."""

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def context_end(self) -> int:
        """Position after the last context token."""
        return self.context_start + len(self.offsets)

    def context_mask(self) -> NDArray[np.bool_]:
        """True for context tokens, (length,)."""
        places = np.arange(len(self))
        return (self.context_start <= places) & (places < self.context_end)


@dataclass(frozen=True)
class WindowSet:
    """The windows of some rows, in the rows' order."""

    windows: tuple[Window, ...]
    counts: dict[str, int]


def cut_windows(
    tokenizer: Any, questions: Sequence[str], contexts: Sequence[str], rule: WindowRule
) -> WindowSet:
    """Cut rows into windows; a row has at least one.

    Args:
        tokenizer: a fast tokenizer that puts its class token first.
        questions, contexts: one of each for every row.

    Raises:
        ValueError: a tokenizer that cannot do it, or a rule whose windows cannot move on.
    """
    layout = _PairLayout.of(tokenizer)
    if rule.strip_questions:
        questions = [text.lstrip() for text in questions]
    asked = _tokenize_distinct(tokenizer, questions)
    tokenized = _tokenize_distinct(tokenizer, contexts)
    if rule.answers_end == "next":
        tokenized = _ended_at_next(contexts, tokenized)
    longest = min(max((len(ids) for ids, _ in asked), default=0), rule.max_query_length)
    rule.step(rule.max_seq_length - layout.num_special - longest)
    windows: list[Window] = []
    counts = {"questions": len(asked), "questions_truncated": 0, "questions_in_many_windows": 0}
    for row, ((question, _), (ids, offsets)) in enumerate(zip(asked, tokenized, strict=True)):
        counts["questions_truncated"] += len(question) > rule.max_query_length
        question = question[: rule.max_query_length]
        capacity = rule.max_seq_length - layout.num_special - len(question)
        spans = window_spans(len(ids), capacity, rule.step(capacity))
        counts["questions_in_many_windows"] += len(spans) > 1
        for start, end in spans:
            windows.append(layout.window(row, question, ids[start:end], offsets[start:end]))
    return WindowSet(tuple(windows), {**counts, "windows": len(windows)})


def window_spans(num_tokens: int, capacity: int, step: int) -> list[tuple[int, int]]:
    """Cut `num_tokens` into spans of at most `capacity`; the last is the first to reach the end."""
    spans = [(0, min(capacity, num_tokens))]
    while spans[-1][1] < num_tokens:
        start = spans[-1][0] + step
        spans.append((start, min(start + capacity, num_tokens)))
    return spans


def label_window(window: Window, start: int, end: int) -> tuple[int, int]:
    """Find the first and the last token of the answer `context[start:end]`.

    Returns:
        Token positions in the window, both inclusive; (0, 0), the class token, when the answer
        is not wholly inside.
    """
    starts, ends = window.offsets[:, 0], window.offsets[:, 1]
    if len(starts) == 0 or start < starts[0] or end > ends[-1]:
        return 0, 0
    first = int(np.searchsorted(ends, start, side="right"))
    last = int(np.searchsorted(starts, end, side="left")) - 1
    return window.context_start + first, window.context_start + last


def pad_windows(
    windows: Sequence[Window], pad_token_id: int, length: int | None = None
) -> dict[str, NDArray[np.int64]]:
    """Stack windows as a model's inputs, padded on the right to the longest or to `length`.

    Returns:
        input_ids, attention_mask and, where there are any, token_type_ids: (windows, length).
    """
    shape = (len(windows), length or max(map(len, windows)))
    batch = {
        "input_ids": np.full(shape, pad_token_id, dtype=np.int64),
        "attention_mask": np.zeros(shape, dtype=np.int64),
    }
    if windows[0].token_type_ids is not None:
        batch["token_type_ids"] = np.zeros(shape, dtype=np.int64)
    for index, window in enumerate(windows):
        batch["input_ids"][index, : len(window)] = window.input_ids
        batch["attention_mask"][index, : len(window)] = 1
        if window.token_type_ids is not None:
            batch["token_type_ids"][index, : len(window)] = window.token_type_ids
    return batch


@dataclass(frozen=True)
class _PairLayout:
    """The special tokens around a pair, and the token types, as the tokenizer itself sets them."""

    special: tuple[IntArray, IntArray, IntArray]
    """Before the question, between it and the context, after the context."""
    types: tuple[int, int, int, int, int] | None
    """Of: before, question, between, context, after."""

    @classmethod
    def of(cls, tokenizer: Any) -> "_PairLayout":
        """Read the layout off an encoded pair of two short words."""
        if not getattr(tokenizer, "is_fast", False):
            raise ValueError(
                f"{type(tokenizer).__name__} gives no character positions; this needs a fast "
                "tokenizer (a tokenizer.json beside the model)"
            )
        check_offsets(tokenizer)
        pair = tokenizer("a", "a", return_special_tokens_mask=True, return_token_type_ids=True)
        sides = pair.sequence_ids(0)
        first, second = sides.index(0), sides.index(1)
        bounds = [first, first + sides.count(0), second, second + sides.count(1)]
        ids = np.array(pair["input_ids"], dtype=np.int32)
        if first == 0 or ids[0] not in (tokenizer.cls_token_id, tokenizer.bos_token_id):
            raise ValueError(
                f"{type(tokenizer).__name__} does not begin a pair with a class token; "
                "'no answer' has no place in its windows"
            )
        special = (ids[: bounds[0]], ids[bounds[1] : bounds[2]], ids[bounds[3] :])
        types = None
        if "token_type_ids" in tokenizer.model_input_names:
            given = pair["token_type_ids"]
            types = (given[0], given[first], given[bounds[1]], given[second], given[-1])
        return cls(special, types)

    @property
    def num_special(self) -> int:
        """Special tokens of a window."""
        return sum(map(len, self.special))

    def window(self, row: int, question: IntArray, part: IntArray, offsets: IntArray) -> Window:
        """Put a window together."""
        before, between, after = self.special
        pieces = (before, question, between, part, after)
        types = None
        if self.types is not None:
            types = np.repeat(np.array(self.types, np.int32), [len(piece) for piece in pieces])
        context_start = len(before) + len(question) + len(between)
        return Window(row, np.concatenate(pieces), types, context_start, offsets)


def _ended_at_next(
    contexts: Sequence[str], tokenized: Sequence[tuple[IntArray, IntArray]]
) -> list[tuple[IntArray, IntArray]]:
    """Let each token end where the next one starts, without white space; equal contexts once."""
    moved: dict[str, tuple[IntArray, IntArray]] = {}
    for context, (ids, offsets) in zip(contexts, tokenized, strict=True):
        if context in moved or not len(ids):
            moved.setdefault(context, (ids, offsets))
            continue
        places = np.arange(len(context))
        solid = np.array([not letter.isspace() for letter in context])
        after_last = np.maximum.accumulate(np.where(solid, places + 1, 0))
        after_last = np.concatenate([[0], after_last])  # of the text before a place
        firsts = np.where(solid, places, len(context))[::-1]
        from_place = np.append(np.minimum.accumulate(firsts)[::-1], len(context))
        starts, next_starts = offsets[:, 0], np.append(offsets[1:, 0], len(context))
        bounds = from_place[starts], after_last[next_starts]
        moved[context] = ids, np.stack(bounds, axis=1).astype(np.int32)
    return [moved[context] for context in contexts]


def _tokenize_distinct(tokenizer: Any, texts: Sequence[str]) -> list[tuple[IntArray, IntArray]]:
    """Tokenise each text, equal ones once."""
    distinct = list(dict.fromkeys(texts))
    found = dict(zip(distinct, _tokenize(tokenizer, distinct), strict=True))
    return [found[text] for text in texts]


def _tokenize(tokenizer: Any, texts: Sequence[str]) -> Iterator[tuple[IntArray, IntArray]]:
    """Give token ids (tokens,) and character offsets (tokens, 2), without special tokens."""
    blanks = holds_blanks(tokenizer)
    for start in range(0, len(texts), CHUNK):
        chunk = list(texts[start : start + CHUNK])
        encoded = tokenizer(
            chunk,
            add_special_tokens=False,
            padding=False,
            truncation=False,
            return_offsets_mapping=True,
            return_attention_mask=False,
            return_token_type_ids=False,
            split_special_tokens=True,  # "[SEP]" in a text is three tokens of text
            verbose=False,  # contexts longer than the model are what windows are for
        )
        pieces = zip(chunk, encoded["input_ids"], encoded["offset_mapping"], strict=True)
        for text, ids, given in pieces:
            offsets = trimmed(text, given) if blanks else given
            yield np.array(ids, np.int32), np.array(offsets, np.int32).reshape(-1, 2)
