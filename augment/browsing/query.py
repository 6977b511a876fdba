"""Which paragraphs and copies of a set to look at."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from augment.browsing.alignment import share_replaced
from augment.browsing.index import SetIndex

Kind = Literal["all", "answerable", "unanswerable"]


@dataclass(frozen=True, kw_only=True)
class Query:
    """What is wanted; as it is made, everything."""

    text: str = ""
    """A question's or row's id, or a piece of a title, question or text; case does not count."""
    title: str = ""
    """A piece of an article's title; case does not count."""
    kind: Kind = "all"
    """Paragraphs with an answerable question, or with an unanswerable one."""
    copy: int | None = None
    """This copy alone."""
    shares: tuple[float, float] = (0.0, 1.0)
    """Copies with this share of their words replaced, both ends included."""
    reader_f1: tuple[float, float] | None = None
    """Copies with a row whose reader's F1 is in this range, both ends included."""


@dataclass(frozen=True)
class Matches:
    """What a query found."""

    paragraphs: NDArray[np.int64]
    """In order."""
    copies: NDArray[np.bool_]
    """Of all copies of the set: whether it is wanted. Originals always are."""


class Finder:
    """Answers queries of one set, the same one twice without looking again."""

    def __init__(self, index: SetIndex) -> None:
        self.index = index
        self.find = lru_cache(maxsize=16)(self._find)
        self._shares = lru_cache(maxsize=1)(self._measure_shares)

    def _find(self, query: Query) -> Matches:
        index = self.index
        paragraphs = np.ones(len(index.titles), bool)
        if query.title:
            paragraphs &= self._titled(query.title)
        if query.kind != "all":
            wanted = index.questions["is_impossible"].to_numpy() == (query.kind == "unanswerable")
            paragraphs &= self._having(index.question_paragraphs[wanted])
        copies = index.copy_numbers > 0
        if query.copy is not None:
            copies &= index.copy_numbers == query.copy
        if query.shares != (0.0, 1.0):
            shares = self._shares()
            copies &= (shares >= query.shares[0]) & (shares <= query.shares[1])
        if query.reader_f1 is not None and index.reader_f1 is not None:
            low, high = query.reader_f1
            rows = np.flatnonzero((index.reader_f1 >= low) & (index.reader_f1 <= high))
            copies &= np.isin(np.arange(len(copies)), index.copies_of(rows))
        copies &= paragraphs[index.copy_paragraphs]
        if query.text:
            copies &= self._matching(query.text)
        found = np.unique(index.copy_paragraphs[copies])
        return Matches(found, copies | (index.copy_numbers == 0))

    def _titled(self, text: str) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = _holding(self.index.titles, text).to_numpy(zero_copy_only=False)
        return found

    def _having(self, paragraphs: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.isin(np.arange(len(self.index.titles)), paragraphs)

    def _matching(self, text: str) -> NDArray[np.bool_]:
        """Tell which copies hold a text, or belong to a paragraph in whose other parts it is."""
        index = self.index
        source_id, number = split_id(text)
        named = index.paragraph_of(source_id)
        if named is not None:
            wanted: NDArray[np.bool_] = index.copy_paragraphs == named
            return wanted & (index.copy_numbers == number) if number else wanted
        asked = _holding(index.questions["question"], text).to_numpy()
        paragraphs = self._having(index.question_paragraphs[asked])
        paragraphs |= self._titled(text)
        copies: NDArray[np.bool_] = paragraphs[index.copy_paragraphs]

        def look(row: int, batches: Iterator[pa.RecordBatch]) -> NDArray[np.int64]:
            found = [
                texts.copies[_holding(texts.texts, text).to_numpy(zero_copy_only=False)]
                for texts in self._texts(row, batches)
            ]
            return np.concatenate(found)

        for found in index.scan(["context"], look):
            copies[found] = True
        originals = index.paragraph_copies[:-1]
        return copies | copies[originals][index.copy_paragraphs]

    def _measure_shares(self) -> NDArray[np.float64]:
        """Give the share of words replaced of all copies; 0 for originals."""
        numbers = self.index.copy_numbers

        def look(row: int, batches: Iterator[pa.RecordBatch]) -> dict[int, float]:
            shares: dict[int, float] = {}
            original = ""
            for part in self._texts(row, batches):
                for copy, text in zip(part.copies.tolist(), part.texts.to_pylist(), strict=True):
                    original = original if numbers[copy] else text
                    shares[copy] = share_replaced(original, text, f"copy {numbers[copy]}")
            return shares

        found = np.zeros(len(numbers))
        for shares in self.index.scan(["context"], look):
            found[list(shares)] = list(shares.values())
        return found

    def _texts(self, row: int, batches: Iterator[pa.RecordBatch]) -> Iterator["Texts"]:
        """Give the text of every copy once, though each of its questions has it."""
        for batch in batches:
            of_rows = self.index.copies_of(np.arange(row, row + batch.num_rows))
            copies, places = np.unique(of_rows, return_index=True)
            yield Texts(copies, batch["context"].take(pa.array(places)))
            row += batch.num_rows


class Texts(NamedTuple):
    """Copies of a batch, by their number in the whole set, and their texts."""

    copies: NDArray[np.int64]
    texts: pa.Array


def split_id(row_id: str) -> tuple[str, int]:
    """Part a row's id into the question's id and the number of the copy, 0 for the original."""
    source_id, _, number = row_id.rpartition("#")
    return (source_id, int(number)) if source_id and number.isdecimal() else (row_id, 0)


def _holding(texts: pa.Array, text: str) -> pa.Array:
    return pc.match_substring(texts, text, ignore_case=True)
