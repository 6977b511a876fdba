"""Run a recipe's stages in order, each kept, to a finished checkpoint that says how it was made.

Everything is made in OUTPUT.incomplete and renamed at the end. A stage that is done is not run
again; one that was killed goes on from its last whole checkpoint.
"""

import gc
import json
import math
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

from augment.command import UsageError, to_json, versions
from augment.commit import locked, rename_folder, write_atomic
from augment.models import pick_dtype
from augment.plan import differences
from distill.batches import Batches
from distill.card import write_card
from distill.dev_score import DevScore, score_finished
from distill.distiller import IntermediateDistiller, SpanDistiller
from distill.features import Source, find_source, load_features
from distill.hardware import EnergyMeter, describe_hardware
from distill.recipes import Recipe, Stage
from distill.student import (
    check_layer_map,
    check_same_tokenizer,
    layers_of,
    load_teacher,
    make_student,
    uniform_layer_map,
)
from distill.teacher import IntermediateTeacher, SpanTeacher, Targets, TeacherLogits
from distill.trainer import Place, check_gpus, train_stage
from eval.predict import shown_name, weights_sha256
from eval.reader import pick_device, process_rank
from eval.windows import WindowRule

TEACHER_BATCH = 2
"""Times the training's micro-batch: what fits where nothing is kept for a backward pass."""
STAGE_RECORD = "stage.json"


@dataclass(frozen=True, kw_only=True)
class Job:
    """A recipe with the rows it is to run on, and where the student goes."""

    recipe: Recipe
    output: Path
    data: str | None
    text: tuple[Path, ...] = ()
    dev: str | None = None
    dev_steps: int | None = None
    dev_limit: int | None = None
    max_steps: int | None = None
    accumulation: int = 1
    save_steps: int = 1000
    logging_steps: int = 50
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    cache_logits: bool = True
    allow_bin: bool = False
    overwrite: bool = False

    @property
    def incomplete(self) -> Path:
        """Where everything is made."""
        return self.output.with_name(self.output.name + ".incomplete")

    @property
    def rule(self) -> WindowRule:
        """How windows are cut."""
        return WindowRule(
            max_seq_length=self.recipe.max_seq_length,
            doc_stride=self.recipe.doc_stride,
            max_query_length=self.recipe.max_query_length,
        )


def distil(job: Job) -> dict[str, Any]:
    """Run the job to its end and give the record that lies in OUTPUT/training.json.

    Raises:
        UsageError: what was asked for cannot be done, or something else lies in OUTPUT.
        ValueError: data or a model that does not fit; nothing has been trained then.
    """
    place = _place(job)
    check_gpus(place)
    job.output.parent.mkdir(parents=True, exist_ok=True)
    with _alone(job):
        sources = [_find_source(job, index) for index in range(len(job.recipe.stages))]
        plan = _plan(job, sources, place)
        record = _finished(job, plan)
        if record is not None:
            print(f"{job.output}: complete already")
            return record
        student, tokenizer = _check_models(job)
        _start(job, plan)
        records = [
            _run_stage(job, index, source, place, student, tokenizer)
            for index, source in enumerate(sources)
        ]
        return _finish(job, plan, sources, records, place)


def _place(job: Job) -> Place:
    device = pick_device(job.device).type
    return Place(
        device=device,
        dtype=pick_dtype(job.dtype, device),
        num_processes=int(os.environ.get("WORLD_SIZE", "1")),
        accumulation=job.accumulation,
        save_steps=job.save_steps,
        logging_steps=job.logging_steps,
        num_workers=0 if device == "cpu" else 2,
    )


def _rank() -> int:
    """Give this process's rank, also before the processes have met."""
    return int(os.environ.get("RANK", "0"))


@contextmanager
def _alone(job: Job) -> Iterator[None]:
    """Keep a second run out; the other processes of this one come along."""
    if _rank():
        yield
        return
    with locked(job.output.with_name(job.output.name + ".lock")):
        yield


