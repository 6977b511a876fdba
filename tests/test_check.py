"""Checking a finished set: whatever happened to a file, it is found and named."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from augment import check as check_module
from augment.base.commit import file_sha256
from augment.base.set_records import read_manifest
from augment.base.stored import seal
from augment.build import BuildConfig, build
from augment.check import check
from augment.shards import read_shard, row_id
from tests.small_sets import small_set

SHARDS = [f"train-{index:05d}-of-00003.arrow" for index in range(3)]


@pytest.fixture(scope="module")
def built(glove_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three shards of one context each."""
    folder = tmp_path_factory.mktemp("built")
    train, out = folder / "train.json", folder / "set"
    train.write_text(json.dumps(small_set()))
    glove = str(glove_file)
    build(
        BuildConfig(train=str(train), out=out, mlm="none", glove=glove, num_shards=3, num_workers=1)
    )
    return out


@pytest.fixture
def out(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "set"))


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def test_a_whole_set(out: Path) -> None:
    assert check(out) == {"shards": 3, "rows": 9 * 21, "spans": 7 * 21, "questions": 9}


def truncate(data: Path) -> None:
    (data / SHARDS[1]).write_bytes((data / SHARDS[1]).read_bytes()[:-100])


def swap(data: Path) -> None:
    (data / SHARDS[0]).rename(data / "kept")
    (data / SHARDS[1]).rename(data / SHARDS[0])
    (data / "kept").rename(data / SHARDS[1])


DAMAGE: list[tuple[Callable[[Path], Any], list[str]]] = [
    (truncate, [rf"{SHARDS[1]}: \d+ bytes, expected \d+"]),
    (lambda data: (data / SHARDS[2]).write_bytes(b""), [rf"{SHARDS[2]}: 0 bytes, expected"]),
    (lambda data: flip(data / SHARDS[1], 9999), [rf"{SHARDS[1]}: its SHA-256"]),
    (swap, [rf"{SHARDS[0]}: ", rf"{SHARDS[1]}: "]),
    (lambda data: (data / SHARDS[0]).unlink(), [rf"{SHARDS[0]}: missing"]),
    (shutil.rmtree, [rf"{name}: missing" for name in SHARDS]),
    (lambda data: shutil.copy(data / SHARDS[0], data / "train-9.arrow"), ["train-9.arrow: not in"]),
    (lambda data: (data / ".x.tmp").touch(), [r"\.x\.tmp: not in the manifest"]),
    (lambda data: (data.parent / "more.txt").touch(), ["more.txt: not in SHA256SUMS"]),
    (lambda data: (data.parent / "plan.json").unlink(), ["plan.json: in SHA256SUMS but missing"]),
    (lambda data: (data.parent / "README.md").write_text("x"), ["README.md: changed since"]),
    (lambda data: (data.parent / "SHA256SUMS").unlink(), ["SHA256SUMS: missing"]),
    (lambda data: (data.parent / "SHA256SUMS").write_text(""), ["README.md: not in SHA256SUMS"]),
    (lambda data: (data.parent / "manifest.json").write_text("{"), [r"manifest\.json: damaged"]),
    (lambda data: (data.parent / "manifest.json").write_text("[1]"), [r"manifest\.json: damaged"]),
    (
        lambda data: (data.parent / "manifest.json").write_text('{"plan": {}, "shards": [{}]}'),
        [r"manifest\.json: damaged \(plan\.format: is missing\); build the set again"],
    ),
]


@pytest.mark.parametrize(("damage", "messages"), DAMAGE)
def test_damage_is_named(out: Path, damage: Callable[[Path], Any], messages: list[str]) -> None:
    damage(out / "data")
    for message in messages:
        with pytest.raises(ValueError, match=message):
            check(out)


def test_no_set_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="gone: no such folder"):
        check(tmp_path / "gone")
    with pytest.raises(FileNotFoundError, match=r"no manifest\.json in it, so not a finished set"):
        check(tmp_path)


def found(out: Path, path: Path, bit: int) -> bool:
    whole = path.read_bytes()
    flip(path, bit)
    try:
        check(out)
    except ValueError as error:
        return path.name in str(error) or "SHA256SUMS" in str(error)
    else:
        return False
    finally:
        path.write_bytes(whole)


def test_300_flipped_bits_are_found(out: Path) -> None:
    files = sorted(path for path in out.rglob("*") if path.is_file())
    draw = random.Random(0)
    for index in range(300):
        path = files[index % len(files)]
        bit = draw.randrange(8 * path.stat().st_size)
        assert found(out, path, bit), f"{path.name}, bit {bit}"


def test_flipped_line_ends_are_found(out: Path) -> None:
    # one bit makes a line feed a vertical tab, which ends a line for str.splitlines
    path = out / "SHA256SUMS"
    ends = [at for at, byte in enumerate(path.read_bytes()) if byte == ord("\n")]
    assert len(ends) == 9
    for at in ends:
        assert all(found(out, path, 8 * at + bit) for bit in range(8))


def rewrite(out: Path, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    """Put other rows in the first shard, with hashes that hide it."""
    import pyarrow as pa

    from augment.shards import SCHEMA

    path = out / "data" / SHARDS[0]
    rows = [row for batch in read_shard(path) for row in batch.to_pylist()]
    change(rows)
    with pa.ipc.new_file(str(path), SCHEMA) as writer:
        writer.write_batch(pa.RecordBatch.from_pylist(rows, SCHEMA))
    manifest = read_manifest(out).as_json()
    manifest["shards"][0].update(bytes=path.stat().st_size, sha256=file_sha256(path))
    (out / "manifest.json").write_text(json.dumps(manifest))
    seal(out)


def move(rows: list[dict[str, Any]]) -> None:
    rows[6]["answers"]["answer_start"][0] += 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (move, r"row year#01: context\[\d+:\d+\] is .*, the answer is '1848'"),
        (lambda rows: rows[5].update(is_impossible=False), "row none: is_impossible and answers"),
        (lambda rows: rows[0].update(copy_index=1), "row year: is copy 1 of year"),
        (lambda rows: rows[0].update(copy_index=-1), "row year: is copy -1 of year"),
        (lambda rows: rows[0].update(copy_index=21, id="year#21"), "is copy 21 of year"),
        (lambda rows: rows[0].update(id=row_id("year", 3), copy_index=3), "year#03: occurs twice"),
        (lambda rows: rows.pop(), rf"{SHARDS[0]}: 125 rows, expected 126\n.*none: not all of"),
        (lambda rows: rows[0].update(context="x"), r"row year: answer_start .* lies outside"),
    ],
)
def test_rows_that_are_wrong(out: Path, change: Callable[[Any], Any], message: str) -> None:
    rewrite(out, change)
    with pytest.raises(ValueError, match=message):
        check(out)


def test_rows_are_read_only_when_the_hashes_hold(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_module, "read_shard", lambda path: pytest.fail("was read"))
    flip(out / "data" / SHARDS[0], 4000)
    with pytest.raises(ValueError, match="SHA-256"):
        check(out)
