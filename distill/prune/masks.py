"""Block movement pruning: a learned score for every block of weights, and masks made of them.

Source: Sanh et al. 2020 (scores, straight-through masks) and Lagunas et al. 2021 (blocks, shared
scores of neurons, regularisation by kind). Biases stay: `compact` folds what they come to.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from distill.prune.schedule import regularization_at, threshold_at
from distill.recipes import PruningStage
from eval.reading.encoder import ATTENTION, DENSE, dense_shape, parts_of

NEURONS = "neurons"
"""The kind of a score vector that both linear layers of a feed-forward part share."""


def straight_through_mask(
    scores: Tensor, *, threshold: float, by_rank: bool, min_density: float = 0.0
) -> Tensor:
    """Give 1 for the blocks that are kept and 0 for the others, with the gradient of `scores`.

    Args:
        scores: any shape.
        threshold: kept where the score's sigmoid is above it; by rank, the share that is kept.
        by_rank: keep the highest scores of this tensor.
        min_density: never keep a smaller share; of tied scores just as many as it takes.

    Returns:
        A tensor like `scores`; what reaches it in a backward pass goes on to the scores unchanged.
    """
    values = scores.detach()
    count = math.ceil(round(min_density * values.numel(), 6))
    if by_rank:
        count = max(count, round(threshold * values.numel()))
        kept = torch.zeros_like(values, dtype=torch.bool)
    else:
        kept = values.sigmoid() > threshold
    if count:
        best = values.flatten().topk(count).indices
        kept = kept.flatten().index_fill(0, best, True).view_as(values)
    return kept.to(scores.dtype) + (scores - values)  # the bracket is 0 with a gradient of 1


class Pruner(nn.Module):
    """The scores of a student's blocks; from here on the student's weights are masked by them.

    Its parameters are trained beside the student's. `forward` gives the regularisation, a further
    term of the loss.
    """

    def __init__(self, student: Any, stage: PruningStage) -> None:
        """Mask every linear layer of the encoder; all scores begin at 0.

        Raises:
            ValueError: blocks that do not divide a weight, or a model of another make.
        """
        super().__init__()
        self.stage = stage
        self.scores = nn.ParameterDict()
        self._sizes: dict[str, int] = {}
        self._dense_sizes: dict[str, int] = {}
        shape = dense_shape(student.config)
        self.set_step(0, 1)
        for number, parts in enumerate(parts_of(student), 1):
            for kind, linear in parts.linears().items():
                whole = (f"density_layer_{number}", "density")
                for place in whole:
                    size = self._dense_sizes.get(place, 0)
                    self._dense_sizes[place] = size + shape.weights(kind)
                if not linear.weight.numel():
                    continue  # an earlier pruning left nothing of it
                grid = block_grid(linear, kind, stage)
                shared = kind in DENSE and stage.dense_block is None
                name = f"layer_{number}_{NEURONS if shared else kind}"
                if name not in self.scores:
                    zeros = linear.weight.new_zeros(grid)
                    self.scores[name] = nn.Parameter(zeros.flatten() if shared else zeros)
                self._sizes[name] = self._sizes.get(name, 0) + linear.weight.numel()
                masked = _Masked(partial(self.mask, name), grid)
                parametrize.register_parametrization(linear, "weight", masked)

    def set_step(self, step: int, num_steps: int) -> None:
        """Move threshold and regularisation to where they are after `step` of `num_steps`."""
        self.threshold = threshold_at(step, num_steps, self.stage)
        self.regularization = regularization_at(step, num_steps, self.stage)

    def mask(self, name: str) -> Tensor:
        """Give the mask of a score tensor, in its shape."""
        return straight_through_mask(
            self.scores[name],
            threshold=self.threshold,
            by_rank=self.stage.method == "topk",
            min_density=self.stage.min_density,
        )

    def forward(self, student: Any) -> dict[str, Tensor]:
        """Give the regularisation: the mean sigmoid of a score tensor, averaged by kind.

        Source: nn_pruning. Shared scores count once. A mean over a tensor's scores: the weight
        that suits one size of blocks is too strong for larger ones.
        """
        if not self.stage.regularization:
            return {}
        attention = self._mean_sigmoid(ATTENTION) * self.stage.attention_regularization
        dense = self._mean_sigmoid((*DENSE, NEURONS)) * self.stage.dense_regularization
        return {"regularization_loss": self.regularization * (attention + dense) / 2}

    def _mean_sigmoid(self, kinds: Sequence[str]) -> Tensor:
        chosen = [s for name, s in self.scores.items() if name.split("_", 2)[2] in kinds]
        if not chosen:
            return torch.zeros(())
        return torch.stack([scores.sigmoid().mean() for scores in chosen]).mean()

    @torch.no_grad()
    def densities(self) -> dict[str, float]:
        """Give the share of the dense model's linear weights that is kept, and of each layer's."""
        kept = dict.fromkeys(self._dense_sizes, 0.0)
        shares = [self.mask(name).mean() for name in self._sizes]
        values = torch.stack(shares).tolist() if shares else []
        for share, (name, size) in zip(values, self._sizes.items(), strict=True):
            for place in (f"density_layer_{name.split('_', 2)[1]}", "density"):
                kept[place] += share * size
        return {place: value / self._dense_sizes[place] for place, value in kept.items()}


def block_grid(linear: nn.Linear, kind: str, stage: PruningStage) -> tuple[int, int]:
    """Give rows and columns of a weight's blocks.

    Blocks of `attention_output` and `ffn_out` are turned, so that one that spans a head or a
    neuron does so there as well.

    Raises:
        ValueError: they do not divide the weight.
    """
    size = (linear.out_features, linear.in_features)
    block = stage.attention_block if kind in ATTENTION else stage.dense_block
    if block is None:  # neurons
        return (size[0], 1) if kind == "ffn_in" else (1, size[1])
    if kind in ("attention_output", "ffn_out"):
        block = block[::-1]
    if size[0] % block[0] or size[1] % block[1]:
        raise ValueError(
            f"{kind} has {size[0]} x {size[1]} weights, which blocks of {block[0]} x {block[1]} do "
            "not divide; pass another --stages.N.attention-block or --stages.N.dense-block (None: "
            "neurons)"
        )
    return size[0] // block[0], size[1] // block[1]


class _Masked(nn.Module):
    """A weight times its mask, as `torch.nn.utils.parametrize` takes it."""

    def __init__(self, mask: Callable[[], Tensor], grid: tuple[int, int]) -> None:
        super().__init__()
        self.mask = mask  # no module: the scores are the pruner's
        self.grid = grid

    def forward(self, weight: Tensor) -> Tensor:
        (rows, columns), (outputs, inputs) = self.grid, weight.shape
        blocks = weight.view(rows, outputs // rows, columns, inputs // columns)
        return (blocks * self.mask().view(rows, 1, columns, 1)).view_as(weight)
