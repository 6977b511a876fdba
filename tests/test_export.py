"""What reads the shards, and what reads their copies in other formats."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.dataset
import pyarrow.parquet
import pytest

from augment.base.command import UsageError
from augment.build import BuildConfig, build
from augment.check import check
from augment.export import ExportConfig, export
from augment.shards import SCHEMA, open_shards, read_rows
from augment.squad import read_squad
from tests.small_sets import small_set

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module", autouse=True)
def offline(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Keep every cache in a folder of the tests, and `datasets` off the network."""
    with pytest.MonkeyPatch.context() as patch:
        cache = tmp_path_factory.mktemp("cache")
        patch.setenv("TWENTYFOLD_CACHE", str(cache / "twentyfold"))
        import datasets

        patch.setattr(datasets.config, "HF_DATASETS_CACHE", str(cache / "datasets"))
        patch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
        datasets.disable_progress_bars()
        yield


def built(folder: Path, glove: Path, num_shards: int) -> Path:
    train, out = folder / "train.json", folder / "set"
    train.write_text(json.dumps(small_set()))
    sources = {"train": str(train), "mlm": "none", "glove": str(glove)}
    build(BuildConfig(**sources, out=out, num_shards=num_shards, num_workers=1))  # type: ignore[arg-type]
    return out


