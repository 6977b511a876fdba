"""Parts that are kept in a bucket; this machine has copies of those that it read or made.

What the bucket has, counts: a copy is of one version of a part, and of a part that is gone there no
copy is read. An index lies there under a name that says of which parts it is.
"""

import hashlib
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from augment.base.command import to_json
from augment.base.commit import write_atomic
from augment.base.records import is_url
from augment.remote.bucket import TRIES, Bucket
from augment.remote.urls import kept_here
from augment.variants.part_index import PartIndex, from_table, is_index, to_table
from augment.variants.parts import DAMAGED, Parts, disagreement, opened, pack, part_name, proven


def parts_at(place: str | Path, setting: Mapping[str, Any]) -> Parts:
    """Give the parts in a folder, or in a place of a bucket."""
    if is_url(place):
        return in_bucket(str(place).rstrip("/"), setting)
    return Parts(Path(place).absolute(), setting)


def in_bucket(url: str, setting: Mapping[str, Any]) -> "BucketParts":
    """Give the parts in a place of a bucket, with the folder for copies that this machine has."""
    return BucketParts(kept_here("candidates", url), setting, url)


@dataclass(frozen=True)
class BucketParts(Parts):
    """Parts in a bucket: `place` holds copies."""

    url: str

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to other machines, which may have their cache elsewhere."""
        return in_bucket, (self.url, self.setting)

    @property
    def bucket(self) -> Bucket:
        """Where the parts of this setting are kept."""
        return Bucket(f"{self.url}/{self.folder.name}")

    @property
    def shared(self) -> list[Path]:
        """Folders that all machines at work have to share: none."""
        return []

    def write(self, table: pa.Table, device: str) -> None:
        """Add a part.

        Raises:
            ValueError: a part of these rows is there, and says something else.
            OSError: the store does not take it.
        """
        stem = part_name(table)
        name = f"{stem[:2]}/{stem}.part"
        packed = pack(table.replace_schema_metadata({"device": device}))
        self.bucket.write_once("setting.json", to_json(self.setting).encode())
        kept, there = self._put(name, packed)
        if not there.equals(table):
            raise ValueError(disagreement(self.where(name), there, f"{device} (here)"))
        self._copy(name, self.bucket.describe(name)[1], kept)

    def names(self) -> Mapping[str, str]:
        """Name the parts that are there, each with its version."""
        listed = self.bucket.list().items()
        return {name: version for name, version in listed if Path(name).match("??/*.part")}

    def read(self, name: str, version: str) -> pa.Table | None:
        """Map the copy of a part, fetched now if it is not there; None if the part is damaged."""
        copy = self._place(name, version)
        if version and copy.is_file() and (table := proven(copy, name)) is not None:
            return table
        content = self._fetched(name)
        return None if content is None else self._copy(name, version, content)

    def index(self, names: Iterable[str]) -> PartIndex:
        """Read the index that was kept here, or there if it is of more parts."""
        known = super().index(names)
        if set(names) - set(known.names):
            content = self.bucket.read(_index_name(names))
            table = opened(pa.py_buffer(content)) if content else None
            if table is not None and is_index(table):
                found = from_table(table)
                if set(found.names) == set(names):
                    self._keep_here(found)
                    return found
        return known

    def keep_index(self, index: PartIndex) -> None:
        """Keep an index, here and there."""
        self._keep_here(index)
        name = _index_name(index.names)
        self._put(name, pack(to_table(index)))
        for other in self.bucket.list():
            if Path(other).match("index-*.part") and other != name:
                self.bucket.remove(other)

    def where(self, name: str) -> str:
        """Say where a part lies."""
        return f"{self.bucket}/{name}".rstrip("/")

    def _keep_here(self, index: PartIndex) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        super().keep_index(index)

    def _put(self, name: str, packed: bytes) -> tuple[bytes, pa.Table]:
        """Put a file there if none is there, or a damaged one; give what is there then."""
        kept = self.bucket.write_once(name, packed)
        there = opened(pa.py_buffer(kept))
        if there is not None:
            return kept, there
        self.bucket.write(name, packed)
        return packed, opened(pa.py_buffer(packed))

    def _place(self, name: str, version: str) -> Path:
        return self.folder / f"{name}.{_key([version])}"

    def _copy(self, name: str, version: str, content: bytes) -> pa.Table | None:
        """Keep a copy and map it; in memory alone where nothing tells versions apart."""
        if not version:
            return opened(pa.py_buffer(content))
        copy = self._place(name, version)
        copy.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(copy, content)
        return proven(copy, name)

    def _fetched(self, name: str) -> bytes | None:
        """Read a part; delete it and give None if what comes twice is not whole."""
        before = None
        for _ in range(TRIES):
            content = self.bucket.read(name)
            if content is None:
                return None
            table = opened(pa.py_buffer(content))
            if table is not None and part_name(table) == Path(name).stem:
                return content
            if content == before:
                break
            before = content
        print(f"{self.where(name)}: damaged ({DAMAGED}); deleted, and made again", file=sys.stderr)
        self.bucket.remove(name)
        return None


def _index_name(names: Iterable[str]) -> str:
    return f"index-{_key(sorted(names))}.part"


def _key(texts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]
