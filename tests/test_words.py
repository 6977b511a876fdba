"""Finding words: spans that hold for any text, and which words may be replaced."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from augment.variants.words import STOP_WORDS, find_words, kind_of, may_replace, replaceable_words

AWKWARD = st.sampled_from(
    [
        *"aéß.'\"`$-1(%,;:?!…“”’‘«»–—\n\t ",
        *("''", "``", "--", "...", "can't", "cannot", "gonna", "'tis", "d'ye", "U.S.", "5.00"),
        *("\u00a0", "\u200b", "\u2028", "\x1c", "\ufeff", "\0"),
        *("e\u0301", "😀", "👩\u200d🚀", "שלום", "مرحبا", "漢字。", "한국어"),
        *("[MASK]", "[UNK]", "##ing", "<s>"),
    ]
)


def words(text: str) -> list[str]:
    return [text[start:end] for start, end in find_words(text)]


@given(st.lists(AWKWARD, max_size=30).map("".join) | st.text(max_size=60))
@example("''\"``'")
def test_spans_are_ordered_disjoint_and_hold_all_but_white_space(text: str) -> None:
    done = 0
    for start, end in find_words(text):
        assert done <= start < end <= len(text)
        assert not text[done:start].strip()
        assert not any(character.isspace() for character in text[start:end])
        done = end
    assert not text[done:].strip()


@given(st.lists(AWKWARD, max_size=30).map("".join))
def test_a_stop_is_never_the_end_of_a_word(text: str) -> None:
    assert not [word for word in words(text) if word.endswith(".") and word.strip(".")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The dog barked. It ran.", "The|dog|barked|.|It|ran|."),
        ("He barked.\nIt ran.\n\nEnd.", "He|barked|.|It|ran|.|End|."),
        ("barked.) (barked.)", "barked|.|)|(|barked|.|)"),
        ("“barked.” 'barked.' \"barked.\"", "“|barked|.|”|'|barked|.|'|\"|barked|.|\""),
        ("barked.[12] barked.—He", "barked|.|[|12|]|barked|.|—|He"),
        ("in the U.S. army", "in|the|U.S|.|army"),
        ("Mr. Smith et al.", "Mr|.|Smith|et|al|."),
        ("wait... what .. .", "wait|...|what|..|."),
        ("5.00. $5.00", "5.00|.|$|5.00"),
        ("don't we'll Anne's it's", "do|n't|we|'ll|Anne|'s|it|'s"),
        ("cannot gonna 'tis", "cannot|gonna|'|tis"),
        ("Gimme d'ye more'n lemme.", "Gimme|d'ye|more'n|lemme|."),
        ("Wait -- it's ''quoted''", "Wait|--|it|'s|''|quoted|''"),
        ("well-known café\u0301s", "well-known|café\u0301s"),
        ("one\u00a0two\u2003three\tfour", "one|two|three|four"),
        ("zero\u200bwidth \ufeffmark", "zero\u200bwidth|\ufeffmark"),
        ("hi😀 👩\u200d🚀 go", "hi😀|👩\u200d🚀|go"),
        ("שלום עולם. مرحبا، يا", "שלום|עולם|.|مرحبا،|يا"),
        ("漢字です。 한국어", "漢字です。|한국어"),
        ("the [MASK] and [UNK] ##ing", "the|[|MASK|]|and|[|UNK|]|#|#|ing"),
        ("", ""),
        (" \n\u00a0", ""),
    ],
)
def test_words(text: str, expected: str) -> None:
    assert "|".join(words(text)) == expected


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("The dog barked. " * 65_536, 4 * 65_536),  # one megabyte
        ("a" * 50_000, 1),
        ("." * 50_000, 1),
        ("a." * 25_000, 2),
        ("'" * 50_000, 25_000),
        ("-" * 50_000, 25_000),
        ("(" * 50_000, 50_000),
        ("\n" * 50_000, 0),
    ],
)
def test_sizes(text: str, number: int) -> None:
    assert len(find_words(text)) == number


@pytest.mark.parametrize(
    ("word", "content"),
    [
        ("lighthouse", True),
        ("Calais", True),
        ("漢字", True),
        ("שלום", True),
        ("café", True),
        ("cafe\u0301", False),  # the accent is a mark, no letter
        ("the", False),
        ("The", False),
        ("NOT", False),
        ("n't", False),
        ("ca", False),  # of "can't"
        ("1848", False),
        ("1990s", False),
        ("well-known", False),
        ("U.S", False),
        ("zero\u200bwidth", False),
        ("😀", False),
        (".", False),
    ],
)
def test_which_words_may_be_replaced(word: str, content: bool) -> None:
    assert may_replace(word, "content") == content
    assert may_replace(word, "all") == (word != "n't")


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("house", "letters"),
        ("1848", "word"),
        ("well-known", "word"),
        ("cafe\u0301", "word"),
        (",", "marks"),
        ("😀", "marks"),
        ("'s", None),
        ("N'T", None),
        (".5", None),
        ("5%", None),
    ],
)
def test_kinds(word: str, kind: str | None) -> None:
    assert kind_of(word) == kind


def test_what_stands_before_a_half_is_none_either() -> None:
    text = "We don't see Anne's dog, cannot we?"
    found = replaceable_words(text, find_words(text), "all")
    assert " ".join(text[slice(*span)] for span in found) == "We see Anne dog , cannot we ?"


def test_stop_words_are_what_the_tokenizer_makes() -> None:
    for word in STOP_WORDS:
        assert word == word.lower()
        assert "".join(words(word)) == word
    halves = words("can't won't shan't ain't cannot gonna gotta wanna")
    assert not [half for half in halves if may_replace(half, "content")]
