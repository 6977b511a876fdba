"""What ships in augment/embedded: its size, its quality, and that it needs no network."""

import json
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

from augment.base.models import EMBEDDED
from augment.build import BuildConfig, build
from augment.fitting.masked_batches import group_by_length, measure, tokenize_windows
from augment.shards import open_shards
from augment.squad import read_squad
from augment.variants.glove import load_vectors
from tests.word_pairs import share_in_order

MODEL_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
MEGABYTE = 10**6


def contexts(path: Path) -> list[str]:
    return list(dict.fromkeys(paragraph.context for paragraph in read_squad(path).paragraphs))


def load(folder: Path):
    return AutoModelForMaskedLM.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(EMBEDDED)


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_):
        raise AssertionError("the network was asked for")

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)


def test_sizes():
    assert sum((EMBEDDED / name).stat().st_size for name in MODEL_FILES) <= 12 * MEGABYTE
    assert (EMBEDDED / "glove.txt.gz").stat().st_size <= 3 * MEGABYTE


def test_the_card_names_every_file():
    card = (EMBEDDED / "README.md").read_text(encoding="utf-8")
    for path in EMBEDDED.iterdir():
        assert path.name in card


def test_the_auto_classes_load_it_without_code_of_ours(tokenizer):
    config = json.loads((EMBEDDED / "config.json").read_text())
    assert "auto_map" not in config
    assert config["dtype"] == "float16"
    assert len(tokenizer) == config["vocab_size"] == 30522
    batch = tokenizer(["The old lighthouse was [MASK] in 1848."], return_tensors="pt")
    with torch.inference_mode():
        logits = load(EMBEDDED)(**batch).logits
    place = batch["input_ids"][0].tolist().index(tokenizer.mask_token_id)
    best = tokenizer.convert_ids_to_tokens(logits[0, place].topk(15).indices)
    assert "built" in best


def test_it_fills_masks_in_the_sample(tokenizer):
    """Text it was not made from; half of the larger teacher's accuracy on SQuAD is 0.177."""
    texts = contexts(EMBEDDED / "sample-dev-v2.0.json")
    batches = group_by_length(tokenize_windows(tokenizer, texts, 512), 2048)
    assert measure(load(EMBEDDED), tokenizer, batches, 0.15)["masked_accuracy"] > 0.177


@pytest.mark.slow
def test_it_agrees_with_its_teacher_on_held_out_contexts(shared, tokenizer):
    texts = contexts(shared / "data" / "squad" / "dev-v2.0.json")[::10]
    batches = group_by_length(tokenize_windows(tokenizer, texts, 512), 2048)
    teacher = load(shared / "models" / "minilm-mlm")
    scores = measure(load(EMBEDDED), tokenizer, batches, 0.15, teacher)
    assert scores["masked_accuracy"] >= scores["teacher_masked_accuracy"] / 2
    assert scores["candidates_in_common"] >= 5


def test_related_words_are_nearer(tmp_path):
    vectors = load_vectors(EMBEDDED / "glove.txt.gz", tmp_path)
    assert share_in_order(vectors.words, np.asarray(vectors.matrix)) >= 0.9


def test_the_sample_is_built_without_a_network(no_network, tmp_path, monkeypatch):
    monkeypatch.setenv("TWENTYFOLD_CACHE", str(tmp_path / "cache"))
    sample = EMBEDDED / "sample-train-v2.0.json"
    config = BuildConfig(
        train=str(sample), out=tmp_path / "set", mlm="embedded", glove="embedded", num_workers=1
    )
    build(config)
    rows = open_shards(config.out)
    assert len(rows) == 21 * read_squad(sample).counts["questions"]
    manifest = json.loads((config.out / "manifest.json").read_text())
    assert manifest["counts"]["replaced_by_masked_lm"] > manifest["counts"]["replaced_by_glove"] > 0
