"""Which wordpieces are masked together: windows of long contexts, rows of masked places.

Pure arithmetic on wordpiece positions; no model, no text but the context itself.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from math import ceil
from typing import Literal

from augment.variants.words import Span, WordRule

MaskingRule = Literal["one", "spread"]

MASKED_SHARE = {"all": 0.15, "content": 0.07}
"""Share of a window's words that `spread` masks in one row. 15 % is the rate that masked LMs are
pre-trained with (Devlin et al. 2019, 3.1); content words are masked more thinly because they
carry the sentence: at 7 % the candidates agree with `one` as well as all words do at 15 %."""

SENTENCE_ENDS = frozenset(".!?…")  # what a sentence's last wordpiece ends with, before a blank
CLOSED_ENDS = frozenset("。！？।॥؟۔።។၊။")  # of scripts where no blank need follow


@dataclass(frozen=True, slots=True)
class Row:
    """One sequence for the masked LM: wordpieces `[start, stop)` of a context, some masked."""

    start: int
    stop: int
    masked: tuple[int, ...]
    """Positions in the context's wordpieces."""
    words: tuple[int, ...]
    """The index of the word at each masked position."""


def one_piece_words(words: Sequence[Span], pieces: Sequence[Span]) -> list[int]:
    """Find the wordpiece that is exactly a word.

    Args:
        words: character spans.
        pieces: character spans of wordpieces, in order.

    Returns:
        For each word the index of its wordpiece, or -1 if it is several, or part of one.
    """
    starts = [start for start, _ in pieces]
    found = []
    for start, end in words:
        piece = bisect_left(starts, start)
        alone = (
            piece < len(pieces)
            and pieces[piece] == (start, end)
            and (piece + 1 == len(pieces) or pieces[piece + 1][0] >= end)
            and (piece == 0 or pieces[piece - 1][1] <= start)
        )
        found.append(piece if alone else -1)
    return found


def windows(context: str, pieces: Sequence[Span], max_pieces: int) -> list[Span]:
    """Cut a context's wordpieces into windows of at most `max_pieces`, at sentence ends.

    A window ends after the last sentence that fits, or, if a sentence is longer than three
    quarters of a window, after the last whole word, or, if a word is longer than that, anywhere.
    Together the windows hold every wordpiece exactly once.
    """
    cut: list[Span] = []
    start = 0
    while len(pieces) - start > max_pieces:
        stop = start + max_pieces
        earliest = start + max_pieces // 4
        places = range(stop, earliest, -1)
        gaps = [at for at in places if pieces[at - 1][1] < pieces[at][0]]
        ends = [at for at in gaps if context[pieces[at - 1][1] - 1] in SENTENCE_ENDS]
        last = (
            at for at in range(stop, earliest, -1) if context[pieces[at - 1][1] - 1] in CLOSED_ENDS
        )
        stop = max([*ends[:1], *islice(last, 1)], default=gaps[0] if gaps else stop)
        cut.append((start, stop))
        start = stop
    cut.append((start, len(pieces)))
    return cut


def plan_rows(
    places: Sequence[int],
    cuts: Sequence[Span],
    num_words: int,
    masking: MaskingRule,
    rule: WordRule,
) -> list[Row]:
    """Decide which words are masked in which row; every word with a place once.

    Args:
        places: for each replaceable word its wordpiece, or -1 (`one_piece_words`).
        cuts: the windows.
        num_words: of the whole context, replaceable or not.
        masking: `one` masks one word a row (TinyBERT's way); `spread` masks words far apart
            together, about `MASKED_SHARE` of a window's words.
        rule: which words are replaceable, for the share.
    """
    rows = []
    num_pieces = cuts[-1][1]
    for start, stop in cuts:
        inside = [(place, word) for word, place in enumerate(places) if start <= place < stop]
        window_words = num_words * (stop - start) / max(num_pieces, 1)
        together = 1 if masking == "one" else max(1, round(MASKED_SHARE[rule] * window_words))
        num_rows = ceil(len(inside) / together)
        for row in range(num_rows):
            chosen = inside[row::num_rows]
            masked, words = zip(*chosen, strict=True)
            rows.append(Row(start, stop, masked, words))
    return rows
