"""Predictions made again from what `distill.archive` keeps of a run."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from distill.archive import PLACES, PREDICTIONS, PROBABILITIES
from distill.cards.measured import read_json
from eval.scoring.gold import read_gold
from eval.scoring.submission import PREDICT_CONFIG


def restore(arm: Path, dev: str, out: Path) -> None:
    """Write the predictions of an arm again, byte for byte, with what makes them scorable.

    Raises:
        ValueError: the bytes are not those that were scored.
    """
    made = read_json(arm / "eval" / PREDICT_CONFIG)
    questions, _ = read_gold(dev)
    with np.load(arm / "eval" / PLACES) as places:
        spans = zip(places["start"].tolist(), places["end"].tolist(), strict=True)
        texts = [
            (question.context or "")[start:end]
            for question, (start, end) in zip(questions, spans, strict=True)
        ]
        files = {PREDICTIONS: dict(zip((q.id for q in questions), texts, strict=True))}
        if "na_probs" in places:
            values = places["na_probs"].tolist()
            files[PROBABILITIES] = dict(zip((q.id for q in questions), values, strict=True))
    for name, values in files.items():
        content = _lines(values)
        if hashlib.sha256(content.encode()).hexdigest() != made["files"][name]:
            raise ValueError(f"{arm / 'eval' / PLACES}: does not give the {name} that was scored")
        (out / name).write_text(content, encoding="utf-8")
    (out / PREDICT_CONFIG).write_text(json.dumps(made), encoding="utf-8")


def _lines(values: Mapping[str, Any]) -> str:
    """Write as `eval.predict` does: the hash tells where that changes."""
    lines = (f"{json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in values.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"
