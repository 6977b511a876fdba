"""A build into a bucket: stopped between any two writes, it goes on; two at once agree."""

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pytest

from augment import build as build_module
from augment.base.command import UsageError
from augment.base.set_records import read_run
from augment.browsing.browser import Browser
from augment.build import BuildConfig, build
from augment.building import stages
from augment.building.bucket_set import BucketSet
from augment.cards import data_card
from augment.check import check
from augment.engines.array_job import LeftToOthers
from augment.push import PushConfig, push
from augment.remote.bucket import Bucket
from augment.remote.fetching import at_hand
from augment.shards import open_shards
from augment.variants.store import MASKED_LM
from tests.test_build import digests

URL = "memory://sets/one"
TRIES = int(os.environ.get("TWENTYFOLD_TRIES", "2"))
"""Of two builds at once; `TWENTYFOLD_TRIES=20 python -m pytest tests/test_bucket_build.py`."""
WRITES = ("pipe_file", "put_file", "rm_file")


def empty_store() -> None:
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pseudo_dirs[:] = [""]


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin with an empty store and an empty cache; a picture would take most of the time."""
    empty_store()
    monkeypatch.setenv("TWENTYFOLD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("augment.remote.bucket.PAUSE", 0.0)
    monkeypatch.setattr(data_card, "draw_set", lambda manifest: "<svg/>")


@pytest.fixture
def config(train: Path, glove_file: Path, tmp_path: Path) -> BuildConfig:
    return BuildConfig(
        train=str(train),
        out=URL,
        candidates=tmp_path / "candidates",
        mlm="none",
        glove=str(glove_file),
        num_workers=1,
        num_shards=3,
        copies_per_example=3,
    )


@pytest.fixture
def made(config: BuildConfig, tmp_path: Path) -> Path:
    build(replace(config, out=tmp_path / "made"))
    return tmp_path / "made"


def fetched(folder: Path) -> dict[str, str]:
    fsspec.filesystem("memory").get("sets/one", str(folder), recursive=True)
    return digests(folder)


def counted(patch: pytest.MonkeyPatch, act: Callable[[int], None]) -> list[str]:
    """Call `act` with its number before each request that writes; give their names."""
    files, seen = type(fsspec.filesystem("memory")), list[str]()
    for kind in WRITES:
        method = getattr(files, kind)

        def disturbed(
            self: Any, *arguments: Any, method: Any = method, kind: str = kind, **options: Any
        ) -> Any:
            act(len(seen))
            seen.append(kind)
            return method(self, *arguments, **options)

        patch.setattr(files, kind, disturbed)
    return seen


def test_the_bytes_are_those_of_a_local_build(
    config: BuildConfig, made: Path, tmp_path: Path, capsys: Any
) -> None:
    record = build(config)
    assert fetched(tmp_path / "fetched") == digests(made)
    assert open_shards(URL).to_list() == open_shards(made).to_list()
    assert build(config) == record
    assert f"{URL} is complete" in capsys.readouterr().err
    assert check(URL) == check(made)
    assert read_run(at_hand(URL)) == record
    assert not list((tmp_path / "cache" / "builds").iterdir())


@pytest.mark.parametrize("candidates", ["here", "there"])
def test_stopped_before_any_write_it_goes_on(
    config: BuildConfig,
    made: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    candidates: str,
) -> None:
    config = config if candidates == "here" else replace(config, candidates=None)
    wanted = digests(made)
    with monkeypatch.context() as patch:
        writes = counted(patch, lambda number: None)
        build(config)
    assert len(writes) > 15
    rows = open_shards(URL).num_rows
    for stop in range(len(writes)):
        empty_store()
        monkeypatch.setenv("TWENTYFOLD_CACHE", str(tmp_path / f"cache {stop}"))

        def cut(number: int, stop: int = stop) -> None:
            if number >= stop:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            counted(patch, cut)
            with pytest.raises(KeyboardInterrupt):
                build(config)
        if Bucket(URL).has("manifest.json"):  # all is there but the end of the receipts
            assert set(writes[stop:]) == {"rm_file"}
            assert open_shards(URL).num_rows == rows
        else:
            with pytest.raises(FileNotFoundError, match="not a finished set"):
                open_shards(URL)
        with monkeypatch.context() as patch:
            again = counted(patch, lambda number: None)
            build(config)
        rest = writes[stop:].count("pipe_file")
        assert again.count("pipe_file") <= rest, "a shard with its receipt is not made again"
        assert fetched(tmp_path / f"{stop}") == wanted


def test_another_plan_is_refused(config: BuildConfig, made: Path, tmp_path: Path) -> None:
    build(config)
    with pytest.raises(UsageError, match=r"another configuration.*delete(.|\n)*seed: 0 there, 1"):
        build(replace(config, seed=1))
    assert fetched(tmp_path / "fetched") == digests(made)
    with pytest.raises(ValueError, match="--overwrite: replaces nothing in a bucket"):
        replace(config, overwrite=True)
    empty_store()
    Bucket(URL).write("README.md", b"mine")
    with pytest.raises(UsageError, match="holds something else than a set"):
        build(config)
    assert Bucket(URL).read("README.md") == b"mine"


def test_a_plan_that_changes_meanwhile_stops_the_build(
    config: BuildConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a store that cannot create on condition: the later plan wins."""
    put = Bucket.put

    def disturbed(bucket: Bucket, name: str, path: Path) -> None:
        put(bucket, name, path)
        bucket.write("plan.json", b'{"seed": 7}')

    monkeypatch.setattr(Bucket, "put", disturbed)
    with pytest.raises(UsageError, match="seed: 7 there, 0 here"):
        build(config)
    assert Bucket(URL).read("manifest.json") is None
    assert not Bucket(URL).list("receipts")


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("moment", ["compute_candidates", "_finish"])
def test_who_has_lost_the_place_puts_nothing_there(
    config: BuildConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
    finished: bool,
) -> None:
    """As on a store that cannot create on condition: its plan was there, then another's."""
    goes_on, there = getattr(build_module, moment), dict[str, str]()

    def overtaken(*arguments: Any) -> Any:
        patch.undo()
        empty_store()
        build(replace(config, seed=1))
        if not finished:
            Bucket(URL).remove("manifest.json")
        there.update(fetched(tmp_path / "there"))
        return goes_on(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(build_module, moment, overtaken)
        with pytest.raises(UsageError, match="seed: 1 there, 0 here"):
            build(config)
    assert fetched(tmp_path / "after") == there


@pytest.fixture
def all_but_finished(config: BuildConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Build, and stop when every shard has its receipt."""
    with monkeypatch.context() as patch:
        patch.setattr(BucketSet, "finishing", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            build(config)


def test_a_shard_that_changed_since_its_receipt_is_made_again(
    config: BuildConfig, made: Path, all_but_finished: None, tmp_path: Path
) -> None:
    Bucket(URL).write("data/train-00001-of-00003.arrow", b"another's")
    build(config)
    assert fetched(tmp_path / "fetched") == digests(made)


def test_a_receipt_that_the_store_does_not_give_is_made_again(
    config: BuildConfig,
    made: Path,
    all_but_finished: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As S3's clients do where the store's checksum of a file does not fit."""
    files = type(fsspec.filesystem("memory"))
    bad = [
        name for name in fsspec.filesystem("memory").find("sets/one/receipts") if "00001" in name
    ]
    assert len(bad) == 1
    opened, piped = files._open, files.pipe_file

    def refuse(self: Any, path: str, mode: str = "rb", **options: Any) -> Any:
        if mode == "rb" and path in bad:
            raise OSError("checksum does not fit")
        return opened(self, path, mode, **options)

    def mend(self: Any, path: str, *arguments: Any, **options: Any) -> None:
        bad[:] = [name for name in bad if name.lstrip("/") != path.lstrip("/")]
        piped(self, path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(files, "_open", refuse)
        patch.setattr(files, "cat_file", lambda self, path, **_: self.open(path).read())
        patch.setattr(files, "pipe_file", mend)
        build(config)
    assert not bad
    assert fetched(tmp_path / "fetched") == digests(made)


def test_a_failure_before_the_first_shard_leaves_nothing(
    config: BuildConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> None:
        raise ValueError("no candidates")

    with monkeypatch.context() as patch:
        patch.setattr("augment.build.check_candidates", refused)
        with pytest.raises(ValueError, match="no candidates"):
            build(config)
    assert Bucket(URL).is_empty()
    build(replace(config, seed=1))


def test_parts_share_a_bucket_and_nothing_else(
    config: BuildConfig, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "CONTEXTS_PER_PART", 1)
    config = replace(config, candidates=None)
    for _ in range(2):
        for number in (1, 2):
            monkeypatch.setenv("TWENTYFOLD_CACHE", str(tmp_path / f"machine {number}"))
            with pytest.raises(LeftToOthers):
                build(replace(config, share=f"{number}/2"))
    assert len(Bucket(URL).list("data")) == 3
    build(config)
    assert fetched(tmp_path / "fetched") == digests(made)


def test_candidates_lie_beside_the_set(
    config: BuildConfig, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another machine builds from them without a model's work, and browses with them."""
    config = replace(config, mlm=str(tiny_bert), candidates=None)
    assert build(config).contexts_through_the_model > 0
    there = f"{URL}.candidates"
    assert {name.rpartition(".")[2] for name in Bucket(there).list()} == {"part", "json"}
    monkeypatch.setenv("TWENTYFOLD_CACHE", str(tmp_path / "another"))
    local = replace(config, seed=1, out=tmp_path / "set", candidates=there)
    assert build(local).contexts_through_the_model == 0
    for browser in (Browser(URL), Browser(local.out, there)):
        assert browser.sources is not None
        contexts = [str(row["context"]) for row in open_shards(URL) if row["copy_index"] == 0]
        found = [browser.sources(text)(start) for text in contexts for start in range(len(text))]
        assert MASKED_LM in found
    assert Browser(local.out).sources is None


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ({"candidates": f"{URL}/data"}, "--candidates .*: inside OUT"),
        ({"out": "s3://bucket/"}, "OUT s3://bucket: name a place in the bucket"),
        ({"candidates": "s3:/bucket/set"}, "--candidates s3:/bucket/set: a URL with one slash"),
        ({"candidates": Path("s3://bucket/x")}, "or as a path; write two, in a text"),
        ({"out": "s3://b/set", "candidates": "s3a://b/set/x"}, "inside OUT"),
        ({"out": "s3://"}, "OUT s3://: names no place; write one such as s3://bucket/set"),
        ({"candidates": "s3://"}, "--candidates s3://: names no place"),
        ({"out": "s3://bucket//set"}, "OUT s3://bucket//set: a doubled slash or"),
        ({"out": "s3://bucket/set?x"}, "OUT s3://bucket/set: a doubled slash or a . in it"),
    ],
)
def test_places_that_are_refused(config: BuildConfig, places: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(config, **places)


def test_a_copy_of_it_is_checked_and_pushed_back(
    config: BuildConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its run record is in no `SHA256SUMS`: of all files it alone differs between two builds."""
    build(config)
    fetched(tmp_path / "copy")
    assert check(tmp_path / "copy") == check(URL)
    files = fsspec.filesystem("memory")
    files.rm_file(next(name for name in files.find(URL) if name.endswith(".arrow")))
    for url in (URL, "memory://sets/another"):
        push(PushConfig(augmented=tmp_path / "copy", repository=url))
        assert check(url) == check(tmp_path / "copy")
        build(replace(config, out=url))
        assert "is complete and was built with this configuration" in capsys.readouterr().err


def test_a_file_is_no_empty_place(config: BuildConfig, memory_store: Any) -> None:
    """A set beneath its name would be read in place of the file."""
    memory_store.pipe_file(URL, Path(config.train).read_bytes())
    with pytest.raises(UsageError, match="holds something else than a set"):
        build(replace(config, train=URL))


def at_once(*configs: BuildConfig) -> list[object]:
    """Build in threads; give what each ends with."""
    ends: list[object] = [None] * len(configs)

    def run(number: int) -> None:
        try:
            ends[number] = build(configs[number])
        except Exception as error:
            ends[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(configs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=300)
    return ends


@pytest.mark.parametrize("attempt", range(TRIES))
def test_two_at_once(config: BuildConfig, made: Path, tmp_path: Path, attempt: int) -> None:
    ends = at_once(config, config)
    assert [type(end).__name__ for end in ends] == ["RunRecord"] * 2, ends
    assert fetched(tmp_path / "same") == digests(made)
    empty_store()
    ends = at_once(config, replace(config, seed=1))
    assert sorted(type(end).__name__ for end in ends) == ["RunRecord", "UsageError"], ends
    assert open_shards(URL).num_rows == open_shards(made).num_rows


def test_who_is_overtaken_says_so(
    config: BuildConfig, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    compute = stages.compute_candidates

    def overtaken(*arguments: Any) -> int:
        patch.undo()
        build(config)
        return compute(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("augment.build.compute_candidates", overtaken)
        build(config)
    assert f"{URL}: was finished by the same build elsewhere" in capsys.readouterr().err
    assert fetched(tmp_path / "fetched") == digests(made)
