"""Cut what is dead out of an encoder: smaller linear layers, the same answers.

What a dead head or neuron still gives is a constant, which goes into the next bias. So it is exact
to remove a head without values (its constant is folded) or whose output nobody reads, and a
neuron without inputs (folded) or readers. A head without queries or keys is not dead: it still
averages its values, and stays unless asked otherwise.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from distill.prune.linears import KINDS, DenseShape, LayerParts, dense_shape, parts_of


@dataclass(frozen=True, kw_only=True)
class PrunedLayer:
    """What is left of one layer."""

    heads: tuple[int, ...]
    """Numbers of the heads that stay, counted from 0 in the dense model."""
    neurons: int
    """Of the feed-forward part."""
    uniform_heads: tuple[int, ...] = ()
    """Of the heads that stay, those without queries or keys."""
    dropped_uniform_heads: tuple[int, ...] = ()
    """Heads without queries or keys that were removed on request, which is not exact."""
    weights: dict[str, int] = field(default_factory=dict)
    """Weights of each linear layer that are not 0."""


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """What is left of a model; it lies in pruning.json beside the weights."""

    dense_parameters: int
    """Of the model before anything was removed."""
    parameters: int
    """Of the model as it is; zeros within kept rows and columns count."""
    linear_weights: int
    """Weights of the encoder's linear layers in the dense model, biases aside."""
    layers: tuple[PrunedLayer, ...]

    @property
    def linear_density(self) -> float:
        """Share of the linear weights that are not 0."""
        return sum(sum(layer.weights.values()) for layer in self.layers) / self.linear_weights

    def removed_heads(self, num_heads: int) -> int:
        """Count them, of `num_heads` in a layer."""
        return sum(num_heads - len(layer.heads) for layer in self.layers)

    def as_dict(self) -> dict[str, Any]:
        """Give it as JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> "Pruned":
        """Read what `as_dict` gave.

        Raises:
            KeyError, TypeError: it is not that.
        """
        layers = []
        for layer in found["layers"]:
            given: dict[str, Any] = {
                k: tuple(v) if isinstance(v, list) else v for k, v in layer.items()
            }
            layers.append(PrunedLayer(**given))
        return cls(**{**found, "layers": tuple(layers)})


@torch.no_grad()
def compact(model: Any, *, drop_uniform_heads: bool = False) -> Pruned:
    """Bake the masks in and remove dead heads and neurons, in place.

    Args:
        model: a reader or an encoder, masked by a `Pruner` or with zeros in its weights.
        drop_uniform_heads: also remove heads without queries or keys, which changes answers: such
            a head gives the mean of its values.

    Returns:
        What is left; it also hangs on the model as `pruned`, and `save_pruned` writes it.

    Raises:
        ValueError: a model of another make.
    """
    shape = dense_shape(model.config)
    before = getattr(model, "pruned", None)
    bake(model)
    layers = []
    for number, parts in enumerate(parts_of(model)):
        heads = before.layers[number].heads if before else tuple(range(shape.num_heads))
        layers.append(_compact_layer(parts, heads, shape.head_size, drop_uniform_heads))
    pruned = describe(model, layers)
    model.pruned = pruned
    return pruned


def bake(model: Any) -> None:
    """Multiply the masks into the weights, for good."""
    for parts in parts_of(model):
        for linear in parts.linears().values():
            if parametrize.is_parametrized(linear, "weight"):
                parametrize.remove_parametrizations(linear, "weight")


def describe(model: Any, layers: Sequence[PrunedLayer]) -> Pruned:
    """Count what is in a model whose layers were cut to `layers`."""
    shape = dense_shape(model.config)
    counted = tuple(
        PrunedLayer(
            **{
                **vars(layer),
                "weights": {
                    kind: int(linear.weight.count_nonzero())
                    for kind, linear in parts.linears().items()
                },
            }
        )
        for layer, parts in zip(layers, parts_of(model), strict=True)
    )
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Pruned(
        dense_parameters=parameters + sum(_cut_away(layer, shape) for layer in counted),
        parameters=parameters,
        linear_weights=len(counted) * sum(shape.weights(kind) for kind in KINDS),
        layers=counted,
    )


def _cut_away(layer: PrunedLayer, shape: DenseShape) -> int:
    """Count the parameters that a layer has lost: a head's rows, columns and biases, a neuron's."""
    heads = shape.num_heads - len(layer.heads)
    neurons = shape.num_neurons - layer.neurons
    return heads * shape.head_size * (4 * shape.width + 3) + neurons * (2 * shape.width + 1)


def _compact_layer(
    parts: LayerParts, heads: Sequence[int], head_size: int, drop_uniform: bool
) -> PrunedLayer:
    by_head = (len(heads), head_size)
    empty = {
        kind: ~_rows(getattr(parts, kind).weight).view(by_head).any(1)
        for kind in ("query", "key", "value")
    }
    unread = ~_rows(parts.attention_output.weight.T).view(by_head).any(1)
    dead = empty["value"] | unread
    uniform = (empty["query"] | empty["key"]) & ~dead
    removed = dead | uniform if drop_uniform else dead
    rows = (~removed).repeat_interleave(head_size)
    constant = parts.value.bias * (empty["value"] & removed).repeat_interleave(head_size)
    _fold(parts.attention_output, constant)
    for linear in (parts.query, parts.key, parts.value):
        keep_rows(linear, rows)
    keep_columns(parts.attention_output, rows)

    deaf = ~_rows(parts.ffn_in.weight)
    neurons = ~(deaf | ~_rows(parts.ffn_out.weight.T))
    constants = parts.activation(parts.ffn_in.bias) * deaf
    _fold(parts.ffn_out, constants)
    keep_rows(parts.ffn_in, neurons)
    keep_columns(parts.ffn_out, neurons)
    return PrunedLayer(
        heads=_numbers(heads, ~removed),
        neurons=int(neurons.sum()),
        uniform_heads=_numbers(heads, uniform & ~removed),
        dropped_uniform_heads=_numbers(heads, uniform & removed),
    )


def keep_rows(linear: nn.Linear, kept: Tensor) -> None:
    """Remove the outputs that are not `kept`, (outputs,) of bool."""
    linear.weight = nn.Parameter(linear.weight[kept].contiguous())
    linear.bias = nn.Parameter(linear.bias[kept].contiguous())
    linear.out_features = len(linear.weight)


def keep_columns(linear: nn.Linear, kept: Tensor) -> None:
    """Remove the inputs that are not `kept`, (inputs,) of bool."""
    linear.weight = nn.Parameter(linear.weight[:, kept].contiguous())
    linear.in_features = linear.weight.shape[1]


def _fold(linear: nn.Linear, constant: Tensor) -> None:
    """Add to a bias what a constant input, (inputs,), comes to; in double precision."""
    added = linear.weight.double() @ constant.double()
    linear.bias.add_(added.to(linear.bias.dtype))


def _rows(weight: Tensor) -> Tensor:
    """Tell which rows have a weight that is not 0."""
    return weight.ne(0).any(1)


def _numbers(heads: Sequence[int], chosen: Tensor) -> tuple[int, ...]:
    return tuple(head for head, is_chosen in zip(heads, chosen.tolist(), strict=True) if is_chosen)
