"""Texts that occur again among more than memory holds: hashes on disk, dealt to buckets."""

from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

import numpy as np

BUCKETS = 64
"""One is in memory at a time: of 50 million hashes 19 MB."""
AT_ONCE = 1 << 16
"""Written at a time."""
RECORD = np.dtype([("high", "<u8"), ("low", "<u8"), ("number", "<i8")])


class Buckets:
    """Numbered texts by their hash."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._paths = [folder / f"{number:02d}" for number in range(BUCKETS)]
        self._hashes: list[bytes] = []
        self._numbers: list[int] = []

    def add(self, text: str, number: int) -> None:
        """Add a text under a number."""
        self._hashes.append(blake2b(text.encode(), digest_size=16).digest())
        self._numbers.append(number)
        if len(self._numbers) == AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        records = np.empty(len(self._numbers), RECORD)
        halves = np.frombuffer(b"".join(self._hashes), "<u8").reshape(-1, 2)
        records["high"], records["low"], records["number"] = *halves.T, self._numbers
        bucket = records["high"] % BUCKETS
        for at in np.unique(bucket):
            with self._paths[at].open("ab") as file:
                file.write(records[bucket == at].tobytes())  # `tofile` keeps a full disk to itself
        self._hashes, self._numbers = [], []

    def repeated(self) -> Iterator[list[int]]:
        """Give the numbers, ascending, of each text that was added more than once."""
        self._flush()
        for path in self._paths:
            if not path.is_file():
                continue
            records = np.fromfile(path, RECORD)
            records = records[np.lexsort((records["number"], records["low"], records["high"]))]
            alike = (records["high"][1:] == records["high"][:-1]) & (
                records["low"][1:] == records["low"][:-1]
            )
            edges = np.diff(np.concatenate([[False], alike, [False]]).astype(np.int8))
            begins, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
            for begin, end in zip(begins, ends, strict=True):
                yield records["number"][begin : end + 1].tolist()
