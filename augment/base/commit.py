"""Putting files in place so that a kill, a full disk or a power cut leaves old or new, never half.

Every file goes the same way: a temporary name in its own folder, close, fsync, `os.replace`,
fsync of the folder.
"""

import fcntl
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}\.tmp")


def write_atomic(path: Path, write: Callable[[Path], None] | bytes | str) -> None:
    """Write a file completely or not at all.

    Args:
        path: where the file will be; its folder must exist.
        write: the content, or a function that writes (and may check) the file at a given
            temporary path. If it raises, nothing is left behind.
    """
    temporary = path.parent / f".{path.name}.{uuid4().hex}.tmp"
    try:
        if callable(write):
            write(temporary)
        else:
            temporary.write_bytes(write.encode() if isinstance(write, str) else write)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)


def fsync_folder(folder: Path) -> None:
    """Make renames inside a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def rename_folder(source: Path, target: Path) -> None:
    """Give a finished folder its final name in one step."""
    fsync_folder(source)
    os.rename(source, target)
    fsync_folder(target.parent)


def remove_leftovers(folder: Path, older_than: float = 0) -> int:
    """Delete temporary files that a killed run left; give their number.

    Args:
        folder: searched with everything below it.
        older_than: seconds; where others may be writing, a file of theirs is younger.
    """
    latest = time.time() - older_than
    found = [
        path
        for path in folder.rglob(".*.tmp")
        if TEMPORARY.fullmatch(path.name) and path.stat().st_mtime <= latest
    ]
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)


def file_sha256(path: Path) -> str:
    """Hash a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def locked(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a lock file for as long as this process lives.

    Raises:
        RuntimeError: another process holds it, and `wait` is false.
    """
    while True:
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError as error:
                raise RuntimeError(
                    f"{path}: another process is building here; wait for it"
                ) from error
            if not _is_at(path, file.fileno()):  # its holder removed it: lock the new one
                continue
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
