"""Words and phrases that are never replaced: where they stand in a context."""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from augment.variants.scripts import UNSPACED_SCRIPTS, letters_of
from augment.variants.words import Span


def keep_list(entries: Iterable[str]) -> frozenset[str]:
    """Write words and phrases the one way they are compared in: lower case, single blanks.

    Raises:
        ValueError: a single text, whose characters would be taken for words.
    """
    if isinstance(entries, str):
        raise ValueError(f"keep_words {entries!r}: pass a list of words and phrases, not a text")
    found = (" ".join(entry.lower().split()) for entry in entries)
    return frozenset(entry for entry in found if entry)


def kept_spans(context: str, entries: frozenset[str]) -> list[Span]:
    """Find the entries that are more than one plain word; upper and lower case count as equal."""
    pattern = _pattern(entries)
    return [match.span() for match in pattern.finditer(context)] if pattern else []


@lru_cache(maxsize=4)
def _pattern(entries: frozenset[str]) -> re.Pattern[str] | None:
    """Match phrases, the longest first; single words are compared as wholes, which is faster."""
    phrases = sorted((e for e in entries if not (e.isascii() and e.isalnum())), key=len)
    if not phrases:
        return None
    return re.compile("|".join(map(_whole, reversed(phrases))), re.IGNORECASE)


def _whole(phrase: str) -> str:
    """Match a phrase that does not begin or end within a word, where blanks part words."""
    before, after = (
        "" if letters_of(unicodedata.normalize("NFC", end)) in UNSPACED_SCRIPTS else side
        for end, side in ((phrase[0], r"(?<!\w)"), (phrase[-1], r"(?!\w)"))
    )
    return before + r"\s+".join(map(re.escape, phrase.split())) + after
