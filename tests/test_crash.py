"""Killed anywhere, or out of disk, the next run gives the bytes that an undisturbed one gives.

Every step that changes the disk is counted in a forked child, which is killed right before or
right after a chosen one of them, or is told there that the disk is full.
"""

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from augment.build import BuildConfig, build
from augment.check import check
from tests.test_build import ROOT, command, digests

STEPS = ("fsync", "mkdir", "open", "rename", "replace", "rmdir", "unlink")


def disturb(act: Callable[[int, bool], None]) -> None:
    """Call `act(number of the step, whether it is done)` around every step."""
    count = 0

    def around(step: Callable[..., Any]) -> Callable[..., Any]:
        def disturbed(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            number = count
            act(number, False)
            try:
                return step(*arguments, **options)
            finally:
                act(number, True)

        return disturbed

    for name in STEPS:
        setattr(os, name, around(getattr(os, name)))


def in_child(work: Callable[[], None]) -> int:
    """Run in a fork; give the exit code, negative for a signal."""
    child = os.fork()
    if child == 0:
        try:
            torch.set_num_threads(1)  # a fork has lost its parent's threads
            work()
            os._exit(0)
        except OSError as error:
            os._exit(error.errno or 1)
        except BaseException:
            os._exit(250)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def count_steps(config: BuildConfig, folder: Path) -> int:
    def work() -> None:
        seen: list[int] = []
        disturb(lambda number, done: seen.append(number))
        build(config)
        (folder / "steps").write_text(str(max(seen)))

    assert in_child(work) == 0
    return int((folder / "steps").read_text())


@pytest.fixture
def config(train: Path, glove_file: Path, tmp_path: Path) -> BuildConfig:
    return BuildConfig(
        train=str(train),
        out=tmp_path / "work" / "set",
        mlm="none",
        glove=str(glove_file),
        num_workers=1,
        num_shards=3,
        copies_per_example=3,
    )


@pytest.mark.slow
def test_killed_at_every_step(config: BuildConfig, tmp_path: Path) -> None:
    build(config)
    expected = digests(config.out)
    shutil.rmtree(config.out.parent)
    steps = count_steps(config, tmp_path)
    points = [(number, after) for number in range(1, steps + 1) for after in (False, True)]
    assert len(points) >= 100
    for point in points:
        shutil.rmtree(config.out.parent, ignore_errors=True)

        def kill(number: int, done: bool, point: tuple[int, bool] = point) -> None:
            if (number, done) == point:
                os.kill(os.getpid(), signal.SIGKILL)

        def work(kill: Callable[[int, bool], None] = kill) -> None:
            disturb(kill)
            build(config)

        assert in_child(work) == -signal.SIGKILL, point
        if config.out.exists():  # a folder of that name is always whole
            check(config.out)
        assert in_child(lambda: build(config)) == 0, point
        assert digests(config.out) == expected, point
        assert {path.name for path in config.out.parent.iterdir()} <= {
            "set",
            "set.candidates",
        }, point


def test_a_full_disk_at_every_step(config: BuildConfig, tmp_path: Path) -> None:
    build(config)
    expected = digests(config.out)
    shutil.rmtree(config.out.parent)
    for number in range(1, count_steps(config, tmp_path) + 1, 5):
        shutil.rmtree(config.out.parent, ignore_errors=True)

        def fill(step: int, done: bool, number: int = number) -> None:
            if step >= number and not done:
                raise OSError(errno.ENOSPC, "No space left on device")

        def work(fill: Callable[[int, bool], None] = fill) -> None:
            disturb(fill)
            build(config)

        assert in_child(work) == errno.ENOSPC, number
        assert in_child(lambda: build(config)) == 0, number
        assert digests(config.out) == expected, number


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, flip, Path.unlink])
@pytest.mark.parametrize("folder", ["data", "receipts"])
def test_a_torn_receipt_or_shard_is_made_again(
    config: BuildConfig,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[Path], None],
    folder: str,
) -> None:
    """Starts from a build that was interrupted when all its shards had their receipts."""
    build(replace(config, out=config.out.with_name("whole")))
    expected = digests(config.out.with_name("whole"))
    with monkeypatch.context() as patch:
        patch.setattr("augment.build.make_manifest", interrupt)
        with pytest.raises(KeyboardInterrupt):
            build(config)
    incomplete = config.out.with_name("set.incomplete")
    made = {path.name for path in (incomplete / "receipts").iterdir()}
    assert made == {f"train-0000{number}-of-00003.arrow.json" for number in range(3)}
    damage(sorted((incomplete / folder).iterdir())[1])
    build(config)
    assert digests(config.out) == expected


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_overwriting_keeps_the_old_set_until_the_new_one_is_whole(config: BuildConfig) -> None:
    build(config)
    other = replace(config, seed=1, overwrite=True)
    seen = []

    def work() -> None:
        def watch(number: int, done: bool) -> None:
            names = {path.name for path in config.out.parent.iterdir()}
            whole = {"set", ".set.replaced"} & names
            if not whole:
                os._exit(249)
            seen.append(number)

        disturb(watch)
        build(other)

    assert in_child(work) == 0
    assert check(config.out)["shards"] == 3
    assert {path.name for path in config.out.parent.iterdir()} == {"set", "set.candidates"}


@pytest.mark.slow
def test_killed_while_overwriting(config: BuildConfig, tmp_path: Path) -> None:
    build(config)
    old = digests(config.out)
    other = replace(config, seed=1, overwrite=True)
    new_out = replace(other, out=tmp_path / "other" / "set")
    build(new_out)
    new = digests(new_out.out)
    keep = shutil.copytree(config.out.parent, tmp_path / "keep")
    steps = count_steps(other, tmp_path)
    for point in [(number, after) for number in range(steps - 30, steps) for after in (0, 1)]:
        shutil.rmtree(config.out.parent)
        shutil.copytree(keep, config.out.parent)

        def kill(number: int, done: bool, point: tuple[int, int] = point) -> None:
            if (number, done) == point:
                os.kill(os.getpid(), signal.SIGKILL)

        def work(kill: Callable[[int, bool], None] = kill) -> None:
            disturb(kill)
            build(other)

        assert in_child(work) in (-signal.SIGKILL, 0), point
        replaced = config.folder.replaced if not config.out.exists() else config.out
        assert digests(replaced) in (old, new), point
        assert in_child(lambda: build(other)) == 0, point
        assert digests(config.out) == new, point
        assert not config.folder.replaced.exists(), point


@pytest.mark.slow
def test_killed_with_a_model_and_workers(
    train: Path, glove_file: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    def arguments(out: Path) -> list[str]:
        sources = ["--mlm", str(tiny_bert), "--glove", str(glove_file), "--num-shards", "3"]
        return [str(train), str(out), *sources, "--num-workers", "2"]

    undisturbed, out = tmp_path / "undisturbed" / "set", tmp_path / "work" / "set"
    assert command(*arguments(undisturbed)).returncode == 0
    for seconds in (1.0, 2.0, 3.0, 3.5, 4.0, 5.0):  # from reading to the last rename
        killed = subprocess.Popen(
            [sys.executable, "-m", "augment.build", *arguments(out)], cwd=ROOT
        )
        try:
            killed.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            killed.kill()
            killed.wait(timeout=60)
    done = command(*arguments(out))
    assert done.returncode == 0, done.stderr
    assert digests(out) == digests(undisturbed)
