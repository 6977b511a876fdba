"""Patterns, and folders of plain files, at URLs: read as those of this machine are."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from augment.base.set_records import read_manifest
from augment.build import BuildConfig, build
from augment.push import PushConfig, push
from augment.squad import read_squad
from distill.rows.features import find_source
from eval.scoring.gold import read_gold
from tests.s3_server import s3_server
from tests.test_urls import rows

datasets = pytest.importorskip("datasets")


@pytest.fixture(params=["memory", pytest.param("s3", marks=pytest.mark.slow)])
def store(request: pytest.FixtureRequest) -> Iterator[tuple[Any, str]]:
    """Give a store, and the URL of a place in it."""
    memory = request.getfixturevalue("memory_store")
    if request.param == "memory":
        yield memory, "memory://bucket"
        return
    pytest.importorskip("moto.server")
    s3fs = pytest.importorskip("s3fs")
    with s3_server():
        files = s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False)
        files.mkdir("bucket")
        yield files, "s3://bucket"


@pytest.fixture
def here(train: Path, tmp_path: Path) -> Path:
    """A folder of rows in several files, with a card, and another folder in it."""
    folder = tmp_path / "rows"
    (folder / "more").mkdir(parents=True)
    for number, row in enumerate(rows(train)):
        path = folder / ("more" if number == 4 else "") / f"part-{number}.jsonl"
        path.write_text(json.dumps(row) + "\n")
    (folder / "README.md").write_text("---\nlanguage: de\n---\n")
    return folder


def put(store: tuple[Any, str], folder: Path) -> str:
    files, place = store
    for path in folder.rglob("*"):
        if path.is_file():
            name = f"{place.partition('://')[2]}/rows/{path.relative_to(folder)}"
            files.pipe_file(name, path.read_bytes())
    return f"{place}/rows"


def counted(monkeypatch: pytest.MonkeyPatch, store: tuple[Any, str]) -> list[str]:
    """Give what will be fetched."""
    fetched: list[str] = []
    kind = type(store[0])
    get = kind.get_file
    monkeypatch.setattr(
        kind, "get_file", lambda *a, **k: fetched.append(Path(a[1]).name) or get(*a, **k)
    )
    return fetched


def test_a_pattern_names_files(
    store: tuple[Any, str], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, fetched = put(store, here), counted(monkeypatch, store)
    for pattern in ("part-*.jsonl", "*/part-4.jsonl", "part-[23].json*", "[lm]ore/*.jsonl"):
        assert read_squad(f"{url}/{pattern}") == read_squad(f"{here}/{pattern}")
        assert read_gold(f"{url}/{pattern}") == read_gold(f"{here}/{pattern}")
    several = find_source("original", f"{url}/part-*.jsonl")
    same = find_source("original", f"{here}/part-*.jsonl")
    assert (several.sha256, [*several.rows()]) == (same.sha256, [*same.rows()])
    several.check_unchanged()
    wanted = sorted(path.name for path in here.rglob("*.jsonl"))
    assert sorted(fetched) == wanted, "each once"
    changed = (here / "part-1.jsonl").read_bytes() + b"\n"
    store[0].pipe_file(f"{url.partition('://')[2]}/part-1.jsonl", changed)
    assert read_squad(f"{url}/part-*.jsonl").sha256 != same.sha256
    assert sorted(fetched) == sorted([*wanted, "part-1.jsonl"])


def test_a_folder_is_read_as_one_of_this_machine(
    store: tuple[Any, str], here: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url, fetched = put(store, here), counted(monkeypatch, store)
    found = read_squad(f"{url}/")
    assert found == read_squad(url) == read_squad(here)
    assert (found.name, found.card) == ("rows", {"language": "de"})
    assert find_source("original", url).sha256 == find_source("original", str(here)).sha256
    assert len(fetched) == len({*fetched}) == 10
    [copy] = (tmp_path / "cache").glob("file-*/content/part-4.jsonl")
    copy.write_bytes(b"damaged")
    assert read_squad(url) == found
    assert fetched[10:] == ["part-4.jsonl"]


def test_what_marks_a_folder_is_no_file(
    memory_store: Any, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Consoles make an empty file of the folder's name and a slash."""
    url = put((memory_store, "memory://bucket"), here)
    find = type(memory_store).find
    marks = {f"/bucket/rows/{name}": {"type": "file", "size": 0} for name in ("", "more/")}
    monkeypatch.setattr(type(memory_store), "find", lambda *a, **k: find(*a, **k) | marks)
    assert read_squad(url) == read_squad(here)


