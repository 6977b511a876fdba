"""Captured queries and keys, and the fast attention that runs over them, against eager maps."""

import gc
import weakref
from copy import deepcopy

import pytest
import torch
from torch import nn
from transformers import (
    AlbertConfig,
    AlbertForQuestionAnswering,
    AutoModelForQuestionAnswering,
    BertConfig,
    BertForQuestionAnswering,
    DebertaV2Config,
    DebertaV2ForQuestionAnswering,
    DistilBertConfig,
    DistilBertForQuestionAnswering,
    ElectraConfig,
    ElectraForQuestionAnswering,
    RobertaConfig,
    RobertaForQuestionAnswering,
)

from distill.models.attention import KEEP, capture_attention, fast_attention

SIZES = {
    "vocab_size": 40,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 32,
    "initializer_range": 0.2,
    "hidden_dropout_prob": 0.0,
}
IDS = torch.tensor([[2, 7, 8, 9, 10, 11, 3], [2, 9, 7, 3, 0, 0, 0], [2, 12, 13, 14, 15, 3, 0]])
MASK = (IDS != 0).long()
PADDING = (MASK == 0)[:, None, None, :]


def reader(family: str, attention_dropout: float = 0.1):
    torch.manual_seed(0)
    sizes = {**SIZES, "attention_probs_dropout_prob": attention_dropout}
    if family == "distilbert":
        config = DistilBertConfig(
            vocab_size=40,
            dim=32,
            n_layers=3,
            n_heads=2,
            hidden_dim=64,
            max_position_embeddings=32,
            initializer_range=0.2,
            dropout=0.0,
            attention_dropout=attention_dropout,
        )
        return DistilBertForQuestionAnswering(config).eval()
    if family == "roberta":
        return RobertaForQuestionAnswering(RobertaConfig(**sizes, pad_token_id=0)).eval()
    if family == "electra":
        return ElectraForQuestionAnswering(ElectraConfig(**sizes, embedding_size=16)).eval()
    return BertForQuestionAnswering(BertConfig(**sizes)).eval()


def twin(model: nn.Module) -> nn.Module:
    """An eager model with the same weights."""
    other = deepcopy(model)
    other.set_attn_implementation("eager")
    return other


families = pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "electra"])


@families
@torch.no_grad()
def test_what_is_captured_makes_the_eager_maps(family: str) -> None:
    model = reader(family)
    eager = twin(model)(input_ids=IDS, attention_mask=MASK, output_attentions=True)
    captured = capture_attention(model, [3, 1])
    output = model(input_ids=IDS, attention_mask=MASK)
    for layer, (query, key) in zip([3, 1], captured.take(), strict=True):
        assert query.shape == key.shape == (3, 2, 7, 16)
        scores = query @ key.mT / 16**0.5
        scores = scores.masked_fill(PADDING, torch.finfo(torch.float32).min)
        expected = eager.attentions[layer - 1]
        torch.testing.assert_close(scores.softmax(-1), expected, rtol=0, atol=1e-6)
    for name in ("start_logits", "end_logits"):
        torch.testing.assert_close(output[name], eager[name], rtol=1e-5, atol=1e-5)


@families
@torch.no_grad()
def test_nobody_attends_to_padding(family: str) -> None:
    model = reader(family)
    fast_attention(model)
    output = model(input_ids=IDS, attention_mask=MASK).start_logits
    alone = model(input_ids=IDS[1:2, :4]).start_logits
    torch.testing.assert_close(output[1:2, :4], alone, rtol=1e-5, atol=1e-5)
    others = IDS.masked_fill(MASK == 0, 21) if family != "roberta" else IDS  # positions follow ids
    found = model(input_ids=others, attention_mask=MASK).start_logits
    torch.testing.assert_close(found[MASK.bool()], output[MASK.bool()], rtol=1e-5, atol=1e-5)


@families
def test_gradients_are_those_of_eager_attention(family: str) -> None:
    model = reader(family)
    eager = twin(model)
    fast_attention(model)
    for each in (model, eager):
        output = each(input_ids=IDS, attention_mask=MASK)
        (output.start_logits * MASK).square().sum().backward()
    expected = dict(eager.named_parameters())
    for name, parameter in model.named_parameters():
        if expected[name].grad is not None:
            torch.testing.assert_close(
                parameter.grad, expected[name].grad, rtol=1e-3, atol=1e-4, msg=name
            )


@families
def test_attention_dropout_in_training_alone(family: str) -> None:
    model = reader(family, attention_dropout=0.3)
    fast_attention(model)

    def run() -> torch.Tensor:
        with torch.no_grad():
            return model(input_ids=IDS, attention_mask=MASK).start_logits

    still = run()
    assert torch.equal(run(), still)
    model.train()  # attention's is the only dropout but the embeddings', which is 0
    torch.manual_seed(1)
    first, second = run(), run()
    assert not torch.allclose(first, second)
    torch.manual_seed(1)
    assert torch.equal(run(), first)
    model.eval()
    assert torch.equal(run(), still)


