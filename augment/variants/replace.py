"""Variants of a context: words replaced at random, everything else and every answer kept.

Pure: texts in, texts out. The draws are a function of (seed, context, copy, attempt) alone.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from augment.variants.keep_list import kept_spans
from augment.variants.store import GLOVE, MASKED_LM, Slot
from augment.variants.words import Span

MAX_ATTEMPTS = 10
"""How often a copy is drawn before one that equals the original or another copy is kept."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One copy of a context."""

    text: str
    replaced: tuple[tuple[int, str], ...]
    """(index into the slots, the word put in its place), from left to right."""
    shifts: NDArray[np.int64]
    """(slots + 1,): how far a character moves that has k slots before it."""


@dataclass(frozen=True)
class Variants:
    """All copies of a context, with what happened while they were drawn."""

    copies: tuple[Variant, ...]
    slot_starts: NDArray[np.int64]
    counts: dict[str, int]
    """Words of one context by what may be done to them, and replacements of all its copies."""

    def moved(self, starts: Sequence[int]) -> NDArray[np.int64]:
        """Give where characters outside the slots have moved to, (copies, starts)."""
        before = np.searchsorted(self.slot_starts, np.asarray(starts, np.int64))
        shifts = np.array([variant.shifts for variant in self.copies])
        moved: NDArray[np.int64] = np.asarray(starts) + shifts[:, before]
        return moved


def make_variants(
    context: str,
    slots: Sequence[Slot],
    frozen: Iterable[Span],
    *,
    copies: int,
    replace_probability: float,
    seed: int,
    keep_words: frozenset[str] = frozenset(),
) -> Variants:
    """Make copies of a context with some of its words replaced.

    Args:
        context: the text.
        slots: its replaceable words, in order, with their candidates.
        frozen: character spans, half-open; a word that shares a character with one is kept.
        copies: how many; each differs from the original and the others if `MAX_ATTEMPTS` draws
            suffice for that, else it is kept as it is and counted.
        replace_probability: p_t of the paper, for each word of each copy.
        seed: any whole number of 0 or more.
        keep_words: words and phrases that are never replaced (`keep_list`).

    Source: TinyBERT (Jiao et al. 2020), Algorithm 1. Differs: text is spliced, not re-joined;
        answers are frozen.
    """
    fixed = _frozen(slots, frozen)
    kept = np.array([context[slot.start : slot.end].lower() in keep_words for slot in slots], bool)
    kept |= _frozen(slots, kept_spans(context, keep_words))
    options = [
        () if stays else _cased(context[slot.start : slot.end], slot.options)
        for slot, stays in zip(slots, fixed | kept, strict=True)
    ]
    sizes = np.array([len(words) for words in options], np.uint64)
    seen = {context}
    variants = []
    redrawn = 0
    for copy in range(1, copies + 1):
        for attempt in range(MAX_ATTEMPTS):
            raw = draw(seed, context, copy, attempt, len(slots))
            variant = _splice(context, slots, options, choose(raw, sizes, replace_probability))
            if variant.text not in seen:
                break
            redrawn += attempt + 1 < MAX_ATTEMPTS
        variants.append(variant)
        seen.add(variant.text)
    counts = _count(context, slots, fixed, kept, variants)
    counts["copies_redrawn"] = redrawn
    starts = np.array([slot.start for slot in slots], np.int64)
    return Variants(tuple(variants), starts, counts)


def draw(seed: int, context: str, copy: int, attempt: int, number: int) -> NDArray[np.uint64]:
    """Draw 64 random bits for each word of a copy.

    Philox is keyed by seed and context and counts from (copy, attempt), so that no draw depends
    on another. The raw output is fixed for all versions of NumPy; its distributions are not.
    """
    words = f"twentyfold 1\0{seed}\0".encode() + context.encode()
    key = int.from_bytes(hashlib.blake2b(words, digest_size=16).digest(), "little")
    counter = (copy << 192) | (attempt << 128)
    return np.random.Philox(key=key, counter=counter).random_raw(number)


