"""Find out what a source is, and open it: articles as SQuAD has them, or flat rows."""

import hashlib
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from glob import glob
from itertools import chain
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from augment.base.commit import file_sha256
from augment.inputs.card import folder_card, hub_card
from augment.inputs.json_files import ZIP, only_member, read_items
from augment.inputs.tables import (
    folder_files,
    hashed,
    hub_rows,
    is_saved,
    saved_rows,
    table_rows,
)

Source = str | Path | Sequence[str | Path] | Iterable[Mapping[str, Any]]
"""A file, several, a folder, a hub id; or rows, such as a `datasets.Dataset`."""

MAGIC = {b"PAR1": "parquet", b"ARROW1": "arrow", b"\xff\xff\xff\xff": "arrow"}
SUFFIXES = {".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".arrow": "arrow"}
TABLES = frozenset(SUFFIXES.values())
PACKED = (".gz", ".xz", ".zip")


@dataclass(frozen=True)
class Piece:
    """Articles with paragraphs, or flat rows, of one file."""

    kind: Literal["articles", "rows"]
    items: Iterable[Any]
    where: str = ""
    """Begins every place in it; the file's name where there are several."""


@dataclass(frozen=True)
class Content:
    """An opened source; of rows that are no files, read `pieces` to the end before `sha256`."""

    name: str
    pieces: Iterable[Piece]
    hashes: list[str]
    """Of the files, in order; or of the rows, filled while the pieces are read."""
    card: Mapping[str, Any]
    """What the source's own card says of it; empty if it has none."""
    version: str = ""
    """Tells a source whose hashes are not known before it was read from others of its name."""

    @property
    def sha256(self) -> str:
        """Identify the content: by a single file's own hash, or by the hashes in order."""
        if len(self.hashes) == 1:
            return self.hashes[0]
        return hashlib.sha256("\n".join(self.hashes).encode()).hexdigest()


def open_content(source: Source, config: str | None, split: str) -> Content:
    """Open a source.

    Raises:
        FileNotFoundError: nothing of that name.
        ValueError: it holds no such part, or what it holds is damaged.
    """
    if not isinstance(source, str | Path):
        given = source.get(split, ()) if isinstance(source, dict) else source
        parts = [*given] if isinstance(given, Sequence) else given
        if isinstance(parts, list) and all(isinstance(part, str | Path) for part in parts):
            return _open_files([Path(part) for part in parts])
        return _open_rows("the data set", parts, {})
    path, named = Path(source), str(source)
    if path.is_dir():
        return _open_folder(path, config, split)
    files = [path] if path.is_file() else _several(named)
    if files:
        return _open_files(files)
    # a hub id may end like squad_v1.1, a file's name in letters
    if path.suffix[1:].isalpha() or named.startswith((".", "/", "~")) or named.count("/") > 1:
        raise FileNotFoundError(f"{source}: no such file or folder")
    rows = hub_rows(named, config, split)
    version = getattr(rows, "cache_files", None) or uuid4()  # of unknown ones: like no other
    return _open_rows(named, rows, hub_card(named), str(version))


def _several(named: str) -> list[Path]:
    """Give the files that a list parted by commas, or a pattern, names; none if it is neither."""
    if "," in named:
        return [Path(name) for name in named.split(",")]
    return [Path(name) for name in sorted(glob(named))]


def _open_folder(folder: Path, config: str | None, split: str) -> Content:
    card = folder_card(folder)
    if is_saved(folder):
        rows = saved_rows(folder, split)
        of_split = folder / split if (folder / split).is_dir() else folder
        hashes = [file_sha256(path) for path in sorted(of_split.glob("*.arrow"))]
        return Content(folder.name, [Piece("rows", rows)], hashes, card)
    kind, paths = folder_files(folder, config, split)
    if kind != "json" and kind not in TABLES:
        raise ValueError(f"{folder}: its files are of kind {kind!r}, which holds no questions")
    files = _open_files(paths)
    return Content(folder.name, files.pieces, files.hashes, card)


def _open_rows(
    name: str, rows: Iterable[Mapping[str, Any]], card: Mapping[str, Any], version: str = ""
) -> Content:
    hashes: list[str] = []

    def pieces() -> Iterator[Piece]:
        digest = hashlib.sha256()
        yield Piece("rows", hashed(rows, digest))
        hashes.append(digest.hexdigest())

    return Content(name, pieces(), hashes, card, version)


def _open_files(paths: Sequence[Path]) -> Content:
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file")

    def pieces() -> Iterator[Piece]:
        for path in paths:
            where = f"{path.name}: " if len(paths) > 1 else ""
            kind = kind_of(path)
            if kind in TABLES:
                yield Piece("rows", table_rows(kind, path), where)
            else:
                yield _json_piece(path, where)

    hashes = [file_sha256(path) for path in paths]
    return Content(", ".join(path.name for path in paths), pieces(), hashes, {})


def kind_of(path: Path) -> str:
    """Tell what a file holds, by its first bytes, then by its name: a table's kind, or JSON."""
    with path.open("rb") as file:
        head = file.read(8)
    for magic, kind in MAGIC.items():
        if head.startswith(magic):
            return kind
    suffixes = path.suffixes
    if head.startswith(ZIP):
        try:
            with zipfile.ZipFile(path) as archive:
                suffixes = Path(only_member(path, archive.namelist())).suffixes
        except zipfile.BadZipFile as error:
            raise ValueError(f"{path}: a damaged archive ({error}); fetch it again") from error
    last = next((suffix for suffix in reversed(suffixes) if suffix not in PACKED), "")
    return SUFFIXES.get(last.lower(), "json")


def _json_piece(path: Path, where: str) -> Piece:
    items = read_items(path)
    first = next(items, None)
    is_row = isinstance(first, dict) and "paragraphs" not in first and "context" in first
    read = () if first is None else (first,)
    return Piece("rows" if is_row else "articles", chain(read, items), where)
