"""Read SQuAD 1.1 and 2.0: articles, paragraphs, questions, every answer span verified.

Positions are Python characters (code points), spans are half-open. Nothing is dropped or
defaulted without a count; faults are listed ten at a time with the question's id.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from augment.base.paragraphs import Answer, Paragraph, Question, raise_faults, span_fault

OnBadAnswer = Literal["fail", "drop", "fix"]


@dataclass(frozen=True)
class SquadSet:
    """What was read: paragraphs in file order, counts by reason, where it came from."""

    paragraphs: tuple[Paragraph, ...]
    counts: dict[str, int]
    name: str
    """The file's or data set's name, without its folder."""
    sha256: str
    """Of the file's bytes; of a shard folder's manifest; of a hub data set's fingerprint."""

    def limit(self, num_paragraphs: int | None) -> "SquadSet":
        """Keep the first `num_paragraphs` paragraphs (all of them for None).

        Counts of what was ignored or dropped stay those of the whole file.
        """
        kept = self.paragraphs[:num_paragraphs]
        return replace(self, paragraphs=kept, counts={**self.counts, **_sizes(kept)})


def read_squad(
    source: str | Path, *, split: str = "train", on_bad_answer: OnBadAnswer = "fail"
) -> SquadSet:
    """Read a SQuAD JSON file, the originals of a shard folder, or a hub data set.

    Args:
        source: a file, a folder made by `augment.build`, or a hub id such as
            `rajpurkar/squad_v2`.
        split: which split of a hub data set.
        on_bad_answer: `fail` lists the faults; `drop` leaves the answer out, and the question
            if none is left; `fix` moves it to the nearest occurrence of its text first.

    Raises:
        ValueError: the content is not SQuAD; the first ten faults and their number.
        FileNotFoundError: nothing of that name.
    """
    path = Path(source)
    if path.is_file():
        return _read_json_file(path, on_bad_answer)
    if path.is_dir():
        return _read_shard_folder(path)
    named = str(source)  # a hub id may end like squad_v1.1, a file's name in letters
    if path.suffix[1:].isalpha() or named.startswith((".", "/", "~")) or named.count("/") > 1:
        raise FileNotFoundError(f"{source}: no such file or folder")
    return _read_hub(named, split, on_bad_answer)


def load_json(path: Path) -> tuple[Any, str]:
    """Parse a JSON file strictly and give its content with the SHA-256 of its bytes.

    Raises:
        ValueError: not UTF-8, cut, nested too deep, with duplicate keys, NaN or surrogates.
    """
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
        content = json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: not UTF-8 at byte {error.start}; save the file as UTF-8"
        ) from error
    except RecursionError as error:
        raise ValueError(f"{path}: nested too deep to be SQuAD; fetch it again") from error
    except ValueError as error:
        hint = "save the file as UTF-8" if b"\0" in raw[:4] else "mend the file or fetch it again"
        raise ValueError(f"{path}: not valid JSON: {error}; {hint}") from error
    return content, hashlib.sha256(raw).hexdigest()


def _read_json_file(path: Path, on_bad_answer: OnBadAnswer) -> SquadSet:
    content, sha256 = load_json(path)
    reader = _Reader(path.name, on_bad_answer)
    if not isinstance(content, dict) or not isinstance(content.get("data"), list):
        raise ValueError(f'{path}: no list "data" at the top; SQuAD is {{"data": [articles]}}')
    paragraphs: list[Paragraph] = []
    for index, article in enumerate(content["data"]):
        paragraphs += reader.article(article, f"data[{index}]")
    return reader.finish(paragraphs, sha256)


def _read_shard_folder(folder: Path) -> SquadSet:
    from augment.shards import manifest_sha256, read_rows

    reader = _Reader(folder.name, "fail")
    rows = (row for row in read_rows(folder) if row["copy_index"] == 0)
    return reader.finish(reader.rows(rows), manifest_sha256(folder))


