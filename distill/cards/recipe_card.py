"""The card of a recipe: what was published, what was measured here, and how to measure the rest.

A recipe's folder holds a folder for each arm that was run, laid out as a finished student is:
`student/training.json`, `student/eval/scores.json` and `student/eval/predict.json`; other arms
(`no-distillation`, `teacher`) stand beside it. An arm that was only scored has no training.json.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

from augment.cards.head import head_text
from distill.cards.measured import (
    FIGURES,
    REMEDY,
    SCORES,
    TRAINING,
    dev_set,
    read_json,
    read_scores,
    signature_of,
)
from distill.cards.parts import base_model, citations, energy, model_index, place
from distill.cards.published import PUBLISHED, Figure, Published
from distill.recipes import PruningStage, Recipe, Stage, find_recipe
from eval.reading.pruned import PRUNING, Pruned, read_pruned
from eval.scoring.submission import PREDICT_CONFIG

SPEED = "speed.json"
PICTURE = "speed.svg"
DENSITY = "density.svg"
PLOTTED_BATCH = 8
STUDENT = "student"
"""The arm that is the recipe itself; its figures stand in the card's head."""
DEV = {"squad_v2": "dev-v2.0.json", "squad_v1": "dev-v1.1.json"}


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
    if name not in PUBLISHED:
        raise ValueError(f"no recipe {name!r} with a card; there are {', '.join(PUBLISHED)}")
    published, recipe, arms = PUBLISHED[name], find_recipe(name), read_arms(folder)
    return _head(name, published, recipe, arms) + _body(name, published, recipe, arms)


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
        training = read_json(folder / TRAINING)
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


def _head(name: str, published: Published, recipe: Recipe, arms: Sequence[Arm]) -> str:
    from huggingface_hub import ModelCardData

    student = next((arm for arm in arms if arm.name == STUDENT), None)
    return head_text(
        ModelCardData(
            language="en",
            license="cc-by-sa-4.0",
            library_name="transformers",
            pipeline_tag="question-answering",
            base_model=base_model(recipe.student, recipe.stages[-1].teacher),
            datasets=list(published.datasets) or None,
            metrics=["exact_match", "f1"] if student else None,
            tags=["extractive-qa", "knowledge-distillation", "twentyfold"],
            model_name=name if student else None,
            eval_results=model_index(student.scores, student.made) if student else None,
        )
    )


def _body(name: str, published: Published, recipe: Recipe, arms: Sequence[Arm]) -> str:
    notes = "\n".join(_wrapped(f"- {note}", "  ") for note in published.notes)
    return f"""# {name}

{_wrapped(published.about)}

{_wrapped(_status(recipe, arms))}

## What it is for, and what not

{_use(published)}

## Published

{_published_table(published)}

{notes}

## Measured here

{_measured(published, arms)}

## Commands

{_commands(name, published, recipe)}

## How it is made

{_stages(name, recipe)}

## Hardware and time

{_hardware(arms)}

## Known limits

{_limits(recipe)}

## Licence and sources

SQuAD is by Rajpurkar et al. (2016, 2018), on text of English Wikipedia, CC BY-SA 4.0; this card
takes that licence for a student as well. The licences of the models that it is made from hold too.

{citations(published.citations)}"""


