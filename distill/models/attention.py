"""Fast attention for training, and the queries and keys of chosen layers kept on the way.

Attention losses need queries and keys alone: no eager attention, and no maps that nobody reads.
What is kept hangs on the attention modules of one model, so a student and a teacher do not meet.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, eager_mask, sdpa_mask

from augment.variants.attention import bmm_attention
from distill.models.losses import Heads
from eval.reading.encoder import choose_attention, encoder_of, layers_of

CAPTURE = "twentyfold_capture"
KEEP = "twentyfold_keep"  # an attribute of attention modules; no parameter, so never saved


class Captured:
    """The queries and keys of a model's last forward pass, until they are taken."""

    def __init__(self, layers: Sequence[int]) -> None:
        self._layers = tuple(layers)
        self._heads: dict[int, Heads] = {}

    def keep(self, layer: int, query: Tensor, key: Tensor) -> None:
        """Remember one layer's, in place of an earlier pass's."""
        self._heads[layer] = Heads(query, key)

    def take(self) -> list[Heads]:
        """Give them in the order of `layers`, and forget them.

        Raises:
            RuntimeError: if no forward pass has captured every layer since the last time.
        """
        heads, self._heads = self._heads, {}
        missing = [layer for layer in self._layers if layer not in heads]
        if missing:
            raise RuntimeError(
                f"layers {missing} have not been captured since the last time: run the model "
                "forward once before each take, and leave its attention implementation alone"
            )
        return [heads[layer] for layer in self._layers]


def capture_attention(model: PreTrainedModel, layers: Sequence[int]) -> Captured:
    """Give a model the fast attention, and keep the queries and keys of these layers.

    Args:
        model: BERT, RoBERTa, DistilBERT, or another whose encoder is a list of layers with one
            attention module each, which calls transformers' `AttentionInterface`.
        layers: counted from 1. What was captured of the model before is so no longer.

    Raises:
        ValueError: a layer that is not there, or a model of another make.
    """
    modules = _attention_modules(model)
    if absent := [layer for layer in layers if not 1 <= layer <= len(modules)]:
        raise ValueError(f"layers {absent} are not there: the model has {len(modules)}, from 1 on")
    if not fast_attention(model):
        raise ValueError(
            f"{type(model).__name__} does not let its attention be chosen: it does not call "
            "transformers' AttentionInterface"
        )
    captured = Captured(layers)
    for layer in set(layers):
        setattr(modules[layer - 1], KEEP, partial(captured.keep, layer))
    return captured


def fast_attention(model: PreTrainedModel) -> bool:
    """Give a model the fast attention: PyTorch's fused one, or on a CPU mostly plain products.

    Nothing is captured of it any more.

    Returns:
        False for a model that does not let its attention be chosen: it keeps its own.
    """
    AttentionInterface.register(CAPTURE, _attend)
    AttentionMaskInterface.register(CAPTURE, _mask)
    chosen = choose_attention(model, CAPTURE)
    for module in model.modules():
        if hasattr(module, KEEP):
            delattr(module, KEEP)
    return chosen


def can_capture(model: PreTrainedModel) -> bool:
    """Tell whether queries and keys of a model can be had: its attention is left as it is."""
    before = encoder_of(model).config._attn_implementation
    try:
        capture_attention(model, [])
    except ValueError:
        return False
    choose_attention(model, before)
    return True


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attend in the form that `AttentionInterface` calls, (batch, heads, tokens, size) each.

    On a CPU PyTorch's own is the faster one only in fp32 without dropout.
    """
    if keep := getattr(module, KEEP, None):
        keep(query, key)
    exact = query.dtype == torch.float32 and not kwargs.get("dropout")
    plain = query.device.type == "cpu" and not exact
    attend = bmm_attention if plain else sdpa_attention_forward
    mixed, probabilities = attend(module, query, key, value, attention_mask, **kwargs)
    return mixed, probabilities


def _mask(*args: Any, device: torch.device | str = "cpu", **kwargs: Any) -> Tensor | None:
    """Make the mask that the attention of this device takes.

    On a GPU it is made even where nothing is padded: to look would be to wait for the device, at
    the beginning of every step, and flash attention, which takes no mask, would be chosen in 5 of
    SQuAD's 3,404 steps of 26 rows. For it rows would have to be packed.
    """
    if torch.device(device).type == "cpu":
        mask: Tensor | None = eager_mask(*args, device=device, **kwargs)
    else:
        kwargs["allow_is_bidirectional_skip"] = False
        mask = sdpa_mask(*args, device=device, **kwargs)
    return mask


def _attention_modules(model: PreTrainedModel) -> list[nn.Module]:
    """Find each layer's module that calls the interface: the one whose maps transformers records.

    Raises:
        ValueError: there is not exactly one in a layer.
    """
    recorded = getattr(encoder_of(model), "_can_record_outputs", None) or {}
    kind = recorded.get("attentions")
    kind = getattr(kind, "target_class", kind)
    found = []
    for layer in layers_of(model):
        inside = [module for module in layer.modules() if kind and isinstance(module, kind)]
        if len(inside) != 1:
            raise ValueError(
                f"{type(model).__name__}: {len(inside)} attention modules found in a layer, not 1; "
                "pass attention_weight 0 to train without them"
            )
        found.append(inside[0])
    return found
