"""What is to be seen of a paragraph: rows of a shard made into texts, marks and questions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from augment.base.paragraphs import Answer
from augment.base.set_records import Plan
from augment.browsing.alignment import Replacement, replacements, share_replaced
from augment.browsing.origins import Sources
from augment.variants.keep_list import kept_spans
from augment.variants.marks import merged
from augment.variants.words import ENGLISH, Span, WordRule, find_words, replaceable_words


@dataclass(frozen=True)
class QuestionView:
    """A question, as it was asked of the original."""

    id: str
    text: str
    answers: list[str]
    """Different ones; none if the question cannot be answered."""


@dataclass(frozen=True)
class Reading:
    """What a reader made of a question on one copy."""

    answer: str
    f1: float


@dataclass(frozen=True)
class CopyView:
    """The original, which is copy 0, or a copy."""

    number: int
    text: str
    answers: list[Span]
    """Where answers stand; joined where they overlap."""
    replaced: list[Replacement]
    share: float
    """Share of the words, parted by white space, that are not the original's."""
    readings: list[Reading]
    """Of each question, where a reader's answers are in the set."""


@dataclass(frozen=True)
class ParagraphView:
    """A paragraph with its questions and copies."""

    title: str
    questions: list[QuestionView]
    original: CopyView
    copies: list[CopyView]
    source_of: Callable[[int], int | None]
    """From the first character of a word of the original to what replaced it: `MASKED_LM`,
    `GLOVE`, or None where that is not known."""

    def only(self, source: int) -> "ParagraphView":
        """Keep the replacements from one source, and the copies that have any."""
        copies = []
        for copy in self.copies:
            kept = [one for one in copy.replaced if self.source_of(one.old_start) == source]
            copies.append(replace(copy, replaced=kept))
        return replace(self, copies=[copy for copy in copies if copy.replaced])


def view(
    rows: Sequence[Mapping[str, Any]],
    plan: Plan,
    sources: Sources | None = None,
) -> ParagraphView:
    """Make the view of a paragraph from all its rows, the original's first.

    Args:
        rows: as they lie in a shard.
        plan: the set's, from its manifest.
        sources: what `find_sources` gave.

    Raises:
        ValueError: a copy cannot have been made from the original.
    """
    by_copy: dict[int, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_copy.setdefault(row["copy_index"], []).append(row)
    originals = by_copy.pop(0)
    text = originals[0]["context"]
    answers = _answers(originals)
    language, rule = plan.language or ENGLISH, cast(WordRule, plan.words)
    kept = frozenset(plan.keep_words)
    frozen = [*answers, *kept_spans(text, kept)]
    slots = [
        (start, end)
        for start, end in replaceable_words(text, find_words(text, language), rule, language)
        if text[start:end].lower() not in kept
        and not any(first < end and start < last for first, last in frozen)
    ]
    return ParagraphView(
        title=originals[0]["title"],
        questions=[
            QuestionView(
                row["source_id"], row["question"], list(dict.fromkeys(row["answers"]["text"]))
            )
            for row in originals
        ],
        original=_copy(originals, text, []),
        copies=[_copy(of_copy, text, slots) for of_copy in by_copy.values()],
        source_of=sources(text) if sources else lambda _: None,
    )


def _copy(rows: Sequence[Mapping[str, Any]], original: str, slots: Sequence[Span]) -> CopyView:
    text, number = rows[0]["context"], rows[0]["copy_index"]
    try:
        replaced = replacements(original, text, slots)
    except ValueError as error:
        raise ValueError(f"row {rows[0]['id']}: {error}; run augment.check on this set") from error
    return CopyView(
        number=number,
        text=text,
        answers=_answers(rows),
        replaced=replaced,
        share=share_replaced(original, text, rows[0]["id"]),
        readings=[
            Reading(row["reader_answer"], row["reader_f1"]) for row in rows if "reader_f1" in row
        ],
    )


def _answers(rows: Sequence[Mapping[str, Any]]) -> list[Span]:
    answers = [
        Answer(text, start)
        for row in rows
        for text, start in zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True)
    ]
    return merged([(answer.start, answer.end) for answer in answers])
