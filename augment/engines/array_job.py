"""A part of the tasks for each job of an array: without an engine, over a folder that all share."""

import re
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from augment.base.command import UsageError

Task = TypeVar("Task")

NAME = "part-{}-of-{}"
"""Of a file by which a part is known to have worked somewhere."""
SIGNED = re.compile(NAME.format(r"\d+", r"\d+"))


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

    @property
    def signature(self) -> tuple[str, str]:
        """Give name and content of a file that leaves word that this part has worked somewhere."""
        return NAME.format(self.number, self.of), socket.gethostname()


def never_seen(names: Iterable[str]) -> list[str]:
    """Name the parts that left no word among some files although another of as many did."""
    signed = {name for name in names if SIGNED.fullmatch(name)}
    numbers = {int(name.rpartition("-")[2]) for name in signed}
    return [
        f"{number}/{of}"
        for of in sorted(numbers)
        for number in range(1, of + 1)
        if NAME.format(number, of) not in signed
    ]
