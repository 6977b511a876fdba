"""Compare the speed of two ways that take turns, so that a busy machine slows both."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

HEADER = """\
| what | plain / teacher | ours / student | times faster (range) | note |
|---|---|---|---|---|"""


@dataclass(frozen=True)
class Comparison:
    """One row of a table: seconds of the two ways, turn by turn."""

    what: str
    plain: tuple[float, ...]
    ours: tuple[float, ...]
    note: str = ""

    @property
    def ratios(self) -> list[float]:
        """How many times faster ours was, in each turn."""
        return [slow / fast for slow, fast in zip(self.plain, self.ours, strict=True)]

    @property
    def ratio(self) -> float:
        """The median of the ratios."""
        return statistics.median(self.ratios)

    def line(self) -> str:
        """Write the row in Markdown: median seconds, the median ratio and the ratios' range."""
        slow, fast = statistics.median(self.plain), statistics.median(self.ours)
        spread = f"{min(self.ratios):.1f} to {max(self.ratios):.1f}"
        cells = (self.what, f"{slow:.3g} s", f"{fast:.3g} s", f"{self.ratio:.1f} ({spread})")
        return f"| {' | '.join((*cells, self.note))} |"


def take_turns(
    plain: Callable[[], object], ours: Callable[[], object], repeats: int, *, warm_up: bool = True
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Time two ways in turn, `repeats` times each, after one turn that does not count.

    Returns:
        Seconds of each turn of the first way, and of the second.
    """
    seconds: tuple[list[float], list[float]] = ([], [])
    for turn in range(-1 if warm_up else 0, repeats):
        for way, taken in zip((plain, ours), seconds, strict=True):
            start = time.perf_counter()
            way()
            if turn >= 0:
                taken.append(time.perf_counter() - start)
    return tuple(seconds[0]), tuple(seconds[1])