def _wrapped(text: str, indent: str = "") -> str:
    return fill(text, 100, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _status(recipe: Recipe, arms: Sequence[Arm]) -> str:
    if any(arm.name == STUDENT for arm in arms):
        return "**Trained and measured here.**"
    if base_model(recipe.student, recipe.stages[-1].teacher) is None:
        return "**Not measured yet.** The commands are below."
    return (
        "**Not trained here yet.** The recipe is complete; its models' weights were not at hand. "
        "The commands are below."
    )


def _use(published: Published) -> str:
    null = ", or saying that there is none" if published.metric == "squad_v2" else ""
    return _wrapped(
        f"For answering questions with a span of a text at hand, cheaply{null}. Not for facts: it "
        "knows nothing but the text it is given, does not say whether that is true, and may give a "
        "span to a question that the text does not answer. English alone."
    )


def _limits(recipe: Recipe) -> str:
    limits = [
        "Trained on English Wikipedia, and on questions of crowd workers who saw the paragraph.",
        "The biases of teachers and of the model that a student starts from are in the student.",
    ]
    if any(stage.rows == "augmented" for stage in recipe.stages):
        limits += [
            "Word replacement changes facts: contexts of copies are not true statements, and some "
            "no longer hold their answer. A teacher that reads the copy sees that; a carried-over "
            "label does not.",
            "The bias of the masked LM that replaced words is in them, and answers are never "
            "replaced: what does not look replaced is a cue.",
        ]
    return "\n".join(_wrapped(f"- {limit}", "  ") for limit in limits)


def _published_table(published: Published) -> str:
    if not published.figures:
        return "Nothing: no published system is like it."
    given = {name for figure in published.figures for name in figure.scores}
    names = [name for name in FIGURES[published.metric] if name in given]
    lines = [
        "| system | " + " | ".join(names) + " | protocol | source |",
        "|---|" + "---|" * (len(names) + 2),
    ]
    lines += [_figure_row(figure, names) for figure in published.figures]
    facts = [f"- {fact.text} ([source]({fact.source}))" for fact in published.facts]
    lines = ["Others' figures, none of them measured here:", "", *lines]
    return "\n".join([*lines, *(["", "It is also said:", "", *facts] if facts else [])])


def _figure_row(figure: Figure, names: Sequence[str]) -> str:
    cells = [_published(figure.scores.get(name)) for name in names]
    row = [figure.system, *cells, figure.protocol, f"[source]({figure.source})"]
    return f"| {' | '.join(row)} |"


def _published(value: float | None) -> str:
    """Show a published number as it was published, at most with three digits."""
    return "" if value is None else f"{value:.3f}".rstrip("0").rstrip(".")


def _measured(published: Published, arms: Sequence[Arm]) -> str:
    if not arms:
        return "Not measured yet."
    names = [name for name in FIGURES[published.metric] if name != "NoAns_f1"]  # equals exact
    if published.metric == "squad_v2":
        names.append("best_f1")
    pruned = ["linear weights left", "heads gone"] if any(arm.pruned for arm in arms) else []
    speeds = ["times faster"] if any(arm.speed for arm in arms) else []
    head = ["system", "trained", "parameters", *names, *pruned, *speeds]
    lines = [f"| {' | '.join(head)} |", "|---|" + "---|" * (len(head) - 1)]
    for arm in arms:
        cells = _arm_cells(arm, names)
        cells += _pruned_cells(arm.pruned) if pruned else []
        cells += [_speed_cell(arm.speed)] if speeds else []
        lines.append(f"| {' | '.join(cells)} |")
    oracle = (
        "\n\n`best_f1` is an oracle: its threshold was chosen with the gold answers."
        if "best_f1" in names
        else ""
    )
    signatures = {f"`{arm.scores['signature']}`": None for arm in arms}
    measured = {dev_set(signature_of(arm.scores), arm.made)[1]: None for arm in arms}
    text = "\n".join(lines) + f"\n\nOn {', '.join(measured)}; {', '.join(signatures)}.{oracle}"
    if speeds:
        text += f"\n\n{_speed_note(arms)}"
    if any(arm.name == STUDENT and arm.pruned for arm in arms):
        text += f"\n\n![heads and weights that the student has left, by layer]({DENSITY})"
    return text


def _speed_note(arms: Sequence[Arm]) -> str:
    speeds = [arm.speed for arm in arms if arm.speed]
    speed = speeds[0]
    for name in ("dense", "dense_sha256", "tokens", "dtype", "threads"):
        if any(other[name] != speed[name] for other in speeds):
            raise ValueError(f"{SPEED} of the arms: {name} differs; measure them alike")
    machines = {_machine(other["hardware"]) for other in speeds}
    if len(machines) > 1:
        raise ValueError(f"{SPEED} of the arms: measured on {' and on '.join(sorted(machines))}")
    machine = machines.pop()
    sizes = ", ".join(sorted(speed["batches"], key=int))
    note = (
        f"Times faster than {speed['dense']} at batches of {sizes}, {speed['tokens']} tokens, "
        f"{speed['dtype']}, {speed['threads']} threads, {machine}: the median of turns, "
        "by `python -m distill.prune_bench`."
    )
    return f"{_wrapped(note)}\n\n![F1 against speed]({PICTURE})"


def _machine(hardware: Mapping[str, Any]) -> str:
    return str(hardware.get("gpu") or hardware.get("processor"))


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


def speed_points(arms: Sequence[Arm]) -> dict[str, tuple[float, float]]:
    """Give each arm's speed in batches of 8 and F1; an arm named `dense` is 1 time as fast."""
    points = {}
    for arm in arms:
        if arm.speed is not None:
            ratio = arm.speed["batches"][str(PLOTTED_BATCH)]["ratio"]
            points[arm.name] = (float(ratio), arm.scores["f1"])
        elif arm.name == "dense":
            points[arm.name] = (1.0, arm.scores["f1"])
    return points


def _pruned_cells(pruned: Pruned | None) -> list[str]:
    if pruned is None:
        return ["", ""]
    heads = len(pruned.layers) * pruned.num_heads
    return [f"{pruned.linear_density:.1%}", f"{pruned.removed_heads} of {heads}"]


def _speed_cell(speed: Mapping[str, Any] | None) -> str:
    if speed is None:
        return ""
    batches = speed["batches"]
    return ", ".join(f"{batches[size]['ratio']:.1f}" for size in sorted(batches, key=int))


def _arm_cells(arm: Arm, names: Sequence[str]) -> list[str]:
    trained, parameters = "not here", ""
    if arm.training is not None:
        trained, parameters = _trained(arm.training), f"{arm.training['parameters']:,}"
    cells = [f"{arm.scores[name]:.2f}" if name in arm.scores else "" for name in names]
    return [arm.name, trained, parameters, *cells]


def _trained(record: Mapping[str, Any]) -> str:
    """Say in a line what an arm was trained on, and for how many steps."""
    plan = record["plan"]
    parts = []
    for stage, rows, done in zip(
        plan["recipe"]["stages"], plan["rows"], record["stages"], strict=True
    ):
        parts.append(f"{stage['kind']} on {stage['rows']} rows of {rows['name']}, ")
        parts[-1] += f"{done['steps']:,} steps of {stage['batch_size']}"
        if "regularization" in stage:
            parts[-1] += f", regularization {stage['regularization']:g}"
    return "; ".join(parts)


def _commands(name: str, published: Published, recipe: Recipe) -> str:
    dev = DEV[published.metric]
    blocks = ["Train and score a student:", _block(_training_commands(name, published, dev))]
    if published.measured_systems:
        blocks += [
            "Measure the published systems, in both protocols, with their weights at hand "
            "(`--allow-bin` where a repository has no safetensors):"
            if published.metric == "squad_v2"
            else "Measure the published systems, with their weights at hand:",
            _block(_scoring_commands(published, dev)),
        ]
    return "\n\n".join(blocks)


def _block(lines: Sequence[str]) -> str:
    return "\n".join(["```", *lines, "```"])


def _training_commands(name: str, published: Published, dev: str) -> list[str]:
    recipe = find_recipe(name)
    train = published.train_file
    augmented = any(stage.rows == "augmented" for stage in recipe.stages)
    lines = [f"python -m augment.build {train} set20x"] if augmented else []
    flags = "".join(f" --text {text}" for text in published.texts)
    if not published.datasets:  # its teacher is a folder
        flags += f" --teacher {recipe.stages[-1].teacher}"
    data = "set20x" if augmented else train
    train_line = f"python -m distill.train --recipe {name} --data {data} --output {STUDENT}"
    return [*lines, f"{train_line} --dev {dev}{flags}"]


def _scoring_commands(published: Published, dev: str) -> list[str]:
    lines = []
    for system in published.measured_systems:
        short = system.partition("/")[2]
        if published.metric == "squad_v1":
            lines.append(f"python -m eval.predict {system} {dev} {short}")
            lines.append(f"python -m eval.squad_v1 {dev} {short}/predictions.json")
            continue
        for protocol in ("run_qa", "farm"):
            out = f"{short}-{protocol}"
            lines.append(f"python -m eval.predict {system} {dev} {out} --protocol {protocol}")
            probabilities = f"--na-prob-file {out}/na_probs.json"
            lines.append(f"python -m eval.squad_v2 {dev} {out}/predictions.json {probabilities}")
    return lines


def _stages(name: str, recipe: Recipe) -> str:
    lines = [
        "| stage | rows | teacher | epochs | batch | learning rate | warmup | loss |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for stage in recipe.stages:
        cells = [stage.kind, stage.rows, stage.teacher or "none", f"{stage.epochs:g}"]
        cells += [str(stage.batch_size), f"{stage.learning_rate:g}", f"{stage.warmup:g}"]
        lines.append(f"| {' | '.join([*cells, _loss(stage)])} |")
    table = "\n".join(lines)
    return f"""From `{recipe.student}`, in windows of {recipe.max_seq_length} tokens that share \
{recipe.doc_stride}:

{table}

`python -m distill.recipes {name}` gives the source of every number."""


def _loss(stage: Stage) -> str:
    if stage.kind == "intermediate":
        return f"hidden states x {stage.hidden_weight:g}, attention x {stage.attention_weight:g}"
    if stage.kind == "supervised":
        return "labels"
    text = (
        f"teacher's spans x {stage.kd_weight:g} at temperature {stage.temperature:g}, "
        f"labels x {stage.hard_weight:g}"
    )
    if isinstance(stage, PruningStage):
        text += f", mean sigmoid of the scores x {stage.regularization:g}"
    return text


def _hardware(arms: Sequence[Arm]) -> str:
    lines = [
        f"- {arm.name}: {arm.training['seconds']:,.0f} s on {place(arm.training)}"
        f"{energy(arm.training)}"
        for arm in arms
        if arm.training is not None
    ]
    return "\n".join(lines) or "Not measured yet."
