"""Rows of the augmented set, Arrow shards, and reading them back with their hashes checked."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from augment.base.command import default_cache
from augment.base.commit import file_sha256
from augment.base.paragraphs import Paragraph, raise_faults, span_fault
from augment.base.set_records import MANIFEST, Manifest, read_manifest
from augment.base.stored import stored
from augment.remote.fetching import at_hand
from augment.variants.replace import Variants

if TYPE_CHECKING:
    from datasets import Dataset

BATCH_ROWS = 1000
BATCH_CHARACTERS = 1 << 28  # of contexts; then a batch ends early, far from Arrow's 2 GiB limit
COMPRESSION_LEVEL = 3
MOST_IN_A_FOLDER, SUBFOLDER = 9_999, 1_000
"""Shards in one folder, and in each of several. The hub wants fewer than 10,000 files in one.

Source: huggingface.co/docs/hub/repositories-recommendations, "Entries per folder"."""
ANSWERS = pa.struct([("text", pa.list_(pa.string())), ("answer_start", pa.list_(pa.int32()))])
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("title", pa.string()),
        ("context", pa.string()),
        ("question", pa.string()),
        ("answers", ANSWERS),
        ("is_impossible", pa.bool_()),
        ("source_id", pa.string()),
        ("copy_index", pa.int32()),
    ]
)
JUDGED_SCHEMA = pa.schema([*SCHEMA, ("reader_answer", pa.string()), ("reader_f1", pa.float32())])
"""Of a set that `eval.agreement --write` made: what a reader answered, and its F1 from 0 to 1."""


@dataclass(frozen=True)
class AugmentedParagraph:
    """A paragraph with its copies."""

    paragraph: Paragraph
    variants: Variants


def shard_name(index: int, num_shards: int) -> str:
    """Name a shard the way the hub's readers expect; so many that a folder should not hold them
    all lie in sub-folders. Sorted names are in the shards' order.
    """
    if num_shards <= MOST_IN_A_FOLDER:
        return f"train-{index:05d}-of-{num_shards:05d}.arrow"
    return f"{index // SUBFOLDER:04d}/train-{index:06d}-of-{num_shards:06d}.arrow"


def shard_names(num_shards: int) -> list[str]:
    """Name all shards of a set, in order."""
    return [shard_name(index, num_shards) for index in range(num_shards)]


def data_files(manifest: Manifest, suffix: str = ".arrow") -> str:
    """Give the pattern that finds a set's files, relative to its folder."""
    return f"data/{'*/' * ('/' in manifest.shards[0].file)}train-*{suffix}"


def row_id(source_id: str, copy_index: int) -> str:
    """Name a row: the SQuAD id for the original, `<SQuAD id>#07` for copy 7."""
    return source_id if copy_index == 0 else f"{source_id}#{copy_index:02d}"


def write_shard(path: Path, paragraphs: Sequence[AugmentedParagraph]) -> tuple[int, int]:
    """Write a shard, read it back, and compare; give its rows and their bytes in memory.

    Rows of one context are adjacent: the original's, then each copy's. Every span is checked
    before it is written. Each batch is built anew, since slices do not compress reproducibly.

    Raises:
        ValueError: a span is wrong, or what was read back differs from what was written.
    """
    return write_batches(path, list(row_batches(paragraphs)), SCHEMA)


def write_batches(
    path: Path, batches: Sequence[pa.RecordBatch], schema: pa.Schema
) -> tuple[int, int]:
    """Write a shard, read it back, and compare; give its rows and their bytes in memory.

    Raises:
        ValueError: what was read back differs from what was written.
    """
    options = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", COMPRESSION_LEVEL))
    with path.open("wb") as file, pa.ipc.new_file(file, schema, options=options) as writer:
        for batch in batches:
            writer.write_batch(batch)
    with pa.OSFile(str(path)) as source:
        reader = pa.ipc.open_file(source)
        if reader.num_record_batches != len(batches) or any(
            not reader.get_batch(index).equals(batch) for index, batch in enumerate(batches)
        ):
            raise ValueError(f"{path}: what was read back is not what was written")
    return sum(b.num_rows for b in batches), sum(b.get_total_buffer_size() for b in batches)


def read_shard(path: Path) -> Iterator[pa.RecordBatch]:
    """Give the batches of one shard.

    Raises:
        ValueError: not an Arrow file of our columns.
    """
    try:
        with pa.OSFile(str(path)) as source:
            reader = pa.ipc.open_file(source)
            if reader.schema not in (SCHEMA, JUDGED_SCHEMA):
                raise ValueError(f"{path}: other columns than ours: {reader.schema.names}")
            for index in range(reader.num_record_batches):
                batch = reader.get_batch(index)
                batch.validate(full=True)
                yield batch
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path}: not a whole Arrow file: {error}") from error


def manifest_sha256(folder: Path) -> str:
    """Identify a finished set."""
    return file_sha256(folder / MANIFEST)


def schema_of(manifest: Manifest) -> pa.Schema:
    """Give the columns of a finished set."""
    return SCHEMA if manifest.judged is None else JUDGED_SCHEMA


