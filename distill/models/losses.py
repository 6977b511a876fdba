"""The losses of distillation, each a pure function of what a student and a teacher gave.

Each is a masked mean for every example, then the mean over examples, so that micro-batches of one
size add up to the large batch. All are computed in fp32, also within an autocast region, and what
stands at padding, NaN included, reaches neither a loss nor a gradient.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn.functional import pad


class Heads(NamedTuple):
    """What one layer's attention is computed from, (batch, heads, tokens, size) each."""

    query: Tensor
    key: Tensor


class SpanLogits(NamedTuple):
    """Where an answer may start and end, (batch, tokens) each."""

    start: Tensor
    end: Tensor


@dataclass(frozen=True)
class RealTokens:
    """Which tokens are real, found out once for the losses of all layers."""

    real: Tensor
    """(batch, tokens), bool."""
    padding: Tensor
    """What is not."""
    number: Tensor
    """Of each example's, (batch,) in fp32; an example of nothing but padding counts as one."""

    @classmethod
    def of(cls, mask: "Mask") -> "RealTokens":
        """Read a mask, unless that has been done."""
        if isinstance(mask, cls):
            return mask
        real = cast(Tensor, mask).bool()
        return cls(real, ~real, real.sum(-1).clamp(min=1).float())


Mask = Tensor | RealTokens
"""1 for tokens, 0 for padding, (batch, tokens); or what was read from it."""


def hidden_state_loss(student: Tensor, teacher: Tensor, attention_mask: Mask) -> Tensor:
    """Mean squared error between hidden states, over real tokens and width.

    Args:
        student, teacher: (batch, tokens, width).
        attention_mask: 1 for tokens, 0 for padding, (batch, tokens).

    Returns:
        Scalar; 0 when student equals teacher.

    Raises:
        ValueError: if the shapes differ.

    Source: TinyBERT (Jiao et al. 2020), equations 8 and 9. Differs: padding is left out.
    """
    if student.shape != teacher.shape:
        raise ValueError(
            f"hidden states of the student {tuple(student.shape)} and of the teacher "
            f"{tuple(teacher.shape)} differ in shape; project the student's"
        )
    with _full_precision(student):
        tokens = RealTokens.of(attention_mask)
        difference = student.float() - teacher.float()
        difference = difference.masked_fill(tokens.padding[..., None], 0.0)
        num_summed = tokens.number * student.shape[-1]
        return (difference.square().sum((1, 2)) / num_summed).mean()


def attention_score_loss(student: Heads, teacher: Heads, attention_mask: Mask) -> Tensor:
    """Mean squared error between attention scores, over heads and pairs of real tokens.

    No scores are computed (see `_SquaredDifference`). The smaller heads are filled with zeros; no
    gradient reaches the teacher.

    Args:
        student, teacher: of one number of heads; their sizes may differ.
        attention_mask: 1 for tokens, 0 for padding, (batch, tokens).

    Returns:
        Scalar, not negative; 0 when student equals teacher.

    Raises:
        ValueError: if the numbers of heads, or the tokens, differ.

    Source: TinyBERT (Jiao et al. 2020), equation 7. Differs: padding is left out.
    """
    _check_heads(student, teacher)
    with _full_precision(student.query):
        tokens = RealTokens.of(attention_mask)
        num_heads = student.query.shape[1]
        size = max(student.query.shape[-1], teacher.query.shape[-1])
        (query_s, key_s), (query_t, key_t) = (
            (
                _widen(_real_rows(heads.query, tokens), size) * heads.query.shape[-1] ** -0.5,
                _widen(_real_rows(heads.key, tokens), size),
            )
            for heads in (student, teacher)
        )
        squares: Tensor = _SquaredDifference.apply(  # type: ignore[no-untyped-call]
            query_s, key_s, query_t, key_t
        )
        num_summed = num_heads * tokens.number.square()
        return (squares / num_summed).clamp(min=0.0).mean()


