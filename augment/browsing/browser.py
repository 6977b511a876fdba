"""A set that is being looked at: its index, what a query finds, and the view at a position."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from augment.browsing.index import open_index
from augment.browsing.origins import Sources, find_sources
from augment.browsing.query import Finder, Query
from augment.browsing.views import ParagraphView, view
from augment.remote.fetching import at_hand
from augment.shards import folder_faults
from augment.variants.store import GLOVE, MASKED_LM


@dataclass(frozen=True)
class Sight:
    """What stands at a position of what a query found."""

    position: int
    """Counted from 1; 0 where nothing was found."""
    found: int
    """How many paragraphs."""
    paragraph: ParagraphView | None


class Browser:
    """A finished set, opened; its hashes are checked in the background meanwhile."""

    def __init__(self, place: str | Path, candidates: str | Path | None = None) -> None:
        folder = at_hand(place)
        self.index = open_index(folder)
        self.plan = self.index.manifest.plan
        self._candidates = candidates or f"{str(place).rstrip('/')}.candidates"
        self._finder = Finder(self.index)
        self._checked = ThreadPoolExecutor(1).submit(folder_faults, folder)

    def faults(self) -> list[str]:
        """Name the shards that are not what the manifest says; waits until all are hashed."""
        return self._checked.result()

    @cached_property
    def sources(self) -> Sources | None:
        """What words were replaced from, where that can be told."""
        return find_sources(self._candidates, self.plan)

    @property
    def kinds(self) -> list[int | None]:
        """The kinds of replacements that can be told apart."""
        if self.sources is None:
            return [None]
        by_name = {MASKED_LM: "masked_lm", GLOVE: "glove"}
        return [kind for kind, name in by_name.items() if getattr(self.plan, name) is not None]

    @property
    def most_f1(self) -> float:
        """The top of the scale of a reader's F1; 0 where the set has none."""
        f1 = self.index.reader_f1
        return 0.0 if f1 is None else max(1.0, float(f1.max(initial=0)))

    def count(self, query: Query) -> int:
        """Count the paragraphs that a query finds."""
        return len(self._finder.find(query).paragraphs)

    def sight(self, query: Query, position: int, step: int = 0, source: int | None = None) -> Sight:
        """Look at a position, or from there on at the next one that has something to show.

        Args:
            query: what is wanted.
            position: counted from 1; taken into the range of what is found.
            step: 1 or -1: go on from the position in this direction.
            source: `MASKED_LM` or `GLOVE`: only replacements from there.
        """
        matches = self._finder.find(query)
        found = len(matches.paragraphs)
        if not found:
            return Sight(0, 0, None)
        place = min(max(position + step, 1), found)
        while True:
            number = int(matches.paragraphs[place - 1])
            seen = self._view(number, matches.copies)
            seen = seen.only(source) if source else seen
            onward = place + (step or 1)
            if seen.copies or not 1 <= onward <= found:
                return Sight(place, found, seen)
            place = onward

    def _view(self, paragraph: int, wanted: NDArray[np.bool_]) -> ParagraphView:
        first, last = self.index.paragraph_copies[paragraph : paragraph + 2]
        numbers = set(self.index.copy_numbers[first:last][wanted[first:last]].tolist())
        seen = view(self.index.read(paragraph), self.plan, self.sources)
        return replace(seen, copies=[copy for copy in seen.copies if copy.number in numbers])
