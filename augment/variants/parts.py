"""Parts: files of rows that are kept under a setting, and found by what their rows are about.

A part is an Arrow file behind the 64 hex digits of its SHA-256, named after the keys of its rows:
whoever computes the same rows meets under the same name. The first one stays; a second one that
says something else is an error. Parts are mapped when their rows are asked for, never all at once.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from augment.base.command import to_json
from augment.base.commit import file_sha256, write_atomic, write_once
from augment.base.stored import set_aside
from augment.variants.part_index import EMPTY, PartIndex, from_table, is_index, to_table

DIGITS = 64
"""Of the checksum that a part begins with; as many bytes as Arrow aligns buffers to."""
DAMAGED = "its bytes are not those of its checksum, or of its name"
INDEX = "index.part"


def text_key(text: str) -> bytes:
    """Address a context or a word."""
    return hashlib.sha256(text.encode()).digest()


def keys_of(table: pa.Table) -> list[bytes]:
    """Give the keys of a part's rows; none of what is no part."""
    if "word" in table.column_names:
        return [text_key(word) for word in table["word"].to_pylist()]
    return list(table["context"].to_pylist()) if "context" in table.column_names else []


def part_name(table: pa.Table) -> str:
    """Name a part after the keys of its rows."""
    return hashlib.sha256(b"".join(sorted(keys_of(table)))).hexdigest()[:32]


@dataclass(frozen=True)
class Parts:
    """A folder of parts, with the setting that made them: all that travels to a worker."""

    place: Path
    setting: Mapping[str, Any]

    @property
    def folder(self) -> Path:
        """Where they lie: named after what shapes their content."""
        canonical = json.dumps(self.setting, sort_keys=True, ensure_ascii=True)
        return self.place / hashlib.sha256(canonical.encode()).hexdigest()[:16]

    @property
    def shared(self) -> list[Path]:
        """Folders that all machines at work have to share."""
        return [self.place]

    def write(self, table: pa.Table, device: str) -> None:
        """Add a part.

        Args:
            table: its rows, in the order of length and key.
            device: what computed them, for messages.

        Raises:
            ValueError: a part of these rows is there, and says something else.
        """
        name = part_name(table)
        path = self.folder / name[:2] / f"{name}.part"
        path.parent.mkdir(parents=True, exist_ok=True)
        described = self.folder / "setting.json"
        if not described.is_file():
            write_atomic(described, to_json(self.setting))
        packed = pack(table.replace_schema_metadata({"device": device}))
        while not write_once(path, packed):
            there = unpack(path)
            if there is None:
                set_aside(path, DAMAGED)
            elif there.equals(table):
                return
            else:
                raise ValueError(disagreement(str(path), there, f"{device} (here)"))

    def names(self) -> Mapping[str, str]:
        """Name the parts that are there, each with its version if it can have several.

        Those of earlier versions of the format lie directly in the folder.
        """
        patterns = ("*.arrow", "??/*.part")
        paths = (path for pattern in patterns for path in self.folder.glob(pattern))
        return dict.fromkeys((path.relative_to(self.folder).as_posix() for path in paths), "")

    def read(self, name: str, version: str) -> pa.Table | None:
        """Map a part; set it aside and give None if it is not whole."""
        return proven(self.folder / name, name)

    def index(self, names: Iterable[str]) -> PartIndex:
        """Read the index that was kept, of some of these parts."""
        path = self.folder / INDEX
        if not path.is_file():
            return EMPTY
        table = unpack(path)
        if table is None or not is_index(table):
            set_aside(path, DAMAGED)
            return EMPTY
        known = from_table(table)
        return known if set(names).issuperset(known.names) else EMPTY  # some are gone: begin anew

    def keep_index(self, index: PartIndex) -> None:
        """Keep an index, so that the next process need not read all parts."""
        write_atomic(self.folder / INDEX, pack(to_table(index)))

    def where(self, name: str) -> str:
        """Say where a part lies."""
        return str(self.folder / name)