def _read_hub(name: str, split: str, on_bad_answer: OnBadAnswer) -> SquadSet:
    from datasets import load_dataset

    try:
        rows = load_dataset(name, split=split)
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"{name}: neither a file, a folder, nor a data set that the hub gives: {error}"
        ) from error
    reader = _Reader(name, on_bad_answer)
    digest = hashlib.sha256()
    paragraphs = reader.rows(_hashed(rows, digest))
    return reader.finish(paragraphs, digest.hexdigest())


def _hashed(rows: Iterable[dict[str, Any]], digest: Any) -> Iterator[dict[str, Any]]:
    for row in rows:
        digest.update(json.dumps(row, sort_keys=True, default=str).encode())
        yield row


class _Reader:
    """Collects counts and faults while the parts of a file are checked."""

    def __init__(self, name: str, on_bad_answer: OnBadAnswer) -> None:
        self.name = name
        self.on_bad_answer = on_bad_answer
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []

    def finish(self, paragraphs: Sequence[Paragraph], sha256: str) -> SquadSet:
        raise_faults(self.name, self.faults, "mend the file or pass --on-bad-answer drop")
        ids = Counter(question.id for p in paragraphs for question in p.questions)
        twice = [f"question id {qid!r} occurs {n} times" for qid, n in ids.items() if n > 1]
        raise_faults(self.name, twice, "give every question an id of its own")
        if not paragraphs:
            raise ValueError(f"{self.name}: no paragraphs in it; is this the right file?")
        counts = {**self.counts, **_sizes(paragraphs)}
        return SquadSet(tuple(paragraphs), counts, self.name, sha256)

    def article(self, article: Any, where: str) -> list[Paragraph]:
        self._expect(article, dict, where)
        title = article.get("title")
        if title is None:
            self.counts["articles_without_title"] += 1
        title = self._text("" if title is None else title, f"{where}.title")
        paragraphs = self._expect(article.get("paragraphs"), list, f"{where}.paragraphs")
        return [
            self.paragraph(title, item, f"{where}.paragraphs[{index}]")
            for index, item in enumerate(paragraphs)
        ]

    def paragraph(self, title: str, paragraph: Any, where: str) -> Paragraph:
        self._expect(paragraph, dict, where)
        context = self._text(paragraph.get("context"), f"{where}.context")
        questions = []
        for index, item in enumerate(self._expect(paragraph.get("qas"), list, f"{where}.qas")):
            spot = f"{where}.qas[{index}]"
            qid = self._text(self._expect(item, dict, spot).get("id"), f"{spot}.id")
            if item.get("plausible_answers") is not None:
                plausible = self._expect(
                    item["plausible_answers"], list, f"{spot}.plausible_answers"
                )
                self.counts["plausible_answers_ignored"] += len(plausible)
            if "is_impossible" not in item:
                self.counts["questions_without_is_impossible"] += 1
            answers = [
                self._answer(answer, f"{spot}.answers[{number}]")
                for number, answer in enumerate(
                    self._expect(item.get("answers", []), list, f"{spot}.answers")
                )
            ]
            question = Question(
                id=qid,
                text=self._text(item.get("question"), f"{spot}.question"),
                answers=tuple(answers),
                is_impossible=self._expect(
                    item.get("is_impossible", False), bool, f"{spot}.is_impossible"
                ),
            )
            questions += self._checked(context, question)
        if not questions:
            self.counts["paragraphs_without_questions"] += 1
        return Paragraph(title, context, tuple(questions))

    def rows(self, rows: Iterable[dict[str, Any]]) -> list[Paragraph]:
        """Rebuild paragraphs from flat rows: neighbours with the same title and context."""
        paragraphs = []
        checked = (self._row(row, f"row {index}") for index, row in enumerate(rows))
        for (title, context), group in groupby(checked, lambda row: row[:2]):
            found = [self._checked(context, question) for _, _, question in group]
            paragraphs.append(Paragraph(title, context, tuple(q for kept in found for q in kept)))
        return paragraphs

    def _row(self, row: dict[str, Any], where: str) -> tuple[str, str, Question]:
        if row.get("title") is None:
            self.counts["rows_without_title"] += 1
        title = self._text(row.get("title") or "", f"{where}.title")
        context = self._text(row.get("context"), f"{where}.context")
        answers = self._expect(row.get("answers"), dict, f"{where}.answers")
        texts, starts = (
            self._expect(answers.get(key), list, f"{where}.answers.{key}")
            for key in ("text", "answer_start")
        )
        if len(texts) != len(starts):
            raise ValueError(
                f"{self.name}: {where}.answers: {len(texts)} text but {len(starts)} answer_start"
            )
        spans = tuple(
            self._answer({"text": text, "answer_start": start}, f"{where}.answers")
            for text, start in zip(texts, starts, strict=True)
        )
        question = Question(
            id=self._text(row.get("id"), f"{where}.id"),
            text=self._text(row.get("question"), f"{where}.question"),
            answers=spans,
            is_impossible=self._expect(  # hub data sets lack it
                row.get("is_impossible", not spans), bool, f"{where}.is_impossible"
            ),
        )
        return title, context, question

    def _checked(self, context: str, question: Question) -> list[Question]:
        """Verify a question: itself, mended, or nothing when it had to be dropped."""
        if question.is_impossible != (not question.answers):
            said = "is_impossible with answers" if question.answers else "answerable, no answers"
            return self._drop_question(f"question {question.id}: {said}")
        kept = []
        for answer in question.answers:
            fault = span_fault(context, answer.text, answer.start)
            if fault is None:
                kept.append(answer)
                continue
            moved = self._relocate(context, answer) if self.on_bad_answer == "fix" else None
            if moved is not None:
                self.counts["answers_fixed"] += 1
                kept.append(moved)
            elif self.on_bad_answer == "fail":
                self.faults.append(f"question {question.id}: {fault}")
            else:
                self.counts["answers_dropped"] += 1
        if question.answers and not kept:  # each answer's fault is noted
            self.counts["questions_dropped"] += self.on_bad_answer != "fail"
            return []
        return [replace(question, answers=tuple(kept))]

    def _drop_question(self, fault: str) -> list[Question]:
        if self.on_bad_answer == "fail":
            self.faults.append(fault)
        else:
            self.counts["questions_dropped"] += 1
        return []

    @staticmethod
    def _relocate(context: str, answer: Answer) -> Answer | None:
        """Move an answer to the occurrence of its text nearest to where it was said to be."""
        if not answer.text:
            return None
        starts = []
        start = context.find(answer.text)
        while start >= 0:
            starts.append(start)
            start = context.find(answer.text, start + 1)
        nearest = min(starts, key=lambda start: abs(start - answer.start), default=None)
        return None if nearest is None else replace(answer, start=nearest)

    def _answer(self, answer: Any, where: str) -> Answer:
        self._expect(answer, dict, where)
        text = self._text(answer.get("text"), f"{where}.text")
        return Answer(text, self._expect(answer.get("answer_start"), int, f"{where}.answer_start"))

    def _text(self, value: Any, where: str) -> str:
        text: str = self._expect(value, str, where)
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{self.name}: {where}: a lone surrogate at character {error.start}; "
                "mend the escape sequence"
            ) from error
        return text

    def _expect(self, value: Any, kind: type, where: str) -> Any:
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            found = "nothing" if value is None else type(value).__name__
            if isinstance(value, str | int | float):
                found += f" {str(value)[:40]!r}"
            raise ValueError(
                f"{self.name}: {where}: expected {kind.__name__}, found {found}; mend the data"
            )
        return value


def _sizes(paragraphs: Sequence[Paragraph]) -> dict[str, int]:
    questions = [question for paragraph in paragraphs for question in paragraph.questions]
    return {
        "paragraphs": len(paragraphs),
        "distinct_contexts": len({paragraph.context for paragraph in paragraphs}),
        "questions": len(questions),
        "impossible_questions": sum(question.is_impossible for question in questions),
        "answers": sum(len(question.answers) for question in questions),
    }


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = [key for key, number in Counter(key for key, _ in pairs).items() if number > 1]
        raise ValueError(f"key {twice[0]!r} occurs twice in one object")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
