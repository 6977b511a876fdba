"""Cut what is dead out of an encoder: smaller linear layers, the same answers.

What a dead head or neuron still gives is a constant, which goes into the next bias. So it is exact
to remove a head without values (its constant is folded) or whose output nobody reads, and a
neuron without inputs (folded) or readers. A head without queries or keys is not dead: it still
averages its values, and stays unless asked otherwise.
"""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils import parametrize

from augment.command import to_json
from augment.commit import write_atomic
from eval.encoder import LayerParts, dense_shape, parts_of
from eval.pruned import PLEA, PRUNING, Pruned, PrunedLayer, describe


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


def save_pruned(model: Any, folder: Path) -> None:
    """Write the configuration, the weights and pruning.json of a model that was compacted."""
    folder.mkdir(parents=True, exist_ok=True)
    config = copy.deepcopy(model.config)
    config.architectures = [type(model).__name__]
    config.transformers_weights = PLEA
    config.pruned_heads = {}  # of a published checkpoint: pruning.json tells from now on
    config.to_json_file(folder / "config.json")
    weights = {name: weight.contiguous() for name, weight in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    write_atomic(folder / PRUNING, to_json(model.pruned.as_dict()))


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
