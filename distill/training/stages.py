"""Run a recipe's stages in order, each kept, to a finished checkpoint that says how it was made.

Everything is made in OUTPUT.incomplete and renamed at the end. A stage that is done is not run
again; one that was killed goes on from its last whole checkpoint.
"""

import gc
import json
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from augment.base.command import default_cache, needing, to_json, versions
from augment.base.commit import write_atomic
from augment.base.folders import folder_bytes, rename_folder
from augment.base.models import model_sha256, pick_device
from augment.base.stored import CHECKSUMS, checksum_faults, discard, seal
from augment.cards.facts import inherited
from augment.inputs.card import folder_card, hub_card
from distill.cards.measured import TRAINING
from distill.cards.model_card import write_card
from distill.models.attention import can_capture
from distill.models.distiller import IntermediateDistiller, SpanDistiller
from distill.models.student import make_student
from distill.models.teacher import IntermediateTeacher, SpanTeacher, Targets, TeacherLogits
from distill.prune.compaction import compact
from distill.prune.masks import Pruner
from distill.recipes import PruningStage
from distill.rows.batches import Batches
from distill.rows.features import Source, load_features
from distill.training.dev_score import DevScore, score_finished
from distill.training.hardware import EnergyMeter, describe_hardware
from distill.training.job import (
    Job,
    check_nodes,
    claimed,
    find_sources,
    plan_of,
    shown_stage,
    with_folders,
)
from distill.training.keeping import KeptSteps, save_student
from distill.training.preflight import Teachers, check_models, settle_layer_map
from distill.training.pruning import PruningSchedule, pruning_groups
from distill.training.trainer import check_gpus, parameter_groups, train_stage
from eval.reading.encoder import layers_of
from eval.reading.processes import (
    after_its_keeper,
    first_decides,
    launch_rank,
    meet,
    wait_for_all,
)
from eval.scoring.gold import read_gold

TEACHER_BATCH = 2
"""Times the training's micro-batch: what fits where nothing is kept for a backward pass."""
STAGE_RECORD = "stage.json"


def distil(job: Job) -> dict[str, Any]:
    """Run the job to its end and give the record that lies in OUTPUT/training.json.

    Raises:
        UsageError: what was asked for cannot be done, or something else lies in OUTPUT.
        ValueError: data or a model that does not fit; nothing has been trained then.
    """
    job = replace(job, recipe=with_folders(job.recipe))
    meet(pick_device(job.device))
    check_gpus(job.place)
    first_decides(job.folder.look)
    sources = find_sources(job)
    plan = plan_of(job, sources)
    with claimed(job, plan) as record:
        if record is not None:
            if launch_rank() == 0:
                print(f"{job.output}: complete already")
            return record
        teachers = Teachers(job, plan["models"])
        student, tokenizer = check_models(job, teachers)
        row_facts = _row_facts(job.data)
        num_bytes = _bytes_needed(job, student)
        with needing(num_bytes):
            first_decides(lambda: _prepare_folder(job, plan, num_bytes))
            check_nodes(job, plan)
            records = [
                _run_stage(job, index, source, teachers, student, tokenizer)
                for index, source in enumerate(sources)
            ]
            return _finish(job, plan, records, row_facts)


def _bytes_needed(job: Job, student: Any) -> int:
    """Estimate what OUTPUT takes: float32 students, and checkpoints with two moments each.

    While the oldest checkpoint makes way there is one more.
    """
    kept = 1 + len(job.recipe.stages) * (1 + len(job.keep_steps))
    return 4 * int(student.num_parameters()) * (kept + 3 * (job.place.save_total_limit + 1))


def _prepare_folder(job: Job, plan: dict[str, Any], num_bytes: int) -> None:
    """Make OUTPUT's, with room for what is not there yet."""
    job.folder.prepare(plan)
    job.folder.look(num_bytes - folder_bytes(job.folder.incomplete))


