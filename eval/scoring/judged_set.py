"""A set with what a reader answered in every row: two more columns, and who the reader was."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from augment.base.command import UsageError, to_json
from augment.base.commit import file_sha256, write_atomic
from augment.base.folders import made_at_once
from augment.base.set_records import MANIFEST, RUN, Judge, Shard, read_manifest
from augment.base.stored import seal
from augment.cards.data_card import card_facts, write_card
from augment.shards import JUDGED_SCHEMA, SCHEMA, read_shard, shard_paths, write_batches

Judged = tuple[str, float]
"""An answer and its F1, 0 to 1."""


def write_judged(
    source: Path,
    out: Path,
    judge: Judge,
    ask: Callable[[Sequence[dict[str, Any]]], Sequence[Judged]],
) -> None:
    """Write a finished set again as OUT, with `reader_answer` and `reader_f1` in every row.

    Args:
        source: the set; its own judgement, if it has one, is replaced.
        out: the folder that is made, whole or not at all.
        judge: the reader; goes into the manifest.
        ask: from the rows of a shard, which has all copies of its paragraphs, to what the reader
            made of each.
    """
    manifest = read_manifest(source)
    shards, in_memory = [], 0
    with made_at_once(out) as incomplete:
        for path, there in zip(shard_paths(source), manifest.shards, strict=True):
            batches = list(read_shard(path))
            found = ask([row for batch in batches for row in batch.to_pylist()])
            shard, size = _write_shard(incomplete / "data", there.file, batches, found)
            shards.append(shard)
            in_memory += size
        made = replace(
            manifest,
            judged=judge,
            bytes=sum(shard.bytes for shard in shards),
            bytes_in_memory=in_memory,
            shards=tuple(shards),
        )
        write_atomic(incomplete / MANIFEST, to_json(made.as_json()))
        shutil.copyfile(source / RUN, incomplete / RUN)
        write_card(incomplete, card_facts(source))
        seal(incomplete)


def check_free(out: Path) -> None:
    """Stop before the reader is asked if OUT is taken.

    Raises:
        UsageError: it exists.
    """
    if out.exists():
        raise UsageError(f"--write {out}: exists; choose another folder")


def _write_shard(
    data: Path, file: str, batches: Sequence[pa.RecordBatch], found: Sequence[Judged]
) -> tuple[Shard, int]:
    """Give what the manifest says of a shard, and its bytes in memory."""
    widened, start = [], 0
    for batch in batches:
        part = found[start : start + batch.num_rows]
        start += batch.num_rows
        answers, f1 = zip(*part, strict=True)
        own = [batch[name] for name in SCHEMA.names]
        columns = [*own, pa.array(answers, pa.string()), pa.array(f1, pa.float32())]
        widened.append(pa.record_batch(columns, schema=JUDGED_SCHEMA))
    path = data / file
    path.parent.mkdir(parents=True, exist_ok=True)
    rows, in_memory = write_batches(path, widened, JUDGED_SCHEMA)
    size = path.stat().st_size
    return Shard(file=file, rows=rows, bytes=size, sha256=file_sha256(path)), in_memory
