"""Sets in a bucket: a real S3 server on loopback, as a process of its own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from augment.base.command import UsageError
from augment.build import BuildConfig, build
from augment.push import PushConfig, push
from augment.remote.bucket import Bucket
from augment.shards import open_shards
from augment.squad import read_squad
from distill.rows.features import find_source
from tests.s3_server import s3_server
from tests.test_build import digests

pytestmark = pytest.mark.slow
SECRET = "planted-secret-Zm9v"
URL = "s3://bucket/sets/one"


@pytest.fixture(scope="module")
def store() -> Iterator[Any]:
    """Start moto's server with an empty bucket; give fsspec's view of it."""
    pytest.importorskip("moto.server")
    s3fs = pytest.importorskip("s3fs")
    with s3_server(SECRET):
        files = s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False)
        files.mkdir("bucket")
        yield files


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "set"
    sample = Path(__file__).parents[1] / "augment/embedded/sample-train-v2.0.json"
    config = {"mlm": "none", "glove": "embedded", "limit_contexts": 3, "num_shards": 2}
    build(BuildConfig(train=str(sample), out=out, copies_per_example=2, num_workers=1, **config))
    return out


@pytest.fixture(autouse=True)
def fresh(store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin with an empty bucket and an empty cache."""
    if store.exists("bucket/sets"):
        store.rm("bucket/sets", recursive=True)
    monkeypatch.setenv("TWENTYFOLD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("augment.remote.bucket.PAUSE", 0.0)
    monkeypatch.setattr("augment.remote.placing.SETTLING", 0.0)


def pushed(made: Path, url: str = URL) -> None:
    push(PushConfig(augmented=made, repository=url))


def test_a_set_is_pushed_read_and_trained_on(made: Path, store: Any, capsys: Any) -> None:
    with pytest.raises(FileNotFoundError, match=r"no manifest\.json in it, so not a finished set"):
        open_shards(URL)
    pushed(made)
    assert open_shards(URL).to_list() == open_shards(made).to_list()
    assert read_squad(URL).paragraphs == read_squad(made).paragraphs
    assert find_source("augmented", URL).sha256 == find_source("augmented", str(made)).sha256
    pushed(made)
    said = capsys.readouterr()
    assert "complete already" in said.out
    assert SECRET not in said.out + said.err
    kept = [path for path in Path(os.environ["TWENTYFOLD_CACHE"]).rglob("*") if path.is_file()]
    assert kept
    assert not any(SECRET.encode() in path.read_bytes() for path in kept)


def test_a_push_that_stops_anywhere_goes_on(
    made: Path, store: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A reader sees a whole set or none, whatever was written before the push was stopped."""
    writes, written = {"put": Bucket.put, "write_once": Bucket.write_once}, 0
    names = [path for path in made.rglob("*") if path.is_file()]
    for stop in range(len(names)):
        written = 0

        def stopped(kind: str, *args: Any, stop: int = stop) -> Any:
            nonlocal written
            if written == stop:
                raise KeyboardInterrupt
            written += 1
            return writes[kind](*args)

        store.rm("bucket/sets", recursive=True) if store.exists("bucket/sets") else None
        with monkeypatch.context() as patch:
            for kind in writes:
                patch.setattr(Bucket, kind, lambda *args, kind=kind: stopped(kind, *args))
            with pytest.raises(KeyboardInterrupt):
                pushed(made)
        with pytest.raises(FileNotFoundError, match="not a finished set"):
            open_shards(URL)
        pushed(made)
        store.get("bucket/sets/one", str(tmp_path / f"{stop}"), recursive=True)
        assert digests(tmp_path / f"{stop}") == digests(made)


def test_what_is_damaged_there_is_named(made: Path, store: Any) -> None:
    pushed(made)
    name = f"bucket/sets/one/data/{sorted(os.listdir(made / 'data'))[0]}"
    content = store.cat_file(name)
    store.pipe_file(name, content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(OSError, match=r"data/train-00000.*what came is not what its SHA-256 says"):
        open_shards(URL)
    store.pipe_file(name, content)
    store.rm_file("bucket/sets/one/plan.json")
    with pytest.raises(FileNotFoundError, match=r"plan\.json"):
        open_shards(URL)


def test_somebody_elses_place_is_refused(made: Path, store: Any, tmp_path: Path) -> None:
    store.pipe_file("bucket/sets/one/README.md", b"mine")
    with pytest.raises(UsageError, match="holds something else than a set"):
        pushed(made)
    assert store.cat_file("bucket/sets/one/README.md") == b"mine"
    store.rm("bucket/sets", recursive=True)
    pushed(made)
    other = tmp_path / "other"
    shutil.copytree(made, other)
    build(
        BuildConfig(
            train=str(made), out=tmp_path / "other set", mlm="none", glove="embedded", num_workers=1
        )
    )
    with pytest.raises(UsageError, match="made with another configuration"):
        pushed(tmp_path / "other set")


def building(*options: str) -> subprocess.Popen[str]:
    sample = Path(__file__).parents[1] / "augment/embedded/sample-train-v2.0.json"
    fixed = "--mlm none --glove embedded --limit-contexts 3 --num-shards 2 --copies-per-example 2"
    return subprocess.Popen(
        [sys.executable, "-m", "augment.build", str(sample), URL, *fixed.split(), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_two_builds_into_one_place_at_once(made: Path, store: Any, tmp_path: Path) -> None:
    """Each with two worker processes; the same set twice, then another into its place."""
    both = [building("--num-workers", "2") for _ in range(2)]
    said = [process.communicate(timeout=600)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    store.get("bucket/sets/one", str(tmp_path / "fetched"), recursive=True)
    assert digests(tmp_path / "fetched") == digests(made)
    assert open_shards(URL).to_list() == open_shards(made).to_list()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert SECRET not in "".join(said)
    assert not any(SECRET.encode() in path.read_bytes() for path in files)
    other = building("--num-workers", "1", "--seed", "1")
    assert "seed: 0 there, 1 here" in other.communicate(timeout=600)[0]
    assert other.returncode == 2


def test_a_store_that_does_not_let_in_ends_the_build(store: Any, tmp_path: Path) -> None:
    sample = Path(__file__).parents[1] / "augment/embedded/sample-train-v2.0.json"
    with pytest.raises(FileNotFoundError, match="s3://none/set: no such bucket; make it first"):
        build(BuildConfig(train=str(sample), out="s3://none/set", mlm="none", glove="embedded"))
    assert not list((tmp_path / "cache").rglob("block-*"))
    with pytest.raises(ValueError, match="a URL as a path; give it as a text"):
        BuildConfig(train="x", out=Path("s3://bucket/set"))


def test_plain_readers_open_it_where_it_lies(made: Path, store: Any) -> None:
    import datasets
    import duckdb
    import polars
    import pyarrow.dataset

    pushed(made)
    wanted = open_shards(made).to_list()
    rows = pyarrow.dataset.dataset("bucket/sets/one/data", filesystem=store, format="ipc")
    assert rows.to_table().to_pylist() == wanted
    assert duckdb.sql("select count(*) from rows").fetchall() == [(len(wanted),)]
    streamed = datasets.load_dataset(
        "arrow", data_files=f"{URL}/data/*.arrow", split="train", streaming=True
    )
    assert list(streamed) == wanted
    parts = [polars.read_ipc(store.open(name)) for name in store.ls("bucket/sets/one/data")]
    assert sum(map(len, parts)) == len(wanted)


def test_no_command_says_or_writes_a_secret(made: Path, store: Any, tmp_path: Path) -> None:
    """Neither those that work nor those that fail, with the place of the error shown."""
    sample = Path(__file__).parents[1] / "augment/embedded/sample-train-v2.0.json"
    store.pipe_file("bucket/sets/train.json", sample.read_bytes())
    none, small = "s3://no-such-bucket/set", ("--mlm", "none", "--glove", "embedded")
    few = ("--limit-contexts", "2", "--num-workers", "1", "--copies-per-example", "1")
    commands = (
        (0, "augment.push", str(made), URL),
        (1, "augment.push", str(made), none),
        (0, "augment.check", URL),
        (1, "augment.check", none),
        (0, "augment.export", URL, "parquet", "--to", "parquet"),
        (1, "augment.export", none, "other", "--to", "parquet"),
        (0, "augment.build", "s3://bucket/sets/train.json", "set", *small, *few),
        (1, "augment.build", f"s3://user:{SECRET}@bucket/no.json?sign={SECRET}", "x", *small, *few),
    )
    environment = {**os.environ, "TWENTYFOLD_TRACEBACK": "1"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[1])
    for code, *command in commands:
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        said = done.stdout + done.stderr
        assert (done.returncode, SECRET in said) == (code, False), (command, said[-3000:])
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"run.json", "plan.json", "origin.json"}
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]
    assert not [name for name in store.find("bucket") if SECRET.encode() in store.cat_file(name)]
