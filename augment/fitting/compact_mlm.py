"""Cut a compact masked LM from a BERT: narrow embeddings, some layers, the busiest neurons.

The result is an ELECTRA-shaped `ElectraForMaskedLM`, whose embeddings are factorised by
design, so transformers' Auto classes load it without code of ours. It is only a start: it is
made to be taught by the model it was cut from (`augment.fit_mlm --mlm compact`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from augment.base.command import UsageError
from augment.fitting.masked_batches import mask_batch

if TYPE_CHECKING:
    from torch import Tensor, nn

SAMPLE_ROWS, SAMPLE_LENGTH = 256, 128  # the text that the layers are fitted on
UNSEEN_SHARE = 1e-6  # weight of a token that the text has not, as if it were met that often


@dataclass(frozen=True, kw_only=True)
class CompactShape:
    """What is kept of the teacher."""

    embedding_size: int = 88
    """Width of the word vectors, which are most of a small model's weights."""
    intermediate_size: int = 416
    """Neurons kept in each layer's feed-forward part."""
    layers: tuple[int, ...] = (0, 2, 4)
    """The teacher's layers that are kept, counted from 0, in order."""

    def __post_init__(self) -> None:
        if not self.layers or list(self.layers) != sorted({abs(layer) for layer in self.layers}):
            raise UsageError(f"layers {self.layers}: not layer numbers from 0 in rising order")
        if min(self.embedding_size, self.intermediate_size) < 1:
            raise UsageError("embedding_size and intermediate_size must be 1 or more")


def cut_compact(
    teacher: Any,
    shape: CompactShape,
    tokenizer: Any,
    rows: Sequence[list[int]],
    mask_share: float,
) -> Any:
    """Make a compact masked LM from `teacher`, fitted to it layer by layer on some text.

    Each kept layer stands for those up to the next kept one: it has the first one's attention
    and busiest neurons, and what they write is fitted to the last one's output.

    Args:
        teacher: a `BertForMaskedLM` in fp32 on the CPU.
        shape: what to keep.
        tokenizer: the teacher's.
        rows: token ids of the text.
        mask_share: as in training.

    Raises:
        ValueError: the teacher is no BERT, lacks a layer, or is not wider than the embeddings.
    """
    import torch
    from transformers import ElectraConfig, ElectraForMaskedLM

    config = teacher.config
    if config.model_type != "bert":
        raise ValueError(f"a compact model is cut from a BERT, not from a {config.model_type}")
    if shape.layers[-1] >= config.num_hidden_layers:
        raise ValueError(
            f"layers {shape.layers}: the teacher has {config.num_hidden_layers}, counted from 0"
        )
    if shape.embedding_size >= config.hidden_size:
        raise ValueError(
            f"embedding_size {shape.embedding_size}: must be below the teacher's width, "
            f"{config.hidden_size}"
        )
    length = min(SAMPLE_LENGTH, max(map(len, rows)))
    long = [row[:length] for row in rows if len(row) >= length][:SAMPLE_ROWS]
    batch = mask_batch(long, tokenizer, mask_share, torch.Generator().manual_seed(0))
    sample, places = batch["input_ids"], batch["labels"] != -100
    student = ElectraForMaskedLM(
        ElectraConfig(
            vocab_size=config.vocab_size,
            embedding_size=shape.embedding_size,
            hidden_size=config.hidden_size,
            num_hidden_layers=len(shape.layers),
            num_attention_heads=config.num_attention_heads,
            intermediate_size=shape.intermediate_size,
            hidden_act=config.hidden_act,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            max_position_embeddings=config.max_position_embeddings,
            type_vocab_size=config.type_vocab_size,
            pad_token_id=config.pad_token_id,
        )
    )
    with torch.no_grad():
        share = _token_share(tokenizer, rows, mask_share, config.vocab_size)
        basis = _basis(teacher.bert.embeddings, share, shape.embedding_size)
        layers = teacher.bert.encoder.layer
        sums, last = _layer_sums(layers, teacher.bert.embeddings(input_ids=sample))
        hidden = _fit_embeddings(teacher.bert, student.electra, basis, sample)
        ends = [*(index - 1 for index in shape.layers[1:]), len(layers) - 1]
        for target, index, end in zip(
            student.electra.encoder.layer, shape.layers, ends, strict=True
        ):
            target.output.LayerNorm.load_state_dict(layers[end].output.LayerNorm.state_dict())
            hidden = _fit_layer(layers[index], target, hidden, sums[end])
        _fit_head(teacher.cls.predictions, student, basis, last[places], hidden[places])
    return student


def _token_share(tokenizer: Any, rows: Sequence[list[int]], mask_share: float, size: int) -> Tensor:
    """Give how often each token is read in training, the mask among them, (vocabulary,)."""
    import torch

    counts = torch.bincount(torch.tensor(list(chain.from_iterable(rows))), minlength=size).float()
    counts[tokenizer.mask_token_id] = mask_share * counts.sum()
    return counts / counts.sum() + UNSEEN_SHARE


