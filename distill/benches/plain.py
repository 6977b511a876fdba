"""The predecessors' intermediate stage, for the benchmark to compare with; nothing else uses it.

As in TinyBERT's and Haystack's code: eager attention, every layer's map in both models whether
matched or not, the whole reader with its head and its pooler, means over all positions.
Written anew for transformers 5, with the scores before the softmax, as TinyBERT's own BERT gives.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import dropout as drop
from torch.nn.functional import mse_loss
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface, eager_mask
from transformers.models.bert.modeling_bert import BertPooler

NAME = "twentyfold_plain"


def scores_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Tensor, Tensor]:
    """Attend the eager way, and give the scores before mask and softmax.

    Returns:
        (batch, tokens, heads, size), and the scores, (batch, heads, tokens, tokens).
    """
    scores = query @ key.mT * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    masked = scores if attention_mask is None else scores + attention_mask
    probabilities = drop(masked.softmax(-1), dropout, module.training)
    return (probabilities @ value).transpose(1, 2).contiguous(), scores


class PlainIntermediate:
    """A student and a teacher as the predecessors ran them."""

    def __init__(self, student: Any, teacher: Any, layer_map: Sequence[int]) -> None:
        AttentionInterface.register(NAME, scores_attention)
        AttentionMaskInterface.register(NAME, eager_mask)
        self.student, self.teacher, self.layer_map = student, teacher, tuple(layer_map)
        for model in (student, teacher):
            model.set_attn_implementation(NAME)
            like = next(model.parameters())
            model.bert.pooler = BertPooler(model.config).to(like.device, like.dtype)

    def losses(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give the sum of all mean squared errors, padding counted."""
        inputs = {name: value for name, value in batch.items() if name != "positions"}
        wanted = {"output_hidden_states": True, "output_attentions": True}
        with torch.no_grad():
            teacher = self.teacher(**inputs, **wanted)
        student = self.student(**inputs, **wanted)
        layers = (0, *self.layer_map)
        terms = [
            mse_loss(hidden.float(), teacher.hidden_states[layer].float())
            for hidden, layer in zip(student.hidden_states, layers, strict=True)
        ]
        terms += [
            mse_loss(scores.float(), teacher.attentions[layer - 1].float())
            for scores, layer in zip(student.attentions, self.layer_map, strict=True)
        ]
        return {"loss": torch.stack(terms).sum()}
