"""Put what is somebody else's beside or in place of what a command makes; it has to stay."""

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.campaign.scene import CPU, JOBS, Case, Command, Scene

UNTOUCHED = "untouched"
THEIRS = "years of work"


def _file(path: Path) -> None:
    path.write_text(THEIRS)


def _folder(path: Path) -> None:
    path.mkdir()
    (path / "thesis.txt").write_text(THEIRS)


def _link(path: Path) -> None:
    path.with_name("theirs.txt").write_text(THEIRS)
    path.symlink_to("theirs.txt")


def _link_to_folder(path: Path) -> None:
    _folder(path.with_name("theirs"))
    path.symlink_to("theirs")


def _dangling(path: Path) -> None:
    path.symlink_to("nowhere/at all")


KINDS: tuple[Callable[[Path], None], ...] = (_file, _folder, _link, _link_to_folder, _dangling)
PLACES = ("{}", "{}.lock", "{}.incomplete", "{}.incomplete.lock", ".{}.replaced", "{}.json")
COMMANDS: tuple[tuple[str, Callable[[str], Command]], ...] = (
    *((job.start, job.command) for job in JOBS),
    ("inputs", lambda out: ("augment.fit_glove", "train.json", out, "--fit.min-count", "1")),
    ("built", lambda out: ("augment.export", "set", out, "--to", "parquet")),
    (
        "inputs",
        lambda out: ("augment.fit_mlm", "train.json", out, "--mlm", "mlm", "--epochs", "1", *CPU),
    ),
)


def cases(scene: Scene, numbers: range, seed: int) -> Iterator[Case]:
    """Go through places and kinds, with each command in turn."""
    every = [(place, kind) for place in PLACES for kind in KINDS]
    random.Random(seed).shuffle(every)
    for number in numbers:
        place, kind = every[number % len(every)]
        start, command = COMMANDS[number % len(COMMANDS)]
        overwrite = ("--overwrite",) if number % 2 and command("x")[0] != "augment.export" else ()
        scene.put_back(start)
        path = scene.folder / place.format("new")
        kind(path)
        before = _look(scene.folder)
        done = scene.run((*command("new"), *overwrite))
        after = _look(scene.folder)
        touched = [name for name, found in before.items() if after.get(name) != found]
        verdict = done.fault or (f"touched: {', '.join(touched)}" if touched else UNTOUCHED)
        yield Case(number, command("x")[0], path.name, kind.__name__, verdict, done.said)


def _look(folder: Path) -> dict[str, tuple[int, int, str]]:
    """Give what is there: its inode, the time of its last change, what it holds or points to."""
    return {
        path.relative_to(folder).as_posix(): (
            path.lstat().st_ino,
            0 if path.is_dir() and not path.is_symlink() else path.lstat().st_mtime_ns,
            os.readlink(path) if path.is_symlink() else path.read_text() if path.is_file() else "",
        )
        for path in folder.rglob("*")
        if "cache" not in path.parts and _is_theirs(path)
    }


def _is_theirs(path: Path) -> bool:
    """Tell what `KINDS` made from inputs and results."""
    if path.is_symlink():
        return True
    return THEIRS in path.read_text(errors="ignore") if path.is_file() else False
