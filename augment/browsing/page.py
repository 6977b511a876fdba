"""A paragraph and a set's counts as HTML. Whatever came from data is escaped."""

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from augment.base.set_records import Manifest
from augment.browsing.views import CopyView, ParagraphView, Reading
from augment.cards.plots import word_shares
from augment.pages.local_page import marked
from augment.variants.store import GLOVE, MASKED_LM

CLASSES = {MASKED_LM: "new mlm", GLOVE: "new glove", None: "new"}
NAMES = {MASKED_LM: "by the masked LM", GLOVE: "by GloVe"}
LONG = 30
"""Characters of a replaced stretch beyond which a line may break in it."""
NO_ANSWER = "<i>no answer</i>"
ANSWER = '<span class="answer">', "</span>"


def paragraph(view: ParagraphView) -> str:
    """Show the original beside its copies."""
    copies = "".join(_copy(copy, view) for copy in view.copies)
    return (
        f'<article class="tf"><h2 dir="auto">{escape(view.title) or "Untitled"}</h2>'
        f'<div class="beside"><section class="original"><h3>Original</h3>'
        f"{_text(view.original, view)}{_questions(view)}</section>"
        f'<section class="copies">{copies or "<p>No copy fits.</p>"}</section></div></article>'
    )


def legend(sources: Iterable[int | None]) -> str:
    """Explain the marks, with one example each."""
    shown = " ".join(
        f'<span><ruby class="{CLASSES[source]}">new<rt>old</rt></ruby> '
        f"{f'replaced {NAMES[source]}' if source else 'replaced'}, the old word above it</span>"
        for source in sources
    )
    return (
        f'<p class="tf legend">{shown} <span>{ANSWER[0]}answer{ANSWER[1]} kept letter for letter'
        "</span></p>"
    )


def _copy(copy: CopyView, view: ParagraphView) -> str:
    readings = [
        f"<li>{number}: {_reading(reading)}</li>" for number, reading in enumerate(copy.readings, 1)
    ]
    read = f'<ul class="readings" aria-label="A reader\'s answers">{"".join(readings)}</ul>'
    return (
        f'<div class="copy"><h3>Copy {copy.number} <small>{copy.share:.0%} of its words replaced'
        f"</small></h3>{_text(copy, view)}{read if readings else ''}</div>"
    )


def _reading(reading: Reading) -> str:
    answer = f"<bdi>{escape(reading.answer)}</bdi>" if reading.answer else NO_ANSWER
    return f"{answer} <small>F1 {reading.f1:.2f}</small>"


def _text(copy: CopyView, view: ParagraphView) -> str:
    marks = [(start, end, *ANSWER) for start, end in copy.answers]
    for one in copy.replaced:
        classes = CLASSES[view.source_of(one.old_start)]
        classes += " long" if one.end - one.start > LONG else ""
        opening, closing = f'<ruby class="{classes}">', f"<rt>{escape(one.old)}</rt></ruby>"
        marks.append((one.start, one.end, opening, closing))
    return f'<p class="text" dir="auto">{marked(copy.text, sorted(marks))}</p>'


def _questions(view: ParagraphView) -> str:
    lines = []
    for question in view.questions:
        answers = " <small>or</small> ".join(
            f'<bdi class="answer">{escape(answer)}</bdi>' for answer in question.answers
        )
        lines.append(
            f'<li><span dir="auto">{escape(question.text)}</span> {answers or NO_ANSWER} '
            f"<small><code>{escape(question.id)}</code></small></li>"
        )
    return f'<h3>Questions</h3><ol class="questions">{"".join(lines)}</ol>'


def counts(manifest: Manifest) -> str:
    """Show what a manifest counted: two histograms and a table."""
    bins = manifest.copies_by_share_replaced
    width = 100 / len(bins)
    last = max((place for place, number in enumerate(bins) if number), default=0)
    shares = {f"{width * at:.0f} to {width * (at + 1):.0f} %": bins[at] for at in range(last + 1)}
    plan, inputs = manifest.plan, manifest.input_counts
    rows = {
        "made from": plan.input.name,
        "masked LM": plan.masked_lm.name if plan.masked_lm else "none",
        "vectors": plan.glove.name if plan.glove else "none",
        "words that may be replaced": plan.words,
        "chance to be replaced": plan.replace_probability,
        "candidates for a word": plan.num_candidates,
        "copies of each question": plan.copies_per_example,
        "seed": plan.seed,
        "rows": manifest.rows,
        **{name.replace("_", " "): number for name, number in sorted(inputs.items())},
        **{name.replace("_", " "): number for name, number in sorted(manifest.counts.items())},
    }
    lines = "".join(
        f"<tr><th scope='row'>{escape(name)}</th><td>{escape(_shown(value))}</td></tr>"
        for name, value in rows.items()
    )
    return (
        '<div class="tf"><div class="beside">'
        f"<section><h2>Words of all copies</h2>{_bars(word_shares(manifest))}"
        f"<h2>Copies by share of their words replaced</h2>{_bars(shares)}</section>"
        f"<section><h2>Counts</h2><table>{lines}</table></section></div></div>"
    )


def _bars(values: Mapping[str, float]) -> str:
    """Draw horizontal bars, each with its share of their sum."""
    total = sum(values.values()) or 1
    longest = max(values.values(), default=0) or 1
    return "".join(
        f'<div class="bar"><span>{escape(name)}</span><span>{value / total:.1%}</span>'
        f'<i style="width:{100 * value / longest:.1f}%"></i></div>'
        for name, value in values.items()
    )


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
