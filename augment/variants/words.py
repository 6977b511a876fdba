"""Words of a text as character spans, and which of them may be replaced.

Spans are half-open, in Python characters, in order, and never overlap.
"""

from functools import lru_cache
from typing import Any, Literal

WordRule = Literal["content", "all"]
Span = tuple[int, int]

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
    and or but if then else because as until while although though unless since so yet whether
    than lest once of at by for with within without about against between among amongst into
    onto through throughout during before after above below over under to from up upon down in
    out on off toward towards across along around behind beside besides beyond despite except
    inside near outside past per regarding till underneath via
    here there now very too just also again further even ever never always often still already
    almost quite rather perhaps maybe however therefore thus hence moreover furthermore
    """.split()
)


def find_words(text: str) -> list[Span]:
    """Find the words and punctuation marks of a text.

    Source: NLTK's Treebank-style word tokenizer. Differs: it expects one sentence at a time, so
        in a paragraph it leaves the stop on the last word of a sentence; here a trailing stop is
        never part of a word ("barked." gives "barked" and ".", "U.S." gives "U.S" and ".").
    """
    words: list[Span] = []
    for start, end in _tokenizer().span_tokenize(text):
        if end - start > 1 and text[end - 1] == "." and text[start:end].strip("."):
            stop = start + len(text[start:end].rstrip("."))
            words += [(start, stop), (stop, end)]
        else:
            words.append((start, end))
    return words


def may_replace(word: str, rule: WordRule) -> bool:
    """Tell whether a rule lets this word be replaced.

    `content` is the paper's rule: only letters, and not a stop word. `all` takes every word,
    number and punctuation mark, as Haystack's script did.
    Source: TinyBERT (Jiao et al. 2020), data augmentation. Differs: letters of any script.
    """
    return rule == "all" or (word.isalpha() and word.lower() not in STOP_WORDS)


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    from nltk.tokenize import NLTKWordTokenizer

    return NLTKWordTokenizer()
