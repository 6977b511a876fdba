"""The store of candidates: computed once per distinct context, addressed by content.

A folder holds one sub-folder per setting of a masked LM and one per set of vectors, with parts in
it. Whoever makes copies of some contexts opens the parts of these contexts alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from augment.base.progress import say_done
from augment.variants.masked_lm import MaskedLM, MaskedLMSettings, words_alone
from augment.variants.parts import OpenParts, Parts, keys_of, text_key
from augment.variants.words import ENGLISH, find_words

VERSION = 2
"""Raised whenever the same inputs and settings would give other candidates."""
MASKED_LM = 1
GLOVE = 2
SOURCE_NAMES = {MASKED_LM: "masked_lm", GLOVE: "glove"}


@dataclass(frozen=True, slots=True)
class Slot:
    """A word that may be replaced."""

    start: int
    end: int
    options: tuple[str, ...]
    """Candidates as the source gives them, the best first; case is matched when replacing."""
    source: int
    """`MASKED_LM` or `GLOVE`; 0 if no source knows the word."""


def context_setting(model_sha256: str | None, settings: MaskedLMSettings) -> dict[str, Any]:
    """Say what shapes the candidates of a masked LM, besides the context's text."""
    named = asdict(settings)
    if settings.language == ENGLISH:  # sets from before there were others keep their address
        del named["language"]
    if settings.accelerator is None:
        del named["accelerator"]
    if model_sha256 is None:
        kept: dict[str, Any] = {key: named[key] for key in ("words", "language") if key in named}
        return {"kind": "words", "version": VERSION, **kept}
    return {"kind": "masked_lm", "version": VERSION, "model_sha256": model_sha256, **named}


def neighbour_setting(
    vectors_sha256: str, num_candidates: int, language: str = ENGLISH
) -> dict[str, Any]:
    """Say what shapes a word's neighbours, besides the word."""
    setting = {"kind": "glove", "version": VERSION, "vectors_sha256": vectors_sha256}
    named = {} if language == ENGLISH else {"language": language}
    return {**setting, "num_candidates": num_candidates, **named}


def compute_part(
    contexts: Sequence[str], model: MaskedLM | None, settings: MaskedLMSettings
) -> pa.Table:
    """Find the candidates of some contexts: one row a context.

    `num_options` is -1 for a word that is not one wordpiece, which is GloVe's to replace;
    `options` holds the candidates of all words of the context, one word after the other.
    """
    words = [find_words(context, settings.language) for context in contexts]
    if model is None:
        rule, language = settings.words, settings.language
        found = [words_alone(c, w, rule, language) for c, w in zip(contexts, words, strict=True)]
        texts = []
        say_done(len(contexts))
    else:
        found = model.candidates(contexts, words, settings)
        texts = model.vocabulary.texts
    ids = np.concatenate([item.token_ids for item in found])
    one_piece = np.concatenate([item.one_piece for item in found])
    used, indices = np.unique(ids[ids >= 0], return_inverse=True)
    num_options = np.where(one_piece, (ids >= 0).sum(1), -1)
    dictionary = pa.array([texts[i] for i in used], pa.string())
    by_word = pa.array(_offsets(len(item.starts) for item in found))
    by_option = pa.array(_offsets(int((item.token_ids >= 0).sum()) for item in found))
    lists = {
        "start": np.concatenate([item.starts for item in found]),
        "end": np.concatenate([item.ends for item in found]),
        "num_options": num_options.astype(np.int16),
    }
    options = pa.DictionaryArray.from_arrays(pa.array(indices, pa.int32()), dictionary)
    return pa.table(
        {
            "context": pa.array([text_key(context) for context in contexts], pa.binary(32)),
            "num_words": pa.array([len(spans) for spans in words], pa.int32()),
            **{name: pa.ListArray.from_arrays(by_word, pa.array(v)) for name, v in lists.items()},
            "options": pa.ListArray.from_arrays(by_option, options),
        }
    )


def _offsets(counts: Iterable[int]) -> NDArray[np.int32]:
    return np.cumsum([0, *counts]).astype(np.int32)


def neighbour_part(table: Mapping[str, Sequence[str]]) -> pa.Table:
    """Turn words and their neighbours into a part."""
    return pa.table(
        {
            "word": pa.array(list(table), pa.string()),
            "neighbours": pa.array(
                [list(others) for others in table.values()], pa.list_(pa.string())
            ),
        }
    )


class _Contexts:
    """The arrays of one part of contexts."""

    def __init__(self, table: pa.Table) -> None:
        columns = {name: table[name].combine_chunks() for name in table.column_names}
        self.num_words = columns["num_words"].to_numpy()
        self.starts = columns["start"].values.to_numpy()
        self.ends = columns["end"].values.to_numpy()
        self.num_options = columns["num_options"].values.to_numpy()
        self.options = columns["options"].values.indices.to_numpy()
        self.texts = columns["options"].values.dictionary.to_pylist()
        self.by_word = columns["start"].offsets.to_numpy()
        self.by_option = columns["options"].offsets.to_numpy()

    def words(self, row: int) -> slice:
        """Give the place of a context's words in the arrays."""
        return slice(self.by_word[row], self.by_word[row + 1])

    def row(self, row: int) -> list[tuple[int, int, tuple[str, ...] | None]]:
        """Give a context's words: start, end, candidates; None for those that GloVe replaces."""
        at = self.words(row)
        words = zip(
            *(a[at].tolist() for a in (self.starts, self.ends, self.num_options)), strict=True
        )
        ids = iter(self.options[self.by_option[row] : self.by_option[row + 1]].tolist())
        return [
            (start, end, tuple(self.texts[i] for i in islice(ids, n)) if n >= 0 else None)
            for start, end, n in words
        ]

    def spans_of_several(self, row: int) -> list[tuple[int, int]]:
        """Give the words of a context that are not one wordpiece."""
        at = self.words(row)
        several = self.num_options[at] < 0
        return list(
            zip(self.starts[at][several].tolist(), self.ends[at][several].tolist(), strict=True)
        )


