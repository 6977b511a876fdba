"""OUT that is a mount point, as a container's volume is: a real one, which takes root."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import tiny_distil

MOUNTED = """
set -e
mount --make-rprivate /
mount -t tmpfs -o size=64m volume "$1"
mkdir "$1/lost+found"
{command}
{command}
test ! -e "$1/.incomplete"
mountpoint -q "$1"
cp -r "$1" "$2"
"""
"""The second run finds it finished. The volume goes with the shell, so it is copied."""
BUILD = ["augment.build", "{train}", "{out}", "--mlm", "none", "--glove", "{glove}"]


@pytest.fixture
def into_volume(tmp_path: Path) -> Callable[..., str]:
    """Run a command twice with a file system of its own as `volume`; give what it said."""
    unshare = ["unshare", "--mount"]
    if os.geteuid() or not shutil.which("unshare"):
        pytest.skip("mounting takes root, and unshare")
    probe = [*unshare, "mount", "-t", "tmpfs", "probe", str(tmp_path)]
    if subprocess.run(probe, capture_output=True, timeout=60).returncode:
        pytest.skip("no mounts allowed here")

    def run(*arguments: str) -> str:
        volume = tmp_path / "volume"
        volume.mkdir()
        script = MOUNTED.format(command='"${@:3}"')
        command = [*unshare, "bash", "-c", script, "bash", str(volume), str(tmp_path / "copied")]
        done = subprocess.run(
            [*command, sys.executable, "-m", *arguments],
            capture_output=True,
            text=True,
            timeout=300,
            env={**os.environ, "TWENTYFOLD_CACHE": str(tmp_path / "cache")},
        )
        assert done.returncode == 0, done.stderr
        assert not any(volume.iterdir())
        return done.stdout + done.stderr

    return run


def files(folder: Path) -> dict[str, bytes]:
    """Read all but what tells the time."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("run.json", "SHA256SUMS")
    }


def test_a_set_is_built_into_a_volume(
    train: Path, glove_file: Path, tmp_path: Path, into_volume: Callable[..., str]
) -> None:
    def command(out: str) -> list[str]:
        more = ["--candidates", str(tmp_path / "candidates"), "--num-workers", "1"]
        given = {"train": train, "glove": glove_file, "out": tmp_path / out}
        return [part.format(**given) for part in BUILD] + more

    assert "is complete" in into_volume(*command("volume"))
    plain = [sys.executable, "-m", *command("plain")]
    subprocess.run(plain, check=True, capture_output=True, timeout=300)
    assert files(tmp_path / "copied") == files(tmp_path / "plain")
    checked = [sys.executable, "-m", "augment.check", str(tmp_path / "copied")]
    subprocess.run(checked, check=True, capture_output=True, timeout=300)


def test_a_student_is_trained_into_a_volume(
    tmp_path: Path, into_volume: Callable[..., str]
) -> None:
    teacher = tiny_distil.bert(tmp_path / "teacher")
    data = tiny_distil.rows(tmp_path / "train.json")
    said = into_volume(
        *("distill.train", "--recipe", "minilm-3l-384d-squad2", "--data", data),
        *("--output", str(tmp_path / "volume"), "--teacher", teacher, "--student", "teacher:2,4"),
        *("--stages.0.layer-map", "2", "4", "--stages.0.batch-size", "4"),
        *("--stages.1.batch-size", "4", "--max-steps", "2", "--save-steps", "1"),
        *("--max-seq-length", "32", "--doc-stride", "8", "--max-query-length", "8"),
        *("--device", "cpu", "--dtype", "float32"),
    )
    assert "complete already" in said
    made = {path.name for path in (tmp_path / "copied").iterdir()}
    assert {"model.safetensors", "training.json", "stages", "plan.json", "lost+found"} <= made
