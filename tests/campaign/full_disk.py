"""Fill the disk at a random step of a command, free it, run the command again.

The disk is a small tmpfs in a mount namespace of the campaign's own, which takes root; where that
is not to be had, every step on disk is told from that moment on that the disk is full.
"""

import ctypes
import errno
import os
import random
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from tests.campaign.damage import SAME
from tests.campaign.scene import JOBS, Case, Job, Scene
from tests.test_crash import disturb

NAMED, UNKNOWN = "named, with what it needs", "named, its need is not known"
CLONE_NEWNS = 0x20000
LEFT_FREE = (0, 0, 4096, 1 << 14, 1 << 16)
"""Bytes: the write that fails is then another."""


def cases(scene: Scene, numbers: range, seed: int) -> Iterator[Case]:
    """Fill the disk; each case is a function of seed and number."""
    mounted = _mount(scene.folder)
    steps = cache(scene.steps)
    try:
        for number in numbers:
            draws = random.Random(f"{seed}/{number}")
            job = JOBS[number % len(JOBS)]
            last = draws.randrange(steps(job))
            fill = _filler(scene.folder, draws.choice(LEFT_FREE)) if mounted else _refuse
            yield filled(scene, number, job, last, fill)
    finally:
        if mounted:
            subprocess.run(["umount", str(scene.folder)], check=True, timeout=60)


def filled(scene: Scene, number: int, job: Job, last: int, fill: Callable[[], None]) -> Case:
    """Fill the disk after a step, free it, and run again."""
    scene.put_back(job.start)
    command = job.command(job.out)

    def prepare() -> None:
        disturb(lambda step, done: fill() if step > last and not done else None)

    stopped = scene.run(command, prepare)
    (scene.folder / "filler").unlink(missing_ok=True)
    again = scene.run(command)
    left = scene.left_over(job)
    if stopped.fault or again.fault:
        verdict = str(stopped.fault or again.fault)
    elif again.code:
        verdict = "does not go on"
    elif scene.digest(job.out) != scene.right[job.out]:
        verdict = "OTHER BYTES"
    elif left:
        verdict = f"left over: {', '.join(left)}"
    elif stopped.code == 0:
        verdict = SAME  # had what it needed
    elif "no space left on" not in stopped.said:
        verdict = "full disk not named"
    else:
        verdict = NAMED if "needs about" in stopped.said else UNKNOWN
    return Case(number, job.out, f"step {last}", "full", verdict, stopped.said + again.said)


def _mount(folder: Path) -> bool:
    """Put a small disk in a folder's place, for this process and its forks alone."""
    if os.geteuid() or ctypes.CDLL(None).unshare(CLONE_NEWNS):
        return False
    private = ["mount", "--make-rprivate", "/"]
    disk = ["mount", "-t", "tmpfs", "-o", "size=64m", "campaign", str(folder)]
    return not any(subprocess.run(command, timeout=60).returncode for command in (private, disk))


def _filler(folder: Path, left: int) -> Callable[[], None]:
    """Give a function that fills the disk of a folder, once, but for some bytes."""

    def fill() -> None:
        path = folder / "filler"
        if path.exists():
            return
        found = os.statvfs(folder)
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(found.f_bavail * found.f_frsize - left, 1))

    return fill


def _refuse() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")
