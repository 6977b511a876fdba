"""The store of candidates: computed once per distinct context, addressed by content.

A folder holds one sub-folder per setting of a masked LM and one per set of vectors. In them,
parts are Arrow files named after the hash of their bytes, so several builds may add to one store
at a time, and a part that was cut or flipped is noticed when it is opened.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from augment.base.command import to_json
from augment.base.commit import file_sha256, write_atomic
from augment.base.progress import say_done
from augment.base.stored import set_aside
from augment.variants.masked_lm import MaskedLM, MaskedLMSettings, words_alone
from augment.variants.words import ENGLISH, find_words

VERSION = 2
"""Raised whenever the same inputs and settings would give other candidates."""
MASKED_LM = 1
GLOVE = 2
FILE = b"file"
"""Key of a read part's metadata: where it lies."""
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


def context_key(context: str) -> bytes:
    """Address a context by its text."""
    return hashlib.sha256(context.encode()).digest()


class Parts:
    """A folder of Arrow files named by their content, with the setting that made them."""

    def __init__(self, folder: Path, setting: Mapping[str, Any]) -> None:
        self.folder = folder / address(setting)
        self.setting = setting

    def write(self, table: pa.Table) -> None:
        """Add a part."""
        self.folder.mkdir(parents=True, exist_ok=True)
        described = self.folder / "setting.json"
        if not described.is_file():
            write_atomic(described, to_json(self.setting))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        content = sink.getvalue()
        name = hashlib.sha256(content).hexdigest()[:32]
        write_atomic(self.folder / f"{name}.arrow", content.to_pybytes())

    def read(self) -> list[pa.Table]:
        """Map every part; set those aside whose bytes are not those they were named after."""
        tables = []
        for path in sorted(self.folder.glob("*.arrow")):
            if file_sha256(path)[:32] != path.stem:
                set_aside(path, "its bytes are not those it is named after")
                continue
            table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
            tables.append(table.replace_schema_metadata({FILE: str(path)}))
        return tables


def address(setting: Mapping[str, Any]) -> str:
    """Name a folder after what shapes its content."""
    canonical = json.dumps(setting, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def context_setting(model_sha256: str | None, settings: MaskedLMSettings) -> dict[str, Any]:
    """Say what shapes the candidates of a masked LM, besides the context's text."""
    named = asdict(settings)
    if settings.language == ENGLISH:  # sets from before there were others keep their address
        del named["language"]
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
            "context": pa.array([context_key(context) for context in contexts], pa.binary(32)),
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


class _Part:
    """The arrays of one part of contexts."""

    def __init__(self, table: pa.Table) -> None:
        columns = {name: table[name].combine_chunks() for name in table.column_names}
        self.file = _file_of(table)
        self.keys = columns["context"].to_pylist()
        self.num_words = columns["num_words"].to_pylist()
        self.starts = columns["start"].values.to_numpy()
        self.ends = columns["end"].values.to_numpy()
        self.num_options = columns["num_options"].values.to_numpy()
        self.options = columns["options"].values.indices.to_numpy()
        self.texts = columns["options"].values.dictionary.to_pylist()
        self.by_word = columns["start"].offsets.to_numpy()
        self.by_option = columns["options"].offsets.to_numpy()

    def row(self, row: int) -> list[tuple[int, int, tuple[str, ...] | None]]:
        """Give a context's words: start, end, candidates; None for those that GloVe replaces."""
        at = slice(self.by_word[row], self.by_word[row + 1])
        words = zip(
            *(a[at].tolist() for a in (self.starts, self.ends, self.num_options)), strict=True
        )
        ids = iter(self.options[self.by_option[row] : self.by_option[row + 1]].tolist())
        return [
            (start, end, tuple(self.texts[i] for i in islice(ids, n)) if n >= 0 else None)
            for start, end, n in words
        ]


def _file_of(table: pa.Table) -> str:
    file: bytes = (table.schema.metadata or {}).get(FILE, b"memory")
    return file.decode()


class CandidateStore:
    """Candidates of contexts and neighbours of words, from parts on disk or in memory."""

    def __init__(self, contexts: Iterable[pa.Table], neighbours: Iterable[pa.Table] | None) -> None:
        """Take the parts.

        Raises:
            ValueError: two parts say different things of one context or word.
        """
        self._where: dict[bytes, tuple[_Part, int]] = {}
        for table in contexts:
            part = _Part(table)
            for row, key in enumerate(part.keys):
                other, there = self._where.setdefault(key, (part, row))
                if other is not part and other.row(there) != part.row(row):
                    raise ValueError(_disagree(other.file, part.file))
        self._neighbours: dict[str, tuple[str, ...]] = {}
        self._has_neighbours = neighbours is not None
        for table in neighbours or ():
            columns = table["word"].to_pylist(), table["neighbours"].to_pylist()
            for word, near in zip(*columns, strict=True):
                if self._neighbours.setdefault(word, tuple(near)) != tuple(near):
                    raise ValueError(_disagree("an earlier part", _file_of(table)))

    def missing(self, contexts: Iterable[str]) -> list[str]:
        """Give the distinct contexts that have no candidates yet, in order."""
        return [c for c in dict.fromkeys(contexts) if context_key(c) not in self._where]

    def unknown_words(self, contexts: Iterable[str]) -> list[str]:
        """Give the distinct words that GloVe has to look up and has not yet, sorted."""
        words: set[str] = set()
        for context in dict.fromkeys(contexts):
            part, row = self._where[context_key(context)]
            at = slice(part.by_word[row], part.by_word[row + 1])
            several = part.num_options[at] < 0
            spans = zip(part.starts[at][several], part.ends[at][several], strict=True)
            words.update(context[start:end] for start, end in spans)
        return sorted(words - self._neighbours.keys())

    def num_words(self, context: str) -> int:
        """Count a context's words and punctuation marks, replaceable or not."""
        part, row = self._where[context_key(context)]
        return int(part.num_words[row])

    def sources(self, context: str) -> dict[str, int]:
        """Count a context's words by what has candidates for them, and its letters."""
        part, row = self._where[context_key(context)]
        at = slice(part.by_word[row], part.by_word[row + 1])
        numbers = part.num_options[at]
        several = zip(part.starts[at][numbers < 0], part.ends[at][numbers < 0], strict=True)
        letters = [char for char in context if char.isalpha()]
        return {
            "words": int(part.num_words[row]),
            "replaceable": len(numbers),
            "masked_lm": int((numbers > 0).sum()),
            "glove": sum(bool(self._neighbours.get(context[s:e])) for s, e in several),
            "letters": len(letters),
            "other_letters": sum(not char.isascii() for char in letters),
        }

    def slots(self, context: str) -> list[Slot]:
        """Give a context's replaceable words with their candidates.

        Raises:
            KeyError: the context, or one of its words, was never computed.
        """
        part, row = self._where[context_key(context)]
        slots = []
        for start, end, options in part.row(row):
            if options is not None:
                slots.append(Slot(start, end, options, MASKED_LM if options else 0))
            else:
                near = self._neighbours[context[start:end]] if self._has_neighbours else ()
                slots.append(Slot(start, end, near, GLOVE if near else 0))
        return slots


def _disagree(one: str, other: str) -> str:
    return (
        f"{other}: other candidates than in {one} for the same text, as from another kind of "
        "processor; delete one of the two"
    )
