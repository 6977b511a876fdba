"""GloVe's model: vectors whose products are the logarithms of co-occurrence counts."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from augment.base.command import UsageError
from augment.base.progress import say_done
from augment.fitting.cooccurrence import Cooccurrence
from augment.fitting.spool import Spool

if TYPE_CHECKING:
    from torch import Tensor

ENTRIES = 16384  # pairs whose products are formed at once, so that they stay in the cache
FIRST_SQUARE = 1e-8  # where AdaGrad's sums of squares begin

Report = Callable[[int, float], None]
"""Called after each epoch with its number, from 1, and its mean loss."""


@dataclass(frozen=True, kw_only=True)
class GloveFit:
    """What shapes the vectors besides the text."""

    dimensions: int = 100
    """Length of a vector."""
    epochs: int = 15
    """Passes over the table of word pairs, at most."""
    window: int = 15
    """Words on either side of a word that are paired with it, each weighted by 1 / distance."""
    min_count: int = 5
    """A word gets a vector if it occurs at least this often."""
    x_max: float = 100.0
    """Pairs with this count or more have weight 1 in the loss."""
    alpha: float = 0.75
    """Pairs with a lower count have weight (count / x_max) ** alpha."""
    learning_rate: float = 0.1
    """Learning rate of AdaGrad."""
    num_batches: int = 50
    """Updates per epoch."""
    flat: float = 0.002
    """Stop when an epoch lowers the loss by less than this share."""
    seed: int = 0
    """Seed of the initial vectors and of the batches."""

    def __post_init__(self) -> None:
        for name in ("dimensions", "epochs", "window", "min_count", "num_batches"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} {getattr(self, name)}: must be 1 or more")
        for name in ("x_max", "alpha", "learning_rate"):
            if not 0 < getattr(self, name) < float("inf"):
                raise UsageError(f"{name} {getattr(self, name)}: must be above 0")


@dataclass(frozen=True)
class Batch:
    """Pairs in both directions, sorted by row, so that one index serves rows and columns."""

    offsets: "Tensor"
    """Where each word's entries begin, (words + 1,)."""
    rows: "Tensor"
    columns: "Tensor"
    log_count: "Tensor"
    weight: "Tensor"


def fit_pairs(
    pairs: Cooccurrence,
    num_words: int,
    config: GloveFit,
    report: Report | None = None,
) -> NDArray[np.float32]:
    """Minimise the sum over pairs of f(X_ij) (w_i . c_j + b_i + b_j - log X_ij)^2 / 2.

    Returns:
        w + c, (num_words, dimensions).
    Source: GloVe (Pennington et al. 2014), equations 8 and 9, and 4.6 for the sum.
    Differs: AdaGrad's step is taken for the summed gradient of a batch, not for each pair; the
        gradient is the same, and a batch is a sparse matrix product instead of a loop.
    """
    import torch

    size = config.dimensions
    words, contexts = first_vectors(num_words, size, config.seed)
    draws = np.random.Generator(np.random.Philox(config.seed + 1))
    batches = _batches(pairs, num_words, config, draws)
    squares = torch.full((2, num_words, size + 2), FIRST_SQUARE)
    last = float("inf")
    for epoch in range(1, config.epochs + 1):
        loss, entries = 0.0, 0
        for number in draws.permutation(len(batches)):
            batch = Batch(*map(torch.from_numpy, batches[number]))
            entries += len(batch.rows)
            own, other = _residuals(batch, words, contexts)
            loss += float((batch.weight * own).double() @ own.double()) / 2
            gradients = (
                _weighted_sum(batch, contexts, batch.weight * own),
                _weighted_sum(batch, words, batch.weight * other),
            )
            gradients[0][:, size + 1] = gradients[1][:, size] = 0  # the constant columns
            for values, gradient, square in zip((words, contexts), gradients, squares, strict=True):
                square.addcmul_(gradient, gradient)
                values.addcdiv_(gradient, square.sqrt(), value=-config.learning_rate)
            say_done(1 / len(batches))
        loss /= entries
        if report is not None:
            report(epoch, loss)
        if last - loss < config.flat * last:
            break
        last = loss
    fitted: NDArray[np.float32] = (words + contexts)[:, :size].numpy()
    return fitted


