"""A paragraph with its questions and answers, and the one check of a span."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answer:
    """A gold answer: `context[start:start + len(text)] == text`."""

    text: str
    start: int

    @property
    def end(self) -> int:
        """The character after the answer's last one."""
        return self.start + len(self.text)


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its gold answers; without any exactly when `is_impossible`."""

    id: str
    text: str
    answers: tuple[Answer, ...]
    is_impossible: bool


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A context with the questions that were asked of it."""

    title: str
    context: str
    questions: tuple[Question, ...]


def span_fault(context: str, text: str, start: int) -> str | None:
    """Say what is wrong with an answer span, or None. The one check of the whole project."""
    if not text:
        return "the answer is empty"
    if start < 0 or start + len(text) > len(context):
        return f"answer_start {start} of {text!r} lies outside the {len(context)} characters"
    found = context[start : start + len(text)]
    if found != text:
        return f"context[{start}:{start + len(text)}] is {found!r}, the answer is {text!r}"
    return None


def raise_faults(name: str, faults: Sequence[str], remedy: str) -> None:
    """Raise the first ten faults and their number, if there are any."""
    if faults:
        raise ValueError(told(name, faults, remedy))


def told(name: str, faults: Sequence[str], remedy: str) -> str:
    """Write the first ten faults of a kind, their number, and what to do."""
    shown = "\n  ".join(faults[:10])
    more = f"\n  ... {len(faults)} faults in all" if len(faults) > 10 else ""
    return f"{name}: {shown}{more}\n{remedy}"