def test_a_saved_data_set_has_its_splits(
    store: tuple[Any, str], train: Path, tmp_path: Path
) -> None:
    split = datasets.Dataset.from_list(rows(train))
    datasets.DatasetDict({"train": split, "dev": split.select([0])}).save_to_disk(tmp_path / "rows")
    url = put(store, tmp_path / "rows")
    for name in ("train", "dev"):
        assert read_squad(url, split=name) == read_squad(tmp_path / "rows", split=name)
    with pytest.raises(ValueError, match="no split 'test'; name one with --split"):
        read_squad(url, split="test")


def test_more_files_than_a_path_has_room_for(store: tuple[Any, str], train: Path) -> None:
    files, place = store
    row = rows(train)[0]
    for number in range(64):
        content = json.dumps({**row, "id": f"{number:02}"}).encode()
        files.pipe_file(f"{place.partition('://')[2]}/{number:02}.jsonl", content)
    found = read_squad(f"{place}/*.jsonl")
    ids = [question.id for paragraph in found.paragraphs for question in paragraph.questions]
    assert ids == [f"{number:02}" for number in range(64)]


def test_a_build_knows_the_content_and_a_set_stays_a_set(
    store: tuple[Any, str], here: Path, glove_file: Path, tmp_path: Path
) -> None:
    url = put(store, here)
    options = {"mlm": "none", "glove": str(glove_file), "num_workers": 1, "copies_per_example": 2}
    for source, out in ((f"{here}/part-*", "here"), (f"{url}/part-*", "there")):
        build(BuildConfig(train=source, out=tmp_path / out, **options))
    there, local = read_manifest(tmp_path / "there").plan, read_manifest(tmp_path / "here").plan
    assert there == local
    assert there.input.name.startswith("part-0.jsonl, part-1.jsonl, ")
    push(PushConfig(augmented=tmp_path / "here", repository=f"{store[1]}/set"))
    assert read_squad(f"{store[1]}/set/").sha256 == read_squad(tmp_path / "here").sha256


def test_what_holds_nothing_is_named(store: tuple[Any, str], here: Path) -> None:
    files, place = store
    url = put(store, here)
    path = place.partition("://")[2]
    with pytest.raises(FileNotFoundError, match=rf"^{url}/\*\.csv: no file there fits this"):
        read_squad(f"{url}/*.csv")
    with pytest.raises(FileNotFoundError, match=rf"^{place}/none: no such file or folder"):
        read_squad(f"{place}/none/")
    if place.startswith("s3"):
        files.pipe_file(f"{path}/empty/", b"")
    else:
        files.mkdir(f"{path}/empty")
    with pytest.raises(FileNotFoundError, match=rf"^{place}/empty: a folder without files"):
        read_squad(f"{place}/empty/")
    files.pipe_file(f"{path}/rows/plan.json", b"{}")
    with pytest.raises(FileNotFoundError, match=rf"^{url}: a set that is not finished"):
        read_squad(url)


def test_no_name_leads_out_of_the_cache(
    memory_store: Any, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = put((memory_store, "memory://bucket"), here)
    found = {"/bucket/rows/../../x.jsonl": {"type": "file"}}
    monkeypatch.setattr(type(memory_store), "find", lambda *_, **__: found)
    with pytest.raises(ValueError, match=r"it has '\.\./\.\./x.jsonl', which lies outside"):
        read_squad(url)


def test_a_question_mark_is_no_pattern(store: tuple[Any, str], here: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"part-: no such .* is a query: in a pattern, write"
    ):
        read_squad(f"{put(store, here)}/part-?.jsonl")
