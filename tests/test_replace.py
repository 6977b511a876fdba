"""Replacing words: draws, choices, case, and what must never change."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augment.base.paragraphs import span_fault
from augment.variants.replace import choose, draw, make_variants, match_case, replaced_spans
from augment.variants.store import GLOVE, MASKED_LM, Slot
from augment.variants.words import find_words
from tests.small_sets import CONTEXT, SECOND

OPTIONS = ("boat", "Tower", "x", "naïve", "a-very-long-word")


def slots_of(text: str, options: tuple[str, ...] = OPTIONS) -> list[Slot]:
    return [Slot(start, end, options, MASKED_LM) for start, end in find_words(text)]


def test_draws_are_pinned() -> None:
    # Philox's raw output is promised to stay: these numbers must never change.
    assert draw(0, "context", 1, 0, 3).tolist() == [
        15994574025147517792,
        11632849155800604532,
        3917220465928883388,
    ]
    assert draw(7, "context", 20, 2, 1).tolist() == [5732030954205106277]


@pytest.mark.parametrize(
    "other",
    [(1, "context", 1, 0), (0, "contexT", 1, 0), (0, "context", 2, 0), (0, "context", 1, 1)],
)
def test_every_part_of_the_key_counts(other: tuple[int, str, int, int]) -> None:
    assert not np.array_equal(draw(0, "context", 1, 0, 4), draw(*other, 4))


def test_a_longer_draw_begins_like_a_shorter_one() -> None:
    assert draw(3, "c", 1, 0, 100)[:7].tolist() == draw(3, "c", 1, 0, 7).tolist()


@pytest.mark.parametrize(
    ("upper", "lower", "size", "probability", "expected"),
    [
        (0, 0, 4, 0.4, 0),  # the lowest draw takes the first candidate
        (0, 2**32 - 1, 4, 0.4, 3),  # the highest lower half takes the last
        (0, 2**31, 4, 0.4, 2),
        (round(0.4 * 2**32) - 1, 0, 4, 0.4, 0),  # just below p: replaced
        (round(0.4 * 2**32), 0, 4, 0.4, -1),  # at p: kept
        (0, 0, 0, 1.0, -1),  # nothing to choose from
        (2**32 - 1, 0, 1, 1.0, 0),  # p = 1 replaces always
        (0, 0, 1, 0.0, -1),  # p = 0 never
    ],
)
def test_choose(upper: int, lower: int, size: int, probability: float, expected: int) -> None:
    raw = np.array([(upper << 32) | lower], np.uint64)
    assert choose(raw, np.array([size], np.uint64), probability).tolist() == [expected]


def test_choices_are_uniform() -> None:
    raw = draw(0, "uniform", 1, 0, 60_000)
    chosen = choose(raw, np.full(60_000, 15, np.uint64), 0.4)
    counts = np.bincount(chosen[chosen >= 0], minlength=15)
    assert abs((chosen >= 0).mean() - 0.4) < 0.01
    expected = counts.sum() / 15
    assert ((counts - expected) ** 2 / expected).sum() < 36.1  # chi-square, 14 degrees, p = 0.001


@pytest.mark.parametrize(
    ("word", "candidate", "expected"),
    [
        ("ship", "Boat", "boat"),
        ("Ship", "boat", "Boat"),
        ("NATO", "boat", "BOAT"),
        ("I", "boat", "Boat"),  # a single capital is Title
        ("iPhone", "Boat", "boat"),
        ("McDonald", "boat", "Boat"),
        ("McDonald", "bOAT", "BOAT"),
        ("1848", "Boat", "Boat"),  # no case to take over
        ("1990s", "Boat", "boat"),
        ("Élan", "boat", "Boat"),
    ],
)
def test_match_case(word: str, candidate: str, expected: str) -> None:
    assert match_case(word, candidate) == expected


words = st.text(st.sampled_from("ab éß,.'\"-$1\n\u00a0\u200b😀मं"), max_size=60)


@given(words, st.data())
def test_nothing_but_replaced_words_changes(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, max(len(text) - 1, 0)))
    end = data.draw(st.integers(start, len(text)))
    slots = slots_of(text)
    variants = make_variants(text, slots, [(start, end)], copies=4, replace_probability=0.7, seed=1)
    starts = variants.moved([start])[:, 0].tolist()
    for variant, moved in zip(variants.copies, starts, strict=True):
        restored, done = [], 0
        for first, last, slot in replaced_spans(slots, variant):
            assert variant.text[first:last] != text[slot.start : slot.end]
            assert not (slot.start < end and slot.end > start)  # frozen
            restored += [variant.text[done:first], text[slot.start : slot.end]]
            done = last
        assert "".join([*restored, variant.text[done:]]) == text
        if end > start:
            assert span_fault(variant.text, text[start:end], moved) is None


@pytest.mark.parametrize("text", [CONTEXT, SECOND])
def test_probability_0_is_the_identity(text: str) -> None:
    variants = make_variants(text, slots_of(text), [], copies=3, replace_probability=0, seed=0)
    assert [variant.text for variant in variants.copies] == [text] * 3
    assert variants.counts["copies_equal_to_original"] == 3
    assert variants.counts["copies_equal_to_another"] == 0


def test_probability_1_replaces_every_word_that_may_be() -> None:
    variants = make_variants(
        CONTEXT, slots_of(CONTEXT), [(0, 3)], copies=1, replace_probability=1, seed=0
    )
    assert len(variants.copies[0].replaced) == len(find_words(CONTEXT)) - 1


def test_words_that_only_touch_an_answer_may_be_replaced() -> None:
    # "5" is the answer; "cm" begins where it ends, and "about" ends where the space before begins.
    slots = [Slot(*span, ("x",), MASKED_LM) for span in ((0, 5), (5, 6), (6, 7), (7, 9))]
    for frozen, expected in (
        ((6, 7), "xx5x"),
        ((5, 7), "x 5x"),  # the space is frozen with it
        ((7, 9), "xxxcm"),
        ((6, 6), "xxxx"),  # an empty span freezes nothing
    ):
        made = make_variants("about 5cm", slots, [frozen], copies=1, replace_probability=1, seed=0)
        assert made.copies[0].text == expected


def test_copies_differ_where_they_can() -> None:
    text = "one two three"
    variants = make_variants(
        text, slots_of(text, ("x", "y")), [], copies=20, replace_probability=0.5, seed=0
    )
    texts = {variant.text for variant in variants.copies}
    assert len(texts) == 20  # of 26 possible ones
    assert text not in texts
    assert variants.counts["copies_redrawn"] > 0


def test_copies_that_cannot_differ_are_kept_and_counted() -> None:
    variants = make_variants(
        "one", slots_of("one", ("x",)), [], copies=5, replace_probability=0.5, seed=0
    )
    assert len(variants.copies) == 5
    counts = variants.counts
    assert counts["copies_equal_to_original"] + counts["copies_equal_to_another"] == 4


def test_draws_do_not_depend_on_answers_or_number_of_copies() -> None:
    slots = slots_of(CONTEXT)
    free = make_variants(CONTEXT, slots, [], copies=3, replace_probability=0.4, seed=5)
    held = make_variants(CONTEXT, slots, [(4, 7)], copies=9, replace_probability=0.4, seed=5)
    for one, other in zip(free.copies, held.copies, strict=False):
        assert [r for r in one.replaced if slots[r[0]].start != 4] == list(other.replaced)


def test_keep_words_and_counts() -> None:
    variants = make_variants(
        "The Ship and the ship",
        slots_of("The Ship and the ship", ("boat",)),
        [(9, 12)],
        copies=2,
        replace_probability=1,
        seed=0,
        keep_words=frozenset({"ship"}),
    )
    assert variants.copies[0].text == "Boat Ship and boat ship"
    assert variants.counts == {
        "replaceable_words": 5,
        "words_in_answers": 1,
        "words_kept_by_list": 2,
        "words_without_candidates": 0,
        "contexts_without_replaceable_words": 0,
        "replaced_by_masked_lm": 4,
        "replaced_by_glove": 0,
        "copies_equal_to_original": 0,
        "copies_equal_to_another": 1,
        "copies_redrawn": 9,
    }


def test_counts_tell_sources_and_words_without_candidates() -> None:
    slots = [
        Slot(0, 3, ("a",), MASKED_LM),
        Slot(4, 7, ("b",), GLOVE),
        Slot(8, 13, (), 0),
    ]
    made = make_variants("one two three", slots, [], copies=1, replace_probability=1, seed=0)
    assert made.copies[0].text == "a b three"
    assert made.counts["replaced_by_masked_lm"] == made.counts["replaced_by_glove"] == 1
    assert made.counts["words_without_candidates"] == 1
    assert made.counts["contexts_without_replaceable_words"] == 0
    none = make_variants("one two three", slots[2:], [], copies=1, replace_probability=1, seed=0)
    assert none.counts["contexts_without_replaceable_words"] == 1
    assert none.counts["replaceable_words"] == 1


def test_a_word_is_not_its_own_replacement() -> None:
    """In the word's own case "TOWER" is "Tower", so only "Keep" is left to put there."""
    slots = [Slot(0, 5, ("TOWER", "KEEP"), MASKED_LM)]
    made = make_variants("Tower", slots, [], copies=1, replace_probability=1, seed=0)
    assert made.copies[0].text == "Keep"