class OpenParts:
    """The parts of a folder, with an index of their keys; those in use are mapped."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.index = EMPTY
        self._whole: set[str] = set()
        self._there: Mapping[str, str] = {}
        self.refresh()

    def refresh(self) -> None:
        """Take parts into the index that were added meanwhile, and check them.

        Raises:
            ValueError: two parts say different things of the same text.
        """
        self._there = self.parts.names()
        self.index = self.parts.index(self._there)
        added = {name: self._keys(name) for name in sorted(set(self._there) - {*self.index.names})}
        new = {name: keys for name, keys in added.items() if keys}
        if new:
            self.index, twice = self.index.extended(new)
            for (one, other), rows in twice.items():
                self._compare(one, other, *rows)
            self.parts.keep_index(self.index)

    def missing(self, keys: Sequence[bytes]) -> NDArray[np.bool_]:
        """Tell which keys have no row in a whole part; damaged parts are set aside."""
        while True:
            parts, _ = self.index.find(keys)
            used = (self.index.names[part] for part in np.unique(parts[parts >= 0]))
            damaged = [name for name in used if not self._is_whole(name)]
            if not damaged:
                return parts < 0
            self.refresh()

    def find(self, keys: Sequence[bytes]) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64]]:
        """Find the rows of keys.

        Returns:
            names of parts; for every key the number of its part among them, and its row.

        Raises:
            RuntimeError: there is none for some key.
        """
        parts, rows = self.index.find(keys)
        if (parts < 0).any():  # another has written the index, or these were added since
            self.refresh()
            parts, rows = self.index.find(keys)
        if lacking := int((parts < 0).sum()):
            raise RuntimeError(
                f"{self.parts.where('')}: {lacking} of {len(keys)} texts have no candidates here; "
                "run the same command again, with --candidates in a folder that all machines share"
            )
        used, numbers = np.unique(parts, return_inverse=True)
        return [self.index.names[part] for part in used], numbers, rows

    def read(self, name: str) -> pa.Table:
        """Map a part.

        Raises:
            RuntimeError: it was damaged a moment ago.
        """
        table = self._read(name)
        if table is None:
            raise RuntimeError(f"{self.parts.where(name)}: damaged; run the same command again")
        return table

    def _read(self, name: str) -> pa.Table | None:
        return self.parts.read(name, self._there.get(name, ""))

    def _is_whole(self, name: str) -> bool:
        if name not in self._whole and self._read(name) is not None:
            self._whole.add(name)
        return name in self._whole

    def _keys(self, name: str) -> list[bytes]:
        table = self._read(name)
        if table is None:
            return []
        self._whole.add(name)
        return keys_of(table)

    def _compare(self, one: str, other: str, rows: list[int], other_rows: list[int]) -> None:
        first, second = self.read(one), self.read(other)
        if first.take(rows).to_pylist() != second.take(other_rows).to_pylist():
            there = f"{_device(second)} ({self.parts.where(other)})"
            raise ValueError(disagreement(self.parts.where(one), first, there))


def pack(table: pa.Table) -> bytes:
    """Write a table as an Arrow file behind its checksum."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return hashlib.sha256(content).hexdigest().encode() + content


def unpack(path: Path) -> pa.Table | None:
    """Map a part; None if it is damaged. One of an earlier version is named after its checksum."""
    with pa.memory_map(str(path)) as file:
        content = file.read_buffer()
    if path.suffix != ".arrow":
        return opened(content)
    return pa.ipc.open_file(content).read_all() if file_sha256(path)[:32] == path.stem else None


def proven(path: Path, name: str) -> pa.Table | None:
    """Map the file of a part of some name; set it aside and give None if it is not that part."""
    table = unpack(path)
    if table is None or not (path.suffix == ".arrow" or part_name(table) == Path(name).stem):
        set_aside(path, DAMAGED)
        return None
    return table


def opened(packed: pa.Buffer) -> pa.Table | None:
    """Open what `pack` gave; None if it is damaged."""
    checksum, content = packed[:DIGITS].to_pybytes(), packed[DIGITS:]
    whole = hashlib.sha256(content).hexdigest().encode() == checksum
    return pa.ipc.open_file(content).read_all() if whole else None


def disagreement(path: str, table: pa.Table, other: str) -> str:
    """Say that a part has other rows than somebody else gives for the same texts."""
    return (
        f"{path}: other candidates than {other} gives for the same text; these were made by "
        f"{_device(table)}; delete one of the two, and compute on one kind of processor"
    )


def _device(table: pa.Table) -> str:
    device: bytes = (table.schema.metadata or {}).get(b"device", b"an earlier version")
    return device.decode()
