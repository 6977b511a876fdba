"""eval.predict: a folder of predictions that is whole, repeatable and says how it was made."""

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from augment.base.command import UsageError
from eval.predict import Predict, Reader, predict
from eval.squad_v1 import SquadV1
from eval.squad_v1 import score_files as score_v1
from eval.squad_v2 import SquadV2, score_files
from tests.tiny_readers import save_bert, save_distilbert, save_roberta, write_dev

ROOT = Path(__file__).parents[1]
FILES = {"predictions.json", "na_probs.json", "null_odds.json", "nbest_predictions.json"}
SMALL = {"max_seq_length": 40, "doc_stride": 8, "max_query_length": 12, "device": "cpu"}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_bert(tmp_path_factory.mktemp("reader"))


@pytest.fixture
def config(model, tmp_path):
    dev = write_dev(tmp_path / "dev.json")
    return Predict(model=str(model), dev=str(dev), out=tmp_path / "out", **SMALL)


def read(config, name):
    return json.loads((config.out / name).read_text())


def test_files_agree_with_each_other(config):
    predictions = predict(config)
    assert {path.name for path in config.out.iterdir()} == FILES | {"predict.json"}
    assert read(config, "predictions.json") == predictions
    assert list(predictions) == ["q0a", "q0b", "q1a", "q1b", "q2a", "q2b"]
    odds, probs = read(config, "null_odds.json"), read(config, "na_probs.json")
    for qid, spans in read(config, "nbest_predictions.json").items():
        assert probs[qid] == pytest.approx(1 / (1 + np.exp(-odds[qid])), rel=1e-12)
        assert sum(span["probability"] for span in spans) == pytest.approx(1)
        assert [s["score"] for s in spans] == sorted((s["score"] for s in spans), reverse=True)
        best = next(span for span in spans if span["text"])
        assert predictions[qid] == ("" if odds[qid] > 0 else best["text"])
        assert sum(not span["text"] for span in spans) == 1  # the null


def test_record_says_how_and_the_scorers_read_it(config, capsys):
    predict(config)
    record = read(config, "predict.json")
    assert (record["protocol"], record["max_answer_length"]) == ("run_qa", 30)
    assert record["counts"]["questions"] == 6
    assert record["counts"]["windows"] > 6
    assert record["versions"]["torch"]
    assert str(ROOT.parent) not in json.dumps(record)
    said = config.out / "predictions.json"
    scores = score_files(SquadV2(dev=config.dev, predictions=said))
    assert "|protocol:run_qa,len=40,stride=8,query=12,answer=30," in scores.signature
    said.write_text(said.read_text() + " ")
    assert "|protocol:unknown|" in score_files(SquadV2(dev=config.dev, predictions=said)).signature


@pytest.mark.parametrize("protocol", ["run_qa", "farm"])
def test_batches_change_no_answer(config, protocol, tmp_path):
    config = replace(config, protocol=protocol)
    first = predict(config)
    for size in (1, 3):
        again = replace(config, batch_size=size, out=tmp_path / f"batch{size}")
        assert predict(again) == first
        np.testing.assert_allclose(
            list(read(again, "null_odds.json").values()),
            list(read(config, "null_odds.json").values()),
            atol=1e-4,
        )


def test_a_set_without_impossible_questions_is_answered_without_the_null(config, tmp_path):
    dev = str(write_dev(tmp_path / "v1.json", impossible=False))
    config = replace(config, dev=dev, null_score_diff_threshold=-1e6)
    assert all(predict(config).values())
    assert all(
        s["text"] for spans in read(config, "nbest_predictions.json").values() for s in spans
    )
    score_v1(SquadV1(dev=dev, predictions=config.out / "predictions.json"))
    with_null = replace(config, dev=str(tmp_path / "dev.json"), out=tmp_path / "null")
    assert not any(predict(with_null).values())


def test_the_same_again_is_complete_and_another_configuration_stops(config, capsys):
    first = predict(config)
    before = (config.out / "predict.json").stat().st_mtime_ns
    assert predict(replace(config, batch_size=2)) == first
    assert "complete already" in capsys.readouterr().err
    assert (config.out / "predict.json").stat().st_mtime_ns == before
    other = replace(config, max_answer_length=1, protocol="farm")
    with pytest.raises(UsageError, match=r"max_answer_length 30.*--overwrite") as caught:
        predict(other)
    assert "protocol 'run_qa'" in str(caught.value)
    predict(replace(other, overwrite=True))
    assert read(config, "predict.json")["protocol"] == "farm"


def test_a_damaged_file_is_made_again(config):
    first = predict(config)
    (config.out / "predictions.json").write_text("{}")
    assert predict(config) == first
    assert read(config, "predictions.json") == first


