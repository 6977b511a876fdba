"""Candidates that are kept in a bucket: found by every machine, copied by those that use them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

from augment.remote.bucket import Bucket
from augment.remote.bucket_parts import BucketParts, in_bucket
from augment.variants.parts import OpenParts, Parts
from augment.variants.store import Stored, context_setting
from tests.test_bucket_build import empty_store
from tests.test_parts import RULE, TEXTS, moved, rows

URL = "memory://bucket/candidates"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], BucketParts]:
    """Give the parts as a machine of some name sees them, which has a cache of its own."""
    empty_store()
    monkeypatch.setattr("augment.remote.bucket.PAUSE", 0.0)

    def there(name: str) -> BucketParts:
        monkeypatch.setenv("TWENTYFOLD_CACHE", str(tmp_path / name))
        return in_bucket(URL, context_setting(None, RULE))

    return there


@pytest.fixture
def parts(machine: Callable[[str], BucketParts]) -> BucketParts:
    return machine("a")


def spoil(bucket: Bucket, name: str) -> None:
    content = bytearray(bucket.read(name) or b"")
    content[-20] ^= 1
    bucket.write(name, bytes(content))


def reads(patch: pytest.MonkeyPatch) -> list[str]:
    """Note the names that are read from now on."""
    read, seen = Bucket.read, list[str]()

    def noting(self: Bucket, name: str) -> Any:
        seen.append(name)
        return read(self, name)

    patch.setattr(Bucket, "read", noting)
    return seen


def test_another_machine_fetches_what_it_uses_alone(
    parts: BucketParts, machine: Callable[[str], BucketParts], monkeypatch: pytest.MonkeyPatch
) -> None:
    for text in TEXTS:
        parts.write(rows(text), "here")
    assert not Stored(parts, None).lacks(TEXTS).any()
    other = machine("b")
    assert other.folder != parts.folder
    seen = reads(monkeypatch)
    stored = Stored(other, None)
    assert [slot.end for slot in stored.candidates(TEXTS[:1]).slots("a bee")] == [1, 5]
    assert [name.partition("-")[0] for name in seen] == ["index", seen[1]], "and one part"
    del seen[:]
    assert not Stored(machine("b"), None).lacks(TEXTS[:1]).any()
    assert not seen, "index and copy are here"
    parts.write(rows("later"), "here")
    assert stored.candidates(["later"]).num_words("later") == 1
    del seen[:]
    again = Stored(machine("b"), None).candidates(["a bee", "later"])
    assert again.num_words("later") == 1
    assert not seen, "copies and index are here"
    names = Bucket(parts.bucket.url).list()
    assert len([name for name in names if name.startswith("index-")]) == 1


def test_the_first_writer_wins(parts: BucketParts, machine: Callable[[str], BucketParts]) -> None:
    part = rows("a bee")
    parts.write(part, "processor A")
    [name] = parts.names()
    before = parts.bucket.read(name)
    other = machine("b")
    other.write(part, "processor B")
    assert parts.bucket.read(name) == before
    with pytest.raises(ValueError, match=r"memory://.*than processor B .* made by processor A; "):
        other.write(moved(part), "processor B")
    assert Stored(other, None).candidates(["a bee"]).slots("a bee")[0].start == 0
    spoil(parts.bucket, name)
    other.write(moved(part), "processor B")
    assert Stored(machine("c"), None).candidates(["a bee"]).slots("a bee")[0].start == 1


def test_what_the_bucket_has_counts(
    parts: BucketParts, machine: Callable[[str], BucketParts]
) -> None:
    """A copy of what is gone there, or has another content there, is not read."""
    parts.write(rows("a bee"), "here")
    assert not Stored(parts, None).lacks(["a bee"]).any()
    for name in parts.bucket.list():
        parts.bucket.remove(name)
    assert Stored(machine("a"), None).lacks(["a bee"]).all()
    machine("b").write(moved(rows("a bee")), "another processor")
    assert Stored(machine("a"), None).candidates(["a bee"]).slots("a bee")[0].start == 1


def test_what_is_damaged_there_is_deleted_and_here_fetched_again(
    parts: BucketParts, machine: Callable[[str], BucketParts], capsys: pytest.CaptureFixture[str]
) -> None:
    for text in TEXTS:
        parts.write(rows(text), "here")
    Stored(parts, None)
    [index] = [name for name in parts.bucket.list() if name.startswith("index-")]
    spoil(parts.bucket, index)
    assert not Stored(machine("b"), None).lacks(TEXTS).any()
    assert not capsys.readouterr().err
    assert OpenParts(machine("c")).index.names, "the index was put there anew"
    one, *others = sorted(parts.names())
    [copy] = (parts.folder / one).parent.glob(f"{Path(one).name}.*")
    copy.write_bytes(copy.read_bytes()[:-1])
    assert not Stored(machine("a"), None).lacks(TEXTS).any()
    assert f"{copy}: damaged" in capsys.readouterr().err
    [swapped] = (parts.folder / others[0]).parent.glob(f"{Path(others[0]).name}.*")
    swapped.write_bytes(copy.read_bytes())
    assert not Stored(machine("a"), None).lacks(TEXTS).any()
    assert f"{swapped}: damaged (its bytes are not those of its checksum, or of its name)" in (
        capsys.readouterr().err
    )
    spoil(parts.bucket, one)
    assert Stored(machine("c"), None).lacks(TEXTS).sum() == 1
    assert sorted(parts.names()) == others
    assert f"{URL}/{parts.folder.name}/{one}: damaged" in capsys.readouterr().err


def test_a_store_without_versions_is_read_each_time(
    parts: BucketParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("augment.remote.bucket.version_of", lambda info: "")
    parts.write(rows("a bee"), "here")
    assert Stored(parts, None).candidates(["a bee"]).num_words("a bee") == 2
    assert not list(parts.folder.glob("??/*"))


def test_it_is_in_the_store(parts: Parts) -> None:
    """Under the same names as in a folder."""
    parts.write(rows("a bee"), "here")
    kept = fsspec.filesystem("memory").find("bucket")
    assert [name.rpartition("/")[2] for name in kept][-1] == "setting.json"
    assert len(kept) == 2
