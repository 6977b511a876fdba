"""GloVe vectors of some texts: fitted, written, and kept for the next build."""

import gzip
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from augment.base.command import UsageError, default_cache, to_json
from augment.base.commit import write_atomic
from augment.base.progress import bar
from augment.base.stored import stored
from augment.fitting.cooccurrence import TokenizedTexts, count_pairs, count_vocabulary
from augment.fitting.glove_model import GloveFit, Report, fit_pairs
from augment.variants.words import ENGLISH

ALGORITHM = 1
"""Raised whenever the same texts and settings would give other vectors."""

MOST_CHARACTERS = 500_000_000
"""Of the texts together: some 680,000 contexts of SQuAD's length."""

SPOOLED = 45
"""Bytes that wait on the disk for each character of the texts; 43 on SQuAD's dev set."""

DEFAULT_FIT = GloveFit()

FITTED = "vectors.txt"


class TooLittleText(ValueError):
    """There is nothing to fit vectors to."""


def fit_vectors(
    texts: Iterable[str],
    config: GloveFit,
    report: Report | None = None,
    language: str = ENGLISH,
) -> tuple[list[str], NDArray[np.float32]]:
    """Fit GloVe to texts.

    Args:
        texts: gone through twice; windows do not reach from one into the next.
        config: the settings.
        report: called after each epoch with its number and mean loss.

    Returns:
        Words, the most frequent first, and their vectors, (words, dimensions).

    Raises:
        TooLittleText: fewer than two words are frequent enough, or no two stand in one text.
        UsageError: more than MOST_CHARACTERS.
    """
    with bar("words", "context", _count(texts)):
        tokenized = TokenizedTexts(texts, language)
    vocabulary = count_vocabulary(tokenized, config.min_count)
    if len(vocabulary) < 2:
        raise TooLittleText(
            f"{len(vocabulary)} of {len(tokenized.words)} distinct words occur {config.min_count} "
            "times or more; vectors need two: give more text or lower --min-count"
        )
    pairs = count_pairs(tokenized, vocabulary, config.window)
    if not pairs.num_pairs:
        raise TooLittleText("no two words stand in one text; vectors need neighbours")
    del tokenized
    with bar("GloVe", "epoch", config.epochs):
        return vocabulary, fit_pairs(pairs, len(vocabulary), config, report)


def _count(texts: Iterable[str]) -> int:
    """Count texts.

    Raises:
        UsageError: more than MOST_CHARACTERS.
    """
    number = characters = 0
    for text in texts:
        number += 1
        characters += len(text)
    if characters > MOST_CHARACTERS:
        raise UsageError(
            f"{number:,} contexts of {characters:,} characters: vectors are fitted to "
            f"{MOST_CHARACTERS:,} at most; fit them to a sample with `python -m augment.fit_glove "
            f"TRAIN VECTORS --sample {number * MOST_CHARACTERS // characters}`, and build with "
            "--glove VECTORS"
        )
    return number


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
    texts: Iterable[str], config: GloveFit = DEFAULT_FIT, language: str = ENGLISH
) -> Path:
    """Give a file of vectors fitted to the texts; fitted once, then found by the texts' hash.

    Args:
        texts: gone through several times.
        config: the settings.
        language: of the texts.
    """
    named = {} if language == ENGLISH else {"language": language}
    setting = {"algorithm": ALGORITHM, **asdict(config), **named}
    digest = hashlib.sha256(to_json(setting).encode())
    number = characters = 0
    for text in texts:
        number += 1
        characters += len(text)
        digest.update(hashlib.sha256(text.encode()).digest())

    def make(folder: Path) -> None:
        try:
            words, matrix = fit_vectors(texts, config, language=language)
        except TooLittleText as error:
            raise ValueError(
                f"{number} contexts: too little text to fit vectors to; pass --glove embedded, "
                "none, or a file"
            ) from error
        write_vectors(folder / FITTED, words, matrix)

    folder = default_cache() / f"fitted-{digest.hexdigest()[:16]}"
    return stored(folder, make, SPOOLED * characters) / FITTED
