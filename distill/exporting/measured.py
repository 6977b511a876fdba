"""What an exported reader is worth beside the checkpoint: times faster, and scores."""

import statistics
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from augment.base.command import usable_cores
from distill.exporting.graph import random_batch
from eval.benches.timing import Comparison, take_turns
from eval.reading.encoder import positions_of
from eval.reading.exported import ExportedReader
from eval.reading.protocol import Protocol
from eval.reading.reader import Reader
from eval.scoring.gold import GoldQuestion
from eval.squad_v1 import percent
from eval.squad_v2 import question_scores

BATCHES = (1, 8)
THREADS = (1, 2)
TOKENS = 384


def measure_speed(model: Any, tokenizer: Any, folder: Path, repeats: int) -> list[dict[str, Any]]:
    """Run checkpoint and graph in turns, both with one thread and with two.

    Returns:
        For each number of threads and rows: times faster in every turn and their median, and
        the median milliseconds of both.
    """
    tokens = min(TOKENS, positions_of(model.config) or TOKENS)
    before = torch.get_num_threads()
    found: list[dict[str, Any]] = []
    try:
        for threads in (number for number in THREADS if number <= usable_cores()):
            torch.set_num_threads(threads)
            exported = ExportedReader(folder)
            for rows in BATCHES:
                batch = random_batch(model, tokenizer, (rows, tokens))
                batch["attention_mask"].fill_(1)
                with torch.inference_mode():
                    seconds = take_turns(
                        partial(model, **batch), partial(exported, **batch), repeats
                    )
                turns = Comparison("", *seconds)
                row: dict[str, Any] = {"threads": threads, "batch": rows, "tokens": tokens}
                row |= {"ratio": turns.ratio, "ratios": turns.ratios}
                for name, taken in zip(("checkpoint", "exported"), seconds, strict=True):
                    row[f"{name}_ms"] = 1000 * statistics.median(taken)
                found.append(row)
    finally:
        torch.set_num_threads(before)
    return found


def measure_scores(
    model: Any, exported: ExportedReader, tokenizer: Any, gold: Sequence[GoldQuestion]
) -> dict[str, Any]:
    """Ask both the same questions.

    Returns:
        `exact` and `f1` of `checkpoint` and of `exported`, and `otherwise`: how many questions
        have another answer.
    """
    questions, contexts = [q.text or "" for q in gold], [q.context or "" for q in gold]
    may_be_null = any(question.may_be_null for question in gold)
    protocol = _protocol(model)
    found: dict[str, Any] = {"questions": len(gold), "protocol": protocol.signature()}
    texts = {}
    for name, asked in (("checkpoint", model), ("exported", exported)):
        answers = Reader(asked, tokenizer, protocol).read(
            questions, contexts, may_be_null=may_be_null, progress=True
        )
        texts[name] = [answer.text for answer in answers]
        scores = [
            question_scores(text, question.answers or ())
            for question, text in zip(gold, texts[name], strict=True)
        ]
        found[name] = {
            "exact": percent([pair[0] for pair in scores]),
            "f1": percent([pair[1] for pair in scores]),
        }
    pairs = zip(texts["checkpoint"], texts["exported"], strict=True)
    found["otherwise"] = sum(one != other for one, other in pairs)
    return found


def _protocol(model: Any) -> Protocol:
    """Read as run_qa does, in windows that fit the model's positions."""
    positions = positions_of(model.config) or TOKENS
    if positions >= TOKENS:
        return Protocol(max_seq_length=TOKENS)
    part = positions // 4
    return Protocol(max_seq_length=positions, doc_stride=part, max_query_length=part)
