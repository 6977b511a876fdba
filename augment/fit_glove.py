"""Fit GloVe vectors to a corpus: the contexts of a SQuAD file, a shard folder or a hub set.

Writes Stanford's text format (a word and its numbers on each line, most frequent words first),
compressed when OUT ends in .gz; `augment.build --glove OUT` reads it.
"""

import gzip
import hashlib
import json
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from numpy.typing import NDArray

from augment.command import UsageError, run, to_json, versions
from augment.commit import write_atomic
from augment.cooccurrence import count_pairs, count_vocabulary, lower_words
from augment.glove import default_cache, load_vectors
from augment.glove_model import GloveFit, Report, fit_pairs
from augment.plan import differences
from augment.squad import read_squad

ALGORITHM = 1
"""Raised whenever the same texts and settings would give other vectors."""
DEFAULT_FIT = GloveFit()


class TooLittleText(ValueError):
    """There is nothing to fit vectors to."""


def fit_vectors(
    texts: Iterable[str], config: GloveFit, report: Report | None = None
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
    tokenized = [lower_words(text) for text in texts]
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


def fitted_to(texts: Sequence[str], config: GloveFit = DEFAULT_FIT) -> Path:
    """Give a file of vectors fitted to the texts; fitted once, then found by the texts' hash."""
    digest = hashlib.sha256(to_json({"algorithm": ALGORITHM, **asdict(config)}).encode())
    for text in texts:
        digest.update(hashlib.sha256(text.encode()).digest())
    path = default_cache() / f"fitted-{digest.hexdigest()[:16]}.txt"
    if not path.is_file():
        try:
            words, matrix = fit_vectors(texts, config, _reporter(config.epochs, []))
        except TooLittleText as error:
            raise ValueError(
                f"{len(texts)} contexts: too little text to fit vectors to; pass --glove embedded, "
                "none, or a file"
            ) from error
        path.parent.mkdir(parents=True, exist_ok=True)
        write_vectors(path, words, matrix)
    return path


def read_record(path: Path, made: Path) -> dict[str, Any] | None:
    """Read the record of how `made` was made; None if there is none.

    Raises:
        ValueError: it is damaged.
    """
    if not path.is_file():
        return None
    try:
        return dict(json.loads(path.read_bytes()))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: damaged ({error}); delete {made} and run again") from error


def _reporter(num_epochs: int, losses: list[float]) -> Report:
    """Collect the losses, and show them on stderr where somebody watches."""

    def report(epoch: int, loss: float) -> None:
        losses.append(round(loss, 6))
        if sys.stderr.isatty():
            print(f"GloVe: epoch {epoch} of {num_epochs}, mean loss {loss:.5f}", file=sys.stderr)

    return report


@dataclass(frozen=True, kw_only=True)
class FitGloveConfig:
    """Fit GloVe vectors to the contexts of TRAIN."""

    train: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="TRAIN")]
    """A SQuAD JSON file, a folder made by `augment.build`, or a hub data set id."""
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """The file of vectors; compressed when it ends in .gz. OUT.json says how it was made."""
    fit: tyro.conf.OmitArgPrefixes[GloveFit] = DEFAULT_FIT
    """What shapes the vectors."""
    max_words: int | None = None
    """Write only this many, the most frequent; all by default."""
    decimals: int = 5
    """Digits after the point."""
    overwrite: bool = False
    """Replace OUT."""

    def __post_init__(self) -> None:
        if self.max_words is not None and self.max_words < 2:
            raise UsageError(f"--max-words {self.max_words}: neighbours need two words")
        if not 1 <= self.decimals <= 9:
            raise UsageError(f"--decimals {self.decimals}: must be from 1 to 9")


def fit_glove(config: FitGloveConfig) -> dict[str, Any]:
    """Fit vectors as the command does; give the record that is written beside them.

    Raises:
        UsageError: OUT was made with other settings and may not be replaced.
        ValueError: too little text.
    """
    squad = read_squad(config.train, on_bad_answer="drop")  # the contexts are all that counts
    plan = {
        "input": {"name": squad.name, "sha256": squad.sha256},
        "settings": {
            **asdict(config.fit),
            "max_words": config.max_words,
            "decimals": config.decimals,
        },
    }
    record_path = config.out.with_name(config.out.name + ".json")
    if config.out.exists() and not config.overwrite:
        record = read_record(record_path, config.out)
        if record is None:
            raise UsageError(
                f"{config.out}: exists and is not a file made here; choose another OUT, or pass "
                "--overwrite to replace it"
            )
        different = differences({key: record.get(key) for key in plan}, plan)
        if different:
            raise UsageError(
                f"{config.out} was made otherwise; pass --overwrite to replace it:\n  "
                + "\n  ".join(different)
            )
        if "words" in record:  # else a run was killed before it was done
            print(f"{config.out}: complete already")
            return record
    started = time.monotonic()
    losses: list[float] = []
    contexts = list(dict.fromkeys(paragraph.context for paragraph in squad.paragraphs))
    words, matrix = fit_vectors(contexts, config.fit, _reporter(config.fit.epochs, losses))
    config.out.parent.mkdir(parents=True, exist_ok=True)
    kept = slice(config.max_words)
    write_atomic(record_path, to_json(plan))  # killed after this, the same command goes on
    write_vectors(config.out, words[kept], matrix[kept], config.decimals)
    load_vectors(config.out)  # reads the file back, and leaves the cache that a build maps
    record = {
        **plan,
        "contexts": len(contexts),
        "words": len(words[kept]),
        "mean_losses": losses,
        "seconds": round(time.monotonic() - started, 1),
        "versions": versions(),
    }
    write_atomic(record_path, to_json(record))
    print(
        f"{config.out}: {record['words']:,} words in {matrix.shape[1]} dimensions, mean loss "
        f"{losses[-1]:.5f} after {len(losses)} epochs, {record['seconds']:.0f} s"
    )
    return record


def main() -> None:
    """Run the command line."""
    run(FitGloveConfig, fit_glove)


if __name__ == "__main__":
    main()
