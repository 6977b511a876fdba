"""Show a variant as text: replaced words and answers marked."""

from collections.abc import Sequence

from augment.base.paragraphs import Answer
from augment.base.terminal import printable

OPENING, CLOSING = "<", ">"

UNDERLINE, PLAIN = "\033[4m", "\033[0m"


def mark(
    text: str,
    answers: Sequence[Answer],
    replaced: Sequence[tuple[int, int, str]],
    *,
    underline: bool = False,
) -> str:
    """Mark answers and replaced words in a text, its control characters made harmless.

    Args:
        text: a copy.
        answers: in it.
        replaced: (start, end, what stood there) of its words.
        underline: the answers, for a terminal; else they stand in angle brackets.
    """
    text = printable(text)
    begin, end = (UNDERLINE, PLAIN) if underline else (OPENING, CLOSING)
    inserts = [(start, 3, "[") for start, _, _ in replaced]  # at one place: ends first
    inserts += [(stop, 0, f"|{printable(old)}]") for _, stop, old in replaced]
    for first, last in merged([(answer.start, answer.end) for answer in answers]):
        inserts += [(first, 2, begin), (last, 1, end)]
    pieces, done = [], 0
    for at, _, mark in sorted(inserts):
        pieces += [text[done:at], mark]
        done = at
    return "".join([*pieces, text[done:]])


def merged(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join spans that overlap."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if joined and start < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined
