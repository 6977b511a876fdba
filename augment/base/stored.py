"""What is kept to be read again: believed only where it proves itself.

A folder is whole when its SHA256SUMS names every file in it by its hash, as `sha256sum -c` reads
it. The mark is written last, when everything it speaks of is on disk. What does not prove itself
is named, set aside and made again.
"""

import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from augment.base.command import needing
from augment.base.commit import file_sha256, fsync_file, write_atomic
from augment.base.folders import check_room, claimed, empty, rename_folder

CHECKSUMS = "SHA256SUMS"
OF_THE_HUB = (".gitattributes", ".cache")
"""In a folder that was fetched from the hub, and no part of what was put there."""


def seal(folder: Path) -> None:
    """Bring every file of a folder to the disk, and write `SHA256SUMS` over them."""
    names = sorted(_files(folder))
    for name in names:
        fsync_file(folder / name)
    write_atomic(
        folder / CHECKSUMS, checksum_lines({name: file_sha256(folder / name) for name in names})
    )


def checksum_lines(hashes: Mapping[str, str]) -> str:
    """Write the hash of every file by its name, as `sha256sum` does."""
    return "".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes))


def read_checksums(folder: Path) -> dict[str, str]:
    """Give the hash of every file that a folder's `SHA256SUMS` names.

    Raises:
        ValueError: there is none, or it is cut.
    """
    path = folder / CHECKSUMS
    if not path.is_file():
        raise ValueError(f"{CHECKSUMS}: missing")
    return parse_checksums(path.read_bytes())


def parse_checksums(content: bytes) -> dict[str, str]:
    """Read the lines of a `SHA256SUMS`.

    Raises:
        ValueError: it is cut.
    """
    *lines, last = content.decode(errors="replace").split("\n")
    if last:
        raise ValueError(f"{CHECKSUMS}: cut in its last line")
    return {name: sha256 for sha256, _, name in (line.partition("  ") for line in lines)}


def checksum_faults(folder: Path, may_be_unlisted: str = "") -> list[str]:
    """Compare the files of a folder with its `SHA256SUMS`."""
    try:
        listed = read_checksums(folder)
    except ValueError as error:
        return [str(error)]
    present = _files(folder) - ({may_be_unlisted} - listed.keys())
    faults = [f"{name}: in {CHECKSUMS} but missing" for name in sorted(listed.keys() - present)]
    faults += [f"{name}: not in {CHECKSUMS}" for name in sorted(present - listed.keys())]
    return faults + [
        f"{name}: changed since {CHECKSUMS} was written"
        for name in sorted(listed.keys() & present)
        if file_sha256(folder / name) != listed[name]
    ]


def _files(folder: Path) -> set[str]:
    """Name the files that `SHA256SUMS` covers: all but itself and what the hub adds."""
    names = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    covered = (name.as_posix() for name in names if name.parts[0] not in OF_THE_HUB)
    return set(covered) - {CHECKSUMS}


def stored(folder: Path, make: Callable[[Path], None], num_bytes: int = 0) -> Path:
    """Give a folder of the cache, made now if it is not there, whole.

    Each process makes it in a folder of its own, so that nothing depends on the lock but work
    that is not done twice.

    Args:
        folder: where it is kept.
        make: writes its files into an empty folder.
        num_bytes: what they take, an estimate; 0 if it is little.

    Raises:
        UsageError: there is no room for them.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    if proven(folder):
        return folder
    incomplete = folder.with_name(folder.name + ".incomplete")
    with claimed(incomplete, wait=True), needing(num_bytes):
        if not proven(folder):  # nobody made it meanwhile
            empty(incomplete)
            check_room(folder, num_bytes)
            work = incomplete / uuid4().hex
            work.mkdir()
            try:
                make(work)
                seal(work)
                rename_folder(work, folder)
            except BaseException:
                shutil.rmtree(work, ignore_errors=True)
                if not proven(folder):  # else another was faster, where there are no locks
                    raise
        with suppress(OSError):
            incomplete.rmdir()
    return folder


def proven(folder: Path) -> bool:
    """Tell whether a folder is there, whole; set it aside if it is not whole."""
    faults = checksum_faults(folder) if folder.is_dir() else []
    if faults:
        set_aside(folder, "; ".join(faults[:3]))
    return folder.is_dir() and not faults


def discard(folder: Path, faults: Sequence[str]) -> None:
    """Delete what is damaged in a working folder, and say so; what a kill cut short goes unsaid."""
    if (folder / CHECKSUMS).is_file():
        print(f"{folder}: damaged ({'; '.join(faults[:3])}); deleted", file=sys.stderr)
    shutil.rmtree(folder)


def set_aside(path: Path, why: str) -> None:
    """Rename what is damaged, in place of what was set aside before, and say so."""
    aside = path.with_name(path.name + ".damaged")
    print(f"{path}: damaged ({why}); it is now {aside.name}, and made again", file=sys.stderr)
    if aside.is_dir():
        shutil.rmtree(aside)
    with suppress(FileNotFoundError):  # another process has done so
        os.rename(path, aside)
