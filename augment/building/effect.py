"""Whether a build changes its texts: seen before the first shard, and when all are made."""

import sys
from collections import Counter

from augment.base.set_records import Manifest, Plan
from augment.building.blocks import AllContexts
from augment.variants.store import Stored
from augment.variants.words import ENGLISH

SAMPLE = 1000
"""Contexts that are looked at, spread over the set."""
AT_ONCE = 32  # whose candidates are open together
FEW_CANDIDATES = 0.025
"""Share of words with candidates below which less than 1 % is replaced, at the default chance."""
SOME_CANDIDATES = 0.125  # below it a line says so: under 5 % replaced
KNOWN_WORDS = 0.03
"""Share of the replaceable words that a masked LM must know; English ones know over 40 % of
English, and under 2 % of Russian, Thai, Hindi or Arabic."""
MANY_EQUAL, SOME_EQUAL = 0.5, 0.1  # of the copies, to their original
RARE = 0.1
"""A chance of replacing below this asks for copies that hardly differ."""
ALLOW = "or pass --allow-unchanged"


def check_candidates(stored: Stored, texts: AllContexts, plan: Plan, allowed: bool) -> None:
    """See that there is something to replace words by.

    Raises:
        ValueError: a masked LM that does not know the text, or hardly a word with candidates,
            with the likely reason.
    """
    if plan.replace_probability < RARE or allowed:
        return
    counts: Counter[str] = Counter()
    number = min(SAMPLE, len(texts))
    places = {at * len(texts) // number for at in range(number)}
    sample = [text for place, text in enumerate(texts) if place in places]
    for at in range(0, number, AT_ONCE):
        some = sample[at : at + AT_ONCE]
        store = stored.candidates(some)
        for text in some:
            counts.update(store.sources(text))
    known = counts["masked_lm"] / max(counts["replaceable"], 1)
    share = (counts["masked_lm"] + counts["glove"]) / max(counts["words"], 1)
    language = plan.language or ENGLISH
    foreign = language == ENGLISH and counts["other_letters"] > counts["letters"] / 2
    reason = "see --words, --mlm and --glove"
    if foreign:
        reason = "most letters are not English ones: pass --language"
    elif plan.masked_lm and known < KNOWN_WORDS and counts["replaceable"]:
        reason = (
            f"{plan.masked_lm.name} knows {known:.1%} of the replaceable words, so it was "
            "made for other text, or its tokenizer is another's: pass --mlm of the text's "
            "language, such as FacebookAI/xlm-roberta-base, or --mlm none"
        )
        if language != ENGLISH:
            raise ValueError(f"{plan.input.name}: {reason}; {ALLOW}")
    said = f"{plan.input.name}: {share:.1%} of the words have candidates: {reason}"
    if share < FEW_CANDIDATES:
        raise ValueError(f"{said}; {ALLOW}")
    if share < SOME_CANDIDATES:
        print(f"warning: {said}", file=sys.stderr)


def check_copies(manifest: Manifest, allowed: bool) -> None:
    """See that copies differ from their originals.

    Raises:
        ValueError: more than half of them do not.
    """
    plan = manifest.plan
    if plan.replace_probability < RARE or allowed:
        return
    share = effect(manifest)["copies_equal"]
    said = f"{plan.input.name}: {share:.1%} of the copies are equal to their original"
    if share > MANY_EQUAL:
        raise ValueError(
            f"{said}: too few words have candidates; see --language, --words, --mlm and --glove; "
            f"{ALLOW}"
        )
    if share > SOME_EQUAL:
        print(f"warning: {said}", file=sys.stderr)


def effect(manifest: Manifest) -> dict[str, float]:
    """Give the share of words replaced and of copies equal to their original, 0 to 1."""
    counts, copies = manifest.counts, manifest.plan.copies_per_example
    replaced = counts["replaced_by_masked_lm"] + counts["replaced_by_glove"]
    equal = counts["copies_equal_to_original"]
    return {
        "words_replaced": replaced / max(counts["words"] * copies, 1),
        "copies_equal": equal / max(manifest.input_counts["paragraphs"] * copies, 1),
    }
