"""Readers with layers of different sizes: what is left of one, saving it and loading it.

transformers builds every layer in its configuration's size, so it cannot load such a checkpoint;
the configuration tells a plain `from_pretrained` what to call instead.
"""

import copy
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from augment.base.checkpoints import load_config
from augment.base.command import to_json
from augment.base.commit import write_atomic
from augment.base.models import model_folder
from eval.reading.encoder import KINDS, DenseShape, LayerParts, dense_shape, parts_of

if TYPE_CHECKING:
    import torch
    from torch.nn import Linear

PRUNING = "pruning.json"
LOAD_WITH = "a pruned model: load it with distill.prune.load_pruned"
"""Stands in config.json for the name of the weights' file. A plain `from_pretrained` looks for a
file of that name, so that its own error says how to load the model."""
NOT_OURS = ("pooler.", "position_ids")
"""Parts of names of weights that a published reader has and nobody reads."""


@dataclass(frozen=True, kw_only=True)
class PrunedLayer:
    """What is left of one layer."""

    heads: tuple[int, ...]
    """Numbers of the heads that stay, counted from 0 in the dense model."""
    neurons: int
    """Number of neurons of the feed-forward part that stay."""
    uniform_heads: tuple[int, ...] = ()
    """Heads that stay without queries or keys: in them every token attends alike."""
    dropped_uniform_heads: tuple[int, ...] = ()
    """Heads without queries or keys that were removed on request, which is not exact."""
    weights: dict[str, int] = field(default_factory=dict)
    """Weights of each linear layer that are not 0."""


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """What is left of a model; it lies in pruning.json beside the weights."""

    dense_parameters: int
    """Number of parameters before anything was removed."""
    parameters: int
    """Number of parameters now; zeros within the rows and columns that stay are counted."""
    nonzero_parameters: int
    """The same without the zeros in the encoder's linear layers."""
    width: int
    """Width of the hidden states."""
    num_heads: int
    """Heads in a layer of the dense model."""
    num_neurons: int
    """Neurons in a layer's feed-forward part in the dense model."""
    layers: tuple[PrunedLayer, ...]

    @property
    def shape(self) -> DenseShape:
        """Sizes of a layer of the dense model."""
        return DenseShape(self.width, self.num_heads, self.num_neurons)

    @property
    def linear_weights(self) -> int:
        """Weights of the encoder's linear layers in the dense model, biases aside."""
        return len(self.layers) * sum(self.shape.weights(kind) for kind in KINDS)

    @property
    def linear_density(self) -> float:
        """Share of the linear weights that are not 0."""
        return sum(sum(layer.weights.values()) for layer in self.layers) / self.linear_weights

    @property
    def removed_heads(self) -> int:
        """Heads that are gone, of all layers."""
        return sum(self.num_heads - len(layer.heads) for layer in self.layers)

    def as_dict(self) -> dict[str, Any]:
        """Give it as JSON."""
        return asdict(self)

    def facts(self) -> list[str]:
        """Say what the model has lost, a sentence for each fact."""
        uniform = sum(len(layer.uniform_heads) for layer in self.layers)
        dropped = sum(len(layer.dropped_uniform_heads) for layer in self.layers)
        whole = self.dense_parameters
        facts = [
            f"linear weights that are not 0: {self.linear_density:.1%} of the encoder's "
            f"{self.linear_weights:,}",
            f"parameters: {self.parameters:,}, {self.parameters / whole:.1%} of {whole:,}; not 0: "
            f"{self.nonzero_parameters / whole:.1%}",
            f"heads removed: {self.removed_heads} of {len(self.layers) * self.num_heads}",
        ]
        if dropped:
            facts.append(f"of them {dropped} without queries or keys, on request: not exact")
        if uniform:
            facts.append(f"heads without queries or keys, which stay: {uniform}")
        return facts


def read_pruned(path: Path) -> Pruned:
    """Read a pruning.json.

    Raises:
        ValueError: it is none, or says what cannot be.
    """
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
        pruned = Pruned(**{**found, "layers": tuple(map(_read_layer, found["layers"]))})
        for layer in pruned.layers:
            _check_layer(layer, pruned.shape)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        said = f"{type(error).__name__}: {error}"
        raise ValueError(f"{path}: damaged ({said}); fetch it again") from error
    return pruned


def _read_layer(found: dict[str, Any]) -> PrunedLayer:
    given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in found.items()}
    return PrunedLayer(**given)


