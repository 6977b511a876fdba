"""Which tokens of a masked LM's vocabulary stand for whole words."""

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

UNUSED = re.compile(r"\[unused\d+\]|madeupword\d+")


@dataclass(frozen=True)
class Vocabulary:
    """Token ids that may stand for a whole word, ordered so that each group is a slice.

    `spaced` tokens begin a word after white space (all whole words of a WordPiece vocabulary);
    `tight` tokens are the same words where none precedes (RoBERTa's tokens without the mark).
    """

    texts: list[str]
    """By token id; empty where the token is no whole word."""
    is_tight: NDArray[np.bool_]
    """By token id."""
    ids: NDArray[np.int64]
    """Spaced letters, spaced others, tight letters, tight others; ascending in each group."""
    groups: dict[tuple[bool, bool], slice]
    """(is tight, letters alone) to columns of `ids`; not letters alone means letters too."""


def read_vocabulary(tokenizer: Any) -> Vocabulary:
    """Sort a vocabulary into whole words and the rest.

    Left out: pieces inside a word, special and unused tokens, tokens that are not text, and (for
    marked vocabularies) tokens without the mark whose marked twin is missing, which are endings.
    """
    found = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    tokens: list[str] = [token or "" for token in found]  # ids may have gaps
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    marks = [
        mark for mark in ("Ġ", "▁") if sum(t.startswith(mark) for t in tokens) > len(tokens) / 9
    ]
    texts = [""] * len(tokens)
    is_tight = np.zeros(len(tokens), np.bool_)
    known = set(tokens)
    for token_id, token in enumerate(tokens):
        if token_id in special or UNUSED.fullmatch(token) or (not marks and token.startswith("##")):
            continue
        text = tokenizer.convert_tokens_to_string([token]).strip() if marks else token
        tight = bool(marks) and not token.startswith(marks[0])
        if not text or "\N{REPLACEMENT CHARACTER}" in text or len(text.split()) != 1:
            continue
        if tight and marks[0] + token not in known:
            continue
        texts[token_id], is_tight[token_id] = text, tight
    parts: dict[tuple[bool, bool], list[int]] = defaultdict(list)
    for token_id, text in enumerate(texts):
        if text:
            parts[bool(is_tight[token_id]), text.isalpha()].append(token_id)
    groups: dict[tuple[bool, bool], slice] = {}
    ids: list[int] = []
    for tight in (False, True):
        begin, end = len(ids), len(ids) + len(parts[tight, True])
        ids += parts[tight, True] + parts[tight, False]
        groups[tight, True] = slice(begin, end)
        groups[tight, False] = slice(begin, len(ids))
    return Vocabulary(texts, is_tight, np.array(ids, np.int64), groups)
