"""Folders as a training leaves them, without the training: for the tests of cards."""

import hashlib
import json
from contextlib import redirect_stdout
from dataclasses import asdict
from io import StringIO
from pathlib import Path
from typing import Any

from augment.base.command import to_json
from distill.recipes import Recipe, Stage
from eval import squad_v1, squad_v2
from eval.predict import _dump
from eval.reading.protocol import Protocol
from tests.small_sets import small_set

STAGES = (
    Stage(
        kind="intermediate",
        rows="augmented",
        teacher="someone/teacher",
        epochs=1,
        batch_size=8,
        learning_rate=1e-4,
    ),
    Stage(
        kind="prediction",
        rows="original",
        teacher="someone/teacher",
        epochs=2,
        batch_size=8,
        learning_rate=3e-5,
    ),
)
RECIPE = Recipe(name="small", student="someone/student", stages=STAGES)


def record(recipe: Recipe = RECIPE, **changes: Any) -> dict[str, Any]:
    """Make the record that `distill.training.stages` writes, its numbers made up."""
    made: dict[str, Any] = {
        "plan": {
            "recipe": asdict(recipe),
            "rows": [{"kind": s.rows, "name": "set20x", "sha256": "ab" * 32} for s in STAGES],
            "models": {"someone/student": "c0ffee" * 6, "someone/teacher": "decade" * 6},
            "max_steps": None,
            "dtype": "float32",
        },
        "stages": [
            {
                "stage": asdict(stage),
                "windows": {"windows": 16},
                "steps": 4,
                "examples": 32,
                "seconds": 61.5,
                "energy_kwh": None,
                "last_losses": {"loss": 0.5},
            }
            for stage in recipe.stages
        ],
        "scores": None,
        "weights_sha256": "f00d" * 16,
        "parameters": 1234567,
        "hardware": {
            "processor": "A Processor",
            "cores": 2,
            "num_processes": 1,
            "device": "cpu",
            "dtype": "float32",
            "peak_resident_mib": 900,
        },
        "seconds": 123.0,
        "versions": {"torch": "2.13.0"},
    }
    return {**made, **changes}


def predict_and_score(folder: Path, dev: Path, metric: str = "squad_v2") -> dict[str, Any]:
    """Leave what predicting and scoring leave, every second question answered rightly."""
    folder.mkdir(parents=True, exist_ok=True)
    paragraphs = [
        p for article in json.loads(dev.read_text())["data"] for p in article["paragraphs"]
    ]
    asked = [(p["context"], question) for p in paragraphs for question in p["qas"]]
    questions = [question for _, question in asked]
    gold = [q["answers"][0]["text"] if q["answers"] else "" for q in questions]
    texts = {q["id"]: gold[n] if n % 2 else c[:1] for n, (c, q) in enumerate(asked)}
    (folder / "predictions.json").write_text(_dump(texts))
    (folder / "na_probs.json").write_text(_dump({q["id"]: 0.25 for q in questions}))
    hashes = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in ("predictions.json", "na_probs.json")
    }
    made = {
        "model": "student",
        "dev": dev.name,
        "files": hashes,
        "protocol_signature": f"{Protocol().signature()},dtype=float32",
    }
    (folder / "predict.json").write_text(to_json(made))
    files = {
        "dev": str(dev),
        "predictions": folder / "predictions.json",
        "out_file": folder / "scores.json",
    }
    with redirect_stdout(StringIO()):
        if metric == "squad_v1":
            return squad_v1.score_files(squad_v1.SquadV1(**files)).as_dict()
        na_probs = folder / "na_probs.json"
        return squad_v2.score_files(squad_v2.SquadV2(**files, na_prob_file=na_probs)).as_dict()


def finished(folder: Path, *, scored: bool = True, **changes: Any) -> Path:
    """Make the folder of a finished student (its weights left out); give it."""
    folder.mkdir()
    dev = folder.with_name("dev.json")
    dev.write_text(json.dumps(small_set()))
    scores = predict_and_score(folder / "eval", dev) if scored else None
    write_record(folder, record(**{"scores": scores, **changes}))
    return folder


def write_record(folder: Path, value: dict[str, Any]) -> None:
    """Write training.json, NaN and all."""
    (folder / "training.json").write_text(json.dumps(value))
