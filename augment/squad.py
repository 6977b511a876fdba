"""Read SQuAD 1.1 and 2.0 in any of its forms: paragraphs, questions, every answer span verified.

Positions are Python characters (code points), spans are half-open. Nothing is dropped or
defaulted without a count; faults are told all at once, by kind, with their places.
"""

import gc
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from augment.base.paragraphs import Answer, Paragraph, Question, span_fault
from augment.base.set_records import is_set, read_manifest
from augment.inputs.content import Content, Source, open_content
from augment.inputs.records import RawParagraph, RawQuestion, RecordReader
from augment.inputs.spelling import relocate
from augment.remote.fetching import source_at_hand

OnBadAnswer = Literal["fail", "drop", "fix"]


@dataclass(frozen=True)
class Part:
    """The part of a data set to read."""

    config: str | None = None
    """Configuration of the data set, if it has several."""
    split: str = "train"
    """Split of the data set, if it has several."""


TRAIN_PART, DEV_PART = Part(), Part(split="validation")


@dataclass(frozen=True)
class SquadSet:
    """What was read: paragraphs in file order, counts by reason, where it came from."""

    paragraphs: tuple[Paragraph, ...]
    counts: dict[str, int]
    name: str
    """The file's or data set's name, without its folder."""
    sha256: str
    """Of the file's bytes; of a shard folder's manifest; of a hub data set's rows."""
    card: Mapping[str, Any] = field(default_factory=dict)
    """What the source's own card says: `language`, `license` and so on, as far as it does."""

    noted: tuple[tuple[int, str, int], ...] = ()
    """What was counted while each paragraph was read: its index, the reason, the number."""

    def limit(self, num_paragraphs: int | None) -> "SquadSet":
        """Keep the first `num_paragraphs` paragraphs (all of them for None), and their counts."""
        kept = self.paragraphs[:num_paragraphs]
        noted = tuple(note for note in self.noted if note[0] < len(kept))
        return replace(self, paragraphs=kept, noted=noted, counts=_counts(kept, noted))


def read_squad(
    source: Source,
    *,
    config: str | None = None,
    split: str = "train",
    on_bad_answer: OnBadAnswer = "fail",
) -> SquadSet:
    """Read questions from wherever they are kept.

    Args:
        source: a file (SQuAD JSON; flat rows as JSON, JSON lines, CSV, Parquet or Arrow; also
            packed), several parted by commas or as a list, a folder of them, what `save_to_disk`
            wrote, the originals of a folder made by `augment.build`, a hub id such as
            `rajpurkar/squad_v2`, or a `datasets.Dataset`.
        config: which configuration of a hub data set or folder.
        split: which split of it.
        on_bad_answer: `fail` tells the faults; `drop` leaves the answer out, and the question
            if none is left; `fix` moves it to the nearest occurrence of its text first.

    Raises:
        ValueError: the content is not SQuAD; all faults by kind, of each the first ten.
        FileNotFoundError: nothing of that name.
    """
    content = open_source(source, Part(config, split))
    records = RecordReader(content.name)
    paragraphs: list[Paragraph] = []
    noted: list[tuple[int, str, int]] = []
    with _without_collection():
        for paragraph, counts in checked(records, records.read(content), on_bad_answer):
            noted += ((len(paragraphs), name, n) for name, n in counts.items())
            paragraphs.append(paragraph)
    noted += ((max(0, len(paragraphs) - 1), name, n) for name, n in records.counts.items() if n)
    records.faults.raise_all()
    if not paragraphs:
        raise ValueError(f"{content.name}: no paragraphs in it; is this the right file?")
    sizes = _counts(paragraphs, noted)
    card, notes = content.card, tuple(noted)
    return SquadSet(tuple(paragraphs), sizes, content.name, content.sha256, card, notes)


def checked(
    records: RecordReader, paragraphs: Iterable[RawParagraph], on_bad_answer: OnBadAnswer
) -> Iterator[tuple[Paragraph, dict[str, int]]]:
    """Verify paragraphs one after the other; give with each what was counted since the last.

    Args:
        records: what reads them, and gathers faults; at the end its counts are what is left.
        paragraphs: what it gives.
        on_bad_answer: as `read_squad` has it.
    """
    checker = _Checker(records, on_bad_answer)
    for raw in paragraphs:
        paragraph = checker.paragraph(raw)
        counts = dict(+records.counts)
        records.counts.clear()
        yield paragraph, counts


