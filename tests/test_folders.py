"""One folder protocol: what others have beside OUT stays, and a kill between renames is mended."""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from augment.base.command import UsageError
from augment.base.folders import OutFolder, claimed, made_at_once

PLACES = ("out", "out.incomplete", ".out.replaced")
PLAN = {"seed": 1, "rows": [1, 2]}


def out_folder(out: Path, *, overwrite: bool = False) -> OutFolder:
    return OutFolder(out=out, what="a thing", mark="done.json", overwrite=overwrite)


def make(out: Path, content: str = "new", plan: Any = PLAN, **options: bool) -> bool:
    """Make a folder of one file; tell whether it was finished already."""
    folder = out_folder(out, **options)
    with folder.claimed(plan) as finished:
        if not finished:
            folder.prepare(plan)
            (folder.incomplete / "done.json").write_text(content)
            folder.put_in_place()
        return finished


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_made_once_and_known_again(tmp_path: Path) -> None:
    out = tmp_path / "below" / "out"
    assert make(out) is False
    assert make(out, "other") is True
    assert (out / "done.json").read_text() == "new"
    assert make(out, "other", overwrite=True) is False
    assert (out / "done.json").read_text() == "other"
    assert names(out.parent) == {"out"}


def test_a_run_that_fails_leaves_what_is_worth_keeping_alone(tmp_path: Path) -> None:
    folder = out_folder(tmp_path / "out")

    def fail(*files: str) -> None:
        with folder.claimed(PLAN):
            folder.prepare(PLAN)
            (folder.incomplete / "data").mkdir(exist_ok=True)
            for name in files:
                (folder.incomplete / name).touch()
            raise ZeroDivisionError

    for files, left in (
        ((), set()),
        (("data/shard",), {"out.incomplete"}),
        ((), {"out.incomplete"}),
    ):
        with pytest.raises(ZeroDivisionError):
            fail(*files)
        assert names(tmp_path) == left
    with pytest.raises(UsageError, match="made with another"), folder.claimed({"seed": 2}):
        folder.prepare({"seed": 2})
    assert names(folder.incomplete) == {"plan.json", "data"}


def test_another_plan_is_refused_with_its_keys(tmp_path: Path) -> None:
    make(tmp_path / "out")
    with pytest.raises(UsageError, match=r"(?s)out: made with .*--overwrite.*seed: 1 there, 2 he"):
        make(tmp_path / "out", plan={**PLAN, "seed": 2})
    (tmp_path / "out").rename(tmp_path / "out.incomplete")
    with pytest.raises(UsageError, match=r"(?s)incomplete: made with .*seed: 1 there, 2 here"):
        make(tmp_path / "out", plan={**PLAN, "seed": 2})
    (tmp_path / "out.incomplete" / "old.bin").touch()
    make(tmp_path / "out", plan={**PLAN, "seed": 2}, overwrite=True)
    assert names(tmp_path / "out") == {"done.json", "plan.json"}


@pytest.mark.parametrize("step", ["replaced", "renamed", "half forgotten"])
@pytest.mark.parametrize("again", ["equal", "overwrite"])
def test_killed_while_it_is_replaced(tmp_path: Path, step: str, again: str) -> None:
    out = tmp_path / "out"
    folder = out_folder(out, overwrite=True)
    make(out, "old")

    def die(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def replaced() -> None:
        renames: list[Any] = []
        rename = os.rename

        def one(source: Path, target: Path) -> None:
            if renames:
                die()
            renames.append(source)
            rename(source, target)

        os.rename = one  # type: ignore[assignment]

    def renamed() -> None:
        OutFolder._forget_replaced = die  # type: ignore[method-assign]

    def half_forgotten() -> None:
        import shutil

        shutil.rmtree = die  # type: ignore[assignment]

    disturb: dict[str, Callable[[], None]] = {
        "replaced": replaced,
        "renamed": renamed,
        "half forgotten": half_forgotten,
    }
    child = os.fork()
    if child == 0:
        disturb[step]()
        make(out, "new", overwrite=True)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert folder.replaced.exists()
    make(out, "newer", overwrite=again == "overwrite")
    kept = "old" if step == "replaced" else "new"
    assert (out / "done.json").read_text() == ("newer" if again == "overwrite" else kept)
    assert names(tmp_path) <= {"out", "out.incomplete"}
    assert (step == "replaced" and again == "equal") or names(tmp_path) == {"out"}


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    for name in ("out.lock", "out.incomplete.lock", ".out.lock"):
        (tmp_path / name).write_text("theirs")
    linked = tmp_path / "elsewhere"
    linked.write_text("theirs")
    (tmp_path / "out.link.lock").symlink_to(linked)
    make(tmp_path / "out")
    make(tmp_path / "out.link")
    assert {path.read_text() for path in tmp_path.iterdir() if path.is_file()} == {"theirs"}
    assert (tmp_path / "out.link.lock").is_symlink()


@pytest.mark.parametrize(
    ("place", "kind"),
    [(place, kind) for place in PLACES for kind in ("folder", "file", "link")],
)
def test_what_stands_in_the_way_is_named_and_stays(tmp_path: Path, place: str, kind: str) -> None:
    there = tmp_path / place
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "thesis.txt").write_text("years of work")
    if kind == "link":
        there.symlink_to(theirs)
    elif kind == "file":
        there.write_text("years of work")
    else:
        theirs.rename(there)
    before = {path: os.lstat(path).st_mtime_ns for path in tmp_path.rglob("*")}
    with pytest.raises(UsageError, match=f"{place}: .*move"):
        make(tmp_path / "out", overwrite=True)
    assert {path: os.lstat(path).st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_folder_made_at_once_leaves_others_alone(tmp_path: Path) -> None:
    (tmp_path / "out.incomplete").mkdir()
    (tmp_path / "out.incomplete" / "thesis.txt").write_text("years of work")
    with (
        pytest.raises(UsageError, match=r"out\.incomplete: is needed"),
        made_at_once(tmp_path / "out"),
    ):
        pass
    assert names(tmp_path / "out.incomplete") == {"thesis.txt"}

    def fails() -> None:
        with made_at_once(tmp_path / "other") as made:
            (made / "file").touch()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert names(tmp_path) == {"out.incomplete"}


@pytest.mark.parametrize("again", [False, True])
def test_into_a_mount_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: bool) -> None:
    """Its files move up; the folder stays, and so does a file system's own `lost+found`."""
    out = tmp_path / "volume"
    (out / "lost+found").mkdir(parents=True)
    monkeypatch.setattr(Path, "is_mount", lambda self: self == out)
    inode = out.stat().st_ino
    assert out_folder(out).incomplete == out / ".incomplete"
    make(out)
    if again:
        (out / "stray.bin").touch()
        make(out, "newer", overwrite=True)
    assert out.stat().st_ino == inode
    assert names(out) == {"lost+found", "done.json", "plan.json"}
    assert (out / "done.json").read_text() == ("newer" if again else "new")
    assert make(out) is True
    assert names(tmp_path) == {"volume"}