def _find_source(job: Job, index: int) -> Source:
    """Find a stage's rows, or say which flag names them."""
    stage = job.recipe.stages[index]
    if stage.rows == "text" and not job.text:
        raise UsageError(f"stage {index + 1} trains on plain text; name files with --text")
    if stage.rows != "text" and job.data is None:
        raise UsageError(f"stage {index + 1} trains on {stage.rows} rows; name them with --data")
    source = find_source(stage.rows, job.data, job.text)
    if stage.rows == "augmented" and source.copies == 0 and not _rank():
        print(
            f"{source.name}: no copies in it; stage {index + 1} trains on the originals alone",
            file=sys.stderr,
        )
    return source


def _plan(job: Job, sources: Sequence[Source], place: Place) -> dict[str, Any]:
    """Gather what decides the result."""
    names = {stage.teacher for stage in job.recipe.stages if stage.teacher}
    if not job.recipe.student.startswith("teacher:"):
        names.add(job.recipe.student)
    plan = {
        "recipe": asdict(job.recipe),
        "rows": [{"kind": s.kind, "name": s.name, "sha256": s.sha256} for s in sources],
        "models": {name: model_identity(name) for name in sorted(names)},
        "max_steps": job.max_steps,
        "dtype": place.dtype,
    }
    return _without_folders(job, plan)


def _without_folders(job: Job, record: dict[str, Any]) -> dict[str, Any]:
    """Name models by their folder's name alone: the rest is this machine's; hashes tell which."""
    text = json.dumps(record)
    for name in {job.recipe.student, *(stage.teacher for stage in job.recipe.stages)}:
        if name is not None:
            text = text.replace(json.dumps(name), json.dumps(shown_name(name)))
    value: dict[str, Any] = json.loads(text)
    return value


def model_identity(name: str) -> str:
    """Give the hash of a checkpoint folder's files, or the commit of a hub repository."""
    folder_hash = weights_sha256(name)
    if folder_hash is not None:
        return folder_hash
    from transformers import AutoConfig

    return str(AutoConfig.from_pretrained(name)._commit_hash)


def _finished(job: Job, plan: dict[str, Any]) -> dict[str, Any] | None:
    """Give the record of an equal job that is done; see that an unfinished one is this job's."""
    places = ((job.output, "training.json"), (job.incomplete, "plan.json"))
    for folder, name in places:
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            continue
        if not (folder / name).is_file():
            raise UsageError(
                f"{folder}: exists and was not made here (no {name}); choose another OUTPUT, or "
                "move it away"
            )
        found = json.loads((folder / name).read_bytes())
        record = found if folder == job.output else {"plan": found}
        different = differences(record.get("plan", {}), plan)
        if different and not job.overwrite:
            raise UsageError(
                f"{folder} was made otherwise; pass --overwrite to replace it:\n  "
                + "\n  ".join(different)
            )
        if folder == job.output and not different and not job.overwrite:
            value: dict[str, Any] = record
            return value
        if folder == job.incomplete and different and not _rank():
            shutil.rmtree(folder)
    return None


def _check_models(job: Job) -> tuple[Any, Any]:
    """Load every model once, before hours are spent: do they exist, fit, and agree?

    Returns:
        The student as it is before the first stage, and its tokenizer.
    """
    recipe = job.recipe
    student, tokenizer = _new_student(job)
    num_layers = len(layers_of(student))
    _check_length(job, student, tokenizer, recipe.student)
    for index, stage in enumerate(recipe.stages):
        if stage.teacher is None:
            continue
        teacher_tokenizer, teacher = load_teacher(
            stage.teacher, span_head=stage.kind == "prediction", allow_bin=job.allow_bin
        )
        check_same_tokenizer(teacher_tokenizer, tokenizer, (stage.teacher, recipe.student))
        _check_length(job, teacher, teacher_tokenizer, stage.teacher)
        if stage.kind == "intermediate":
            _layer_map(stage, index, num_layers, teacher)
            heads = student.config.num_attention_heads, teacher.config.num_attention_heads
            if stage.attention_weight and heads[0] != heads[1]:
                raise UsageError(
                    f"stage {index + 1}: the student has {heads[0]} attention heads, "
                    f"{stage.teacher} has {heads[1]}; their attention cannot be compared; pass "
                    f"--stages.{index}.attention-weight 0"
                )
    return student, tokenizer


def _check_length(job: Job, model: Any, tokenizer: Any, name: str) -> None:
    limits = (getattr(model.config, "max_position_embeddings", None), tokenizer.model_max_length)
    limit = min(limit for limit in limits if limit)
    if job.recipe.max_seq_length > limit:
        raise UsageError(
            f"max_seq_length {job.recipe.max_seq_length}: {name} has {limit} positions; pass "
            f"--max-seq-length {limit} or less"
        )


