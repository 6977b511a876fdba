"""Load the models of a training before it starts: do they exist, fit, and agree?"""

import sys
from collections.abc import Mapping
from typing import Any

from augment.base.checkpoints import load_tokenizer
from augment.base.command import UsageError
from augment.base.models import model_sha256
from distill.models.attention import can_capture
from distill.models.student import (
    FROM_TEACHER,
    check_layer_map,
    check_same_tokenizer,
    load_teacher,
    make_student,
    uniform_layer_map,
)
from distill.prune.masks import block_grid
from distill.recipes import PruningStage, Stage
from distill.training.job import Job
from eval.reading.encoder import layers_of, parts_of, positions_of
from eval.reading.processes import launch_rank
from eval.scoring.gold import gold_answers, read_gold, texts_to_read


class Teachers:
    """The teachers of a job: each loaded once, and kept while a stage is left that needs it."""

    def __init__(self, job: Job, models: Mapping[str, str]) -> None:
        """Take a job and, from its plan, the hashes of the models."""
        self._stages = job.recipe.stages
        self._allow_bin = job.allow_bin
        self._models = models
        self._loaded: dict[str, tuple[Any, Any]] = {}
        student = job.recipe.student.startswith(FROM_TEACHER)
        self._readers = {stage.teacher for stage in self._stages if stage.kind == "prediction"}
        self._readers |= {self._stages[-1].teacher} if student else set()

    def get(self, index: int) -> tuple[Any, Any]:
        """Give the tokenizer and the model of a stage's teacher, on the CPU if it is new.

        Raises:
            RuntimeError: it changed after it was hashed.
        """
        name = self._stages[index].teacher
        assert name is not None  # seen to by the callers
        if name not in self._loaded:
            self._loaded[name] = load_teacher(
                name, span_head=name in self._readers, allow_bin=self._allow_bin
            )
            if model_sha256(name) != self._models[f"stages.{index}.teacher"]:
                raise RuntimeError(f"{name}: changed since this run began; start anew")
        return self._loaded[name]

    def take(self, index: int, tokenizer: Any) -> tuple[Any, Any]:
        """Give what a stage tokenises and learns with, and forget what no later stage needs.

        Where nobody teaches, that is `tokenizer` and None.
        """
        stage = self._stages[index]
        if stage.teacher is None:
            return tokenizer, None
        found = self.get(index)
        if stage.teacher not in {later.teacher for later in self._stages[index + 1 :]}:
            del self._loaded[stage.teacher]
        return found[0], None if stage.kind == "supervised" else found[1]


def check_models(job: Job, teachers: Teachers) -> tuple[Any, Any]:
    """Load every model once, before hours are spent.

    Returns:
        The student as it is before the first stage, and its tokenizer.

    Raises:
        UsageError: models that the recipe's settings do not suit.
        ValueError, OSError: a model that cannot be loaded, or is no teacher of this student.
    """
    recipe = job.recipe
    _check_dev(job)
    student, tokenizer = _new_student(job, teachers)
    _check_length(job, student, tokenizer, recipe.student)
    _check_pruning(job, student)
    pruned = hasattr(student, "pruned")
    for index, stage in enumerate(recipe.stages):
        pruned = pruned or isinstance(stage, PruningStage)
        if stage.teacher is None:
            continue
        teacher_tokenizer, teacher = teachers.get(index)
        check_same_tokenizer(teacher_tokenizer, tokenizer, (stage.teacher, recipe.student))
        _check_length(job, teacher, teacher_tokenizer, stage.teacher)
        if stage.kind == "intermediate":
            settle_layer_map(stage, len(layers_of(student)), teacher)
            if stage.attention_weight and not (can_capture(student) and can_capture(teacher)):
                _check_hidden_states_alone(index, stage, student, teacher)
                continue
            if stage.attention_weight and (pruned or hasattr(teacher, "pruned")):
                raise UsageError(
                    f"stage {index + 1}: the attention of a pruned model cannot be compared, it "
                    f"lacks heads; pass --stages.{index}.attention-weight 0"
                )
            heads = student.config.num_attention_heads, teacher.config.num_attention_heads
            if stage.attention_weight and heads[0] != heads[1]:
                raise UsageError(
                    f"stage {index + 1}: the student has {heads[0]} attention heads, "
                    f"{stage.teacher} has {heads[1]}; their attention cannot be compared; pass "
                    f"--stages.{index}.attention-weight 0"
                )
    return student, tokenizer


