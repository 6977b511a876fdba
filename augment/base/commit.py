"""Putting files in place so that a kill, a full disk or a power cut leaves old or new, never half.

Every file goes the same way: a temporary name in its own folder, close, fsync, `os.replace`,
fsync of the folder.
"""

import errno
import hashlib
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}\.tmp")
NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK)
"""What file systems say that have no hard links."""


def write_atomic(path: Path, write: Callable[[Path], None] | bytes | str) -> None:
    """Write a file completely or not at all.

    Args:
        path: where the file will be; its folder must exist.
        write: the content, or a function that writes (and may check) the file at a given
            temporary path. If it raises, nothing is left behind.
    """
    temporary = _temporary(path)
    try:
        if callable(write):
            write(temporary)
        else:
            temporary.write_bytes(write.encode() if isinstance(write, str) else write)
        fsync_file(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)


def write_once(path: Path, content: bytes) -> bool:
    """Write a file unless it is there; tell whether this content got the name.

    Of several that write it at once, the first wins. Where there are no hard links, two within
    the same moment leave the second's.
    """
    temporary = _temporary(path)
    try:
        temporary.write_bytes(content)
        fsync_file(temporary)
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            if path.exists():
                return False
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    fsync_folder(path.parent)
    return True


def _temporary(path: Path) -> Path:
    return path.parent / f".{path.name}.{uuid4().hex}.tmp"


def fsync_file(path: Path) -> None:
    """Bring a file's content to the disk, before anything says that it is there."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def fsync_folder(folder: Path) -> None:
    """Make renames inside a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path, older_than: float = 0) -> int:
    """Delete temporary files that a killed run left; give their number.

    Args:
        folder: searched with everything below it.
        older_than: seconds; where others may be writing, a file of theirs is younger.
    """
    latest = time.time() - older_than
    removed = 0
    for path in folder.rglob(".*.tmp"):
        with suppress(FileNotFoundError):  # its writer has just renamed it
            if TEMPORARY.fullmatch(path.name) and path.stat().st_mtime <= latest:
                path.unlink()
                removed += 1
    return removed


_hashes: dict[Path, tuple[tuple[int, ...], str]] = {}


def file_sha256(path: Path) -> str:
    """Hash a file's bytes: once in a process, and again where it changed meanwhile."""
    with path.open("rb") as file:
        now = os.fstat(file.fileno())
        stamp = now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns
        known = _hashes.get(path)
        if known is None or known[0] != stamp:
            known = _hashes[path] = stamp, hashlib.file_digest(file, "sha256").hexdigest()
    return known[1]
