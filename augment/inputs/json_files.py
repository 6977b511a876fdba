"""JSON and JSON lines, plain or compressed: read piece by piece, and parsed strictly.

A file's articles or rows come one after the other, so that memory holds one of them and a few
megabytes of text, whatever the file's size. Faults are told with their place in the whole file.
"""

import codecs
import gzip
import json
import lzma
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

ZIP = b"PK\x03\x04"
PACKED: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"\xfd7zXZ\x00": lzma.open}
"""What a compressed file begins with, and what opens it."""
BROKEN_ARCHIVE = (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error, zipfile.BadZipFile)
CHUNK = 1 << 22  # bytes read at a time; does not change what is read
TAIL = 16  # characters at the end of a text within which a fault may be due to the cut
OF_ONE = {"paragraphs", "context"}
"""What an object has that is an article or a row itself."""
BLANK = re.compile(r"[ \t\n\r]*")
NO_LIST = (
    'no list "data" at the top; SQuAD is {"data": [articles]}, flat rows are a list of objects '
    "with id, context, question and answers"
)


def read_items(path: Path) -> Iterator[Any]:
    """Give the articles or rows of a JSON file: of its list "data", or of the list that it is.

    One object a line is read as a list of them; one alone is one if it holds a context.

    Raises:
        ValueError: not UTF-8, cut, nested too deep, with duplicate keys or NaN; no list;
            or an archive that is damaged or holds several files.
    """
    with _unpacked(path) as file:
        text = _Text(path, file)
        mark = text.peek()
        if mark == "[":
            yield from text.elements()
        elif mark == "{":
            yield from _items_of_object(text)
        else:
            text.value()
            raise ValueError(f"{path}: {NO_LIST}")
        if text.peek():
            raise text.fault("Extra data")


def _items_of_object(text: "_Text") -> Iterator[Any]:
    found: dict[str, Any] = {}
    is_squad = False
    begun = text.line
    for key in text.keys():
        if key in found:
            raise text.fault(f"key {key!r} occurs twice in one object", placed=False)
        found[key] = None
        if key == "data" and text.peek() == "[" and not found.keys() & OF_ONE:
            is_squad = True
            yield from text.elements()
        else:
            found[key] = text.value()
    if is_squad:
        return
    ended = text.line
    if text.peek():
        if not begun == ended < text.line:  # one object a line
            raise text.fault("Extra data")
        yield found
        yield from text.lines()
    elif found.keys() & OF_ONE:
        yield found
    else:
        raise ValueError(f"{text.path}: {NO_LIST}")