def choose(
    raw: NDArray[np.uint64], sizes: NDArray[np.uint64], replace_probability: float
) -> NDArray[np.int64]:
    """Turn random bits into choices: for each word a candidate's index, or -1 to keep it.

    The upper 32 bits say whether, the lower 32 bits which one (by multiplication, so the bias
    is below 2**-27 for up to 32 candidates).
    """
    replaced = (raw >> np.uint64(32)) < np.uint64(round(replace_probability * 2**32))
    picked = ((raw & np.uint64(0xFFFFFFFF)) * sizes) >> np.uint64(32)
    return np.where(replaced & (sizes > 0), picked.astype(np.int64), -1)


def match_case(word: str, candidate: str) -> str:
    """Write a candidate in the case pattern of the word it replaces.

    UPPER and lower and Title are taken over; of any other pattern ("iPhone") the first letter's
    case is. A single capital counts as Title.
    """
    if word.islower():
        return candidate.lower()
    if word.isupper() and len(word) > 1:
        return candidate.upper()
    if word.istitle():
        return candidate[:1].upper() + candidate[1:].lower()
    if word[:1].isupper():
        return candidate[:1].upper() + candidate[1:]
    if word[:1].islower():
        return candidate[:1].lower() + candidate[1:]
    return candidate


def replaced_spans(slots: Sequence[Slot], variant: Variant) -> list[tuple[int, int, Slot]]:
    """Give where the replacements stand in a variant, and what stood there."""
    found = []
    for index, word in variant.replaced:
        start = slots[index].start + int(variant.shifts[index])
        found.append((start, start + len(word), slots[index]))
    return found


def _frozen(slots: Sequence[Slot], spans: Iterable[Span]) -> NDArray[np.bool_]:
    starts = np.array([slot.start for slot in slots], np.int64)
    ends = np.array([slot.end for slot in slots], np.int64)
    fixed = np.zeros(len(slots), np.bool_)
    for start, end in set(spans):
        fixed |= (starts < end) & (ends > start)
    return fixed


def _cased(word: str, options: tuple[str, ...]) -> tuple[str, ...]:
    """Match the candidates' case; drop those that become the word itself."""
    if word.islower():
        cased = [option.lower() for option in options]
    else:
        cased = [match_case(word, option) for option in options]
    return tuple(option for option in cased if option != word)


def _splice(
    context: str,
    slots: Sequence[Slot],
    options: Sequence[tuple[str, ...]],
    choices: NDArray[np.int64],
) -> Variant:
    pieces: list[str] = []
    replaced: list[tuple[int, str]] = []
    deltas = np.zeros(len(slots) + 1, np.int64)
    done = 0
    for index in np.flatnonzero(choices >= 0).tolist():
        slot, word = slots[index], options[index][choices[index]]
        pieces += (context[done : slot.start], word)
        replaced.append((index, word))
        deltas[index + 1] = len(word) - (slot.end - slot.start)
        done = slot.end
    pieces.append(context[done:])
    return Variant("".join(pieces), tuple(replaced), deltas.cumsum())


def _count(
    context: str,
    slots: Sequence[Slot],
    fixed: NDArray[np.bool_],
    kept: NDArray[np.bool_],
    variants: Sequence[Variant],
) -> dict[str, int]:
    texts = [variant.text for variant in variants if variant.text != context]
    sources = [slots[index].source for variant in variants for index, _ in variant.replaced]
    return {
        "replaceable_words": len(slots),
        "words_in_answers": int(fixed.sum()),
        "words_kept_by_list": int((kept & ~fixed).sum()),
        "words_without_candidates": sum(not slot.options for slot in slots),
        "contexts_without_replaceable_words": int(not any(s.options for s in slots)),
        "replaced_by_masked_lm": sources.count(MASKED_LM),
        "replaced_by_glove": sources.count(GLOVE),
        "copies_equal_to_original": len(variants) - len(texts),
        "copies_equal_to_another": len(texts) - len(set(texts)),
    }
