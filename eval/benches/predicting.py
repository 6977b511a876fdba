"""The benchmark's rows on predicting: whole predictions, and logits to answers."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from eval.benches.plain import plain_run_qa
from eval.benches.timing import Comparison, take_turns
from eval.reading.answers import Answer, choose_answers
from eval.reading.exported import exported_dtype, is_exported
from eval.reading.protocol import Protocol
from eval.reading.reader import Reader
from eval.reading.spans import FloatArray, WindowSpans, find_spans
from eval.reading.windows import Window, cut_windows
from eval.scoring.gold import GoldQuestion, texts_to_read
from eval.squad_v1 import percent
from eval.squad_v2 import question_scores

Logits = list[tuple[FloatArray, FloatArray]]
PARTS = 5
"""The questions are predicted in so many parts, each by all ways in turn."""


def compare_predicting(model: str, gold: Sequence[GoldQuestion]) -> Iterator[Comparison]:
    """Predict both ways: windows sorted by length, against input order padded to 384 in fp32."""
    exact = Reader.load(model, device="cpu")
    readers = {"float32": exact}
    if is_exported(model):
        readers = {exported_dtype(model): exact}
    else:
        readers["bfloat16"] = Reader.load(model, device="cpu", dtype="bfloat16")
    seconds: dict[str, list[float]] = {"plain": [], **{name: [] for name in readers}}
    texts: dict[str, list[str]] = {name: [] for name in seconds}
    parts = [gold[part::PARTS] for part in range(PARTS)]
    for part in parts:
        questions, contexts = texts_to_read(part, "the dev set")
        start = time.perf_counter()
        cut = cut_windows(exact.tokenizer, questions, contexts, exact.protocol.window_rule)
        logits = unpadded(cut.windows, plain_logits(exact, cut.windows))
        found = plain_run_qa(cut.windows, logits, contexts, exact.protocol, True)
        seconds["plain"].append(time.perf_counter() - start)
        texts["plain"] += [answer["text"] for answer in found]
        for name, reader in readers.items():
            start = time.perf_counter()
            texts[name] += [answer.text for answer in reader.read(questions, contexts)]
            seconds[name].append(time.perf_counter() - start)
    asked = [question for part in parts for question in part]
    plain_score = _score(asked, texts["plain"])
    for name in readers:
        pairs = zip(texts["plain"], texts[name], strict=True)
        others = sum(one != other for one, other in pairs)
        note = (
            f"{len(asked)} questions, {others} answered otherwise; exact / f1 "
            f"{plain_score} plain, {_score(asked, texts[name])} ours"
        )
        what = f"predicting, sorted by length, {name}"
        yield Comparison(what, tuple(seconds["plain"]), tuple(seconds[name]), note)


def compare_answers(model: str, gold: Sequence[GoldQuestion], repeats: int) -> Comparison:
    """Turn the logits of all windows into answers with n-best lists: arrays against loops."""
    reader = Reader.load(model, device="cpu", dtype="float32" if is_exported(model) else "bfloat16")
    questions, contexts = texts_to_read(gold, "the dev set")
    windows = cut_windows(
        reader.tokenizer, questions, contexts, reader.protocol.window_rule
    ).windows
    logits = sorted_logits(reader, windows)
    plain: list[dict[str, Any]] = []
    ours: list[Answer] = []

    def run_plain() -> None:
        plain[:] = plain_run_qa(windows, unpadded(windows, logits), contexts, reader.protocol, True)

    def run_ours() -> None:
        ours[:] = answers_from_logits(windows, logits, contexts, reader.protocol)

    seconds = take_turns(run_plain, run_ours, repeats)
    same = "equal answers" if equal_answers(ours, plain) else "UNEQUAL answers"
    return Comparison("logits to answers", *seconds, f"{len(windows)} windows; {same}")


def equal_answers(ours: Sequence[Answer], plain: Sequence[dict[str, Any]]) -> bool:
    """Compare texts, the null's lead and the n-best lists."""
    return all(
        (answer.text, answer.null_odds) == (result["text"], result["null_odds"])
        and [(s.text, s.score) for s in answer.spans]
        == [(span["text"], span["score"]) for span in result["nbest"]]
        for answer, result in zip(ours, plain, strict=True)
    )


def answers_from_logits(
    windows: Sequence[Window],
    logits: FloatArray,
    contexts: Sequence[str],
    protocol: Protocol,
    batch_size: int = 32,
) -> list[Answer]:
    """Turn the logits of all windows, held in memory, into answers, as `Reader.read` does.

    Args:
        windows: of all questions, in order.
        logits: start and end logits, (2, windows, length), padded on the right.
    """
    spans = WindowSpans.empty(len(windows), protocol.n_best_size)
    for rows in _by_length(windows, batch_size):
        batch = [windows[row] for row in rows]
        starts, ends = logits[:, rows, : len(batch[0])]
        spans.put(rows, find_spans(batch, starts, ends, protocol))
    rows = np.array([window.row for window in windows])
    return choose_answers(rows, spans, contexts, protocol, may_be_null=True)


def plain_logits(reader: Reader, windows: Sequence[Window]) -> FloatArray:
    """Run the windows in the order of the input, padded to the full length.

    Returns:
        Start and end logits, (2, windows, length).
    """
    size, length = reader.batch_size, reader.protocol.max_seq_length
    batches = [windows[start : start + size] for start in range(0, len(windows), size)]
    return np.concatenate([np.stack(reader.logits(b, length)) for b in batches], axis=1)


def sorted_logits(reader: Reader, windows: Sequence[Window]) -> FloatArray:
    """Run the windows sorted by length; the logits are in the order of the input."""
    found = np.zeros((2, len(windows), reader.protocol.max_seq_length), np.float32)
    for rows in _by_length(windows, reader.batch_size):
        starts, ends = reader.logits([windows[row] for row in rows])
        found[:, rows, : starts.shape[1]] = starts, ends
    return found


def unpadded(windows: Sequence[Window], logits: FloatArray) -> Logits:
    """Give each window's own logits, (length,) each, as `eval.benches.plain` takes them."""
    return [
        (logits[0, row, : len(window)], logits[1, row, : len(window)])
        for row, window in enumerate(windows)
    ]


def _by_length(windows: Sequence[Window], batch_size: int) -> Iterator[Any]:
    order = np.argsort([-len(window) for window in windows], kind="stable")
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def _score(gold: Sequence[GoldQuestion], texts: Sequence[str]) -> str:
    scores = [question_scores(text, q.answers or ()) for q, text in zip(gold, texts, strict=True)]
    exact, f1 = percent([pair[0] for pair in scores]), percent([pair[1] for pair in scores])
    return f"{exact:.2f} / {f1:.2f}"
