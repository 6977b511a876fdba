"""Fine-tune a model on labelled rows, without a teacher: the teacher itself, or the baseline.

TRAIN is a SQuAD JSON file, a folder made by `augment.build` (its originals, or all copies with
--rows augmented), or a hub data set id. Interrupted, run the same command again.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from augment.base.command import UsageError, run
from distill.recipes import Recipe, Stage


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """What to fine-tune, on what, and how."""

    train: tyro.conf.Positional[str]
    """A SQuAD JSON file, a folder made by `augment.build`, or a hub data set id."""
    output: tyro.conf.Positional[Path]
    """The reader's folder; made beside it as OUT.incomplete until it is whole."""
    model: str
    """Where to start: a hub id or a folder, with or without a span head; teacher:2,4,6 takes
    layers of --layers-of."""
    layers_of: str | None = None
    """The reader whose layers `--model teacher:...` takes."""
    rows: Literal["original", "augmented"] = "original"
    """Which rows of a folder made by `augment.build`."""
    dev: str | None = None
    """A dev set: the finished reader is scored on it."""
    dev_steps: int | None = None
    """Also score every so many steps."""
    dev_limit: int | None = None
    """Use the first N paragraphs of DEV for those scores."""
    score: Literal["squad_v2", "squad_v1"] = "squad_v2"
    """Which official score: squad_v1 for a set without impossible questions."""
    epochs: float = 2.0
    """Passes over the rows."""
    max_steps: int | None = None
    """Stop after so many steps; the schedule is made for them."""
    batch_size: int = 24
    """Windows of a step, over all processes."""
    gradient_accumulation_steps: int = 1
    """Micro-batches into which each process splits a step."""
    learning_rate: float = 3e-5
    """The highest."""
    warmup: float = 0.1
    """Share of the steps in which the learning rate rises."""
    weight_decay: float = 0.01
    """Of AdamW, on all but biases and norms."""
    max_seq_length: int = 384
    """Tokens of a window."""
    doc_stride: int = 128
    """Tokens that neighbouring windows share."""
    max_query_length: int = 64
    """Tokens kept of a question."""
    seed: int = 42
    """Decides the order of the rows, new weights and dropout."""
    save_steps: int = 1000
    """Steps between checkpoints."""
    logging_steps: int = 50
    """Steps between entries of the TensorBoard log."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of the matrix products; weights are kept in float32. auto: 16 bits where fast."""
    allow_bin: bool = False
    """Also read pytorch_model.bin, where there are no safetensors."""
    overwrite: bool = False
    """Replace OUT, and forget an unfinished run with other settings."""

    def __post_init__(self) -> None:
        if self.model.startswith("teacher:") != (self.layers_of is not None):
            raise UsageError("--model teacher:2,4,6 and --layers-of READER go together")


def finetune(config: FinetuneConfig) -> dict[str, Any]:
    """Fine-tune and give the record that lies in OUT/training.json."""
    from distill.training.job import Job
    from distill.training.stages import distil

    stage = Stage(
        kind="supervised",
        rows=config.rows,
        teacher=config.layers_of,
        epochs=config.epochs,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        warmup=config.warmup,
        weight_decay=config.weight_decay,
        kd_weight=0.0,
        hard_weight=1.0,
    )
    recipe = Recipe(
        name="finetune",
        student=config.model,
        stages=(stage,),
        max_seq_length=config.max_seq_length,
        doc_stride=config.doc_stride,
        max_query_length=config.max_query_length,
        seed=config.seed,
        score=config.score,
    )
    return distil(
        Job(
            recipe=recipe,
            output=config.output,
            data=config.train,
            dev=config.dev,
            dev_steps=config.dev_steps,
            dev_limit=config.dev_limit,
            max_steps=config.max_steps,
            accumulation=config.gradient_accumulation_steps,
            save_steps=config.save_steps,
            logging_steps=config.logging_steps,
            device=config.device,
            dtype=config.dtype,
            allow_bin=config.allow_bin,
            overwrite=config.overwrite,
        )
    )


def main() -> None:
    """Run the command line."""
    run(FinetuneConfig, finetune)


if __name__ == "__main__":
    main()
