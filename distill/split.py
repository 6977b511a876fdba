"""Split a training file by article, and balance answerable and unanswerable questions.

A reader learns from its training rows how often to say "no answer". In SQuAD 2.0 a third of the
training questions and half of the dev questions have no answer.
"""

import json
import random
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import tyro

from augment.base.command import UsageError, run
from augment.base.commit import write_atomic
from augment.base.paragraphs import Paragraph, Question
from augment.remote.storage_options import AS_CONFIGURED, StorageOptions
from augment.squad import TRAIN_PART, OnBadAnswer, Part, read_squad

Article = list[Paragraph]

EVERY, FIRST = 20, 9
"""The tenth article is held out, and every twentieth from there."""


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """What to split, and how."""

    train: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="TRAIN")]
    """A file, folder or data set as `augment.build` takes it."""
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """The questions to train on, as SQuAD 2.0 JSON."""
    held_out: Path | None = None
    """Move every 20th article, beginning with the 10th, from OUT into this file."""
    balance: bool = False
    """Keep all unanswerable questions and as many answerable ones, chosen at random.
    For more answerable ones, pass --answerable-per-unanswerable."""
    answerable_per_unanswerable: int = 1
    """Answerable questions that --balance keeps for each unanswerable one."""
    seed: int = 0
    """Seed of the random choice of --balance."""
    part: tyro.conf.OmitArgPrefixes[Part] = TRAIN_PART
    """Part of TRAIN to read."""
    on_bad_answer: OnBadAnswer = "fail"
    """What to do with an answer that does not stand at its answer_start, as in augment.build."""
    storage: tyro.conf.OmitArgPrefixes[StorageOptions] = AS_CONFIGURED
    """How stores are reached that URLs lead to."""


def split(config: SplitConfig) -> None:
    """Write the files and count their questions.

    Raises:
        UsageError: there are not as many answerable questions as unanswerable ones.
        ValueError: TRAIN fails its check.
    """
    found = read_squad(config.train, **asdict(config.part), on_bad_answer=config.on_bad_answer)
    articles = [list(group) for _, group in groupby(found.paragraphs, _article)]
    if config.held_out is not None:
        _write(config.held_out, articles[FIRST::EVERY])
        articles = [a for number, a in enumerate(articles) if number % EVERY != FIRST]
    if config.balance:
        articles = _balanced(articles, config.answerable_per_unanswerable, config.seed)
    _write(config.out, articles)


def _article(paragraph: Paragraph) -> str:
    return paragraph.title or paragraph.context  # what has no titles has articles of one context


def _questions(articles: list[Article]) -> list[Question]:
    return [question for article in articles for p in article for question in p.questions]


def _balanced(articles: list[Article], ratio: int, seed: int) -> list[Article]:
    questions = _questions(articles)
    kept = {question.id for question in questions if question.is_impossible}
    others = [question.id for question in questions if not question.is_impossible]
    wanted = ratio * len(kept)
    if not len(others) >= wanted > 0:
        raise UsageError(
            f"--balance: {len(kept):,} unanswerable questions and {len(others):,} answerable ones, "
            f"{ratio} wanted for each"
        )
    kept.update(random.Random(seed).sample(others, wanted))
    found = []
    for article in articles:
        chosen = [(p, tuple(q for q in p.questions if q.id in kept)) for p in article]
        if paragraphs := [replace(p, questions=questions) for p, questions in chosen if questions]:
            found.append(paragraphs)
    return found


def _write(path: Path, articles: list[Article]) -> None:
    """Write SQuAD 2.0's shape; plausible answers, which nothing here reads, are not in it."""
    data = [{"title": a[0].title, "paragraphs": [_paragraph(p) for p in a]} for a in articles]
    write_atomic(path, json.dumps({"version": "v2.0", "data": data}))
    impossible = [question.is_impossible for question in _questions(articles)]
    print(f"{path}: {len(impossible):,} questions, {sum(impossible):,} of them unanswerable")


def _paragraph(paragraph: Paragraph) -> dict[str, Any]:
    qas = [
        {
            "id": question.id,
            "question": question.text,
            "answers": [{"text": a.text, "answer_start": a.start} for a in question.answers],
            "is_impossible": question.is_impossible,
        }
        for question in paragraph.questions
    ]
    return {"context": paragraph.context, "qas": qas}


if __name__ == "__main__":
    run(SplitConfig, split)