@pytest.mark.parametrize("at", range(4))
def test_killed_while_files_move_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    out = tmp_path / "volume"
    out.mkdir()
    monkeypatch.setattr(Path, "is_mount", lambda self: self == out)
    make(out, "old")
    child = os.fork()
    if child == 0:
        rename, left = os.rename, [at]

        def one(source: Path, target: Path) -> None:
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            rename(source, target)

        os.rename = one  # type: ignore[assignment]
        make(out, "new", overwrite=True)
        os._exit(0)
    os.waitpid(child, 0)
    make(out, "newer", overwrite=at < 2)
    assert (out / "done.json").read_text() == ("newer" if at < 2 else "new")
    assert names(out) == {"done.json", "plan.json"}


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "elsewhere")
    make(tmp_path / "out")
    assert (tmp_path / "out").is_symlink()
    assert names(tmp_path / "elsewhere") == {"done.json", "plan.json"}


def test_what_is_in_the_way_is_said_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out_folder(tmp_path / "not" / "there" / "yet").look()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    cases = {
        "link": "a link to .*nowhere, where nothing is",
        "file/out": "file is a file, not a folder",
        "x" * 250: "too long a name, since x*.incomplete is needed",
    }
    for name, message in cases.items():
        with pytest.raises(UsageError, match=message):
            out_folder(tmp_path / name).look()
    with pytest.raises(
        UsageError, match=r"no space left on its disk, needs about 1,000,000,000,000 MB and"
    ):
        out_folder(tmp_path / "out").look(10**18)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(UsageError, match="no permission to write into"):
        out_folder(tmp_path / "out").look()


def test_a_claim_makes_its_folder_or_says_what_is_in_the_way(tmp_path: Path) -> None:
    with claimed(tmp_path / "new" / "deep"):
        assert (tmp_path / "new" / "deep").is_dir()
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "link").symlink_to(tmp_path / "new")
    for name, place in [("file", "file"), ("file", "file/deep"), ("link", "link")]:
        with pytest.raises(UsageError, match=f"{name}: is needed as a folder"):
            claimed(tmp_path / place).__enter__()
    with pytest.raises(UsageError, match="dangling: is needed as a folder"):
        claimed(tmp_path / "dangling" / "deep").__enter__()
    with pytest.raises(UsageError, match="/dev/null: is needed as a folder"):
        claimed(Path("/dev/null/deep")).__enter__()
    with pytest.raises(FileNotFoundError, match="/proc/deep"):  # which takes no folders
        claimed(Path("/proc/deep")).__enter__()
    with claimed(tmp_path / "link" / "deep"):  # above it a link is somebody's arrangement
        pass


def test_a_claim_has_one_holder(tmp_path: Path) -> None:
    path = tmp_path / "work"
    with claimed(path), pytest.raises(RuntimeError, match="work: another process"), claimed(path):
        pass
    assert not path.exists()
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        for _ in range(50):
            with claimed(path, wait=True):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(most), max(most)) == (200, 1)


def test_a_folder_renamed_before_it_was_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    path, whole, calls = tmp_path / "work", fcntl.flock, []

    def renamed_first(file: Any, flags: int) -> None:
        calls.append(flags)
        if len(calls) == 1:  # its holder ends between our opening it and locking it
            path.rename(tmp_path / "done")
        whole(file, flags)

    monkeypatch.setattr(fcntl, "flock", renamed_first)
    with claimed(path):
        assert len(calls) == 2
        assert path.exists()


def test_a_file_system_without_locks_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import errno
    import fcntl

    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    make(tmp_path / "out")
    assert "out.incomplete: this file system has no locks" in capsys.readouterr().err