class _Neighbours:
    """The arrays of one part of words."""

    def __init__(self, table: pa.Table) -> None:
        lists = table["neighbours"].combine_chunks()
        others = lists.values.dictionary_encode()
        self.offsets = lists.offsets.to_numpy()
        self.indices = others.indices.to_numpy()
        self.texts = others.dictionary.to_pylist()

    def row(self, row: int) -> tuple[str, ...]:
        """Give a word's neighbours."""
        at = self.indices[self.offsets[row] : self.offsets[row + 1]]
        return tuple(self.texts[i] for i in at.tolist())


class CandidateStore:
    """Candidates of some contexts, and neighbours of their words."""

    def __init__(
        self,
        contexts: Mapping[bytes, tuple[_Contexts, int]],
        neighbours: Mapping[str, tuple[str, ...]] | None,
    ) -> None:
        self._where = contexts
        self._neighbours = neighbours

    @classmethod
    def of(
        cls, contexts: pa.Table, neighbours: Mapping[str, Sequence[str]] | None
    ) -> "CandidateStore":
        """Take one part, as it was computed, and neighbours by word."""
        part = _Contexts(contexts)
        near = {word: tuple(others) for word, others in (neighbours or {}).items()}
        where = {key: (part, row) for row, key in enumerate(keys_of(contexts))}
        return cls(where, None if neighbours is None else near)

    def words_for_glove(self, contexts: Iterable[str]) -> set[str]:
        """Give the distinct words that are GloVe's to replace."""
        words: set[str] = set()
        for context in contexts:
            part, row = self._where[text_key(context)]
            words.update(context[start:end] for start, end in part.spans_of_several(row))
        return words

    def num_words(self, context: str) -> int:
        """Count a context's words and punctuation marks, replaceable or not."""
        part, row = self._where[text_key(context)]
        return int(part.num_words[row])

    def sources(self, context: str) -> dict[str, int]:
        """Count a context's words by what has candidates for them, and its letters."""
        part, row = self._where[text_key(context)]
        numbers = part.num_options[part.words(row)]
        near = self._neighbours or {}
        letters = [char for char in context if char.isalpha()]
        return {
            "words": int(part.num_words[row]),
            "replaceable": len(numbers),
            "masked_lm": int((numbers > 0).sum()),
            "glove": sum(bool(near.get(context[s:e])) for s, e in part.spans_of_several(row)),
            "letters": len(letters),
            "other_letters": sum(not char.isascii() for char in letters),
        }

    def slots(self, context: str) -> list[Slot]:
        """Give a context's replaceable words with their candidates.

        Raises:
            KeyError: the store is not of this context.
        """
        part, row = self._where[text_key(context)]
        slots = []
        for start, end, options in part.row(row):
            if options is not None:
                slots.append(Slot(start, end, options, MASKED_LM if options else 0))
            else:
                near = () if self._neighbours is None else self._neighbours[context[start:end]]
                slots.append(Slot(start, end, near, GLOVE if near else 0))
        return slots


class Stored:
    """Stored candidates and neighbours; what the next contexts need too, stays open."""

    def __init__(self, contexts: Parts, neighbours: Parts | None) -> None:
        self._contexts = OpenParts(contexts)
        self._neighbours = None if neighbours is None else OpenParts(neighbours)
        self._open_contexts: dict[str, _Contexts] = {}
        self._open_neighbours: dict[str, _Neighbours] = {}

    def refresh(self) -> None:
        """See what was added."""
        for parts in (self._contexts, self._neighbours):
            if parts is not None:
                parts.refresh()

    def lacks(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """Tell which contexts have no candidates."""
        return self._contexts.missing([text_key(text) for text in texts])

    def unknown_words(self, words: Iterable[str]) -> list[str]:
        """Give the words, sorted, whose neighbours were not looked up."""
        assert self._neighbours is not None
        found = sorted(words)
        missing = self._neighbours.missing([text_key(word) for word in found])
        return [word for word, lacks in zip(found, missing, strict=True) if lacks]

    def candidates(self, texts: Sequence[str], *, alone: bool = False) -> CandidateStore:
        """Open what some contexts need.

        Args:
            texts: the contexts.
            alone: without neighbours, which may not be there yet.

        Raises:
            RuntimeError: it was never computed, or is damaged.
        """
        keys = [text_key(text) for text in texts]
        parts, numbers, rows = self._contexts.find(keys)
        opened = [
            self._open_contexts.get(name) or _Contexts(self._contexts.read(name)) for name in parts
        ]
        self._open_contexts = dict(zip(parts, opened, strict=True))
        where = {
            key: (opened[number], row)
            for key, number, row in zip(keys, numbers.tolist(), rows.tolist(), strict=True)
        }
        store = CandidateStore(where, None)
        if alone or self._neighbours is None:
            return store
        return CandidateStore(where, self._near(sorted(store.words_for_glove(texts))))

    def _near(self, words: Sequence[str]) -> dict[str, tuple[str, ...]]:
        assert self._neighbours is not None
        parts, numbers, rows = self._neighbours.find([text_key(word) for word in words])
        opened = [
            self._open_neighbours.get(name) or _Neighbours(self._neighbours.read(name))
            for name in parts
        ]
        self._open_neighbours = dict(zip(parts, opened, strict=True))
        return {
            word: opened[number].row(row)
            for word, number, row in zip(words, numbers.tolist(), rows.tolist(), strict=True)
        }