def attention_probability_loss(
    student: Heads, teacher: Heads, attention_mask: Mask, count_padding: bool = False
) -> Tensor:
    """Mean squared error between attention probabilities, over heads and pairs of real tokens.

    Args:
        student, teacher: of one number of heads; their sizes may differ.
        attention_mask: 1 for tokens, 0 for padding, (batch, tokens).
        count_padding: take the mean over all pairs. Padding is no key for anyone all the same,
            but as a query it has probabilities.

    Returns:
        Scalar; 0 when student equals teacher.

    Raises:
        ValueError: if the numbers of heads, or the tokens, differ.

    Source: what Haystack matched (`DistillationLoss`, modeling/training/base.py, v1.26.4), which
    counts padding. Differs: before dropout, not after.
    """
    _check_heads(student, teacher)
    with _full_precision(student.query):
        real = RealTokens.of(attention_mask)
        counted = RealTokens.of(torch.ones_like(real.real)) if count_padding else real
        difference = _probabilities(student, real, counted) - _probabilities(teacher, real, counted)
        difference = difference.masked_fill(counted.padding[:, None, :, None], 0.0)
        num_summed = student.query.shape[1] * counted.number.square()
        return (difference.square().sum((1, 2, 3)) / num_summed).mean()


def span_kl_loss(
    student_logits: Tensor, teacher_logits: Tensor, attention_mask: Tensor, temperature: float
) -> Tensor:
    """KL divergence of the student's distribution over real tokens from the teacher's.

    Sum over tokens of p_t log(p_t / p_s), p = softmax(logits / temperature); not multiplied by
    the temperature's square.

    Args:
        student_logits, teacher_logits: of the start or of the end, (batch, tokens).
        attention_mask: 1 for tokens, 0 for padding, (batch, tokens).
        temperature: above 0.

    Returns:
        Scalar, the mean over examples; 0 when student equals teacher.

    Raises:
        ValueError: if the shapes differ.
    """
    if student_logits.shape != teacher_logits.shape:
        raise ValueError(
            f"logits of the student {tuple(student_logits.shape)} and of the teacher "
            f"{tuple(teacher_logits.shape)} differ in shape"
        )
    with _full_precision(student_logits):
        real = attention_mask.bool()
        student = _log_probabilities(student_logits, real, temperature)
        teacher = _log_probabilities(teacher_logits, real, temperature)
        terms = (teacher.exp() * (teacher - student)).masked_fill(~real, 0.0)
        return terms.sum(-1).mean()


def span_cross_entropy(logits: Tensor, positions: Tensor, attention_mask: Tensor) -> Tensor:
    """Cross-entropy of labels, by a distribution over real tokens.

    Args:
        logits: of the start or of the end, (batch, tokens).
        positions: of the labelled token, which must be real, (batch,).
        attention_mask: 1 for tokens, 0 for padding, (batch, tokens).

    Returns:
        Scalar, the mean over examples.
    """
    with _full_precision(logits):
        log_probabilities = _log_probabilities(logits, attention_mask.bool(), temperature=1.0)
        return -log_probabilities.gather(-1, positions[:, None]).mean()


def prediction_loss(
    student: SpanLogits,
    teacher: SpanLogits | None,
    positions: Tensor,
    attention_mask: Tensor,
    *,
    kd_weight: float,
    hard_weight: float,
    temperature: float,
    span_reduction: Literal["sum", "mean"],
) -> dict[str, Tensor]:
    """Weigh what a student learns from its teacher and from labels.

    loss = kd_weight * kd_loss + hard_weight * hard_loss, kd_loss = temperature^2 times the sum or
    mean of the start's and the end's KL, hard_loss = the mean of their cross-entropies.

    Args:
        student: its logits.
        teacher: its logits; may be None when `kd_weight` is 0.
        positions: of the labelled first and last token, (batch, 2).
        attention_mask: 1 for tokens, 0 for padding, (batch, tokens).
        kd_weight, hard_weight: a term whose weight is 0 is not computed.
        temperature: above 0.
        span_reduction: of the KL's start and end alone.

    Returns:
        Scalars: `loss`, and `kd_loss` and `hard_loss`, unweighted, where they were computed.

    Raises:
        ValueError: if both weights are 0, or the teacher is wanted and missing.

    Source: Haystack sums the KL and takes the mean of the cross-entropy (`DistillationTrainer`,
    modeling/training/base.py, v1.26.4); DistilBERT's run_squad_w_distillation.py takes both means.
    """
    if not kd_weight and not hard_weight:
        raise ValueError("kd_weight and hard_weight are both 0: nothing to learn")
    terms: dict[str, Tensor] = {}
    if kd_weight:
        if teacher is None:
            raise ValueError(f"kd_weight is {kd_weight}, and there are no logits of a teacher")
        start, end = (
            span_kl_loss(logits, target, attention_mask, temperature)
            for logits, target in zip(student, teacher, strict=True)
        )
        shares = 2 if span_reduction == "mean" else 1
        terms["kd_loss"] = temperature**2 * (start + end) / shares
    if hard_weight:
        start, end = (
            span_cross_entropy(logits, labels, attention_mask)
            for logits, labels in zip(student, positions.unbind(-1), strict=True)
        )
        terms["hard_loss"] = (start + end) / 2
    weights = {"kd_loss": kd_weight, "hard_loss": hard_weight}
    return {"loss": torch.stack([weights[name] * terms[name] for name in terms]).sum(), **terms}


