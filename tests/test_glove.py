"""Word vectors: reading what people have, refusing what is broken, exact neighbours."""

import gzip
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from augment.variants import glove
from augment.variants.glove import Vectors, load_vectors, nearest, neighbours

LINES = "the 3 4\n. . . 0 2\ncafé -1 0\n"


@pytest.fixture
def write(tmp_path: Path) -> Callable[[bytes | str], Path]:
    def write(content: bytes | str, name: str = "vectors.txt") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def zipped(path: Path, *names: str, content: str = LINES) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    ("content", "skipped"),
    [
        (LINES, 0),
        (LINES.rstrip("\n"), 0),
        (LINES.replace("\n", "\r\n"), 0),
        (LINES.replace("\n", " \n"), 0),  # word2vec's writer ends lines so
        ("3 2\n" + LINES, 1),
        (LINES + "the 1 1\n", 1),
        ("4 2\r\n" + LINES + "the 1 1\n", 2),
    ],
)
def test_text_files(write: Any, tmp_path: Path, content: str, skipped: int) -> None:
    found = load_vectors(write(content), tmp_path / "cache")
    assert found.words == ["the", ". . .", "café"]
    # unit length: (3, 4) / 5, (0, 2) / 2, (-1, 0) / 1
    assert np.array_equal(found.matrix, np.array([[0.6, 0.8], [0, 1], [-1, 0]], np.float32))
    assert found.skipped_lines == skipped


@pytest.mark.parametrize("word", ["a\0b", "a\rb", "a\u2028b", "a\u00a0b", "3", "nan"])
def test_odd_words_survive_the_cache(write: Any, tmp_path: Path, word: str) -> None:
    path = write(f"{LINES}{word} 1 1\nlast 0 1\n")
    for _ in range(2):
        found = load_vectors(path, tmp_path / "cache")
        assert found.words == ["the", ". . .", "café", word, "last"]
        assert len(found.matrix) == 5


def test_archives(write: Any, tmp_path: Path) -> None:
    plain = load_vectors(write(LINES), tmp_path / "cache")
    for path in [
        write(gzip.compress(LINES.encode()), "vectors.txt.gz"),
        zipped(tmp_path / "vectors.zip", "readme.md", "vectors.txt"),
    ]:
        found = load_vectors(path, tmp_path / "cache")
        assert found.words == plain.words
        assert np.array_equal(found.matrix, plain.matrix)
        assert found.sha256 != plain.sha256


def test_a_line_has_a_limit(write: Any, tmp_path: Path) -> None:
    """A small archive may hold a line that is larger than the memory."""
    path = write(gzip.compress(b"the 1 2\n" + bytes(1 << 26)), "vectors.txt.gz")
    tracemalloc.start()
    with pytest.raises(ValueError, match="line 2: over 1,048,576 bytes"):
        load_vectors(path, tmp_path / "cache")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 24


CUT = gzip.compress(LINES.encode() * 99, mtime=0)  # a test of one name in every process
FLIPPED = CUT[:20] + bytes([CUT[20] ^ 255]) + CUT[21:]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "the 1 2\nof 1\n", "line 2: 1 numbers after 'of', expected 2; mend or delete"),
        ("a.txt", "the 1 2\n. . 1\n", "line 2: could not convert string to float: '.'"),
        ("a.txt", "the 1 2\nof 1 nan\n", "line 2: 'of' has a number that is not finite"),
        ("a.txt", "the 1 2\nof 1 1e99\n", "line 2: 'of' has a number that is not finite"),
        ("a.txt", "the 1 2\nof 1 -inf\n", "line 2: 'of' has a number that is not finite"),
        ("a.txt", "the 1 2\n\nof 1 2\n", "line 2: 0 numbers after ''"),
        ("a.txt", "the 1 2\n 1 2\n", "line 2: 2 numbers after ''"),
        ("a.txt", "the 1 2\nof  1 2\nto\t1 2\n", "line 3: 1 numbers after"),
        ("a.txt", "the 1 2\ncaf\xe9 1 2\n".encode("latin-1"), "line 2: not UTF-8 at byte 3; save"),
        ("a.txt", "the of and\n", "line 1: expected a word and its numbers, found 'the of and'"),
        ("a.txt", LINES.encode("utf-16"), "line 1: not UTF-8"),
        ("a.txt", "", "0 vectors in it"),
        ("a.txt", "the 1 2\n", "1 vectors in it; two at least"),
        ("a.txt", "4 2\n" + LINES, "3 vectors, the header says 4; fetch it again"),
        ("a.gz", CUT[:-20], "not a whole archive.*end-of-stream"),
        ("a.gz", FLIPPED, "not a whole archive"),
        ("a.gz", LINES, "not a whole archive.*Not a gzipped file"),
        ("a.zip", LINES, "not a whole archive.*not a zip file"),
    ],
)
def test_broken_files(
    write: Any, tmp_path: Path, name: str, content: bytes | str, message: str
) -> None:
    path = write(content, name)
    with pytest.raises(ValueError, match=rf"{name}: {message}"):
        load_vectors(path, tmp_path / "cache")
    assert not any((tmp_path / "cache").rglob("*"))


@pytest.mark.parametrize(("names", "number"), [(["a.txt", "b.txt"], 2), (["a.bin"], 0)])
def test_archives_with_other_than_one_text(tmp_path: Path, names: list[str], number: int) -> None:
    path = zipped(tmp_path / "several.zip", *names)
    said = r"a\.txt, b\.txt" if number else "none"
    with pytest.raises(
        ValueError, match=rf"several\.zip: {number} text files in it \({said}\); unpack"
    ):
        load_vectors(path, tmp_path / "cache")


