"""The plain attention against PyTorch's fused one, alone and inside models."""

from pathlib import Path

import pytest
import torch

from augment.attention import bmm_attention, register


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
