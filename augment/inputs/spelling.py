"""Find an answer in its context where its place is wrong, or its spelling differs invisibly."""

import unicodedata
from functools import lru_cache

from augment.base.paragraphs import Answer


def relocate(context: str, answer: Answer) -> Answer | None:
    """Move an answer to the occurrence of its text nearest to where it was said to be.

    Where its text stands nowhere letter for letter, what is the same but for composed accents,
    the kind of a blank, and blanks at the ends is taken, as the context spells it.
    """
    for text in dict.fromkeys((answer.text, answer.text.strip())):
        if starts := occurrences(context, text):
            return Answer(text, min(starts, key=lambda start: abs(start - answer.start)))
    found = []
    whole, places = _plain(context)
    wanted, _ = _plain(answer.text.strip())
    for at in occurrences(whole, wanted):
        start, end = places[at], places[at + len(wanted) - 1] + 1
        if _plain(context[start:end])[0] == wanted and _ends_a_letter(context, end):
            found.append(Answer(context[start:end], start))
    return min(found, key=lambda one: abs(one.start - answer.start), default=None)


def occurrences(context: str, text: str) -> list[int]:
    """Give where a text stands in a context, overlapping ones too."""
    starts = []
    start = context.find(text) if text else -1
    while start >= 0:
        starts.append(start)
        start = context.find(text, start + 1)
    return starts


def _ends_a_letter(context: str, end: int) -> bool:
    """Tell whether the next character is not an accent of the last one."""
    return end == len(context) or not unicodedata.combining(context[end])


@lru_cache(maxsize=16)  # a context's questions come one after the other
def _plain(text: str) -> tuple[str, list[int]]:
    """Decompose accents and make every blank a space; tell where each character came from."""
    parts: list[tuple[str, int]] = []
    marks: list[tuple[str, int]] = []  # in a row: their order is that of their classes
    for place, char in enumerate(text):
        for part in unicodedata.normalize("NFD", " " if char.isspace() else char):
            if unicodedata.combining(part):
                marks.append((part, place))
                continue
            parts += sorted(marks, key=lambda mark: unicodedata.combining(mark[0]))
            marks = []
            parts.append((part, place))
    parts += sorted(marks, key=lambda mark: unicodedata.combining(mark[0]))
    return "".join(part for part, _ in parts), [place for _, place in parts]
