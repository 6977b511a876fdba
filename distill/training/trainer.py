"""The one `Trainer` of the project: a teacher beside it, every term in the log, exact resume.

Mixed precision, accumulation, clipping, checkpoints, TensorBoard and several processes are
transformers'. Ours are the order of the rows (`Batches`), the losses (`distiller`) and the mark
that tells a whole checkpoint from one that a kill cut short (`resuming`).
"""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from augment.base.command import UsageError
from augment.base.resuming import WholeCheckpoints, last_whole_checkpoint
from augment.variants.attention import keep_freed_memory
from distill.models.distiller import model_inputs
from distill.models.teacher import Targets
from distill.recipes import Stage
from distill.rows.batches import Batches
from eval.reading.processes import first_decides

NO_DECAY = ("bias", "norm")
"""Parts of names of parameters without weight decay."""
CURVE_POINTS = 200
"""Of a stage's losses, in its record."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where and how a stage runs; nothing that decides what it learns but rounding."""

    device: str
    """`cpu` or `cuda`."""
    dtype: str
    """Of the matrix products: float32, bfloat16 or float16."""
    num_processes: int = 1
    accumulation: int = 1
    """Micro-batches of a step, in each process."""
    save_steps: int = 1000
    """Steps between checkpoints."""
    logging_steps: int = 50
    num_workers: int = 0
    """Processes that read batches ahead."""
    save_total_limit: int = 2


