"""What machines must have in common before they work on one set; looked at, not assumed."""

import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from augment.base.command import versions


@dataclass(frozen=True)
class CommonGround:
    """What the machine has that a build was started on: any other can be compared with it."""

    machine: str
    marks: Sequence[Path]
    """Files with names that nobody can have seen before, in the folders that are worked in."""
    files: Sequence[Path]
    """Files and folders that are read."""
    versions: Mapping[str, str]

    def check(self) -> None:
        """Compare this machine.

        Raises:
            RuntimeError: with what is not the same here.
        """
        here = socket.gethostname()
        for mark in self.marks:
            if not mark.is_file():
                raise RuntimeError(
                    f"{here}: does not share {mark.parent} with {self.machine}; put OUT and "
                    "--candidates into a bucket, or into a folder that all machines share, under "
                    "the same name"
                )
        for file in self.files:
            if not file.exists():
                raise RuntimeError(
                    f"{here}: has no {file}, as {self.machine} has; let all machines share it"
                )
        found = versions()
        for name in self.versions.keys() | found.keys():
            there, own = self.versions.get(name), found.get(name)
            if there != own:
                raise RuntimeError(
                    f"{here}: has {name} {own}, and {self.machine} has {there}; install the same "
                    "on all machines"
                )


@contextmanager
def common_ground(folders: Sequence[Path], files: Sequence[Path]) -> Iterator[CommonGround]:
    """Mark folders, made where they are not there, until the block's end."""
    name = f".shared.{uuid4().hex}.tmp"  # named as what a killed run leaves and the next removes
    marks = [folder.absolute() / name for folder in folders]
    try:
        for mark in marks:
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()
        yield CommonGround(socket.gethostname(), marks, files, versions())
    finally:
        for mark in marks:
            mark.unlink(missing_ok=True)
