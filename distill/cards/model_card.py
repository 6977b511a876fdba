"""The model card of a student, from its record and scores."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import UndefinedError

from augment.base.command import UsageError
from augment.base.commit import write_atomic
from augment.cards.facts import KnownSource, citations, known_source
from augment.cards.handwork import write_signed
from augment.cards.template import render
from distill.cards.curves import draw_curves
from distill.cards.measured import (
    REMEDY,
    SCORES,
    TRAINING,
    dev_set,
    read_json,
    read_scores,
    read_training,
    signature_of,
)
from distill.cards.model_head import base_model, head, is_hub_id
from eval.reading.pruned import PRUNING, Pruned, read_pruned
from eval.scoring.submission import PREDICT_CONFIG

CURVES = "curves.svg"


def write_card(folder: Path) -> None:
    """Write `README.md` beside the record of a training.

    Raises:
        FileNotFoundError: no training.json, or scores without what they were made from.
        ValueError: values that are malformed or were not measured, named.
    """
    record = read_training(folder)
    scores = record["scores"]
    made: dict[str, Any] = {}
    if scores is not None:
        if not (folder / "eval" / "predictions.json").is_file():
            raise FileNotFoundError(f"{folder / TRAINING}: scores, but no predictions; {REMEDY}")
        if read_scores(folder / "eval" / SCORES) != scores:
            raise ValueError(f"{folder / TRAINING}: not the scores of eval/{SCORES}; {REMEDY}")
        made = read_json(folder / "eval" / PREDICT_CONFIG)
    pruned = read_pruned(folder / PRUNING) if (folder / PRUNING).is_file() else None
    try:
        curves = _draw_curves(folder, record)
        text = card_text(record, made, pruned, curves)
    except (AttributeError, LookupError, TypeError, UndefinedError) as error:
        raise ValueError(f"{folder / TRAINING}: incomplete ({error}); {REMEDY}") from error
    write_signed(folder / "README.md", text)


def _draw_curves(folder: Path, record: Mapping[str, Any]) -> str | None:
    """Draw the training's losses beside the card; give the file's name, or None without it."""
    try:
        drawn = draw_curves(record["stages"])
    except UsageError as error:
        print(f"{folder}: the card goes without its picture: {error}", file=sys.stderr)
        return None
    if drawn is None:
        return None
    write_atomic(folder / CURVES, drawn)
    return CURVES


def card_text(
    record: Mapping[str, Any],
    made: Mapping[str, Any],
    pruned: Pruned | None = None,
    curves: str | None = None,
) -> str:
    """Fill the card.

    Args:
        record: of the training.
        made: how the scored predictions were made; empty where nothing was scored.
        pruned: what is left of a pruned student.
        curves: the file's name of the picture of its losses.
    """
    plan, scores = record["plan"], record["scores"]
    recipe = plan["recipe"]
    facts, known = _row_facts(record)
    cited = citations(facts)
    cited += (
        ["sanh-etal-2020-movement", "lagunas-etal-2021-block"]
        if pruned
        else ["jiao-etal-2020-tinybert"]
    )
    return render(
        Path(__file__).with_name("model_card.md.jinja"),
        head(
            recipe["name"],
            facts,
            base_model(recipe["student"], recipe["stages"][-1]["teacher"]),
            [row["name"] for row in plan["rows"] if is_hub_id(row["name"])],
            scores,
            made,
        ),
        record=record,
        scores=scores,
        made=made,
        pruned=pruned,
        curves=curves,
        distilled=any(stage["kind"] != "supervised" for stage in recipe["stages"]),
        dev_name=dev_set(signature_of(scores), made)[1] if scores else None,
        rows=list(dict.fromkeys((row["name"], row["sha256"]) for row in plan["rows"])),
        facts=facts,
        known=known,
        citations=cited,
    )


def _row_facts(record: Mapping[str, Any]) -> tuple[dict[str, Any], list[KnownSource]]:
    """Give what is known of the rows of all stages, and the sources that were recognised."""
    found: list[Mapping[str, Any]] = []
    known: list[KnownSource] = []
    for row in record["plan"]["rows"]:
        source = known_source(row["name"], row["sha256"])
        from_set = {} if row["kind"] == "text" else record.get("data_card", {})
        found.append(source.facts if source else from_set)
        if source and source not in known:
            known.append(source)
    first = found[0]
    facts = {key: first[key] for key in first if all(one.get(key) == first[key] for one in found)}
    return facts, known
