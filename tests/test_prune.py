"""Masks, schedule and compaction: exact on models of two layers, with biases that are not 0."""

import copy
import json

import numpy as np
import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForQuestionAnswering,
    BertConfig,
    BertForQuestionAnswering,
    DistilBertConfig,
    DistilBertForQuestionAnswering,
    RobertaConfig,
    RobertaForQuestionAnswering,
)

from augment.base.command import UsageError
from augment.base.models import model_sha256
from distill.models.student import make_student
from distill.prune import Pruner, compact, load_pruned, save_pruned
from distill.prune.masks import straight_through_mask
from distill.prune.report import (
    BERT_BASE_LINEAR,
    BERT_BASE_QA,
    bert_base_density,
)
from distill.prune.schedule import regularization_at, threshold_at
from distill.prune_bench import HEADS_KEPT, PruneBenchConfig, bench, published_shape
from distill.prune_compact import CompactConfig, compact_reader
from distill.recipes import PruningStage
from eval.reading.encoder import KINDS, dense_shape, parts_of
from eval.reading.pruned import PrunedLayer, describe, resize
from eval.reading.reader import load_checkpoint
from tests.tiny_readers import bert_tokenizer

WIDTH, HEADS, NEURONS = 32, 4, 64


def pruning(**fields):
    given = {"attention_block": (8, 8), "dense_block": (8, 8), "regularization": 10.0, **fields}
    return PruningStage(
        kind="prediction",
        rows="original",
        teacher="t",
        epochs=1,
        batch_size=4,
        learning_rate=1e-3,
        **given,
    )


def reader(kind="bert", dropout=0.0):
    """Make a reader whose biases and weights are far from 0."""
    sizes = {"vocab_size": 50, "max_position_embeddings": 40}
    common = {
        "hidden_size": WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": HEADS,
        "intermediate_size": NEURONS,
        "hidden_dropout_prob": dropout,
        "attention_probs_dropout_prob": dropout,
    }
    torch.manual_seed(0)
    if kind == "bert":
        model = BertForQuestionAnswering(BertConfig(**sizes, **common))
    elif kind == "roberta":
        model = RobertaForQuestionAnswering(RobertaConfig(**sizes, **common))
    else:
        model = DistilBertForQuestionAnswering(
            DistilBertConfig(
                **sizes,
                dim=WIDTH,
                n_layers=2,
                n_heads=HEADS,
                hidden_dim=NEURONS,
                dropout=dropout,
                attention_dropout=dropout,
            )
        )
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4)
    return model.eval()


def batch():
    ids = torch.randint(3, 50, (3, 11), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, 7:] = 0
    mask[2, 4:] = 0
    return {"input_ids": ids.masked_fill(mask == 0, 1), "attention_mask": mask}


@torch.no_grad()
def logits(model):
    inputs = batch()
    out = model(**inputs)
    both = torch.stack([out.start_logits, out.end_logits])
    return both[:, inputs["attention_mask"] == 1]


def kill(pruner, name, rows=slice(None), columns=slice(None)):
    """Let the score of some blocks say 'gone'."""
    with torch.no_grad():
        scores = pruner.scores[name]
        if scores.dim() == 1:
            scores[rows] = -9.0
        else:
            scores[rows, columns] = -9.0


def masked(kind="bert", **fields):
    """Make a reader with random blocks gone, head 1 without values, head 2 unread, and a layer
    whose attention and feed-forward part are both dead."""
    model = reader(kind)
    pruner = Pruner(model, pruning(**fields))
    draw = torch.Generator().manual_seed(3)
    for scores in pruner.scores.values():
        gone = torch.rand(scores.shape, generator=draw) < 0.3
        scores.data[gone] = -9.0
    pruner.set_step(1, 1)
    kill(pruner, "layer_1_value", rows=slice(1, 2))
    kill(pruner, "layer_1_attention_output", columns=slice(2, 3))
    kill(pruner, "layer_2_value")
    dense = "layer_2_neurons" if "layer_2_neurons" in pruner.scores else "layer_2_ffn_in"
    kill(pruner, dense)
    return model, pruner