def _check_hidden_states_alone(index: int, stage: Stage, student: Any, teacher: Any) -> None:
    """Say, once, that hidden states alone are learned where queries and keys cannot be had.

    Raises:
        UsageError: the stage learns nothing else.
    """
    named = {type(m).__name__: None for m in (student, teacher) if not can_capture(m)}
    what = f"stage {index + 1}: no queries and keys can be had of {', '.join(named)}"
    if not stage.hidden_weight:
        raise UsageError(f"{what}, and hidden-weight is 0: nothing is learned")
    if not launch_rank():
        print(f"{what}: hidden states alone are learned", file=sys.stderr)


def _check_pruning(job: Job, student: Any) -> None:
    """See that every pruning stage's blocks divide what there will be.

    Raises:
        UsageError: blocks after a stage that removes single neurons.
        ValueError: blocks that do not divide, or a model whose layers pruning does not know.
    """
    by_neuron = False
    for index, stage in enumerate(job.recipe.stages):
        if not isinstance(stage, PruningStage):
            continue
        for parts in parts_of(student):
            for kind, linear in parts.linears().items():
                block_grid(linear, kind, stage)
        if by_neuron and stage.dense_block is not None:
            raise UsageError(
                f"stage {index + 1}: an earlier one removes single neurons, so blocks no longer "
                f"fit; pass --stages.{index}.dense-block None"
            )
        by_neuron = by_neuron or stage.dense_block is None


def _check_dev(job: Job) -> None:
    """See that the dev set is there and fits the recipe's score, before the training."""
    if job.dev is None:
        return
    gold = read_gold(job.dev, job.dev_part)[0]
    texts_to_read(gold, job.dev)
    without = [qid for qid, answers in gold_answers(gold, job.dev).items() if not answers]
    if without and job.recipe.score == "squad_v1":
        raise UsageError(
            f"{job.dev}: {len(without)} questions without an answer, such as {without[0]}; "
            "SQuAD 1.1's score has no place for them"
        )


def _check_length(job: Job, model: Any, tokenizer: Any, name: str) -> None:
    """See that windows fit the positions."""
    limits = (positions_of(model.config), tokenizer.model_max_length)
    limit = min(limit for limit in limits if limit)
    if job.recipe.max_seq_length > limit:
        raise UsageError(
            f"max_seq_length {job.recipe.max_seq_length}: {name} has {limit} positions; pass "
            f"--max-seq-length {limit} or less"
        )


def settle_layer_map(stage: Stage, num_layers: int, teacher: Any) -> tuple[int, ...]:
    """Give the teacher layer of each student layer, uniform where the stage names none."""
    num_teacher_layers = len(layers_of(teacher))
    layer_map = stage.layer_map or uniform_layer_map(num_layers, num_teacher_layers)
    check_layer_map(layer_map, num_layers, num_teacher_layers)
    return layer_map


def _new_student(job: Job, teachers: Teachers) -> tuple[Any, Any]:
    """Make the student as it is before the first stage; with its tokenizer."""
    spec = job.recipe.student
    teacher, source = None, spec
    if spec.startswith(FROM_TEACHER):
        source = job.recipe.stages[-1].teacher or ""
        if not source:
            raise UsageError(f"student {spec}: the last stage has no teacher to take layers from")
        _, teacher = teachers.get(len(job.recipe.stages) - 1)
    student = make_student(spec, teacher, job.recipe.seed, allow_bin=job.allow_bin)
    return student, load_tokenizer(source)
