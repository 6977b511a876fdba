"""A folder in a bucket, by fsspec: no rename, no fsync, no lock, and a network in between.

What is put is read back and compared, what is fetched is compared with its hash, and either is
tried again a few times.
"""

import hashlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from augment.base.commit import file_sha256
from augment.base.records import shown
from augment.remote.urls import file_system, said, secrets_of, where_keys_are

Result = TypeVar("Result")

TRIES = 5
PAUSE = 0.5
"""Seconds before the second try; each further one waits twice as long."""
BLOCK = 8 << 20
"""Bytes that are read back at once."""
AT_ONCE = 256
"""Small files that are read together."""
FINAL = (
    *(FileNotFoundError, IsADirectoryError, NotADirectoryError),
    *(PermissionError, NotImplementedError),
)
"""What trying again does not mend."""
PASSING = (408, 425, 429)
"""What servers of HTTP refuse now and may do later; other answers of 400 to 499 stay so."""
WEB = ("http", "https")
UNREACHABLE = re.compile("Connect|Timeout|Resolution")
"""In the names of errors of a network."""
CLOSED = re.compile("Credentials|RepositoryNotFound|GatedRepo")
"""In the names of errors that keys may mend; the hub says that what is private is not there."""
MISNAMED = re.compile("Uri|ParamValidation")
"""In the names of errors about a URL that no store has."""
VERSIONS = (
    *("ETag", "etag", "md5Hash", "Content-MD5", "content_md5", "generation", "blob_id", "xet_hash"),
    *("Last-Modified", "LastModified", "last_modified", "updated", "mtime", "created"),
)
"""Where stores say which content a file has: by its hash if they can, else by when it was put."""
MD5 = re.compile(r'"?([0-9a-f]{32})"?')


