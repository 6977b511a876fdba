"""What a training is asked to do, and what of it lies on disk already."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from augment.base.command import UsageError
from augment.base.folders import OutFolder
from augment.base.models import model_sha256, pick_device, pick_dtype, shown_name
from augment.base.records import differences
from augment.squad import DEV_PART, TRAIN_PART, OnBadAnswer, Part
from distill.cards.measured import TRAINING, read_training
from distill.models.student import FROM_TEACHER
from distill.recipes import Recipe, Stage
from distill.rows.features import Source, find_source
from distill.training.trainer import Place
from eval.reading.processes import (
    first_decides,
    gather,
    keeper_of,
    launch_rank,
    num_processes,
)
from eval.reading.reader import find_reader
from eval.reading.windows import WindowRule
from eval.scoring.gold import read_gold


@dataclass(frozen=True, kw_only=True)
class Job:
    """A recipe with the rows it is to run on, and where the student goes."""

    recipe: Recipe
    """Student, stages, windows, seed."""
    output: Path
    """The student's folder."""
    data: str | None
    """A set made by `augment.build`; or a file, folder or hub id as `augment.build` takes it."""
    part: Part = TRAIN_PART
    """Which part of `data`."""
    on_bad_answer: OnBadAnswer = "fail"
    """What becomes of answers of `data` that are not where they should be."""
    text: tuple[Path, ...] = ()
    """Plain text, a paragraph a line."""
    min_agreement: float | None = None
    """Of a set judged by a reader, leave out copies whose `reader_f1` is below."""
    dev: str | None = None
    """The finished student is scored on it."""
    dev_part: Part = DEV_PART
    """Which part of `dev`."""
    dev_steps: int | None = None
    """Score every so many steps, too."""
    dev_limit: int | None = None
    """Use so many paragraphs for that."""
    max_steps: int | None = None
    """Limits every stage."""
    accumulation: int = 1
    """Micro-batches of a step, in each process."""
    save_steps: int = 1000
    """Steps between checkpoints."""
    keep_steps: tuple[int, ...] = ()
    """Keep every stage's student after these steps, too."""
    logging_steps: int = 50
    """Steps between log entries."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of the matrix products."""
    cache_logits: bool = True
    """Keep the teacher's logits on disk."""
    allow_bin: bool = False
    """Also read pytorch_model.bin."""
    overwrite: bool = False
    """Replace what lies in `output`."""

    def __post_init__(self) -> None:
        if not self.output.name:
            raise UsageError(f"OUTPUT {self.output}: name the folder that is to be made")
        for name in ("max_steps", "dev_steps", "dev_limit", "accumulation", "save_steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"--{name.replace('_', '-')} {value}: must be 1 or more")
        if any(step < 1 for step in self.keep_steps):
            raise UsageError(f"--keep-steps {min(self.keep_steps)}: steps count from 1")
        if self.logging_steps < 1:
            raise UsageError(f"--logging-steps {self.logging_steps}: must be 1 or more")
        if self.dev is None and self.dev_steps is not None:
            raise UsageError("--dev-steps scores on what? name a dev set with --dev")
        parts = num_processes() * self.accumulation
        for index, stage in enumerate(self.recipe.stages):
            if stage.batch_size < parts:
                raise UsageError(
                    f"--stages.{index}.batch-size {stage.batch_size}: fewer rows than the {parts} "
                    "micro-batches of a step (processes times accumulation)"
                )

    @property
    def folder(self) -> OutFolder:
        """The student's folder, and where everything is made."""
        return OutFolder(out=self.output, what="a student", mark=TRAINING, overwrite=self.overwrite)

    @property
    def rule(self) -> WindowRule:
        """How windows are cut."""
        return WindowRule(
            max_seq_length=self.recipe.max_seq_length,
            doc_stride=self.recipe.doc_stride,
            max_query_length=self.recipe.max_query_length,
        )

    @property
    def place(self) -> Place:
        """Where and how its stages run."""
        device = pick_device(self.device).type
        if (self.dtype, device) == ("float16", "cpu"):
            raise UsageError("--dtype float16: a CPU trains in bfloat16 or float32")
        return Place(
            device=device,
            dtype=pick_dtype(self.dtype, device),
            num_processes=num_processes(),
            accumulation=self.accumulation,
            save_steps=self.save_steps,
            logging_steps=self.logging_steps,
            num_workers=0 if device == "cpu" else 2,
        )

    def stage_folder(self, index: int) -> Path:
        """Give the folder of a stage's student."""
        name = f"{index + 1}-{self.recipe.stages[index].kind}"
        return self.folder.incomplete / "stages" / name

    def step_folder(self, index: int, step: int) -> Path:
        """Give the folder of a stage's student after a step, beside the stage's own."""
        folder = self.stage_folder(index)
        return folder.with_name(f"{folder.name}-step-{step}")


def with_folders(recipe: Recipe) -> Recipe:
    """Give a recipe in which `embedded` is the folder of the reader that ships."""
    stages = tuple(
        stage if stage.teacher is None else replace(stage, teacher=find_reader(stage.teacher))
        for stage in recipe.stages
    )
    return replace(recipe, student=find_reader(recipe.student), stages=stages)


@contextmanager
def claimed(job: Job, plan: dict[str, Any]) -> Iterator[dict[str, Any] | None]:
    """Lock OUTPUT against a second run; give the record if the job is finished already.

    Of several processes of one run, the first holds the lock.

    Raises:
        UsageError: something else lies there, and may not be replaced.
    """

    def claim() -> dict[str, Any] | None:
        finished = held.enter_context(job.folder.claimed(plan))
        return _finished_record(job) if finished else None

    with ExitStack() as held:
        yield first_decides(claim)


def check_nodes(job: Job, plan: dict[str, Any]) -> None:
    """See, before the training, that every process has the first one's rows, models and OUTPUT.

    Raises:
        UsageError: on the first, if one has something else.
    """
    plans, keepers = gather(plan), gather(keeper_of(job.folder.incomplete))

    def compare() -> None:
        for rank, theirs in enumerate(plans):
            if changed := differences(plan, theirs):
                listed = "\n  ".join(changed)
                raise UsageError(f"process {rank} would do another job:\n  {listed}")
        if outside := [str(rank) for rank, keeper in enumerate(keepers) if keeper]:
            raise UsageError(
                f"{job.output}: not shared, process {', '.join(outside)} of {len(keepers)} does "
                "not see what the first one makes there; name a folder that all nodes share"
            )

    first_decides(compare)


def _finished_record(job: Job) -> dict[str, Any]:
    record = read_training(job.output)
    scored_on = record.get("dev_sha256")
    if job.dev is not None and scored_on != read_gold(job.dev, job.dev_part)[1]:
        print(
            f"{job.output}: not scored on {shown_name(job.dev)}; use eval.predict", file=sys.stderr
        )
    return record


def find_sources(job: Job) -> list[Source]:
    """Find every stage's rows, checked.

    Raises:
        UsageError: rows that no flag names.
        ValueError, FileNotFoundError: rows that are not there, or fail their check.
    """
    return [_find_source(job, index) for index in range(len(job.recipe.stages))]


def _find_source(job: Job, index: int) -> Source:
    stage = job.recipe.stages[index]
    if stage.rows == "text" and not job.text:
        raise UsageError(f"stage {index + 1} trains on plain text; name files with --text")
    if stage.rows != "text" and job.data is None:
        raise UsageError(f"stage {index + 1} trains on {stage.rows} rows; name them with --data")
    source = find_source(
        stage.rows, job.data, job.text, job.part, job.on_bad_answer, job.min_agreement
    )
    if stage.rows in ("augmented", "balanced") and source.copies == 0 and not launch_rank():
        print(
            f"{source.name}: no copies in it; stage {index + 1} trains on the originals alone",
            file=sys.stderr,
        )
    return source


def plan_of(job: Job, sources: Sequence[Source]) -> dict[str, Any]:
    """Gather what decides the result."""
    recipe = job.recipe
    models = {
        f"stages.{index}.teacher": model_sha256(stage.teacher)
        for index, stage in enumerate(recipe.stages)
        if stage.teacher
    }
    student = recipe.student
    if not student.startswith(FROM_TEACHER):
        models["student"], student = model_sha256(student), shown_name(student)
    stages = [shown_stage(stage) for stage in recipe.stages]
    plan = {
        "recipe": {**asdict(recipe), "student": student, "stages": stages},
        "rows": [_shown_rows(source) for source in sources],
        "models": models,
        "max_steps": job.max_steps,
        "dtype": job.place.dtype,
    }
    value: dict[str, Any] = json.loads(json.dumps(plan))  # as it will be read again
    return value


def _shown_rows(source: Source) -> dict[str, Any]:
    shown: dict[str, Any] = {"kind": source.kind, "name": source.name, "sha256": source.sha256}
    if source.min_agreement is not None:
        shown["min_agreement"] = source.min_agreement
    return shown


def shown_stage(stage: Stage) -> dict[str, Any]:
    """Name the teacher by its folder's name alone: the rest is this machine's."""
    teacher = None if stage.teacher is None else shown_name(stage.teacher)
    return {**asdict(stage), "teacher": teacher}
