"""What goes wrong with a store, as a user meets it: one message, a code, nothing half made."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.campaign.store import Proxy, proxied

pytest.importorskip("moto.server")
s3fs = pytest.importorskip("s3fs")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "augment/embedded/sample-train-v2.0.json"
FEW = (
    *("--mlm", "none", "--glove", "embedded", "--limit-contexts", "3", "--num-shards", "3"),
    *("--copies-per-example", "1", "--num-workers", "1"),
)
KEYS = (
    r"; give keys that may list, read and write there \(AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
)
AWAY = "see that the store answers there, and run the same command again"
Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def store() -> Iterator[tuple[Proxy, Any]]:
    """Give the proxy before a server, and fsspec's view of it: a bucket with a file to read."""
    with proxied() as proxy:
        files = s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False)
        files.pipe_file("bucket/train.json", SAMPLE.read_bytes())
        yield proxy, files


@pytest.fixture
def command(tmp_path: Path) -> Command:
    def run(*words: object, **changed: str | None) -> "subprocess.CompletedProcess[str]":
        own = {"TWENTYFOLD_CACHE": str(tmp_path / "cache"), "AWS_EC2_METADATA_DISABLED": "true"}
        given = {**os.environ, "PYTHONPATH": str(ROOT), **own, **changed}
        return subprocess.run(
            [sys.executable, "-m", *map(str, words)],
            env={name: value for name, value in given.items() if value is not None},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


def says(done: "subprocess.CompletedProcess[str]", code: int, words: str) -> None:
    """See that a command ended with one line, which says these words."""
    assert (done.returncode, done.stdout) == (code, ""), done
    assert re.fullmatch(rf"error: {words}.*\n", done.stderr), done.stderr


def test_a_store_that_is_not_there_or_does_not_let_in(
    store: tuple[Proxy, Any], command: Command, tmp_path: Path
) -> None:
    """Before a command has begun."""
    proxy, files = store
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    (tmp_path / "without").mkdir()
    (tmp_path / "without/s3fs.py").write_text("raise ImportError")
    without = {"PYTHONPATH": f"{tmp_path}/without:{ROOT}"}
    away = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
    no_keys = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None, "HOME": str(tmp_path)}
    extra = r".*; in the project's folder, pip install -e '\.\[s3\]' -c constraints.txt"
    cases: tuple[tuple[str, str, dict[str, Any], int, str], ...] = (
        ("none", "", {}, 1, "no such bucket; make it first"),
        ("bucket", "", without, 2, "cannot be opened" + extra),
        ("bucket", "", away, 1, f"tried 5 times: Could not connect to .*:{port}/.*; {AWAY}"),
        ("bucket", "", no_keys, 1, f"Unable to locate credentials{KEYS}"),
        ("bucket", "403 denied", {}, 1, f"(Access Denied|Forbidden){KEYS}"),
    )
    for bucket, fault, changed, code, words in cases:
        proxy.disturb(fault, range(10**6))
        place = f"s3://{bucket}/set"
        says(command("augment.build", SAMPLE, place, *FEW, **changed), code, f"{place}: {words}")
        if bucket == "none":
            words = "no such file or folder"
        source = f"s3://{bucket}/train.json"
        done = command("augment.build", source, "out", *FEW, **changed)
        says(done, code, f"{source}: {words}")
    proxy.calm()
    assert files.find("bucket") == ["bucket/train.json"]
    assert {path.name for path in tmp_path.iterdir()} <= {"without", "cache"}
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("fault", "words"),
    [("403 denied", f"(Access Denied|Forbidden){KEYS}"), ("reset", f"tried 5 times: .*; {AWAY}")],
)
def test_a_store_that_stops_in_the_middle_of_a_build(
    store: tuple[Proxy, Any], command: Command, tmp_path: Path, fault: str, words: str
) -> None:
    proxy, files = store
    place = "s3://bucket/set"
    build = ("augment.build", SAMPLE, place, *FEW, "--candidates", "candidates")
    proxy.disturb(fault, range(30, 10**6))
    says(command(*build), 1, rf"{place}[\w/.-]*: {words}")
    proxy.calm()
    there = {path.removeprefix("bucket/set/") for path in files.find(place)}
    assert "data/train-00000-of-00003.arrow" in there
    assert "manifest.json" not in there
    says(
        command("augment.check", place), 1, rf"{place}: no manifest\.json in it, so not a finished"
    )
    assert command(*build).returncode == 0
    assert "3 shards" in command("augment.check", place).stdout
