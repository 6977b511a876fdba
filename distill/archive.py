"""Copy from a run what its card is made from: its records, scores and answers, without text.

Answers are stored as positions in the contexts of DEV. With DEV at hand, predictions.json can be
restored from them byte for byte and scored again, and no SQuAD text lies in the repository.
"""

import io
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from augment.base.command import run
from augment.base.commit import write_atomic
from distill.cards.measured import SCORES, TRAINING, read_scores
from distill.cards.recipe_card import SPEED
from eval.reading.pruned import PRUNING
from eval.scoring.gold import GoldQuestion, read_gold
from eval.scoring.submission import PREDICT_CONFIG, read_submission

PLACES = "answers.npz"
PREDICTIONS, PROBABILITIES = "predictions.json", "na_probs.json"


@dataclass(frozen=True, kw_only=True)
class ArchiveConfig:
    """Which run, and where to."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """A finished student, or a folder with eval/predictions.json, predict.json and scores.json."""
    dev: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="DEV")]
    """The dev set that it was scored on."""
    arm: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="ARM")]
    """Folder to copy into: data_cards/RECIPE/student, or that of another arm of an experiment."""


def archive(config: ArchiveConfig) -> None:
    """Copy a run's records and scores, and its answers as places.

    Raises:
        FileNotFoundError, ValueError: scores that were not measured, or of another dev set.
    """
    made = config.run / "eval"
    read_scores(made / SCORES)
    places = find_places(made, config.dev)
    (config.arm / "eval").mkdir(parents=True, exist_ok=True)
    for name in (TRAINING, PRUNING, SPEED, f"eval/{SCORES}", f"eval/{PREDICT_CONFIG}"):
        if (config.run / name).is_file():
            shutil.copyfile(config.run / name, config.arm / name)
    content = io.BytesIO()
    np.savez_compressed(content, **places)
    write_atomic(config.arm / "eval" / PLACES, content.getvalue())
    print(config.arm)


def find_places(folder: Path, dev: str) -> dict[str, Any]:
    """Find each predicted answer in its context, in the order of the dev set.

    Returns:
        `start` and `end`, (questions,), in characters, both 0 for 'no answer'; and
        `na_probs`, (questions,), where there are any.
    """
    predictions, _ = read_submission(folder / PREDICTIONS)
    questions, _ = read_gold(dev)
    starts = [_find(question, predictions, folder) for question in questions]
    lengths = [len(predictions[question.id]) for question in questions]
    places = {"start": np.array(starts, np.int32)}
    places["end"] = places["start"] + np.array(lengths, np.int32)
    if (folder / PROBABILITIES).is_file():
        na_probs, _ = read_submission(folder / PROBABILITIES)
        places["na_probs"] = np.array([na_probs[question.id] for question in questions])
    return places


def _find(question: GoldQuestion, predictions: Mapping[str, Any], folder: Path) -> int:
    if question.id not in predictions:
        raise ValueError(f"{folder / PREDICTIONS}: no question {question.id}; another dev set?")
    text = predictions[question.id]
    start = (question.context or "").find(text)
    if start < 0:
        raise ValueError(
            f"{folder / PREDICTIONS}: question {question.id}: {text!r:.60} is not in its context"
        )
    return start


if __name__ == "__main__":
    run(ArchiveConfig, archive)
