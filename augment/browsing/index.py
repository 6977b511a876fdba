"""Where every paragraph and copy of a set lies, so that any of millions of rows is read at once.

Only numbers, titles and questions are held in memory. The shards stay where they are: a page reads
the few batches that it shows, a search the one column that it searches.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from augment.base.command import usable_cores
from augment.base.set_records import Manifest, read_manifest
from augment.shards import SCHEMA

Found = TypeVar("Found")

READER_F1 = "reader_f1"
"""A column that `eval.agreement --write` adds: F1 of a reader's answer against the row's label."""
INDEXED = ("source_id", "title", "question", "is_impossible", "copy_index")


@dataclass(frozen=True)
class SetIndex:
    """The rows of a set by paragraph and copy; rows are numbered through all shards.

    Where a field says "and the end", one number more follows, so that neighbours are a range.
    """

    folder: Path
    manifest: Manifest
    paths: list[Path]
    batches: list[tuple[int, int]]
    """Of each batch: its shard, and its number there."""
    batch_rows: NDArray[np.int64]
    """First row of each batch, and the end."""
    copy_rows: NDArray[np.int64]
    """First row of each copy of a paragraph, the originals among them, and the end."""
    copy_numbers: NDArray[np.int32]
    """Which copy; 0 for an original."""
    paragraph_copies: NDArray[np.int64]
    """Where the copies of each paragraph begin, its original first, and the end."""
    titles: pa.Array
    """Of each paragraph."""
    questions: pa.Table
    """`source_id`, `question` and `is_impossible` of the originals' rows."""
    question_rows: NDArray[np.int64]
    """Their rows."""
    reader_f1: NDArray[np.float32] | None
    """Of each row; None where the set has no such column."""

    @cached_property
    def copy_paragraphs(self) -> NDArray[np.int64]:
        """Give the paragraph of each copy."""
        sizes = np.diff(self.paragraph_copies)
        return np.repeat(np.arange(len(sizes)), sizes)

    @cached_property
    def question_paragraphs(self) -> NDArray[np.int64]:
        """Give the paragraph of each question."""
        return self.copy_paragraphs[self.copies_of(self.question_rows)]

    def copies_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give the copy that each row belongs to."""
        return np.searchsorted(self.copy_rows, rows, side="right") - 1

    def paragraph_of(self, source_id: str) -> int | None:
        """Give the paragraph of a question; None if no question has this id."""
        rows = pc.indices_nonzero(pc.equal(self.questions["source_id"], source_id))
        return int(self.question_paragraphs[rows[0].as_py()]) if len(rows) else None

    def read(self, paragraph: int) -> list[dict[str, Any]]:
        """Read all rows of a paragraph, its copies' too.

        Raises:
            ValueError: a shard is damaged.
        """
        first, last = self.paragraph_copies[paragraph : paragraph + 2]
        start, stop = int(self.copy_rows[first]), int(self.copy_rows[last])
        found: list[dict[str, Any]] = []
        batch = int(np.searchsorted(self.batch_rows, start, side="right")) - 1
        while self.batch_rows[batch] < stop:
            shard, number = self.batches[batch]
            offset = int(self.batch_rows[batch])
            with _opened(self.paths[shard]) as reader:
                rows = reader.get_batch(number).slice(max(0, start - offset))
                rows = rows.slice(0, stop - max(start, offset))
                rows.validate(full=True)
                found += rows.to_pylist()
            batch += 1
        return found

    def scan(
        self, columns: Sequence[str], look: Callable[[int, Iterator[pa.RecordBatch]], Found]
    ) -> Iterator[Found]:
        """Give `look(first row, batches)` of every shard in order, some columns read.

        Raises:
            ValueError: a shard is damaged.
        """
        first_rows = [
            int(row)
            for row, (_, number) in zip(self.batch_rows, self.batches, strict=False)
            if number == 0
        ]
        return _scan(self.paths, columns, lambda shard, batches: look(first_rows[shard], batches))


def open_index(folder: Path) -> SetIndex:
    """Find the paragraphs and copies of a finished set; hashes are not checked.

    Raises:
        FileNotFoundError: no finished set there.
        ValueError: a shard is damaged, or holds copies without their original.
    """
    manifest = read_manifest(folder)
    paths = [folder / "data" / shard.file for shard in manifest.shards]
    with _opened(paths[0]) as reader:
        names = reader.schema.names
    missing = [name for name in SCHEMA.names if name not in names]
    if missing:
        raise ValueError(f"{paths[0]}: no column {', '.join(missing)}; is this a set made here?")
    extra = [READER_F1] if READER_F1 in names else []
    shards = list(_scan(paths, [*INDEXED, *extra], lambda _, batches: list(map(_part, batches))))
    batches = [
        (shard, number) for shard, parts in enumerate(shards) for number in range(len(parts))
    ]
    numbers, tables, f1 = zip(*(part for parts in shards for part in parts), strict=True)
    sizes = [len(of_batch) for of_batch in numbers]
    batch_rows = np.cumsum([0, *sizes])
    copy_index = np.concatenate(numbers)
    shard_of = np.repeat([shard for shard, _ in batches], sizes)
    new_shard = np.diff(shard_of, prepend=-1) != 0
    starts = np.flatnonzero(new_shard | (np.diff(copy_index, prepend=-1) != 0))
    copy_numbers = copy_index[starts]
    originals = np.flatnonzero(copy_numbers == 0)
    orphans = np.flatnonzero(new_shard & (copy_index > 0))
    if len(orphans):
        name = paths[shard_of[orphans[0]]].name
        raise ValueError(f"{folder}: {name} begins with a copy without its original")
    questions = pa.Table.from_batches(tables).combine_chunks()
    question_rows = np.flatnonzero(copy_index == 0)
    places = pa.array(np.searchsorted(question_rows, starts[originals]))
    return SetIndex(
        folder=folder,
        manifest=manifest,
        paths=paths,
        batches=batches,
        batch_rows=batch_rows,
        copy_rows=np.append(starts, len(copy_index)),
        copy_numbers=copy_numbers,
        paragraph_copies=np.append(originals, len(starts)),
        titles=questions["title"].combine_chunks().take(places),
        questions=questions.drop_columns("title"),
        question_rows=question_rows,
        reader_f1=np.concatenate(f1) if extra else None,
    )


def _part(batch: pa.RecordBatch) -> tuple[NDArray[np.int32], pa.RecordBatch, Any]:
    """Give a batch's copy numbers, what is kept of its originals, and a reader's F1."""
    originals = batch.filter(pc.equal(batch["copy_index"], 0)).select(INDEXED[:4])
    f1 = None
    if READER_F1 in batch.schema.names:
        f1 = batch[READER_F1].cast(pa.float32()).to_numpy(zero_copy_only=False)
    return batch["copy_index"].to_numpy().copy(), originals, f1


def _scan(
    paths: Sequence[Path],
    columns: Sequence[str],
    look: Callable[[int, Iterator[pa.RecordBatch]], Found],
) -> Iterator[Found]:
    """Give `look(shard, batches)` of all shards in order, several at a time."""

    def one(shard: int) -> Found:
        with _opened(paths[shard], columns) as reader:
            return look(shard, map(reader.get_batch, range(reader.num_record_batches)))

    with ThreadPoolExecutor(min(4, usable_cores())) as pool:
        yield from pool.map(one, range(len(paths)))


@contextmanager
def _opened(path: Path, columns: Sequence[str] = ()) -> Iterator[Any]:
    """Open a shard, to read some columns or all."""
    try:
        with pa.memory_map(str(path)) as source:
            options = None
            if columns:
                names = pa.ipc.open_file(source).schema.names
                fields = [names.index(name) for name in columns]
                options = pa.ipc.IpcReadOptions(included_fields=fields, use_threads=False)
            yield pa.ipc.open_file(source, options=options)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path}: damaged or missing ({error}); copy the set again") from error
