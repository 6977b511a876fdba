"""Articles and flat rows to questions, however they are spelled: one reader for every file."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Any

from augment.inputs.content import Content, Piece
from augment.inputs.faults import Faults

FLAGS = {"true": True, "false": False, "1": True, "0": False, "": None}
"""How a table that holds nothing but texts spells `is_impossible`."""


@dataclass(frozen=True, slots=True)
class RawQuestion:
    """A question as its file gives it; None stands for what the file does not have."""

    id: str
    text: str | None
    answers: tuple[tuple[str, int], ...] | None
    """Text and answer_start of each."""
    is_impossible: bool | None


@dataclass(frozen=True, slots=True)
class RawParagraph:
    """A context with its questions; None where the file does not give it."""

    title: str
    context: str | None
    questions: tuple[RawQuestion, ...]


class Malformed(ValueError):
    """A part that is missing or of the wrong kind, with its place."""


class RecordReader:
    """Reads the parts of an input, and gathers counts and faults.

    Training needs every field. A scorer looks at ids and answer texts alone, as the official ones
    do, so `for_scoring` lets what it does not look at be missing or wrong.
    """

    def __init__(self, name: str, *, for_scoring: bool = False) -> None:
        self.for_scoring = for_scoring
        self.faults = Faults(name)
        self.counts: Counter[str] = Counter()
        self._made_ids: Counter[str] = Counter()

    def read(self, content: Content) -> Iterator[RawParagraph]:
        """Give every paragraph; what is malformed is noted and passed over."""
        ids: Counter[str] = Counter()
        for paragraph in self.stream(content):
            ids.update([question.id for question in paragraph.questions])
            yield paragraph
        for qid, number in ids.items():
            if number > 1:
                self.faults.add("id", f"question id {qid!r} occurs {number} times")

    def stream(self, content: Content) -> Iterator[RawParagraph]:
        """Give every paragraph as `read` does, but leave it to others to compare the ids."""
        for kind, pieces in groupby(content.pieces, lambda piece: piece.kind):
            read = self._articles if kind == "articles" else self._rows
            yield from read(pieces)

    def _articles(self, pieces: Iterable[Piece]) -> Iterator[RawParagraph]:
        articles = (
            (f"{piece.where}data[{index}]", article)
            for piece in pieces
            for index, article in enumerate(piece.items)
        )
        for spot, article in articles:
            try:
                title = _dict(article, spot).get("title")
                self.counts["articles_without_title"] += title is None
                title = _text("" if title is None else title, spot, ".title")
                paragraphs = _list(article.get("paragraphs"), spot, ".paragraphs")
            except Malformed as error:
                self.faults.add("shape", str(error))
                continue
            for number, paragraph in enumerate(paragraphs):
                place = f"{spot}.paragraphs[{number}]"
                try:
                    context = self._optional_text(_dict(paragraph, place), "context", place)
                    items = _list(paragraph.get("qas"), place, ".qas")
                except Malformed as error:
                    self.faults.add("shape", str(error))
                    continue
                questions = self._questions(items, context, place)
                yield RawParagraph(title, context, tuple(questions))

    def _questions(
        self, items: Sequence[Any], context: str | None, where: str
    ) -> Iterator[RawQuestion]:
        for index, item in enumerate(items):
            spot = f"{where}.qas[{index}]"
            try:
                plausible = _dict(item, spot).get("plausible_answers")
                if plausible is not None:
                    number = len(_list(plausible, spot, ".plausible_answers"))
                    self.counts["plausible_answers_ignored"] += number
                if "is_impossible" not in item:
                    self.counts["questions_without_is_impossible"] += 1
                yield self._question(item, context, spot, is_row=False)
            except Malformed as error:
                self.faults.add("shape", str(error))

    def _rows(self, pieces: Iterable[Piece]) -> Iterator[RawParagraph]:
        """Rebuild paragraphs: neighbours with the same title and context, also across files."""
        read = chain.from_iterable(self._each_row(piece.items, piece.where) for piece in pieces)
        for (title, context), group in groupby(read, lambda row: row[:2]):
            questions = []
            for _, _, question, counts in group:
                questions.append(question)
                self.counts.update(counts)
            yield RawParagraph(title, context, tuple(questions))

    def _each_row(
        self, rows: Iterable[Any], where: str
    ) -> Iterator[tuple[str, str | None, RawQuestion, Counter[str]]]:
        """Read rows, each with what was counted: one of the next paragraph is read ahead."""
        for index, row in enumerate(rows):
            spot = f"{where}row {index}"
            of_all, self.counts = self.counts, Counter()
            try:
                if int(_dict(row, spot).get("copy_index") or 0):  # of a set that was exported
                    of_all["copies_left_out"] += 1
                    continue
                title = row.get("title")
                self.counts["rows_without_title"] += title is None
                title = _text("" if title is None else title, spot, ".title")
                context = self._optional_text(row, "context", spot)
                question = self._question(row, context, spot, is_row=True)
            except Malformed as error:
                self.faults.add("shape", str(error))
                continue
            finally:
                counts, self.counts = self.counts, of_all
            yield title, context, question, counts

    def _question(
        self, item: Mapping[str, Any], context: str | None, where: str, *, is_row: bool
    ) -> RawQuestion:
        """Read a question. A row says by its answers whether it is impossible; an article says so,
        or has answers.
        """
        text = self._optional_text(item, "question", where)
        is_impossible = _flag(item.get("is_impossible"), where)
        answers = self._answers(item.get("answers"), where)
        if not self.for_scoring:
            if answers is None and not is_impossible and (is_row or "answers" in item):
                raise Malformed(f"{where}.answers: expected list, found nothing")
            answers = answers or ()
            if is_impossible is None:
                is_impossible = is_row and not answers
        return RawQuestion(self._id(item, context, text, where), text, answers, is_impossible)

    def _id(
        self, item: Mapping[str, Any], context: str | None, text: str | None, where: str
    ) -> str:
        qid = item.get("id")
        if isinstance(qid, int) and not isinstance(qid, bool):
            self.counts["ids_read_from_numbers"] += 1
            return str(qid)
        if qid is not None and qid != "":
            return _text(qid, where, ".id")
        self.counts["ids_made_from_content"] += 1
        content = json.dumps([context, text]).encode()
        qid = hashlib.blake2b(content, digest_size=12).hexdigest()
        self._made_ids[qid] += 1
        return qid if self._made_ids[qid] == 1 else f"{qid}-{self._made_ids[qid]}"

    def _optional_text(self, item: Mapping[str, Any], key: str, where: str) -> str | None:
        if self.for_scoring and item.get(key) is None:
            return None
        return _text(item.get(key), where, f".{key}")

    def _answers(self, value: Any, where: str) -> tuple[tuple[str, int], ...] | None:
        """Read a list of objects, an object of lists, or either as a JSON text."""
        if isinstance(value, str):
            if not value.strip():
                return None
            try:
                value = json.loads(value)
            except ValueError as error:
                raise Malformed(f"{where}.answers: not JSON: {error}; mend the cell") from error
        if value is None:
            return None
        if isinstance(value, Mapping):
            texts = _list(value.get("text"), where, ".answers.text")
            starts: Sequence[Any] = [0] * len(texts)
            if not self.for_scoring:
                starts = _list(value.get("answer_start"), where, ".answers.answer_start")
            if len(texts) != len(starts):
                said = f"{len(texts)} text but {len(starts)} answer_start"
                raise Malformed(f"{where}.answers: {said}")
            pairs = list(zip(texts, starts, strict=True))
        else:
            pairs = []
            for number, answer in enumerate(_list(value, where, ".answers")):
                if not isinstance(answer, Mapping):
                    _dict(answer, f"{where}.answers[{number}]")
                pairs.append((answer.get("text"), answer.get("answer_start")))
        return tuple(
            (_text(text, where, ".answers", number, ".text"), self._start(start, where, number))
            for number, (text, start) in enumerate(pairs)
        )

    def _start(self, value: Any, where: str, number: int) -> int:
        if self.for_scoring:
            return 0
        if isinstance(value, str) and value.strip().removeprefix("-").isdecimal():
            self.counts["answer_starts_read_from_text"] += 1
            return int(value)
        if type(value) is int:
            return value
        raise _wrong("int", value, where, ".answers", number, ".answer_start")


def _flag(value: Any, where: str) -> bool | None:
    if isinstance(value, str):
        value = FLAGS.get(value.lower(), value)
    if value is None or isinstance(value, bool):
        return value
    raise _wrong("bool", value, where, ".is_impossible")


def _dict(value: Any, where: str) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    raise _wrong("dict", value, where)


def _list(value: Any, *where: object) -> Sequence[Any]:
    if isinstance(value, list | tuple):
        return value
    raise _wrong("list", value, *where)


def _text(value: Any, *where: object) -> str:
    if not isinstance(value, str):
        raise _wrong("str", value, *where)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise Malformed(
            f"{_place(where)}: a lone surrogate at character {error.start} of {value!r:.60}; "
            "mend the escape sequence"
        ) from error
    return value


def _wrong(kind: str, value: Any, *where: object) -> Malformed:
    found = "nothing" if value is None else type(value).__name__
    if isinstance(value, str | int | float):
        found += f" {str(value)[:40]!r}"
    return Malformed(f"{_place(where)}: expected {kind}, found {found}")


def _place(parts: Iterable[object]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else str(part) for part in parts)
