"""Words, letters and stop words of other languages than English: ICU's breaks, by script."""

import sys
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

UNSPACED = frozenset("zh ja th km lo my yue wuu bo".split())
"""Languages that are written without blanks between words."""
UNSPACED_SCRIPTS = frozenset("CJK THAI LAO KHMER MYANMAR TIBETAN".split())
JOINERS = "\u200c\u200d"  # inside words of Persian and of Indic scripts
EAST_ASIAN = {"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "IDEOGRAPHIC", "BOPOMOFO"}
"""What the names of characters begin with that one Chinese or Japanese word may mix."""


def find_words(text: str, language: str) -> list[tuple[int, int]]:
    """Find the words and punctuation marks of a text as ICU breaks them, without the blanks."""
    from icu4py.breakers import WordBreaker

    spans = _in_characters(text, WordBreaker(text, language).segments())
    return [(start, end) for start, end in spans if not text[start:end].isspace()]


def _in_characters(text: str, spans: Iterator[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Count in characters what ICU counts in UTF-16 units: an emoji is two."""
    if text.isascii() or max(text) <= "\uffff":
        yield from spans
        return
    place = [0]
    for index, char in enumerate(text):
        place += [index + 1] * (2 if char > "\uffff" else 1)
    for start, end in spans:
        yield place[start], place[end]


@lru_cache(maxsize=1 << 16)
def letters_of(word: str) -> str | None:
    """Name the script of a word of letters; None if it has other characters.

    Accents and vowel signs belong to the letter before them.
    """
    scripts = set()
    for place, char in enumerate(word):
        category = unicodedata.category(char)
        if category[0] == "L":
            scripts.add(_script(char))
        elif not (place and (category[0] == "M" or char in JOINERS)):
            return None
    return "+".join(sorted(scripts)) or None


def _script(char: str) -> str:
    name = unicodedata.name(char, "UNKNOWN").removeprefix("FULLWIDTH ").removeprefix("HALFWIDTH ")
    first = name.split(" ")[0]
    return "CJK" if first in EAST_ASIAN else first


def is_stop_word(word: str, language: str) -> bool:
    """Tell whether a word is a function word, however its accents are written."""
    return unicodedata.normalize("NFC", word.lower()) in stop_words(language)


@lru_cache(maxsize=4)
def stop_words(language: str) -> frozenset[str]:
    """Give a language's function words, composed and in lower case; none if no list is known.

    Source: stopwords-iso, a collection of published lists.
    """
    import stopwordsiso

    code = language.split("-")[0].lower()
    known: set[str] = stopwordsiso.stopwords(code) if stopwordsiso.has_lang(code) else set()
    return frozenset(unicodedata.normalize("NFC", word.lower()) for word in known)


def check_language(language: str) -> None:
    """See that words of a language can be found; say on stderr if its stop words are not known.

    Raises:
        ValueError: the packages for other languages than English are not installed.
    """
    try:
        import icu4py.breakers  # noqa: F401

        known = stop_words(language)
    except ImportError as error:
        raise ValueError(
            f"--language {language}: words of other languages than English need more packages: "
            "in the project's folder, pip install -e '.[languages]' -c constraints.txt"
        ) from error
    if not known:
        print(
            f"--language {language}: no list of stop words is known; function words are replaced "
            "like all others",
            file=sys.stderr,
        )
