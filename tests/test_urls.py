"""Inputs that URLs name, in a store of this process and from an HTTP server on loopback."""

import gzip
import json
import os
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from augment.base.command import UsageError
from augment.base.records import shown
from augment.base.set_records import read_manifest, read_run
from augment.build import BuildConfig, build
from augment.check import CheckConfig, _main, check
from augment.export import ExportConfig, export
from augment.push import PushConfig, push
from augment.remote.urls import said
from augment.shards import open_shards
from augment.squad import read_squad
from distill.rows.features import find_source
from eval.scoring.gold import read_gold
from tests.small_sets import small_set

fsspec = pytest.importorskip("fsspec")


@pytest.fixture(autouse=True)
def store(memory_store: Any) -> Any:
    return memory_store


@pytest.fixture
def made(train: Path, glove_file: Path, tmp_path: Path) -> Path:
    out = tmp_path / "set"
    config = {"mlm": "none", "glove": str(glove_file), "num_workers": 1}
    build(BuildConfig(train=str(train), out=out, copies_per_example=2, **config))
    return out


def test_a_set_may_have_a_dot_in_its_name(made: Path) -> None:
    url = "memory://bucket/squad-v2.0"
    push(PushConfig(augmented=made, repository=url))
    assert read_squad(url).paragraphs == read_squad(made).paragraphs
    assert find_source("augmented", url).sha256 == find_source("augmented", str(made)).sha256
    assert read_gold(url)[0] == read_gold(made)[0]
    assert open_shards(url).to_list() == open_shards(made).to_list()


def rows(train: Path) -> list[dict[str, Any]]:
    return [
        {
            "id": question.id,
            "title": paragraph.title,
            "context": paragraph.context,
            "question": question.text,
            "answers": {
                "text": [answer.text for answer in question.answers],
                "answer_start": [answer.start for answer in question.answers],
            },
        }
        for paragraph in read_squad(train).paragraphs
        for question in paragraph.questions
    ]


@pytest.mark.parametrize("name", ["a.json", "a.json.gz", "a.jsonl", "a.parquet", "no-suffix"])
def test_a_file_is_read_as_one_of_this_machine(
    name: str, train: Path, store: Any, tmp_path: Path
) -> None:
    path = tmp_path / name
    if name.endswith("parquet"):
        pyarrow.parquet.write_table(pa.Table.from_pylist(rows(train)), path)
    elif name.endswith("jsonl"):
        path.write_text("\n".join(map(json.dumps, rows(train))))
    else:
        path.write_bytes((gzip.compress if "gz" in name else bytes)(train.read_bytes()))
    store.pipe_file(f"/bucket/{name}", path.read_bytes())
    url = f"memory://bucket/{name}"
    assert read_squad(url) == read_squad(path)
    assert read_gold(url) == read_gold(path)
    assert find_source("original", url).sha256 == find_source("original", str(path)).sha256


def test_several_files_are_parted_by_commas(train: Path, store: Any, tmp_path: Path) -> None:
    other = small_set()
    for article in other["data"]:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                question["id"] += "-b"
    (tmp_path / "b.json").write_text(json.dumps(other))
    for path in (train, tmp_path / "b.json"):
        store.pipe_file(f"/bucket/{path.name}", path.read_bytes())
    both = read_squad(f"memory://bucket/{train.name},memory://bucket/b.json")
    assert both == read_squad([train, tmp_path / "b.json"])