def test_a_cut_zip(tmp_path: Path) -> None:
    path = zipped(tmp_path / "cut.zip", "a.txt", content=LINES * 99)
    content = bytearray(path.read_bytes())
    content[60] ^= 255  # inside the packed text; the directory at the end is whole
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"cut\.zip: not a whole archive"):
        load_vectors(path, tmp_path / "cache")


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.txt: no such file of vectors"):
        load_vectors(tmp_path / "gone.txt")


def test_the_cache_is_used_and_goes_by_content(
    write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWENTYFOLD_CACHE", str(tmp_path / "cache"))
    path = write(LINES)
    first = load_vectors(path)
    (tmp_path / "cache" / f"glove-{first.sha256[:16]}" / "vocabulary.txt").unlink()  # killed here
    assert load_vectors(path).words == first.words
    monkeypatch.setattr(glove, "_parse", lambda path: pytest.fail("read again"))
    again = load_vectors(path.rename(tmp_path / "renamed.txt"))
    assert again.words == first.words
    assert np.array_equal(again.matrix, first.matrix)
    monkeypatch.undo()
    assert load_vectors(write("a 1 2\nb 3 4\n"), tmp_path / "cache").words == ["a", "b"]


def vectors(matrix: NDArray[Any], words: list[str] | None = None) -> Vectors:
    unit = matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12)
    names = words or [f"word{row}" for row in range(len(matrix))]
    return Vectors(names, unit.astype(np.float32), "", 0)


def brute_force(table: Vectors, rows: list[int], number: int) -> NDArray[np.int64]:
    """Sort all cosines, the lower row first among equals, the word itself left out."""
    found = []
    for row in rows:
        cosines = table.matrix.astype(np.float64) @ table.matrix[row]
        cosines[row] = -9
        found.append(np.lexsort((np.arange(len(cosines)), -cosines))[:number])
    return np.array(found)


@pytest.mark.parametrize("number", [1, 15, 38])
def test_nearest_is_exact(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(glove, "BLOCK", 128)  # several blocks, the last one cut
    monkeypatch.setattr(glove, "QUERIES", 16)
    table = vectors(np.random.default_rng(0).normal(size=(700, 24)))
    rows = [*range(0, 700, 17), 699]
    assert nearest(table, rows, number).tolist() == brute_force(table, rows, number).tolist()


def test_more_neighbours_than_words() -> None:
    table = vectors(np.array([[1, 0], [3, 1], [0, 1], [1, 1]]))
    assert nearest(table, [0, 2], 15).tolist() == [[1, 3, 2], [3, 1, 0]]  # all others
    assert nearest(table, [], 15).shape == (0, 3)


def test_equal_cosines_go_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glove, "BLOCK", 64)
    # quarters: every product is exact, and most vectors occur many times
    signs = np.random.default_rng(1).choice([-0.5, 0.5], size=(300, 4))
    signs[::50] = 0  # a vector of zeros is as near to all
    table = vectors(signs)
    table.matrix[:] = signs
    rows = list(range(300))
    assert nearest(table, rows, 9).tolist() == brute_force(table, rows, 9).tolist()


def test_neighbours_do_not_depend_on_company() -> None:
    table = vectors(np.random.default_rng(2).normal(size=(500, 50)))
    together = neighbours(table, table.words, 10)
    for word in table.words[::25]:
        assert neighbours(table, [word], 10)[word] == together[word]


# nearness falls along the list: the angle to the first grows
ORDERED = ["ship", "Ship", "SHIPS", "ships", "it's", "b 52", "1912", "boat", "café", "raft"]


def ordered() -> Vectors:
    angles = np.linspace(0, 1, len(ORDERED))
    return vectors(np.stack([np.cos(angles), np.sin(angles)], 1), ORDERED)


@pytest.mark.parametrize(
    ("word", "number", "expected"),
    [
        ("ship", 15, ["SHIPS", "boat", "café", "raft"]),  # letters for letters, each once
        ("ship", 2, ["SHIPS", "boat"]),
        ("SHIP", 2, ["SHIPS", "boat"]),  # looked up in lower case
        ("Ship", 1, ["SHIPS"]),  # looked up as it is
        ("it's", 3, ["1912"]),  # others than letters for others
        ("1912", 2, ["it's"]),
        ("unknown", 3, []),
    ],
)
def test_what_is_filtered_out(word: str, number: int, expected: list[str]) -> None:
    assert neighbours(ordered(), [word], number) == {word: expected}


def test_a_word_asked_for_twice() -> None:
    assert neighbours(ordered(), ["raft", "raft"], 1) == {"raft": ["café"]}
    assert neighbours(ordered(), [], 5) == {}


def test_real_vectors(shared: Path, tmp_path: Path) -> None:
    path = shared / "data/glove/glove.6B.50d.first-2446-words.txt"
    table = load_vectors(path, tmp_path / "cache")
    assert table.matrix.shape == (2446, 50)
    assert "million" in neighbours(table, ["billion"], 5)["billion"]
    rows = list(range(0, 2446, 100))
    assert nearest(table, rows, 15).tolist() == brute_force(table, rows, 15).tolist()


def test_a_short_first_line_does_not_set_the_dimensions(write: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match="line 2: more numbers than the 1 of the line before"):
        load_vectors(write("the 1\nof 1 2\nto 1 2\n"))
