"""Every step's rows: an order of our own, a function of (seed, epoch, lengths) and nothing else.

An item of `Batches` is a micro-batch, so `Trainer` needs no sampler, a resumed run goes on with
exactly the rows that were left, and accumulated micro-batches or several processes see the rows
that one large batch would.
"""

import hashlib
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distill.rows.features import Features

GROUP = 64
"""Batches whose rows are sorted by length together: padding falls to about 2 %."""
MULTIPLE = 8
"""Rows are padded to a multiple of this, which tensor cores like."""


def epoch_order(
    lengths: NDArray[np.int32], batch_size: int, seed: int, epoch: int
) -> NDArray[np.int64]:
    """Deal all rows into batches of like length, in random order.

    The last batch is filled up with the epoch's first rows, so every batch is whole.

    Args:
        lengths: tokens of each row, (rows,).
        batch_size: rows of a batch.
        seed, epoch: decide the order.

    Returns:
        Row numbers, (batches, batch_size); within a batch the longest first.
    """
    num_batches = math.ceil(len(lengths) / batch_size)
    shuffled = _permutation(len(lengths), f"rows {seed} {epoch}")
    shuffled = np.resize(shuffled, num_batches * batch_size)
    for start in range(0, len(shuffled), GROUP * batch_size):
        group = shuffled[start : start + GROUP * batch_size]
        group[:] = group[np.argsort(-lengths[group], kind="stable")]
    return shuffled.reshape(num_batches, batch_size)[
        _permutation(num_batches, f"batches {seed} {epoch}")
    ]


def _permutation(number: int, purpose: str) -> NDArray[np.int64]:
    key = int.from_bytes(hashlib.blake2b(purpose.encode(), digest_size=16).digest(), "little")
    return np.argsort(np.random.Philox(key=key).random_raw(number), kind="stable")


@dataclass
class Batches:
    """A stage's micro-batches from its first step to its last, as a map-style data set."""

    features: Features
    num_steps: int
    """Optimizer steps."""
    batch_size: int
    """Rows of a step, over all processes and micro-batches."""
    micro_batches: int
    """Into which a step's rows are dealt: processes times accumulation; one may have more rows."""
    seed: int
    logits: Any = None
    """A `TeacherLogits` for these features, or None."""
    pad_to: int | None = None
    """Pad every row to this length; by default to the longest row, in steps of 8."""
    _orders: dict[int, NDArray[np.int64]] = field(default_factory=dict, init=False, repr=False)
    """The order of the epoch that is being read."""

    def __post_init__(self) -> None:
        if self.batch_size < self.micro_batches:
            raise ValueError(
                f"batch_size {self.batch_size}: fewer rows than the {self.micro_batches} "
                "micro-batches of a step (processes times accumulation)"
            )

    def __len__(self) -> int:
        return self.num_steps * self.micro_batches

    def __getitem__(self, item: int) -> dict[str, Tensor]:
        step, part = divmod(item, self.micro_batches)
        return self.collate(self.step_rows(step)[part :: self.micro_batches])

    def step_rows(self, step: int) -> NDArray[np.int64]:
        """Give the rows of an optimizer step, (batch_size,)."""
        epoch, place = divmod(step, math.ceil(len(self.features) / self.batch_size))
        if epoch not in self._orders:
            self._orders.clear()
            self._orders[epoch] = epoch_order(
                self.features.lengths, self.batch_size, self.seed, epoch
            )
        rows: NDArray[np.int64] = self._orders[epoch][place]
        return rows

    def collate(self, rows: NDArray[np.int64]) -> dict[str, Tensor]:
        """Read rows as a padded batch.

        Returns:
            input_ids, attention_mask, token_type_ids (where the tokenizer has them): (rows,
            length); positions: the labels, (rows, 2); and, with cached teacher logits,
            teacher_start and teacher_end: (rows, length).
        """
        features = self.features
        lengths = features.lengths[rows]
        length = self.pad_to or -(-int(lengths.max()) // MULTIPLE) * MULTIPLE
        places = np.arange(length)
        mask = places < lengths[:, None]
        flat = features.starts[rows, None] + np.where(mask, places, 0)
        ids = np.where(mask, features.tokens[flat], features.pad_token_id)
        batch = {"input_ids": ids.astype(np.int64), "attention_mask": mask.astype(np.int64)}
        if features.token_types:
            types = (places >= features.context_starts[rows, None]) & mask
            batch["token_type_ids"] = types.astype(np.int64)
        batch["positions"] = features.labels[rows].astype(np.int64)
        if self.logits is not None:
            start, end = self.logits.read(flat)
            batch["teacher_start"] = np.where(mask, start, 0)
            batch["teacher_end"] = np.where(mask, end, 0)
        return {name: torch.from_numpy(array) for name, array in batch.items()}
