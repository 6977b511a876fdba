"""GloVe vectors: read Stanford's text files, find nearest neighbours by cosine, exactly."""

import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from augment.base.command import default_cache
from augment.base.commit import file_sha256
from augment.base.progress import say_done
from augment.base.stored import stored
from augment.variants.words import ENGLISH, kind_of

QUERIES = 256  # words looked up in one matrix product; the last product is filled up with zeros
BLOCK = 32768  # vectors compared in one matrix product
LONGEST_LINE = 1 << 20  # bytes; 4,096 numbers need a twentieth of that
HEADER = re.compile(r"\d+ \d+")  # word2vec's: words, dimensions
SPARE = 8  # neighbours fetched beyond twice the number wanted, for those that are filtered out


class SeveralFiles(ValueError):
    """An archive that is whole, but holds no single file of vectors."""


@dataclass(frozen=True)
class Vectors:
    """Word vectors in memory-mapped form."""

    words: list[str]
    """In the file's order: by frequency in Stanford's files."""
    matrix: NDArray[np.float32]
    """(words, dimensions), rows of length 1."""
    sha256: str
    """SHA-256 of the file that the vectors were read from."""
    skipped_lines: int
    """A header line, and words that occurred before."""

    @cached_property
    def index(self) -> dict[str, int]:
        """Map every word to its row."""
        return {word: row for row, word in enumerate(self.words)}