class _Text:
    """The characters of a file, of which a piece is in memory; and how far they are read."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path = path
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._text, self._at, self._ended = "", 0, False
        self._head = b""
        self._bytes = self._characters = self._lines = self._column = 0  # of what was let go

    @property
    def line(self) -> int:
        """Number the line that is read, from 0."""
        return self._lines + self._text.count("\n", 0, self._at)

    def peek(self) -> str:
        """Skip blanks; give the next character, empty at the end."""
        while True:
            match = BLANK.match(self._text, self._at)
            assert match
            self._at = match.end()
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def value(self) -> Any:
        """Parse the value that begins here."""
        self.peek()
        while True:
            try:
                value, end = DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                cut = error.pos >= len(self._text) - TAIL or error.msg.startswith("Unterminated")
                if cut and self._more():
                    continue
                raise self.fault(error.msg, error.pos) from error
            except RecursionError as error:
                said = f"{self.path}: nested too deep to be SQuAD; fetch it again"
                raise ValueError(said) from error
            except ValueError as error:  # of the hooks
                raise self.fault(str(error), placed=False) from error
            if end == len(self._text) and self._more():
                continue  # a number may go on
            self._at = end
            return value

    def elements(self) -> Iterator[Any]:
        """Give the values of the list that begins here."""
        self._at += 1
        if self.peek() == "]":
            self._at += 1
            return
        while True:
            yield self.value()
            if self._ends("]"):
                return

    def keys(self) -> Iterator[str]:
        """Give the keys of the object that begins here; each value is read before the next key."""
        self._at += 1
        mark = self.peek()
        if mark == "}":
            self._at += 1
            return
        while True:
            if self.peek() != '"':
                raise self.fault("Expecting property name enclosed in double quotes")
            key: str = self.value()
            if self.peek() != ":":
                raise self.fault("Expecting ':' delimiter")
            self._at += 1
            yield key
            if self._ends("}"):
                return

    def lines(self) -> Iterator[Any]:
        """Give the value of every line that is left."""
        while self.peek():
            while (end := self._text.find("\n", self._at)) < 0 and self._more():
                pass
            end = end if end >= 0 else len(self._text)
            try:
                value = DECODER.decode(self._text[self._at : end])
            except ValueError as error:
                number = self._lines + self._text.count("\n", 0, self._at) + 1
                said = f"line {number}: not valid JSON: {error}; mend the line"
                raise ValueError(f"{self.path}: {said}") from error
            self._at = end
            yield value

    def fault(self, said: str, at: int | None = None, *, placed: bool = True) -> ValueError:
        """Say what is wrong where, in the words of `json`."""
        at = self._at if at is None else at
        lines = self._text.count("\n", 0, at)
        column = at - self._text.rfind("\n", 0, at) if lines else self._column + at + 1
        place = f"line {self._lines + lines + 1} column {column} (char {self._characters + at})"
        hint = (
            "save the file as UTF-8" if b"\0" in self._head else "mend the file or fetch it again"
        )
        where = f": {place}" if placed else ""
        return ValueError(f"{self.path}: not valid JSON: {said}{where}; {hint}")

    def _ends(self, closing: str) -> bool:
        mark = self.peek()
        if mark not in (closing, ",") or not mark:
            raise self.fault("Expecting ',' delimiter")
        self._at += 1
        return mark == closing

    def _more(self) -> bool:
        """Read on, and let go of what is behind; as much again as is kept, so that it ends soon."""
        if self._ended:
            return False
        raw = self._file.read(max(CHUNK, len(self._text) - self._at))
        passed = self._text[: self._at]
        self._characters += len(passed)
        newline = passed.rfind("\n")
        self._lines += passed.count("\n")
        self._column = len(passed) - newline - 1 + (self._column if newline < 0 else 0)
        pending = len(self._decoder.getstate()[0])
        try:
            more = self._decoder.decode(raw, final=not raw)
        except UnicodeDecodeError as error:
            at = self._bytes - pending + error.start
            raise ValueError(
                f"{self.path}: not UTF-8 at byte {at}; save the file as UTF-8"
            ) from error
        self._head = self._head or raw[:4]
        self._bytes += len(raw)
        self._text, self._at, self._ended = self._text[self._at :] + more, 0, not raw
        return True


@contextmanager
def _unpacked(path: Path) -> Iterator[IO[bytes]]:
    """Open a file, unpacked if it begins as those of gzip, xz or zip files do.

    Raises:
        ValueError: a damaged archive, or a zip file with several files in it, named.
    """
    with path.open("rb") as plain:
        head = plain.read(8)
    try:
        if head.startswith(ZIP):
            with zipfile.ZipFile(path) as archive:
                with archive.open(only_member(path, archive.namelist())) as member:
                    yield member
            return
        opener = next((opener for magic, opener in PACKED.items() if head.startswith(magic)), open)
        with opener(path, "rb") as file:
            yield file
    except BROKEN_ARCHIVE as error:
        raise ValueError(f"{path}: a damaged archive ({error}); fetch it again") from error


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


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = [key for key, number in Counter(key for key, _ in pairs).items() if number > 1]
        raise ValueError(f"key {twice[0]!r} occurs twice in one object")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


DECODER = json.JSONDecoder(object_pairs_hook=_unique_keys, parse_constant=_no_constant)
