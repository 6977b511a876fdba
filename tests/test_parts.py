"""Parts of candidates: found by key, opened where needed, the first of two kept."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augment.base.command import UsageError
from augment.base.models import check_accelerator, pick_accelerator
from augment.variants import parts as parts_module
from augment.variants.masked_lm import MaskedLMSettings
from augment.variants.part_index import EMPTY
from augment.variants.parts import OpenParts, Parts, text_key
from augment.variants.store import Stored, compute_part, context_setting, neighbour_part

RULE = MaskedLMSettings(
    num_candidates=2,
    masking="spread",
    words="all",
    batch_tokens=64,
    dtype="float32",
    device_class="cpu",
)
TEXTS = ["a bee", "the bird", "a fly by night"]


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    return Parts(tmp_path, context_setting(None, RULE))


def rows(*texts: str) -> pa.Table:
    return compute_part(texts, None, RULE)


def moved(table: pa.Table) -> pa.Table:
    """Let the first word of a text of two words begin elsewhere."""
    at = table.schema.get_field_index("start")
    return table.set_column(at, "start", pa.array([[1, 2]], pa.list_(pa.int32())))


def spoil(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)


halves = st.integers(0, 3).map(lambda n: n.to_bytes(8, "big"))  # many that begin alike
keys = st.tuples(halves, halves).map(b"".join)


@given(st.lists(st.lists(keys, min_size=1, unique=True), max_size=4), st.lists(keys))
def test_an_index_finds_what_a_dictionary_finds(
    held: Sequence[Sequence[bytes]], asked: Sequence[bytes]
) -> None:
    index, expected, several = EMPTY, {}, 0
    for part, of_part in enumerate(held):
        several += sum(key in expected for key in of_part)
        expected = {key: (part, row) for row, key in enumerate(of_part)} | expected
        index, twice = index.extended({str(part): of_part})
        assert all(one < other == str(part) for one, other in twice)
        several -= sum(len(mine) for mine, _ in twice.values())
    found = zip(*(column.tolist() for column in index.find(asked)), strict=True)
    assert list(found) == [expected.get(key, (-1, -1)) for key in asked]
    assert several == 0


def test_only_the_parts_of_the_texts_are_opened(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text in TEXTS:
        parts.write(rows(text), "here")
    stored = Stored(parts, None)
    opened: list[str] = []
    read = OpenParts.read
    monkeypatch.setattr(
        OpenParts, "read", lambda self, name: (opened.append(name), read(self, name))[1]
    )
    first = stored.candidates(TEXTS[:2])
    assert [slot.end for slot in first.slots("the bird")] == [3, 8]
    assert len(opened) == 2
    stored.candidates(TEXTS[1:])  # one is open still
    assert len(set(opened)) == len(opened) == 3
    stored.candidates(TEXTS[:1])  # was closed
    assert len(opened) == 4
    with pytest.raises(RuntimeError, match="1 of 2 texts have no candidates here"):
        stored.candidates(["a bee", "never seen"])


def test_what_others_add_is_found(parts: Parts) -> None:
    stored = Stored(parts, None)
    parts.write(rows("a bee"), "here")
    assert stored.candidates(["a bee"]).num_words("a bee") == 2


def test_the_first_writer_wins(parts: Parts) -> None:
    part = rows("a bee")
    parts.write(part, "processor A")
    [path] = parts.folder.glob("??/*.part")
    before = path.read_bytes()
    parts.write(part, "processor B")
    assert path.read_bytes() == before
    with pytest.raises(ValueError, match=r"than processor B .* made by processor A; delete one"):
        parts.write(moved(part), "processor B")
    assert path.read_bytes() == before
    spoil(path)
    parts.write(moved(part), "processor B")
    assert Stored(parts, None).candidates(["a bee"]).slots("a bee")[0].start == 1


def test_parts_that_overlap_agree(parts: Parts) -> None:
    for texts in (TEXTS[:2], TEXTS[1:], TEXTS):
        parts.write(rows(*texts), "processor A")
    assert Stored(parts, None).candidates(TEXTS).num_words("a fly by night") == 4
    parts.write(moved(rows("a bee")), "processor B")
    with pytest.raises(ValueError, match=r"\.part: other candidates than processor [AB] .*\.part"):
        Stored(parts, None)


def test_parts_of_an_earlier_version_are_read(parts: Parts) -> None:
    parts.folder.mkdir()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, rows(*TEXTS).schema) as writer:
        writer.write_table(rows(*TEXTS))
    content = sink.getvalue().to_pybytes()
    path = parts.folder / f"{hashlib.sha256(content).hexdigest()[:32]}.arrow"
    path.write_bytes(content)
    assert not Stored(parts, None).lacks(TEXTS).any()
    spoil(path)
    assert Stored(parts, None).lacks(TEXTS).all()
    assert [path.name] == [p.stem for p in parts.folder.glob("*.damaged")]


def test_a_damaged_part_is_missing_and_a_damaged_index_is_not_missed(
    parts: Parts, capsys: pytest.CaptureFixture[str]
) -> None:
    for text in TEXTS:
        parts.write(rows(text), "here")
    Stored(parts, None)
    spoil(parts.folder / "index.part")
    stored = Stored(parts, None)
    assert not stored.lacks(TEXTS).any()
    spoil(next(parts.folder.glob("??/*.part")))
    with pytest.raises(RuntimeError, match="damaged; run the same command again"):
        stored.candidates(TEXTS)
    assert Stored(parts, None).lacks(TEXTS).sum() == 1
    assert capsys.readouterr().err.count("damaged (its bytes") == 2


@pytest.mark.parametrize("swapped", ["part", "index.part"])
def test_another_part_or_index_in_its_place_is_not_believed(
    parts: Parts, swapped: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for text in TEXTS[:2]:
        parts.write(rows(text), "a CPU")
    assert not Stored(parts, None).lacks(TEXTS[:2]).any()
    one, other = sorted(parts.folder.glob("??/*.part"))
    index = parts.folder / "index.part"
    content = one.read_bytes()
    one.write_bytes((index if swapped == "part" else other).read_bytes())
    if swapped == "index.part":
        index.write_bytes(content)
    assert Stored(parts, None).lacks(TEXTS[:2]).sum() == 1
    assert "or of its name" in capsys.readouterr().err


def test_neighbours_are_found_by_word(parts: Parts, tmp_path: Path) -> None:
    parts.write(rows(*TEXTS), "here")
    near = Parts(tmp_path, {"kind": "glove"})
    words = sorted(Stored(parts, near).candidates(TEXTS, alone=True).words_for_glove(TEXTS))
    assert words == ["a", "bee", "bird", "by", "fly", "night", "the"]
    near.write(neighbour_part({word: [word * 2, "x"] for word in words[:4]}), "here")
    stored = Stored(parts, near)
    assert stored.unknown_words(reversed(words)) == words[4:]
    near.write(neighbour_part(dict.fromkeys(words[4:], ())), "here")
    slots = stored.candidates(TEXTS).slots("a fly by night")
    assert [slot.options for slot in slots] == [("aa", "x"), (), ("byby", "x"), ()]


def test_without_hard_links(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    parts.write(rows("a bee"), "A")
    parts.write(rows("a bee"), "B")
    with pytest.raises(ValueError, match="made by A"):
        parts.write(moved(rows("a bee")), "B")
    assert len(list(parts.folder.rglob("*.tmp"))) == 0


def test_the_index_is_small_and_sorted(parts: Parts) -> None:
    parts.write(rows(*TEXTS), "here")
    table = parts_module.unpack(OpenParts(parts).parts.folder / "index.part")
    assert table is not None
    assert table.nbytes == 24 * len(TEXTS)
    high = table["high"].to_numpy()
    assert np.array_equal(high, np.sort(high))
    assert int.from_bytes(text_key("a bee")[:8], "big") in high.tolist()


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[str]], None]:
    def have(names: Sequence[str]) -> None:
        monkeypatch.setattr("torch.cuda.device_count", lambda: len(names))
        monkeypatch.setattr(
            "torch.cuda.get_device_name", lambda device: names[int(str(device)[-1])]
        )

    return have


def test_one_kind_of_gpu(gpus: Callable[[Sequence[str]], None]) -> None:
    assert pick_accelerator(None, "cpu") is None
    with pytest.raises(UsageError, match="H100: the masked LM runs on a CPU"):
        pick_accelerator("H100", "cpu")
    gpus(["H100", "H100"])
    assert pick_accelerator(None, "cuda") == "H100"
    gpus(["V100", "H100"])
    with pytest.raises(UsageError, match=r"several kinds here \(H100, V100\).*--accelerator"):
        pick_accelerator(None, "cuda")
    assert pick_accelerator("V100", "cuda") == "V100"
    with pytest.raises(UsageError, match="A100: no GPU of that name here; there are: H100, V100"):
        pick_accelerator("A100", "cuda")
    check_accelerator("H100", "cuda:1")
    check_accelerator(None, "cpu")
    with pytest.raises(RuntimeError, match="cuda:0: is V100, the candidates are H100's"):
        check_accelerator("H100", "cuda:0")


def test_candidates_of_another_gpu_lie_elsewhere() -> None:
    cpu = context_setting("sha", RULE)
    assert "accelerator" not in cpu
    gpu = replace(RULE, device_class="cuda", accelerator="H100")
    settings = [context_setting("sha", replace(gpu, accelerator=name)) for name in ("H100", "V100")]
    places = {Parts(Path("x"), setting).folder for setting in (cpu, *settings)}
    assert len(places) == 3
