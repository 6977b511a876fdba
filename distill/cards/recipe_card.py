"""The card of a recipe: what was published, what was measured here, and how to measure the rest.

A recipe's folder holds a folder for each arm that was run, laid out as a finished student is:
`student/training.json`, `student/eval/scores.json` and `student/eval/predict.json`; other arms
(`no-distillation`, `teacher`) stand beside it. An arm that was only scored has no training.json.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from augment.cards.template import render
from distill.cards.measured import (
    FIGURES,
    REMEDY,
    SCORES,
    TRAINING,
    dev_set,
    read_json,
    read_scores,
    read_training,
    signature_of,
)
from distill.cards.model_head import base_model, head
from distill.cards.published import published
from distill.recipes import find_recipe
from eval.reading.pruned import PRUNING, Pruned, read_pruned
from eval.scoring.submission import PREDICT_CONFIG

SPEED = "speed.json"
PICTURE = "speed.svg"
DENSITY = "density.svg"
PLOTTED_BATCH = 8
SQUAD_FACTS = {"language": "en", "license": "cc-by-sa-4.0"}
"""The recipes are for SQuAD."""
STUDENT = "student"
"""The arm that is the recipe itself; its figures stand in the card's head."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One system that was scored here."""

    name: str
    """Of its folder."""
    scores: Mapping[str, Any]
    """The official figures."""
    made: Mapping[str, Any]
    """How they were predicted."""
    training: Mapping[str, Any] | None
    """The record of its training; None where it was not trained here."""
    pruned: Pruned | None = None
    """What is left of it; None where nothing was pruned."""
    speed: Mapping[str, Any] | None = None
    """What `distill.prune_bench` measured of it."""


def recipe_card(name: str, folder: Path) -> str:
    """Write the card of a recipe from what is published and what lies in its folder.

    Raises:
        ValueError: no such recipe, or files that are malformed or not measured, named.
    """
    said, recipe, arms = published(name), find_recipe(name), read_arms(folder)
    student = next((arm for arm in arms if arm.name == STUDENT), None)
    base = base_model(recipe.student, recipe.stages[-1].teacher)
    scores, made = (student.scores, student.made) if student else (None, {})
    figures = [figure for figure in FIGURES[said.metric] if figure != "NoAns_f1"]  # equals exact
    return render(
        Path(__file__).with_name("recipe_card.md.jinja"),
        head(name, SQUAD_FACTS, base, said.datasets, scores, made),
        name=name,
        published=said,
        recipe=recipe,
        arms=arms,
        student=student,
        given=[
            name for name in FIGURES[said.metric] if any(name in f.scores for f in said.figures)
        ],
        figures=figures + ["best_f1"] * (said.metric == "squad_v2"),
        dev_names=list(
            dict.fromkeys(dev_set(signature_of(arm.scores), arm.made)[1] for arm in arms)
        ),
        speed=_common_speed(arms),
        picture=PICTURE,
        density=DENSITY,
    )


def read_arms(folder: Path) -> list[Arm]:
    """Read every arm in a recipe's folder, the student first.

    Raises:
        FileNotFoundError, ValueError: an arm that is not whole, or not what was measured.
    """
    names = {path.parent.parent.name for path in folder.glob(f"*/eval/{SCORES}")}
    names |= {path.parent.name for path in folder.glob(f"*/{TRAINING}")}
    return [_read_arm(folder / name) for name in sorted(names, key=lambda n: (n != STUDENT, n))]


def _read_arm(folder: Path) -> Arm:
    scores = read_scores(folder / "eval" / SCORES)
    training = None
    if (folder / TRAINING).is_file():
        training = read_training(folder)
        if training.get("scores") not in (scores, None):  # None: scored after its training
            raise ValueError(f"{folder / TRAINING}: not the scores of eval/{SCORES}; {REMEDY}")
    made = read_json(folder / "eval" / PREDICT_CONFIG)
    pruned = speed = None
    if (folder / PRUNING).is_file():
        pruned = read_pruned(folder / PRUNING)
    if (folder / SPEED).is_file():
        speed = read_json(folder / SPEED)
        if speed["sha256"] != made.get("model_sha256"):
            raise ValueError(f"{folder / SPEED}: not of the reader that was scored; {REMEDY}")
        if str(PLOTTED_BATCH) not in speed["batches"]:
            raise ValueError(f"{folder / SPEED}: no batch of {PLOTTED_BATCH}; measure it, too")
    return Arm(
        name=folder.name, scores=scores, made=made, training=training, pruned=pruned, speed=speed
    )


def _common_speed(arms: Sequence[Arm]) -> Mapping[str, Any] | None:
    """Give what the arms' measurements of speed have in common.

    Raises:
        ValueError: they were made otherwise, or elsewhere.
    """
    speeds = [arm.speed for arm in arms if arm.speed]
    for name in ("dense", "dense_sha256", "tokens", "dtype", "threads"):
        if any(speed[name] != speeds[0][name] for speed in speeds):
            raise ValueError(f"{SPEED} of the arms: {name} differs; measure them alike")
    machines = {str(s["hardware"].get("gpu") or s["hardware"]["processor"]) for s in speeds}
    if len(machines) > 1:
        raise ValueError(f"{SPEED} of the arms: measured on {' and on '.join(sorted(machines))}")
    return speeds[0] if speeds else None


def pictures(arms: Sequence[Arm]) -> dict[str, bytes]:
    """Draw what a card shows, by the names of the files."""
    from distill.prune.report import draw_density, draw_tradeoff

    drawn = {}
    if points := speed_points(arms):
        drawn[PICTURE] = draw_tradeoff(points)
    for arm in arms:
        if arm.name == STUDENT and arm.pruned is not None:
            drawn[DENSITY] = draw_density(arm.pruned)
    return drawn


def _strength(arm: Arm) -> str:
    """Name an arm; the student with how strongly it was pruned, as other arms have in theirs."""
    stages = arm.training["plan"]["recipe"]["stages"] if arm.training else []
    found = [f"{s['regularization']:g}" for s in stages if "regularization" in s]
    if arm.name != STUDENT or not found:
        return arm.name
    return f"{arm.name} (regularization {', '.join(found)})"


def speed_points(arms: Sequence[Arm]) -> dict[str, tuple[float, float]]:
    """Give each arm's speed in batches of 8 and F1; an arm named `dense` is 1 time as fast."""
    points = {}
    for arm in arms:
        if arm.speed is not None:
            ratio = arm.speed["batches"][str(PLOTTED_BATCH)]["ratio"]
            points[_strength(arm)] = (float(ratio), arm.scores["f1"])
        elif arm.name == "dense":
            points[arm.name] = (1.0, arm.scores["f1"])
    return points
