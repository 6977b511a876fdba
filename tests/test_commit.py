"""Files and folders get their names when they are whole and on disk; what is not ours stays."""

import hashlib
import os
import time
from pathlib import Path

import pytest

from augment.base.commit import file_sha256, fsync_folder, remove_leftovers, write_atomic
from augment.base.folders import rename_folder
from augment.build import BuildConfig, build
from tests.sync_order import Named, Sync, faults, recorded


def test_a_file_is_synced_before_its_name_and_its_name_after(tmp_path: Path) -> None:
    with recorded(tmp_path) as seen:
        write_atomic(tmp_path / "one", "1")
        write_atomic(tmp_path / "two", lambda temporary: temporary.write_bytes(b"2") and None)
    assert [type(event) for event in seen.events] == [Sync, Named, Sync] * 2
    assert faults(seen.events) == []
    assert (tmp_path / "one").read_bytes() == b"1"
    assert (tmp_path / "two").read_bytes() == b"2"
    for left_out in range(6):
        rest = [event for number, event in enumerate(seen.events) if number != left_out]
        assert bool(faults(rest)) == (left_out not in (1, 4)), left_out


def test_a_folder_goes_with_all_that_is_in_it(tmp_path: Path) -> None:
    made = tmp_path / "set.incomplete"
    (made / "deep").mkdir(parents=True)
    (made / "deep" / "weights").write_text("written by another library, not synced")
    with recorded(tmp_path) as seen:
        write_atomic(made / "plan.json", "{}")
        os.utime(made, (1, 1))  # changed once more
        rename_folder(made, tmp_path / "set")
    assert faults(seen.events) == []
    assert (tmp_path / "set" / "deep" / "weights").is_file()
    last = {event.inode: event for event in seen.events if isinstance(event, Sync)}
    for sync in last.values():
        assert faults([event for event in seen.events if event != sync]), sync


def test_what_is_written_after_the_sync_is_noticed(tmp_path: Path) -> None:
    with recorded(tmp_path) as seen:
        path = tmp_path / "data.tmp"
        with path.open("wb") as file:
            file.write(b"1")
            file.flush()
            os.fsync(file.fileno())
            file.write(b"2")
        os.replace(path, tmp_path / "data")
        fsync_folder(tmp_path)
    assert faults(seen.events) == ["data.tmp is not synced when data is named"]


def test_a_mark_speaks_for_what_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"1")
    with recorded(tmp_path, marks=("whole.json",)) as seen:
        write_atomic(tmp_path / "whole.json", "{}")
    assert faults(seen.events) == ["weights is not synced when whole.json is named"]


def test_a_failed_write_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, "old")

    def fail(temporary: Path) -> None:
        temporary.write_text("half of the n")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, fail)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "old"


def test_leftovers_are_ours_and_old_enough(tmp_path: Path) -> None:
    name = f".shard.{'0af9' * 8}.tmp"
    deep = tmp_path / "data" / name
    deep.parent.mkdir()
    kept = [f"x{name}", f"{name}x", ".shard.tmp", f".shard.{'0aG9' * 8}.tmp", f".{name[7:]}"]
    for path in (deep, tmp_path / name, *(tmp_path / name for name in kept)):
        path.write_text("half")
    os.utime(deep, (time.time() - 100,) * 2)
    assert remove_leftovers(tmp_path, older_than=1000) == 0
    assert remove_leftovers(tmp_path, older_than=50) == 1
    assert not deep.exists()
    assert remove_leftovers(tmp_path) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"data", *kept}


def test_hash_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert file_sha256(tmp_path / "file") == hashlib.sha256(b"abc").hexdigest()


def test_a_build_survives_a_power_cut_at_any_moment(
    train: Path, glove_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "work" / "set"
    config = BuildConfig(
        train=str(train), out=out, mlm="none", glove=str(glove_file), num_workers=1, num_shards=2
    )
    out.parent.mkdir()
    with recorded(out.parent, marks=("manifest.json",)) as seen:
        build(config)
    assert faults(seen.events) == []
    names = [event.name for event in seen.events if isinstance(event, Named)]
    assert names[-2:] == ["set", next(name for name in names if name.endswith(".old"))]  # of blocks
    assert sum(name.endswith(".arrow") for name in names) == 2  # shards
    assert any(name.endswith(".part") for name in names)  # candidates
    assert sum("receipts/" in name for name in names) == 2
    for sync in {event for event in seen.events if isinstance(event, Sync)}:
        assert faults([event for event in seen.events if event != sync]), sync
