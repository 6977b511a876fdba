"""A part of the tasks for each job of an array: without an engine, over a folder that all share."""

import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from augment.base.command import UsageError
from augment.base.commit import write_atomic

Task = TypeVar("Task")

NAME = "part-{}-of-{}"
"""Of a file by which a part is known to have worked in a folder."""


class LeftToOthers(Exception):
    """A stage of which this part is done, and that must be finished before the next one begins."""


@dataclass(frozen=True)
class ArrayPart:
    """Every N-th task, from the K-th on."""

    number: int
    """K: 1 to N."""
    of: int
    """N."""

    @classmethod
    def parse(cls, text: str) -> "ArrayPart":
        """Read K/N.

        Raises:
            UsageError: it is something else.
        """
        found = re.fullmatch(r"(\d+)/(\d+)", text)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise UsageError(f"--part {text}: must be K/N, with K from 1 to N")
        return cls(int(found[1]), int(found[2]))

    def own(self, tasks: Sequence[Task | None]) -> list[Task]:
        """Give this part's tasks of all that a stage ever has; None stands for one that is done."""
        return [task for task in tasks[self.number - 1 :: self.of] if task is not None]

    def sign(self, folder: Path) -> None:
        """Leave word that this part has worked here."""
        write_atomic(folder / NAME.format(self.number, self.of), socket.gethostname())


def never_seen(folder: Path) -> list[str]:
    """Name the parts that left no word in a folder although another of as many did."""
    signed = {path.name for path in folder.glob(NAME.format("*", "*"))}
    numbers = {int(name.rpartition("-")[2]) for name in signed}
    return [
        f"{number}/{of}"
        for of in sorted(numbers)
        for number in range(1, of + 1)
        if NAME.format(number, of) not in signed
    ]
