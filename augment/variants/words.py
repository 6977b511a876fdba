"""Words of a text as character spans, which of them may be replaced, and by what kind of word.

Spans are half-open, in Python characters, in order, and never overlap. A language is a code such
as `en` or `zh`. English is read by NLTK's rules, every other language by ICU's.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

from augment.variants.scripts import find_words as find_words_of_script
from augment.variants.scripts import is_stop_word, letters_of

WordRule = Literal["content", "all"]
Span = tuple[int, int]

ENGLISH = "en"
SECOND_HALVES = ("'ye", "'n")  # of "d'ye" and "more'n"
NEGATION = "n't"
ACCENTS = "".join(map(chr, range(0x300, 0x370)))  # combining ones, of decomposed letters

# English function words: articles, pronouns, prepositions, conjunctions, auxiliaries and the
# halves that the tokenizer makes of contractions ("wo" + "n't", "can" + "not", "gon" + "na").
STOP_WORDS = frozenset(
    """
    a an the this that these those such same other another each every either neither both all
    any some no none not nor only own few more most much many less least several enough half
    i me my mine myself we us our ours ourselves you your yours yourself yourselves he him his
    himself she her hers herself it its itself they them their theirs themselves one ones oneself
    who whom whose which what whatever whichever whoever when where why how whenever wherever
    am is are was were be been being have has had having do does did doing done will would shall
    should can could may might must ought need dare used ca wo sha ai gon gonna na wan got ta
    cannot gotta wanna gimme lemme
    and or but if then else because as until while although though unless since so yet whether
    than lest once of at by for with within without about against between among amongst into
    onto through throughout during before after above below over under to from up upon down in
    out on off toward towards across along around behind beside besides beyond despite except
    inside near outside past per regarding till underneath via
    here there now very too just also again further even ever never always often still already
    almost quite rather perhaps maybe however therefore thus hence moreover furthermore
    """.split()
)


def find_words(text: str, language: str = ENGLISH) -> list[Span]:
    """Find the words and punctuation marks of a text.

    Source: NLTK's Treebank-style word tokenizer. Differs: it expects one sentence at a time, so
        in a paragraph it leaves the stop on the last word of a sentence; here a trailing stop is
        never part of a word ("barked." gives "barked" and ".", "U.S." gives "U.S" and ".").
        Halves of letters alone ("gim" + "me"), and "d'ye" and "more'n", stay one word.
    """
    if language != ENGLISH:
        return find_words_of_script(text, language)
    words: list[Span] = []
    for start, end in find_tokens(text):
        if words and words[-1][1] == start and _is_half(text[slice(*words[-1])], text[start:end]):
            words[-1] = (words[-1][0], end)
        else:
            words.append((start, end))
    return words


def _is_half(first: str, second: str) -> bool:
    """Tell whether two words with nothing between them are halves of one."""
    return first.isalpha() and (second.isalpha() or second.lower() in SECOND_HALVES)


def find_tokens(text: str, language: str = ENGLISH) -> list[Span]:
    """Find words as `find_words` does, but with all contractions in halves, as NLTK has them.

    Vectors are fitted to these: "can" and "not" of "cannot" are the words of other places.
    """
    if language != ENGLISH:
        return find_words_of_script(text, language)
    words: list[Span] = []
    for start, end in _tokenizer().span_tokenize(text):
        if end - start > 1 and text[end - 1] == "." and text[start:end].strip("."):
            stop = start + len(text[start:end].rstrip("."))
            words += [(start, stop), (stop, end)]
        else:
            words.append((start, end))
    return words


def replaceable_words(
    text: str, words: Sequence[Span], rule: WordRule, language: str = ENGLISH
) -> list[Span]:
    """Choose the words that a rule lets be replaced; those before "n't" are no words."""
    found = []
    for number, (start, end) in enumerate(words):
        if rule == "all" and number + 1 < len(words) and words[number + 1][0] == end:
            if text[slice(*words[number + 1])].lower() == NEGATION:
                continue
        if may_replace(text[start:end], rule, language):
            found.append((start, end))
    return found


def may_replace(word: str, rule: WordRule, language: str = ENGLISH) -> bool:
    """Tell whether a rule lets this word be replaced.

    `content` is the paper's rule: only letters, and not a stop word. `all` takes every word,
    number and punctuation mark, as Haystack's script did, but no "'s" or "n't".
    Source: TinyBERT (Jiao et al. 2020), data augmentation. Differs: letters of any script.
    """
    if rule == "all":
        return kind_of(word, language) is not None
    if language == ENGLISH:
        return word.isalpha() and word.lower() not in STOP_WORDS
    return letters_of(word) is not None and not is_stop_word(word, language)


def kind_of(word: str, language: str = ENGLISH) -> str | None:
    """Name what may stand in a word's place: words of its kind alone.

    Letters are replaced by letters (of the same script, in other languages than English), words
    with a letter or digit at both ends by such, and marks by marks, so that nothing is joined
    that was apart. None is for what is none of these, such as "'s": it stays.
    """
    if word.lower() == NEGATION:
        return None
    letters = "letters" if language == ENGLISH and word.isalpha() else None
    if language != ENGLISH:
        letters = letters_of(word)
    if letters is not None:
        return letters
    ends = word[:1], word.rstrip(ACCENTS)[-1:]
    if all(end.isalnum() for end in ends):
        return "word"
    return None if any(char.isalnum() for char in word) else "marks"


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    from nltk.tokenize import NLTKWordTokenizer

    return NLTKWordTokenizer()