def test_gradient_of_a_score_is_the_movement_of_its_block():
    torch.manual_seed(0)
    model = reader().double()
    pruner = Pruner(model, pruning(attention_block=(8, 16)))
    pruner.set_step(1, 1)
    kill(pruner, "layer_1_query", rows=slice(0, 1))
    linear = parts_of(model)[0].query
    original = linear.parametrizations.weight.original
    x, target = torch.randn(5, WIDTH).double(), torch.randn(5, WIDTH).double()
    ((linear(x) - target) ** 2).sum().backward()
    weight = (original * (linear.weight != 0)).detach().requires_grad_()
    ((nn.functional.linear(x, weight, linear.bias) - target) ** 2).sum().backward()
    moved = (original.detach() * weight.grad).view(4, 8, 2, 16).sum((1, 3))
    assert torch.equal(pruner.scores["layer_1_query"].grad, moved)
    assert moved[0].abs().min() > 0  # a block that is gone still moves
    assert not original.grad[:8].any()
    assert torch.equal(original.grad[8:], weight.grad[8:])


def test_schedule():
    stage = pruning(prune_start=0.1, prune_hold=0.4)
    at = [threshold_at(step, 100, stage) for step in range(101)]
    assert at[:11] == [0.0] * 11
    assert 0 < at[11] < at[12]
    assert at[35] == pytest.approx(0.1 * (1 - 0.5**3))
    assert at[60] == pytest.approx(0.1)
    assert at[61:] == [0.1] * 40
    assert np.all(np.diff(at) >= 0)
    weights = [regularization_at(step, 100, stage) for step in range(101)]
    assert weights[0] == 0
    assert weights[100] == 10.0
    assert weights[35] == pytest.approx(10 * (1 - 0.5**3))


def test_schedule_by_rank_falls_to_the_density():
    stage = pruning(method="topk", initial_threshold=1.0, final_threshold=0.15, regularization=0.0)
    at = [threshold_at(step, 100, stage) for step in range(101)]
    assert (at[0], at[100]) == (1.0, 0.15)
    assert np.all(np.diff(at) <= 0)
    assert regularization_at(50, 100, stage) == 0.0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prune_start": 0.5, "prune_hold": 0.5}, "no step to prune in"),
        ({"initial_threshold": 0.2}, "must not be above"),
        ({"method": "topk"}, "larger share"),
        ({"method": "topk", "initial_threshold": 1.0}, "no use"),
        (
            {
                "method": "topk",
                "initial_threshold": 1.0,
                "regularization": 0.0,
                "prune_start": 0.0,
            },
            "scores that have moved",
        ),
        ({"final_threshold": 0.0}, "above 0"),
        ({"min_density": 1.0}, "a share"),
        ({"attention_block": (0, 4)}, "count from 1"),
    ],
)
def test_settings_that_do_not_fit(fields, message):
    with pytest.raises(ValueError, match=message):
        pruning(**fields)


def test_blocks_that_do_not_divide():
    with pytest.raises(ValueError, match="do not divide"):
        Pruner(reader(), pruning(attention_block=(24, 8)))


@pytest.mark.parametrize("by_rank", [True, False])
def test_tied_scores_keep_exactly_the_floor(by_rank):
    scores = torch.full((20, 10), -5.0)
    mask = straight_through_mask(
        scores, threshold=0.0 if by_rank else 0.1, by_rank=by_rank, min_density=0.015
    )
    assert mask.sum() == 3
    hundred = torch.zeros(100) - 5
    mask = straight_through_mask(hundred, threshold=0.1, by_rank=False, min_density=0.07)
    assert mask.sum() == 7  # 0.07 * 100 is a little more than 7


