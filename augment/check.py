"""Check a finished set: every shard against the manifest, every span against its text.

If anything is wrong, the exit code is 1 and every fault is named.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from augment.base.command import run
from augment.base.paragraphs import raise_faults, span_fault
from augment.base.set_records import Manifest, read_manifest
from augment.base.stored import checksum_faults
from augment.building.effect import effect
from augment.shards import folder_faults, read_shard, row_id


@dataclass(frozen=True, kw_only=True)
class CheckConfig:
    """What to check."""

    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """A folder made by `augment.build`."""


def check(folder: Path) -> dict[str, int]:
    """Check a set; give the numbers of what was checked.

    Raises:
        ValueError: the first ten faults and their number.
        FileNotFoundError: no finished set there.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    manifest = read_manifest(folder)
    faults = folder_faults(folder) + checksum_faults(folder)
    checked: dict[str, int] = {}
    if not faults:
        checked, faults = _check_rows(folder, manifest)
    raise_faults(
        str(folder), faults, "build the set again, or copy it again from where it is whole"
    )
    return checked


def _check_rows(folder: Path, manifest: Manifest) -> tuple[dict[str, int], list[str]]:
    """Read every row: its span, its id, and that each question has every copy once."""
    copies = manifest.plan.copies_per_example
    seen: dict[str, int] = {}
    faults: list[str] = []
    rows = spans = 0
    for shard in manifest.shards:
        in_shard = 0
        for batch in read_shard(folder / "data" / shard.file):
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
    shown = ", ".join(f"{number:,} {name}" for name, number in checked.items())
    print(f"{config.out}: {shown}: nothing wrong")
    found = effect(read_manifest(config.out))
    print(
        f"{found['words_replaced']:.1%} of the words of copies are replaced; "
        f"{found['copies_equal']:.1%} of the copies are equal to their original"
    )


if __name__ == "__main__":
    run(CheckConfig, _main)
