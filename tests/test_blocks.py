"""The input in blocks on disk: what `read_squad` reads, in memory that does not grow with it."""

import copy
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from augment.base.command import UsageError
from augment.build import BuildConfig, build
from augment.building.blocks import AllContexts, Blocks, Reading, read_blocks
from augment.building.buckets import Buckets
from augment.remote.bucket import Bucket
from augment.squad import TRAIN_PART, read_squad
from tests.clusters import long_set
from tests.test_bucket_build import empty_store
from tests.test_build import digests

READING = Reading(part=TRAIN_PART, on_bad_answer="fail", limit_contexts=None, copies=3)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a few paragraphs be many."""
    monkeypatch.setattr("augment.building.blocks.BLOCK_PARAGRAPHS", 4)
    monkeypatch.setattr("augment.building.buckets.AT_ONCE", 8)


@pytest.fixture
def train(write_json: Callable[[Any], Path]) -> Path:
    """Thirty paragraphs, the last article as a copy of the first with other ids."""
    content = long_set(30)
    again = copy.deepcopy(content["data"][0])
    for paragraph in again["paragraphs"]:
        for question in paragraph["qas"]:
            question["id"] += "-again"
    content["data"].append(again)
    return write_json(content)


def read(train: Path, tmp_path: Path, **change: Any) -> Blocks:
    return read_blocks(str(train), replace(READING, **change), tmp_path / "input")


@pytest.mark.parametrize("limit", [None, 1, 13, 1000])
def test_blocks_hold_what_is_read_at_once(train: Path, tmp_path: Path, limit: int | None) -> None:
    blocks, squad = read(train, tmp_path, limit_contexts=limit), read_squad(train).limit(limit)
    number = len(squad.paragraphs)
    assert len(blocks) == number
    assert blocks.number == -(-number // 4)
    assert tuple(blocks.paragraphs(range(number))) == squad.paragraphs
    assert tuple(blocks.paragraphs(range(3, number - 2))) == squad.paragraphs[3:-2]
    assert (blocks.counts, blocks.sha256, blocks.name) == (squad.counts, squad.sha256, squad.name)
    contexts = [paragraph.context for paragraph in squad.paragraphs]
    assert list(AllContexts(blocks)) == contexts
    assert blocks.characters == sum(map(len, contexts))
    distinct = [text for block in range(blocks.number) for text in blocks.distinct(block)]
    assert len(distinct) == len(set(contexts)) == squad.counts["distinct_contexts"]
    assert set(distinct) == set(contexts)


def test_ids_far_apart_are_compared(train: Path, tmp_path: Path) -> None:
    content = json.loads(train.read_bytes())
    first, last = (content["data"][at]["paragraphs"][at]["qas"][0] for at in (0, -1))
    last["id"] = first["id"]
    train.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"question id '{first['id']}' occurs 2 times"):
        read(train, tmp_path)
    last["id"] = f"{first['id']}#03"
    train.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"'{last['id']}' is what a copy of another question"):
        read(train, tmp_path)
    assert not (tmp_path / "input").exists()
    read(train, tmp_path, copies=2).forget()
    assert not (tmp_path / "input").exists()


def test_blocks_are_read_once_and_again_if_damaged(
    train: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = read(train, tmp_path)
    path = blocks.folder / "block-000001.arrow"
    made = path.stat().st_mtime_ns
    assert read(train, tmp_path) == blocks
    assert path.stat().st_mtime_ns == made
    path.write_bytes(path.read_bytes()[:-9] + b"?" * 9)
    with pytest.raises(ValueError, match=r"block-000001\.arrow: changed since it was written"):
        list(AllContexts(blocks))
    assert list(AllContexts(read(train, tmp_path))) == list(AllContexts(blocks))
    assert "damaged (block-000001.arrow: changed" in capsys.readouterr().err


@pytest.mark.parametrize("workers", [1, 2])
def test_blocks_do_not_show_in_the_set(
    train: Path, glove_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    config = BuildConfig(
        train=str(train),
        out=tmp_path / "set",
        mlm="none",
        glove=str(glove_file),
        num_shards=3,
        num_workers=workers,
        copies_per_example=3,
    )
    build(config)
    monkeypatch.setattr("augment.building.blocks.BLOCK_PARAGRAPHS", 2048)
    one = replace(config, out=tmp_path / "one")
    build(one)
    assert digests(config.out) == digests(one.out)
    assert not list(tmp_path.glob("*.input"))


def test_a_build_that_is_refused_leaves_no_blocks(
    train: Path, glove_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = BuildConfig(train=str(train), out=tmp_path / "set", mlm="none", glove=str(glove_file))
    build(config)
    build(config)  # is finished
    left = {path.name for path in tmp_path.iterdir()}
    with pytest.raises(UsageError, match="seed: 0 there, 1 here"):
        build(replace(config, seed=1))
    with pytest.raises(UsageError, match="only 31 paragraphs"):
        build(replace(config, out=tmp_path / "other", num_shards=32))

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("augment.building.blocks.Buckets.add", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build(replace(config, out=tmp_path / "other"))
    assert {path.name for path in tmp_path.iterdir()} == left


def test_texts_that_repeat_are_found(tmp_path: Path) -> None:
    buckets = Buckets(tmp_path / "buckets")
    for number in range(100):
        buckets.add(str(number % 90), number)
    assert sorted(buckets.repeated()) == [[number, number + 90] for number in range(10)]


def test_another_machine_fetches_what_it_reads(
    train: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What is damaged there is fetched again; what is damaged in the bucket is put again."""
    empty_store()
    monkeypatch.setattr("augment.remote.bucket.PAUSE", 0.0)
    bucket, folder = Bucket("memory://sets/one"), "receipts/input/blocks"
    blocks = read(train, tmp_path).put(bucket, folder)
    everything, distinct = list(blocks.paragraphs(range(len(blocks)))), blocks.distinct(2)
    monkeypatch.setenv("TWENTYFOLD_CACHE", str(tmp_path / "other"))

    def arrived() -> Blocks:
        there: Blocks = pickle.loads(pickle.dumps(blocks))
        return there

    assert arrived().distinct(2) == distinct
    copies = tmp_path / "other" / "builds"
    [one] = copies.rglob("block-*.arrow")
    one.write_bytes(b"damaged")
    assert arrived().distinct(2) == distinct
    assert f"{one}: damaged" in capsys.readouterr().err
    assert list(arrived().paragraphs(range(len(blocks)))) == everything
    assert len(list(copies.rglob("block-*.arrow"))) == blocks.number
    for copied in copies.rglob("*.arrow"):
        copied.unlink()
    bucket.write(f"{folder}/{one.name}", b"damaged")
    with pytest.raises(OSError, match=f"{one.name}: tried 5 times: what came is not"):
        arrived().distinct(2)
    assert blocks.distinct(2) == distinct, "this machine has its own"
    blocks.put(bucket, folder)
    assert arrived().distinct(2) == distinct
