"""Pruning during a training: the threshold of every step, and the optimizer's part for scores."""

from typing import Any

from torch import nn
from transformers import TrainerCallback

from distill.prune.masks import Pruner
from distill.recipes import PruningStage, Stage
from distill.training.trainer import parameter_groups


class PruningSchedule(TrainerCallback):  # type: ignore[misc]
    """Moves threshold and regularisation before every step, and logs the densities.

    The step is the trainer's, so that a resumed training goes on where it was.
    """

    def __init__(self, pruner: Pruner) -> None:
        self.pruner = pruner

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Move to the step that begins."""
        self.pruner.set_step(state.global_step, state.max_steps)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Add the densities to what later callbacks log."""
        if logs is not None and "loss" in logs:
            logs.update(self.pruner.densities(), threshold=self.pruner.threshold)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Move to the end: what is kept now is kept for good."""
        self.pruner.set_step(state.max_steps, state.max_steps)


def pruning_groups(module: nn.Module, stage: Stage) -> list[dict[str, Any]]:
    """Give the scores a group of their own, with their learning rate and without decay."""
    assert isinstance(stage, PruningStage)
    scores = [p for m in module.modules() if isinstance(m, Pruner) for p in m.parameters()]
    known = {id(parameter) for parameter in scores}
    groups = parameter_groups(module, stage)
    for group in groups:
        group["params"] = [p for p in group["params"] if id(p) not in known]
    return [*groups, {"params": scores, "lr": stage.score_learning_rate, "weight_decay": 0.0}]
