"""`--storage-options`: fsspec's configuration, of this process and of those that it starts."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest
import tyro

from augment.base.command import run
from augment.base.set_records import read_run
from augment.check import check
from augment.remote.fetching import at_hand
from augment.remote.storage_options import AS_CONFIGURED, StorageOptions
from augment.remote.urls import file_system
from augment.shards import open_shards
from tests.s3_server import s3_server

fsspec = pytest.importorskip("fsspec")
s3fs = pytest.importorskip("s3fs")

SECRET = "planted-secret-Zm9v"
ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "augment/embedded/sample-train-v2.0.json"


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Leave environment and configuration as they were."""
    with mock.patch.dict(os.environ), mock.patch.dict(fsspec.config.conf, clear=True):
        yield


@dataclass(frozen=True, kw_only=True)
class TrialConfig:
    """A command that opens URLs."""

    storage: tyro.conf.OmitArgPrefixes[StorageOptions] = AS_CONFIGURED
    """How."""


def opened(config: TrialConfig) -> None:
    print(json.dumps(file_system("s3://bucket/set")[0].storage_options))


def end(monkeypatch: pytest.MonkeyPatch, *options: str) -> object:
    monkeypatch.setattr(sys, "argv", ["trial", "--storage-options", *options])
    with pytest.raises(SystemExit) as caught:
        run(TrialConfig, opened)
    return caught.value.code


def test_they_hold_here_and_in_new_processes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before what the environment says of the same option, beside what it says of others."""
    os.environ |= {"FSSPEC_S3": '{"anon": false, "profile": "mine"}', "FSSPEC_S3_ANON": "false"}
    os.environ["FSSPEC_S3_REQUESTER_PAYS"] = "true"
    options = ("s3.anon=true", "s3.endpoint_url=http://host:9000", 's3.client_kwargs={"a": {}}')
    assert end(monkeypatch, *options) == 0
    given = {"anon": True, "endpoint_url": "http://host:9000", "client_kwargs": {"a": {}}}
    beside = {"profile": "mine", "requester_pays": True}
    shown = json.loads(capsys.readouterr().out)
    assert shown == {**given, **beside, "use_listings_cache": False}
    code = "import fsspec, json; print(json.dumps(fsspec.config.conf))"
    elsewhere = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert json.loads(elsewhere.stdout) == {"s3": {**given, **beside}}


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (SECRET, "number 1 is not KIND.KEY=VALUE, such as s3.anon=true"),
        (f"s3.secret:{SECRET}", "number 1 is not KIND.KEY=VALUE"),
        (f"http://u:{SECRET}@host.a=1", "number 1 is not KIND.KEY=VALUE"),
        ("s9.anon=true", "s9: no kind of URL that can be opened"),
        (f"s3.client_kwargs={{'a': '{SECRET}'}}", "s3.client_kwargs: its value begins as JSON"),
        *(
            (option.replace("=", f"={SECRET}"), "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
            for option in ("s3.key=", "s3.secret=", "s3.token=", "S3.Password=", "s3.sas=")
        ),
        ("hf.token=" + SECRET, "comes from the environment: HF_TOKEN, FSSPEC_HF (a JSON object)"),
        (f"s3.endpoint_url=http://user:{SECRET}@host:9000", "s3.endpoint_url: a secret is not"),
        (f"s3.endpoint_url=http://host/?sig={SECRET}", "s3.endpoint_url: a secret is not"),
        (
            f's3.a={{"verify": [{{"aws_secret_access_key": "{SECRET}"}}]}}',
            "s3.a.verify.0.aws_secret_access_key: a secret is not given on a command line",
        ),
    ],
)
def test_what_is_wrong_or_secret_is_refused_and_not_repeated(
    option: str, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = dict(os.environ)
    assert end(monkeypatch, option) == 2
    said = capsys.readouterr()
    text = " ".join((said.out + said.err).replace("│", " ").split())
    assert words in text
    assert SECRET not in text
    assert os.environ == before


def test_what_only_sounds_like_a_secret_is_taken() -> None:
    options = ('s3.config_kwargs={"signature_version": "s3v4"}', "s3.anon=yes", "http.block_size=5")
    assert StorageOptions(storage_options=options).by_kind() == {
        "s3": {"config_kwargs": {"signature_version": "s3v4"}, "anon": "yes"},
        "http": {"block_size": 5},
    }


def test_an_environment_that_cannot_be_read_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    os.environ["FSSPEC_S3"] = SECRET
    assert end(monkeypatch, "s3.anon=true") == 2
    assert capsys.readouterr().err == "error: FSSPEC_S3: must be a JSON object; mend or unset it\n"


def command(*words: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", *map(str, words)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
def test_a_store_is_found_by_the_options_alone(tmp_path: Path) -> None:
    """By a build's two worker processes, by a check, and by Python as fsspec is configured."""
    pytest.importorskip("moto.server")
    url = "s3://bucket/set"
    few = "--mlm none --glove embedded --limit-contexts 4 --num-shards 4 --copies-per-example 1"
    os.environ["TWENTYFOLD_CACHE"] = str(tmp_path / "cache")
    with s3_server(SECRET) as port:
        endpoint = os.environ.pop("AWS_ENDPOINT_URL")
        assert endpoint == f"http://127.0.0.1:{port}"
        options = ("--storage-options", f"s3.endpoint_url={endpoint}")
        files = s3fs.S3FileSystem(endpoint_url=endpoint, skip_instance_cache=True)
        files.mkdir("bucket")
        built = command("augment.build", SAMPLE, url, *few.split(), "--num-workers", "2", *options)
        assert built.returncode == 0, built.stderr
        checked = command("augment.check", url, *options)
        assert (checked.returncode, "nothing wrong" in checked.stdout) == (0, True), checked
        fsspec.config.conf["s3"] = {"endpoint_url": endpoint}
        assert open_shards(url).num_rows == check(url)["rows"]
        said = read_run(at_hand(url)).config["storage"]
    assert endpoint in said
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert SECRET not in built.stdout + built.stderr + checked.stdout + checked.stderr
    assert not [path for path in kept if SECRET.encode() in path.read_bytes()]
