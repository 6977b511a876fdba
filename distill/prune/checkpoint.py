"""Save and load readers with layers of different sizes: safetensors beside a pruning.json.

transformers builds every layer in its configuration's size, so it cannot load such a checkpoint;
its configuration tells a plain `from_pretrained` what to call instead.
"""

import copy
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoConfig, AutoModelForQuestionAnswering
from transformers.utils import cached_file

from augment.command import to_json
from augment.commit import write_atomic
from distill.prune.compact import Pruned, PrunedLayer, describe
from distill.prune.linears import dense_shape, parts_of

PRUNING = "pruning.json"
PLEA = "a pruned model: load it with distill.prune.load_pruned"
"""In place of the name of the weights' file: what transformers says when it cannot read it."""
NOT_OURS = ("pooler.", "position_ids")
"""Parts of names of weights that a published reader has and nobody reads."""


def is_pruned(config: Any) -> bool:
    """Tell from a configuration whether `load_pruned` is what loads its weights."""
    return getattr(config, "transformers_weights", None) == PLEA or bool(
        getattr(config, "pruned_heads", None)
    )


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


def load_pruned(
    name: str | Path, *, dtype: torch.dtype = torch.float32, allow_bin: bool = False
) -> Any:
    """Load a pruned reader, in eval mode.

    Args:
        name: a folder or hub id of a checkpoint that `save_pruned` wrote, or of a published one
            whose configuration has `pruned_heads`.
        dtype: of the weights.
        allow_bin: also read pytorch_model.bin, where there are no safetensors.

    Returns:
        A transformers model with a span head; `pruned` on it tells what is left.

    Raises:
        ValueError: not pruned, or files that do not fit one another.
        OSError: nothing of that name, or no safetensors.
    """
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
    return model.to(dtype).eval()


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


def _set_size(linear: nn.Linear, outputs: int, inputs: int) -> None:
    linear.weight = nn.Parameter(torch.zeros(outputs, inputs))
    linear.bias = nn.Parameter(torch.zeros(outputs))
    linear.out_features, linear.in_features = outputs, inputs


def _fill(model: Any, weights: dict[str, torch.Tensor], name: str) -> None:
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


def _read_weights(name: str | Path, allow_bin: bool) -> dict[str, torch.Tensor]:
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
    found = cached_file(str(name), file, _raise_exceptions_for_missing_entries=False)
    return None if found is None else Path(found)
