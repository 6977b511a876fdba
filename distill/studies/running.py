"""Run one arm: its stages by `distill.train`, measured along the way, to a record that is kept."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from augment.base.commit import file_sha256, write_atomic
from distill.models.student import FROM_TEACHER
from distill.recipes import Stage, find_recipe
from distill.rows.features import find_source, load_features
from distill.studies.arms import Arm
from distill.studies.measures import HeldOut, dev_scores, means
from distill.studies.records import Rows, packed, unpacked, write_record
from distill.studies.sets import Sets
from distill.train import TrainConfig, defaults
from eval.reading.protocol import Protocol
from eval.reading.windows import WindowRule
from eval.scoring.submission import signature

RECIPE = "minilm-3l-384d-squad2"
"""Whose two stages are run; rate, batch and length are the study's."""
LOSS = "held_out_loss"
TEACHER = "teacher"
FINISH_PASSES = 10
"""Passes of stage 2 over the N originals, at the recipe's learning rate."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What all arms have in common."""

    sets: Sets
    teacher: str
    layers: tuple[int, ...]
    rule: WindowRule
    batch_size: int
    dtype: Literal["float32", "bfloat16"]
    """Of the training's matrix products, and of the reader that is asked dev questions."""
    work: Path
    """Trainings, deleted when their record is written."""
    records: Path

    @property
    def tokenizer(self) -> Any:
        """The teacher's, which is every student's."""
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.teacher)

    @property
    def protocol(self) -> Protocol:
        """How the dev questions are asked: in windows as in training."""
        return Protocol(
            max_seq_length=self.rule.max_seq_length,
            doc_stride=self.rule.doc_stride,
            max_query_length=self.rule.max_query_length,
        )

    def stages(self, arm: Arm, learning_rate: float) -> tuple[Stage, Stage]:
        """Give both stages of an arm."""
        first, second = (
            replace(stage, teacher=self.teacher, batch_size=self.batch_size)
            for stage in find_recipe(RECIPE).stages
        )
        first = replace(
            first,
            rows=arm.rows,
            epochs=arm.passes[-1],  # at least: an epoch of copies is longer, `max_steps` ends it
            learning_rate=learning_rate,
            layer_map=self.layers,
        )
        return first, replace(second, epochs=FINISH_PASSES)


def run_arm(setup: Setup, arm: Arm, learning_rate: float) -> dict[str, Any]:
    """Train, measure and write the record; a run that was cut short goes on.

    A trial has stage 1 alone, and asks no dev question.
    """
    from distill.train import train

    folder = setup.work / arm.name
    stages = setup.stages(arm, learning_rate)
    data, originals = setup.sets.rows(arm), setup.sets.originals(arm)
    steps = [arm.steps(number, setup.batch_size) for number in arm.passes]
    first = replace(
        _config(setup, arm, stages, folder / "stage-1", data),
        student=FROM_TEACHER + ",".join(map(str, setup.layers)),
        only_stages=(0,),
        max_steps=steps[-1],
        keep_steps=tuple(steps),
    )
    second = replace(
        _config(setup, arm, stages, folder / "stage-2", originals),
        student=str(first.output),
        only_stages=(1,),
    )
    is_trial = arm.learning_rate is not None
    trained = [train(config) for config in ([first] if is_trial else [first, second])]
    students = [first.output / "stages" / f"1-intermediate-step-{step}" for step in steps]
    students += [] if is_trial else [second.output]
    rows = _measured(setup, stages, students, asked=not is_trial)
    record = {
        "arm": asdict(arm),
        "learning_rate": learning_rate,
        "points": [
            {"passes": number, "steps": step, **means(found)}
            for number, step, found in zip(arm.passes, steps, rows, strict=False)
        ],
        "after_stage_2": None if is_trial else means(rows[-1]),
        "training": [shown_training(training) for training in trained],
        "held_out": {"sha256": file_sha256(setup.sets.held_out), "rows": len(rows[0][LOSS])},
        "signature": None if is_trial else dev_signature(setup, len(rows[0]["f1"])),
    }
    write_record(setup.records, rows, record)
    shutil.rmtree(folder)
    return record


def measure_teacher(setup: Setup) -> None:
    """Ask the teacher the dev questions, too, and write its record."""
    rows = dev_scores(Path(setup.teacher), setup.sets.dev, setup.protocol, setup.dtype)
    made = {"arm": {"name": TEACHER, "kind": TEACHER}, "dev": means(rows)}
    made["signature"] = dev_signature(setup, len(rows["f1"]))
    write_record(setup.records, [rows], made)


def _measured(
    setup: Setup, stages: tuple[Stage, Stage], students: Sequence[Path], *, asked: bool
) -> list[dict[str, Rows]]:
    source = find_source("original", str(setup.sets.held_out))
    features = load_features(source, setup.tokenizer, setup.rule)
    held_out = HeldOut(features, setup.teacher, stages)

    def measure(student: Path) -> dict[str, Rows]:
        found = held_out.losses(student)
        if asked:
            found |= dev_scores(student, setup.sets.dev, setup.protocol, setup.dtype)
        return found

    return [_once(student, measure) for student in students]


def dev_signature(setup: Setup, num_questions: int) -> str:
    """Say on one line how F1 was measured."""
    return signature(
        metric="squad_v1",
        protocol=f"{setup.protocol.signature()},dtype={setup.dtype}",
        n=num_questions,
        data=file_sha256(setup.sets.dev)[:12],
    )


def _config(
    setup: Setup, arm: Arm, stages: tuple[Stage, ...], output: Path, data: Path
) -> TrainConfig:
    given = {
        **defaults(find_recipe(RECIPE)),
        "stages": stages,
        "seed": arm.seed,
        "max_seq_length": setup.rule.max_seq_length,
        "doc_stride": setup.rule.doc_stride,
        "max_query_length": setup.rule.max_query_length,
    }
    return TrainConfig(
        **given, output=output, data=str(data), device="cpu", dtype=setup.dtype, save_steps=400
    )


def _once(student: Path, measure: Callable[[Path], dict[str, Rows]]) -> dict[str, Rows]:
    """Measure a student, or give what an earlier run found."""
    path = student / "measured.npz"
    if not path.is_file():
        write_atomic(path, packed(measure(student)))
    return unpacked(path.read_bytes())


def shown_training(training: Mapping[str, Any]) -> dict[str, Any]:
    """Give what a record keeps of a training's: what decided it, how long it took, where."""
    return {
        "rows": training["plan"]["rows"],
        "models": training["plan"]["models"],
        "stage": training["stages"][0]["stage"],
        "windows": training["stages"][0]["windows"],
        "last_losses": training["stages"][0]["last_losses"],
        **{name: training[name] for name in ("seconds", "weights_sha256", "hardware", "versions")},
    }