def _check_layer(layer: PrunedLayer, shape: DenseShape) -> None:
    for head in (*layer.heads, *layer.dropped_uniform_heads):
        if not isinstance(head, int) or not 0 <= head < shape.num_heads:
            raise ValueError(f"head {head!r} of {shape.num_heads}")
    if not isinstance(layer.neurons, int) or not 0 <= layer.neurons <= shape.num_neurons:
        raise ValueError(f"{layer.neurons!r} neurons of {shape.num_neurons}")


def describe(model: Any, layers: Sequence[PrunedLayer]) -> Pruned:
    """Count what is in a model.

    Args:
        model: cut to `layers`.
        layers: their heads by number; everything else is counted anew.
    """
    shape = dense_shape(model.config)
    all_parts = parts_of(model)
    counted = tuple(
        _count(layer, parts, shape) for layer, parts in zip(layers, all_parts, strict=True)
    )
    parameters = sum(parameter.numel() for parameter in model.parameters())
    held = sum(linear.weight.numel() for parts in all_parts for linear in parts.linears().values())
    left = sum(sum(layer.weights.values()) for layer in counted)
    return Pruned(
        dense_parameters=parameters + sum(_cut_away(layer, shape) for layer in counted),
        parameters=parameters,
        nonzero_parameters=parameters - held + left,
        **shape._asdict(),
        layers=counted,
    )


def dead_heads(weight: "torch.Tensor", head_size: int) -> "torch.Tensor":
    """Tell of every head whether its rows of a weight are all 0, (heads,) of bool."""
    return ~weight.ne(0).any(1).view(-1, head_size).any(1)


def _count(layer: PrunedLayer, parts: LayerParts, shape: DenseShape) -> PrunedLayer:
    queries, keys = (
        dead_heads(linear.weight, shape.head_size).tolist() for linear in (parts.query, parts.key)
    )
    of_heads = zip(layer.heads, queries, keys, strict=True)
    return replace(
        layer,
        neurons=parts.ffn_in.weight.shape[0],
        uniform_heads=tuple(head for head, *without in of_heads if any(without)),
        weights={
            kind: int(linear.weight.count_nonzero()) for kind, linear in parts.linears().items()
        },
    )


def _cut_away(layer: PrunedLayer, shape: DenseShape) -> int:
    """Count the parameters that a layer has lost: a head's rows, columns and biases, a neuron's."""
    heads = shape.num_heads - len(layer.heads)
    neurons = shape.num_neurons - layer.neurons
    return heads * shape.head_size * (4 * shape.width + 3) + neurons * (2 * shape.width + 1)


def mark(model: Any, layers: Sequence[PrunedLayer]) -> Pruned:
    """Note on a model what is left of it, and let its `save_pretrained` be `save_pruned`."""
    pruned = describe(model, layers)
    model.pruned = pruned
    model.save_pretrained = partial(save_pruned, model)
    return pruned


