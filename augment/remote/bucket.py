"""A folder in a bucket, by fsspec: no rename, no fsync, no lock, and a network in between.

What is put is read back and compared, what is fetched is compared with its hash, and either is
tried again a few times.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from augment.base.commit import file_sha256
from augment.remote.urls import file_system, said, shown

Result = TypeVar("Result")

TRIES = 5
PAUSE = 0.5
"""Seconds before the second try; each further one waits twice as long."""
BLOCK = 8 << 20
"""Bytes that are read back at once."""
FINAL = (FileNotFoundError, PermissionError, NotImplementedError)
"""What trying again does not mend."""


@dataclass(frozen=True)
class Bucket:
    """A prefix of a bucket."""

    url: str

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        return file_system(self.url)

    def __str__(self) -> str:
        return shown(self.url)

    def read(self, name: str) -> bytes | None:
        """Give a small file's content; None if it is not there."""
        files, root = self._opened
        try:
            content: bytes = self._persist(name, lambda: files.cat_file(f"{root}/{name}"))
        except FileNotFoundError:
            return None
        return content

    def put(self, name: str, path: Path) -> None:
        """Write a file, and see that what the store has is what was sent.

        Raises:
            OSError: the store does not take it, or keeps another content.
        """
        files, root = self._opened

        def write() -> None:
            files.put_file(str(path), f"{root}/{name}")
            if self.sha256(name) != file_sha256(path):
                raise OSError("what was read back is not what was sent")

        self._persist(name, write)

    def fetch(self, name: str, path: Path, sha256: str) -> None:
        """Copy a file to this machine; its hash is the given one, or it is not there.

        Raises:
            FileNotFoundError: the store has none of this name.
            OSError: it cannot be had, or is another file.
        """
        files, root = self._opened

        def get() -> None:
            files.get_file(f"{root}/{name}", str(path))
            if file_sha256(path) != sha256:
                raise OSError("what came is not what its SHA-256 says")

        try:
            self._persist(name, get)
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def is_empty(self) -> bool:
        """Tell whether nothing is there."""
        files, root = self._opened

        def look() -> bool:
            files.invalidate_cache()
            return not files.find(root, maxdepth=1) and not files.exists(root)

        return self._persist("the list of files", look)

    def sha256(self, name: str) -> str | None:
        """Hash what the store gives under a name; None if it has nothing."""
        files, root = self._opened

        def read() -> str:
            digest = hashlib.sha256()
            with files.open(f"{root}/{name}", "rb", block_size=BLOCK) as file:
                while block := file.read(BLOCK):
                    digest.update(block)
            return digest.hexdigest()

        try:
            return self._persist(name, read)
        except FileNotFoundError:
            return None

    def _persist(self, name: str, action: Callable[[], Result]) -> Result:
        """Do something with a file, a few times if need be.

        Raises:
            OSError: with the last reason.
        """
        for attempt in range(TRIES):
            try:
                return action()
            except FINAL as error:
                raise type(error)(f"{self}/{name}: {said(error)}") from error
            except Exception as error:  # every store raises errors of its own
                last = error
                if attempt + 1 < TRIES:
                    time.sleep(PAUSE * 2**attempt)
        raise OSError(f"{self}/{name}: tried {TRIES} times: {said(last)}") from last