class _SquaredDifference(torch.autograd.Function):
    """Sum of squares of s - t for each example, s = q_s k_s' and t = q_t k_t'.

        s - t = (q_s - q_t) k_s' + q_t (k_s - k_t)' = Q K'
        for Q = [q_s - q_t, q_t] and K = [k_s, k_s - k_t], and
        |Q K'|^2 = sum of (Q'Q) * (K'K), two matrices of twice the size squared.

    The differences come first, so a student near its teacher loses no digits, as it would with
    Q = [q_s, -q_t] and K = [k_s, k_t]. Written out, the gradients, 2 Q K'K and 2 K Q'Q, and of
    those the student's share, are a quarter of the work that autograd would do.
    """

    @staticmethod
    def forward(ctx: Any, query_s: Tensor, key_s: Tensor, query_t: Tensor, key_t: Tensor) -> Tensor:
        query = torch.cat([query_s - query_t, query_t], -1)
        key = torch.cat([key_s, key_s - key_t], -1)
        query_square, key_square = query.mT @ query, key.mT @ key
        ctx.save_for_backward(query, key, query_square, key_square)
        return (query_square * key_square).sum((1, 2, 3))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        query, key, query_square, key_square = ctx.saved_tensors
        size = query.shape[-1] // 2
        twice = 2 * gradients[0][:, None, None, None]
        with _full_precision(query):
            query_share = twice * key_square[..., :size]
            key_share = twice * (query_square[..., :size] + query_square[..., size:])
            return query @ query_share, key @ key_share, None, None


def _full_precision(like: Tensor) -> torch.autocast:
    return torch.autocast(like.device.type, enabled=False)


def _real_rows(rows: Tensor, tokens: RealTokens) -> Tensor:
    """Give (batch, heads, tokens, size) in fp32, zero at padding."""
    return rows.float().masked_fill(tokens.padding[:, None, :, None], 0.0)


def _widen(rows: Tensor, size: int) -> Tensor:
    return rows if rows.shape[-1] == size else pad(rows, (0, size - rows.shape[-1]))


def _probabilities(heads: Heads, real: RealTokens, counted: RealTokens) -> Tensor:
    """Give softmax(q k' / sqrt(size)) over real keys, (batch, heads, query, key)."""
    query, key = _real_rows(heads.query, counted), _real_rows(heads.key, real)
    scores = query @ key.mT * heads.query.shape[-1] ** -0.5
    return _mask(scores, real.real[:, None, None, :]).softmax(-1)


def _log_probabilities(logits: Tensor, real: Tensor, temperature: float) -> Tensor:
    return _mask(logits.float() / temperature, real).log_softmax(-1)


def _mask(scores: Tensor, real: Tensor) -> Tensor:
    """Leave padding no probability; finite, for an infinity there would make NaN of 0 * inf."""
    return scores.masked_fill(~real, torch.finfo(scores.dtype).min)


def _check_heads(student: Heads, teacher: Heads) -> None:
    """Compare batch, heads and tokens."""
    if student.query.shape[:3] != teacher.query.shape[:3]:
        raise ValueError(
            f"attention of the student {tuple(student.query.shape)} and of the teacher "
            f"{tuple(teacher.query.shape)} (batch, heads, tokens, size): all but the size must "
            "be equal; where the numbers of heads differ, pass attention_weight 0"
        )
