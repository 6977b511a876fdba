"""Which wordpieces are masked together: every word once, windows that leave nothing out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from augment.variants.masking import MASKED_SHARE, one_piece_words, plan_rows, windows
from augment.variants.words import Span


def spread_out(*pieces: str) -> tuple[str, list[Span]]:
    """Join wordpieces into a text; a piece that begins with ## is glued to the one before."""
    text, spans = "", []
    for piece in pieces:
        if text and not piece.startswith("##"):
            text += " "
        start = len(text)
        text += piece.removeprefix("##")
        spans.append((start, len(text)))
    return text, spans


@st.composite
def texts(draw: st.DrawFn) -> tuple[str, list[Span]]:
    kinds = st.sampled_from(["word", "##piece", "##.", "##!", "##。", "."])
    return spread_out(*draw(st.lists(kinds, max_size=120)))


@given(texts(), st.integers(1, 40))
def test_windows_hold_every_piece_once_and_fit(text: tuple[str, list[Span]], limit: int) -> None:
    context, pieces = text
    cuts = windows(context, pieces, limit)
    assert cuts[0][0] == 0
    assert cuts[-1][1] == len(pieces)
    assert [stop for _, stop in cuts[:-1]] == [start for start, _ in cuts[1:]]
    assert all(0 < stop - start <= limit for start, stop in cuts) or not pieces
    for start, stop in cuts[:-1]:  # filled to a quarter at least, unless it is the last
        assert stop - start > limit // 4


@pytest.mark.parametrize(
    ("pieces", "limit", "stops"),
    [
        (["a", "b", "c"], 3, [3]),  # fits
        ([], 3, [0]),
        (["a", "b", "##.", "c", "d", "e"], 5, [3, 6]),  # after the last sentence that fits
        (["a", "##.", "b", "##!", "c", "d"], 5, [4, 6]),
        (["a", "##.", "b", "c", "d", "e", "f", "g", "h"], 8, [8, 9]),  # too early: a word's end
        (["a", "b", "c", "##x", "##y", "d"], 4, [2, 6]),  # between words
        (["a", "##b", "##c", "##d", "##e"], 3, [3, 5]),  # in a word longer than a window
        (["a", "##.", "##b", "c", "d", "e"], 5, [5, 6]),  # the stop of "a.b" ends no sentence
        (["漢", "##字", "##。", "##か", "##な"], 4, [3, 5]),  # no blanks, but a sentence ends
        (["漢", "##字", "##か", "##か", "##な"], 4, [4, 5]),  # neither
        (["a", "##。", "b", "c", "d"], 4, [2, 5]),
    ],
)
def test_where_windows_end(pieces: list[str], limit: int, stops: list[int]) -> None:
    assert [stop for _, stop in windows(*spread_out(*pieces), limit)] == stops


@given(
    st.lists(st.booleans(), max_size=150),
    st.sampled_from(["one", "spread"]),
    st.sampled_from(["content", "all"]),
    st.integers(1, 60),
)
def test_every_word_with_a_place_is_masked_once(
    has_place: list[bool], masking: str, rule: str, limit: int
) -> None:
    _, pieces = spread_out(*["w"] * len(has_place))
    cuts = windows("w " * len(has_place), pieces, limit)
    places = [index if alone else -1 for index, alone in enumerate(has_place)]
    rows = plan_rows(places, cuts, len(places), masking, rule)  # type: ignore[arg-type]
    masked = [pair for row in rows for pair in zip(row.masked, row.words, strict=True)]
    assert sorted(masked) == [(at, at) for at in places if at >= 0]
    for row in rows:
        assert (row.start, row.stop) in cuts
        assert all(row.start <= place < row.stop for place in row.masked)
        assert row.masked
        share = 0 if masking == "one" else MASKED_SHARE[rule]  # type: ignore[index]
        assert len(row.masked) <= max(1, round(share * (row.stop - row.start)))


@pytest.mark.parametrize(
    ("masking", "rule", "expected"),
    [
        ("one", "all", [(n,) for n in range(20)]),
        # 15 % of 20 words are 3; 7 rows, seven words apart
        ("spread", "all", [(n, n + 7, n + 14) for n in range(6)] + [(6, 13)]),
        ("spread", "content", [(n,) for n in range(20)]),  # 7 % of 20 are 1.4
    ],
)
def test_rows(masking: str, rule: str, expected: list[tuple[int, ...]]) -> None:
    rows = plan_rows(list(range(20)), [(0, 20)], 20, masking, rule)  # type: ignore[arg-type]
    assert [row.masked for row in rows] == expected


def test_the_share_is_of_all_words_of_the_window() -> None:
    # 100 words, 10 of which may be replaced, in two windows of 50 words: 7 % are 4 (3.5, even)
    places = [place if place % 10 == 0 else -1 for place in range(100)]
    rows = plan_rows(places, [(0, 50), (50, 100)], 100, "spread", "content")
    assert [row.masked for row in rows] == [(0, 20, 40), (10, 30), (50, 70, 90), (60, 80)]


@pytest.mark.parametrize(
    ("words", "pieces", "expected"),
    [
        ([(0, 3), (4, 7)], [(0, 3), (4, 7)], [0, 1]),
        ([(0, 5)], [(0, 3), (3, 5)], [-1]),  # several pieces
        ([(0, 3), (3, 5)], [(0, 5)], [-1, -1]),  # two words in a piece ("n't" of RoBERTa's)
        ([(0, 1)], [(0, 1), (0, 1)], [-1]),  # an emoji of two byte-level pieces
        ([(0, 1), (1, 4)], [(0, 1), (0, 1), (1, 4)], [-1, 2]),
        ([(2, 4)], [(0, 3), (3, 4)], [-1]),
        ([(2, 4)], [(0, 3), (2, 4)], [-1]),  # pieces that overlap
        ([(0, 3)], [], [-1]),
        ([(5, 8)], [(0, 3)], [-1]),  # pieces that end before the text does
    ],
)
def test_one_piece_words(words: list[Span], pieces: list[Span], expected: list[int]) -> None:
    assert one_piece_words(words, pieces) == expected
