"""Train a masked LM on batches of text with `Trainer`, with or without a larger teacher."""

from __future__ import annotations

import hashlib
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from augment.fitting.masked_batches import mask_batch, masked_logits

if TYPE_CHECKING:
    import torch
    from torch import Tensor

WARMUP = 0.05  # share of a run in which the learning rate rises


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a masked LM is trained."""

    max_minutes: float | None
    """Time limit of this run, counted from now."""
    learning_rate: float
    """Peak learning rate."""
    kd_weight: float
    hard_weight: float
    seed: int
    save_steps: int
    device: str
    """`cpu` or `cuda`."""
    dtype: str
    """Number type of the matrix products: float32, bfloat16 or float16."""


@dataclass(frozen=True)
class MaskedSteps:
    """The masked batch of every step: a function of the seed and the step, whatever ran before."""

    batches: Sequence[Sequence[list[int]]]
    tokenizer: Any
    mask_share: float
    seed: int
    num_steps: int

    def __len__(self) -> int:
        return self.num_steps

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        import torch

        epoch, place = divmod(step, len(self.batches))
        order = list(range(len(self.batches)))
        random.Random(f"{self.seed}/{epoch}").shuffle(order)
        digest = hashlib.sha256(f"{self.seed}/{step}".encode()).digest()
        masks = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big"))
        return mask_batch(self.batches[order[place]], self.tokenizer, self.mask_share, masks)


class Clock:
    """How much of a run is done: by steps, or by minutes where they are limited."""

    def __init__(self, num_steps: int, max_minutes: float | None) -> None:
        self.num_steps = num_steps
        self.max_minutes = max_minutes
        self.started = time.monotonic()

    def done(self, step: int) -> float:
        """Give the share that is done, 1 at the end."""
        minutes = (time.monotonic() - self.started) / 60
        return max(step / self.num_steps, minutes / self.max_minutes if self.max_minutes else 0)

    def rate(self, step: int) -> float:
        """Give the learning rate as a share of the highest: up in a twentieth, then down to 0."""
        done = self.done(step)
        return min(1.0, done / WARMUP, max(0.0, (1 - done) / (1 - WARMUP)))


def taught_loss(
    logits: Tensor, labels: Tensor, teacher_logits: Tensor, kd_weight: float, hard_weight: float
) -> Tensor:
    """Add the cross-entropies with the teacher's distribution and with the masked words.

    Args:
        logits, teacher_logits: (places, vocabulary).
        labels: the masked words, (places,).
        kd_weight: of the cross-entropy with the teacher's distribution.
        hard_weight: of the cross-entropy with the words.

    Returns:
        The mean over places.

    Source: Hinton et al. 2015, at temperature 1. Differs: both targets are one, so that the
        vocabulary is gone through once.
    """
    import torch

    target = teacher_logits.float().softmax(-1).mul_(kd_weight)
    target[torch.arange(len(labels), device=labels.device), labels] += hard_weight
    return torch.nn.functional.cross_entropy(logits.float(), target)


def train(model: Any, teacher: Any, steps: MaskedSteps, training: Training, work: Path) -> None:
    """Train `model` in place; checkpoints go to `work`, and the last one there is resumed.

    Args:
        model: a masked LM.
        teacher: another with the same vocabulary, or None. It is moved to the device.
        steps: the batches.
        training: the settings.
        work: folder of the checkpoints.
    """
    import torch
    from transformers import PrinterCallback

    from augment.base.resuming import WholeCheckpoints, last_whole_checkpoint

    if teacher is not None:
        teacher.to(training.device, getattr(torch, training.dtype)).eval()
    clock = Clock(len(steps), training.max_minutes)
    optimizer = torch.optim.AdamW(
        model.to(training.device).parameters(), training.learning_rate, betas=(0.9, 0.98)
    )
    trainer = _trainer_class(teacher, training)(
        model=model,
        args=_arguments(training, work, len(steps)),
        train_dataset=steps,
        data_collator=lambda items: items[0],
        optimizers=(optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, clock.rate)),
        callbacks=[_clock_callback(clock), WholeCheckpoints()],
    )
    trainer.remove_callback(PrinterCallback)
    last, _ = last_whole_checkpoint(work)
    trainer.train(resume_from_checkpoint=str(last) if last else None)
    model.eval()


def _arguments(training: Training, work: Path, num_steps: int) -> Any:
    from transformers import TrainingArguments

    return TrainingArguments(
        output_dir=str(work),
        per_device_train_batch_size=1,  # an item is a batch
        train_sampling_strategy="sequential",  # the order is in the items
        max_steps=num_steps,
        bf16=training.dtype == "bfloat16",
        fp16=training.dtype == "float16",
        use_cpu=training.device == "cpu",
        seed=training.seed,
        save_steps=training.save_steps,
        save_total_limit=2,
        logging_steps=50,
        disable_tqdm=True,
        logging_nan_inf_filter=False,
        remove_unused_columns=False,
        dataloader_pin_memory=training.device != "cpu",
        report_to=[],
    )


def _trainer_class(teacher: Any, training: Training) -> Any:
    """Give a Trainer that takes the loss at the masked places, from the teacher too."""
    import torch
    from transformers import Trainer

    class MaskedTrainer(Trainer):  # type: ignore[misc]
        def compute_loss(
            self,
            model: torch.nn.Module,
            inputs: dict[str, Tensor],
            return_outputs: bool = False,
            num_items_in_batch: Tensor | int | None = None,
        ) -> Tensor:
            labels = inputs["labels"][inputs["labels"] != -100]
            logits = masked_logits(model, inputs, self.accelerator.unwrap_model(model))
            if teacher is None:
                return torch.nn.functional.cross_entropy(logits.float(), labels)
            with torch.no_grad():
                wanted = masked_logits(teacher, inputs)
            return taught_loss(logits, labels, wanted, training.kd_weight, training.hard_weight)

    return MaskedTrainer


def _clock_callback(clock: Clock) -> Any:
    """Give a callback that stops in time and tells how far the run is."""
    from transformers import TrainerCallback

    class ClockCallback(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if clock.done(state.global_step) >= 1:
                control.should_training_stop = True

        def on_log(self, args: Any, state: Any, control: Any, logs: Any, **_: Any) -> None:
            if sys.stderr.isatty() and "loss" in logs:
                done, loss = clock.done(state.global_step), float(logs["loss"])
                print(f"step {state.global_step:,}, {done:.0%}, loss {loss:.3f}", file=sys.stderr)

    return ClockCallback()
