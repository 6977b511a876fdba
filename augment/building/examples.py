"""Copies to look at, for a set's card: replaced words and answers marked."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import islice

from augment.base.paragraphs import Answer, Paragraph
from augment.base.set_records import Plan
from augment.building.stages import augment_paragraphs
from augment.variants.marks import mark
from augment.variants.replace import replaced_spans
from augment.variants.store import Stored

NUM_EXAMPLES = 3
LONGEST = 1200  # characters; more of a paragraph than a card should show


def make_examples(paragraphs: Iterable[Paragraph], stored: Stored, plan: Plan) -> list[str]:
    """Mark the first copy of the first paragraphs that are short enough, as the set has it."""
    fitting = (p for p in paragraphs if len(p.context) <= LONGEST and p.questions)
    short = list(islice(fitting, NUM_EXAMPLES))
    store = stored.candidates([paragraph.context for paragraph in short])
    items, _, _ = augment_paragraphs(short, store, replace(plan, copies_per_example=1))
    texts = []
    for item in items:
        context, [variant] = item.paragraph.context, item.variants.copies
        answers = [answer for question in item.paragraph.questions for answer in question.answers]
        [starts] = item.variants.moved([answer.start for answer in answers]).tolist()
        moved = [Answer(answer.text, at) for answer, at in zip(answers, starts, strict=True)]
        spans = replaced_spans(store.slots(context), variant)
        replaced = [(start, end, context[slot.start : slot.end]) for start, end, slot in spans]
        texts.append(mark(variant.text, moved, replaced))
    return texts
