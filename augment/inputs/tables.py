"""Flat rows, by `datasets`: CSV, Parquet and Arrow files, folders, saved sets, the hub."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]

SAVED = ("dataset_dict.json", "state.json")  # what `save_to_disk` leaves in its folder
CHOOSE = "--config and --split choose a part of it"


def table_rows(kind: str, path: Path) -> Iterator[Row]:
    """Read a CSV, Parquet or Arrow file, packed or not, one row after the other.

    Raises:
        ValueError: a file that is not what its name says.
    """
    import datasets
    import pyarrow as pa

    options = _csv_options(path) if kind == "csv" else {}
    try:
        yield from datasets.load_dataset(
            kind, data_files=str(path), split="train", streaming=True, **options
        )
    except (OSError, ValueError, pa.ArrowException, datasets.exceptions.DatasetsError) as error:
        raise ValueError(f"{path}: cannot be read as {kind}: {error}; fetch it again") from error


def _csv_options(path: Path) -> dict[str, Any]:
    """Read every cell as text: `NA` is a word, and an id may begin with zeros."""
    import datasets
    import pandas

    sep = "\t" if ".tsv" in path.suffixes else ","
    try:
        columns = pandas.read_csv(path, sep=sep, nrows=0).columns
    except (ValueError, OSError) as error:
        raise ValueError(f"{path}: cannot be read as CSV: {error}; save it as UTF-8 CSV") from error
    features = datasets.Features({str(name): datasets.Value("string") for name in columns})
    return {"features": features, "sep": sep, "keep_default_na": False}


def is_saved(folder: Path) -> bool:
    """Tell whether `save_to_disk` wrote this folder."""
    return any((folder / name).is_file() for name in SAVED)


def saved_rows(folder: Path, split: str) -> Iterable[Row]:
    """Open a folder that `save_to_disk` wrote.

    Raises:
        ValueError: it is damaged, or has no such split; those that it has are named.
    """
    import datasets
    import pyarrow as pa

    try:
        found = datasets.load_from_disk(str(folder))
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise ValueError(f"{folder}: a damaged saved data set: {error}; save it again") from error
    if isinstance(found, datasets.DatasetDict):
        found = _pick(str(folder), found, split)
    rows: Iterable[Row] = found
    return rows


def folder_files(folder: Path, config: str | None, split: str) -> tuple[str, list[Path]]:
    """Find a split's files in a folder, as its README's `configs` or the files' names say.

    Returns:
        the kind of the files, as `datasets` calls it, and the files in order.

    Raises:
        ValueError: no data files, several configs, or no such split; those that there are, named.
    """
    import datasets

    try:
        builder = datasets.load_dataset_builder(str(folder), config)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{folder}: no manifest.json in it, so no finished set, and no data files: {error}"
        ) from error
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise ValueError(f"{folder}: {error}\n{CHOOSE}") from error
    splits = {str(name): files for name, files in (builder.config.data_files or {}).items()}
    files = sorted(Path(str(file)) for file in _pick(str(folder), splits, split))
    return type(builder).__module__.rpartition(".")[2], files


def _pick(name: str, splits: Mapping[str, Any], split: str) -> Any:
    if split not in splits:
        there = ", ".join(splits)
        raise ValueError(f"{name}: no split {split!r}; name one with --split; there are: {there}")
    return splits[split]


def hub_rows(name: str, config: str | None, split: str) -> Any:
    """Load a split of a data set of the hub.

    Raises:
        FileNotFoundError: the hub does not give it.
        ValueError: it has several configs, or no such split; `datasets` names those it has.
    """
    import datasets

    try:
        return datasets.load_dataset(name, config, split=split)
    except OSError as error:
        raise FileNotFoundError(
            f"{name}: neither a file, a folder, nor a data set that the hub gives: {error}"
        ) from error
    except ValueError as error:
        raise ValueError(f"{name}: {error}\n{CHOOSE}") from error


def hashed(rows: Iterable[Row], digest: Any) -> Iterator[Row]:
    """Pass rows on, and add each to a digest."""
    for row in rows:
        digest.update(json.dumps(row, sort_keys=True, default=str).encode())
        yield row
