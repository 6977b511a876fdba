"""One bar for what takes long, on stderr, if a person is looking; moved from where work is done."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_moved: Callable[[float], object] = float  # nobody looks


def say_done(amount: float) -> None:
    """Move the bar, if there is one, also from a task of `run_tasks` in another process.

    Args:
        amount: in the bar's unit, parts of one too; 0 redraws the time.
    """
    _moved(amount)


def watch(move: Callable[[float], object]) -> Callable[[float], object]:
    """Have `move` called with what `say_done` says from now on; give what was called before."""
    global _moved
    before, _moved = _moved, move
    return before


@contextmanager
def bar(what: str, unit: str, total: int) -> Iterator[None]:
    """Show a bar with rate and time left, which `say_done` moves and the block's end fills."""
    from tqdm import tqdm

    colour = None if os.environ.get("NO_COLOR") else "green"
    hidden = None if total else True  # None: hidden when not a terminal
    with tqdm(desc=what, unit=f" {unit}s", total=total, disable=hidden, colour=colour) as shown:
        done = 0.0

        def move(amount: float) -> None:
            nonlocal done
            done = min(done + amount, total)
            if not shown.update(int(done) - shown.n):
                shown.refresh()

        before = watch(move)
        try:
            yield
        finally:
            watch(before)
        shown.update(total - shown.n)
