"""Time `augment.browse` on a set in a real browser: `python -m tests.measure_browse SET WORD`.

The clock runs from the command's start, or a click, until the browser shows what was asked for.
WORD should stand in some of the set's texts. Not a test: how fast it is depends on the machine.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.chromium import chromium
from tests.pages import button, labelled, served, text_of, wait_for

CLICKS = 10


def measure(folder: str, word: str) -> None:
    """Print the seconds until the first page, the next paragraph and a search, and the memory."""
    started = time.perf_counter()
    with served("augment.browse", folder) as address, TemporaryDirectory() as profile:
        up = time.perf_counter() - started
        with chromium(Path(profile)) as driver:
            started = time.perf_counter()
            driver.get(address)
            wait_for(driver, lambda d: text_of(d, "article"))
            print(f"first page: {up:.1f} s until it is served, then {_since(started)} s")
            leaf = [_changed(driver, button(driver, "Next").click) for _ in range(CLICKS)]
            print(f"next paragraph: {statistics.median(leaf):.2f} s, at most {max(leaf):.2f}")
            labelled(driver, "Search").send_keys(word)
            searched = _changed(driver, button(driver, "Search").click)
            print(f"search for {word}: {searched:.2f} s, {text_of(driver, '.place')}")
            print(f"server's peak memory: {_peak_mib()} MiB")


def _changed(driver: Any, click: Callable[[], None]) -> float:
    """Give the seconds until another paragraph, or another number of them, is shown."""
    before = text_of(driver, ".place")
    started = time.perf_counter()
    click()
    wait_for(driver, lambda d: text_of(d, ".place") not in ("", before))
    return time.perf_counter() - started


def _since(started: float) -> str:
    return f"{time.perf_counter() - started:.1f}"


def _peak_mib() -> int:
    """Give the most memory that the server, a child of this process, has held (Linux)."""
    for status in Path("/proc").glob("[0-9]*/status"):
        lines = dict(
            line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line
        )
        command = (status.parent / "cmdline").read_bytes()
        if int(lines["PPid"]) == os.getpid() and b"augment.browse" in command:
            return int(lines["VmHWM"].split()[0]) // 1024
    raise RuntimeError("the server is gone")


if __name__ == "__main__":
    measure(*sys.argv[1:])
