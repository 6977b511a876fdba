"""Score a student: now and then while it is trained, and once when it is done."""

from contextlib import nullcontext
from itertools import groupby, islice
from typing import Any

import torch
from transformers import TrainerCallback

from distill.recipes import Recipe
from distill.training.job import Job
from eval.predict import Predict, predict
from eval.reading.processes import launch_rank
from eval.reading.protocol import Protocol
from eval.reading.reader import Reader
from eval.scoring.gold import GoldQuestion, read_gold, texts_to_read
from eval.squad_v1 import SquadV1
from eval.squad_v1 import score as score_v1
from eval.squad_v1 import score_files as score_v1_files
from eval.squad_v2 import SquadV2
from eval.squad_v2 import score as score_v2
from eval.squad_v2 import score_files as score_v2_files


def protocol_of(recipe: Recipe) -> Protocol:
    """Read as run_qa does, with the windows that the student is trained on."""
    return Protocol(
        max_seq_length=recipe.max_seq_length,
        doc_stride=recipe.doc_stride,
        max_query_length=recipe.max_query_length,
    )


def score(gold: list[GoldQuestion], predictions: dict[str, str], metric: str) -> dict[str, Any]:
    """Give the figures under the names of the metric."""
    if metric == "squad_v1":
        return score_v1(gold, predictions).as_dict()
    return score_v2(gold, predictions).as_dict()


class DevScore(TrainerCallback):  # type: ignore[misc]
    """Scores the student every so many steps, on the first questions of a dev set.

    The student is put back into training mode: else dropout would be off from here on.
    """

    def __init__(self, student: Any, tokenizer: Any, job: Job) -> None:
        assert job.dev is not None  # checked by the command
        assert job.dev_steps is not None
        self.trainer: Any = None
        self.student = student
        self.steps = job.dev_steps
        self.place = job.place
        self.metric = job.recipe.score
        paragraphs = groupby(read_gold(job.dev, job.dev_part)[0], lambda q: q.context)
        self.gold = [q for _, asked in islice(paragraphs, job.dev_limit) for q in asked]
        self.reader = Reader(student, tokenizer, protocol_of(job.recipe))

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Score, when it is time."""
        if state.global_step % self.steps and state.global_step != state.max_steps:
            return
        training = self.student.training
        self.student.eval()
        try:
            with self._autocast():
                answers = self.reader.read(
                    *texts_to_read(self.gold, "the dev set"),
                    may_be_null=any(question.may_be_null for question in self.gold),
                )
        finally:
            self.student.train(training)
        predictions = {q.id: a.text for q, a in zip(self.gold, answers, strict=True)}
        found = score(self.gold, predictions, self.metric)
        kept = ("exact", "f1", "exact_match", "HasAns_f1", "NoAns_f1")
        should_log = control.should_log  # an entry of ours must not take the loss's place
        self.trainer.log({f"dev_{k}": found[k] for k in kept if k in found})
        control.should_log = should_log

    def _autocast(self) -> Any:
        if self.place.dtype == "float32":
            return nullcontext()
        return torch.autocast(self.place.device, getattr(torch, self.place.dtype))


def score_finished(job: Job) -> dict[str, Any]:
    """Predict a whole dev set in float32 with a finished student; keep predictions and scores.

    Returns:
        The official figures with their signature, as they lie in eval/scores.json.
    """
    assert job.dev is not None  # checked by the caller
    folder, dev, recipe, part = job.folder.incomplete, job.dev, job.recipe, job.dev_part
    out = folder / "eval"
    predict(
        Predict(
            model=str(folder),
            dev=dev,
            part=part,
            out=out,
            max_seq_length=recipe.max_seq_length,
            doc_stride=recipe.doc_stride,
            max_query_length=recipe.max_query_length,
            overwrite=True,
            device="cuda" if job.place.device == "cuda" else "cpu",
        )
    )
    if launch_rank():
        return {}
    predictions, out_file = out / "predictions.json", out / "scores.json"
    if recipe.score == "squad_v1":
        return score_v1_files(
            SquadV1(dev=dev, part=part, predictions=predictions, out_file=out_file)
        ).as_dict()
    na_probs = out / "na_probs.json"
    return score_v2_files(
        SquadV2(
            dev=dev,
            part=part,
            predictions=predictions,
            na_prob_file=na_probs,
            out_file=out_file,
        )
    ).as_dict()
