"""A reader's graph in ONNX: batch and tokens free, attention as one node, int8 on request.

PyTorch's exporter spells attention out in thirty nodes a layer, and ONNX Runtime takes a third of
its time for them (a quarter for `Where` and `IsNaN` alone). Models that let their attention be
chosen get one node of ONNX Runtime's for it.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.masking_utils import (
    AttentionMaskInterface,
    bidirectional_mask_function,
    eager_mask,
)

from eval.reading.encoder import choose_attention, positions_of

NODE = "twentyfold_onnx"
TOLERANCE = 1e-3
"""Of the exported float32 graph's logits against the model's, as a share of the largest."""


def write_graph(model: Any, tokenizer: Any, path: Path) -> float:
    """Write a float32 reader as ONNX, and see that it gives the reader's logits.

    Args:
        model: in eval mode, on the CPU.
        tokenizer: decides whether token types are an input.
        path: of the graph.

    Returns:
        The largest difference of a logit.

    Raises:
        ValueError: a model that PyTorch cannot export, or whose graph gives other logits.
    """
    trial = random_batch(model, tokenizer, (2, 24))
    test = random_batch(model, tokenizer, (3, 40))
    with torch.no_grad():
        wanted = model(**test)
    AttentionInterface.register(NODE, _attention_node)
    AttentionMaskInterface.register(NODE, _mask)
    before = model.config._attn_implementation
    choose_attention(model, NODE)
    free = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens")}
    try:
        with _quiet():
            torch.onnx.export(
                _Spans(model),
                kwargs=trial,
                f=str(path),
                input_names=list(trial),
                output_names=["start_logits", "end_logits"],
                dynamic_shapes=dict.fromkeys(trial, free),
                external_data=False,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # whatever stops in the exporter
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise ValueError(
            f"{type(model).__name__}: PyTorch cannot export it ({reason:.200})"
        ) from error
    finally:
        choose_attention(model, before)
    return _check(path, test, wanted, type(model).__name__)


def quantize_graph(path: Path, out: Path) -> None:
    """Keep the linear layers' weights in int8, by output; inputs are quantised as they come.

    The span head stays in float32. Without VNNI, processors add pairs of products of 8 bits in 16,
    which overflow: hence weights of 7 bits.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    graph = onnx.load(path).graph
    empty = {weight.name for weight in graph.initializer if 0 in weight.dims}  # of a pruned layer
    products = [node for node in graph.node if node.op_type == "MatMul"]
    exact = [node for node in products if node.input[1] in empty] + products[-1:]
    with _quiet():
        quantize_dynamic(
            path,
            out,
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["MatMul"],
            nodes_to_exclude=[node.name for node in exact],
        )


def random_batch(model: Any, tokenizer: Any, shape: tuple[int, int]) -> dict[str, Tensor]:
    """Draw inputs as `pad_windows` gives them, with padding in the first row."""
    draw = torch.Generator().manual_seed(0)
    rows, tokens = shape
    tokens = min(tokens, positions_of(model.config) or tokens)
    ids = torch.randint(model.config.vocab_size, (rows, tokens), generator=draw)
    mask = torch.ones_like(ids)
    mask[0, tokens * 2 // 3 :] = 0
    batch = {"input_ids": ids.where(mask == 1, tokenizer.pad_token_id), "attention_mask": mask}
    if "token_type_ids" in tokenizer.model_input_names:
        batch["token_type_ids"] = torch.zeros_like(ids)
    return batch


class _Spans(nn.Module):
    """A reader whose inputs have names and whose outputs are the two logits."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        given = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None:
            given["token_type_ids"] = token_type_ids
        output = self.model(**given)
        return output.start_logits, output.end_logits


def _attention_node(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attend in the form that `AttentionInterface` calls: one node, (batch, tokens, heads, size).

    A mask of two dimensions is one of keys, of four a bias.
    """
    batch, heads, tokens, size = query.shape
    if not heads:  # of a pruned layer
        return query.transpose(1, 2), None
    keys = bias = None
    if attention_mask is not None and attention_mask.dim() == 2:
        keys = attention_mask.to(torch.int32)
    elif attention_mask is not None:
        bias = attention_mask.to(query.dtype)
    flat = [
        part.transpose(1, 2).reshape(batch, tokens, heads * size) for part in (query, key, value)
    ]
    mixed = torch.onnx.ops.symbolic(
        "com.microsoft::MultiHeadAttention",
        [*flat, None, keys, bias],
        attrs={"num_heads": heads, "scale": float(size**-0.5 if scaling is None else scaling)},
        dtype=query.dtype,
        shape=(batch, tokens, heads * size),
        version=1,
    )
    return mixed.view(batch, tokens, heads, size), None


def _mask(
    *args: Any, mask_function: Any = None, attention_mask: Tensor | None = None, **kwargs: Any
) -> Tensor | None:
    """Leave a mask of keys alone as it is; any other becomes a bias."""
    if mask_function is bidirectional_mask_function:
        return attention_mask
    kwargs |= {"mask_function": mask_function, "attention_mask": attention_mask}
    bias: Tensor | None = eager_mask(*args, **kwargs)
    return bias


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporters' advice to themselves: what comes of them is checked here."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _check(path: Path, batch: Mapping[str, Tensor], wanted: Any, name: str) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]
    found = session.run(None, {key: batch[key].numpy() for key in names})
    real = batch["attention_mask"].numpy() == 1
    largest = difference = 0.0
    for logits, model_logits in zip(found, (wanted.start_logits, wanted.end_logits), strict=True):
        expected = model_logits.numpy()[real]
        largest = max(largest, float(np.abs(expected).max()))
        difference = max(difference, float(np.abs(logits[real] - expected).max()))
    if not difference <= TOLERANCE * max(1.0, largest):
        raise ValueError(
            f"{name}: its graph gives other logits than the model, {difference:.2g} apart; it "
            "cannot be exported"
        )
    return difference
