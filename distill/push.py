"""Put a student on the hub, with its model card.

Its weights, configuration, tokenizer, card and scores go up; stages and logs stay. If the command
was interrupted, run it again: what the hub has is not sent twice. The token is that of
`hf auth login`, or HF_TOKEN.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from augment.base.command import run
from augment.base.models import TOKENIZER_AND_CONFIG, model_sha256
from augment.remote.hub import listing, push_files
from distill.cards.measured import SCORES, TRAINING, read_json
from distill.cards.model_card import CURVES
from eval.reading.pruned import PRUNING
from eval.scoring.submission import PREDICT_CONFIG

CARD = "README.md"
OF_A_STUDENT = (
    "model*.safetensors",
    "model.safetensors.index.json",
    *TOKENIZER_AND_CONFIG,
    "*.model",
    PRUNING,
    CARD,
    CURVES,
    TRAINING,
    *(f"eval/{name}" for name in (SCORES, PREDICT_CONFIG, "predictions.json", "na_probs.json")),
)
"""Patterns of the files that go up."""


@dataclass(frozen=True, kw_only=True)
class PushConfig:
    """Which student, and where to."""

    student: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="STUDENT")]
    """A folder made by `distill.train` or `distill.finetune`."""
    repository: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="ORG/NAME")]
    """Model on the hub; it is made if it is not there."""
    dry_run: bool = False
    """Check the student, say what would go up, and send nothing."""


def push(config: PushConfig) -> None:
    """Check a student and upload it.

    Raises:
        FileNotFoundError: no finished student there, or no card.
        ValueError: its weights, configuration or tokenizer changed since it was trained.
        OSError, RuntimeError: the hub does not take it.
    """
    names = files_of(config.student)
    if config.dry_run:
        print(listing(config.student, names, config.repository))
    else:
        print(push_files(config.student, names, config.repository, "model"))


def files_of(student: Path) -> list[str]:
    """Name the files of a finished student that are for others, its weights checked."""
    for name in (TRAINING, CARD):
        if not (student / name).is_file():
            raise FileNotFoundError(f"{student}: no {name} in it, so no finished student")
    trained = read_json(student / TRAINING).get("weights_sha256")
    if model_sha256(student) != trained:
        raise ValueError(
            f"{student}: its weights, configuration or tokenizer are not those that {TRAINING} "
            "names; train it again, or copy it again from where it is whole"
        )
    found = {path for pattern in OF_A_STUDENT for path in student.glob(pattern) if path.is_file()}
    return sorted(path.relative_to(student).as_posix() for path in found)


if __name__ == "__main__":
    run(PushConfig, push)
