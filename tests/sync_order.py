"""What a power cut could take: every write, sync and rename of a run, and what was out of order.

A file that gets its final name, or a folder with all that is in it, must be on disk before; the
name itself must be on disk before the next one that may count on it, and before the run ends.
Nothing is said of how a file was written, so what pyarrow, safetensors or torch write counts too:
a file is on disk if it has not changed since it was last synced (inode, size, time of change).
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

State = tuple[int, int]
"""Size and time of the last change."""


@dataclass(frozen=True)
class Sync:
    """`inode` was written to disk as it then was."""

    inode: int
    state: State
    name: str = field(compare=False)


@dataclass(frozen=True)
class Named:
    """`name` began to stand for what had been written elsewhere."""

    name: str
    folder: int
    """Inode of the folder in which the name stands."""
    content: Mapping[int, tuple[str, State]]
    """What has to be on disk by then: inodes with their names and states."""


@dataclass
class Recorder:
    """Notes the events below one folder, in their order."""

    root: Path
    marks: frozenset[str] = frozenset()
    """Names of files that say that all beside and below them is whole."""
    events: list[Sync | Named] = field(default_factory=list)

    def synced(self, path: Path) -> None:
        """Note a sync, of files below `root` alone."""
        if path.exists() and path.is_relative_to(self.root):
            found = path.stat()
            self.events.append(Sync(found.st_ino, _state(found), self._shown(path)))

    def renamed(self, source: Path, target: Path) -> None:
        """Note a name that is about to be given to `source`."""
        if not target.is_relative_to(self.root):
            return
        told = [source, *source.rglob("*")] if source.is_dir() else [source]
        if target.name in self.marks:
            told += [path for path in target.parent.rglob("*") if path.is_file()]
        content = {path.stat().st_ino: (self._shown(path), _state(path.stat())) for path in told}
        event = Named(self._shown(target), target.parent.stat().st_ino, content)
        self.events.append(event)

    def _shown(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def _state(found: os.stat_result) -> State:
    return found.st_size, found.st_mtime_ns


@contextmanager
def recorded(root: Path, marks: tuple[str, ...] = ()) -> Iterator[Recorder]:
    """Record this process's syncs and renames below `root`."""
    root = root.resolve()
    recorder = Recorder(root, frozenset(marks))
    with pytest.MonkeyPatch.context() as patch:
        fsync, flush = os.fsync, np.memmap.flush

        def note_fsync(descriptor: int) -> None:
            fsync(descriptor)
            recorder.synced(Path(os.readlink(f"/proc/self/fd/{descriptor}")))

        def note_flush(array: Any) -> None:
            flush(array)
            recorder.synced(Path(array.filename).resolve())

        patch.setattr(os, "fsync", note_fsync)
        patch.setattr(np.memmap, "flush", note_flush)
        for name in ("rename", "replace", "link"):
            patch.setattr(os, name, _noting(recorder, getattr(os, name)))
        yield recorder


def _noting(recorder: Recorder, step: Any) -> Any:
    def noted(source: Any, target: Any, **options: Any) -> None:
        recorder.renamed(Path(source).resolve(), Path(target).absolute())
        step(source, target, **options)

    return noted


def faults(events: list[Sync | Named]) -> list[str]:
    """Say what a power cut could have taken, in the order of the events; empty if nothing."""
    found: list[str] = []
    on_disk: dict[int, State] = {}
    pending: dict[int, str] = {}  # folders with a name that is not on disk yet
    for event in events:
        if isinstance(event, Sync):
            on_disk[event.inode] = event.state
            pending.pop(event.inode, None)
            continue
        found += [f"{name} is not on disk when {event.name} is named" for name in pending.values()]
        pending.clear()
        found += [
            f"{name} is not synced when {event.name} is named"
            for inode, (name, state) in event.content.items()
            if on_disk.get(inode) != state
        ]
        pending[event.folder] = event.name
    return found + [f"{name} is not on disk at the end" for name in pending.values()]
