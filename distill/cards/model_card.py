"""The model card of a student, from its record and scores."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from augment.base.commit import write_atomic
from augment.base.paragraphs import raise_faults
from augment.cards.head import head_text
from distill.cards.measured import (
    REMEDY,
    SCORES,
    TRAINING,
    dev_set,
    read_json,
    read_scores,
    signature_of,
)
from distill.cards.parts import base_model, citations, energy, is_hub_id, model_index, place
from eval.reading.pruned import PRUNING, Pruned, read_pruned
from eval.scoring.submission import PREDICT_CONFIG

RECORD_KEYS = ("plan", "stages", "scores", "weights_sha256", "parameters", "hardware", "seconds")

LOADING = """\
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

model = AutoModelForQuestionAnswering.from_pretrained("FOLDER")
tokenizer = AutoTokenizer.from_pretrained("FOLDER")"""

PRUNED_LOADING = """\
from distill.prune import load_pruned  # of twentyfold: transformers builds layers of one size
from transformers import AutoTokenizer

model = load_pruned("FOLDER")
tokenizer = AutoTokenizer.from_pretrained("FOLDER")"""


def write_card(folder: Path) -> None:
    """Write `README.md` beside the record of a training.

    Raises:
        FileNotFoundError: no training.json, or scores without what they were made from.
        ValueError: values that are malformed or were not measured, named.
    """
    record = read_json(folder / TRAINING)
    missing = [f"no {key}" for key in RECORD_KEYS if key not in record]
    raise_faults(str(folder / TRAINING), missing, REMEDY)
    scores = record["scores"]
    made: dict[str, Any] = {}
    if scores is not None:
        if not (folder / "eval" / "predictions.json").is_file():
            raise FileNotFoundError(f"{folder / TRAINING}: scores, but no predictions; {REMEDY}")
        if read_scores(folder / "eval" / SCORES) != scores:
            raise ValueError(f"{folder / TRAINING}: not the scores of eval/{SCORES}; {REMEDY}")
        made = read_json(folder / "eval" / PREDICT_CONFIG)
    pruned = read_pruned(folder / PRUNING) if (folder / PRUNING).is_file() else None
    write_atomic(folder / "README.md", card_text(record, made, pruned))


def card_text(
    record: Mapping[str, Any], made: Mapping[str, Any], pruned: Pruned | None = None
) -> str:
    """Fill the card.

    Args:
        record: of the training.
        made: how the scored predictions were made; empty where nothing was scored.
        pruned: what is left of a pruned student.
    """
    from huggingface_hub import ModelCard, ModelCardData

    recipe, scores = record["plan"]["recipe"], record["scores"]
    rows = [row["name"] for row in record["plan"]["rows"] if is_hub_id(row["name"])]
    data = ModelCardData(
        language="en",
        license="cc-by-sa-4.0",
        library_name="transformers",
        pipeline_tag="question-answering",
        base_model=base_model(recipe["student"], recipe["stages"][-1]["teacher"]),
        datasets=sorted(set(rows)) or None,
        metrics=["exact_match", "f1"] if scores else None,
        tags=["extractive-qa", "knowledge-distillation", "twentyfold"],
        model_name=recipe["name"] if scores else None,
        eval_results=model_index(scores, made) if scores else None,
    )
    text = head_text(data) + _body(record, made, pruned)
    ModelCard(text)  # parses the head, and the model-index in it
    return text


def figures_table(scores: Mapping[str, Any]) -> str:
    """List every figure of a score file but its signature, percentages with two digits."""
    rows = [
        f"| {name} | {value:,} |" if isinstance(value, int) else f"| {name} | {value:.2f} |"
        for name, value in scores.items()
        if isinstance(value, int | float) and not name.endswith("_thresh")
    ]
    return "| figure | |\n|---|---|\n" + "\n".join(rows)


def _body(record: Mapping[str, Any], made: Mapping[str, Any], pruned: Pruned | None) -> str:
    recipe = record["plan"]["recipe"]
    distilled = any(stage["kind"] != "supervised" for stage in recipe["stages"])
    what = "distilled" if distilled else "fine-tuned"
    limited = record["plan"].get("max_steps")
    squad = "squad2" if recipe["score"] == "squad_v2" else "squad1"
    cut = (
        f"\nEvery stage was stopped after {limited:,} steps: this is a trial, not the recipe.\n"
        if limited
        else ""
    )
    return f"""# {recipe["name"]}

