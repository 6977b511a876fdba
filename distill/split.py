"""Split a training file by article, and balance answerable and unanswerable questions.

A reader learns from its training rows how often to say "no answer". In SQuAD 2.0 a third of the
training questions and half of the dev questions have no answer.
"""

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from augment.base.command import UsageError, existing_file, run
from augment.base.commit import write_atomic

EVERY, FIRST = 20, 9
"""The tenth article is held out, and every twentieth from there."""


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """What to split, and how."""

    train: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="TRAIN")]
    """A SQuAD 2.0 JSON file."""
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """The questions to train on, in the same format."""
    held_out: Path | None = None
    """Move every 20th article, beginning with the 10th, from OUT into this file."""
    balance: bool = False
    """Keep all unanswerable questions and as many answerable ones, chosen at random."""
    seed: int = 0
    """Seed of the random choice of --balance."""


def split(config: SplitConfig) -> None:
    """Write the files and count their questions.

    Raises:
        UsageError: there are not as many answerable questions as unanswerable ones.
        ValueError: TRAIN is no SQuAD 2.0 file.
    """
    text = existing_file(config.train, "SQuAD JSON file").read_text("utf-8")
    try:
        whole = json.loads(text)
        articles: list[Any] = whole["data"]
        _questions(articles)
    except (ValueError, KeyError, TypeError) as error:
        said = f"{type(error).__name__}: {error}"
        raise ValueError(f"{config.train}: not a SQuAD 2.0 file ({said})") from error
    if config.held_out is not None:
        _write(config.held_out, whole, articles[FIRST::EVERY])
        articles = [a for number, a in enumerate(articles) if number % EVERY != FIRST]
    if config.balance:
        articles = _balanced(articles, config.seed)
    _write(config.out, whole, articles)


def _questions(articles: list[Any]) -> dict[str, bool]:
    """Give whether each question is unanswerable, by id."""
    return {
        question["id"]: question["is_impossible"]
        for article in articles
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    }


def _balanced(articles: list[Any], seed: int) -> list[Any]:
    questions = _questions(articles)
    kept = {key for key, impossible in questions.items() if impossible}
    others = [key for key, impossible in questions.items() if not impossible]
    if not len(others) >= len(kept) > 0:
        raise UsageError(
            f"--balance: {len(kept):,} unanswerable questions and {len(others):,} answerable ones"
        )
    kept.update(random.Random(seed).sample(others, len(kept)))
    found = []
    for article in articles:
        paragraphs = [
            {**paragraph, "qas": [q for q in paragraph["qas"] if q["id"] in kept]}
            for paragraph in article["paragraphs"]
        ]
        paragraphs = [paragraph for paragraph in paragraphs if paragraph["qas"]]
        if paragraphs:
            found.append({**article, "paragraphs": paragraphs})
    return found


def _write(path: Path, whole: dict[str, Any], articles: list[Any]) -> None:
    write_atomic(path, json.dumps({**whole, "data": articles}))
    impossible = [*_questions(articles).values()]
    print(f"{path}: {len(impossible):,} questions, {sum(impossible):,} of them unanswerable")


if __name__ == "__main__":
    run(SplitConfig, split)