def test_rank_keeps_the_highest():
    scores = torch.arange(10.0).view(2, 5).requires_grad_()
    mask = straight_through_mask(scores, threshold=0.3, by_rank=True)
    assert mask.detach().tolist() == [[0] * 5, [0, 0, 1, 1, 1]]
    mask.backward(torch.full((2, 5), 2.0))
    assert scores.grad.tolist() == [[2.0] * 5] * 2


def test_neurons_share_their_scores():
    model = reader()
    pruner = Pruner(model, pruning(dense_block=None))
    assert pruner.scores["layer_1_neurons"].shape == (NEURONS,)
    assert "layer_1_ffn_in" not in pruner.scores
    kill(pruner, "layer_1_neurons", rows=slice(5, 7))
    pruner.set_step(1, 1)
    parts = parts_of(model)[0]
    dead = ~parts.ffn_in.weight.any(1)
    assert dead.nonzero().flatten().tolist() == [5, 6]
    assert torch.equal(dead, ~parts.ffn_out.weight.any(0))
    names = [name for name, _ in nn.ModuleList([model, pruner]).named_parameters()]
    assert sum("layer_1_neurons" in name for name in names) == 1
    means = [s.sigmoid().mean() for n, s in pruner.scores.items() if n.endswith("neurons")]
    attention = [s.sigmoid().mean() for n, s in pruner.scores.items() if "neurons" not in n]
    expected = 10 * (torch.stack(means).mean() + torch.stack(attention).mean()) / 2
    assert torch.allclose(pruner(model)["regularization_loss"], expected)


def test_densities_count_weights():
    model, pruner = masked(dense_block=None)
    found = pruner.densities()
    for number, parts in enumerate(parts_of(model), 1):
        weights = [linear.weight for linear in parts.linears().values()]
        share = sum(w.count_nonzero() for w in weights) / sum(w.numel() for w in weights)
        assert found[f"density_layer_{number}"] == pytest.approx(float(share))
    assert found["density"] == pytest.approx(
        (found["density_layer_1"] + found["density_layer_2"]) / 2
    )


@pytest.mark.parametrize("attention", ["sdpa", "eager", "twentyfold"])
@pytest.mark.parametrize("dense_block", [(8, 8), None])
@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert"])
def test_a_compacted_model_answers_as_the_masked_one(kind, dense_block, attention):
    model, _ = masked(kind, dense_block=dense_block)
    if attention == "twentyfold":
        from distill.models.attention import fast_attention

        fast_attention(model)
    else:
        model.set_attn_implementation(attention)
    before = logits(model)
    count = sum(p.numel() for n, p in model.named_parameters())
    pruned = compact(model)
    assert torch.allclose(logits(model), before, atol=1e-5)
    assert 1 not in pruned.layers[0].heads
    assert 2 not in pruned.layers[0].heads
    assert pruned.layers[1].heads == ()
    assert pruned.layers[1].neurons == 0
    assert parts_of(model)[1].query.weight.shape == (0, WIDTH)
    assert (pruned.dense_parameters, pruned.parameters) == (
        count,
        sum(p.numel() for p in model.parameters()),
    )
    again = compact(model)
    assert again == pruned


def test_constants_are_what_folding_is_for(monkeypatch):
    model, _ = masked()
    before = logits(model)
    monkeypatch.setattr("distill.prune.compaction._fold", lambda linear, constant: None)
    compact(model)
    assert not torch.allclose(logits(model), before, atol=1e-3)


def test_blocks_of_the_second_matrices_are_turned():
    pruner = Pruner(reader(), pruning(attention_block=(8, 16), dense_block=(8, 16)))
    grids = {name: tuple(scores.shape) for name, scores in pruner.scores.items()}
    assert grids["layer_1_query"] == (4, 2)
    assert grids["layer_1_attention_output"] == (2, 4)
    assert grids["layer_1_ffn_in"] == (8, 2)
    assert grids["layer_1_ffn_out"] == (2, 8)


