"""Copy a finished set into another format: Parquet, `load_from_disk`'s layout, or SQuAD JSON."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, Literal

import pyarrow as pa
import pyarrow.parquet
import tyro

from augment.base.command import UsageError, run
from augment.base.commit import write_atomic
from augment.base.folders import made_at_once
from augment.base.records import is_url
from augment.base.set_records import read_manifest
from augment.cards.data_card import card_facts, card_text
from augment.remote.fetching import at_hand
from augment.remote.storage_options import AS_CONFIGURED, StorageOptions
from augment.shards import open_shards, read_rows, read_shard, shard_paths


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """What to copy, where to, and in which format."""

    out: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="OUT")]
    """A folder made by `augment.build`, or the URL of a set in a bucket."""
    dest: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DEST")]
    """A new folder; for squad-json, a new file."""
    to: Literal["parquet", "hf-disk", "squad-json"]
    """`parquet`: for DuckDB, Ray and the hub.
    `hf-disk`: for `datasets.load_from_disk`.
    `squad-json`: for programs that read the official files."""
    storage: tyro.conf.OmitArgPrefixes[StorageOptions] = AS_CONFIGURED
    """How stores are reached that URLs lead to."""


def export(config: ExportConfig) -> None:
    """Copy the set; `config.dest` is whole afterwards, or not there.

    Raises:
        UsageError: DEST exists, or lies in the set.
        ValueError: the set fails its check.
    """
    if config.dest.exists():
        raise UsageError(f"{config.dest}: exists; choose another DEST")
    if not is_url(config.out) and config.dest.resolve().is_relative_to(Path(config.out).resolve()):
        raise UsageError(f"{config.dest}: inside the set; choose a DEST outside {config.out}")
    folder = at_hand(config.out)
    read_manifest(folder)
    config.dest.parent.mkdir(parents=True, exist_ok=True)
    if config.to == "squad-json":
        write_atomic(config.dest, lambda path: _write_squad_json(folder, path))
        return
    with made_at_once(config.dest) as incomplete:
        if config.to == "parquet":
            _write_parquet(folder, incomplete)
        else:
            _write_hf_disk(folder, incomplete)


def _write_parquet(folder: Path, incomplete: Path) -> None:
    for path in shard_paths(folder):
        target = (incomplete / path.relative_to(folder)).with_suffix(".parquet")
        target.parent.mkdir(parents=True, exist_ok=True)
        batches = pa.Table.from_batches(read_shard(path))
        pyarrow.parquet.write_table(
            batches, target, compression="zstd", write_page_checksum=True, row_group_size=10_000
        )
    manifest = read_manifest(folder)
    size = sum(path.stat().st_size for path in (incomplete / "data").rglob("*.parquet"))
    text = card_text(replace(manifest, bytes=size), card_facts(folder), ".parquet")
    write_atomic(incomplete / "README.md", text)


def _write_hf_disk(folder: Path, incomplete: Path) -> None:
    import datasets

    datasets.disable_progress_bars()
    datasets.DatasetDict({"train": open_shards(folder)}).save_to_disk(str(incomplete))


def _write_squad_json(folder: Path, path: Path) -> None:
    """Write the official files' shape: an article holds the copies of its paragraphs, too."""
    with path.open("w", encoding="utf-8") as file:
        file.write('{"version": "v2.0", "data": [')
        for index, article in enumerate(_articles(folder)):
            file.write(("," if index else "") + "\n" + json.dumps(article, ensure_ascii=False))
        file.write("\n]}\n")


def _articles(folder: Path) -> Iterator[dict[str, Any]]:
    for title, rows in groupby(read_rows(folder), lambda row: row["title"]):
        paragraphs = []
        for (context, _), group in groupby(rows, lambda row: (row["context"], row["copy_index"])):
            questions = [
                {
                    "id": row["id"],
                    "question": row["question"],
                    "answers": [
                        {"text": text, "answer_start": start}
                        for text, start in zip(*row["answers"].values(), strict=True)
                    ],
                    "is_impossible": row["is_impossible"],
                }
                for row in group
            ]
            paragraphs.append({"context": context, "qas": questions})
        yield {"title": title, "paragraphs": paragraphs}


def _main(config: ExportConfig) -> None:
    export(config)
    print(config.dest)


if __name__ == "__main__":
    run(ExportConfig, _main)
