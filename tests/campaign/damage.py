"""Damage one file of every kind that runs left on disk, run again, and look at what comes out."""

import os
import random
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.campaign.scene import BUILD, FIT, PREDICT, REBUILD, TRAIN, Case, Job, Outcome, Scene
from tests.test_crash import disturb

SAME, NAMED = "same result", "named"
"""What is right: used no more, or made again; or an error that names the file or its folder."""


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
KILLED = tuple((job, share) for share in (0.6, 0.95) for job in (BUILD, TRAIN))
BLOCK = 10
"""Cases after which the state of the disk changes: finished and killed in turn."""


class Plan(NamedTuple):
    """A file to damage, and what then reads it: jobs, with the names of what they make."""

    state: str
    path: Path
    damage: Callable[[Path, random.Random, Path], None]
    readers: list[tuple[Job, str]]


def kill_at(scene: Scene, job: Job, share: float) -> str:
    """Kill a job when a share of its steps on disk are done; give the state's name."""
    state = f"{job.out} killed at {share:.0%}"
    if not (scene.kept / state).exists():
        last = scene.steps(job) * share
        scene.put_back(job.start)

        def kill() -> None:
            disturb(lambda number, _: os.kill(os.getpid(), 9) if number > last else None)

        assert scene.run(job.command(job.out), kill).code == -signal.SIGKILL
        scene.keep(state)
    return state


def one_of_every_kind(folder: Path) -> list[Path]:
    """Give a file of every kind: their names, numbers and hashes aside, differ."""
    kinds: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder)
            kinds.setdefault(re.sub(r"[0-9a-f]{8,}|\d+", "#", name.as_posix()), name)
    return list(kinds.values())


READERS: dict[str, list[tuple[Job, str]]] = {
    "student": [(PREDICT, "said-2")],
    "set": [(TRAIN, "student-2")],
    "candidates": [(BUILD, "set-2")],
    "cache": [(job, f"{job.out}-2") for job in (BUILD, FIT, TRAIN, REBUILD)],
    "bucket": [(REBUILD, "rebuilt-2")],
    "said": [(PREDICT, "said")],
}
"""Of what finished runs left, by its folder. Inputs are not ours: another input, another result."""


def plans(scene: Scene, state: str, job: Job | None) -> list[Plan]:
    """List what can be damaged in a state; of a killed job what was being made, for it to go on."""
    found = [
        Plan(state, path, damage, [(job, job.out)] if job else READERS[path.parts[0]])
        for path in one_of_every_kind(scene.kept / state)
        if (any(".incomplete" in part for part in path.parts) if job else path.parts[0] in READERS)
        for damage in DAMAGES
    ]
    random.Random(0).shuffle(found)
    return found


def cases(scene: Scene, numbers: range, seed: int) -> Iterator[Case]:
    """Damage files; each case is a function of seed and number."""
    for number in numbers:
        draws = random.Random(f"{seed}/{number}")
        turn, place = divmod(number, BLOCK)
        job, state = None, "finished"
        if turn % 2:
            job, share = KILLED[turn // 2 % len(KILLED)]
            state = kill_at(scene, job, share)
        rounds = turn // 2 if job is None else turn // (2 * len(KILLED))
        found = plans(scene, state, job)
        plan = found[(rounds * BLOCK + place) % len(found)]
        yield damaged(scene, number, plan, draws)


def damaged(scene: Scene, number: int, plan: Plan, draws: random.Random) -> Case:
    """Damage a file, run what reads it, compare with what should come out."""
    scene.put_back(plan.state)
    target = scene.folder / plan.path
    others = [p for p in scene.folder.rglob(f"*{target.suffix}") if p.is_file() and p != target]
    before = target.read_bytes()
    plan.damage(target, draws, draws.choice(others) if others else target)
    verdict, said = SAME, ""
    if target.is_file() and target.read_bytes() == before:
        plan.damage(target, draws, Path(__file__))  # an only file, or an equal one
    for job, out in plan.readers:
        done = scene.run(job.command(out))
        verdict = judge(scene, done, plan.path, out, scene.right[job.out])
        if verdict != SAME:
            said = done.said
            break
    name = plan.path.as_posix()
    return Case(number, plan.state, name, plan.damage.__name__, verdict, said)


def judge(scene: Scene, done: Outcome, path: Path, out: str, right: dict[str, str]) -> str:
    """Say what came of a command after a file was damaged."""
    if done.fault:
        return done.fault
    if done.code == 0:
        return SAME if scene.digest(out) == right else "SILENTLY USED"
    names = {path.name, *(part for part in path.parts[:-1] if part not in ("data", "cache"))}
    return NAMED if any(name in done.said for name in names) else "error without the file's name"
