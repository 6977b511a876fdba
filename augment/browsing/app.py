"""The page of a set, made with Gradio: a search, filters, and a paragraph beside its copies."""

import random
from functools import partial
from html import escape
from typing import Any

from augment.browsing.browser import Browser, Sight
from augment.browsing.page import NAMES, counts, legend, paragraph
from augment.browsing.query import Query
from augment.pages.local_page import import_gradio


def make_page(browser: Browser) -> Any:
    """Make the page; `serve` shows it."""
    gr = import_gradio()
    name = browser.index.folder.resolve().name
    with gr.Blocks(title=name, analytics_enabled=False, fill_width=True) as page:
        head = gr.HTML(_head(browser, "Checking the hashes of all shards ..."), padding=False)
        with gr.Tab("Paragraphs"):
            with gr.Row():
                text = gr.Textbox(
                    label="Search",
                    placeholder="words of a text, or a question's id",
                    scale=3,
                    min_width=260,
                )
                title = gr.Textbox(
                    label="Title", placeholder="words of a title", scale=2, min_width=160
                )
                position = gr.Number(
                    1, label="Paragraph", precision=0, minimum=0, scale=1, min_width=90
                )
            with gr.Accordion("Filters", open=False):
                filters = _filters(gr, browser)
            with gr.Row():
                search = gr.Button("Search", variant="primary", scale=0, min_width=100)
                previous = gr.Button("Previous", scale=0, min_width=100)
                following = gr.Button("Next", scale=0, min_width=100)
                anyone = gr.Button("Random", scale=0, min_width=100)
                place = gr.HTML()
            gr.HTML(legend(browser.kinds), padding=False)
            shown = gr.HTML(padding=False)
        with gr.Tab("Counts"):
            gr.HTML(counts(browser.index.manifest), padding=False)

        wanted = {"inputs": [position, text, title, *filters], "outputs": [position, place, shown]}
        first = partial(_look, browser, "first")
        page.load(first, **wanted)
        page.load(lambda: _checked(browser), outputs=head, show_progress="hidden")
        text.submit(first, **wanted)
        search.click(first, **wanted)
        title.submit(first, **wanted)
        for control in filters:
            (control.release if hasattr(control, "release") else control.input)(first, **wanted)
        position.submit(partial(_look, browser, "here"), **wanted)
        for button, way in ((previous, "back"), (following, "on"), (anyone, "random")):
            button.click(partial(_look, browser, way), show_progress="hidden", **wanted)
    return page


def _look(
    browser: Browser,
    way: str,
    position: int | None,
    text: str,
    title: str,
    kind: Any,
    copy: int,
    source: int,
    low: float,
    high: float,
    low_f1: float = 0,
    high_f1: float = 0,
) -> tuple[int, str, str]:
    """Answer a click: the new position, a line on it, and the paragraph."""
    query = Query(
        text=text.strip(),
        title=title or "",
        kind=kind,
        copy=copy or None,
        shares=(low / 100, high / 100),
        reader_f1=(low_f1, high_f1) if high_f1 - low_f1 < browser.most_f1 else None,
    )
    steps = {"back": -1, "on": 1}
    starts = {"first": 1, "random": random.randint(1, max(1, browser.count(query)))}
    try:
        at = starts.get(way, position or 1)
        sight = browser.sight(query, at, steps.get(way, 0), source or None)
    except ValueError as error:
        return position or 0, "", f'<p class="tf" role="alert">{escape(str(error))}</p>'
    return sight.position, _place(sight), paragraph(sight.paragraph) if sight.paragraph else ""


def _place(sight: Sight) -> str:
    line = f"{sight.position:,} of {sight.found:,}" if sight.found else "Nothing found."
    return f'<p class="tf place" role="status">{line}</p>'


def _checked(browser: Browser) -> str:
    """Wait until every hash is checked, and say what was found."""
    faults = browser.faults()
    if not faults:
        return _head(browser, "Every shard is what the manifest says.")
    listed = "".join(f"<li>{escape(fault)}</li>" for fault in faults[:10])
    return (
        f"{_head(browser, f'This set is damaged, {len(faults)} faults: copy or build it again.')}"
        f'<ul class="tf" role="alert">{listed}</ul>'
    )


def _head(browser: Browser, status: str) -> str:
    index = browser.index
    numbers = (
        f"{len(index.titles):,} paragraphs, {len(index.question_rows):,} questions, "
        f"{int(index.copy_rows[-1]):,} rows."
    )
    return (
        f'<div class="tf"><h1 dir="auto">{escape(index.folder.resolve().name)}</h1>'
        f"<p>{numbers} <span role='status'>{escape(status)}</span></p></div>"
    )


def _filters(gr: Any, browser: Browser) -> list[Any]:
    """Make the filters, in the order in which `_look` takes them."""
    kinds = [(NAMES[kind], kind) for kind in browser.kinds if kind]
    with gr.Row():
        filters = [
            gr.Radio(["all", "answerable", "unanswerable"], value="all", label="Questions"),
            gr.Slider(0, browser.plan.copies_per_example, 0, step=1, label="Copy (0 for all)"),
            gr.Radio([("any", 0), *kinds], value=0, label="Words replaced", visible=len(kinds) > 1),
        ]
    with gr.Row():
        filters += [
            gr.Slider(0, 100, 0, step=1, label="% of its words replaced, at least"),
            gr.Slider(0, 100, 100, step=1, label="% of its words replaced, at most"),
        ]
    if browser.most_f1:
        most = browser.most_f1
        with gr.Row():
            filters += [
                gr.Slider(0, most, 0, label="A reader's F1 on it, at least"),
                gr.Slider(0, most, most, label="A reader's F1 on it, at most"),
            ]
    return filters