@dataclass(frozen=True)
class Bucket:
    """A prefix of a bucket; of a file, the name `""`."""

    url: str

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        return file_system(self.url)

    def __str__(self) -> str:
        return shown(self.url)

    def read(self, name: str) -> bytes | None:
        """Give a small file's content; None if it is not there."""
        try:
            content: bytes = self._persist(name, lambda: self._files.cat_file(self._path(name)))
        except FileNotFoundError:
            return None
        return content

    def read_all(self, names: Sequence[str]) -> dict[str, bytes]:
        """Give the content of small files that are there, several at a time.

        Raises:
            FileNotFoundError: one is not there.
        """
        found: dict[str, bytes] = {}
        for start in range(0, len(names), AT_ONCE):
            paths = {self._path(name): name for name in names[start : start + AT_ONCE]}

            def read(paths: Mapping[str, str] = paths) -> dict[str, bytes]:
                given = self._files.cat([*paths], on_error="raise")
                return {name: given[path] for path, name in paths.items()}

            found |= self._persist(names[start], read)
        return found

    def write(self, name: str, content: bytes) -> None:
        """Write a small file, and see that what the store has is what was sent.

        Raises:
            OSError: the store does not take it, or keeps another content.
        """

        def write() -> None:
            self._files.pipe_file(self._path(name), content)
            if self._files.cat_file(self._path(name)) != content:
                raise OSError("what was read back is not what was sent")

        self._persist(name, write)

    def write_once(self, name: str, content: bytes) -> bytes:
        """Write a small file unless it is there; give what is there then.

        Of several that write it at once, the first wins where the store can make a file on
        condition that there is none. Elsewhere the last one may: read it again before it counts.

        Raises:
            OSError: the store does not take it.
        """
        if (there := self.read(name)) is not None:
            return there
        with suppress(Exception):  # it is there by now, or the store knows no conditions
            self._files.pipe_file(self._path(name), content, mode="create")
        with suppress(OSError):  # it came there damaged: written again, or it says what is wrong
            if (there := self.read(name)) is not None:
                return there
        self._persist(name, lambda: self._files.pipe_file(self._path(name), content))
        there = self.read(name)
        if there is None:
            raise OSError(f"{self}/{name}: was written, and is not there")
        return there

    def remove(self, name: str) -> None:
        """Delete a file, if it is there."""
        with suppress(FileNotFoundError):
            self._persist(name, lambda: self._files.rm_file(self._path(name)))

    def has(self, name: str) -> bool:
        """Tell whether a file is there; what may not be read, is not, nor is a site's page."""
        try:
            content = self._persist("", lambda: self._files.cat_file(self._path(name)))
        except FINAL:
            return False  # S3 forbids what is not there, to one who may not list
        return not content.lstrip().startswith(b"<")  # some sites answer whatever is asked for

    def put(self, name: str, path: Path) -> None:
        """Write a file, and see that what the store has is what was sent.

        Raises:
            OSError: the store does not take it, or keeps another content.
        """

        def write() -> None:
            self._files.put_file(str(path), self._path(name))
            if self._read_sha256(name) != file_sha256(path):
                raise OSError("what was read back is not what was sent")

        self._persist(name, write)

    def fetch(self, name: str, path: Path, sha256: str) -> None:
        """Copy a file to this machine; its hash is the given one, or it is not there.

        Raises:
            FileNotFoundError: the store has none of this name.
            OSError: it cannot be had, or is another file.
        """

        def compare() -> None:
            if file_sha256(path) != sha256:
                raise OSError("what came is not what its SHA-256 says")

        self._get(name, path, compare)

    def fetch_unnamed(self, path: Path, size: int | None, version: str) -> None:
        """Copy the file that this URL names to this machine, with no hash to compare it with.

        Its size has to be what the store says; and its MD5, or else what comes in a second reading.

        Args:
            path: where to.
            size: in bytes, and
            version: as `describe` gave them.

        Raises:
            OSError: it cannot be had whole, or changed meanwhile.
        """

        def compare() -> None:
            if size not in (None, path.stat().st_size):
                raise OSError(f"{path.stat().st_size} bytes came, {size} are there")
            with path.open("rb") as file:
                md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
            if version != md5.hexdigest() and self._read_sha256("") != file_sha256(path):
                raise OSError("two readings gave two contents")
            if self.describe() != (size, version):
                raise OSError("changed while it was fetched; run the same command again")

        self._get("", path, compare)

    def describe(self, name: str = "") -> tuple[int | None, str]:
        """Give size and version of a file, of the one that this URL names; "" if it is not said.

        Raises:
            FileNotFoundError: no such file.
            IsADirectoryError: a folder.
        """

        def look() -> tuple[int | None, str]:
            self._files.invalidate_cache()
            try:
                info = self._files.info(self._path(name))
            except FileNotFoundError as error:
                if _kind(error) is PermissionError:
                    raise
                said_so = getattr(error.__cause__, "status", None) in (404, 410)
                if self._store in WEB and error.__cause__ and not said_so:
                    raise error.__cause__ from None  # whatever goes wrong is told as this
                hint = "; what follows a ? is a query: in a pattern, write *"
                asked = self._store not in WEB and "?" in self.url
                raise FileNotFoundError("no such file or folder" + hint * asked) from error
            if info.get("type", "file") != "file":
                raise IsADirectoryError("a folder, and no file")
            return info.get("size"), version_of(info)

        return self._persist(name, look)

    def is_empty(self) -> bool:
        """Tell whether nothing is there."""
        return not self.list()

    def list(self, folder: str = "") -> dict[str, str]:
        """Name all files in a folder, each with its version, "" if the store does not say.

        Raises:
            FileNotFoundError: there is no such bucket; a folder that is not there is empty.
        """

        def look() -> dict[str, str]:
            self._files.invalidate_cache()
            root = self._path(folder)
            try:
                found = self._files.find(root, detail=True)
            except FileNotFoundError as error:
                raise FileNotFoundError("no such bucket; make it first") from error
            return {
                name.removeprefix(root).removeprefix("/"): version_of(info)
                for name, info in found.items()
                if info.get("size") or not _marks_folder(name, root)
            }

        return self._persist(folder, look)

    def matching(self, pattern: str) -> Sequence[str]:
        """Name the files that fit a pattern, in order."""

        def look() -> Sequence[str]:
            self._files.invalidate_cache()
            found = self._files.glob(self._path(pattern), detail=True)
            names = [name for name, info in found.items() if info.get("type", "file") == "file"]
            return sorted(name.removeprefix(self._path("")).lstrip("/") for name in names)

        return self._persist(pattern, look)

    def sha256(self, name: str) -> str | None:
        """Hash what the store gives under a name; None if it has nothing that can be read.

        A store may keep what it does not give: its own checksum does not fit.
        """
        try:
            return self._persist(name, lambda: self._read_sha256(name))
        except PermissionError:
            raise
        except OSError:
            return None

    def __reduce__(self) -> tuple[type["Bucket"], tuple[str]]:
        """Travel to other processes without what is open."""
        return Bucket, (self.url,)

    @property
    def _files(self) -> Any:
        return self._opened[0]

    def _path(self, name: str) -> str:
        return f"{self._opened[1]}/{name}" if name else self._opened[1]

    def _read_sha256(self, name: str) -> str:
        digest = hashlib.sha256()
        with self._files.open(self._path(name), "rb", block_size=BLOCK) as file:
            while block := file.read(BLOCK):
                digest.update(block)
        return digest.hexdigest()

    def _get(self, name: str, path: Path, compare: Callable[[], None]) -> None:
        def get() -> None:
            self._files.get_file(self._path(name), str(path))
            compare()

        try:
            self._persist(name, get)
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def _persist(self, name: str, action: Callable[[], Result]) -> Result:
        """Do something with a file, a few times if need be.

        Raises:
            ValueError: no store has such a name.
            OSError: with the last reason.
        """
        where = f"{self}/{name}" if name else str(self)
        _ = self._opened  # or says why nothing opens it, at once
        for attempt in range(TRIES):
            try:
                return action()
            except Exception as error:  # every store raises errors of its own
                last, kind = error, _kind(error)
            if kind is not OSError:
                break
            if attempt + 1 < TRIES:
                time.sleep(PAUSE * 2**attempt)
        tried = f"tried {TRIES} times: " if kind is OSError else ""
        cause = None if secrets_of(self.url) else last  # a traceback would show them
        why = said(last, self.url).rstrip(".")
        raise kind(f"{where}: {tried}{why}{self._remedy(kind, last)}") from cause

    @property
    def _store(self) -> str:
        return self.url.partition("://")[0]

    def _remedy(self, kind: type[Exception], error: Exception) -> str:
        store = self._store
        if kind is PermissionError and store in WEB:
            return "; the link has expired, or is not for all: get another one"
        if kind is PermissionError:
            anon = f", or pass --storage-options {store}.anon=true if everybody may"
            return (
                f"; give keys that may list, read and write there ({where_keys_are(store)})"
                f"{anon * (store != 'hf')}"
            )
        if UNREACHABLE.search(type(error).__name__):
            return "; see that the store answers there, and run the same command again"
        return ""


def _kind(error: Exception) -> type[Exception]:
    """Give what an error is told as; OSError if trying again may mend it."""
    name = type(error).__name__ + type(error.__cause__).__name__
    if CLOSED.search(name):
        return PermissionError
    if MISNAMED.search(name):
        return ValueError
    status = getattr(error, "status", None)  # of HTTP
    if status in (401, 403):
        return PermissionError
    if isinstance(status, int) and 400 <= status < 500 and status not in PASSING:
        return FileNotFoundError
    return next((kind for kind in FINAL if isinstance(error, kind)), OSError)


def _marks_folder(name: str, root: str) -> bool:
    """Tell whether a name is what consoles and some tools leave to mark a folder."""
    return name.endswith("/") or name == root


def version_of(info: Mapping[str, Any]) -> str:
    """Say which content a file has, as its store tells it: an MD5 as 32 digits; "" if unknown."""
    known = next((info[key] for key in VERSIONS if info.get(key) is not None), "")
    # some stores say a time in one way of a file and in another of a folder's files
    found = str(known.timestamp() if isinstance(known, datetime) else known)
    md5 = MD5.fullmatch(found)
    return md5[1] if md5 else found
