"""What was measured, as cards may quote it: read from the files of a run, and checked.

A figure without predictions, a signature or a known protocol is no measurement, nor is NaN.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from augment.base.paragraphs import raise_faults
from augment.base.toml_files import fill, known_part
from augment.cards.head import not_finite
from eval.scoring.submission import PREDICT_CONFIG

TRAINING, SCORES = "training.json", "scores.json"
REMEDY = "train, predict and score again; a card quotes what was measured, nothing else"

FIGURES = {
    "squad_v2": ("exact", "f1", "HasAns_exact", "HasAns_f1", "NoAns_exact", "NoAns_f1"),
    "squad_v1": ("exact_match", "f1"),
}
"""Percentages that a score file of each metric has."""

DEV_SETS = {
    "27e5fad348e8": ("rajpurkar/squad_v2", "SQuAD 2.0"),
    "a28c9df3806a": ("rajpurkar/squad", "SQuAD 1.1"),
}
"""Hub id and name of the dev sets, by the hash in a signature (ids and gold answers)."""


def read_json(path: Path) -> dict[str, Any]:
    """Read an object of finite numbers.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not JSON, not an object, or NaN or infinite values, named.
    """
    try:
        found = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a JSON file: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path}: expected one object, found {type(found).__name__}")
    raise_faults(str(path), [f"{key} is {value}" for key, value in not_finite(found)], REMEDY)
    return found


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """A stage of a recipe, as far as a card tells it."""

    kind: str
    rows: str
    epochs: float
    batch_size: int
    learning_rate: float
    teacher: str | None = None


@dataclass(frozen=True, kw_only=True)
class RecipePlan:
    """A recipe, as far as a card tells it."""

    name: str
    student: str
    stages: tuple[StagePlan, ...]


@dataclass(frozen=True, kw_only=True)
class RowsPlan:
    """The rows of a stage."""

    kind: str
    name: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What decided a student."""

    recipe: RecipePlan
    rows: tuple[RowsPlan, ...]
    max_steps: int | None = None


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """How a stage went."""

    steps: int
    examples: int
    seconds: float
    energy_kwh: float | None = None
    last_losses: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class TrainingRecord:
    """What every training.json says, besides what differs."""

    plan: Plan
    stages: tuple[StageRecord, ...]
    scores: Any
    weights_sha256: str
    parameters: int
    hardware: Mapping[str, Any]
    seconds: float


def read_training(folder: Path) -> dict[str, Any]:
    """Read a student's training.json, its types checked.

    Raises:
        FileNotFoundError: no such file.
        ValueError: what `read_json` refuses; a key that is missing or has another type, named.
    """
    found = read_json(folder / TRAINING)
    try:
        fill(TrainingRecord, known_part(TrainingRecord, found), "")
    except ValueError as error:
        raise ValueError(f"{folder / TRAINING}: incomplete ({error}); {REMEDY}") from error
    return found


def read_scores(path: Path) -> dict[str, Any]:
    """Read the official figures of a file, and check them with what lies beside.

    Raises:
        FileNotFoundError: no score file, or no predict.json beside it.
        ValueError: figures that are malformed or not measured, named.
    """
    scores = read_json(path)
    faults = score_faults(scores)
    made = read_json(path.with_name(PREDICT_CONFIG))
    if not faults and signature_of(scores)["protocol"] != made.get("protocol_signature"):
        faults.append(f"its protocol is not the one of {PREDICT_CONFIG}")
    for name in ("predictions.json", "na_probs.json"):
        beside = path.with_name(name)
        if not beside.is_file():
            continue
        if hashlib.sha256(beside.read_bytes()).hexdigest() != made.get("files", {}).get(name):
            faults.append(f"{name} is not the file that {PREDICT_CONFIG} names")
    raise_faults(str(path), faults, REMEDY)
    return scores


def score_faults(scores: Mapping[str, Any]) -> list[str]:
    """List what is malformed or not measured in a flat object of official figures."""
    try:
        parts = signature_of(scores)
    except ValueError as error:
        return [str(error)]
    faults = []
    if parts.get("protocol", "unknown") == "unknown":
        faults.append("the protocol is unknown: the predictions are not those of eval.predict")
    total = scores.get("total")
    if not isinstance(total, int) or str(total) != parts.get("n"):
        faults.append(f"total is {total!r}, the signature says n:{parts.get('n')}")
    for name in FIGURES.get(parts["metric"], ()):
        group = scores.get(name.partition("_")[0] + "_total")
        if scores.get(name) is None and group == 0 and name in scores:
            continue
        if not _is_percentage(scores.get(name)):
            faults.append(f"{name} is {scores.get(name)!r}, not a percentage")
    if not faults and parts["metric"] == "squad_v2":
        faults = [name for name in ("exact", "f1") if not _adds_up(scores, name)]
        faults = [f"{name} is not what HasAns_{name} and NoAns_{name} come to" for name in faults]
    return faults


def signature_of(scores: Mapping[str, Any]) -> dict[str, str]:
    """Take a score's signature apart.

    Raises:
        ValueError: there is none, or it is none of ours.
    """
    signature = scores.get("signature")
    if not isinstance(signature, str) or not signature:
        raise ValueError("no signature")
    parts = dict(part.partition(":")[::2] for part in signature.split("|"))
    if parts.get("metric") not in FIGURES:
        raise ValueError(f"signature {signature!r}: its metric is not one of {', '.join(FIGURES)}")
    return parts


def dev_set(parts: Mapping[str, str], made: Mapping[str, Any]) -> tuple[str, str]:
    """Give the hub id (or else the file's name) and a name of what was scored.

    Args:
        parts: of a signature.
        made: what `eval.predict` wrote into predict.json.
    """
    own_name = str(made.get("dev"))
    return DEV_SETS.get(parts.get("data", ""), (own_name, own_name))


def _is_percentage(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 100


def _adds_up(scores: Mapping[str, Any], name: str) -> bool:
    kinds = ("HasAns", "NoAns")
    groups = [(scores.get(f"{k}_total") or 0, scores.get(f"{k}_{name}")) for k in kinds]
    whole = sum(number * (value or 0.0) for number, value in groups) / max(1, scores["total"])
    return math.isclose(whole, scores[name], abs_tol=1e-6)
