"""Count which words stand near which: the table that GloVe is fitted to.

Texts, counts and table wait on the disk, so that memory holds the distinct words, one chunk of
texts and one range of the table, however many texts there are.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, pairwise

import numpy as np
from numpy.typing import NDArray

from augment.base.progress import say_done
from augment.fitting.spool import Spool
from augment.variants.words import ENGLISH, find_tokens

CHUNK_WORDS = 200_000  # words counted at a time; bounds memory, does not change the counts
RANGES = 64  # of the table, added up one after the other; bounds memory, does not change the sums


@dataclass(frozen=True)
class Cooccurrence:
    """Weighted counts of unordered pairs of words, each pair once, ascending."""

    blocks: Spool
    """In each: numbers of the pairs' first words, int32; of the second words, not below the first;
    counts, float64: the sum over occurrences of 1 / distance in words, twice that for a word with
    itself."""

    @property
    def num_pairs(self) -> int:
        """Count the pairs."""
        return sum(len(count) for _, _, count in self.blocks)


class TokenizedTexts:
    """Texts as lists of words in lower case, found once, to be gone through several times."""

    def __init__(self, texts: Iterable[str], language: str = ENGLISH) -> None:
        numbers: dict[str, int] = {}
        self._texts = Spool()
        found: list[int] = []
        lengths: list[int] = []
        for text in texts:
            words = lower_words(text, language)
            found += [numbers.setdefault(word, len(numbers)) for word in words]
            lengths.append(len(words))
            if len(found) >= CHUNK_WORDS:
                self._texts.add(np.array(found, np.int32), np.array(lengths, np.int32))
                found, lengths = [], []
            say_done(1)
        self._texts.add(np.array(found, np.int32), np.array(lengths, np.int32))
        self.words = list(numbers)
        """The distinct words."""

    def __iter__(self) -> Iterator[list[str]]:
        for found, lengths in self._texts:
            words = iter([self.words[number] for number in found.tolist()])
            for length in lengths.tolist():
                yield list(islice(words, length))


def lower_words(text: str, language: str = ENGLISH) -> list[str]:
    """Give the words and punctuation marks of a text in lower case."""
    return [text[start:end].lower() for start, end in find_tokens(text, language)]


def count_vocabulary(texts: Iterable[Sequence[str]], min_count: int) -> list[str]:
    """List the words that occur `min_count` times or more: by frequency, then by spelling."""
    counts = Counter(chain.from_iterable(texts))
    kept = [word for word, number in counts.items() if number >= min_count]
    return sorted(kept, key=lambda word: (-counts[word], word))


def count_pairs(
    texts: Iterable[Sequence[str]], vocabulary: Sequence[str], window: int
) -> Cooccurrence:
    """Count pairs of words at most `window` apart within a text.

    Words outside the vocabulary are taken out first, so that their neighbours move together.
    Source: GloVe (Pennington et al. 2014), section 4.2; the published tool counts a word's
        pairs with itself from both sides, and so does this.
    """
    size = len(vocabulary)
    index = {word: number for number, word in enumerate(vocabulary)}
    counted, table = Spool(), Spool()
    bounds = None
    for chunk in _chunks(texts, index):
        pair, weight = _pairs_of_chunk(chunk, window, size)
        if bounds is None and len(pair):  # ranges even in this chunk are about so in the others
            inner = pair[np.arange(1, RANGES) * len(pair) // RANGES]
            bounds = np.array([0, *inner, size * size])
        if bounds is not None:
            for start, end in pairwise(np.searchsorted(pair, bounds)):
                counted.add(pair[start:end], weight[start:end])
    for number in range(RANGES if bounds is not None else 0):
        pair, weight = _add_up(*counted.joined(number, RANGES))
        first, second = np.divmod(pair, size)
        weight[first == second] *= 2
        table.add(first.astype(np.int32), second.astype(np.int32), weight)
    return Cooccurrence(table)


def _chunks(
    texts: Iterable[Sequence[str]], index: dict[str, int]
) -> Iterable[list[NDArray[np.int64]]]:
    """Give texts as word numbers, some hundred thousand words at a time."""
    chunk: list[NDArray[np.int64]] = []
    gathered = 0
    for text in texts:
        chunk.append(np.array([index[word] for word in text if word in index], np.int64))
        gathered += len(chunk[-1])
        if gathered >= CHUNK_WORDS:
            yield chunk
            chunk, gathered = [], 0
    yield chunk


def _pairs_of_chunk(
    texts: list[NDArray[np.int64]], window: int, size: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    words = np.concatenate([*texts, np.empty(0, np.int64)])
    owner = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
    keys, weights = [np.empty(0, np.int64)], [np.empty(0)]
    for distance in range(1, window + 1):
        same_text = owner[distance:] == owner[:-distance]
        left, right = words[:-distance][same_text], words[distance:][same_text]
        keys.append(np.minimum(left, right) * size + np.maximum(left, right))
        weights.append(np.full(len(left), 1 / distance))
    return _add_up(np.concatenate(keys), np.concatenate(weights))


def _add_up(
    keys: NDArray[np.int64], weights: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Give the distinct keys, ascending, with the sums of their weights."""
    if not len(keys):
        return keys, weights
    order = np.argsort(keys, kind="stable")
    keys, weights = keys[order], weights[order]
    begins = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    return keys[begins], np.add.reduceat(weights, begins)