def _run_stage(
    job: Job, index: int, source: Source, teachers: Teachers, student: Any, tokenizer: Any
) -> dict[str, Any]:
    """Run a stage from the one before, and keep its student; or give the record of a done one.

    `student` is the first stage's.
    """
    folder = job.stage_folder(index)
    work = folder.with_name(folder.name + ".incomplete")
    teacher_tokenizer, teacher = teachers.take(index, tokenizer)
    done = first_decides(lambda: _done_stage(folder, work))
    if done is not None:
        return done
    began = time.monotonic()
    stage, place = job.recipe.stages[index], job.place
    seed = job.recipe.seed + index
    if index:
        student = make_student(str(job.stage_folder(index - 1)), None, seed)
    if teacher is not None:
        teacher.to(place.device, getattr(torch, place.dtype))
    features = after_its_keeper(
        default_cache(), lambda: load_features(source, teacher_tokenizer, job.rule)
    )
    num_steps = math.ceil(stage.epochs * math.ceil(len(features) / stage.batch_size))
    batches = Batches(
        features,
        min(num_steps, job.max_steps or num_steps),
        stage.batch_size,
        place.num_processes * place.accumulation,
        seed,
        pad_to=job.recipe.max_seq_length if stage.count_padding else None,
    )
    torch.manual_seed(seed)
    pruner = Pruner(student, stage) if isinstance(stage, PruningStage) else None
    distiller, targets, counts = _prepare(job, index, student, teacher, batches, pruner)
    if targets is None:
        teacher = None  # its logits are on disk
        gc.collect()
    prepared = time.monotonic() - began
    meter = EnergyMeter()
    with meter:
        result = train_stage(
            distiller,
            stage,
            batches,
            targets,
            place,
            work / "checkpoints",
            callbacks=_callbacks(job, index, student, tokenizer, pruner),
            groups=pruning_groups if pruner else parameter_groups,
        )
    record = {
        "stage": shown_stage(stage),
        "windows": features.counts,
        "teacher_windows_computed": counts,
        "preparing_seconds": round(prepared, 1),
        "energy_kwh": meter.kwh,
        **result,
    }
    if isinstance(stage, PruningStage):
        compact(student, drop_uniform_heads=stage.drop_uniform_heads)
    if launch_rank() == 0:
        _keep_stage(student, tokenizer, record, work, folder)
    wait_for_all()
    if launch_rank() == 0:
        rate = record["examples"] / max(record["seconds"], 1e-9)
        losses = ", ".join(f"{k} {v:.4g}" for k, v in record["last_losses"].items())
        print(
            f"stage {index + 1}, {stage.kind}: {record['steps']:,} steps, "
            f"{record['examples']:,} examples, {rate:.1f} a second; {losses}",
            flush=True,
        )
    return record


def _done_stage(folder: Path, work: Path) -> dict[str, Any] | None:
    """Give the record of a stage that is done and whole; clear away what is neither."""
    if not folder.is_dir():
        return None
    shutil.rmtree(work, ignore_errors=True)  # killed when the stage had its name
    if faults := checksum_faults(folder):
        discard(folder, faults)
        return None
    record: dict[str, Any] = json.loads((folder / STAGE_RECORD).read_bytes())
    return record


def _prepare(
    job: Job, index: int, student: Any, teacher: Any, batches: Batches, pruner: Pruner | None
) -> tuple[Any, Targets | None, int]:
    """Pair the student with what teaches it.

    Returns:
        The distiller; what the teacher adds to a batch (None where the batches have its logits or
        nobody teaches); and how many windows' logits were computed for the cache.
    """
    stage = job.recipe.stages[index]
    if stage.kind == "intermediate":
        layer_map = settle_layer_map(stage, len(layers_of(student)), teacher)
        attention = bool(stage.attention_weight) and can_capture(student) and can_capture(teacher)
        stage = stage if attention else replace(stage, attention_weight=0.0)
        distiller = IntermediateDistiller(student, teacher.config.hidden_size, stage)
        return distiller, IntermediateTeacher(teacher, layer_map, attention=attention), 0
    spans = SpanDistiller(student, stage, [pruner] if pruner else [])
    if stage.kind == "supervised" or not stage.kd_weight:
        return spans, None, 0
    if not job.cache_logits or stage.count_padding:  # the cache holds real tokens alone
        return spans, SpanTeacher(teacher), 0
    assert stage.teacher is not None  # checked by the recipe
    batches.logits = TeacherLogits(batches.features, model_sha256(stage.teacher), job.place.dtype)
    rows = np.concatenate([batches.step_rows(step) for step in range(batches.num_steps)])
    size = TEACHER_BATCH * stage.batch_size // batches.micro_batches
    return spans, None, batches.logits.fill(rows, teacher, size)


