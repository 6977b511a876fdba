"""What a finished arm leaves: a record in JSON, and its figures row by row beside it."""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment.base.command import to_json
from augment.base.commit import write_atomic

Rows = NDArray[np.float32]
Record = dict[str, Any]


def read_records(folder: Path) -> dict[str, Record]:
    """Give the records of all finished arms by name."""
    return {path.stem: json.loads(path.read_bytes()) for path in sorted(folder.glob("*.json"))}


def read_rows(folder: Path, record: Mapping[str, Any]) -> dict[str, Rows]:
    """Give the figures of an arm row by row, (points and stage 2, rows) each.

    Raises:
        ValueError: the file is not the one that the record names.
    """
    path = folder / f"{record['arm']['name']}.npz"
    raw = path.read_bytes()
    if hashlib.sha256(raw).hexdigest() != record["rows_sha256"]:
        raise ValueError(f"{path}: not the file that its record names; run the arm again")
    return unpacked(raw)


def write_record(folder: Path, rows: Sequence[Mapping[str, Rows]], record: Record) -> None:
    """Write the rows, then the record, which says that the arm is done."""
    folder.mkdir(parents=True, exist_ok=True)
    name = record["arm"]["name"]
    raw = packed({key: np.stack([found[key] for found in rows]) for key in rows[0]})
    write_atomic(folder / f"{name}.npz", raw)
    record = {**record, "rows_sha256": hashlib.sha256(raw).hexdigest()}
    write_atomic(folder / f"{name}.json", to_json(record))


def packed(rows: Mapping[str, Rows]) -> bytes:
    """Write arrays as an npz file."""
    made = io.BytesIO()
    arrays: dict[str, Any] = dict(rows)
    np.savez_compressed(made, **arrays)
    return made.getvalue()


def unpacked(raw: bytes) -> dict[str, Rows]:
    """Read arrays of an npz file."""
    with np.load(io.BytesIO(raw)) as file:
        return {key: file[key] for key in file.files}
