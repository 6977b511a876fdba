"""TOML files that people write, checked against the dataclass that they fill."""

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from augment.base.command import existing_file

Filled = TypeVar("Filled")


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is not TOML; with the line.
    """
    try:
        return tomllib.loads(existing_file(path, "TOML file").read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not a TOML file: {error}") from error


def fill(kind: type[Filled], table: Mapping[str, Any], where: str, **given: Any) -> Filled:
    """Make a dataclass from a table whose keys are its fields.

    Args:
        kind: has fields of numbers, text, booleans, tuples, mappings, and dataclasses of these; in
            a field that may be None, "none" stands for it.
        table: as TOML gives it.
        where: the file and the place in it, as they stand before a key in a message.
        given: fields that the table does not hold.

    Raises:
        ValueError: an unknown key, a value of another type, a missing one, or what the dataclass
            refuses.
    """
    wanted = get_type_hints(kind)
    known = [name for name in wanted if name not in given]
    for key, value in table.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=2)
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
            raise ValueError(f"{where}{key}: unknown key; {hint}")
        given[key] = _value(wanted[key], value, where + key)
    for field in fields(kind):  # type: ignore[arg-type]
        if field.name not in given and field.default is MISSING:
            raise ValueError(f"{where}{field.name}: is missing")
    try:
        return kind(**given)
    except ValueError as error:
        raise ValueError(f"{where.rstrip(': .')}: {error}") from error


def known_part(kind: Any, value: Any) -> Any:
    """Leave out of a table, and of tables in it, the keys that a dataclass has no field for."""
    inner = get_args(kind)
    if get_origin(kind) is tuple and isinstance(value, list):
        return [known_part(inner[0], one) for one in value]
    if not is_dataclass(kind) or not isinstance(value, dict):
        return value
    wanted = get_type_hints(kind)
    return {key: known_part(wanted[key], one) for key, one in value.items() if key in wanted}


def _value(wanted: Any, value: Any, where: str) -> Any:
    """Give a TOML value as a field's type has it: a list as a tuple, "none" as None."""
    origin, inner = get_origin(wanted), get_args(wanted)
    if wanted is Any:
        return value
    if origin is UnionType:
        return None if value in (None, "none") else _value(inner[0], value, where)
    if is_dataclass(wanted) and isinstance(wanted, type) and isinstance(value, dict):
        return fill(wanted, value, f"{where}.")
    if origin is Mapping and isinstance(value, dict):
        return {key: _value(inner[1], one, f"{where}.{key}") for key, one in value.items()}
    if origin is tuple and isinstance(value, list):
        each = inner[:1] * len(value) if inner[-1] is ... else inner
        if len(each) == len(value):
            places = zip(each, value, range(len(value)), strict=True)
            return tuple(_value(one, found, f"{where}.{place}") for one, found, place in places)
    kinds = (int, float) if wanted is float else (wanted,)
    if type(value) in kinds or (origin is Literal and value in inner):
        return value
    expected = " or ".join(map(repr, inner)) if origin is Literal else _name(wanted)
    raise ValueError(f"{where}: is {value!r}, expected {expected}")


def _name(wanted: Any) -> str:
    names = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
    if get_origin(wanted) is tuple:
        inner = get_args(wanted)
        number = "values" if inner[-1] is ... else f"{len(inner)} values"
        return f"a list of {number}, each {_name(inner[0])}"
    return names.get(wanted, "a table")
