"""What a student can do that was not asked to be trained for it: losses and F1, row by row.

A student cut out of its teacher keeps the teacher's span head through stage 1, so its answers can
be read before any stage has trained them.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from augment.squad import read_squad
from distill.models.distiller import IntermediateDistiller, SpanDistiller, model_inputs
from distill.models.student import load_teacher, make_student
from distill.models.teacher import IntermediateTeacher, SpanTeacher
from distill.recipes import Stage
from distill.rows.batches import Batches
from distill.rows.features import Features
from distill.studies.records import Rows
from distill.training.preflight import settle_layer_map
from eval.reading.protocol import Protocol
from eval.reading.reader import Dtype, Reader
from eval.squad_v2 import question_scores


class HeldOut:
    """Rows set apart with what the teacher says of them; every loss by row, in float32."""

    def __init__(self, features: Features, teacher: str, stages: tuple[Stage, Stage]) -> None:
        self.first, self.second = stages
        hidden_teacher = load_teacher(teacher, span_head=False)[1]
        self.teacher_width = hidden_teacher.config.hidden_size
        layer_map = settle_layer_map(self.first, len(self.first.layer_map or ()), hidden_teacher)
        attention = bool(self.first.attention_weight)
        targets = IntermediateTeacher(hidden_teacher, layer_map, attention=attention)
        span_targets = SpanTeacher(load_teacher(teacher, span_head=True)[1])
        batches = Batches(features, 0, 1, 1, 0)
        rows = [batches.collate(np.array([row])) for row in range(len(features))]
        self.rows = [(row, targets(row), span_targets(row)) for row in rows]

    @torch.no_grad()
    def losses(self, folder: Path) -> dict[str, Rows]:
        """Give the losses of a student, (rows,) each.

        `held_out_loss` is stage 1's; `span_divergence` the sum of the start's and the end's KL
        from the teacher's distributions.
        """
        student, reader = (make_student(str(folder), None, 0) for _ in range(2))
        inner = IntermediateDistiller(student, self.teacher_width, self.first).eval()
        spans = SpanDistiller(reader, self.second).eval()
        found: dict[str, list[float]] = {"held_out_loss": [], "span_divergence": []}
        for row, taught, taught_spans in self.rows:
            given = model_inputs(student, row)
            found["held_out_loss"].append(float(inner(**given, **taught)["loss"]))
            losses = spans(**given, positions=row["positions"], **taught_spans)
            found["span_divergence"].append(float(losses["kd_loss"]))
        return {name: np.array(values, np.float32) for name, values in found.items()}


def dev_scores(student: Path, dev: Path, protocol: Protocol, dtype: Dtype) -> dict[str, Rows]:
    """Ask a reader all questions of an answerable dev set; `exact` and `f1` by question, 0 to 1."""
    pairs = [(p.context, q) for p in read_squad(dev).paragraphs for q in p.questions]
    reader = Reader.load(student, protocol=protocol, device="cpu", dtype=dtype)
    answers = reader.read(
        [question.text for _, question in pairs],
        [context for context, _ in pairs],
        may_be_null=False,
    )
    scores = [
        question_scores(answer.text, tuple(gold.text for gold in question.answers))
        for (_, question), answer in zip(pairs, answers, strict=True)
    ]
    exact, f1 = zip(*scores, strict=True)
    return {"exact": np.array(exact, np.float32), "f1": np.array(f1, np.float32)}


def means(rows: Mapping[str, Rows]) -> dict[str, float]:
    """Give the figures of a record: scores in percent, losses as they are."""
    scale = {"exact": 100.0, "f1": 100.0}
    return {
        name: round(float(values.mean(dtype=np.float64)) * scale.get(name, 1.0), 4)
        for name, values in rows.items()
    }
