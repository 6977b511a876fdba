"""Plans and records on disk, read and compared; URLs in them; the processor."""

import json
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from augment.base.toml_files import fill, known_part

Record = TypeVar("Record")


def differences(there: Mapping[str, Any], here: Mapping[str, Any], at: str = "") -> list[str]:
    """Name the keys in which two plans differ, with both values."""
    found = []
    for key in sorted(there.keys() | here.keys()):
        old, new = there.get(key), here.get(key)
        if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
            old, new = ({str(place): one for place, one in enumerate(o)} for o in (old, new))
        if isinstance(old, dict) and isinstance(new, dict):
            found += differences(old, new, f"{at}{key}.")
        elif old != new:
            shown = (json.dumps(value)[:70] for value in (old, new))
            found.append(f"{at}{key}: {' there, '.join(shown)} here")
    return found


def as_json(record: Any) -> dict[str, Any]:
    """Give a record (a dataclass, a mapping) as it will be read again from a JSON file."""
    value: dict[str, Any] = json.loads(json.dumps(record, default=vars, allow_nan=False))
    return value


def read_as(kind: type[Record], path: Path, remedy: str) -> Record | None:
    """Read a JSON file into the dataclass that it was written from; None if there is no file.

    Raises:
        ValueError: it is damaged; with the key.
    """
    if not path.is_file():
        return None
    try:
        return fill(kind, json.loads(path.read_bytes()), "")
    except (ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path}: damaged ({error}); {remedy}") from error


def read_record(path: Path, made: Path, kind: Any = None) -> dict[str, Any] | None:
    """Read the record of how `made` was made; None if there is none.

    Args:
        path: a JSON file.
        made: for the message.
        kind: a dataclass whose fields the record has, with these types, besides others.

    Raises:
        ValueError: it is damaged.
    """
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_bytes())
        if not isinstance(found, dict):
            raise ValueError(f"expected one object, found {type(found).__name__}")
        if kind is not None:
            fill(kind, known_part(kind, found), "")
        return found
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: damaged ({error}); delete {made} and run again") from error


def is_url(place: object) -> bool:
    """Tell `s3://bucket/set` from a folder."""
    return "://" in str(place)


def split_urls(place: str) -> list[str]:
    """Give the URLs of a list parted by commas; a comma within one stays."""
    return re.split(r",(?=[A-Za-z][\w+.-]*://)", place)


def shown(place: object) -> str:
    """Write a setting down; of URLs without what may be secret: a user's password, a query."""
    if not isinstance(place, str) or not is_url(place):
        return str(place)
    return ",".join(_without_secrets(one) if is_url(one) else one for one in split_urls(place))


def _without_secrets(url: str) -> str:
    parts = urlsplit(url, allow_fragments=False)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def processor() -> str:
    """Name this machine's processor."""
    path = Path("/proc/cpuinfo")
    if path.is_file():
        for line in path.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