def _basis(embeddings: Any, share: Tensor, size: int) -> Tensor:
    """Directions that keep most of the embeddings as they are met, (hidden, size), orthonormal.

    Weighting words by frequency matters: 88 of MiniLM's 384 directions leave 10.3 of its 15
    candidates in place, or 6.1 unweighted; and without the positions the layers above go wrong.
    The directions are turned by a random rotation, so that no coordinate outweighs the others in
    the layer normalisation that follows.
    """
    import torch

    words = embeddings.word_embeddings.weight
    places = embeddings.position_embeddings.weight[:SAMPLE_LENGTH]
    gram: Tensor = (words.T * share) @ words + places.T @ places / len(places)
    _, vectors = torch.linalg.eigh(gram)  # ascending
    noise = torch.randn(size, size, generator=torch.Generator().manual_seed(0))
    basis: Tensor = vectors[:, -size:] @ torch.linalg.qr(noise).Q
    return basis


def _layer_sums(layers: Any, hidden: Tensor) -> tuple[list[Tensor], Tensor]:
    """Run the teacher; give each layer's output before its normalisation, and the last one."""
    sums = []
    for layer in layers:
        attended = layer.attention(hidden)[0]
        sums.append(attended + layer.output.dense(layer.intermediate(attended)))
        hidden = layer.output.LayerNorm(sums[-1])
    return sums, hidden


def _fit_embeddings(bert: Any, electra: Any, basis: Tensor, sample: Tensor) -> Tensor:
    """Project the teacher's embeddings; give the student's own, (rows, length, hidden)."""
    for name in ("word_embeddings", "position_embeddings", "token_type_embeddings"):
        source = getattr(bert.embeddings, name).weight
        getattr(electra.embeddings, name).weight.copy_(source @ basis)
    narrow = electra.embeddings(input_ids=sample)
    _solve(electra.embeddings_project, narrow, bert.embeddings(input_ids=sample))
    return electra.embeddings_project(narrow)  # type: ignore[no-any-return]


def _fit_layer(source: Any, target: Any, hidden: Tensor, wanted: Tensor) -> Tensor:
    """Copy a layer's attention and busiest neurons; fit what they write to `wanted`.

    Args:
        source, target: the teacher's layer, the student's.
        hidden: the student's own input of the layer, (rows, length, hidden).
        wanted: the teacher's output, before its normalisation, of the last layer that this one
            stands for, (rows, length, hidden).

    Returns:
        The student's own output, (rows, length, hidden).
    """
    target.attention.load_state_dict(source.attention.state_dict())
    attended = target.attention(hidden)[0]
    active = source.intermediate(attended)  # (rows, length, neurons)
    effect = active.square().mean((0, 1)).sqrt() * source.output.dense.weight.norm(dim=0)
    kept = effect.topk(target.intermediate.dense.out_features).indices.sort().values
    target.intermediate.dense.weight.copy_(source.intermediate.dense.weight[kept])
    target.intermediate.dense.bias.copy_(source.intermediate.dense.bias[kept])
    _solve(target.output.dense, active[..., kept], wanted - attended)
    return target.output(active[..., kept], attended)  # type: ignore[no-any-return]


def _fit_head(predictions: Any, student: Any, basis: Tensor, taught: Tensor, own: Tensor) -> None:
    """Fit the head at masked places: last hidden states `taught` and `own`, (places, hidden).

    The activation lets large inputs pass unchanged, so a bias well above the spread makes the
    head linear at the start; the normalisation after it takes that bias away again.
    """
    wanted = predictions.transform(taught) @ basis
    head = student.generator_predictions
    _solve(head.dense, own, wanted)
    head.dense.bias.add_(3 * wanted.std())
    head.LayerNorm.weight.fill_(wanted.std(1).mean())
    student.generator_lm_head.bias.copy_(predictions.bias)


def _solve(layer: nn.Linear, inputs: Tensor, outputs: Tensor) -> None:
    """Set a linear layer to the least-squares map of inputs to outputs, slightly damped."""
    import torch

    inputs, outputs = inputs.reshape(-1, inputs.shape[-1]), outputs.reshape(-1, outputs.shape[-1])
    mean_in, mean_out = inputs.mean(0), outputs.mean(0)
    centred = inputs - mean_in
    gram = centred.T @ centred
    damping = 1e-3 * gram.diagonal().mean() * torch.eye(len(gram))
    weight = torch.linalg.solve(gram + damping, centred.T @ (outputs - mean_out)).T
    layer.weight.copy_(weight)
    layer.bias.copy_(mean_out - weight @ mean_in)
