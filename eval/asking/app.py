"""The page on which readers are asked, made with Gradio."""

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from html import escape
from typing import Any, Literal

from augment.base.models import EMBEDDED
from augment.pages.local_page import import_gradio
from augment.squad import read_squad
from eval.asking.page import Reply, replies
from eval.reading.reader import Reader

SAMPLE = EMBEDDED / "sample-dev-v2.0.json"
NUM_EXAMPLES = 4
NAMES: tuple[Literal["run_qa", "farm"], ...] = ("run_qa", "farm")


def make_page(readers: Mapping[str, Reader], n_best: int) -> Any:
    """Make the page; `serve` shows it.

    Args:
        readers: by the name that is shown.
        n_best: how many spans of an answer are listed at first.
    """
    gr = import_gradio()
    paragraphs = read_squad(str(SAMPLE)).paragraphs[:NUM_EXAMPLES]
    examples = [[paragraph.questions[0].text, paragraph.context] for paragraph in paragraphs]
    title = ", ".join(readers)
    with gr.Blocks(title=title, analytics_enabled=False, fill_width=True) as page:
        gr.HTML(f'<div class="tf"><h1><bdi>{escape(title)}</bdi></h1></div>', padding=False)
        question = gr.Textbox(examples[0][0], label="Question", max_lines=1)
        text = gr.Textbox(examples[0][1], label="Text", lines=6, max_lines=20)
        with gr.Row():
            protocol = gr.Radio([*NAMES, "both"], value="run_qa", label="Protocol")
            number = gr.Slider(1, 20, n_best, step=1, label="Best spans shown")
        button = gr.Button("Ask", variant="primary")
        shown = gr.HTML(padding=False)
        gr.Examples(examples, [question, text], label="Examples", cache_examples=False)
        for event in (button.click, question.submit):
            event(partial(_ask, readers), [question, text, protocol, number], shown)
    return page


def _ask(
    readers: Mapping[str, Reader], question: str, text: str, protocol: str, number: float
) -> str:
    """Answer a click."""
    if not question.strip() or not text.strip():
        return '<p class="tf" role="alert">A question and a text, please.</p>'
    names = [name for name in NAMES if protocol in (name, "both")]
    try:
        given = [
            _reply(shown, by_protocol(reader, name), question, text, int(number))
            for shown, reader in readers.items()
            for name in names
        ]
    except ValueError as error:
        return f'<p class="tf" role="alert">{escape(str(error))}</p>'
    return replies(given, text)


def by_protocol(reader: Reader, name: Literal["run_qa", "farm"]) -> Reader:
    """Give the same reader with another protocol; its windows keep their length."""
    protocol = replace(
        reader.protocol, name=name, max_answer_length=None, max_query_length=None
    )  # None: the new protocol's own
    return replace(reader, protocol=protocol, counts={})


def _reply(shown: str, reader: Reader, question: str, text: str, n_best: int) -> Reply:
    started = time.perf_counter()
    answer = reader.answer(question, text, n_best)
    return Reply(shown, reader.protocol.name, answer, time.perf_counter() - started)