def _callbacks(
    job: Job, index: int, student: Any, tokenizer: Any, pruner: Pruner | None
) -> list[Any]:
    from transformers.integrations import TensorBoardCallback
    from transformers.integrations.integration_utils import is_tensorboard_available

    callbacks: list[Any] = [PruningSchedule(pruner)] if pruner else []
    if is_tensorboard_available() and launch_rank() == 0:
        from torch.utils.tensorboard.writer import SummaryWriter

        folder = job.folder.incomplete / "logs" / job.stage_folder(index).name
        writer = SummaryWriter(str(folder))
        callbacks.append(TensorBoardCallback(tb_writer=writer))
    spans = job.recipe.stages[index].kind != "intermediate"
    if job.dev_steps is not None and spans:
        callbacks.append(DevScore(student, tokenizer, job))
    if job.keep_steps:
        callbacks.append(
            KeptSteps(student, tokenizer, job.keep_steps, lambda step: job.step_folder(index, step))
        )
    return callbacks


def _keep_stage(
    student: Any, tokenizer: Any, record: dict[str, Any], work: Path, folder: Path
) -> None:
    """Put a stage's student in place: whole, or not at all."""
    made = work / "student"
    shutil.rmtree(made, ignore_errors=True)
    save_student(student, tokenizer, made)
    (made / STAGE_RECORD).write_text(to_json(record), encoding="utf-8")
    seal(made)
    rename_folder(made, folder)
    shutil.rmtree(work)


def _finish(
    job: Job, plan: dict[str, Any], records: Sequence[dict[str, Any]], row_facts: dict[str, Any]
) -> dict[str, Any]:
    """Copy the last stage's student up, score it, write the record and the card, rename."""
    if launch_rank() == 0:
        last = job.stage_folder(len(records) - 1)
        for path in last.iterdir():
            if path.name not in (STAGE_RECORD, CHECKSUMS):
                shutil.copy2(path, job.folder.incomplete / path.name)
    wait_for_all()
    scores = score_finished(job) if job.dev else None
    if launch_rank():
        return {}  # the first process has the record, and renames the folder
    record = {
        "plan": plan,
        "stages": list(records),
        "scores": scores,
        "data_card": row_facts,
        "dev_sha256": read_gold(job.dev, job.dev_part)[1] if job.dev else None,
        "weights_sha256": model_sha256(job.stage_folder(len(records) - 1)),
        "parameters": _count_parameters(job.folder.incomplete),
        "hardware": describe_hardware(job.place),
        "seconds": round(sum(s["seconds"] + s["preparing_seconds"] for s in records), 1),
        "versions": versions(),
    }
    write_atomic(job.folder.incomplete / TRAINING, to_json(record))
    write_card(job.folder.incomplete)
    job.folder.put_in_place()
    print(f"{job.output}: done")
    return record


def _row_facts(data: str | None) -> dict[str, Any]:
    """Give what the card of a folder or hub data set says of its texts."""
    if data is None or Path(data).is_file():
        return {}
    return inherited(folder_card(Path(data)) if Path(data).is_dir() else hub_card(data))


def _count_parameters(folder: Path) -> int:
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", "pt") as file:
        return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())
