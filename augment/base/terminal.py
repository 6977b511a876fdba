"""What reaches a terminal: no control characters of somebody's data, no traceback of Ctrl-C."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from types import TracebackType

INTERRUPTED = "error: interrupted; run the same command again"
PACKAGES = ("augment", "eval", "distill")

_CONTROLS = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"}
_CONTROLS |= {0x7F: 0x2421}  # pictures of control characters: an escape is shown, not obeyed
_CONTROLS |= dict.fromkeys([*range(0x80, 0xA0), *range(0xD800, 0xE000)], 0xFFFD)
_CONTROLS |= dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)], 0xFFFD)
"""C0 and C1 controls, lone surrogates, and marks that turn the direction of what follows."""


def printable(text: str) -> str:
    """Make text harmless on a terminal; its length stays, so that spans do, too."""
    return text.translate(_CONTROLS)


def hush_interrupts() -> None:
    """End on Ctrl-C with one line, also while a command of ours is still being imported.

    A program that imports these packages keeps its own way.
    """
    name = next((name for flag, name in pairwise(sys.orig_argv) if flag == "-m"), "")
    if name.partition(".")[0] in PACKAGES:
        sys.excepthook = _say_interrupted


def _say_interrupted(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        print(INTERRUPTED, file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


@contextmanager
def deaf_children() -> Iterator[None]:
    """Let processes started in the block ignore Ctrl-C; this process handles it after the block.

    A process inherits which signals are blocked, from its first instruction on.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
