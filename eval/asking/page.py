"""A reader's answer as HTML. Whatever was typed in or came from a model is escaped."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from augment.pages.local_page import marked
from eval.reading.answers import Answer


@dataclass(frozen=True)
class Reply:
    """What one reader said to a question, by one protocol."""

    reader: str
    protocol: str
    answer: Answer
    seconds: float


def replies(given: Sequence[Reply], text: str) -> str:
    """Show the replies side by side."""
    return f'<div class="tf replies">{"".join(_reply(reply, text) for reply in given)}</div>'


def _reply(reply: Reply, text: str) -> str:
    answer = reply.answer
    marks = [(answer.start, answer.end, '<span class="answer">', "</span>")] if answer.text else []
    said = f'<bdi class="answer">{escape(answer.text)}</bdi>' if answer.text else "<i>no answer</i>"
    chance = answer.no_answer_probability
    return (
        f'<section class="copy"><h2><bdi>{escape(reply.reader)}</bdi> '
        f"<small>{escape(reply.protocol)}, {1000 * reply.seconds:,.0f} ms</small></h2>"
        f'<p class="said">{said}</p><div class="bar"><span>probability of no answer</span>'
        f'<span>{chance:.1%}</span><i style="width:{100 * chance:.1f}%"></i></div>'
        f'<p class="text" dir="auto">{marked(text, marks)}</p>{_best(answer)}</section>'
    )


def _best(answer: Answer) -> str:
    lines = "".join(
        f'<tr><th scope="row"><bdi>{escape(span.text)}</bdi></th><td>{span.score:.2f}</td></tr>'
        for span in answer.spans
    )
    return (
        '<table><thead><tr><th scope="col">best spans</th><th scope="col">score</th></tr></thead>'
        f'<tbody>{lines}<tr><th scope="row"><i>no answer</i></th>'
        f"<td>{answer.null.score:.2f}</td></tr></tbody></table>"
    )
