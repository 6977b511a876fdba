"""Which part has which key: sorted halves of hashes, 24 bytes a key, mapped from a file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Rows = tuple[list[int], list[int]]


@dataclass(frozen=True)
class PartIndex:
    """Keys in ascending order, each with its part and its row there."""

    names: list[str]
    """Of the parts."""
    high: NDArray[np.uint64]
    """The first eight bytes of every key."""
    low: NDArray[np.uint64]
    """The next eight; so many tell any number of texts apart."""
    part: NDArray[np.int32]
    row: NDArray[np.int32]

    def find(self, keys: Sequence[bytes]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Give each key's part, by its place in `names`, and its row; -1 where there is none."""
        high, low = _halves(keys)
        if not len(self.high):
            return np.full(len(keys), -1), np.full(len(keys), -1)
        at = np.searchsorted(self.high, high)
        while True:
            where = np.minimum(at, len(self.high) - 1)
            alike = (at < len(self.high)) & (self.high[where] == high)
            earlier = alike & (self.low[where] < low)
            if not earlier.any():
                break
            at = at + earlier
        found = alike & (self.low[where] == low)
        return np.where(found, self.part[where], -1), np.where(found, self.row[where], -1)

    def extended(
        self, new: Mapping[str, Sequence[bytes]]
    ) -> tuple["PartIndex", dict[tuple[str, str], Rows]]:
        """Take in parts, by name, with their keys in order.

        Returns:
            the index; and where a key is in two parts, of which the first is kept: the rows of
            both, by the names of the two.
        """
        high, low = _halves([key for keys in new.values() for key in keys])
        high, low = np.concatenate([self.high, high]), np.concatenate([self.low, low])
        sizes = [len(keys) for keys in new.values()]
        parts = np.repeat(np.arange(len(new)), sizes) + len(self.names)
        rows = np.concatenate([np.arange(size) for size in sizes])
        order = np.lexsort((low, high))  # stable: of equal keys the first is first
        high, low = high[order], low[order]
        part = np.concatenate([self.part, parts.astype(np.int32)])[order]
        row = np.concatenate([self.row, rows.astype(np.int32)])[order]
        repeats = np.zeros(len(high), np.bool_)
        repeats[1:] = (high[1:] == high[:-1]) & (low[1:] == low[:-1])
        names = [*self.names, *new]
        twice: dict[tuple[str, str], Rows] = {}
        for at in np.flatnonzero(repeats):
            ours, theirs = twice.setdefault((names[part[at - 1]], names[part[at]]), ([], []))
            ours.append(int(row[at - 1]))
            theirs.append(int(row[at]))
        kept = ~repeats
        return PartIndex(names, high[kept], low[kept], part[kept], row[kept]), twice


NO_KEYS, NO_PLACES = np.empty(0, np.uint64), np.empty(0, np.int32)
EMPTY = PartIndex([], NO_KEYS, NO_KEYS, NO_PLACES, NO_PLACES)


def to_table(index: PartIndex) -> pa.Table:
    """Give an index as it is stored."""
    columns = {name: getattr(index, name) for name in ("high", "low", "part", "row")}
    return pa.table(columns).replace_schema_metadata({"names": json.dumps(index.names)})


def is_index(table: pa.Table) -> bool:
    """Tell a stored index from any other table."""
    return b"names" in (table.schema.metadata or {})


def from_table(table: pa.Table) -> PartIndex:
    """Read a stored index; its columns stay where they are mapped."""
    columns = [table[name].combine_chunks() for name in ("high", "low", "part", "row")]
    names = json.loads(table.schema.metadata[b"names"])
    return PartIndex(names, *(column.to_numpy() for column in columns))


def _halves(keys: Sequence[bytes]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    numbers = np.frombuffer(b"".join(key[:16] for key in keys), ">u8").astype(np.uint64)
    return numbers[::2], numbers[1::2]
