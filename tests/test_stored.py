"""What is kept for later is believed only where it proves itself, and is made again where not."""

import errno
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from augment.base import commit
from augment.base.command import UsageError
from augment.base.set_records import Receipt, Shard
from augment.base.stored import CHECKSUMS, checksum_faults, proven, seal, set_aside, stored
from augment.build import BuildConfig, build
from augment.building.receipts import read_receipt, write_receipt
from augment.fitting.glove_fit import fitted_to
from augment.fitting.glove_model import GloveFit
from augment.shards import open_shards
from augment.variants.glove import load_vectors
from tests.sync_order import faults, recorded


def two_files(folder: Path) -> None:
    (folder / "deep").mkdir()
    (folder / "deep" / "a.bin").write_bytes(bytes(range(100)))
    (folder / "b.txt").write_text("b\n")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "flipped": flip,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "emptied": lambda path: path.write_bytes(b""),
    "deleted": lambda path: path.unlink(),
    "joined": lambda path: path.with_name("stray").touch(),
}


@pytest.mark.parametrize("file", ["deep/a.bin", "b.txt", CHECKSUMS])
@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_named_and_made_again(
    tmp_path: Path, file: str, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "cache" / "thing"
    made = []

    def make(work: Path) -> None:
        made.append(work)
        two_files(work)

    assert stored(folder, make) == stored(folder, make) == folder
    assert len(made) == 1
    assert capsys.readouterr().err == ""
    DAMAGES[damage](folder / file)
    assert stored(folder, make) == folder
    assert len(made) == 2
    assert f"{folder}: damaged (" in capsys.readouterr().err
    assert checksum_faults(folder) == []
    assert (folder / "deep" / "a.bin").read_bytes() == bytes(range(100))
    assert {path.name for path in folder.parent.iterdir()} == {"thing", "thing.damaged"}


def test_each_file_is_hashed_once_in_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = stored(tmp_path / "thing", two_files)
    seen: list[str] = []
    digest = commit.hashlib.file_digest

    def count(file: Any, name: str) -> Any:
        seen.append(Path(file.name).name)
        return digest(file, name)

    monkeypatch.setattr(commit, "_hashes", {})
    monkeypatch.setattr(commit.hashlib, "file_digest", count)
    assert [proven(folder) for _ in range(3)] == [True] * 3
    assert sorted(seen) == ["a.bin", "b.txt"]


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def fail(work: Path) -> None:
        two_files(work)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stored(tmp_path / "thing", fail)
    assert not any(tmp_path.iterdir())


def test_no_room_is_said_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="thing: no space left on its disk, needs about 1,000,000"):
        stored(tmp_path / "thing", two_files, 10**18)
    assert not any(tmp_path.iterdir())
    stored(tmp_path / "thing", two_files)
    stored(tmp_path / "thing", two_files, 10**18)  # it is there


def test_a_disk_that_fills_up_is_said_with_what_is_needed(tmp_path: Path) -> None:
    def fill(work: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(work))

    with pytest.raises(OSError, match="No space") as caught:
        stored(tmp_path / "thing", fill, 2_000_000)
    assert caught.value.__notes__ == ["needs about 2 MB"]


def test_killed_while_it_is_made(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        stored(tmp_path / "thing", lambda work: os.kill(os.getpid(), signal.SIGKILL))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    stored(tmp_path / "thing", two_files)
    assert [path.name for path in tmp_path.iterdir()] == ["thing"]


def test_another_was_faster_where_there_are_no_locks(tmp_path: Path) -> None:
    def slow(work: Path) -> None:
        two_files(work)
        (tmp_path / "thing").mkdir()
        two_files(tmp_path / "thing")
        seal(tmp_path / "thing")

    assert stored(tmp_path / "thing", slow) == tmp_path / "thing"
    assert [path.name for path in tmp_path.iterdir()] == ["thing"]


def test_everything_is_on_disk_before_the_mark(tmp_path: Path) -> None:
    with recorded(tmp_path, marks=(CHECKSUMS,)) as seen:
        stored(tmp_path / "thing", two_files)
    assert faults(seen.events) == []


def test_a_file_is_set_aside_over_an_older_one(tmp_path: Path) -> None:
    for content in ("one", "two"):
        (tmp_path / "part").write_text(content)
        set_aside(tmp_path / "part", "why")
    assert [path.name for path in tmp_path.iterdir()] == ["part.damaged"]
    assert (tmp_path / "part.damaged").read_text() == "two"
    set_aside(tmp_path / "part", "gone meanwhile")


@pytest.mark.parametrize("file", ["vectors.npy", "vocabulary.txt"])
def test_damaged_vectors_are_read_again(tmp_path: Path, glove_file: Path, file: str) -> None:
    first = load_vectors(glove_file, tmp_path)
    matrix, words = np.array(first.matrix), list(first.words)
    flip(tmp_path / f"glove-{first.sha256[:16]}" / file)
    again = load_vectors(glove_file, tmp_path)
    assert np.array_equal(again.matrix, matrix)
    assert again.words == words


def test_damaged_fitted_vectors_are_fitted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWENTYFOLD_CACHE", str(tmp_path))
    fit = GloveFit(dimensions=4, min_count=1, epochs=1)
    path = fitted_to(["the cat sat on the mat", "a dog sat in the river"], fit)
    whole = path.read_bytes()
    flip(path)
    assert (
        fitted_to(["the cat sat on the mat", "a dog sat in the river"], fit).read_bytes() == whole
    )


@pytest.fixture
def config(train: Path, glove_file: Path, tmp_path: Path) -> BuildConfig:
    out = tmp_path / "set"
    return BuildConfig(
        train=str(train), out=out, mlm="none", glove=str(glove_file), num_workers=1, num_shards=2
    )


def test_damaged_uncompressed_shards_are_written_again(config: BuildConfig, tmp_path: Path) -> None:
    build(config)
    rows = open_shards(config.out, tmp_path / "cache")[:]
    flip(next((tmp_path / "cache").rglob("train-00001*")))
    assert open_shards(config.out, tmp_path / "cache")[:] == rows


def test_a_receipt_whose_counts_changed_is_as_good_as_none(tmp_path: Path) -> None:
    for name in ("data", "receipts"):
        (tmp_path / name).mkdir()
    (tmp_path / "data" / "a.arrow").write_bytes(b"rows")
    shard = Shard(
        file="a.arrow", rows=4, bytes=4, sha256=commit.file_sha256(tmp_path / "data" / "a.arrow")
    )
    receipt = Receipt(
        shard=shard, bytes_in_memory=9, counts={"words": 40}, copies_by_share_replaced=(1, 2)
    )
    write_receipt(tmp_path, receipt)
    assert read_receipt(tmp_path, "a.arrow") == receipt
    path = tmp_path / "receipts" / "a.arrow.json"
    path.write_bytes(path.read_bytes().replace(b"40", b"41"))
    assert read_receipt(tmp_path, "a.arrow") is None


def test_a_record_with_a_wrong_type_is_named(config: BuildConfig) -> None:
    build(config)
    path = config.out / "run.json"
    record = json.loads(path.read_bytes())
    path.write_text(json.dumps({**record, "num_workers": "two"}))
    with pytest.raises(ValueError, match=r"run\.json: damaged \(num_workers: is 'two', expected a"):
        build(config)