def first_vectors(num_words: int, dimensions: int, seed: int) -> "Tensor":
    """Draw small vectors for words and contexts, (2, num_words, dimensions + 2).

    The biases are two more columns, since [w, b, 1] . [c, 1, b'] = w . c + b + b'.
    """
    import torch

    draws = np.random.Generator(np.random.Philox(seed))
    start = (draws.random((2, num_words, dimensions + 2)) - 0.5) / dimensions
    start[0, :, dimensions:] = 0, 1
    start[1, :, dimensions:] = 1, 0
    return torch.tensor(start, dtype=torch.float32)


def _batches(
    pairs: Cooccurrence, num_words: int, config: GloveFit, draws: np.random.Generator
) -> Spool:
    """Deal the pairs out at random, and list each batch in both directions by row.

    Returns:
        blocks of a `Batch`'s arrays.
    """
    num_batches = min(config.num_batches, pairs.num_pairs)
    dealt = _deal(pairs, num_batches, draws)
    batches = Spool()
    for number in range(num_batches):
        first, second, count = dealt.joined(number, num_batches)
        mirrored = first != second
        rows = np.concatenate([first, second[mirrored]])
        columns = np.concatenate([second, first[mirrored]])
        count = np.concatenate([count, count[mirrored]])
        order = np.lexsort((columns, rows))
        rows, count = rows[order], count[order]
        batches.add(
            np.searchsorted(rows, np.arange(num_words + 1)).astype(np.int32),
            rows,
            columns[order],
            np.log(count).astype(np.float32),
            np.minimum(1, (count / config.x_max) ** config.alpha).astype(np.float32),
        )
    return batches


def _deal(pairs: Cooccurrence, num_batches: int, draws: np.random.Generator) -> Spool:
    """Sort pairs by a number drawn for each, and cut them into batches that are equally long.

    Returns:
        for each block of pairs, one block a batch: what of it the batch gets.
    """
    again, drawn = copy.deepcopy(draws), np.zeros(num_batches, np.int64)
    for first, *_ in pairs.blocks:
        drawn += np.bincount(again.integers(0, num_batches, len(first)), minlength=num_batches)
    place = np.cumsum(drawn) - drawn  # in the sorted pairs, of the next one of each number
    sizes = np.full(num_batches, pairs.num_pairs // num_batches)
    sizes[: pairs.num_pairs % num_batches] += 1
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    dealt = Spool()
    for block in pairs.blocks:
        number = draws.integers(0, num_batches, len(block[0]))
        order = np.argsort(number, kind="stable")
        counts = np.bincount(number, minlength=num_batches)
        places = np.arange(len(order)) + np.repeat(place - np.cumsum(counts) + counts, counts)
        place += counts
        for start, end in pairwise(np.searchsorted(places, bounds)):
            dealt.add(*(array[order[start:end]] for array in block))
    return dealt


def _residuals(batch: Batch, words: "Tensor", contexts: "Tensor") -> tuple["Tensor", "Tensor"]:
    """Give w_i . c_j - log X_ij and w_j . c_i - log X_ij for every entry (i, j) of a batch."""
    import torch

    own, other = torch.empty_like(batch.weight), torch.empty_like(batch.weight)
    for start in range(0, len(own), ENTRIES):
        part = slice(start, start + ENTRIES)
        rows, columns = batch.rows[part], batch.columns[part]
        own[part] = (words[rows] * contexts[columns]).sum(1)
        other[part] = (contexts[rows] * words[columns]).sum(1)
    return own - batch.log_count, other - batch.log_count


def _weighted_sum(batch: Batch, vectors: "Tensor", factors: "Tensor") -> "Tensor":
    """Sum factors times the vectors of a row's columns, for every row, (words, columns)."""
    import torch

    return torch.nn.functional.embedding_bag(
        batch.columns,
        vectors,
        batch.offsets,
        mode="sum",
        per_sample_weights=factors,
        include_last_offset=True,
    )
