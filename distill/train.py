"""Distil a student by a recipe: all its stages in order, to an ordinary checkpoint.

Every setting of every stage can be changed, for example with --stages.0.epochs 3; stages are
counted from 0. If the command was interrupted, run it again: it goes on with the same rows,
optimizer and schedule. On N GPUs, run `torchrun --nproc-per-node N -m distill.train ...`.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import tyro

from augment.base.command import UsageError, run
from augment.remote.storage_options import AS_CONFIGURED, StorageOptions
from augment.squad import TRAIN_PART, OnBadAnswer, Part
from distill.recipes import Recipe, Stage, find_recipe, haystack_fidelity


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Which recipe, on what, and where the student goes."""

    recipe: str
    """A name that `python -m distill.recipes` lists, or FILE.toml: a copy of one of its files."""
    output: Path
    """Folder of the student. Until it is complete, it is called OUTPUT.incomplete."""
    data: str | None = None
    """A set made by `augment.build`; or a file, folder or hub id as `augment.build` takes it."""
    part: tyro.conf.OmitArgPrefixes[Part] = TRAIN_PART
    """Part of --data to read."""
    on_bad_answer: OnBadAnswer = "fail"
    """What to do with an answer that does not stand at its answer_start, as in augment.build."""
    dev_split: str = "validation"
    """Split of the dev set, if it has several."""
    text: tuple[Path, ...] = ()
    """Files of plain text, one paragraph per line, for a stage that trains on text."""
    dev: str | None = None
    """A dev set, in the same forms as --data: the finished student is scored on it."""
    dev_steps: int | None = None
    """Also score the student every N steps of the stages that train its span head."""
    dev_limit: int | None = None
    """Use only the first N paragraphs of the dev set for the scores during training."""
    teacher: str | None = None
    """Use this teacher in every stage: a hub id, a folder, or `embedded`."""
    student: str
    """Model to start from: a hub id, a folder, or teacher:2,4,6 for layers of the teacher."""
    max_seq_length: int
    """Tokens in a window of question and context."""
    doc_stride: int
    """Tokens of the context that neighbouring windows share."""
    max_query_length: int
    """Longer questions are cut to this number of tokens."""
    seed: int
    """Seed of the order of rows, of new weights and of dropout."""
    fidelity: Literal["better", "haystack"] = "better"
    """haystack: train as Haystack v1 did where this project does better by default."""
    only_stages: tuple[int, ...] | None = None
    """Run only these stages, counted from 0."""
    max_steps: int | None = None
    """Train each stage for N steps; the learning rate schedule ends with them."""
    gradient_accumulation_steps: int = 1
    """Parts into which each process splits its share of a step, to save memory."""
    save_steps: int = 1000
    """Steps between checkpoints."""
    keep_steps: tuple[int, ...] = ()
    """Also keep the student after these steps: OUTPUT/stages/1-intermediate-step-400."""
    logging_steps: int = 50
    """Steps between entries in the TensorBoard log."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number type of the matrix products; weights stay in float32. auto: 16 bits where fast."""
    cache_teacher_logits: bool = True
    """Store the teacher's logits on disk and use them again in later epochs and runs."""
    allow_bin: bool = False
    """Also load pytorch_model.bin if a checkpoint has no safetensors."""
    storage: tyro.conf.OmitArgPrefixes[StorageOptions] = AS_CONFIGURED
    """How stores are reached that URLs lead to."""
    overwrite: bool = False
    """Replace OUTPUT, or an unfinished run, that was made with other settings."""
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

    return distil(
        Job(
            recipe=resolve(config),
            output=config.output,
            data=config.data,
            part=config.part,
            on_bad_answer=config.on_bad_answer,
            text=config.text,
            dev=config.dev,
            dev_part=Part(config.part.config, config.dev_split),
            dev_steps=config.dev_steps,
            dev_limit=config.dev_limit,
            max_steps=config.max_steps,
            accumulation=config.gradient_accumulation_steps,
            save_steps=config.save_steps,
            keep_steps=config.keep_steps,
            logging_steps=config.logging_steps,
            device=config.device,
            dtype=config.dtype,
            cache_logits=config.cache_teacher_logits,
            allow_bin=config.allow_bin,
            overwrite=config.overwrite,
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
    return {
        "recipe": recipe.name,
        "student": recipe.student,
        "max_seq_length": recipe.max_seq_length,
        "doc_stride": recipe.doc_stride,
        "max_query_length": recipe.max_query_length,
        "seed": recipe.seed,
        "stages": recipe.stages,
    }


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
        recipe = find_recipe(name or "tinybert-6l-768d-squad2")
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    given = {**defaults(recipe), "recipe": recipe.name if name else tyro.MISSING}
    run(TrainConfig, train, default=TrainConfig(output=tyro.MISSING, **given))


if __name__ == "__main__":
    main()
