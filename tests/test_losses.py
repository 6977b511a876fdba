"""The losses against values worked by hand and against the plain way of computing them."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from distill.models.losses import (
    Heads,
    SpanLogits,
    attention_probability_loss,
    attention_score_loss,
    hidden_state_loss,
    prediction_loss,
    span_cross_entropy,
    span_kl_loss,
)

MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0], [1, 1, 1, 1, 0]])
BATCH, TOKENS = MASK.shape


def states(seed: int, width: int = 6) -> Tensor:
    return torch.randn(BATCH, TOKENS, width, generator=torch.Generator().manual_seed(seed))


def heads(seed: int, size: int = 4, num_heads: int = 3, scale: float = 1.0) -> Heads:
    generator = torch.Generator().manual_seed(seed)
    both = scale * torch.randn(2, BATCH, num_heads, TOKENS, size, generator=generator)
    return Heads(*both.unbind(0))


def spans(seed: int) -> SpanLogits:
    generator = torch.Generator().manual_seed(seed)
    return SpanLogits(*(3 * torch.randn(2, BATCH, TOKENS, generator=generator)).unbind(0))


def labels(mask: Tensor) -> Tensor:
    """Label each example's middle and last token."""
    last = mask.sum(1) - 1
    return torch.stack([last // 2, last], 1)


def predicted(student: SpanLogits, teacher: SpanLogits | None, mask: Tensor, **changed) -> Tensor:
    weights = {"kd_weight": 0.75, "hard_weight": 0.25, "temperature": 1.5, "span_reduction": "sum"}
    return prediction_loss(student, teacher, labels(mask), mask, **{**weights, **changed})["loss"]


# Every loss as a function of (student's tensors, teacher's tensors, mask); each tensor has the
# batch first; the number is the dimension of tokens.
Loss = Callable[[list[Tensor], list[Tensor], Tensor], Tensor]
LOSSES: dict[str, tuple[Loss, Callable[[int], list[Tensor]], int]] = {
    "hidden": (lambda s, t, m: hidden_state_loss(s[0], t[0], m), lambda i: [states(i)], 1),
    "scores": (
        lambda s, t, m: attention_score_loss(Heads(*s), Heads(*t), m),
        lambda i: list(heads(i)),
        2,
    ),
    "probabilities": (
        lambda s, t, m: attention_probability_loss(Heads(*s), Heads(*t), m),
        lambda i: list(heads(i)),
        2,
    ),
    "kl": (lambda s, t, m: span_kl_loss(s[0], t[0], m, 2.0), lambda i: [spans(i).start], 1),
    "cross-entropy": (
        lambda s, t, m: span_cross_entropy(s[0], labels(m)[:, 0], m),
        lambda i: [spans(i).start],
        1,
    ),
    "prediction": (
        lambda s, t, m: predicted(SpanLogits(*s), SpanLogits(*t), m),
        lambda i: list(spans(i)),
        1,
    ),
}
every_loss = pytest.mark.parametrize(("loss", "make", "dim"), LOSSES.values(), ids=LOSSES)


def with_gradients(
    loss: Loss, student: list[Tensor], teacher: list[Tensor], mask: Tensor
) -> tuple[Tensor, list[Tensor]]:
    student = [tensor.detach().clone().requires_grad_() for tensor in student]
    value = loss(student, teacher, mask)
    value.backward()
    return value.detach(), [tensor.grad for tensor in student if tensor.grad is not None]


# Closed forms


def test_hidden_states_by_hand() -> None:
    # Differences: example 1: (1, 2), (0, 3): 14 / 4 = 3.5. Example 2: (2, 0), the rest is padding:
    # 4 / 2 = 2. Mean 2.75. (Unmasked: (14 + 4 + 200) / 8 = 27.25.)
    student = torch.tensor([[[1.0, 2.0], [0.0, 3.0]], [[2.0, 0.0], [10.0, 10.0]]])
    loss = hidden_state_loss(student, torch.zeros(2, 2, 2), torch.tensor([[1, 1], [1, 0]]))
    assert loss.item() == 2.75


def test_scores_by_hand() -> None:
    # One head of size 4, scores q k' / 2. Student: q = 2 e1, 0; k = 3 e1, e1: scores 3, 1, 0, 0.
    # Teacher of size 1: q = 1, 1; k = 1, 0: scores 1, 0, 1, 0. Differences 2, 1, -1, 0: 6 / 4.
    one = torch.tensor([1.0, 0.0, 0.0, 0.0])
    student = Heads(
        torch.stack([2 * one, 0 * one])[None, None], torch.stack([3 * one, one])[None, None]
    )
    teacher = Heads(torch.ones(1, 1, 2, 1), torch.tensor([1.0, 0.0]).reshape(1, 1, 2, 1))
    assert attention_score_loss(student, teacher, torch.tensor([[1, 1]])).item() == 1.5
    # The first token alone: a difference of 2, squared.
    assert attention_score_loss(student, teacher, torch.tensor([[1, 0]])).item() == 4.0


def test_probabilities_by_hand() -> None:
    # Size 1. Student: q = log 3 and 0, k = 1, 0: probabilities 3/4, 1/4 and 1/2, 1/2. Teacher:
    # q = 0: all 1/2. Differences 1/4, -1/4, 0, 0: 1/8 over 4 pairs.
    student = Heads(torch.tensor([math.log(3), 0.0, 9.0]), torch.tensor([1.0, 0.0, 9.0]))
    student = Heads(*(tensor.reshape(1, 1, 3, 1) for tensor in student))
    teacher = Heads(torch.zeros(1, 1, 3, 1), torch.ones(1, 1, 3, 1))
    mask = torch.tensor([[1, 1, 0]])
    assert attention_probability_loss(student, teacher, mask).item() == pytest.approx(1 / 32)
    # With padding counted, its query 9 prefers key 1 to key 0 by e^9; its key is nobody's.
    far = 2 * (1 / (1 + math.exp(-9)) - 0.5) ** 2
    expected = (1 / 8 + far) / 9
    found = attention_probability_loss(student, teacher, mask, count_padding=True)
    assert found.item() == pytest.approx(expected)


def test_kl_by_hand() -> None:
    # Teacher 3/4, 1/4; student 1/2, 1/2: 3/4 log(3/2) + 1/4 log(1/2) = 3/4 log 3 - log 2.
    # At temperature 2 the same logits, doubled, mean the same; not multiplied by 4.
    teacher = torch.tensor([[2 * math.log(3), 0.0, 50.0]])
    loss = span_kl_loss(torch.tensor([[7.0, 7.0, 90.0]]), teacher, torch.tensor([[1, 1, 0]]), 2.0)
    assert loss.item() == pytest.approx(0.75 * math.log(3) - math.log(2))


def test_cross_entropy_by_hand() -> None:
    # Probabilities 3/4 and 1/4, label the second: log 4. Second example: one real token: 0.
    logits = torch.tensor([[math.log(3), 0.0, 5.0], [1.0, 2.0, 3.0]])
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    loss = span_cross_entropy(logits, torch.tensor([1, 0]), mask)
    assert loss.item() == pytest.approx(math.log(4) / 2)


def test_prediction_by_hand() -> None:
    # Start: KL as above, k = 3/4 log 3 - log 2; end: equal, 0. Label (1, 0): the student's
    # cross-entropies are log 2 and log 4, mean 3/2 log 2.
    k = 0.75 * math.log(3) - math.log(2)
    student = SpanLogits(torch.zeros(1, 2), torch.tensor([[0.0, math.log(3)]]))
    teacher = SpanLogits(torch.tensor([[2 * math.log(3), 0.0]]), torch.tensor([[0.0, math.log(3)]]))
    common = {"kd_weight": 0.75, "hard_weight": 0.25, "temperature": 2.0}
    positions, mask = torch.tensor([[1, 0]]), torch.ones(1, 2)
    summed = prediction_loss(student, teacher, positions, mask, span_reduction="sum", **common)
    assert summed["kd_loss"].item() == pytest.approx(4 * k)
    assert summed["hard_loss"].item() == pytest.approx(1.5 * math.log(2))
    assert summed["loss"].item() == pytest.approx(3 * k + 0.375 * math.log(2))
    mean = prediction_loss(student, teacher, positions, mask, span_reduction="mean", **common)
    assert mean["kd_loss"].item() == pytest.approx(2 * k)
    assert mean["hard_loss"].item() == summed["hard_loss"].item()  # a mean always


# Against the plain way


@pytest.mark.parametrize("teacher_size", [4, 7, 2])
def test_scores_equal_those_of_the_maps(teacher_size: int) -> None:
    def plain(s: list[Tensor], t: list[Tensor], mask: Tensor) -> Tensor:
        maps = [q @ k.mT / q.shape[-1] ** 0.5 for q, k in (s, t)]
        pairs = (mask[:, :, None] * mask[:, None, :])[:, None].expand_as(maps[0])
        square = (maps[0] - maps[1]).square() * pairs
        return (square.sum((1, 2, 3)) / pairs.sum((1, 2, 3))).mean()

    student, teacher = list(heads(1)), list(heads(2, teacher_size))
    expected, expected_gradients = with_gradients(plain, student, teacher, MASK)
    loss, _, _ = LOSSES["scores"]
    found, gradients = with_gradients(loss, student, teacher, MASK)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradients, expected_gradients)


def test_scores_keep_their_digits_near_the_teacher() -> None:
    # A student a ten-thousandth away: the loss is about 1e-8 of the squared scores, less than
    # fp32 resolves of them.
    teacher, off = heads(2, size=32, scale=3.0), heads(3, size=32, scale=1e-4)
    student = Heads(teacher.query + off.query, teacher.key + off.key)
    maps = [h.query.double() @ h.key.double().mT / 32**0.5 for h in (student, teacher)]
    pairs = (MASK[:, :, None] * MASK[:, None, :])[:, None]
    square = ((maps[0] - maps[1]).square() * pairs).sum((1, 2, 3)) / (3 * pairs.sum((1, 2, 3)))
    found = attention_score_loss(student, teacher, MASK)
    assert found.item() == pytest.approx(square.mean().item(), rel=1e-4)


@pytest.mark.parametrize("teacher_size", [4, 7])
def test_probabilities_equal_a_softmax_over_each_alone(teacher_size: int) -> None:
    student, teacher = heads(1), heads(2, teacher_size)
    losses = []
    for i, length in enumerate(MASK.sum(1).tolist()):
        maps = [
            (h.query[i, :, :length] @ h.key[i, :, :length].mT / h.query.shape[-1] ** 0.5).softmax(
                -1
            )
            for h in (student, teacher)
        ]
        losses.append(functional.mse_loss(*maps))
    found = attention_probability_loss(student, teacher, MASK)
    torch.testing.assert_close(found, torch.stack(losses).mean())


def test_padding_counted_is_haystacks_mean_over_all_pairs() -> None:
    student, teacher = heads(1), heads(2)
    hidden = (1.0 - MASK[:, None, None, :]) * torch.finfo(torch.float32).min
    maps = [(h.query @ h.key.mT / 2 + hidden).softmax(-1) for h in (student, teacher)]
    found = attention_probability_loss(student, teacher, MASK, count_padding=True)
    torch.testing.assert_close(found, functional.mse_loss(*maps))
    assert not torch.isclose(found, attention_probability_loss(student, teacher, MASK))


def test_spans_equal_each_alone() -> None:
    student, teacher = spans(1), spans(2)
    kl, hard = [], []
    for i, length in enumerate(MASK.sum(1).tolist()):
        logs = [logits.start[i : i + 1, :length] for logits in (student, teacher)]
        p_s, p_t = ((x / 1.5).log_softmax(-1) for x in logs)
        kl.append(functional.kl_div(p_s, p_t, log_target=True, reduction="batchmean"))
        hard.append(functional.cross_entropy(logs[0], labels(MASK)[i : i + 1, 0]))
    found = span_kl_loss(student.start, teacher.start, MASK, 1.5)
    torch.testing.assert_close(found, torch.stack(kl).mean())
    found = span_cross_entropy(student.start, labels(MASK)[:, 0], MASK)
    torch.testing.assert_close(found, torch.stack(hard).mean())


# What holds for every loss


@every_loss
def test_more_padding_changes_nothing(loss: Loss, make, dim: int) -> None:
    def longer(tensor: Tensor) -> Tensor:
        shape = list(tensor.shape)
        shape[dim] = 7
        return torch.cat([tensor, torch.full(shape, 3.25)], dim)

    student, teacher = make(1), make(2)
    value, gradients = with_gradients(loss, student, teacher, MASK)
    mask = torch.cat([MASK, torch.zeros(BATCH, 7, dtype=MASK.dtype)], 1)
    far, far_gradients = with_gradients(
        loss, [longer(x) for x in student], [longer(x) for x in teacher], mask
    )
    torch.testing.assert_close(far, value)
    for found, expected in zip(far_gradients, gradients, strict=True):
        torch.testing.assert_close(found.narrow(dim, 0, TOKENS), expected)
        assert not found.narrow(dim, TOKENS, 7).any()


@every_loss
@pytest.mark.parametrize("worst", [math.nan, math.inf, -math.inf])
def test_nothing_at_padding_is_seen(loss: Loss, make, dim: int, worst: float) -> None:
    def spoil(tensor: Tensor) -> Tensor:
        shape = [BATCH] + [1] * (tensor.dim() - 1)
        shape[dim] = TOKENS
        return tensor.masked_fill(MASK.reshape(shape) == 0, worst)

    student, teacher = make(1), make(2)
    value, gradients = with_gradients(loss, student, teacher, MASK)
    found, found_gradients = with_gradients(
        loss, [spoil(x) for x in student], [spoil(x) for x in teacher], MASK
    )
    assert found == value
    for found_gradient, expected in zip(found_gradients, gradients, strict=True):
        assert torch.equal(found_gradient, expected)


@every_loss
def test_a_mean_without_a_mask_is_another(loss: Loss, make, dim: int) -> None:
    student, teacher = make(1), make(2)
    assert not torch.isclose(loss(student, teacher, MASK), loss(student, teacher, MASK * 0 + 1))


@every_loss
def test_half_batches_add_up(loss: Loss, make, dim: int) -> None:
    student, teacher = make(1), make(2)
    value, gradients = with_gradients(loss, student, teacher, MASK)
    halves = [
        with_gradients(loss, [x[rows] for x in student], [x[rows] for x in teacher], MASK[rows])
        for rows in (slice(0, 2), slice(2, 4))
    ]
    torch.testing.assert_close((halves[0][0] + halves[1][0]) / 2, value)
    for number, expected in enumerate(gradients):
        together = torch.cat([half[1][number] for half in halves]) / 2
        torch.testing.assert_close(together, expected)


@every_loss
def test_autocast_changes_nothing(loss: Loss, make, dim: int) -> None:
    student, teacher = make(1), make(2)
    value, gradients = with_gradients(loss, student, teacher, MASK)

    def cast(s: list[Tensor], t: list[Tensor], mask: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return loss(s, t, mask)

    found, found_gradients = with_gradients(cast, student, teacher, MASK)
    assert found == value
    assert found.dtype == torch.float32
    assert found.shape == ()
    for found_gradient, expected in zip(found_gradients, gradients, strict=True):
        assert torch.equal(found_gradient, expected)


@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bits_are_raised_first(loss: Loss, make, dim: int, dtype: torch.dtype) -> None:
    student, teacher = ([x.to(dtype) for x in make(seed)] for seed in (1, 2))
    expected = loss([x.float() for x in student], [x.float() for x in teacher], MASK)
    found = loss(student, teacher, MASK)
    assert found == expected
    assert found.dtype == torch.float32


@pytest.mark.parametrize("name", ["hidden", "scores", "probabilities", "kl"])
def test_a_student_like_its_teacher_has_nothing_to_learn(name: str) -> None:
    loss, make, _ = LOSSES[name]
    value, gradients = with_gradients(loss, make(1), make(1), MASK)
    assert value == 0
    for gradient in gradients:
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-7)


def test_examples_weigh_the_same_whatever_their_length() -> None:
    parts = [
        hidden_state_loss(states(1)[i : i + 1], states(2)[i : i + 1], MASK[i : i + 1])
        for i in range(BATCH)
    ]
    found = hidden_state_loss(states(1), states(2), MASK)
    torch.testing.assert_close(found, torch.stack(parts).mean())


# The combination


def test_a_weight_of_0_skips_its_term() -> None:
    common = {"temperature": 1.0, "span_reduction": "sum"}
    hard = prediction_loss(
        spans(1), None, labels(MASK), MASK, kd_weight=0.0, hard_weight=1.0, **common
    )
    assert hard.keys() == {"loss", "hard_loss"}
    assert hard["loss"] == hard["hard_loss"]
    soft = prediction_loss(
        spans(1), spans(2), labels(MASK), MASK, kd_weight=1.0, hard_weight=0.0, **common
    )
    assert soft.keys() == {"loss", "kd_loss"}
    assert soft["loss"] == soft["kd_loss"]


def test_the_temperature_is_squared_so_gradients_keep_their_size() -> None:
    # As T grows, T^2 KL goes to the variance of the difference of logits over 2 tokens, halved.
    student, teacher = spans(1), spans(2)
    kl = sum(span_kl_loss(s, t, MASK, 3.0) for s, t in zip(student, teacher, strict=True))
    hot = {"hard_weight": 0.0, "kd_weight": 1.0}
    torch.testing.assert_close(predicted(student, teacher, MASK, temperature=3.0, **hot), 9 * kl)
    differences = [s - t for s, t in zip(student, teacher, strict=True)]
    limit = sum(
        torch.stack(
            [d[i, :length].var(correction=0) / 2 for i, length in enumerate(MASK.sum(1).tolist())]
        ).mean()
        for d in differences
    )
    found = predicted(student, teacher, MASK, temperature=300.0, **hot)
    torch.testing.assert_close(found, limit, rtol=0.05, atol=0.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hidden_state_loss(states(1), states(2, 8), MASK), r"\(4, 5, 6\).*\(4, 5, 8\)"),
        (lambda: attention_score_loss(heads(1), heads(2, num_heads=1), MASK), "numbers of heads"),
        (
            lambda: attention_probability_loss(heads(1), heads(2, num_heads=1), MASK),
            "numbers of heads",
        ),
        (lambda: span_kl_loss(spans(1).start, spans(2).start[:1], MASK, 1.0), "differ in shape"),
        (lambda: predicted(spans(1), None, MASK), "no logits of a teacher"),
        (
            lambda: predicted(spans(1), None, MASK, kd_weight=0.0, hard_weight=0.0),
            "nothing to learn",
        ),
    ],
)
def test_errors_say_what_is_wrong(call: Callable[[], Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_a_label_at_no_token_is_refused() -> None:
    with pytest.raises(RuntimeError):
        span_cross_entropy(spans(1).start, torch.tensor([0, -100, 0, 0]), MASK)
