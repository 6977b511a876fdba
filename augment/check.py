"""Check a finished set: every shard against the manifest, every span against its text.

If anything is wrong, the exit code is 1 and every fault is named.
"""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import tyro

from augment.base.command import run
from augment.base.paragraphs import raise_faults, span_fault
from augment.base.records import is_url, shown
from augment.base.set_records import RUN, Manifest, Shard, read_manifest
from augment.base.stored import CHECKSUMS, checksum_faults
from augment.building.effect import effect
from augment.remote.bucket import Bucket
from augment.remote.fetching import read_marks, remote_manifest
from augment.remote.storage_options import AS_CONFIGURED, StorageOptions
from augment.shards import folder_faults, read_shard, row_id


@dataclass(frozen=True, kw_only=True)
class CheckConfig:
    """What to check."""

    out: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="OUT")]
    """A folder made by `augment.build`, or the URL of a set in a bucket."""
    storage: tyro.conf.OmitArgPrefixes[StorageOptions] = AS_CONFIGURED
    """How stores are reached that URLs lead to."""


def check(place: str | Path) -> dict[str, int]:
    """Check a set; give the numbers of what was checked.

    Of a set at a URL there is never more than one shard on this machine.

    Raises:
        ValueError: the first ten faults and their number.
        FileNotFoundError: no finished set there.
        OSError: a store that does not answer.
    """
    if is_url(place):
        return _check_remote(Bucket(str(place).rstrip("/")))
    folder = Path(place)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    manifest = read_manifest(folder)
    faults = folder_faults(folder) + checksum_faults(folder, RUN)  # of one built in a bucket
    checked: dict[str, int] = {}
    if not faults:
        checked, faults = _check_rows(
            manifest, lambda shard: read_shard(folder / "data" / shard.file)
        )
    raise_faults(
        str(folder), faults, "build the set again, or copy it again from where it is whole"
    )
    return checked


def _check_remote(bucket: Bucket) -> dict[str, int]:
    """Check a set where it lies; a shard that cannot be had is one fault of several."""
    _, sums = read_marks(bucket)
    manifest = remote_manifest(bucket)
    faults = _remote_faults(bucket, manifest, sums)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shard.arrow"

        def read(shard: Shard) -> Iterator[pa.RecordBatch]:
            name = f"data/{shard.file}"
            try:
                bucket.fetch(name, path, shard.sha256)
            except OSError as error:
                bucket.list("data")  # or the store is away, and says so
                if not isinstance(error, FileNotFoundError):  # which is named already
                    faults.append(str(error).removeprefix(f"{bucket}/"))
                return
            yield from read_shard(path)

        checked, in_rows = _check_rows(manifest, read)
    raise_faults(str(bucket), faults or in_rows, "push the set again from where it is whole")
    return checked


def _remote_faults(bucket: Bucket, manifest: Manifest, sums: dict[str, str]) -> list[str]:
    """Compare the files of a set with what it says of them, but for its shards' content."""
    shards = {f"data/{shard.file}": shard.sha256 for shard in manifest.shards}
    present = bucket.list().keys() - {CHECKSUMS, *({RUN} - sums.keys())}
    faults = [f"{name}: in {CHECKSUMS} but missing" for name in sorted(sums.keys() - present)]
    faults += [f"{name}: not in {CHECKSUMS}" for name in sorted(present - sums.keys())]
    for name in sorted(shards.keys() | {name for name in sums if name.startswith("data/")}):
        if shards.get(name) != sums.get(name):
            faults.append(f"{name}: the manifest says something else of it than {CHECKSUMS}")
    return faults + [
        f"{name}: changed since {CHECKSUMS} was written"
        for name in sorted((sums.keys() & present) - shards.keys())
        if bucket.sha256(name) != sums[name]
    ]


def _check_rows(
    manifest: Manifest, read: Callable[[Shard], Iterator[pa.RecordBatch]]
) -> tuple[dict[str, int], list[str]]:
    """Read every row: its span, its id, and that each question has every copy once."""
    copies = manifest.plan.copies_per_example
    seen: dict[str, int] = {}
    faults: list[str] = []
    rows = spans = 0
    for shard in manifest.shards:
        in_shard = 0
        for batch in read(shard):
            in_shard += batch.num_rows
            for row in batch.to_pylist():
                spans += len(row["answers"]["text"])
                fault = _row_fault(row, seen, copies)
                if fault:
                    faults.append(f"{shard.file}: row {row['id']}: {fault}")
        rows += in_shard
        if in_shard != shard.rows:
            faults.append(f"{shard.file}: {in_shard} rows, expected {shard.rows}")
    whole = (1 << (copies + 1)) - 1
    faults += [
        f"{qid}: not all of its {copies} copies" for qid, had in seen.items() if had != whole
    ]
    counts = {"shards": len(manifest.shards), "rows": rows, "spans": spans}
    return {**counts, "questions": len(seen)}, faults


def _row_fault(row: dict[str, Any], seen: dict[str, int], copies: int) -> str | None:
    source, copy = row["source_id"], row["copy_index"]
    if not 0 <= copy <= copies or row["id"] != row_id(source, copy):
        return f"is copy {copy} of {source}"
    bit = 1 << copy
    if seen.get(source, 0) & bit:
        return "occurs twice"
    seen[source] = seen.get(source, 0) | bit
    answers = row["answers"]
    if row["is_impossible"] != (not answers["text"]):
        return "is_impossible and answers contradict each other"
    for text, start in zip(answers["text"], answers["answer_start"], strict=True):
        fault = span_fault(row["context"], text, start)
        if fault:
            return fault
    return None


def _main(config: CheckConfig) -> None:
    checked = check(config.out)
    words = ", ".join(f"{number:,} {name}" for name, number in checked.items())
    print(f"{shown(config.out)}: {words}: nothing wrong")
    remote = is_url(config.out)
    manifest = remote_manifest(Bucket(config.out.rstrip("/"))) if remote else None
    found = effect(manifest or read_manifest(Path(config.out)))
    print(
        f"{found['words_replaced']:.1%} of the words of copies are replaced; "
        f"{found['copies_equal']:.1%} of the copies are equal to their original"
    )


if __name__ == "__main__":
    run(CheckConfig, _main)
