"""Distil a student by a recipe: all its stages in order, to a checkpoint that any reader loads.

The rows come from a folder made by `augment.build` or from a SQuAD JSON file. Interrupted, run
the same command again: it goes on with the same rows, optimizer and schedule. Every field of every
stage can be set: --stages.0.epochs 3 (stages count from 0). On N GPUs:
`torchrun --nproc-per-node N -m distill.train ...`
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import tyro

from augment.base.command import UsageError, run
from distill.recipes import RECIPES, Recipe, Stage, find_recipe, haystack_fidelity


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Which recipe, on what, and where the student goes."""

    recipe: str
    """A name that `python -m distill.recipes` lists."""
    output: Path
    """The student's folder; made beside it as OUTPUT.incomplete until it is whole."""
    data: str | None = None
    """A folder made by `augment.build`, a SQuAD JSON file, or a hub data set id."""
    text: tuple[Path, ...] = ()
    """Plain text, a paragraph a line, for a stage that trains on text."""
    dev: str | None = None
    """A dev set: the finished student is scored on it."""
    dev_steps: int | None = None
    """Also score every so many steps of a stage that trains the span head."""
    dev_limit: int | None = None
    """Use the first N paragraphs of DEV for those scores."""
    teacher: str | None = None
    """Replaces the teacher of every stage: a hub id or a folder."""
    student: str
    """A hub id, a folder, or teacher:2,4,6 for those layers of the last stage's teacher."""
    max_seq_length: int
    """Tokens of a window."""
    doc_stride: int
    """Tokens that neighbouring windows share."""
    max_query_length: int
    """Tokens kept of a question."""
    seed: int
    """Decides the order of the rows, new weights and dropout."""
    fidelity: Literal["better", "haystack"] = "better"
    """haystack: as it was done there where ours differs (see `python -m distill.recipes`)."""
    only_stages: tuple[int, ...] | None = None
    """Run these stages alone, counted from 0."""
    max_steps: int | None = None
    """Stop every stage after so many steps; the schedule is made for them."""
    gradient_accumulation_steps: int = 1
    """Micro-batches into which each process splits a step; the rows of a step stay the same."""
    save_steps: int = 1000
    """Steps between checkpoints."""
    logging_steps: int = 50
    """Steps between entries of the TensorBoard log."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of the matrix products; weights are kept in float32. auto: 16 bits where fast."""
    cache_teacher_logits: bool = True
    """Keep the teacher's logits on disk, for later epochs and runs."""
    allow_bin: bool = False
    """Also read pytorch_model.bin, where there are no safetensors."""
    overwrite: bool = False
    """Replace OUTPUT, and forget an unfinished run with other settings."""
    stages: tuple[Stage, ...]
    """The recipe's stages."""

    def __post_init__(self) -> None:
        for index in self.only_stages or ():
            if not 0 <= index < len(self.stages):
                raise UsageError(f"--only-stages {index}: there are 0 to {len(self.stages) - 1}")


def train(config: TrainConfig) -> dict[str, Any]:
    """Run the recipe and give the record that lies in OUTPUT/training.json."""
    from distill.training.job import Job
    from distill.training.stages import distil

    recipe = resolve(config)
    same = ("output", "data", "text", "dev", "dev_steps", "dev_limit", "max_steps", "save_steps")
    more = ("logging_steps", "device", "dtype", "allow_bin", "overwrite")
    return distil(
        Job(
            recipe=recipe,
            accumulation=config.gradient_accumulation_steps,
            cache_logits=config.cache_teacher_logits,
            **{name: getattr(config, name) for name in (*same, *more)},
        )
    )


def resolve(config: TrainConfig) -> Recipe:
    """Put a recipe together from the named one and what the command line changed of it."""
    only = range(len(config.stages)) if config.only_stages is None else config.only_stages
    recipe = replace(
        find_recipe(config.recipe),
        student=config.student,
        stages=tuple(config.stages[index] for index in only),
        max_seq_length=config.max_seq_length,
        doc_stride=config.doc_stride,
        max_query_length=config.max_query_length,
        seed=config.seed,
    )
    if config.teacher is not None:
        stages = tuple(
            stage if stage.teacher is None else replace(stage, teacher=config.teacher)
            for stage in recipe.stages
        )
        recipe = replace(recipe, stages=stages)
    return haystack_fidelity(recipe) if config.fidelity == "haystack" else recipe


def defaults(recipe: Recipe) -> dict[str, Any]:
    """Give the fields of the command that a recipe decides."""
    names = ("student", "max_seq_length", "doc_stride", "max_query_length", "seed", "stages")
    return {"recipe": recipe.name, **{name: getattr(recipe, name) for name in names}}


def named_recipe(arguments: list[str]) -> str | None:
    """Find --recipe on a command line: it decides the other flags' defaults."""
    for place, argument in enumerate(arguments):
        name, _, value = argument.partition("=")
        if name == "--recipe":
            return value or next(iter(arguments[place + 1 :]), None)
    return None


def main() -> None:
    """Run the command line."""
    name = named_recipe(sys.argv[1:])
    try:
        recipe = find_recipe(name) if name else RECIPES["tinybert-6l-768d-squad2"]
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    given = {**defaults(recipe), "recipe": recipe.name if name else tyro.MISSING}
    run(TrainConfig, train, default=TrainConfig(output=tyro.MISSING, **given))


if __name__ == "__main__":
    main()