def folder_faults(folder: Path) -> list[str]:
    """Compare every shard with the manifest: missing, stray, changed. Rows are not read."""
    listed = {shard.file: shard for shard in read_manifest(folder).shards}
    data = folder / "data"
    present = {path.relative_to(data).as_posix() for path in data.rglob("*") if path.is_file()}
    faults = [f"{name}: missing" for name in sorted(listed.keys() - present)]
    faults += [f"{name}: not in the manifest" for name in sorted(present - listed.keys())]
    for name in sorted(listed.keys() & present):
        path, shard = data / name, listed[name]
        if path.stat().st_size != shard.bytes:
            faults.append(f"{name}: {path.stat().st_size} bytes, expected {shard.bytes}")
        elif file_sha256(path) != shard.sha256:
            faults.append(f"{name}: its SHA-256 is not the manifest's")
    return faults


def shard_paths(folder: Path) -> list[Path]:
    """Give the shards of a finished set in order, their hashes checked.

    Raises:
        ValueError: a shard is missing, changed, or not in the manifest.
    """
    raise_faults(str(folder), folder_faults(folder), "build the set again, or copy it again")
    return [folder / "data" / shard.file for shard in read_manifest(folder).shards]


def read_rows(folder: Path) -> Iterator[dict[str, Any]]:
    """Give every row of a finished set as a dictionary, in order, hashes checked first."""
    for path in shard_paths(folder):
        for batch in read_shard(path):
            yield from batch.to_pylist()


def open_shards(folder: str | Path, cache: Path | None = None) -> "Dataset":
    """Open a finished set as a memory-mapped `datasets.Dataset`, hashes checked.

    Compressed Arrow cannot be mapped, so an uncompressed copy is made once and kept in the cache
    under the manifest's hash. A set at a URL, such as s3://bucket/set, is fetched into the cache
    first.
    """
    import datasets

    folder = at_hand(folder)
    paths = shard_paths(folder)
    name = f"shards-{manifest_sha256(folder)[:16]}"
    manifest = read_manifest(folder)
    schema = schema_of(manifest)
    target = stored(
        (cache or default_cache()) / name,
        lambda made: _write_streams(paths, schema, made),
        manifest.bytes_in_memory,
    )
    parts = [datasets.Dataset.from_file(str(target / path.name)) for path in paths]
    return datasets.concatenate_datasets(parts)


def _write_streams(paths: Sequence[Path], schema: pa.Schema, folder: Path) -> None:
    """Write shards uncompressed, in the format that `datasets` maps."""
    for path in paths:
        with pa.ipc.new_stream(str(folder / path.name), schema) as writer:
            for batch in read_shard(path):
                writer.write_batch(batch)


def row_batches(paragraphs: Iterable[AugmentedParagraph]) -> Iterator[pa.RecordBatch]:
    """Give the rows of paragraphs and their copies, every span checked, in our columns."""
    return (_batch(rows) for rows in _batched(_rows(paragraphs)))


Row = tuple[str, str, str, str, tuple[str, ...], Sequence[int], bool, str, int]


def _rows(paragraphs: Iterable[AugmentedParagraph]) -> Iterator[Row]:
    for item in paragraphs:
        paragraph, variants = item.paragraph, item.variants
        answers = [answer for question in paragraph.questions for answer in question.answers]
        original = [answer.start for answer in answers]
        moved = [original, *variants.moved(original).tolist()]
        texts = [paragraph.context, *(variant.text for variant in variants.copies)]
        for copy_index, (context, starts) in enumerate(zip(texts, moved, strict=True)):
            used = 0
            for question in paragraph.questions:
                spans = starts[used : used + len(question.answers)]
                used += len(question.answers)
                for answer, start in zip(question.answers, spans, strict=True):
                    fault = span_fault(context, answer.text, start)
                    if fault:
                        raise ValueError(f"{question.id}, copy {copy_index}: {fault}")
                yield (
                    row_id(question.id, copy_index),
                    paragraph.title,
                    context,
                    question.text,
                    tuple(answer.text for answer in question.answers),
                    spans,
                    question.is_impossible,
                    question.id,
                    copy_index,
                )


def _batched(rows: Iterable[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += len(row[2])
        if len(batch) == BATCH_ROWS or size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _batch(rows: Sequence[Row]) -> pa.RecordBatch:
    ids, titles, contexts, questions, texts, starts, impossible, sources, copies = zip(
        *rows, strict=True
    )
    offsets = pa.array(np.cumsum([0, *map(len, texts)]), pa.int32())
    flat_texts = pa.array([text for several in texts for text in several], pa.string())
    flat_starts = pa.array([start for several in starts for start in several], pa.int32())
    answers = pa.StructArray.from_arrays(
        [
            pa.ListArray.from_arrays(offsets, flat_texts),
            pa.ListArray.from_arrays(offsets, flat_starts),
        ],
        fields=list(ANSWERS),
    )
    columns = [ids, titles, contexts, questions, answers, impossible, sources, copies]
    arrays = [
        column if isinstance(column, pa.Array) else pa.array(column, field.type)
        for column, field in zip(columns, SCHEMA, strict=True)
    ]
    return pa.record_batch(arrays, schema=SCHEMA)
