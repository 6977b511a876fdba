"""Words and phrases that are kept: where they stand, and that nothing of them is replaced."""

from pathlib import Path

import pytest

from augment.building.sources import read_keep_words
from augment.variants.keep_list import keep_list, kept_spans
from augment.variants.replace import make_variants
from augment.variants.store import MASKED_LM, Slot
from augment.variants.words import find_words


@pytest.mark.parametrize(
    ("text", "entry", "kept"),
    [
        ("In New York, new york and New\u00a0 York.", "New  York", 3),
        ("Renew Yorkshire", "new york", 0),
        ("café crème, cafés", "café", 1),
        ("渔夫出售旧木船。", "旧木船", 1),
        ("a (b.c) a-b.cd", "b.c", 1),
        ("the tower", "tower", 0),  # one plain word: compared as a whole
    ],
)
def test_where_phrases_stand(text: str, entry: str, kept: int) -> None:
    spans = kept_spans(text, keep_list([entry]))
    assert len(spans) == kept
    assert {" ".join(text[s:e].lower().split()) for s, e in spans} <= keep_list([entry])


def test_no_word_of_a_phrase_is_replaced() -> None:
    text = "The old New York harbour and the new pier"
    slots = [Slot(start, end, ("x",), MASKED_LM) for start, end in find_words(text)]
    entries = keep_list(["New York", "PIER"])
    found = make_variants(
        text, slots, [], copies=1, replace_probability=1, seed=0, keep_words=entries
    )
    assert found.copies[0].text == "X x New York x x x x pier"
    assert found.counts["words_kept_by_list"] == 3


def test_a_text_is_no_list() -> None:
    with pytest.raises(ValueError, match="'paris': pass a list"):
        keep_list("paris")


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "keep.txt"
    path.write_text("New  York\n\n Pier \n", encoding="utf-8-sig")
    assert read_keep_words(path) == {"new york", "pier"}
