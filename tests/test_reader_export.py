"""Exported readers: the graph gives the reader's logits, commands take the folder, int8 is near."""

import copy
import json
import shutil

import numpy as np
import pytest
import torch

from distill.export import ExportConfig, export
from distill.prune import compact
from eval.bench import Bench, bench
from eval.predict import Predict, predict
from eval.reading.encoder import parts_of
from eval.reading.exported import EXPORT, GRAPH
from eval.reading.protocol import Protocol
from eval.reading.reader import Reader, load_checkpoint
from tests.tiny_readers import CONTEXTS, save_bert, save_distilbert, save_roberta, write_dev

SMALL = Protocol(max_seq_length=48, doc_stride=8, max_query_length=8)
QUESTIONS = ["who sat ?", "what river ?", "where in paris ?"]


def exported(model, out, **settings):
    export(ExportConfig(model=str(model), out=out, repeats=1, **settings))
    return out


@pytest.mark.parametrize("save", [save_bert, save_roberta, save_distilbert])
def test_answers_are_the_checkpoints(save, tmp_path):
    out = exported(save(tmp_path / "reader"), tmp_path / "out")
    wanted = Reader.load(tmp_path / "reader", protocol=SMALL, batch_size=3)
    found = Reader.load(out, protocol=SMALL, batch_size=3)  # rows of unlike length: padding
    for one, other in zip(
        wanted.read(QUESTIONS, CONTEXTS), found.read(QUESTIONS, CONTEXTS), strict=True
    ):
        assert one.text == other.text
        np.testing.assert_allclose(
            [span.score for span in one.spans], [span.score for span in other.spans], atol=1e-4
        )
    nodes = graph_nodes(out)
    assert (nodes.count("MultiHeadAttention"), nodes.count("Softmax")) == (2, 0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """One float32 export for the tests that only look at it: PyTorch's exporter takes seconds."""
    folder = tmp_path_factory.mktemp("whole")
    return exported(save_bert(folder / "reader"), folder / "out")


@pytest.fixture
def out(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "out")


def graph_nodes(out):
    import onnx

    return [node.op_type for node in onnx.load(out / GRAPH).graph.node]


def test_int8_is_near_and_keeps_the_span_head(tmp_path):
    save_bert(tmp_path / "reader")
    out = exported(tmp_path / "reader", tmp_path / "out", quantize="int8")
    nodes = graph_nodes(out)
    assert nodes.count("MatMulInteger") == 12  # six linear layers of two, each
    assert nodes.count("MatMul") == 1
    whole, small = (Reader.load(place, protocol=SMALL) for place in (tmp_path / "reader", out))
    scores = [
        np.array([answer.null_odds for answer in reader.read(QUESTIONS, CONTEXTS)])
        for reader in (whole, small)
    ]
    assert 0 < np.abs(scores[0] - scores[1]).max() < 0.1 * np.abs(scores[0]).max()


@pytest.mark.parametrize("quantize", [None, "int8"])
def test_pruned_readers_are_exported_as_they_are(quantize, tmp_path):
    tokenizer, model = load_checkpoint(
        save_bert(tmp_path / "dense"), dtype="float32", allow_bin=False
    )
    first, second = parts_of(model)
    with torch.no_grad():
        first.value.weight[:16] = 0  # a head of two
        first.ffn_in.weight[5:] = 0
        second.value.weight[:] = 0  # both heads of the second layer
        second.ffn_out.weight[:] = 0  # and every neuron
    compact(model)
    assert [len(layer.heads) for layer in model.pruned.layers] == [1, 0]
    model.save_pretrained(tmp_path / "reader")
    tokenizer.save_pretrained(tmp_path / "reader")
    out = exported(tmp_path / "reader", tmp_path / "out", quantize=quantize)
    found = Reader.load(out, protocol=SMALL).read(QUESTIONS, CONTEXTS)
    wanted = Reader.load(tmp_path / "reader", protocol=SMALL).read(QUESTIONS, CONTEXTS)
    atol = 1e-4 if quantize is None else 0.3
    np.testing.assert_allclose(
        [a.null_odds for a in found], [a.null_odds for a in wanted], atol=atol
    )


def test_commands_take_the_folder_and_records_say_int8(tmp_path):
    save_bert(tmp_path / "reader")
    dev = write_dev(tmp_path / "dev.json")
    settings = {"quantize": "int8", "dev": str(dev), "sample": 4}
    out = exported(tmp_path / "reader", tmp_path / "out", **settings)
    record = json.loads((out / EXPORT).read_bytes())
    assert record["dtype"] == "int8"
    assert record["scores"]["questions"] == 4
    assert {row["batch"] for row in record["speed"]} == {1, 8}
    card = (out / "README.md").read_text("utf-8")
    assert "| checkpoint, float32 |" in card
    assert "times faster" in card

    made = {"dev": str(dev), "max_seq_length": 48, "doc_stride": 8, "max_query_length": 8}
    config = Predict(model=str(out), out=tmp_path / "predicted", **made)
    predictions = predict(config)
    assert len(predictions) == 6
    written = json.loads((tmp_path / "predicted" / "predict.json").read_bytes())
    assert written["dtype"] == "int8"
    assert written["protocol_signature"].endswith("dtype=int8")
    assert predict(config) == predictions  # complete already: the folder's hash is the same


def test_bench_takes_the_folder(tmp_path):
    save_bert(tmp_path / "reader", positions=512)
    out = exported(tmp_path / "reader", tmp_path / "out", quantize="int8")
    dev = write_dev(tmp_path / "dev.json")
    rows = ("latency", "answers", "predict")
    given = {"teacher": str(tmp_path / "reader"), "student": str(out), "model": str(out)}
    found = bench(Bench(rows=rows, dev=dev, repeats=1, threads=1, **given))
    assert len(found) == 8
    assert "int8" in found[-1].what
    with pytest.raises(ValueError, match="an exported reader has one"):
        bench(Bench(rows=("memory",), dev=dev, threads=1, **given))


def test_the_graph_is_part_of_what_predictions_are_known_by(out):
    from augment.base.models import model_sha256

    before = model_sha256(out)
    (out / GRAPH).write_bytes((out / GRAPH).read_bytes() + b"\0")
    assert model_sha256(out) != before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda out: Reader.load(out, dtype="bfloat16"), "computes in float32, as it was exported"),
        (lambda out: Reader.load(out, device="cuda"), "exported for the CPU"),
        (lambda out: export(ExportConfig(model=str(out), out=out / "x")), "is exported already"),
        (lambda out: export(ExportConfig(model="x", out=out)), "exists; choose another OUT"),
    ],
)
def test_what_an_exported_reader_cannot_do(change, message, out):
    with pytest.raises(ValueError, match=message):
        change(out)


def test_damaged_files_are_named(out):
    (out / GRAPH).write_bytes(b"no graph")
    with pytest.raises(ValueError, match=r"model\.onnx: cannot be run .* export it again"):
        Reader.load(out, protocol=SMALL)
    (out / EXPORT).write_text('{"dtype": "int4"}')
    with pytest.raises(ValueError, match=r"export\.json: damaged .*int4"):
        Reader.load(out, protocol=SMALL)


def test_a_graph_that_gives_other_logits_is_not_written(tmp_path, monkeypatch):
    from distill.exporting import graph

    honest = graph._mask
    monkeypatch.setattr(graph, "_mask", lambda *args, **kwargs: honest(*args, **kwargs) * 0 + 1)
    save_bert(tmp_path / "reader")
    with pytest.raises(ValueError, match="gives other logits than the model"):
        exported(tmp_path / "reader", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_model_is_left_as_it_was(tmp_path):
    from distill.exporting.graph import write_graph

    tokenizer, model = load_checkpoint(
        save_bert(tmp_path / "reader"), dtype="float32", allow_bin=False
    )
    before = copy.deepcopy(model.state_dict())
    write_graph(model, tokenizer, tmp_path / "x.onnx")
    assert model.config._attn_implementation == "sdpa"
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