def parameter_groups(module: nn.Module, stage: Stage) -> list[dict[str, Any]]:
    """Split what is trained: biases and norms go without weight decay (unless `decay_all`)."""
    trained = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in trained:
        spared = any(part in name.lower() for part in NO_DECAY) and not stage.decay_all
        (plain if spared else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": stage.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def learning_rate_share(step: int, num_steps: int, warmup: float) -> float:
    """Give the learning rate of a step as a share of the highest: linear up, linear down to 0.

    Source: transformers' get_linear_schedule_with_warmup, which Haystack's LinearWarmup is.
    """
    rising = math.ceil(num_steps * warmup)
    if step < rising:
        return step / rising
    return max(0.0, (num_steps - step) / max(1, num_steps - rising))


class DistilTrainer(Trainer):  # type: ignore[misc]
    """Trains a distiller: asks the teacher, takes `loss`, and logs the mean of every term."""

    loss_is_scaled_for_ga = False  # Trainer takes the mean over micro-batches, and so does DDP

    def __init__(self, *args: Any, targets: Targets | None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.targets = targets
        self._sums: dict[str, Tensor] = {}
        self._summed = 0

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """Run the teacher and the distiller on a micro-batch.

        Its loss is a mean over its rows; with more rows than another one it counts for more, so
        that the mean over micro-batches is the mean over the step's rows.
        """
        distiller: Any = self.accelerator.unwrap_model(model)
        given = model_inputs(distiller.student, inputs)
        given |= {name: inputs[name] for name in distiller.batch_inputs if name in inputs}
        taught = self.targets(inputs) if self.targets else {}
        losses: dict[str, Tensor] = model(**given, **taught)
        batches: Any = self.train_dataset
        share: float = len(inputs["input_ids"]) * batches.micro_batches / batches.batch_size
        for name, value in losses.items():
            if name != "loss":
                self._sums[name] = self._sums.get(name, 0) + share * value.detach()
        self._summed += 1
        loss: Tensor = share * losses["loss"]
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the terms' means since the last log, over the rows of all processes."""
        if not math.isfinite(logs.get("loss", 0.0)):
            raise ValueError(
                f"the loss at step {self.state.global_step} is {logs['loss']}; lower the learning "
                "rate, or pass --dtype float32"
            )
        if "loss" in logs and self._summed:
            totals = self.accelerator.reduce(torch.stack([*self._sums.values()]), "mean").tolist()
            means = [total / self._summed for total in totals]
            logs = {**logs, **dict(zip(self._sums, means, strict=True))}
            self._sums, self._summed = {}, 0
        super().log(logs, start_time)


class StepsAsTold(TrainerCallback):  # type: ignore[misc]
    """Sees that the last step is logged, and that a resumed run saves and logs as told now."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Take the steps from the arguments, not from the checkpoint."""
        state.save_steps, state.logging_steps = args.save_steps, args.logging_steps

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Log the last step."""
        if state.global_step >= state.max_steps:
            control.should_log = True


def train_stage(
    distiller: nn.Module,
    stage: Stage,
    batches: Batches,
    targets: Targets | None,
    place: Place,
    work: Path,
    *,
    callbacks: Sequence[TrainerCallback] = (),
    groups: Callable[[nn.Module, Stage], list[dict[str, Any]]] = parameter_groups,
) -> dict[str, Any]:
    """Train `distiller` in place, from the last whole checkpoint in `work` if there is one.

    Args:
        distiller: what is trained.
        stage: its hyperparameters.
        batches: its rows.
        targets: the teacher; None where its logits are in the batches, or nobody teaches.
        place: where and how it runs.
        work: the folder of the checkpoints.
        callbacks: more of them, such as a dev score or a pruning schedule; one with a `trainer`
            attribute gets the trainer.
        groups: from the distiller and the stage to the optimizer's parameter groups.

    Returns:
        steps, examples, seconds, the last logged losses, and a curve of all.
    """
    check_gpus(place)
    if place.device == "cpu":
        keep_freed_memory()
    elif place.dtype != "float32":
        torch.set_float32_matmul_precision("high")  # TF32: the losses' products are in float32
    resume, before = first_decides(lambda: last_whole_checkpoint(work))
    whole = WholeCheckpoints(before)
    optimizer = torch.optim.AdamW(
        groups(distiller.to(place.device), stage),
        lr=stage.learning_rate,
        eps=stage.adam_epsilon,
        fused=True,  # on a CPU, too, an eighth of the time
    )
    num_steps = batches.num_steps
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate_share(step, num_steps, stage.warmup)
    )
    trainer = DistilTrainer(
        model=distiller,
        args=_arguments(stage, batches, place, work),
        train_dataset=batches,
        data_collator=_only_item,
        optimizers=(optimizer, schedule),
        callbacks=[whole, StepsAsTold(), *callbacks],
        targets=targets,
    )
    trainer.remove_callback(PrinterCallback)
    for callback in callbacks:
        if hasattr(callback, "trainer"):
            callback.trainer = trainer
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    if any(not parameter.isfinite().all() for parameter in distiller.parameters()):
        raise ValueError("the weights became NaN or infinite; lower the learning rate")
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    last = {k: round(v, 6) for k, v in (logged[-1] if logged else {}).items() if "loss" in k}
    return {
        "steps": num_steps,
        "examples": num_steps * batches.batch_size,
        "seconds": round(whole.seconds, 1),
        "last_losses": last,
        "losses": curve(logged),
    }


def curve(logged: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """Give the logged losses by their names, with their steps: at most `CURVE_POINTS` of each."""
    every = -(-len(logged) // CURVE_POINTS) or 1
    kept = logged[::every]
    common = set.intersection(*(set(entry) for entry in kept)) if kept else set()
    names = sorted(name for name in common if "loss" in name)
    return {name: [round(entry[name], 6) for entry in kept] for name in ("step", *names)}


def check_gpus(place: Place) -> None:
    """Stop before the model is loaded where PyTorch would train wrongly or not at all.

    Raises:
        UsageError: several GPUs without `torchrun`, or a GPU that this PyTorch does not serve.
    """
    if place.device != "cuda":
        return
    count = torch.cuda.device_count()
    if count > 1 and place.num_processes == 1:
        raise UsageError(
            f"{count} GPUs and one process: start with `torchrun --nproc-per-node {count} -m "
            "distill.train ...`, or show one GPU alone with CUDA_VISIBLE_DEVICES=0"
        )
    major, minor = torch.cuda.get_device_capability()
    if not _served(major, minor, torch.cuda.get_arch_list()):
        raise UsageError(
            f"this PyTorch ({torch.__version__}) is not built for {torch.cuda.get_device_name()} "
            f"(sm_{major}{minor}); for a V100 install PyTorch's build for CUDA 12.6, see "
            "https://pytorch.org/get-started/locally/"
        )


def _served(major: int, minor: int, built: Sequence[str]) -> bool:
    """Tell whether a GPU runs one of the architectures: same major version, or PTX to compile."""
    for name in built:
        kind, _, digits = name.partition("_")
        digits = digits.rstrip("af")
        if kind not in ("sm", "compute"):
            continue  # another maker's
        theirs = int(digits[:-1]), int(digits[-1])
        if theirs <= (major, minor) and (kind == "compute" or theirs[0] == major):
            return True
    return False


def _only_item(items: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return items[0]


def _arguments(stage: Stage, batches: Batches, place: Place, work: Path) -> TrainingArguments:
    unused = stage.kind == "intermediate" and not stage.hidden_weight  # the last layer's output
    return TrainingArguments(
        output_dir=str(work),
        per_device_train_batch_size=1,  # an item is a micro-batch
        train_sampling_strategy="sequential",  # the order is in the items
        gradient_accumulation_steps=place.accumulation,
        max_steps=batches.num_steps,
        max_grad_norm=stage.max_grad_norm,
        bf16=place.dtype == "bfloat16",
        fp16=place.dtype == "float16",
        use_cpu=place.device == "cpu",
        seed=batches.seed,
        save_steps=place.save_steps,
        save_total_limit=place.save_total_limit,
        logging_steps=place.logging_steps,
        logging_first_step=True,
        disable_tqdm=not sys.stderr.isatty(),
        logging_nan_inf_filter=False,  # else it waits for the device at every step
        remove_unused_columns=False,  # else the teacher loses token_type_ids
        dataloader_num_workers=place.num_workers,
        dataloader_pin_memory=place.device != "cpu",
        accelerator_config={"non_blocking": place.device != "cpu"},
        # a static graph crashes where the first backward pass sends nothing (torch 2.13)
        ddp_static_graph=True if unused and place.accumulation == 1 else None,
        ddp_find_unused_parameters=unused and place.accumulation > 1,
        report_to=[],  # TensorBoard comes as a callback, with a folder of its own
    )
