"""Readers with layers of different sizes: what is left of one, and loading it.

transformers builds every layer in its configuration's size, so it cannot load such a checkpoint;
the configuration tells a plain `from_pretrained` what to call instead. `distill.prune` writes it.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.encoder import KINDS, DenseShape, dense_shape, parts_of

if TYPE_CHECKING:
    import torch
    from torch.nn import Linear

PRUNING = "pruning.json"
PLEA = "a pruned model: load it with distill.prune.load_pruned"
"""In place of the name of the weights' file: what transformers says when it cannot read it."""
NOT_OURS = ("pooler.", "position_ids")
"""Parts of names of weights that a published reader has and nobody reads."""


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
    num_heads: int
    """Of a layer of the dense model."""
    layers: tuple[PrunedLayer, ...]

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
        num_heads=shape.num_heads,
        layers=counted,
    )


def _cut_away(layer: PrunedLayer, shape: DenseShape) -> int:
    """Count the parameters that a layer has lost: a head's rows, columns and biases, a neuron's."""
    heads = shape.num_heads - len(layer.heads)
    neurons = shape.num_neurons - layer.neurons
    return heads * shape.head_size * (4 * shape.width + 3) + neurons * (2 * shape.width + 1)


def is_pruned(config: Any) -> bool:
    """Tell from a configuration whether `load_pruned` is what loads its weights."""
    return getattr(config, "transformers_weights", None) == PLEA or bool(
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
    from transformers import AutoConfig, AutoModelForQuestionAnswering

    config = AutoConfig.from_pretrained(name)
    if not is_pruned(config):
        raise ValueError(f"{name}: not pruned; load it with AutoModelForQuestionAnswering")
    config.transformers_weights = None
    shape = dense_shape(config)
    found = _find(name, PRUNING)
    if found is not None:
        try:
            layers = Pruned.from_dict(json.loads(found.read_bytes())).layers
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{found}: damaged ({error}); fetch it again") from error
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
    _resize(model, layers)
    _fill(model, _read_weights(name, allow_bin), str(name))
    model.pruned = describe(model, layers)
    return model.to(dtype or torch.float32).eval()


def _resize(model: Any, layers: tuple[PrunedLayer, ...]) -> None:
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


def _read_weights(name: str | Path, allow_bin: bool) -> dict[str, "torch.Tensor"]:
    import torch
    from safetensors.torch import load_file

    path = _find(name, "model.safetensors")
    if path is not None:
        return dict(load_file(path))
    path = _find(name, "pytorch_model.bin")
    if path is None:
        raise OSError(f"{name}: no model.safetensors")
    if not allow_bin:
        raise OSError(
            f"{name}: no weights as safetensors; if you trust its pytorch_model.bin, pass "
            "--allow-bin"
        )
    return dict(torch.load(path, map_location="cpu", weights_only=True))


def _find(name: str | Path, file: str) -> Path | None:
    """Give a file of a folder or of a hub repository, or None where it has none of that name."""
    if Path(name).is_dir():
        path = Path(name) / file
        return path if path.is_file() else None
    from transformers.utils import cached_file

    found = cached_file(str(name), file, _raise_exceptions_for_missing_entries=False)
    return None if found is None else Path(found)