def _layer_map(stage: Stage, index: int, num_layers: int, teacher: Any) -> tuple[int, ...]:
    num_teacher_layers = len(layers_of(teacher))
    layer_map = stage.layer_map or uniform_layer_map(num_layers, num_teacher_layers)
    check_layer_map(layer_map, num_layers, num_teacher_layers)
    return layer_map


def _new_student(job: Job) -> tuple[Any, Any]:
    """Make the student as it is before the first stage; with its tokenizer."""
    spec = job.recipe.student
    teacher, source = None, spec
    if spec.startswith("teacher:"):
        source = job.recipe.stages[-1].teacher or ""
        if not source:
            raise UsageError(f"student {spec}: the last stage has no teacher to take layers from")
        _, teacher = load_teacher(source, span_head=True, allow_bin=job.allow_bin)
    student = make_student(spec, teacher, job.recipe.seed, allow_bin=job.allow_bin)
    return student, AutoTokenizer.from_pretrained(source)


def _start(job: Job, plan: dict[str, Any]) -> None:
    if _rank() == 0:
        (job.incomplete / "stages").mkdir(parents=True, exist_ok=True)
        write_atomic(job.incomplete / "plan.json", to_json(plan))


def _stage_folder(job: Job, index: int) -> Path:
    return job.incomplete / "stages" / f"{index + 1}-{job.recipe.stages[index].kind}"


def _run_stage(
    job: Job, index: int, source: Source, place: Place, student: Any, tokenizer: Any
) -> dict[str, Any]:
    """Run a stage from the one before, and keep its student; or give the record of a done one.

    `student` is the first stage's.
    """
    folder = _stage_folder(job, index)
    record_path = folder / STAGE_RECORD
    if record_path.is_file():
        done: dict[str, Any] = json.loads(record_path.read_bytes())
        return done
    stage = job.recipe.stages[index]
    seed = job.recipe.seed + index
    torch.manual_seed(seed)
    if index:
        before = _stage_folder(job, index - 1)
        student = AutoModelForQuestionAnswering.from_pretrained(before, dtype=torch.float32)
    teacher, teacher_tokenizer = None, tokenizer
    if stage.teacher:
        teacher_tokenizer, teacher = load_teacher(
            stage.teacher, span_head=stage.kind == "prediction", allow_bin=job.allow_bin
        )
        teacher.to(place.device, getattr(torch, place.dtype))
    features = load_features(source, teacher_tokenizer, job.rule)
    num_steps = math.ceil(stage.epochs * len(features) / stage.batch_size)
    batches = Batches(
        features,
        min(num_steps, job.max_steps or num_steps),
        stage.batch_size,
        place.num_processes * place.accumulation,
        seed,
        pad_to=job.recipe.max_seq_length if stage.count_padding else None,
    )
    torch.manual_seed(seed)
    distiller, targets, counts = _prepare(job, index, student, teacher, batches, place)
    if targets is None:
        teacher = None  # its logits are on disk
        gc.collect()
    work = folder.with_name(folder.name + ".incomplete")
    meter = EnergyMeter()
    with meter:
        result = train_stage(
            distiller,
            stage,
            batches,
            targets,
            place,
            work / "checkpoints",
            callbacks=_callbacks(job, index, student, tokenizer, place),
        )
    record = {
        "stage": _without_folders(job, asdict(stage)),
        "windows": features.counts,
        "teacher_windows_computed": counts,
        "energy_kwh": meter.kwh,
        **result,
    }
    if process_rank()[0] == 0:
        _keep_stage(student, tokenizer, record, work, folder)
    _wait_for_all()
    if _rank() == 0:
        rate = record["examples"] / max(record["seconds"], 1e-9)
        losses = ", ".join(f"{k} {v:.4g}" for k, v in record["last_losses"].items())
        print(
            f"stage {index + 1}, {stage.kind}: {record['steps']:,} steps, "
            f"{record['examples']:,} examples, {rate:.1f} a second; {losses}",
            flush=True,
        )
    return record