def test_a_file_is_fetched_once_and_again_when_it_changed(
    train: Path, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = []
    get = type(store).get_file
    monkeypatch.setattr(
        type(store), "get_file", lambda *a, **k: fetched.append(a[1]) or get(*a, **k)
    )
    store.pipe_file("/bucket/train.json", train.read_bytes())
    before = read_squad("memory://bucket/train.json")
    assert read_squad("memory://bucket/train.json") == before
    assert fetched == ["/bucket/train.json"]
    store.pipe_file("/bucket/train.json", train.read_bytes() + b"\n")
    after = read_squad("memory://bucket/train.json")
    assert (after.paragraphs, len(fetched)) == (before.paragraphs, 2)
    assert after.sha256 != before.sha256


def test_without_room_nothing_is_fetched(
    made: Path, train: Path, store: Any, full_disk: None
) -> None:
    push(PushConfig(augmented=made, repository="memory://bucket/set"))
    store.pipe_file("bucket/train.json", train.read_bytes())
    for name in ("set", "train.json"):
        with pytest.raises(UsageError, match=r"no space left on its disk, needs about"):
            read_squad(f"memory://bucket/{name}")


def test_what_is_cut_or_missing_is_not_read(
    train: Path, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileNotFoundError, match=r"memory://bucket/train\.json"):
        read_squad("memory://bucket/train.json")
    store.pipe_file("/bucket/folder/train.json", train.read_bytes())
    get = type(store).get_file

    def cut(files: Any, source: str, target: str, **more: Any) -> None:
        get(files, source, target, **more)
        os.truncate(target, 100)

    def other(files: Any, source: str, target: str, **more: Any) -> None:
        size = files.info(source)["size"]
        Path(target).write_bytes(b"x" * size)

    for fault, words in ((cut, "100 bytes came"), (other, "two readings gave two contents")):
        monkeypatch.setattr(type(store), "get_file", fault)
        with pytest.raises(OSError, match=words):
            read_squad("memory://bucket/folder/train.json")


@pytest.mark.parametrize("name", ["rows#1.csv", "a b+c%20d-é.csv"])
def test_a_name_may_hold_any_character(name: str, train: Path, store: Any, tmp_path: Path) -> None:
    table = pa.Table.from_pylist(
        [{**row, "answers": json.dumps(row["answers"])} for row in rows(train)]
    )
    pyarrow.csv.write_csv(table, tmp_path / name)
    store.pipe_file(f"/bucket/{name}", (tmp_path / name).read_bytes())
    assert read_squad(f"memory://bucket/{name}") == read_squad(tmp_path / name)
    assert shown(f"memory://bucket/{name}") == f"memory://bucket/{name}"


def test_files_of_this_machine_may_be_named_by_urls(
    train: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(train.parent)
    here = read_squad(train)
    assert read_squad(f"file://{train}") == read_squad(f"file://{train.name}") == here
    assert shown(f"a.json,file://{train}") == f"a.json,file://{train}"
    with pytest.raises(ValueError, match="occurs 2 times"):
        read_squad(f"{train.name},file://{train}")


def test_a_url_that_names_nothing_is_refused(made: Path, tmp_path: Path) -> None:
    for url in ("memory://", "memory:///", "s3://"):
        for read in (read_squad, open_shards, check):
            with pytest.raises(UsageError, match=r"://: names no place; write one such as s3://"):
                read(url)
        with pytest.raises(UsageError, match=r"the place .*: names no place"):
            push(PushConfig(augmented=made, repository=url))
    with pytest.raises(UsageError, match=r"a doubled slash or a \? in it"):
        push(PushConfig(augmented=made, repository="memory://bucket//set"))


def test_a_set_whose_shard_is_gone_says_what_to_do(made: Path, store: Any) -> None:
    url = "memory://bucket/set"
    push(PushConfig(augmented=made, repository=url))
    store.rm_file(next(name for name in store.find(url) if name.endswith(".arrow")))
    with pytest.raises(FileNotFoundError, match=r"arrow: is named in SHA256SUMS and not there; pu"):
        open_shards(url)


def test_a_dry_run_shows_no_secret(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = "memory://user:hidden@bucket/set?sig=hidden"
    push(PushConfig(augmented=made, repository=url, dry_run=True))
    assert capsys.readouterr().out.endswith("would go to memory://bucket/set\n")


class _Site(BaseHTTPRequestHandler):
    """Answers in the ways of public buckets and of web sites."""

    content: bytes

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        kind, name = self.path.split("/")[1:3]
        status, content = 200, self.content
        if not name.startswith("train.json") or "/" in self.path[len(kind) + 2 :]:
            status, content = (200, b" <html>") if kind == "page" else (int(kind), b"")
        if name.endswith("=gone"):
            status = int(kind)
        if name.endswith("=two"):
            content = content.replace(b"Calais", b"Verdun")
            assert content != self.content
        self.send_response(status)
        self.send_header("ETag", '"same"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


@pytest.fixture
def site(train: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Give the address of a site."""
    pytest.importorskip("aiohttp")
    monkeypatch.setattr("augment.remote.bucket.PAUSE", 0.0)
    handler = type("Site", (_Site,), {"content": train.read_bytes()})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("kind", ["400", "401", "403", "404", "405", "page"])
def test_a_file_is_read_whatever_is_said_of_others(site: str, kind: str, train: Path) -> None:
    """Public buckets forbid to ask for what is not there, and a file is first taken for a set."""
    assert read_squad(f"{site}/{kind}/train.json") == read_squad(train)


@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        (
            "403",
            PermissionError,
            r"Forbidden.*the link has expired, or is not for all: get another",
        ),
        ("404", FileNotFoundError, "no such file or folder"),
        ("503", OSError, "tried 5 times: 503"),
    ],
)
def test_a_link_that_does_not_work_says_why(
    site: str, kind: str, error: type[OSError], words: str
) -> None:
    with pytest.raises(error, match=words) as found:
        read_squad(f"{site}/{kind}/train.json?sig=gone")
    assert "sig" not in str(found.value)


def test_a_site_that_is_away_is_no_missing_file(site: str) -> None:
    with pytest.raises(OSError, match=r"tried 5 times: Cannot connect.*see that the store answers"):
        read_squad("http://127.0.0.1:1/train.json?sig=x")


def test_a_query_may_name_another_file_of_the_same_version(site: str) -> None:
    one, two = (read_squad(f"{site}/404/train.json?id={name}") for name in ("one", "two"))
    assert one.sha256 != two.sha256


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        """Say nothing."""


def test_what_was_read_is_recorded_and_a_signature_is_not(
    train: Path, glove_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("aiohttp")
    handler = partial(_Quiet, directory=str(train.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place = f"127.0.0.1:{server.server_port}/{train.name}"
        out = tmp_path / "out"
        url = f"http://someone:hidden@{place}?X-Amz-Signature=hidden"
        glove = str(glove_file)
        build(BuildConfig(train=url, out=out, mlm="none", glove=glove, num_workers=1))
        with pytest.raises(FileNotFoundError) as missing:
            read_squad(url.replace(train.name, "none.json"))
        server.shutdown()
    here = read_squad(train)
    plan = read_manifest(out).plan.input
    assert (plan.name, plan.sha256) == (here.name, here.sha256)
    assert read_run(out).config["train"] == f"http://{place}"
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in files if b"hidden" in path.read_bytes()]
    assert "hidden" not in "".join(capsys.readouterr()) + str(missing.value)


def test_what_is_secret_in_a_url_is_not_shown() -> None:
    signed = "https://user:word@host/a.json?sig=word"
    assert shown(f"{signed},{signed}") == "https://host/a.json,https://host/a.json"
    assert shown(Path("a?b@c")) == "a?b@c"
    assert said(OSError(f"no {signed}, 'x'")) == "no https://host/a.json, 'x'"


def test_a_set_is_checked_where_it_lies(
    made: Path, store: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No more than one shard of it is on this machine at a time, and none afterwards."""
    url = "memory://bucket/set"
    with pytest.raises(FileNotFoundError, match="not a finished set"):
        check(url)
    push(PushConfig(augmented=made, repository=url))
    assert check(url) == check(made)
    assert not list((tmp_path / "cache").rglob("*.arrow"))
    for config in (CheckConfig(out=url), CheckConfig(out=str(made))):
        _main(config)
    said_there, said_here = (
        capsys.readouterr().out.replace(url, str(made)).split("nothing wrong")[1:]
    )
    assert said_there.splitlines()[1] == said_here.splitlines()[1]
    shard = next(name for name in store.find(url) if name.endswith(".arrow"))
    faults = (
        (f"{url}/README.md", b"cut", r"README\.md: changed since SHA256SUMS"),
        (f"{url}/notes.txt", b"", r"notes\.txt: not in SHA256SUMS"),
        (shard, store.cat_file(shard)[:-1], r"what came is not what its SHA-256 says"),
    )
    for name, content, words in faults:
        kept = store.cat_file(name) if store.exists(name) else None
        store.pipe_file(name, content)
        with pytest.raises((OSError, ValueError), match=words):
            check(url)
        store.pipe_file(name, kept) if kept is not None else store.rm_file(name)
    store.rm_file(shard)
    with pytest.raises(ValueError, match=r"\.arrow: in SHA256SUMS but missing"):
        check(url)


def test_a_check_names_all_that_is_damaged(
    train: Path, glove_file: Path, store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "memory://bucket/set"
    config = {"mlm": "none", "glove": str(glove_file), "num_workers": 1, "num_shards": 3}
    build(BuildConfig(train=str(train), out=tmp_path / "set", copies_per_example=2, **config))
    push(PushConfig(augmented=tmp_path / "set", repository=url))
    cut, other, missing = sorted(store.find(f"{url}/data"))
    store.pipe_file(cut, store.cat_file(cut)[:-1])
    store.pipe_file(other, store.cat_file(missing))
    store.rm_file(missing)
    store.pipe_file(f"{url}/README.md", b"mine")
    with pytest.raises(ValueError, match="push the set again") as found:
        check(url)
    *faults, remedy = str(found.value).removeprefix(f"{url}: ").splitlines()
    assert [fault.strip().partition(":")[0] for fault in faults] == [
        f"data/{Path(missing).name}",
        "README.md",
        f"data/{Path(cut).name}",
        f"data/{Path(other).name}",
    ]
    assert remedy == "push the set again from where it is whole"
    assert str(found.value).count("what came is not what its SHA-256 says") == 2

    def away(*_: Any, **__: Any) -> None:
        monkeypatch.setattr(type(store), "find", away)
        raise OSError("nobody answers")

    monkeypatch.setattr(type(store), "get_file", away)
    with pytest.raises(OSError, match=r"memory://bucket/set/data: tried 5 times: nobody answers"):
        check(url)


def test_a_set_is_exported_from_its_url(made: Path, tmp_path: Path) -> None:
    url = "memory://bucket/set"
    push(PushConfig(augmented=made, repository=url))
    for out, dest in ((url, tmp_path / "from-url"), (str(made), tmp_path / "from-folder")):
        export(ExportConfig(out=out, dest=dest, to="parquet"))
    there, here = (
        {path.relative_to(dest): path.read_bytes() for path in dest.rglob("*") if path.is_file()}
        for dest in (tmp_path / "from-url", tmp_path / "from-folder")
    )
    assert there == here
