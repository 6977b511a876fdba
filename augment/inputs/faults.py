"""Faults of an input: gathered by kind, told at once, each kind with what can be done about it."""

from collections import defaultdict
from typing import Literal

from augment.base.paragraphs import told

Kind = Literal["shape", "span", "contradiction", "id"]

REMEDIES: dict[Kind, str] = {
    "shape": "mend the data",
    "span": (
        "pass --on-bad-answer fix (move each to the nearest place where its text stands) or drop "
        "(leave it out), or mend the file and keep to fail"
    ),
    "contradiction": "mend the file, or pass --on-bad-answer drop to leave these questions out",
    "id": "give every question an id of its own",
}


class Faults:
    """Collects faults while an input is read."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.found: dict[Kind, list[str]] = defaultdict(list)

    def add(self, kind: Kind, fault: str) -> None:
        """Note a fault, with its place."""
        self.found[kind].append(fault)

    def raise_all(self) -> None:
        """Raise what was noted.

        Raises:
            ValueError: of each kind the first ten faults, their number, and the remedy.
        """
        if self.found:
            kinds = [told(self.name, self.found[k], REMEDIES[k]) for k in REMEDIES if self.found[k]]
            raise ValueError("\n".join(kinds))
