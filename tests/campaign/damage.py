"""Damage one file of every kind that runs left on disk, run again, and look at what comes out."""

import os
import random
import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.campaign.scene import Command, Outcome, Scene, build, fit, predict, train
from tests.test_crash import disturb

SAME, NAMED = "same result", "named"
"""What is right: used no more, or made again; or an error that names the file or its folder."""


@dataclass(frozen=True)
class Case:
    """What was done to which file, and what came of it."""

    state: str
    file: str
    damage: str
    verdict: str
    said: str = ""


def flip(path: Path, draws: random.Random, _: Path) -> None:
    """Turn one bit over."""
    content = bytearray(path.read_bytes())
    if content:
        content[draws.randrange(len(content))] ^= 1 << draws.randrange(8)
    path.write_bytes(content)


def cut(path: Path, draws: random.Random, _: Path) -> None:
    """Lose the end."""
    content = path.read_bytes()
    path.write_bytes(content[: draws.randrange(max(len(content), 1))])


def empty(path: Path, *_: object) -> None:
    """Lose the content."""
    path.write_bytes(b"")


def delete(path: Path, *_: object) -> None:
    """Lose the file."""
    path.unlink()


def swap(path: Path, _: random.Random, other: Path) -> None:
    """Hold another file's content."""
    path.write_bytes(other.read_bytes())


DAMAGES: tuple[Callable[[Path, random.Random, Path], None], ...] = (flip, cut, empty, delete, swap)


def states(scene: Scene) -> dict[str, list[Command]]:
    """Make and keep every state of the disk; give the commands that read it again."""
    for command in (build("set"), fit("fitted"), train("student"), predict("said")):
        done = scene.run(command)
        assert done.code == 0, done.said
    scene.keep("finished")
    found = {"finished": [build("set-2"), fit("fitted-2"), train("student-2"), predict("said-2")]}
    for share in (0.6, 0.95):
        for command in (build("set-2"), train("student-2")):
            scene.put_back("finished")
            kill_at(scene, command, share)
            name = f"{command[0]} killed at {share:.0%}"
            scene.keep(name)
            found[name] = [command]
    return found


def kill_at(scene: Scene, command: Command, share: float) -> None:
    """Kill a command when a share of its steps on disk are done."""
    counted = scene.log.with_name("steps")

    def count() -> None:
        disturb(lambda number, _: counted.write_text(str(number)) and None)

    assert scene.run(command, count).code == 0
    last = int(counted.read_text()) * share
    scene.put_back("finished")

    def kill() -> None:
        disturb(lambda number, _: os.kill(os.getpid(), signal.SIGKILL) if number > last else None)

    assert scene.run(command, kill).code == -signal.SIGKILL


def expected(scene: Scene, found: dict[str, list[Command]]) -> dict[str, dict[str, str]]:
    """Run every command from an undamaged disk; give what each makes, by the name of its OUT."""
    scene.put_back("finished")
    made = {}
    for command in found["finished"]:
        done = scene.run(command)
        assert done.code == 0, done.said
        made[out_of(command)] = scene.digest(out_of(command))
    return made


def out_of(command: Command) -> str:
    """Give the name that ends in -2."""
    return next(argument for argument in command if argument.endswith("-2"))


def one_of_every_kind(folder: Path) -> list[Path]:
    """Give a file of every kind: their names, numbers and hashes aside, differ."""
    kinds: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            kinds.setdefault(
                re.sub(r"[0-9a-f]{8,}|\d+", "#", path.relative_to(folder).as_posix()), path
            )
    return list(kinds.values())


def readers(path: Path, commands: list[Command]) -> list[Command]:
    """Leave out commands that cannot read a file of a finished run: they take time."""
    if len(commands) == 1:
        return commands
    build_again, fit_again, train_again, predict_again = commands
    left = {"student": [predict_again], "set": [train_again], "candidates": [build_again]}
    left["cache"] = [build_again, fit_again, train_again]
    return left.get(path.parts[0], [])  # inputs are not ours: another input, another result


def cases(scene: Scene, number: int | None, seed: int) -> Iterator[Case]:
    """Damage files, `number` of all cases drawn at random."""
    found = states(scene)
    right = expected(scene, found)
    draws = random.Random(seed)
    every = [
        (state, path.relative_to(scene.kept / state), damage, reading)
        for state, commands in found.items()
        for path in one_of_every_kind(scene.kept / state)
        for reading in [readers(path.relative_to(scene.kept / state), commands)]
        if reading and (state == "finished" or ".incomplete" in str(path))
        for damage in DAMAGES
    ]
    draws.shuffle(every)
    for state, path, damage, commands in every[:number]:
        scene.put_back(state)
        target = scene.folder / path
        others = [p for p in scene.folder.rglob(f"*{path.suffix}") if p.is_file() and p != target]
        before = target.read_bytes()
        damage(target, draws, draws.choice(others) if others else target)
        if target.is_file() and target.read_bytes() == before:
            continue
        verdict, said = SAME, ""
        for command in commands:
            done = scene.run(command)
            verdict = judge(scene, command, done, path, right)
            if verdict != SAME:
                said = done.said[-2000:]
                break
        yield Case(state, path.as_posix(), damage.__name__, verdict, said)


def judge(
    scene: Scene, command: Command, done: Outcome, path: Path, right: dict[str, dict[str, str]]
) -> str:
    """Say what came of a command after a file was damaged."""
    if done.fault:
        return done.fault
    if done.code == 0:
        out = out_of(command)
        return SAME if scene.digest(out) == right[out] else "SILENTLY USED"
    names = {path.name, *(part for part in path.parts[:-1] if part not in ("data", "cache"))}
    return NAMED if any(name in done.said for name in names) else "error without the file's name"
