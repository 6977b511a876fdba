"""The questions of a dev set and their gold answers, as the official scorers read them.

The official scorers look at ids and answer texts alone, so a wrong `answer_start` is no fault
here. What else there is to check is checked as for training, by the same reader.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from augment.base.paragraphs import raise_faults
from augment.inputs.content import Content, Piece
from augment.inputs.records import RecordReader
from augment.squad import DEV_PART, Part, SquadSet, open_source

REMEDY = "mend the data set; every question needs an id of its own and a list of answers"
SHAPE = "is this a SQuAD file?"


@dataclass(frozen=True, slots=True)
class GoldQuestion:
    """A question to be answered or scored; None stands for what the file does not have."""

    id: str
    text: str | None
    context: str | None
    answers: tuple[str, ...] | None
    """The gold texts, in file order; empty when the context has no answer."""
    is_impossible: bool | None

    @property
    def may_be_null(self) -> bool:
        """Whether 'no answer' can be right: impossible, without answers, or without labels."""
        return bool(self.is_impossible) or not self.answers


Dataset = SquadSet | Mapping[str, Any] | Sequence[Any]
"""What the scorers take: a `SquadSet`, a parsed SQuAD file, the list under its "data", or
what `read_gold` gave."""


def read_gold(source: str | Path, part: Part = DEV_PART) -> tuple[list[GoldQuestion], str]:
    """Read the questions of whatever `read_squad` takes.

    Returns:
        The questions in file order, and the SHA-256 that identifies what was read.

    Raises:
        ValueError: not SQuAD, or ids that occur twice, named.
        FileNotFoundError: nothing of that name.
    """
    content = open_source(source, part)
    questions = _questions(content)
    return questions, content.sha256


def gold_questions(dataset: Dataset, name: str = "the data set") -> list[GoldQuestion]:
    """List the questions of a data set in order; `name` goes into messages.

    Raises:
        ValueError: a shape that is not SQuAD's, no question at all, or ids that occur twice.
    """
    if isinstance(dataset, SquadSet):
        if questions := list(_checked_questions(dataset)):
            return questions
        raise ValueError(f"{name}: no questions in it")
    articles = dataset.get("data") if isinstance(dataset, Mapping) else dataset
    if not isinstance(articles, list | tuple):
        raise ValueError(f'{name}: no list "data" in it; {SHAPE}')
    if articles and isinstance(articles[0], GoldQuestion):
        return list(articles)
    return _questions(Content(name, [Piece("articles", articles)], [], {}))


def _questions(content: Content) -> list[GoldQuestion]:
    reader = RecordReader(content.name, for_scoring=True)
    questions = [
        GoldQuestion(
            question.id,
            question.text,
            paragraph.context,
            None if question.answers is None else tuple(text for text, _ in question.answers),
            question.is_impossible,
        )
        for paragraph in reader.read(content)
        for question in paragraph.questions
    ]
    reader.faults.raise_all()
    if not questions:
        raise ValueError(f"{content.name}: no questions in it")
    return questions


def texts_to_read(questions: Sequence[GoldQuestion], name: str) -> tuple[list[str], list[str]]:
    """Give what a reader reads, the questions and the context of each.

    Raises:
        ValueError: questions without a text or a context, named.
    """
    faults = [
        f"question {question.id}: no {what}"
        for question in questions
        for what, text in (("question text", question.text), ("context", question.context))
        if text is None
    ]
    raise_faults(name, faults, "predicting needs both; mend the data set")
    return [q.text or "" for q in questions], [q.context or "" for q in questions]


def gold_answers(questions: Iterable[GoldQuestion], name: str) -> dict[str, tuple[str, ...]]:
    """Map each id to its gold texts.

    Raises:
        ValueError: questions without a list of answers, named.
    """
    questions = list(questions)
    faults = [f"question {q.id}: no list of answers" for q in questions if q.answers is None]
    raise_faults(name, faults, REMEDY)
    return {question.id: question.answers or () for question in questions}


def gold_sha256(answers: Mapping[str, tuple[str, ...]]) -> str:
    """Hash what a scorer read, ids and gold texts: the same for a file, a folder or a hub set."""
    lines = json.dumps(sorted(answers.items()), ensure_ascii=True)
    return hashlib.sha256(lines.encode()).hexdigest()


def _checked_questions(squad: SquadSet) -> Iterator[GoldQuestion]:
    for paragraph in squad.paragraphs:
        for question in paragraph.questions:
            texts = tuple(answer.text for answer in question.answers)
            yield GoldQuestion(
                question.id, question.text, paragraph.context, texts, question.is_impossible
            )


def spread(gold: list[GoldQuestion], number: int | None) -> list[GoldQuestion]:
    """Take `number` questions evenly spread over a set; all of them where there are no more."""
    if number is None or number >= len(gold):
        return gold
    return [gold[index * len(gold) // number] for index in range(number)]
