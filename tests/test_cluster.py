"""Tasks on two machines of a Ray cluster: the same bytes, our own errors, and what is lost."""

import json
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from augment.base.command import UsageError, versions
from augment.build import BuildConfig, build
from augment.engines.cluster import joined
from augment.engines.options import EngineOptions
from augment.engines.shared_folder import CommonGround, common_ground
from augment.remote.storage_options import StorageOptions
from eval.predict import Predict, predict
from tests.clusters import ROOT, Machines, finished, kill_in_stage, long_set, start, two_machines
from tests.s3_server import s3_server
from tests.test_build import digests
from tests.test_workers import doubling


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    pytest.importorskip("ray")
    with two_machines() as found:
        yield found


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.json, and the set that one machine builds from it."""
    folder = tmp_path_factory.mktemp("right")
    (folder / "train.json").write_text(json.dumps(long_set(512)))
    assert finished(start(folder / "train.json", folder))[0] == 0
    return folder


# What needs no cluster


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"address": "host:1"}, "are for --engine ray"),
        ({"retries": 1}, "are for --engine ray"),
        ({"engine": "ray", "retries": -1}, "--retries -1: must be 0 or more"),
        ({"engine": "ray", "gpus_per_task": 0}, "--gpus-per-task 0: must be above 0"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        EngineOptions(**options)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "local", "ray://127.0.0.1:10001", "nowhere"])
def test_a_cluster_is_joined_and_never_started(address: str) -> None:
    pytest.importorskip("ray")
    with pytest.raises(UsageError, match=f"--address {address}: "), joined(address, 1, 3):
        pass


def test_machines_are_compared(tmp_path: Path) -> None:
    here = socket.gethostname()
    with common_ground([tmp_path / "new"], [tmp_path]) as ground:
        ground.check()
        without = replace(ground, files=[tmp_path / "model"])
        with pytest.raises(RuntimeError, match=f"{here}: has no {tmp_path}/model, as {here} has"):
            without.check()
        other = replace(ground, versions={**versions(), "torch": "1.0"})
        with pytest.raises(RuntimeError, match=rf"has torch 2.*, and {here} has 1.0; install the"):
            other.check()
    assert list((tmp_path / "new").iterdir()) == []
    with pytest.raises(RuntimeError, match=f"{here}: does not share {tmp_path}/new with"):
        ground.check()


# A cluster


@pytest.mark.slow
def test_tasks_are_done_and_errors_are_our_own(machines: Machines) -> None:
    with joined(machines.address, 1, retries=0) as cluster:
        done = sorted(cluster.run(range(9), doubling, (1,), "cpu"))
        assert done == [("cpu", 2 * task + 1) for task in range(9)]
        with pytest.raises(ValueError, match=r"^thirteen is not welcome$"):
            list(cluster.run([1, 13, 2], doubling, (0,), "cpu"))
        with pytest.raises(RuntimeError, match=r"a task was lost(?s:.)*run the same command again"):
            list(cluster.run([1, 99], doubling, (0,), "cpu"))
        with pytest.raises(RuntimeError, match="no machine of the Ray cluster offers a GPU"):
            list(cluster.run([1], doubling, (0,), "cuda"))


def variable(name: str, device: str) -> Callable[[int], str | None]:
    return lambda _: os.environ.get(name)


@pytest.mark.slow
def test_tasks_see_the_variables_that_they_are_given(machines: Machines) -> None:
    options = StorageOptions(storage_options=("memory.a=1",))
    with joined(machines.address, 1, 0, options.as_environment()) as cluster:
        assert [*cluster.run([1], variable, ("FSSPEC_MEMORY",), "cpu")] == ['{"a": 1}']


def seeing(mark: str, device: str) -> Callable[[int], bool]:
    return lambda _: Path(mark).exists()


@pytest.mark.slow
def test_a_machine_that_does_not_share_the_folder_stops_the_work(
    machines: Machines, tmp_path: Path
) -> None:
    with joined(machines.address, 1, 3) as cluster:
        with cluster.sharing([tmp_path], []) as sharing:
            assert list(sharing.run([1, 2], seeing, (str(tmp_path),), "cpu")) == [True, True]
            gone = CommonGround("head", [tmp_path / "away"], [], versions())
        with pytest.raises(RuntimeError, match=f"does not share {tmp_path} with head; put OUT"):
            list(replace(cluster, ground=gone).run([1], seeing, ("",), "cpu"))


@pytest.mark.slow
def test_a_cluster_gives_the_bytes_of_one_process(
    machines: Machines, train: Path, glove_file: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    alone = BuildConfig(
        train=str(train),
        out=tmp_path / "alone" / "set",
        mlm=str(tiny_bert),
        glove=str(glove_file),
        num_workers=1,
        num_shards=3,
        copies_per_example=3,
    )
    build(alone)
    options = EngineOptions(engine="ray", address=machines.address)
    out = tmp_path / "cluster" / "set"
    build(replace(alone, out=out, num_workers=None, runs_on=options))
    assert digests(out) == digests(alone.out)
    assert {path.name for path in out.parent.iterdir()} == {"set", "set.candidates"}


@pytest.mark.slow
def test_readers_of_a_cluster_predict_the_same(machines: Machines, tmp_path: Path) -> None:
    dev = str(ROOT / "augment" / "embedded" / "sample-dev-v2.0.json")
    alone = Predict(model="embedded", dev=dev, out=tmp_path / "alone", batch_size=4, device="cpu")
    options = EngineOptions(engine="ray", address=machines.address)
    predict(alone)
    predict(replace(alone, out=tmp_path / "cluster", runs_on=options))
    assert digests(tmp_path / "cluster") == digests(tmp_path / "alone")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "stage"), [("worker", "candidates"), ("build", "shards"), ("raylet", "shards")]
)
def test_what_is_killed_is_done_again(
    machines: Machines, right: Path, kind: str, stage: str, tmp_path: Path
) -> None:
    """The raylet last: the cluster is one machine afterwards."""
    train, out = right / "train.json", tmp_path / "killed"
    _, code, said = kill_in_stage(machines, kind, stage, train, out)
    assert (code == 0) == (kind != "build"), said
    if code:
        again = start(train, out, "--engine", "ray", "--address", machines.address)
        assert finished(again)[0] == 0
    assert digests(out / "set") == digests(right / "set")


@pytest.mark.slow
def test_machines_that_share_a_bucket_alone(
    right: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has a cache of its own: input and candidates come from the bucket."""
    s3fs = pytest.importorskip("s3fs")
    caches = [tmp_path / name for name in ("one", "two")]
    with s3_server():
        files = s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False)
        files.mkdir("bucket")
        with two_machines(*caches) as found:
            monkeypatch.setenv("TWENTYFOLD_CACHE", str(tmp_path / "build"))
            options = "--engine", "ray", "--address", found.address
            code, said = finished(start(right / "train.json", "s3://bucket", *options))
        assert code == 0, said
        files.get("bucket/set", str(tmp_path / "set"), recursive=True)
        assert digests(tmp_path / "set") == digests(right / "set")
        assert {name.split("/")[1] for name in files.find("bucket")} == {"set", "set.candidates"}
    assert all(list((cache / "candidates").rglob("*.part.*")) for cache in caches)
    assert all(list((cache / "builds").rglob("block-*.arrow")) for cache in caches)
    assert not list((tmp_path / "build").rglob("block-*"))
