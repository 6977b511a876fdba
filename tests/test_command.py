"""How a command ends: exit codes, one message, no traceback; and files put in place whole."""

import errno
import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import tyro

from augment.base.command import UsageError, needing, run, to_json, versions
from augment.base.commit import remove_leftovers, write_atomic


@dataclass(frozen=True, kw_only=True)
class TrialConfig:
    """A command that does what the test wants."""

    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """Where."""
    number: int = 1
    """How many."""

    def __post_init__(self) -> None:
        if self.number < 1:
            raise ValueError(f"--number {self.number}: must be 1 or more")


def end(monkeypatch: pytest.MonkeyPatch, error: BaseException | None, *arguments: str) -> int:
    def function(config: TrialConfig) -> None:
        if error:
            raise error

    monkeypatch.setattr(sys, "argv", ["trial", *(arguments or ("here",))])
    with pytest.raises(SystemExit) as caught:
        run(TrialConfig, function)
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (None, 0, ""),
        (ValueError("t.json: bad"), 1, "error: t.json: bad\n"),
        (UsageError("OUT: exists"), 2, "error: OUT: exists\n"),
        (FileNotFoundError("t.json: no such file"), 1, "error: t.json: no such file\n"),
        (PermissionError(errno.EACCES, "Permission denied", "o"), 1, "Permission denied: 'o'\n"),
        (OSError(errno.ENOSPC, "No space", "o/x"), 1, "o/x: no space left on its disk; free some"),
        (OSError(errno.EDQUOT, "Quota"), 1, "output: no space left on its disk; free some"),
        (RuntimeError("unexpected pos 64 vs 0"), 1, "output: no space left on its disk"),
        (RuntimeError("basic_ios::clear: iostream error"), 1, "output: no space left on its disk"),
        (OSError("1100 requested and 992 written"), 1, "output: no space left on its disk"),
        (LookupError("I/O error: No space left on device (os error 28)"), 1, "no space left"),
        (ValueError("q\x1b[31m\x9b\ud800\u202e: bad"), 1, "error: q␛[31m\ufffd\ufffd\ufffd: bad\n"),
        (RuntimeError("a worker died"), 1, "error: a worker died\n"),
        (MemoryError(), 1, "error: out of memory\n"),
        (ValueError(), 1, "error: ValueError()\n"),
        (KeyboardInterrupt(), 130, "interrupted; run the same command again"),
    ],
)
def test_exit_codes_and_messages(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException | None,
    code: int,
    message: str,
) -> None:
    assert end(monkeypatch, error) == code
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.count("\n") == (code != 0)
    assert shown.out == ""


def test_a_full_disk_is_said_with_what_is_needed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The innermost estimate is said; of another error nothing is."""

    def function(config: TrialConfig) -> None:
        with needing(9_000_000), needing(1_234_000_000):
            raise OSError(errno.ENOSPC, "No space", "o/x")

    monkeypatch.setattr(sys, "argv", ["trial", "here"])
    with pytest.raises(SystemExit):
        run(TrialConfig, function)
    said = "o/x: no space left on its disk, needs about 1,234 MB; free some and run the same"
    assert said in capsys.readouterr().err
    with pytest.raises(ValueError, match="bad") as caught, needing(1):
        raise ValueError("bad")
    assert not hasattr(caught.value, "__notes__")


def test_threads_and_files_that_are_given_up_leave_a_full_disk_to_the_main_thread(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for module, name in ((threading, "excepthook"), (sys, "unraisablehook")):
        monkeypatch.setattr(module, name, getattr(module, f"__{name}__"))

    class Given:
        def __init__(self, error: Exception) -> None:
            self.error = error

        def __del__(self) -> None:
            raise self.error

    def write(error: Exception) -> None:
        raise error

    def function(config: TrialConfig) -> None:
        full, other = OSError(errno.ENOSPC, "No space"), LookupError("a fault of ours")
        for error in (full, other):
            thread = threading.Thread(target=write, args=(error,))
            thread.start()
            thread.join()
            Given(error)

    monkeypatch.setattr(sys, "argv", ["trial", "here"])
    with pytest.raises(SystemExit):
        run(TrialConfig, function)
    said = capfd.readouterr().err
    assert "No space" not in said
    assert said.count("LookupError: a fault of ours") == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["here", "--number", "0"], "--number 0: must be 1 or more"),
        (["here", "--number", "x"], "--number"),
        (["here", "--numbr", "3"], "--number"),  # did you mean
    ],
)
def test_wrong_usage(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    assert end(monkeypatch, None, *arguments) == 2
    assert message in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_a_traceback_on_demand(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TWENTYFOLD_TRACEBACK", "1")
    assert end(monkeypatch, ValueError("bad")) == 1
    assert "Traceback" in capsys.readouterr().err


LEAVE = """
import atexit, os
from augment.base.command import leave
atexit.register(os.abort)  # as Gloo's threads may
print("done")
leave()
"""


@pytest.mark.parametrize(("world", "code"), [("2", 0), ("1", -6)])
def test_a_process_of_torchrun_leaves_before_the_interpreter_is_taken_down(
    world: str, code: int
) -> None:
    left = subprocess.run(
        [sys.executable, "-c", LEAVE],
        env={**os.environ, "WORLD_SIZE": world},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (left.returncode, left.stdout) == (code, "done\n" if world == "2" else left.stdout)


def test_json_is_written_one_way() -> None:
    assert to_json({"b": 1, "a": "é"}) == '{\n  "a": "é",\n  "b": 1\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json({"a": float("nan")})
    assert json.loads(to_json(versions()))["python"].startswith("3.")


def fail(path: Path) -> None:
    path.write_text("half")
    raise KeyboardInterrupt


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, "old")
    for broken in (fail, "\ud800"):
        with pytest.raises((KeyboardInterrupt, UnicodeEncodeError)):
            write_atomic(path, broken)
        assert [p.name for p in tmp_path.iterdir()] == ["file"]
        assert path.read_text() == "old"
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"


def test_only_our_leftovers_are_removed(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    ours = tmp_path / "data" / f".a.arrow.{'0' * 32}.tmp"
    for path in (ours, tmp_path / ".theirs.tmp", tmp_path / "a.tmp"):
        path.touch()
    assert remove_leftovers(tmp_path) == 1
    assert sorted(p.name for p in tmp_path.rglob("*")) == [".theirs.tmp", "a.tmp", "data"]


def test_a_url_where_a_path_is_needed_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder of the name "s3:" would be made."""
    assert end(monkeypatch, None, "s3://me:hidden@bucket/x") == 2
    assert capsys.readouterr().err == (
        "error: s3://bucket/x: a file or folder of this machine is needed here, no URL\n"
    )


def test_a_cache_that_cannot_be_written_is_told_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("TWENTYFOLD_CACHE", str(tmp_path / "cache"))
    error = OSError(errno.EROFS, "Read-only file system", str(tmp_path / "cache/set-1"))
    assert end(monkeypatch, error) == 1
    assert "set TWENTYFOLD_CACHE to a folder that can be" in capsys.readouterr().err
