"""Sets in a bucket: on each of two S3 servers on loopback, as processes of their own."""

import multiprocessing
import os
import runpy
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
from tests.s3_server import SERVERS, missing, s3_server
from tests.test_build import digests

pytestmark = pytest.mark.slow
SECRET = "planted-secret-Zm9v"
URL = "s3://bucket/sets/one"
SAMPLE = Path(__file__).parents[1] / "augment/embedded/sample-train-v2.0.json"
TRIES = int(os.environ.get("TWENTYFOLD_TRIES", "1"))
"""Of two commands at once; `TWENTYFOLD_TRIES=20 python -m pytest tests/test_bucket.py`."""


@pytest.fixture(scope="module", params=SERVERS)
def store(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Start a server with an empty bucket; give fsspec's view of it."""
    if reason := missing(request.param):
        pytest.skip(reason)
    pytest.importorskip("moto.server")
    s3fs = pytest.importorskip("s3fs")
    with s3_server(SECRET, request.param):
        files = s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False)
        files.mkdir("bucket")
        yield files


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Build locally one set twice, so that only the records of the runs differ, and another."""
    folder = tmp_path_factory.mktemp("sets")
    for name, seed in {"one": 0, "again": 0, "other": 1}.items():
        sources = {"train": str(SAMPLE), "mlm": "none", "glove": "embedded", "limit_contexts": 3}
        size = {"num_shards": 2, "copies_per_example": 2, "num_workers": 1}
        build(BuildConfig(out=folder / name, seed=seed, **sources, **size))
    return {path.name: path for path in folder.iterdir() if path.suffix != ".candidates"}


@pytest.fixture
def made(sets: dict[str, Path]) -> Path:
    return sets["one"]


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


def test_somebody_elses_place_is_refused(sets: dict[str, Path], store: Any) -> None:
    store.pipe_file("bucket/sets/one/README.md", b"mine")
    with pytest.raises(UsageError, match="holds something else than a set"):
        pushed(sets["one"])
    assert store.cat_file("bucket/sets/one/README.md") == b"mine"
    store.rm("bucket/sets", recursive=True)
    pushed(sets["one"])
    with pytest.raises(UsageError, match="made with another configuration"):
        pushed(sets["other"])


def building(seed: int, workers: int) -> tuple[str, ...]:
    sources = "--mlm none --glove embedded --limit-contexts 3 --copies-per-example 2 --num-shards 2"
    more = ("--seed", f"{seed}", "--num-workers", f"{workers}")
    return "augment.build", str(SAMPLE), URL, *sources.split(), *more


def as_command(environment: dict[str, str], log: Path, module: str, *arguments: str) -> None:
    """Be a command, in a process that has imported what commands import."""
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.update(environment)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def at_once(folder: Path, *commands: tuple[str, ...]) -> tuple[list[int | None], list[str]]:
    """Run commands at the same time, as processes; give how they end, and what they say."""
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(["torch", "matplotlib.figure", "s3fs", __name__])
    logs = [folder / f"{number}.log" for number in range(len(commands))]
    processes = [
        forks.Process(target=as_command, args=(dict(os.environ), log, *command))
        for log, command in zip(logs, commands, strict=True)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=600)
    return [process.exitcode for process in processes], [log.read_text() for log in logs]


@pytest.mark.parametrize("attempt", range(TRIES))
@pytest.mark.parametrize("other", ["again", "other"])
@pytest.mark.parametrize("command", ["build", "push"])
def test_two_at_once(
    sets: dict[str, Path], store: Any, tmp_path: Path, command: str, other: str, attempt: int
) -> None:
    """The same set twice: both end well. Two sets: one is refused, the other is there and whole."""
    names = ["one", other]
    if command == "build":
        workers = 1 if attempt else 2
        ends, said = at_once(tmp_path, *(building(int(name == "other"), workers) for name in names))
    else:
        pushes = (("augment.push", str(sets[name]), URL) for name in names)
        ends, said = at_once(tmp_path, *pushes)
    assert sorted(ends) == ([0, 2] if other == "other" else [0, 0]), said
    store.get("bucket/sets/one", str(tmp_path / "fetched"), recursive=True)
    assert digests(tmp_path / "fetched") == digests(sets[names[ends.index(0)]])
    open_shards(URL)
    if 2 in ends:
        assert "made with another configuration" in said[ends.index(2)]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert SECRET not in "".join(said)
    assert not any(SECRET.encode() in path.read_bytes() for path in files)


def test_a_store_that_does_not_let_in_ends_the_build(store: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="s3://none/set: no such bucket; make it first"):
        build(BuildConfig(train=str(SAMPLE), out="s3://none/set", mlm="none", glove="embedded"))
    assert not list((tmp_path / "cache").rglob("block-*"))
    with pytest.raises(ValueError, match="a URL with one slash, or as a path"):
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


@pytest.mark.parametrize("store", ["moto"], indirect=True)
def test_no_command_says_or_writes_a_secret(made: Path, store: Any, tmp_path: Path) -> None:
    """Neither those that work nor those that fail, with the place of the error shown."""
    store.pipe_file("bucket/sets/train.json", SAMPLE.read_bytes())
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
