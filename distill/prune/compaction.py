"""Cut what is dead out of an encoder: smaller linear layers, the same answers.

What a dead head or neuron still gives is a constant, which goes into the next bias. So it is exact
to remove a head without values (its constant is folded) or whose output nobody reads, and a
neuron without inputs (folded) or readers. A head without queries or keys is not dead: every token
attends as all others, to what there is, and it stays unless asked otherwise.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from eval.reading.encoder import LayerParts, dense_shape, parts_of
from eval.reading.pruned import Pruned, PrunedLayer, dead_heads, mark


@torch.no_grad()
def compact(model: Any, *, drop_uniform_heads: bool = False) -> Pruned:
    """Bake the masks in and remove dead heads and neurons, in place.

    Args:
        model: a reader or an encoder, masked by a `Pruner` or with zeros in its weights.
        drop_uniform_heads: also remove heads without queries or keys, which changes answers: such
            a head's output is no constant.

    Returns:
        What is left; it also hangs on the model as `pruned`, and `save_pretrained` writes it.

    Raises:
        ValueError: a model of another make.
    """
    shape = dense_shape(model.config)
    before = getattr(model, "pruned", None)
    bake(model)
    layers = []
    for number, parts in enumerate(parts_of(model)):
        layer = PrunedLayer(heads=tuple(range(shape.num_heads)), neurons=shape.num_neurons)
        if before is not None:
            layer = before.layers[number]
        layers.append(_compact_layer(parts, layer, shape.head_size, drop_uniform_heads))
    return mark(model, layers)


def bake(model: Any) -> None:
    """Multiply the masks into the weights, for good."""
    for parts in parts_of(model):
        for linear in parts.linears().values():
            if parametrize.is_parametrized(linear, "weight"):
                parametrize.remove_parametrizations(linear, "weight")


def _compact_layer(
    parts: LayerParts, layer: PrunedLayer, head_size: int, drop_uniform: bool
) -> PrunedLayer:
    """Cut one layer, and give its heads."""
    heads = layer.heads
    constant = dead_heads(parts.value.weight, head_size)
    dead = constant | dead_heads(parts.attention_output.weight.T, head_size)
    uniform = [dead_heads(linear.weight, head_size) for linear in (parts.query, parts.key)]
    dropped = (uniform[0] | uniform[1]) & ~dead if drop_uniform else torch.zeros_like(dead)
    removed = dead | dropped
    rows = (~removed).repeat_interleave(head_size)
    _fold(parts.attention_output, parts.value.bias * constant.repeat_interleave(head_size))
    for linear in (parts.query, parts.key, parts.value):
        keep_rows(linear, rows)
    keep_columns(parts.attention_output, rows)

    deaf = ~_rows(parts.ffn_in.weight)
    neurons = ~(deaf | ~_rows(parts.ffn_out.weight.T))
    _fold(parts.ffn_out, parts.activation(parts.ffn_in.bias) * deaf)
    keep_rows(parts.ffn_in, neurons)
    keep_columns(parts.ffn_out, neurons)
    return PrunedLayer(
        heads=_numbers(heads, ~removed),
        neurons=int(neurons.sum()),
        dropped_uniform_heads=layer.dropped_uniform_heads + _numbers(heads, dropped),
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