def test_regularisation_has_weights_by_kind():
    found = []
    for weights in ((1.0, 1.0), (3.0, 1.0), (1.0, 3.0)):
        fields = dict(
            zip(("attention_regularization", "dense_regularization"), weights, strict=True)
        )
        model = reader()
        pruner = Pruner(model, pruning(**fields))
        pruner.set_step(1, 1)
        for name, scores in pruner.scores.items():
            scores.data.fill_(1.0 if "ffn" in name else -1.0)
        found.append(pruner(model)["regularization_loss"].item())
    low, high = torch.tensor([-1.0, 1.0]).sigmoid().tolist()
    assert found == pytest.approx([5 * (low + high), 5 * (3 * low + high), 5 * (low + 3 * high)])


def test_a_head_without_queries_stays_unless_asked():
    def without_queries():
        model = reader()
        pruner = Pruner(model, pruning())
        pruner.set_step(1, 1)
        kill(pruner, "layer_1_query", rows=slice(3, 4))
        kill(pruner, "layer_2_key", rows=slice(0, 1))
        return model

    model = without_queries()
    before = logits(model)
    pruned = compact(model)
    assert torch.allclose(logits(model), before, atol=1e-5)
    assert [layer.uniform_heads for layer in pruned.layers] == [(3,), (0,)]
    assert pruned.removed_heads == 0
    model = without_queries()
    pruned = compact(model, drop_uniform_heads=True)
    assert not torch.allclose(logits(model), before, atol=1e-3)
    assert [layer.dropped_uniform_heads for layer in pruned.layers] == [(3,), (0,)]
    assert pruned.removed_heads == 2
    assert compact(model) == pruned  # the second time nothing is dropped, nor forgotten


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert"])
def test_saved_and_loaded(kind, tmp_path):
    model, _ = masked(kind)
    pruned = compact(model)
    save_pruned(model, tmp_path)
    loaded = load_pruned(tmp_path)
    assert torch.equal(logits(loaded), logits(model))
    assert loaded.pruned == pruned
    with pytest.raises(ValueError, match=r"distill\.prune\.load_pruned"):
        AutoModelForQuestionAnswering.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"distill\.prune\.load_pruned"):
        type(model).from_pretrained(tmp_path)
    loaded.save_pretrained(tmp_path / "again")  # the same by transformers' name
    assert load_pruned(tmp_path / "again").pruned == pruned
    half = load_pruned(tmp_path, dtype=torch.bfloat16)
    half.save_pretrained(tmp_path / "half")
    assert json.loads((tmp_path / "half/config.json").read_text())["dtype"] == "bfloat16"
    with pytest.raises(ValueError, match="no span head"):
        save_pruned(loaded.base_model, tmp_path / "encoder")


def test_a_dense_checkpoint_is_not_pruned(tmp_path):
    reader().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="not pruned"):
        load_pruned(tmp_path)


def test_files_that_do_not_fit(tmp_path):
    model, _ = masked()
    compact(model)
    save_pruned(model, tmp_path)
    found = json.loads((tmp_path / "pruning.json").read_text())
    found["layers"][0]["neurons"] -= 1
    (tmp_path / "pruning.json").write_text(json.dumps(found))
    with pytest.raises(ValueError, match="do not fit"):
        load_pruned(tmp_path)
    for broken in ({}, {"neurons": "5"}, {"neurons": -1}, {"heads": 3}, {"heads": [99]}):
        layers = [{**found["layers"][0], **broken}, found["layers"][1]]
        content = {**found, "layers": layers} if broken else {}
        (tmp_path / "pruning.json").write_text(json.dumps(content))
        with pytest.raises(ValueError, match="damaged"):
            load_pruned(tmp_path)
    (tmp_path / "pruning.json").write_text(json.dumps({**found, "num_neurons": 2 * NEURONS}))
    with pytest.raises(ValueError, match="not its configuration's"):
        load_pruned(tmp_path)
    (tmp_path / "pruning.json").unlink()
    with pytest.raises(OSError, match=r"no pruning\.json"):
        load_pruned(tmp_path)