def test_a_full_disk_leaves_no_half_files(config, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space") as caught:
        predict(config)
    assert caught.value.__notes__ == ["needs about 1 MB"]
    assert list(config.out.iterdir()) == []
    monkeypatch.undo()
    predict(config)
    assert FILES < {path.name for path in config.out.iterdir()}


@pytest.mark.parametrize("save", [save_roberta, save_distilbert])
def test_other_architectures(save, config, tmp_path):
    config = replace(config, model=str(save(tmp_path / "other")))
    assert len(predict(config)) == 6


def test_lower_precision_runs(config):
    reader = Reader.load(config.model, protocol=config.rules, dtype="bfloat16", device="cpu")
    assert reader.model.dtype == torch.bfloat16
    assert reader.answer("who sat ?", "the cat sat").score is not None


def test_an_encoder_without_span_head_is_no_reader(config, tmp_path):
    bare = save_bert(tmp_path / "bare", head=False)
    with pytest.raises(ValueError, match=r"lacks \d+ weights: qa_outputs\.bias.*fine-tuned on"):
        predict(replace(config, model=str(bare)))


def test_pickled_weights_need_to_be_allowed(config, tmp_path, capsys):
    folder = save_bert(tmp_path / "pickled")
    model = Reader.load(folder, device="cpu", protocol=config.rules).model
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(OSError, match="--allow-bin"):
        predict(replace(config, model=str(folder)))
    predictions = predict(replace(config, model=str(folder), allow_bin=True))
    assert "pytorch_model.bin" in capsys.readouterr().err
    assert predictions == predict(replace(config, out=tmp_path / "safe"))


def test_nan_weights_are_an_error(config, tmp_path):
    folder = save_bert(tmp_path / "nan")
    model = Reader.load(folder, device="cpu", protocol=config.rules).model
    torch.nn.init.constant_(model.qa_outputs.weight, float("nan"))
    model.save_pretrained(folder)
    with pytest.raises(ValueError, match="NaN or infinite logits"):
        predict(replace(config, model=str(folder)))
    assert not config.out.exists()


def test_windows_longer_than_the_model(config):
    with pytest.raises(UsageError, match="max_seq_length 65: the model has 64 positions"):
        predict(replace(config, max_seq_length=65))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data["data"][0]["paragraphs"][0].pop("context"), "question q0a: no context"),
        (lambda data: data["data"][0]["paragraphs"][1]["qas"][0].pop("question"), "q1a: no quest"),
        (lambda data: data["data"].clear(), "no questions"),
        (
            lambda data: data["data"][0]["paragraphs"][1].update(context="ab\ud800"),
            r"paragraphs\[1\]\.context: a lone surrogate at character 2 .*; mend the escape",
        ),
    ],
)
def test_faulty_data_sets(config, change, message):
    data = json.loads(Path(config.dev).read_text())
    change(data)
    Path(config.dev).write_text(json.dumps(data))
    with pytest.raises(ValueError, match=message):
        predict(config)


def test_questions_without_labels_are_predicted_too(config):
    data = json.loads(Path(config.dev).read_text())
    for paragraph in data["data"][0]["paragraphs"]:
        for qa in paragraph["qas"]:
            del qa["answers"], qa["is_impossible"]
    Path(config.dev).write_text(json.dumps(data))
    assert len(predict(config)) == 6


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"files": 1}'])
def test_a_damaged_record_is_named(config, text):
    config.out.mkdir()
    (config.out / "predict.json").write_text(text)
    with pytest.raises(ValueError, match=r"out/predict\.json: damaged .*; delete it, or pass --ov"):
        predict(config)
    assert len(predict(replace(config, overwrite=True))) == 6


@pytest.mark.parametrize("below", ["", "deeper"])
def test_out_is_tried_before_the_model_is_loaded(config, below):
    config.out.write_text("a file")
    with pytest.raises(OSError, match=r"out.*: cannot write into this folder .*; choose another"):
        predict(replace(config, out=config.out / below, model="no/such/model/here"))


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_damaged_reader_leaves_no_folder(config, model, tmp_path, file):
    damaged = shutil.copytree(model, tmp_path / "damaged")
    (damaged / file).write_bytes((damaged / file).read_bytes()[:40])
    with pytest.raises((ValueError, OSError), match="damaged"):
        predict(replace(config, model=str(damaged), out=tmp_path / "new" / "out"))
    assert not (tmp_path / "new").exists()


def test_success_is_said_on_stdout(config, capsys):
    predict(config)
    assert capsys.readouterr().out == f"{config.out}: 6 questions predicted\n"


def test_help_starts_without_torch():
    code = (
        "import sys\n"
        "from eval.predict import main\n"
        "sys.argv = ['predict', '--help']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, timeout=120)
    assert done.returncode == 0


@pytest.mark.slow
def test_two_processes_give_what_one_gives(config, tmp_path):
    """`torchrun` with two gloo processes on the CPU."""
    one = predict(replace(config, batch_size=2))
    out = tmp_path / "two"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = [f"--{key.replace('_', '-')}={value}" for key, value in SMALL.items()]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"),
            *(f"--master-port={port}", "-m", "eval.predict", config.model, config.dev, str(out)),
            *(*flags, "--batch-size=2"),
        ],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((out / "predictions.json").read_text()) == one
    written = (out / "null_odds.json").read_text()
    assert written == (config.out / "null_odds.json").read_text()
