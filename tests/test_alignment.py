"""augment.browsing.alignment: what was replaced, from the texts alone."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from augment.browsing.alignment import replacements, share_replaced
from augment.variants.replace import make_variants, replaced_spans
from augment.variants.store import MASKED_LM, Slot
from augment.variants.words import find_words, may_replace

LETTERS = st.text(st.sampled_from("abcéß中文кот"), min_size=1, max_size=4)
WORDS = st.one_of(
    LETTERS, st.sampled_from(["1848", "U.S.", "don't", "gimme", "well-known", "A.", "’s"])
)
GAPS = st.sampled_from([" ", ", ", "\n\n", ". ", " (", "—", "-", "/", "  ", '"'])
TEXTS = st.lists(st.tuples(WORDS, GAPS), max_size=12).map(
    lambda pairs: "".join(word + gap for word, gap in pairs)
)


def undone(copy, found):
    """Put what stood there back."""
    for one in reversed(found):
        copy = copy[: one.start] + one.old + copy[one.end :]
    return copy


@given(TEXTS, st.lists(LETTERS, min_size=1, max_size=4), st.integers(0, 99))
def test_finds_what_was_replaced(text, options, seed):
    words = [span for span in find_words(text) if may_replace(text[slice(*span)], "content")]
    slots = [Slot(*span, tuple(options), MASKED_LM) for span in words]
    variants = make_variants(text, slots, (), copies=3, replace_probability=0.5, seed=seed)
    for variant in variants.copies:
        found = replacements(text, variant.text, words)
        expected = [
            (start, end, slot.start, text[slot.start : slot.end])
            for start, end, slot in replaced_spans(slots, variant)
        ]
        assert found == expected
        assert undone(variant.text, found) == text


@given(st.lists(LETTERS, min_size=1, max_size=6), st.data())
def test_words_without_anything_between_them_can_be_put_back(words, data):
    """Which of them was replaced is not always told; what is given leads back to the original."""
    kept = [data.draw(st.one_of(st.just(word), LETTERS)) for word in words]
    ends = [len("".join(words[:number])) for number in range(len(words) + 1)]
    slots = list(pairwise(ends))
    original, copy = "".join(words), "".join(kept)
    found = replacements(original, copy, slots)
    assert undone(copy, found) == original
    assert len(found) <= sum(one != other for one, other in zip(words, kept, strict=True))


@pytest.mark.parametrize(
    ("original", "copy", "slots", "found"),
    [
        ("a cat sat", "a dog sat", [(2, 5)], [(2, 5, 2, "cat")]),
        ("gimme it", "homeme it", [(0, 3)], [(0, 4, 0, "gim")]),  # "me" is no slot: it stays
        ("gimme it", "gimime it", [(0, 3), (3, 5)], [(0, 6, 0, "gimme")]),  # gimi|me or gim|ime
        ("abcd", "abXd", [(0, 1), (1, 2), (2, 3), (3, 4)], [(2, 3, 2, "c")]),  # the fewest
        ("İstanbul", "i̇zmir", [(0, 8)], [(0, 6, 0, "İstanbul")]),  # lower case of İ has a mark
        ("cat.", "cat.", [(0, 3)], []),
        ("", "", [], []),
    ],
)
def test_by_hand(original, copy, slots, found):
    assert replacements(original, copy, slots) == found


@pytest.mark.parametrize(
    "copy", ["a dog sat.", "the cat sat", "a big dog sat", "a  sat", "a 5 sat", ""]
)
def test_refuses_what_is_no_copy(copy):
    with pytest.raises(ValueError, match="not the original's text with words replaced"):
        replacements("a cat sat", copy, [(2, 5)])


def test_a_long_text_without_spaces_takes_no_time():
    original = "一二三四五六七八九十" * 60
    copy = original.replace("三", "山").replace("七", "水")
    slots = [(at, at + 1) for at in range(len(original))]
    assert len(replacements(original, copy, slots)) == 120


def test_share_replaced():
    assert share_replaced("the cat sat on.", "the dog sat by.", "x") == 0.5
    assert share_replaced("a b  c d", "a x c\ny", "x") == 0.5
    assert share_replaced("", "", "x") == 0
    with pytest.raises(ValueError, match="x#01: 3 words, its original has 2"):
        share_replaced("a b", "a b c", "x#01")