def test_gradients_reach_the_student_through_what_is_captured() -> None:
    model = reader("bert").train()
    captured = capture_attention(model, [2])
    model(input_ids=IDS, attention_mask=MASK)
    (heads,) = captured.take()
    (heads.query * heads.key).sum().backward()
    layers = model.bert.encoder.layer
    assert layers[0].output.dense.weight.grad.any()
    assert layers[1].attention.self.key.weight.grad.any()
    assert layers[1].attention.self.value.weight.grad is None
    assert layers[2].output.dense.weight.grad is None


def test_a_student_and_its_teacher_do_not_meet() -> None:
    student, teacher = reader("bert"), reader("roberta")
    theirs, own = capture_attention(teacher, [2]), capture_attention(student, [1, 2])
    with torch.no_grad():
        teacher(input_ids=IDS, attention_mask=MASK)
    student(input_ids=IDS, attention_mask=MASK)
    assert [heads.query.requires_grad for heads in own.take()] == [True, True]
    assert [heads.query.requires_grad for heads in theirs.take()] == [False]


def test_take_forgets_and_wants_a_forward_pass() -> None:
    model = reader("bert")
    captured = capture_attention(model, [1, 3])
    with pytest.raises(RuntimeError, match=r"layers \[1, 3\] have not been captured"):
        captured.take()
    model(input_ids=IDS, attention_mask=MASK)
    model(input_ids=IDS[:1], attention_mask=MASK[:1])  # as after an evaluation: the last counts
    heads = captured.take()
    assert [pair.query.shape[0] for pair in heads] == [1, 1]
    with pytest.raises(RuntimeError, match="have not been captured"):
        captured.take()
    gone = weakref.ref(heads[0].query)
    del heads
    gc.collect()
    assert gone() is None


def test_it_leaves_no_trace_in_a_checkpoint(tmp_path) -> None:
    model = reader("bert")
    names = list(model.state_dict())
    captured = capture_attention(model, [1])
    model.train().eval()
    model(input_ids=IDS, attention_mask=MASK)
    assert list(model.state_dict()) == names
    model.save_pretrained(tmp_path)
    assert "twentyfold" not in (tmp_path / "config.json").read_text()
    loaded = AutoModelForQuestionAnswering.from_pretrained(tmp_path)
    assert loaded.config._attn_implementation == "sdpa"
    assert len(captured.take()) == 1


def test_fast_attention_ends_a_capture() -> None:
    model = reader("distilbert")
    first = capture_attention(model, [1, 2])
    second = capture_attention(model, [3])
    model(input_ids=IDS, attention_mask=MASK)
    assert len(second.take()) == 1
    with pytest.raises(RuntimeError):
        first.take()
    fast_attention(model)
    assert not [module for module in model.modules() if hasattr(module, KEEP)]
    model(input_ids=IDS, attention_mask=MASK)
    with pytest.raises(RuntimeError):
        second.take()


@torch.no_grad()
def test_autocast_captures_16_bits_and_stays_finite() -> None:
    model = reader("bert")
    eager = twin(model)(input_ids=IDS, attention_mask=MASK).start_logits
    captured = capture_attention(model, [1])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(input_ids=IDS, attention_mask=MASK).start_logits
    assert captured.take()[0].query.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), eager, rtol=0.1, atol=0.2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@families
@torch.no_grad()
def test_a_gpu_gives_the_same(family: str) -> None:
    model = reader(family)
    eager = twin(model)(input_ids=IDS, attention_mask=MASK, output_attentions=True)
    model.to("cuda")
    captured = capture_attention(model, [2])
    output = model(input_ids=IDS.cuda(), attention_mask=MASK.cuda()).start_logits.cpu()
    torch.testing.assert_close(
        output[MASK.bool()], eager.start_logits[MASK.bool()], rtol=0, atol=1e-3
    )
    query, key = (tensor.cpu() for tensor in captured.take()[0])
    scores = (query @ key.mT / 16**0.5).masked_fill(PADDING, -torch.inf)
    torch.testing.assert_close(scores.softmax(-1), eager.attentions[1], rtol=0, atol=1e-3)


@pytest.mark.parametrize("layers", [[0], [4], [1, -1]])
def test_layers_that_are_not_there(layers: list[int]) -> None:
    with pytest.raises(ValueError, match="the model has 3"):
        capture_attention(reader("bert"), layers)


def test_models_of_another_make() -> None:
    sizes = {**SIZES, "embedding_size": 16}
    with pytest.raises(ValueError, match="Albert"):
        capture_attention(AlbertForQuestionAnswering(AlbertConfig(**sizes)), [1])
    assert not fast_attention(DebertaV2ForQuestionAnswering(DebertaV2Config(**SIZES)))
