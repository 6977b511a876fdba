"""Batches of masked text, logits at the masked places only, and how good these are."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor

NUM_CANDIDATES = 15  # as many as `augment.build` draws from


def tokenize_windows(tokenizer: Any, texts: Sequence[str], max_length: int) -> list[list[int]]:
    """Token ids of each text with its special tokens; a long text becomes several windows."""
    encoded = tokenizer(
        list(texts), truncation=True, max_length=max_length, return_overflowing_tokens=True
    )
    rows: list[list[int]] = encoded["input_ids"]
    return rows


def group_by_length(rows: Sequence[list[int]], batch_tokens: int) -> list[list[list[int]]]:
    """Group rows of nearly equal length into batches of at most `batch_tokens` with padding."""
    batches: list[list[list[int]]] = []
    for row in sorted(rows, key=len):
        if batches and (len(batches[-1]) + 1) * len(row) <= batch_tokens:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches


def mask_batch(
    rows: Sequence[list[int]],
    tokenizer: Any,
    share: float,
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """Pad rows and put the mask token at a random `share` of their wordpieces, at least one.

    Returns:
        `input_ids`, `attention_mask` and `labels`, each (rows, length); a label is the hidden
        token's id where it was masked, elsewhere -100.
    Differs: BERT leaves a tenth of the places as they are and puts random words at another.
    """
    import torch

    length = max(map(len, rows))
    ids = torch.full((len(rows), length), tokenizer.pad_token_id)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row)
    special = torch.isin(ids, torch.tensor(tokenizer.all_special_ids))
    draws = torch.rand(ids.shape, generator=generator).masked_fill(special, 2.0)
    lowest = torch.zeros_like(special).scatter(1, draws.argmin(1, keepdim=True), True)
    masked = ((draws < share) | lowest) & ~special
    return {
        "input_ids": ids.masked_fill(masked, tokenizer.mask_token_id),
        "attention_mask": (ids != tokenizer.pad_token_id).long(),
        "labels": ids.masked_fill(~masked, -100),
    }


def masked_logits(model: Any, batch: dict[str, Tensor], unwrapped: Any = None) -> Tensor:
    """Run `model` with its vocabulary head at the masked places only, (places, vocabulary)."""
    with _head_at(unwrapped or model, batch["labels"] != -100):
        outputs = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    logits: Tensor = outputs.logits
    return logits


@contextlib.contextmanager
def _head_at(model: Any, places: Tensor) -> Iterator[None]:
    """Let the encoder of any masked LM hand only `places` on to the head."""

    def gather(_module: Any, _inputs: Any, outputs: Any) -> Any:
        outputs.last_hidden_state = outputs.last_hidden_state[places]
        return outputs

    handle = model.base_model.register_forward_hook(gather)
    try:
        yield
    finally:
        handle.remove()


def measure(
    model: Any,
    tokenizer: Any,
    batches: Sequence[Sequence[list[int]]],
    share: float,
    teacher: Any = None,
) -> dict[str, float]:
    """Score a masked LM on held-out text, always with the same masks.

    Returns:
        `masked_accuracy`, `masked_loss` (nats), `masked_places`; with a teacher also its
        accuracy, and `candidates_in_common`: how many of the 15 most likely are in both lists.
    """
    import torch

    generator = torch.Generator().manual_seed(0)
    sums = dict.fromkeys(("right", "loss", "places", "teacher_right", "common"), 0.0)
    with torch.inference_mode():
        for rows in batches:
            batch = mask_batch(rows, tokenizer, share, generator)
            batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
            labels = batch["labels"][batch["labels"] != -100]
            logits = masked_logits(model, batch).float()
            sums["places"] += len(labels)
            sums["right"] += (logits.argmax(-1) == labels).sum().item()
            sums["loss"] += torch.nn.functional.cross_entropy(
                logits, labels, reduction="sum"
            ).item()
            if teacher is not None:
                taught = masked_logits(teacher, batch).float()
                sums["teacher_right"] += (taught.argmax(-1) == labels).sum().item()
                sums["common"] += _in_common(logits, taught)
    places = sums["places"]
    scores = {
        "masked_accuracy": sums["right"] / places,
        "masked_loss": sums["loss"] / places,
        "masked_places": places,
    }
    if teacher is not None:
        scores["teacher_masked_accuracy"] = sums["teacher_right"] / places
        scores["candidates_in_common"] = sums["common"] / places
    return scores


def _in_common(one: Tensor, other: Tensor) -> float:
    """Sum over rows of the number of candidates that are in both top lists."""
    first = one.topk(NUM_CANDIDATES).indices
    second = other.topk(NUM_CANDIDATES).indices
    return float((first[:, :, None] == second[:, None, :]).sum())