def save_pruned(model: Any, folder: str | Path) -> None:
    """Write the configuration, the weights and pruning.json of a reader that was compacted.

    Raises:
        ValueError: no span head.
    """
    from safetensors.torch import save_file

    if not hasattr(model, "qa_outputs"):
        raise ValueError(f"{type(model).__name__}: no span head; only readers are saved pruned")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = copy.deepcopy(model.config)
    config.architectures = [type(model).__name__]
    config.dtype = model.dtype
    config.transformers_weights = LOAD_WITH
    config.pruned_heads = {}  # of a published checkpoint: pruning.json tells from now on
    config.to_json_file(folder / "config.json")
    weights = {name: weight.contiguous() for name, weight in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    write_atomic(folder / PRUNING, to_json(describe(model, model.pruned.layers).as_dict()))


def is_pruned(config: Any) -> bool:
    """Tell from a configuration whether `load_pruned` is what loads its weights."""
    return getattr(config, "transformers_weights", None) == LOAD_WITH or bool(
        getattr(config, "pruned_heads", None)
    )


def load_pruned(
    name: str | Path, *, dtype: "torch.dtype | None" = None, allow_bin: bool = False
) -> Any:
    """Load a pruned reader, in eval mode.

    Args:
        name: a folder or hub id of a checkpoint that `save_pruned` wrote, or of a published one
            whose configuration has `pruned_heads`.
        dtype: of the weights; float32 by default.
        allow_bin: also read pytorch_model.bin, where there are no safetensors.

    Returns:
        A transformers model with a span head; `pruned` on it tells what is left.

    Raises:
        ValueError: not pruned, or files that do not fit one another.
        OSError: nothing of that name, or no safetensors.
    """
    import torch
    from transformers import AutoModelForQuestionAnswering

    folder = model_folder(name)
    config = load_config(name)
    if not is_pruned(config):
        raise ValueError(f"{name}: not pruned; load it with AutoModelForQuestionAnswering")
    ours = getattr(config, "transformers_weights", None) == LOAD_WITH
    config.transformers_weights = None
    shape = dense_shape(config)
    if ours:
        found = folder / PRUNING
        if not found.is_file():
            raise OSError(f"{name}: no {PRUNING}; fetch it again")
        pruned = read_pruned(found)
        if pruned.shape != shape:
            raise ValueError(f"{found}: {pruned.shape}, not its configuration's {shape}")
        layers = pruned.layers
    else:
        gone = {int(layer): set(heads) for layer, heads in (config.pruned_heads or {}).items()}
        layers = tuple(
            PrunedLayer(
                heads=tuple(h for h in range(shape.num_heads) if h not in gone.get(layer, ())),
                neurons=shape.num_neurons,
            )
            for layer in range(config.num_hidden_layers)
        )
    with torch.random.fork_rng(devices=[]):  # first weights are drawn, then replaced
        model = AutoModelForQuestionAnswering.from_config(config, dtype=torch.float32)
    resize(model, layers)
    _fill(model, _read_weights(name, folder, allow_bin), str(name))
    mark(model, layers)
    return model.to(dtype or torch.float32).eval()


def resize(model: Any, layers: Sequence[PrunedLayer]) -> None:
    """Give the linear layers their sizes; what is in them does not matter yet."""
    head_size = dense_shape(model.config).head_size
    all_parts = parts_of(model)
    if len(all_parts) != len(layers):
        raise ValueError(f"{PRUNING}: {len(layers)} layers for a model of {len(all_parts)}")
    for parts, layer in zip(all_parts, layers, strict=True):
        rows = len(layer.heads) * head_size
        for linear in (parts.query, parts.key, parts.value):
            _set_size(linear, rows, linear.in_features)
        _set_size(parts.attention_output, parts.attention_output.out_features, rows)
        _set_size(parts.ffn_in, layer.neurons, parts.ffn_in.in_features)
        _set_size(parts.ffn_out, parts.ffn_out.out_features, layer.neurons)


def _set_size(linear: "Linear", outputs: int, inputs: int) -> None:
    import torch

    linear.weight = torch.nn.Parameter(torch.zeros(outputs, inputs))
    linear.bias = torch.nn.Parameter(torch.zeros(outputs))
    linear.out_features, linear.in_features = outputs, inputs


def _fill(model: Any, weights: dict[str, "torch.Tensor"], name: str) -> None:
    wanted = model.state_dict()
    spare = [key for key in weights if key not in wanted]
    faults = [f"lacks {key}" for key in wanted if key not in weights]
    faults += [f"has {key}" for key in spare if not any(part in key for part in NOT_OURS)]
    faults += [
        f"{key} is {tuple(weights[key].shape)}, not {tuple(value.shape)}"
        for key, value in wanted.items()
        if key in weights and weights[key].shape != value.shape
    ]
    if faults:
        shown = "; ".join(faults[:5])
        raise ValueError(f"{name}: the weights do not fit its configuration: {shown}")
    model.load_state_dict({key: weights[key] for key in wanted})


def _read_weights(name: str | Path, folder: Path, allow_bin: bool) -> dict[str, "torch.Tensor"]:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / "model.safetensors"
    if path.is_file():
        try:
            return dict(load_file(path))
        except SafetensorError as error:
            raise ValueError(f"{path}: damaged ({error}); fetch it again") from error
    path = folder / "pytorch_model.bin"
    if not path.is_file():
        raise OSError(f"{name}: no model.safetensors")
    if not allow_bin:
        raise OSError(
            f"{name}: no weights as safetensors; if you trust its pytorch_model.bin, pass "
            "--allow-bin"
        )
    print(f"{name}: reading pytorch_model.bin (pickled), as allowed", file=sys.stderr)
    return dict(torch.load(path, map_location="cpu", weights_only=True))
