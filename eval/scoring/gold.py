"""The questions of a dev set and their gold answers, as the official scorers read them.

The official scorers look at ids and answer texts alone, so a wrong `answer_start` is no fault
here. A shard folder or a hub data set is read through `augment.squad`, spans checked.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from augment.base.paragraphs import raise_faults
from augment.squad import SquadSet, load_json, read_squad

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
"""What the scorers take: a `SquadSet`, a parsed SQuAD file, or the list under its "data"."""


def read_gold(source: str | Path) -> tuple[list[GoldQuestion], str]:
    """Read the questions of a SQuAD JSON file, a shard folder or a hub data set.

    Returns:
        The questions in file order, and the SHA-256 that identifies what was read.

    Raises:
        ValueError: not SQuAD, or ids that occur twice, named.
        FileNotFoundError: nothing of that name.
    """
    path = Path(source)
    if path.is_file():
        content, sha256 = load_json(path)
        return gold_questions(content, path.name), sha256
    squad = read_squad(source, split="validation")
    return gold_questions(squad, squad.name), squad.sha256


def gold_questions(dataset: Dataset, name: str = "the data set") -> list[GoldQuestion]:
    """List the questions of a data set in order; `name` goes into messages.

    Raises:
        ValueError: a shape that is not SQuAD's, no question at all, or ids that occur twice.
    """
    if isinstance(dataset, SquadSet):
        questions = list(_checked_questions(dataset))
    else:
        articles = dataset.get("data") if isinstance(dataset, Mapping) else dataset
        questions = list(_raw_questions(articles, name))
    if not questions:
        raise ValueError(f"{name}: no questions in it")
    numbers = Counter(question.id for question in questions)
    twice = [f"question id {qid!r} occurs {n} times" for qid, n in numbers.items() if n > 1]
    raise_faults(name, twice, REMEDY)
    return questions


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


def _raw_questions(articles: Any, name: str) -> Iterator[GoldQuestion]:
    for number, article in enumerate(_list(articles, f"{name}: data")):
        where = f"{name}: data[{number}].paragraphs"
        for index, paragraph in enumerate(_list(_get(article, "paragraphs", where), where)):
            spot = f"{where}[{index}]"
            context = _get(paragraph, "context", spot)
            for qa in _list(_get(paragraph, "qas", spot), f"{spot}.qas"):
                yield _raw_question(qa, context, f"{spot}.qas")


def _raw_question(qa: Any, context: Any, where: str) -> GoldQuestion:
    qid = _get(qa, "id", where)
    if not isinstance(qid, str):
        raise ValueError(f"{where}: a question id must be a string, found {qid!r}")
    answers, text, impossible = qa.get("answers"), qa.get("question"), qa.get("is_impossible")
    texts = None
    if answers is not None:
        spot = f"{where}: question {qid}: answers"
        texts = tuple(_get(answer, "text", spot) for answer in _list(answers, spot))
    for value in (*(texts or ()), *(v for v in (text, context) if v is not None)):
        _check_text(value, f"{where}: question {qid}")
    if not isinstance(impossible, bool | None):
        raise ValueError(f"{where}: question {qid}: is_impossible is {impossible!r:.60}")
    return GoldQuestion(qid, text, context, texts, impossible)


def _check_text(value: Any, where: str) -> None:
    if not isinstance(value, str):
        raise ValueError(f"{where}: expected a text, found {value!r:.60}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{where}: a lone surrogate at character {error.start} of {value!r:.60}; "
            "mend the escape sequence"
        ) from error


def _get(value: Any, key: str, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where}: expected an object, found {type(value).__name__}; {SHAPE}")
    return value.get(key)


def _list(value: Any, where: str) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        found = "nothing" if value is None else type(value).__name__
        raise ValueError(f"{where}: expected a list, found {found}; {SHAPE}")
    return value
