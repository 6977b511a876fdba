"""Which tokens of a masked LM's vocabulary stand for whole words."""

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment.variants.scripts import UNSPACED
from augment.variants.words import ENGLISH, kind_of

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
    """The tokens of each group, one group after the other; ascending in each."""
    groups: dict[tuple[bool, str], slice]
    """(is tight, kind of word) to columns of `ids`."""


def read_vocabulary(tokenizer: Any, language: str = ENGLISH) -> Vocabulary:
    """Sort a vocabulary into whole words and the rest.

    Left out: pieces inside a word, special and unused tokens, tokens that are not text, and (for
    marked vocabularies) tokens without the mark whose marked twin is missing, which are endings,
    but for languages that are written without blanks.
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
        if tight and language not in UNSPACED and marks[0] + token not in known:
            continue
        texts[token_id], is_tight[token_id] = text, tight
    parts: dict[tuple[bool, str], list[int]] = defaultdict(list)
    for token_id, text in enumerate(texts):
        kind = kind_of(text, language) if text else None
        if kind is not None:
            parts[bool(is_tight[token_id]), kind].append(token_id)
    groups: dict[tuple[bool, str], slice] = {}
    ids: list[int] = []
    last = {"word": 1, "marks": 2}  # kinds of letters first
    for key in sorted(parts, key=lambda key: (key[0], last.get(key[1], 0), key[1])):
        groups[key] = slice(len(ids), len(ids) + len(parts[key]))
        ids += parts[key]
    return Vocabulary(texts, is_tight, np.array(ids, np.int64), groups)