@contextmanager
def _without_collection() -> Iterator[None]:
    """Pause the search for cycles: what is read has none, and is walked through again and again."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def read_contexts(source: Source, part: Part) -> SquadSet:
    """Read a set for its contexts alone, wherever its answers may be."""
    return read_squad(source, config=part.config, split=part.split, on_bad_answer="drop")


def open_source(source: Source, part: Part) -> Content:
    """Open whatever `read_squad` takes."""
    source = source_at_hand(source) if isinstance(source, str) else source
    if isinstance(source, str | Path) and is_set(source):
        return _open_shards(Path(source))
    return open_content(source, part.config, part.split)


def _open_shards(folder: Path) -> Content:
    """Open the originals of a finished set."""
    from augment.inputs.card import folder_card
    from augment.inputs.content import Piece
    from augment.shards import manifest_sha256, read_rows

    read_manifest(folder)  # or says that the set is not finished
    rows = (row for row in read_rows(folder) if row["copy_index"] == 0)
    hashes = [manifest_sha256(folder)]
    return Content(folder.name, [Piece("rows", rows)], hashes, folder_card(folder))


class _Checker:
    """Verifies the labels of questions: what is trained on must be true."""

    def __init__(self, records: RecordReader, on_bad_answer: OnBadAnswer) -> None:
        self.faults = records.faults
        self.counts = records.counts
        self.on_bad_answer = on_bad_answer

    def paragraph(self, raw: RawParagraph) -> Paragraph:
        """Verify a paragraph's questions; those that had to be dropped are counted."""
        assert raw.context is not None  # read for training
        kept = (self._question(raw.context, question) for question in raw.questions)
        questions = tuple(question for question in kept if question is not None)
        self.counts["paragraphs_without_questions"] += not questions
        return Paragraph(raw.title, raw.context, questions)

    def _question(self, context: str, raw: RawQuestion) -> Question | None:
        assert raw.text is not None  # as above
        assert raw.answers is not None
        assert raw.is_impossible is not None
        if raw.is_impossible != (not raw.answers):
            said = "is_impossible with answers" if raw.answers else "answerable, no answers"
            if self.on_bad_answer == "fail":
                self.faults.add("contradiction", f"question {raw.id}: {said}")
            else:
                self.counts["questions_dropped"] += 1
            return None
        answers = [self._answer(context, Answer(*answer), raw.id) for answer in raw.answers]
        kept = tuple(answer for answer in answers if answer is not None)
        if raw.answers and not kept:  # each answer's fault is noted
            self.counts["questions_dropped"] += self.on_bad_answer != "fail"
            return None
        return Question(raw.id, raw.text, kept, raw.is_impossible)

    def _answer(self, context: str, answer: Answer, qid: str) -> Answer | None:
        fault = span_fault(context, answer.text, answer.start)
        if fault is None:
            return answer
        moved = relocate(context, answer) if self.on_bad_answer == "fix" else None
        if moved is not None:
            self.counts["answers_fixed"] += 1
            self.counts["answers_respelled"] += moved.text != answer.text
        elif self.on_bad_answer == "fail":
            self.faults.add("span", f"question {qid}: {fault}")
        else:
            self.counts["answers_dropped"] += 1
        return moved


def _counts(
    paragraphs: Sequence[Paragraph], noted: Sequence[tuple[int, str, int]]
) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for _, name, number in noted:
        counts[name] += number
    return {**counts, **_sizes(paragraphs)}


def _sizes(paragraphs: Sequence[Paragraph]) -> dict[str, int]:
    questions = [question for paragraph in paragraphs for question in paragraph.questions]
    return {
        "paragraphs": len(paragraphs),
        "distinct_contexts": len({paragraph.context for paragraph in paragraphs}),
        "questions": len(questions),
        "impossible_questions": sum(question.is_impossible for question in questions),
        "answers": sum(len(question.answers) for question in questions),
    }