def test_weights_that_were_cut_short(tmp_path):
    model, _ = masked()
    compact(model)
    save_pruned(model, tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"model\.safetensors: damaged"):
        load_pruned(tmp_path)


def test_layers_of_a_pruned_teacher(tmp_path):
    model, _ = masked()
    compact(model)
    student = make_student("teacher:1", model, seed=0)
    assert student.pruned.layers == model.pruned.layers[:1]
    student.save_pretrained(tmp_path)
    assert torch.equal(logits(load_pruned(tmp_path)), logits(student.eval()))


def test_pruning_what_was_pruned():
    """Layers without heads and neurons have no scores; density is of the dense model."""
    model, _ = masked()
    left = compact(model).linear_density
    pruner = Pruner(model, pruning(attention_block=(1, 1), dense_block=None))
    assert not any("layer_2" in name for name in pruner.scores)
    assert left <= pruner.densities()["density"] < 1
    assert pruner.densities()["density_layer_2"] == 0
    pruner.set_step(1, 1)
    before = logits(model)
    pruner(model)["regularization_loss"].backward()
    compact(model)
    assert torch.allclose(logits(model), before, atol=1e-5)


def publish(folder, *, binary=False):
    """Save a reader as nn_pruning did: heads gone by `pruned_heads`, the rest in full size."""
    model = reader()
    gone = {0: [1, 3], 1: [0, 1, 2, 3]}
    size = WIDTH // HEADS
    for layer, heads in gone.items():
        rows = torch.tensor([h not in heads for h in range(HEADS)]).repeat_interleave(size)
        parts = parts_of(model)[layer]
        for linear in parts[:3]:
            linear.weight.data[~rows] = 0
            linear.bias.data[~rows] = 0
        parts.attention_output.weight.data[:, ~rows] = 0
    parts_of(model)[0].ffn_in.weight.data[:10] = 0
    dense = copy.deepcopy(model)
    weights = model.state_dict()
    for layer, heads in gone.items():
        rows = torch.tensor([h not in heads for h in range(HEADS)]).repeat_interleave(size)
        prefix = f"bert.encoder.layer.{layer}.attention."
        for name in ("query", "key", "value"):
            for part in ("weight", "bias"):
                weights[f"{prefix}self.{name}.{part}"] = weights[f"{prefix}self.{name}.{part}"][
                    rows
                ]
        name = f"{prefix}output.dense.weight"
        weights[name] = weights[name][:, rows].contiguous()
    weights["bert.pooler.dense.bias"] = torch.zeros(WIDTH)
    weights["bert.embeddings.position_ids"] = torch.arange(40)[None]
    model.config.pruned_heads = gone
    model.config.save_pretrained(folder)
    if binary:
        torch.save(weights, folder / "pytorch_model.bin")
    else:
        from safetensors.torch import save_file

        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return dense


@pytest.mark.parametrize("binary", [False, True])
def test_a_published_checkpoint_with_pruned_heads(tmp_path, binary):
    dense = publish(tmp_path, binary=binary)
    if binary:
        with pytest.raises(OSError, match="--allow-bin"):
            load_pruned(tmp_path)
    model = load_pruned(tmp_path, allow_bin=binary)
    assert torch.allclose(logits(model), logits(dense), atol=1e-6)
    assert [layer.heads for layer in model.pruned.layers] == [(0, 2), ()]
    pruned = compact(model)
    assert [layer.neurons for layer in pruned.layers] == [NEURONS - 10, NEURONS]
    assert torch.allclose(logits(model), logits(dense), atol=1e-5)


