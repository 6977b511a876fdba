"""Arrays that wait on the disk, in a file without a name: it is gone when its process is."""

from collections.abc import Iterator
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment.base.command import default_cache


class Spool:
    """Blocks of one-dimensional arrays, read back as they were added; in the cache's folder."""

    def __init__(self) -> None:
        default_cache().mkdir(parents=True, exist_ok=True)
        self._file = TemporaryFile(dir=default_cache())
        self._blocks: list[tuple[int, tuple[tuple[np.dtype[Any], int], ...]]] = []

    def __del__(self) -> None:
        self._file.close()

    def add(self, *arrays: NDArray[Any]) -> None:
        """Write a block."""
        start = self._file.seek(0, 2)
        for array in arrays:
            self._file.write(np.ascontiguousarray(array).data)
        self._blocks.append((start, tuple((array.dtype, len(array)) for array in arrays)))

    def __len__(self) -> int:
        return len(self._blocks)

    def __getitem__(self, number: int) -> tuple[NDArray[Any], ...]:
        start, kinds = self._blocks[number]
        self._file.seek(start)
        return tuple(np.fromfile(self._file, dtype, length) for dtype, length in kinds)

    def __iter__(self) -> Iterator[tuple[NDArray[Any], ...]]:
        return (self[number] for number in range(len(self)))

    def joined(self, start: int, step: int) -> tuple[NDArray[Any], ...]:
        """Read every `step`-th block from `start` on, and join them array by array."""
        blocks = (self[number] for number in range(start, len(self), step))
        return tuple(np.concatenate(arrays) for arrays in zip(*blocks, strict=True))