An extractive question-answering reader of {record["parameters"]:,} parameters, {what} by
the recipe `{recipe["name"]}` of twentyfold from `{recipe["student"]}`.
{cut}
## What it is for

It gives the span of a context that answers a question{_null_clause(recipe)}. It copies
text and knows nothing but the context: it does not say whether the context is true, and a question
that the context does not answer may get a span all the same.

```python
{PRUNED_LOADING if pruned else LOADING}
```

`python -m eval.predict FOLDER DEV OUT` predicts a whole set; `eval.predict.Reader` one question.

## Measured

{_measured(record["scores"], made)}
{_left(pruned)}
## How it was made

{_stages(record)}

Windows of {recipe["max_seq_length"]} tokens that share {recipe["doc_stride"]}; matrix products in
{record["plan"]["dtype"]}; seed {recipe["seed"]}. Rows: {_rows(record)}.

Trained in {record["seconds"]:,.0f} s on {place(record)}{energy(record)}.

Models and their SHA-256 or hub commit: {_models(record)}.
Weights of this student: `{record["weights_sha256"]}`.

## Known limits

- It was trained on English Wikipedia, and on questions of crowd workers who saw the paragraph.
- It has the biases of its teachers, of the model it started from and, where rows were augmented,
  of the masked LM that replaced words.
- Figures of other protocols (windows, length of an answer, when "no answer" wins) differ.

## Licence and sources

SQuAD is by Rajpurkar et al. (2016, 2018), on text of English Wikipedia, CC BY-SA 4.0. The licences
of the models named above hold as well; where the rows were not SQuAD's, change this section and
the head.

{citations([squad, *(("movement", "block") if pruned else ("tinybert",))])}"""


def _left(pruned: Pruned | None) -> str:
    """Say what pruning left."""
    if pruned is None:
        return ""
    facts = "\n".join(f"- {fact}" for fact in pruned.facts())
    return f"""
## What is left of the dense model

{facts}

Heads and neurons that are gone were cut out; `python -m distill.prune_report FOLDER` lists every
layer.
"""


def _null_clause(recipe: Mapping[str, Any]) -> str:
    return ", or that there is none" if recipe["score"] == "squad_v2" else ""


def _measured(scores: Mapping[str, Any] | None, made: Mapping[str, Any]) -> str:
    if not scores:
        return "Not measured: no dev set was given."
    _, name = dev_set(signature_of(scores), made)
    oracle = ""
    if "best_f1" in scores:
        oracle = "\n\n`best_*` are oracles: their thresholds were chosen with the gold answers."
    return f"""On {name} (`{made["dev"]}`), the official figures; `{scores["signature"]}`:

{figures_table(scores)}{oracle}"""


def _stages(record: Mapping[str, Any]) -> str:
    lines = [
        "| stage | rows | teacher | epochs | batch | learning rate | steps | examples | seconds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for stage, done in zip(record["plan"]["recipe"]["stages"], record["stages"], strict=True):
        lines.append(
            f"| {stage['kind']} | {stage['rows']} | {stage['teacher'] or 'none'} "
            f"| {stage['epochs']:g} | {stage['batch_size']} | {stage['learning_rate']:g} "
            f"| {done['steps']:,} | {done['examples']:,} | {done['seconds']:,.0f} |"
        )
    return "\n".join(lines)


def _rows(record: Mapping[str, Any]) -> str:
    named = {(row["name"], row["sha256"]): None for row in record["plan"]["rows"]}
    return ", ".join(f"`{name}` (SHA-256 `{sha256[:16]}`)" for name, sha256 in named)


def _models(record: Mapping[str, Any]) -> str:
    found = record["plan"]["models"].items()
    return ", ".join(f"`{name}` `{identity[:16]}`" for name, identity in found) or "none"