def test_a_published_checkpoint_is_compacted_by_command(tmp_path, capsys):
    dense = publish(tmp_path / "published")
    bert_tokenizer().save_pretrained(tmp_path / "published")
    config = CompactConfig(model=str(tmp_path / "published"), out=tmp_path / "out")
    compact_reader(config)
    assert f"heads removed: 6 of {2 * HEADS}" in capsys.readouterr().out
    tokenizer, model = load_checkpoint(tmp_path / "out", dtype="float32", allow_bin=False)
    assert tokenizer.is_fast
    assert model.pruned.layers[0].neurons == NEURONS - 10
    assert torch.allclose(logits(model), logits(dense), atol=1e-5)
    with pytest.raises(UsageError, match="exists"):
        compact_reader(config)


def test_a_checkpoint_on_a_hub(tmp_path, monkeypatch):
    """Files come by name."""
    import huggingface_hub

    publish(tmp_path)
    asked = []

    def snapshot_download(name, allow_patterns):
        asked.append((name, "pytorch_model*.bin" in allow_patterns))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    model = load_pruned("someone/published")
    assert set(asked) == {("someone/published", False)}
    assert model.pruned.removed_heads == 6


def test_speed_is_compared_in_turns(tmp_path, capsys):
    for name in ("dense", "pruned"):
        bert_tokenizer().save_pretrained(tmp_path / name)
    reader().save_pretrained(tmp_path / "dense")
    model, _ = masked()
    compact(model)
    save_pruned(model, tmp_path / "pruned")
    out = tmp_path / "speed.json"
    bench(
        PruneBenchConfig(
            pruned=(str(tmp_path / "pruned"),),
            dense=str(tmp_path / "dense"),
            batch_sizes=(1, 2),
            tokens=16,
            repeats=3,
            out=out,
        )
    )
    shown = capsys.readouterr().out
    assert "| pruned, batch 2 |" in shown
    found = json.loads(out.read_text())
    assert found["sha256"] == model_sha256(tmp_path / "pruned")
    assert [len(batch["ratios"]) for batch in found["batches"].values()] == [3, 3]
    for wrong, message in (
        ({"pruned": ("x",)}, "--dense"),
        ({"repeats": 0}, "1 or more"),
        ({"out": out}, "names the reader"),
        ({"pruned": ("x",), "dense": "y", "out": tmp_path / "no/speed.json"}, "no folder"),
        ({"pruned": ("x", "z"), "dense": "y", "out": out}, "one reader"),
    ):
        with pytest.raises(UsageError, match=message):
            PruneBenchConfig(**wrong)


@pytest.mark.slow
def test_the_benchmark_prunes_as_the_published_model_was():
    dense, pruned = published_shape()
    left = pruned.pruned
    assert left.linear_density == pytest.approx(0.075, abs=0.002)
    assert left.removed_heads == 106
    assert left.dense_parameters == sum(p.numel() for p in dense.parameters())


def test_accounting_of_bert_base():
    """106 heads removed: what the published file holds. Source: its card, and its size."""
    with torch.device("meta"):
        model = BertForQuestionAnswering(BertConfig())
    assert sum(p.numel() for p in model.parameters()) == BERT_BASE_QA == 108_893_186
    shape = dense_shape(model.config)
    assert 12 * sum(shape.weights(kind) for kind in KINDS) == BERT_BASE_LINEAR == 84_934_656
    layers = tuple(PrunedLayer(heads=tuple(range(heads)), neurons=3072) for heads in HEADS_KEPT)
    resize(model, layers)
    assert sum(p.numel() for p in model.parameters()) == 88_032_386
    pruned = describe(model, layers)
    assert (pruned.removed_heads, pruned.dense_parameters) == (106, 108_893_186)
    assert bert_base_density(0.075) == pytest.approx(0.282, abs=5e-4)
    assert bert_base_density(0.202) == pytest.approx(0.381, abs=5e-4)


def test_zeros_do_not_count_as_parameters_left():
    model, _ = masked()
    pruned = compact(model)
    zeros = sum(
        int((linear.weight == 0).sum())
        for parts in parts_of(model)
        for linear in parts.linears().values()
    )
    assert zeros > 0
    assert pruned.nonzero_parameters == sum(p.numel() for p in model.parameters()) - zeros
