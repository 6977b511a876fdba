"""JSON and JSON lines, plain or compressed: unpacked, and parsed strictly."""

import gzip
import hashlib
import io
import json
import lzma
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

ZIP = b"PK\x03\x04"
OPENERS: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": gzip.decompress,
    b"\xfd7zXZ\x00": lzma.decompress,
}
"""What a compressed file begins with, and what undoes it."""


def load_json(path: Path) -> tuple[Any, str]:
    """Parse a JSON file strictly and give its content with the SHA-256 of its bytes.

    One value a line is read as a list of them.

    Raises:
        ValueError: not UTF-8, cut, nested too deep, with duplicate keys, NaN or surrogates; or an
            archive that is damaged or holds several files.
    """
    raw = path.read_bytes()
    return _parse(path, unpack(path, raw)), hashlib.sha256(raw).hexdigest()


def unpack(path: Path, raw: bytes) -> bytes:
    """Unpack a file's bytes if they begin as those of gzip, xz or zip files do.

    Raises:
        ValueError: a damaged archive, or a zip file with several files in it, named.
    """
    try:
        if raw.startswith(ZIP):
            with zipfile.ZipFile(io.BytesIO(raw)) as archive:
                return archive.read(only_member(path, archive.namelist()))
        for magic, undo in OPENERS.items():
            if raw.startswith(magic):
                return undo(raw)
    except (EOFError, OSError, lzma.LZMAError, zlib.error, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: a damaged archive ({error}); fetch it again") from error
    return raw


def only_member(path: Path, names: list[str]) -> str:
    """Give the one file of a zip archive; what macOS adds does not count.

    Raises:
        ValueError: none or several.
    """
    files = [name for name in names if not name.endswith("/") and not name.startswith("__MACOSX/")]
    if len(files) != 1:
        shown = ", ".join(files[:10]) or "nothing"
        raise ValueError(f"{path}: {len(files)} files in it ({shown}); unpack it and pass one")
    return files[0]


def _parse(path: Path, raw: bytes) -> Any:
    try:
        text = raw.decode("utf-8-sig")
        return _loads(text)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: not UTF-8 at byte {error.start}; save the file as UTF-8"
        ) from error
    except RecursionError as error:
        raise ValueError(f"{path}: nested too deep to be SQuAD; fetch it again") from error
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and text[: error.pos].endswith("\n"):
            return _parse_lines(path, text)
        raise _not_json(path, error, raw) from error
    except ValueError as error:
        raise _not_json(path, error, raw) from error


def _parse_lines(path: Path, text: str) -> list[Any]:
    found = []
    for number, line in enumerate(io.StringIO(text), 1):
        try:
            found += [_loads(line)] if line.strip() else []
        except ValueError as error:
            said = f"line {number}: not valid JSON: {error}; mend the line"
            raise ValueError(f"{path}: {said}") from error
    return found


def _loads(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_no_constant)


def _not_json(path: Path, error: ValueError, raw: bytes) -> ValueError:
    hint = "save the file as UTF-8" if b"\0" in raw[:4] else "mend the file or fetch it again"
    return ValueError(f"{path}: not valid JSON: {error}; {hint}")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = [key for key, number in Counter(key for key, _ in pairs).items() if number > 1]
        raise ValueError(f"key {twice[0]!r} occurs twice in one object")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
