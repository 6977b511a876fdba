"""Find again which words of a copy were put in place of which: from the two texts alone."""

import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from operator import ne
from typing import NamedTuple

from augment.variants.words import Span


class Replacement(NamedTuple):
    """A word of a copy, `copy[start:end]`, and the word of the original that it replaced."""

    start: int
    end: int
    old_start: int
    old: str


def replacements(original: str, copy: str, slots: Sequence[Span]) -> list[Replacement]:
    """Find the replaced words of a copy, in order.

    Of all ways to read the copy as its original with words replaced, those with the fewest
    replacements are right. That is one way wherever something that stays parts the words, as in
    every language that is written with spaces. Where there are several, the stretch in which they
    differ is given as one replacement.

    Args:
        original: the text.
        copy: the text with some words replaced.
        slots: words of the original that may have been replaced, in order.

    Raises:
        ValueError: the copy cannot have been made from the original by replacing these words.
    """
    ends = [0, *(at for slot in slots for at in slot), len(original)]
    pieces = [original[start:end] for start, end in pairwise(ends)]
    forward = _fewest(pieces, copy)
    backward = _fewest([piece[::-1] for piece in reversed(pieces)], copy[::-1])[::-1]
    least = forward[-1].get(len(copy))
    if least is None:
        raise ValueError("not the original's text with words replaced")
    found = []
    before, start = 0, 0
    for number, ways in enumerate(forward[1:], 1):
        rest = backward[number]
        sums = ((at, cost + rest.get(len(copy) - at, least + 1)) for at, cost in ways.items())
        places = [at for at, total in sums if total == least]
        if len(places) > 1:
            continue
        old, end = "".join(pieces[before:number]), places[0]
        if copy[start:end] != old:
            found.append(Replacement(start, end, ends[before], old))
        before, start = number, end
    return found


def _fewest(pieces: Sequence[str], copy: str) -> list[dict[int, int]]:
    """Count the replacements at least needed to reach each place of a copy.

    Args:
        pieces: of the original: what stays at even numbers, words at odd ones.
        copy: the text with some words replaced.

    Returns:
        After each number of pieces: the places in the copy where the next may begin, and the
        least number of replacements until there.
    """
    ways = [{0: 0}]
    for number, piece in enumerate(pieces):
        here = ways[-1]
        there = _replaced(copy, here, piece.isalpha()) if number % 2 else {}
        for start, cost in here.items():
            if copy.startswith(piece, start):
                end = start + len(piece)
                there[end] = min(cost, there.get(end, cost))
        ways.append(there)
    return ways


def _replaced(copy: str, here: dict[int, int], letters: bool) -> dict[int, int]:
    """Go on from every place by one replacement of any length, in letters or up to a space."""
    there = {}
    reach = cheapest = 0
    for start, following in pairwise([*sorted(here), len(copy)]):
        if start >= reach:
            reach, cheapest = _reach(copy, start, letters), here[start]
        cheapest = min(cheapest, here[start])
        for end in range(start + 1, min(following, reach) + 1):
            there[end] = cheapest + 1
    return there


def _reach(copy: str, start: int, letters: bool) -> int:
    """Give how far a replacement that begins here can go: to what is no letter, or to a space."""
    end = start
    while end < len(copy) and (_is_letter(copy[end]) if letters else not copy[end].isspace()):
        end += 1
    return end


def _is_letter(character: str) -> bool:
    return character.isalpha() or unicodedata.category(character)[0] == "M"


def share_replaced(original: str, copy: str, name: str) -> float:
    """Share of the words, parted by white space, that are not the original's, 0 to 1.

    Raises:
        ValueError: another number of words: the copy was not made by replacing words.
    """
    before, after = original.split(), copy.split()
    if len(before) != len(after):
        raise ValueError(
            f"{name}: {len(after)} words, its original has {len(before)}; this is no copy "
            "made by replacing words"
        )
    return sum(map(ne, before, after)) / len(before) if before else 0.0
