"""The input of a build in blocks of some thousand paragraphs on disk: tasks name a place in it.

Written while the input is read and checked, so that memory holds one block; what needs all of it
at once (ids that occur twice, contexts that occur again) is found by hashes on disk.
"""

import hashlib
import json
import shutil
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain, compress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from augment.base.command import to_json
from augment.base.commit import file_sha256, fsync_folder, write_atomic
from augment.base.paragraphs import Answer, Paragraph, Question
from augment.base.records import as_json
from augment.base.stored import set_aside, stored
from augment.base.toml_files import fill
from augment.building.buckets import Buckets
from augment.building.plan import original_of, raise_clashes
from augment.inputs.content import Content
from augment.inputs.records import RawParagraph, RecordReader
from augment.remote.bucket import Bucket
from augment.remote.urls import kept_here
from augment.squad import OnBadAnswer, Part, checked, open_source
from augment.variants.parts import text_key

VERSION = 2
BLOCK_PARAGRAPHS = 2048
BLOCK_CHARACTERS = 1 << 26
"""Of contexts; then a block ends early, far from Arrow's 2 GiB limit."""
FIRST, RECORD = "first.bin", "input.json"


@dataclass(frozen=True)
class Blocks:
    """An input on disk: what is known of it, and what each block holds."""

    folder: Path
    name: str
    """The file's or data set's name, without its folder."""
    sha256: str
    """As `SquadSet` has it."""
    card: Mapping[str, Any]
    counts: Mapping[str, int]
    characters: int
    """Of all contexts."""
    bounds: tuple[int, ...]
    """The first paragraph of each block; at last the number of all paragraphs."""
    hashes: tuple[str, ...]
    """SHA-256 of each block."""
    first: str
    """SHA-256 of the file that says which contexts are first of their kind."""
    elsewhere: Bucket | None = None
    """The set in a bucket whose machines fetch what they do not have in `folder`."""
    fetched_from: str = ""
    """The folder of that set in which it lies."""

    def __len__(self) -> int:
        """Count the paragraphs."""
        return self.bounds[-1]

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Arrive on another machine, which fetches what it needs."""
        vars(self).update(state)
        if self.elsewhere:
            vars(self)["folder"] = kept_here("builds", self.elsewhere.url) / "fetched"

    @property
    def number(self) -> int:
        """Count the blocks."""
        return len(self.hashes)

    def paragraphs(self, places: range) -> Iterator[Paragraph]:
        """Read the paragraphs at consecutive places."""
        for rows in self._rows(places):
            for context, rest in zip(*rows.to_pydict().values(), strict=True):
                yield _paragraph(context, rest)

    def contexts(self, places: range) -> Iterator[str]:
        """Read the contexts at consecutive places."""
        for rows in self._rows(places):
            yield from rows["context"].to_pylist()

    def distinct(self, block: int) -> list[str]:
        """Read the contexts that occur in a block first: by length, equally long ones by key."""
        places = range(*self.bounds[block : block + 2])
        path = self._path(FIRST, self.first)
        first = np.fromfile(path, np.bool_, len(places), offset=places.start)
        found = compress(self.contexts(places), first.tolist())
        return sorted(found, key=lambda context: (len(context), text_key(context)))

    def put(self, bucket: Bucket, folder: str) -> "Blocks":
        """Put them into a folder of a set in a bucket, from where other machines fetch them."""
        blocks = {_file(block): sha256 for block, sha256 in enumerate(self.hashes)}
        for name, sha256 in {FIRST: self.first, **blocks}.items():
            if bucket.sha256(f"{folder}/{name}") != sha256:
                bucket.put(f"{folder}/{name}", self.folder / name)
        return replace(self, elsewhere=bucket, fetched_from=folder)

    def forget(self) -> None:
        """Delete what is on disk, and what earlier runs for the same set left."""
        place, old = self.folder.parent, self.folder.with_name(f"{self.folder.name}.old")
        for path in [*place.glob("blocks-*")]:
            with suppress(FileNotFoundError):  # another process is at it, too
                if path == self.folder:
                    shutil.rmtree(old, ignore_errors=True)
                    path = path.rename(old)  # so that a kill leaves none that seems damaged
                    fsync_folder(place)
                shutil.rmtree(path)
        for mark in [*place.glob(".shared.*.tmp")]:  # of a cluster whose driver was killed
            mark.unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            if not any(place.iterdir()):
                place.rmdir()

    def _rows(self, places: range) -> Iterator[pa.Table]:
        """Map the rows of consecutive places, block by block."""
        at = places.start
        while at < places.stop:
            block = bisect_right(self.bounds, at) - 1
            begin, end = self.bounds[block : block + 2]
            path = self._path(_file(block), self.hashes[block])
            rows = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
            yield rows.slice(at - begin, min(places.stop, end) - at)
            at = end

    def _path(self, name: str, sha256: str) -> Path:
        """Give the place of a file on this machine, fetched now if need be.

        Raises:
            ValueError: it was changed.
        """
        path = self.folder / name
        if (bucket := self.elsewhere) and not (path.is_file() and file_sha256(path) == sha256):
            if path.is_file():
                set_aside(path, "its SHA-256 is not the one that it was written with")
            path.parent.mkdir(parents=True, exist_ok=True)
            there = f"{self.fetched_from}/{name}"
            write_atomic(path, lambda temporary: bucket.fetch(there, temporary, sha256))
        if file_sha256(path) != sha256:
            raise ValueError(f"{path}: changed since it was written; run the same command again")
        return path


class AllContexts:
    """The contexts of an input, read from disk whenever they are gone through."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks

    def __len__(self) -> int:
        """Count them."""
        return len(self._blocks)

    def __iter__(self) -> Iterator[str]:
        """Read them in order."""
        return self._blocks.contexts(range(len(self)))


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What is read of an input, and what is refused in it."""

    part: Part
    on_bad_answer: OnBadAnswer
    limit_contexts: int | None
    copies: int
    """Ids of so many copies must be free."""


def read_blocks(source: str, reading: Reading, place: Path) -> Blocks:
    """Read and check an input into blocks; once, also if several do so for the same set.

    Args:
        source: as `read_squad` takes it.
        reading: what of it.
        place: the folder that gets a folder of blocks; of one set, and of nothing else.

    Raises:
        ValueError: what `read_squad` raises, or ids that copies will have.
        FileNotFoundError: nothing of that name.
    """
    content = open_source(source, reading.part)
    shown = [VERSION, content.name, content.hashes, content.version, asdict(reading)]
    key = hashlib.sha256(json.dumps(shown).encode()).hexdigest()[:16]
    try:
        folder = stored(place / f"blocks-{key}", partial(_write, content, reading))
    except BaseException:
        with suppress(OSError):  # not empty: another's
            place.rmdir()
        raise
    record = json.loads((folder / RECORD).read_bytes())
    return fill(Blocks, record, f"{folder / RECORD}: ", folder=folder, card=content.card)


def _file(block: int) -> str:
    return f"block-{block:06d}.arrow"


def _write(content: Content, reading: Reading, folder: Path) -> None:
    """Write blocks, which contexts are first of their kind, and a record."""
    records = RecordReader(content.name)
    contexts, ids = Buckets(folder / "contexts"), _Ids(folder / "ids", reading)
    writer = _Writer(folder)
    counts: Counter[str] = Counter()
    total = 0
    raws = ids.noted(records.stream(content))
    for paragraph, noted in checked(records, raws, reading.on_bad_answer):
        if reading.limit_contexts is None or total < reading.limit_contexts:
            counts.update(noted)
            counts.update(_sizes(paragraph))
            contexts.add(paragraph.context, total)
            writer.add(paragraph)
        total += 1
    if total == len(writer):  # nothing was cut off
        counts.update(+records.counts)
    writer.flush()
    twice, clashes = ids.found()
    for fault in twice:
        records.faults.add("id", fault)
    records.faults.raise_all()
    if not total:
        raise ValueError(f"{content.name}: no paragraphs in it; is this the right file?")
    raise_clashes(content.name, clashes)
    counts["distinct_contexts"] = _mark_first(folder / FIRST, contexts, len(writer))
    for scratch in ("contexts", "ids"):
        shutil.rmtree(folder / scratch)
    record = {
        "name": content.name,
        "sha256": content.sha256,
        "counts": counts,
        "characters": writer.characters,
        "bounds": writer.bounds,
        "hashes": writer.hashes,
        "first": file_sha256(folder / FIRST),
    }
    (folder / RECORD).write_text(to_json(as_json(record)), encoding="utf-8")


def _sizes(paragraph: Paragraph) -> dict[str, int]:
    return {
        "paragraphs": 1,
        "questions": len(paragraph.questions),
        "impossible_questions": sum(question.is_impossible for question in paragraph.questions),
        "answers": sum(len(question.answers) for question in paragraph.questions),
    }


def _mark_first(path: Path, contexts: Buckets, number: int) -> int:
    """Write for every paragraph whether its context is new; count those."""
    first = np.ones(number, np.bool_)
    for numbers in contexts.repeated():
        first[numbers[1:]] = False
    path.write_bytes(first.tobytes())
    return int(first.sum())


class _Writer:
    """Writes paragraphs into blocks."""

    def __init__(self, folder: Path) -> None:
        self.bounds, self.hashes = [0], list[str]()
        self.characters = 0
        self._folder = folder
        self._contexts: list[str] = []
        self._rests: list[str] = []
        self._size = 0

    def __len__(self) -> int:
        """Count the paragraphs."""
        return self.bounds[-1] + len(self._contexts)

    def add(self, paragraph: Paragraph) -> None:
        """Take a paragraph."""
        self._contexts.append(paragraph.context)
        self._rests.append(_rest(paragraph))
        self._size += len(paragraph.context)
        if len(self._contexts) == BLOCK_PARAGRAPHS or self._size >= BLOCK_CHARACTERS:
            self.flush()

    def flush(self) -> None:
        """End the block."""
        if not self._contexts:
            return
        table = pa.table({"context": self._contexts, "rest": self._rests})
        path = self._folder / _file(len(self.hashes))
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table)
        self.bounds.append(len(self))
        self.hashes.append(file_sha256(path))
        self.characters += self._size
        self._contexts, self._rests, self._size = [], [], 0


class _Ids:
    """The ids of questions: which occur twice, which a copy of another question will have."""

    def __init__(self, folder: Path, reading: Reading) -> None:
        self._buckets = Buckets(folder)
        self._path = folder / "ids.jsonl"
        self._reading = reading
        self._number = self._kept = 0

    def noted(self, paragraphs: Iterable[RawParagraph]) -> Iterator[RawParagraph]:
        """Pass paragraphs on, and note their ids."""
        limit = self._reading.limit_contexts
        with self._path.open("w", encoding="utf-8") as file:
            for index, paragraph in enumerate(paragraphs):
                ids = [question.id for question in paragraph.questions]
                file.write(json.dumps(ids) + "\n")
                for number, qid in enumerate(ids, self._number):
                    self._buckets.add(qid, 2 * number)
                    if (original := original_of(qid, self._reading.copies)) is not None:
                        self._buckets.add(original, 2 * number + 1)  # odd: is it there?
                self._number += len(ids)
                if limit is None or index < limit:
                    self._kept = self._number
                yield paragraph

    def found(self) -> tuple[list[str], list[str]]:
        """Give the faults of ids that occur twice, and the ids that copies will have."""
        times: dict[int, int] = {}
        clashing: set[int] = set()
        for numbers in self._buckets.repeated():
            own = [number // 2 for number in numbers if number % 2 == 0]
            if len(own) > 1:
                times[own[0]] = len(own)
            if own and own[0] < self._kept:
                clashing.update(n // 2 for n in numbers if n % 2 and n // 2 < self._kept)
        texts = self._texts(times.keys() | clashing)
        twice = [f"question id {texts[n]!r} occurs {times[n]} times" for n in sorted(times)]
        return twice, [texts[number] for number in clashing]

    def _texts(self, wanted: Set[int]) -> dict[int, str]:
        found: dict[int, str] = {}
        if wanted:
            with self._path.open(encoding="utf-8") as file:
                ids = chain.from_iterable(map(json.loads, file))
                found = {number: qid for number, qid in enumerate(ids) if number in wanted}
        return found


def _rest(paragraph: Paragraph) -> str:
    """Write all of a paragraph but its context."""
    questions = [
        [q.id, q.text, q.is_impossible, [[answer.text, answer.start] for answer in q.answers]]
        for q in paragraph.questions
    ]
    return json.dumps([paragraph.title, questions], ensure_ascii=False)


def _paragraph(context: str, rest: str) -> Paragraph:
    title, questions = json.loads(rest)
    return Paragraph(
        title,
        context,
        tuple(
            Question(qid, text, tuple(Answer(*answer) for answer in answers), is_impossible)
            for qid, text, is_impossible, answers in questions
        ),
    )