def load_vectors(path: Path, cache: Path | None = None) -> Vectors:
    """Read vectors, once: later calls map the cache that the first one wrote.

    Args:
        path: a text file, plain, `.gz` or `.zip` (with one text file in it): a word, then its
            numbers, parted by single spaces; the word itself may hold spaces.
        cache: folder for the cache; `~/.cache/twentyfold` or `$TWENTYFOLD_CACHE` by default.

    Raises:
        ValueError: a line of another length, a number that is none, NaN, not UTF-8, a cut file;
            with the line's number.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of vectors")
    sha256 = file_sha256(path)

    def make(folder: Path) -> None:
        words, matrix, skipped = _parse(path)
        np.save(folder / "vectors.npy", matrix)
        (folder / "vocabulary.txt").write_bytes("\n".join([str(skipped), *words]).encode())

    share = 0.5 if path.suffix not in (".gz", ".zip") else 1.2  # of a number as text: 4 bytes
    num_bytes = int(path.stat().st_size * share)
    folder = stored((cache or default_cache()) / f"glove-{sha256[:16]}", make, num_bytes)
    skipped_lines, *words = (folder / "vocabulary.txt").read_bytes().decode().split("\n")
    matrix = np.load(folder / "vectors.npy", mmap_mode="c")  # torch wants writable
    return Vectors(words, matrix, sha256, int(skipped_lines))


def nearest(vectors: Vectors, rows: Sequence[int], number: int) -> NDArray[np.int64]:
    """Find the rows nearest to some rows by cosine; a row is not its own neighbour.

    Exact: every vector is compared. Equal cosines are ordered by row. The products have fixed
    shapes, so a row's neighbours do not depend on which rows are asked for along with it.

    Returns:
        (len(rows), min(number, words - 1)), the nearest first.
    """
    import torch

    matrix = torch.from_numpy(np.asarray(vectors.matrix))
    number = min(number, len(vectors.words) - 1)
    found = np.empty((len(rows), number), np.int64)
    for start in range(0, len(rows), QUERIES):
        asked = torch.tensor(rows[start : start + QUERIES])
        queries = torch.zeros(QUERIES, matrix.shape[1])
        queries[: len(asked)] = matrix[asked]
        best = torch.full((QUERIES, number + 2), -2.0)
        where = torch.zeros((QUERIES, number + 2), dtype=torch.int64)
        for first in range(0, len(matrix), BLOCK):
            cosines = queries @ matrix[first : first + BLOCK].T
            top, columns = cosines.topk(min(number + 2, cosines.shape[1]))
            best, order = torch.cat([best, top], 1).topk(number + 2)
            where = torch.cat([where, columns + first], 1).gather(1, order)
        # topk takes any of equal ones: where the first that is cut off equals the last kept
        tied = torch.nonzero(best[: len(asked), -2] == best[: len(asked), -1]).flatten()
        if len(tied):
            blocks = (matrix[at : at + BLOCK] for at in range(0, len(matrix), BLOCK))
            cosines = torch.cat([(queries @ block.T)[tied] for block in blocks], 1)
            ordered = cosines.sort(dim=1, descending=True, stable=True)
            best[tied] = ordered.values[:, : number + 2]
            where[tied] = ordered.indices[:, : number + 2]
        found[start : start + QUERIES] = _without_self(best[:, :-1], where[:, :-1], asked)
        say_done(len(asked))
    return found


def neighbours(
    vectors: Vectors, words: Iterable[str], number: int, language: str = ENGLISH
) -> dict[str, list[str]]:
    """Give each word's nearest neighbours, the nearest first; none for unknown words.

    A word is looked up as it is, then in lower case. Neighbours that differ from the word or from
    a nearer one in case alone are left out, and so are those of another kind (`kind_of`).
    """
    index = vectors.index
    wanted = list(words)
    rows = [index.get(word, index.get(word.lower(), -1)) for word in wanted]
    known = sorted({row for row in rows if row >= 0})
    table = dict(zip(known, nearest(vectors, known, 2 * number + SPARE), strict=True))
    return {
        word: _distinct(word, (vectors.words[at] for at in table[row]), number, language)
        if row >= 0
        else []
        for word, row in zip(wanted, rows, strict=True)
    }


def _distinct(word: str, nearby: Iterable[str], number: int, language: str) -> list[str]:
    kept: dict[str, str] = {}
    kind = kind_of(word, language)
    for other in nearby:
        folded = other.casefold()
        fits = " " not in other and kind_of(other, language) == kind
        if fits and folded != word.casefold():
            kept.setdefault(folded, other)
    return list(kept.values())[:number]


def _without_self(best: "object", where: "object", asked: "object") -> NDArray[np.int64]:
    values, rows, own = np.asarray(best), np.asarray(where), np.asarray(asked)
    values, rows = values[: len(own)].copy(), rows[: len(own)]
    values[rows == own[:, None]] = -3.0
    order = np.lexsort((rows, -values))
    return np.take_along_axis(rows, order, axis=1)[:, :-1]


def _parse(path: Path) -> tuple[list[str], NDArray[np.float32], int]:
    words: dict[str, None] = {}
    vectors: list[NDArray[np.float32]] = []
    promised = skipped = dimensions = number = 0
    try:
        with _open(path) as file:
            for number, raw in enumerate(iter(lambda: file.readline(LONGEST_LINE + 1), b""), 1):
                if len(raw) > LONGEST_LINE:
                    raise ValueError(f"over {LONGEST_LINE:,} bytes, too long for a vector")
                line = raw.decode().rstrip("\r\n ")
                if number == 1 and HEADER.fullmatch(line):
                    promised, skipped = int(line.split(" ")[0]), 1
                    continue
                dimensions = dimensions or _dimensions(line)
                word, vector = _line(line, dimensions)
                if len(words) == 1 and _dimensions(line) > dimensions:
                    raise ValueError(f"more numbers than the {dimensions} of the line before")
                if word in words:
                    skipped += 1
                    continue
                words[word] = None
                vectors.append(vector)
    except SeveralFiles:
        raise
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: line {number}: not UTF-8 at byte {error.start}; save the file as UTF-8"
        ) from error
    except (EOFError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, RuntimeError) as error:
        raise ValueError(
            f"{path}: not a whole archive of one text file ({error}); fetch or unpack it again"
        ) from error
    except ValueError as error:
        raise ValueError(f"{path}: line {number}: {error}; mend or delete the line") from error
    if promised and number - 1 != promised:
        raise ValueError(
            f"{path}: {number - 1} vectors, the header says {promised}; fetch it again"
        )
    if len(words) < 2:
        raise ValueError(f"{path}: {len(words)} vectors in it; two at least are needed")
    matrix = np.array(vectors, np.float32)
    matrix /= np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12)
    return list(words), matrix, skipped


def _dimensions(line: str) -> int:
    """Count the numbers at the end of the first line; its word may hold spaces, too."""
    parts = line.split(" ")
    count = 0
    for part in reversed(parts[1:]):
        try:
            float(part)
        except ValueError:
            break
        count += 1
    if not count:
        raise ValueError(f"expected a word and its numbers, found {line[:40]!r}")
    return count


def _line(line: str, dimensions: int) -> tuple[str, NDArray[np.float32]]:
    word, *numbers = line.rsplit(" ", dimensions)
    if len(numbers) != dimensions or not word:
        raise ValueError(f"{len(numbers)} numbers after {word[:40]!r}, expected {dimensions}")
    with np.errstate(over="ignore"):  # what overflows is refused below
        vector = np.array(numbers, np.float32)
    if not np.isfinite(vector).all():
        raise ValueError(f"{word!r} has a number that is not finite")
    return word, vector


@contextmanager
def _open(path: Path) -> Iterator[IO[bytes]]:
    if path.suffix == ".gz":
        with gzip.open(path) as file:
            yield file  # type: ignore[misc]
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(".txt")]
            if len(names) != 1:
                found = f"{len(names)} text files in it ({', '.join(names) or 'none'})"
                raise SeveralFiles(f"{path}: {found}; unpack it and pass one of them")
            with archive.open(names[0]) as member:
                yield io.BufferedReader(member, 1 << 20)  # type: ignore[type-var]
    else:
        with path.open("rb") as plain:
            yield plain