@pytest.fixture(scope="module")
def out(glove_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards, the second of two contexts."""
    return built(tmp_path_factory.mktemp("built"), glove_file, 2)


@pytest.fixture(scope="module")
def nested(glove_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three shards, which are more than a folder should hold."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("augment.shards.MOST_IN_A_FOLDER", 2)
        patch.setattr("augment.shards.SUBFOLDER", 2)
        return built(tmp_path_factory.mktemp("nested"), glove_file, 3)


@pytest.fixture(scope="module")
def rows(out: Path) -> Rows:
    return list(read_rows(out))


def by_load_dataset(out: Path) -> Rows:
    import datasets

    return list(datasets.load_dataset(str(out), split="train"))


def by_load_arrow(out: Path) -> Rows:
    import datasets

    files = {"train": str(out / "data/**/train-*.arrow")}
    return list(datasets.load_dataset("arrow", data_files=files, split="train"))


def by_pyarrow(out: Path) -> Rows:
    found: Rows = pyarrow.dataset.dataset(out / "data", format="ipc").to_table().to_pylist()
    return found


def by_polars(out: Path) -> Rows:
    import polars

    return polars.read_ipc(str(out / "data/**/*.arrow")).to_dicts()


def by_pandas(out: Path) -> Rows:
    import pandas

    tables = [pandas.read_feather(path) for path in sorted((out / "data").rglob("*.arrow"))]
    found = pandas.concat(tables).to_dict("records")
    for row in found:
        row["answers"] = {key: list(values) for key, values in row["answers"].items()}
    return found


def by_duckdb(out: Path) -> Rows:
    import duckdb

    shards = pyarrow.dataset.dataset(out / "data", format="ipc")  # noqa: F841  (named in the SQL)
    found: Rows = duckdb.sql("select * from shards").to_arrow_table().to_pylist()
    return found


def by_us(out: Path) -> Rows:
    return list(open_shards(out))


READERS = [by_load_dataset, by_load_arrow, by_pyarrow, by_polars, by_pandas, by_duckdb, by_us]


@pytest.mark.parametrize("read", READERS)
def test_every_reader_gives_the_same_rows(
    out: Path, nested: Path, rows: Rows, read: Callable[[Path], Rows]
) -> None:
    for folder in (out, nested):
        found = sorted(read(folder), key=lambda row: row["id"])
        assert found == sorted(rows, key=lambda row: row["id"])
    assert len(rows) == 189


def test_sub_folders_hold_what_one_folder_should_not(nested: Path, tmp_path: Path) -> None:
    names = {path.relative_to(nested).as_posix() for path in nested.rglob("*.arrow")}
    files = [f"data/000{n // 2}/train-00000{n}-of-000003" for n in range(3)]
    assert names == {f"{file}.arrow" for file in files}
    assert "path: data/*/train-*.arrow" in (nested / "README.md").read_text()
    assert check(nested)["shards"] == 3
    export(ExportConfig(out=nested, dest=tmp_path / "parquet", to="parquet"))
    names = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.parquet")}
    assert names == {f"parquet/{file}.parquet" for file in files}
    assert by_load_dataset(tmp_path / "parquet") == by_load_dataset(nested)
    (nested / "data/0001/stray.arrow").write_bytes(b"")
    with pytest.raises(ValueError, match=r"0001/stray\.arrow: not in the manifest"):
        check(nested)
    (nested / "data/0001/stray.arrow").unlink()


def test_the_features_are_squad_v2s(out: Path) -> None:
    from datasets import List, Value, load_dataset

    features = load_dataset(str(out), split="train").features
    assert features == open_shards(out).features
    assert features["answers"] == {
        "text": List(Value("string")),
        "answer_start": List(Value("int32")),
    }
    assert [str(features[name].dtype) for name in SCHEMA.names if name != "answers"] == [
        *["string"] * 4,
        "bool",
        "string",
        "int32",
    ]


def test_open_shards_maps_its_cache_and_checks_first(out: Path, tmp_path: Path) -> None:
    first = open_shards(out, tmp_path)
    assert all(Path(file["filename"]).is_relative_to(tmp_path) for file in first.cache_files)
    assert {path.suffix for path in tmp_path.iterdir()} == {""}  # no lock, nothing half-made
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert open_shards(str(out), tmp_path)[:] == first[:]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_no_reader_of_ours_takes_a_changed_set(out: Path, tmp_path: Path) -> None:
    shard = out / "data" / "train-00001-of-00002.arrow"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1])
    try:
        for read in (by_us, lambda out: list(read_rows(out)), read_squad):
            with pytest.raises(ValueError, match=r"train-00001-of-00002\.arrow: \d+ bytes, expect"):
                read(out)
        for to in ("parquet", "hf-disk", "squad-json"):
            with pytest.raises(ValueError, match="build the set again, or copy it again"):
                export(ExportConfig(out=out, dest=tmp_path / "dest", to=to))  # type: ignore[arg-type]
            assert list(tmp_path.iterdir()) == []
    finally:
        shard.write_bytes(whole)


def test_parquet(out: Path, rows: Rows, tmp_path: Path) -> None:
    import datasets
    import duckdb

    dest = tmp_path / "parquet"
    export(ExportConfig(out=out, dest=dest, to="parquet"))
    names = [path.name for path in sorted((dest / "data").iterdir())]
    assert names == ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]
    table = pyarrow.parquet.read_table(dest / "data", page_checksum_verification=True)
    assert table.schema.equals(SCHEMA)
    assert table.to_pylist() == rows
    query = f"select count(*), count(distinct id), max(copy_index) from '{dest}/data/*.parquet'"
    assert duckdb.sql(query).fetchall() == [(189, 189, 20)]
    assert list(datasets.load_dataset(str(dest), split="train")) == rows
    assert "path: data/train-*.parquet" in (dest / "README.md").read_text()


def test_hf_disk(out: Path, rows: Rows, tmp_path: Path) -> None:
    import datasets

    export(ExportConfig(out=out, dest=tmp_path / "disk", to="hf-disk"))
    found = datasets.load_from_disk(str(tmp_path / "disk"))
    assert list(found["train"]) == rows
    assert str(tmp_path) not in "".join(
        path.read_text() for path in (tmp_path / "disk").rglob("*.json")
    )


def test_squad_json(out: Path, rows: Rows, tmp_path: Path) -> None:
    dest = tmp_path / "deep" / "augmented.json"
    export(ExportConfig(out=out, dest=dest, to="squad-json"))
    found = read_squad(dest)
    assert found.counts["paragraphs"] == 3 * 21
    assert [(p.title, p.context, q.id, q.text) for p in found.paragraphs for q in p.questions] == [
        (row["title"], row["context"], row["id"], row["question"]) for row in rows
    ]
    answers = [q.answers for p in found.paragraphs for q in p.questions]
    assert [[a.text for a in several] for several in answers] == [
        r["answers"]["text"] for r in rows
    ]
    assert [[a.start for a in several] for several in answers] == [
        row["answers"]["answer_start"] for row in rows
    ]
    assert [q.is_impossible for p in found.paragraphs for q in p.questions] == [
        row["is_impossible"] for row in rows
    ]


@pytest.mark.parametrize("to", ["parquet", "hf-disk", "squad-json"])
def test_where_not_to_write(out: Path, tmp_path: Path, to: Any) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(UsageError, match="there: exists; choose another DEST"):
        export(ExportConfig(out=out, dest=tmp_path / "there", to=to))
    with pytest.raises(UsageError, match="inside the set"):
        export(ExportConfig(out=out, dest=out / "data" / "more", to=to))
    with pytest.raises(FileNotFoundError, match=r"there: no manifest\.json in it"):
        export(ExportConfig(out=tmp_path / "there", dest=tmp_path / "new" / "dest", to=to))
    assert os.listdir(tmp_path) == ["there"]


@pytest.mark.parametrize("to", ["parquet", "hf-disk", "squad-json"])
def test_a_failed_export_leaves_nothing(
    out: Path, tmp_path: Path, to: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any, **named: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        export(ExportConfig(out=out, dest=tmp_path / "dest", to=to))
    assert list(tmp_path.iterdir()) == []


def test_a_cut_shard_is_refused_by_every_reader(out: Path, tmp_path: Path) -> None:
    readers = (by_pyarrow, by_polars, by_pandas, by_duckdb, by_load_arrow)
    shard = tmp_path / "data" / "train-0.arrow"
    shard.parent.mkdir()
    whole = (out / "data" / "train-00000-of-00002.arrow").read_bytes()
    for size in (9, len(whole) // 2, len(whole) - 1):
        shard.write_bytes(whole[:size])
        for read in readers:
            with pytest.raises(Exception, match=r"(?i)arrow|footer|dataset|file|error"):
                read(tmp_path)
    shard.write_bytes(whole)
    assert [len(read(tmp_path)) for read in readers] == [126] * 5


def test_a_second_reader_waits_for_the_cache(out: Path, tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: open_shards(out, tmp_path).num_rows, range(4)))
    assert found == [189] * 4
