"""The receipt of a shard: written after it, and believed as long as the shard is what it says."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from augment.base.command import to_json
from augment.base.commit import file_sha256, write_atomic
from augment.base.records import as_json
from augment.base.set_records import Receipt, Shard
from augment.base.toml_files import fill

DATA, RECEIPTS = "data", "receipts"

WriteShard = Callable[[Path], Receipt]
"""Writes a shard at a place, and says of it what is known then: not yet its size and hash."""


class Shards(Protocol):
    """The finished shards of a set, in a folder or in a bucket; travels to workers."""

    def receipts(self, names: Sequence[str]) -> list[Receipt | None]:
        """Give the receipts of shards that are there, as their receipts say."""
        ...

    def add(self, name: str, write: WriteShard) -> None:
        """Put a shard in its place, then its receipt."""
        ...


@dataclass(frozen=True)
class LocalShards:
    """Shards in a folder, `Shards`."""

    folder: Path

    def receipts(self, names: Sequence[str]) -> list[Receipt | None]:
        """Give the receipts of shards that are there, as their receipts say."""
        return [read_receipt(self.folder, name) for name in names]

    def add(self, name: str, write: WriteShard) -> None:
        """Put a shard in its place, then its receipt."""
        known: list[Receipt] = []
        path = self.folder / DATA / name
        write_atomic(path, lambda temporary: known.append(write(temporary)))
        write_receipt(self.folder, described(known[0], path))


def described(receipt: Receipt, path: Path) -> Receipt:
    """Add a shard's size and hash to its receipt."""
    shard = replace(receipt.shard, bytes=path.stat().st_size, sha256=file_sha256(path))
    return replace(receipt, shard=shard)


def unmeasured(name: str, rows: int) -> Shard:
    """Name a shard whose size and hash are not known yet."""
    return Shard(file=name, rows=rows, bytes=0, sha256="")


def pack(record: Any) -> bytes:
    """Write a record behind a checksum of itself: a receipt's counts go into the manifest."""
    content = to_json(as_json(record)).encode()
    return hashlib.sha256(content).hexdigest().encode() + b"\n" + content


def unpack(packed: bytes) -> dict[str, Any] | None:
    """Read what `pack` gave; None if it is damaged."""
    checksum, _, content = packed.partition(b"\n")
    if hashlib.sha256(content).hexdigest().encode() != checksum:
        return None
    found: dict[str, Any] = json.loads(content)
    return found


def write_receipt(folder: Path, receipt: Receipt) -> None:
    """Write a shard's receipt."""
    write_atomic(folder / RECEIPTS / f"{receipt.shard.file}.json", pack(receipt))


def read_receipt(folder: Path, name: str) -> Receipt | None:
    """Read a shard's receipt if it is whole, and the shard there is what it says."""
    path, shard = folder / RECEIPTS / f"{name}.json", folder / DATA / name
    if not path.is_file() or not shard.is_file():
        return None
    record = unpack(path.read_bytes())
    if record is None:
        return None  # damaged: as good as none
    receipt = fill(Receipt, record, f"{path}: ")
    return receipt if file_sha256(shard) == receipt.shard.sha256 else None
