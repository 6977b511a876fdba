"""The plain attention against PyTorch's fused one, alone and inside models."""

from pathlib import Path

import pytest
import torch

from augment.variants.attention import bmm_attention, register


@pytest.mark.parametrize("masked", [False, True])
def test_equals_the_fused_one(masked: bool) -> None:
    torch.manual_seed(0)
    # As BERT hands them over: (batch, heads, tokens, size), a transposed view.
    query, key, value = torch.randn(3, 2, 7, 4, 8).transpose(2, 3).unbind(0)
    mask = None
    if masked:
        mask = torch.zeros(2, 1, 7, 7)
        mask[1, ..., 5:] = torch.finfo(torch.float32).min
    mixed, probabilities = bmm_attention(torch.nn.Identity(), query, key, value, mask)
    fused = torch.nn.functional.scaled_dot_product_attention
    torch.testing.assert_close(mixed, fused(query, key, value, attn_mask=mask).transpose(1, 2))
    assert probabilities is None


def test_a_mask_wider_than_the_query_hides_and_gives_no_nan() -> None:
    # Under autocast masks are fp32: their lowest number is -inf in bf16, and a row of it NaN.
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 1, 4, 8, dtype=torch.bfloat16).unbind(0)
    mask = torch.zeros(2, 1, 1, 4)
    mask[0, ..., 2:] = mask[1] = torch.finfo(torch.float32).min
    mixed, _ = bmm_attention(torch.nn.Identity(), query, key, value, mask)
    assert mixed.isfinite().all()
    value[0, :, 2:] = 100.0
    assert torch.equal(bmm_attention(torch.nn.Identity(), query, key, value, mask)[0][0], mixed[0])


def attend(dropout: float, seed: int, tokens: int = 67, dtype: torch.dtype = torch.float32):
    """Give probabilities, those used (the values are the unit matrix), and query and key."""
    torch.manual_seed(1)
    query, key = torch.randn(2, 3, 2, tokens, tokens).to(dtype).unbind(0)
    query.requires_grad_()
    key.requires_grad_()
    value = torch.eye(tokens, dtype=dtype).expand(3, 2, tokens, tokens)
    torch.manual_seed(seed)
    scaling = tokens**-0.5
    mixed, _ = bmm_attention(
        torch.nn.Identity(), query, key, value, None, scaling=scaling, dropout=dropout
    )
    return (query @ key.mT * scaling).softmax(-1), mixed.transpose(1, 2), query, key


@pytest.mark.parametrize("dropout", [0.1, 0.5])
def test_dropout_drops_its_share_and_scales_the_rest(dropout: float) -> None:
    probabilities, used, query, key = attend(dropout, seed=2)
    kept = used != 0
    # 26,934 draws: five standard deviations are 0.9 % at 0.1 and 1.5 % at 0.5.
    assert abs(kept.float().mean().item() - (1 - dropout)) < 0.016
    expected = probabilities * kept / (1 - dropout)
    torch.testing.assert_close(used, expected, rtol=1e-4, atol=1e-6)
    weights = torch.randn(used.shape)
    found = torch.autograd.grad((used * weights).sum(), (query, key))
    plain = torch.autograd.grad((expected * weights).sum(), (query, key))
    torch.testing.assert_close(found, plain, rtol=1e-4, atol=1e-5)
    # No pattern: what is dropped in one place says nothing about its neighbours.
    dropped = (~kept).float().flatten() - dropout
    for apart in (1, 2, 3, 4, 67):
        assert abs((dropped[apart:] * dropped[:-apart]).mean()) < 0.03 * dropout


def test_dropout_follows_torchs_seed() -> None:
    first, again, other = (attend(0.1, seed)[1] for seed in (2, 2, 3))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_dropout_in_16_bits_is_that_of_32(dtype: torch.dtype) -> None:
    _, used, _, _ = attend(0.1, seed=2, dtype=dtype)
    _, exact, _, _ = attend(0.1, seed=2)
    assert used.dtype == dtype
    assert torch.equal(used != 0, exact != 0)


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_models_do_not_attend_to_padding(family: str, request: pytest.FixtureRequest) -> None:
    from transformers import AutoModelForMaskedLM

    folder: Path = request.getfixturevalue(f"tiny_{family}")
    model = AutoModelForMaskedLM.from_pretrained(folder).eval()
    ids = torch.tensor([[5, 6, 7, 8, 9, 10], [5, 6, 7, 8, 1, 1]])
    mask = torch.tensor([[1] * 6, [1] * 4 + [0] * 2])
    with torch.inference_mode():
        expected = model(input_ids=ids, attention_mask=mask).logits
        model.set_attn_implementation(register())
        found = model(input_ids=ids, attention_mask=mask).logits
        alone = model(input_ids=ids[1:, :4]).logits
    torch.testing.assert_close(found[mask.bool()], expected[mask.bool()], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[1:, :4], alone, rtol=1e-4, atol=1e-4)