def _prepare(
    job: Job, index: int, student: Any, teacher: Any, batches: Batches, place: Place
) -> tuple[Any, Targets | None, int]:
    """Pair the student with what teaches it.

    Returns:
        The distiller; what the teacher adds to a batch (None where the batches have its logits or
        nobody teaches); and how many windows' logits were computed for the cache.
    """
    stage = job.recipe.stages[index]
    if stage.kind == "intermediate":
        distiller = IntermediateDistiller(student, teacher.config.hidden_size, stage)
        layer_map = _layer_map(stage, index, len(layers_of(student)), teacher)
        attention = bool(stage.attention_weight)
        return distiller, IntermediateTeacher(teacher, layer_map, attention=attention), 0
    spans = SpanDistiller(student, stage)
    if stage.kind == "supervised" or not stage.kd_weight:
        return spans, None, 0
    if not job.cache_logits or stage.count_padding:  # the cache holds real tokens alone
        return spans, SpanTeacher(teacher), 0
    assert stage.teacher is not None  # checked by the recipe
    batches.logits = TeacherLogits(batches.features, model_identity(stage.teacher), place.dtype)
    rows = np.concatenate([batches.step_rows(step) for step in range(batches.num_steps)])
    size = TEACHER_BATCH * stage.batch_size // batches.micro_batches
    return spans, None, batches.logits.fill(rows, teacher, size)


def _callbacks(job: Job, index: int, student: Any, tokenizer: Any, place: Place) -> list[Any]:
    from transformers.integrations import TensorBoardCallback
    from transformers.integrations.integration_utils import is_tensorboard_available

    callbacks: list[Any] = []
    if is_tensorboard_available() and _rank() == 0:
        from torch.utils.tensorboard.writer import SummaryWriter

        folder = job.incomplete / "logs" / _stage_folder(job, index).name
        writer = SummaryWriter(str(folder))
        callbacks.append(TensorBoardCallback(tb_writer=writer))
    spans = job.recipe.stages[index].kind != "intermediate"
    if job.dev is not None and job.dev_steps is not None and spans:
        callbacks.append(
            DevScore(student, tokenizer, job.dev, job.recipe, job.dev_steps, job.dev_limit, place)
        )
    return callbacks


def _keep_stage(
    student: Any, tokenizer: Any, record: dict[str, Any], work: Path, folder: Path
) -> None:
    """Put a stage's student in place: whole, or not at all."""
    made = work / "student"
    shutil.rmtree(made, ignore_errors=True)
    save_student(student, tokenizer, made)
    write_atomic(made / STAGE_RECORD, to_json(record))
    rename_folder(made, folder)
    shutil.rmtree(work)


def save_student(student: Any, tokenizer: Any, folder: Path) -> None:
    """Write a student as an ordinary checkpoint: no hook, no capture, PyTorch's own attention."""
    student.set_attn_implementation("sdpa")
    student.save_pretrained(folder)
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.save_pretrained(folder)


def _wait_for_all() -> None:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()


def _finish(
    job: Job,
    plan: dict[str, Any],
    sources: Sequence[Source],
    records: Sequence[dict[str, Any]],
    place: Place,
) -> dict[str, Any]:
    """Copy the last stage's student up, score it, write the record and the card, rename."""
    if process_rank()[0] == 0:
        last = _stage_folder(job, len(records) - 1)
        for path in last.iterdir():
            if path.name != STAGE_RECORD:
                shutil.copy2(path, job.incomplete / path.name)
    _wait_for_all()
    scores = score_finished(job.incomplete, job.dev, job.recipe, place) if job.dev else None
    record = {
        "plan": plan,
        "stages": list(records),
        "scores": scores,
        "weights_sha256": weights_sha256(_stage_folder(job, len(records) - 1)),
        "parameters": _count_parameters(job.incomplete),
        "hardware": describe_hardware(place),
        "seconds": round(sum(stage["seconds"] for stage in records), 1),
        "versions": versions(),
    }
    if _rank() == 0:
        write_atomic(job.incomplete / "training.json", to_json(record))
        write_card(job.incomplete)
        if job.output.exists():
            shutil.rmtree(job.output)  # empty, or --overwrite
        rename_folder(job.incomplete, job.output)
        print(f"{job.output}: done")
    return record


def _count_parameters(folder: Path) -> int:
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", "pt") as file:
        return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())
