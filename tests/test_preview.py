"""Marking what was replaced, and showing it for a text or a file."""

import sys
from pathlib import Path
from typing import Any

import pytest

from augment.base.paragraphs import Answer
from augment.preview import PreviewConfig, _main, preview
from augment.variants.marks import mark
from tests.small_sets import CONTEXT, SECOND


def spans(text: str, *answers: str) -> list[Answer]:
    return [Answer(answer, text.index(answer)) for answer in answers]


@pytest.mark.parametrize(
    ("text", "answers", "replaced", "expected"),
    [
        ("a boat near", [], [], "a boat near"),
        ("a boat near", ["near"], [(2, 6, "ship")], "a [boat|ship] <near>"),
        ("a boat", ["a"], [(2, 6, "ship")], "<a> [boat|ship]"),
        ("aboat", ["a"], [(1, 5, "ship")], "<a>[boat|ship]"),  # an answer ends where a word begins
        ("boats", ["s"], [(0, 4, "ship")], "[boat|ship]<s>"),
        ("abcd", [], [(0, 2, "x"), (2, 4, "y")], "[ab|x][cd|y]"),
        ("abcd", ["ab", "cd"], [], "<ab><cd>"),  # answers that touch
        ("abcd", ["abc", "bcd"], [], "<abcd>"),  # overlap
        ("abcd", ["abcd", "bc"], [], "<abcd>"),  # nest
        ("abcd", ["ab", "ab"], [], "<ab>cd"),
        ("abcd", ["abcd"], [], "<abcd>"),
        ("", [], [], ""),
        ("é😀 b", ["😀"], [(3, 4, "c")], "é<😀> [b|c]"),
    ],
)
def test_marks(text: str, answers: list[str], replaced: list[Any], expected: str) -> None:
    assert mark(text, spans(text, *answers), replaced) == expected


def test_answers_are_underlined_on_a_terminal(
    train: Path, glove_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = mark("ab cd", spans("ab cd", "cd"), [], underline=True)
    assert shown == "ab \033[4mcd\033[0m"
    config = PreviewConfig(train=str(train), mlm="none", glove=str(glove_file))
    assert "\033[4m" not in preview(config)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert preview(config).count("\033[4m") > 3


def test_a_file(train: Path, glove_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = PreviewConfig(
        train=str(train), mlm="none", glove=str(glove_file), paragraphs=2, copies=3
    )
    _main(config)
    blocks = capsys.readouterr().out.rstrip("\n").split("\n\n")
    # the second context has an empty line in it, so each of its blocks is two
    assert len(blocks) == 4 + 4 * 2
    assert blocks[0] == mark(
        CONTEXT, spans(CONTEXT, "1848", "Anne Leroy", "5.00", "The old", "famous book."), ()
    )
    assert [block[:3] for block in blocks[1:4]] == ["1. ", "2. ", "3. "]
    assert all("[" in block and "<Anne Leroy>" in block for block in blocks[1:4])
    assert "\n\n".join(blocks[4:6]) == SECOND.replace("lover", "<lover>")


def test_a_text_is_the_same_every_time_and_keeps_words(glove_file: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept.txt"
    kept.write_text("Lighthouse\n")
    text = "The lighthouse keeper lit a lamp."
    config = PreviewConfig(
        text=text, mlm="none", glove=str(glove_file), keep_words=kept, replace_probability=1
    )
    shown = preview(config)
    assert shown == preview(config)
    assert shown.startswith(f"{text}\n\n1. The lighthouse [")
    assert "|keeper] [" in shown
    assert "|lamp]." in shown


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": None}, "pass either a file or --text"),
        ({"train": "t.json"}, "pass either a file or --text"),
        ({"paragraphs": 0}, "--paragraphs 0: must be 1 or more"),
        ({"copies": -1}, "--copies -1: must be 1 or more"),
        ({"num_candidates": 0}, "--num-candidates 0: must be 1 or more"),
        ({"replace_probability": 1.1}, r"--replace-probability 1\.1: must be 0 to 1"),
        ({"replace_probability": float("nan")}, "--replace-probability nan: must be 0 to 1"),
        ({"glove": "fit"}, "--glove fit: a preview fits nothing; pass a file, embedded or none"),
    ],
)
def test_bad_values(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PreviewConfig(**{"text": "A text.", **change})


def test_a_context_cannot_speak_to_the_terminal() -> None:
    text = "a\x1b[31m red\nnew"
    shown = mark(text, [Answer("new", 11)], [(7, 10, "b\x07d")])
    assert shown == "a␛[31m [red|b␇d]\n<new>"  # marks stand where they would without it
