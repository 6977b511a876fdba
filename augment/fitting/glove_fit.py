"""GloVe vectors of some texts: fitted, written, and kept for the next build."""

import gzip
import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from augment.base.command import to_json
from augment.base.commit import write_atomic
from augment.base.progress import bar, say_done
from augment.base.records import default_cache
from augment.base.stored import stored
from augment.fitting.cooccurrence import count_pairs, count_vocabulary, lower_words
from augment.fitting.glove_model import GloveFit, Report, fit_pairs
from augment.variants.words import ENGLISH

ALGORITHM = 1
"""Raised whenever the same texts and settings would give other vectors."""

DEFAULT_FIT = GloveFit()


FITTED = "vectors.txt"


class TooLittleText(ValueError):
    """There is nothing to fit vectors to."""


def fit_vectors(
    texts: Sequence[str],
    config: GloveFit,
    report: Report | None = None,
    language: str = ENGLISH,
) -> tuple[list[str], NDArray[np.float32]]:
    """Fit GloVe to texts.

    Args:
        texts: windows do not reach from one into the next.
        config: the settings.
        report: called after each epoch with its number and mean loss.

    Returns:
        Words, the most frequent first, and their vectors, (words, dimensions).

    Raises:
        TooLittleText: fewer than two words are frequent enough, or no two stand in one text.
    """
    tokenized = []
    with bar("words", "context", len(texts)):
        for text in texts:
            tokenized.append(lower_words(text, language))
            say_done(1)
    vocabulary = count_vocabulary(tokenized, config.min_count)
    if len(vocabulary) < 2:
        distinct = len(set().union(*tokenized))
        raise TooLittleText(
            f"{len(vocabulary)} of {distinct} distinct words occur {config.min_count} times or "
            "more; vectors need two: give more text or lower --min-count"
        )
    pairs = count_pairs(tokenized, vocabulary, config.window)
    if not len(pairs.count):
        raise TooLittleText("no two words stand in one text; vectors need neighbours")
    del tokenized
    with bar("GloVe", "epoch", config.epochs):
        return vocabulary, fit_pairs(pairs, len(vocabulary), config, report)


def write_vectors(
    path: Path, words: Sequence[str], matrix: NDArray[np.float32], decimals: int = 5
) -> None:
    """Write Stanford's text format, compressed when the name ends in .gz; all of it or nothing.

    Args:
        path: the file.
        words: none of them with white space in it.
        matrix: one row for each word.
    """
    lines = (
        f"{word} {' '.join(f'{value:.{decimals}f}' for value in row)}\n"
        for word, row in zip(words, matrix.tolist(), strict=True)
    )

    def write(temporary: Path) -> None:
        with temporary.open("wb") as raw:
            if path.suffix == ".gz":  # without a time and a name: the same bytes each time
                with gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file:
                    file.writelines(line.encode() for line in lines)
            else:
                raw.writelines(line.encode() for line in lines)

    write_atomic(path, write)


def fitted_to(
    texts: Sequence[str], config: GloveFit = DEFAULT_FIT, language: str = ENGLISH
) -> Path:
    """Give a file of vectors fitted to the texts; fitted once, then found by the texts' hash."""
    named = {} if language == ENGLISH else {"language": language}
    setting = {"algorithm": ALGORITHM, **asdict(config), **named}
    digest = hashlib.sha256(to_json(setting).encode())
    for text in texts:
        digest.update(hashlib.sha256(text.encode()).digest())

    def make(folder: Path) -> None:
        try:
            words, matrix = fit_vectors(texts, config, language=language)
        except TooLittleText as error:
            raise ValueError(
                f"{len(texts)} contexts: too little text to fit vectors to; pass --glove embedded, "
                "none, or a file"
            ) from error
        write_vectors(folder / FITTED, words, matrix)

    return stored(default_cache() / f"fitted-{digest.hexdigest()[:16]}", make) / FITTED
