"""Answers equal those of the peers' rules, also where texts are odd; odd readers are refused."""

import json

import numpy as np
import pytest
import torch
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForQuestionAnswering,
    RobertaConfig,
    RobertaForQuestionAnswering,
)

from eval.reading.protocol import Protocol
from eval.reading.reader import Reader
from eval.scoring.gold import read_gold
from tests import peer_rules
from tests.tiny_readers import SIZES, bert_tokenizer, roberta_tokenizer, save_bert, save_roberta

LONG = " ".join(["a b"] * 37) + " ?"  # 75 words
ODD = [
    (" who sat ?", "The cat sat on the mat in Paris ."),
    ("\t\n who sat ?", "A dog sat in the river . " * 12),
    (LONG, "The cat sat on the mat . " * 6),
    ("who sat ?", "A cat\u200b , a dog\u200b sat on the mat\u200b"),
    ("who sat ?", "the cat\u0308 sat\u0308 in paris\u0308"),
    ("who ?", "  the   cat  sat \n\n on the mat  "),
]


def bert(tokenizer):
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(tokenizer), max_position_embeddings=512, **SIZES)
    return BertForQuestionAnswering(config).eval()


def roberta(tokenizer):
    torch.manual_seed(0)
    sizes = {**SIZES, "max_position_embeddings": 514, "pad_token_id": 1}
    return RobertaForQuestionAnswering(RobertaConfig(vocab_size=len(tokenizer), **sizes)).eval()


def compare(model, tokenizer, name, rows, length, stride):
    protocol = Protocol(name=name, max_seq_length=length, doc_stride=stride)
    answers = Reader(model, tokenizer, protocol).read(*zip(*rows, strict=True))
    for (question, context), answer in zip(rows, answers, strict=True):
        if name == "run_qa":
            sizes = {"length": length, "stride": stride}
            wanted = peer_rules.run_qa(model, tokenizer, question, context, **sizes)
        else:
            sizes = {"length": length, "step": stride}
            wanted = peer_rules.farm(model, tokenizer, question, context, **sizes)
        assert answer.text == wanted[0], (question, context)
        if wanted[1] is not None:
            np.testing.assert_allclose(answer.null_odds, wanted[1], atol=2e-4)
    return sum(bool(answer.text) for answer in answers)


@pytest.mark.parametrize("name", ["run_qa", "farm"])
@pytest.mark.parametrize(
    ("make", "tokenizer"), [(bert, bert_tokenizer()), (roberta, roberta_tokenizer())]
)
def test_odd_texts_are_read_as_the_peers_read_them(name, make, tokenizer):
    model = make(tokenizer)
    with torch.no_grad():
        model.qa_outputs.weight[:, :] *= 3
        model.qa_outputs.bias[:] = 0
    assert compare(model, tokenizer, name, ODD, 384, 64) > 0
    assert compare(model, tokenizer, name, ODD[:2], 100, 16) >= 0  # many windows


@pytest.mark.slow
@pytest.mark.parametrize("name", ["run_qa", "farm"])
@pytest.mark.parametrize("kind", ["bert", "byte-level"])
def test_dev_questions_are_answered_as_by_the_peers(name, kind, shared):
    gold = read_gold(shared / "data/squad/dev-v2.0.json")[0]
    blank = [q for q in gold if q.text[:1].isspace()]
    rows = [(q.text, q.context) for q in [*blank[::8], *gold[:: len(gold) // 260]][:300]]
    if kind == "bert":
        tokenizer = AutoTokenizer.from_pretrained(shared / "models/minilm-qa")
        model = bert(tokenizer)
    else:
        tokenizer = roberta_tokenizer()
        model = roberta(tokenizer)
    assert compare(model, tokenizer, name, rows, 384, 128) > 30


def test_an_answer_ends_where_the_next_token_starts_in_farm_alone():
    from eval.reading.windows import WindowRule, cut_windows

    context = "the cat\u200b , the dog\u200b  "
    found = {}
    for ends in ("own", "next"):
        rule = WindowRule(max_seq_length=40, doc_stride=8, answers_end=ends)
        offsets = cut_windows(bert_tokenizer(), ["who ?"], [context], rule).windows[0].offsets
        found[ends] = [context[start:end] for start, end in offsets]
    assert found["own"] == ["the", "cat", ",", "the", "dog"]
    assert found["next"] == ["the", "cat\u200b", ",", "the", "dog\u200b"]


def test_a_tokenizer_whose_places_begin_inside_words_is_named(shared):
    protocol = Protocol(max_seq_length=64, doc_stride=16)
    reader = Reader.load(shared / "cases/robbert_reader_model", protocol=protocol)
    with pytest.raises(ValueError, match="offsets lose"):
        reader.answer("Who ?", "The tower is in Holland.")


def edited(folder, file, **changes):
    path = folder / file
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **changes}))


def test_positions_are_the_models_own(tmp_path):
    save_roberta(tmp_path)
    edited(tmp_path, "tokenizer_config.json", model_max_length=10**30)
    with pytest.raises(ValueError, match="the model has 64 positions"):
        Reader.load(tmp_path, protocol=Protocol(max_seq_length=65, doc_stride=8))


def test_a_tokenizer_larger_than_the_embedding_is_named(tmp_path):
    save_bert(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.add_tokens(["lighthouse"])
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="a tokenizer of 31 tokens for a model of 30"):
        Reader.load(tmp_path, protocol=Protocol(max_seq_length=48, doc_stride=8))


@pytest.mark.parametrize(
    ("name", "message"),
    [("../nowhere/at/all", "no such model folder"), ("/nowhere", "no such model folder")],
)
def test_a_folder_that_is_not_there_is_no_hub_id(name, message):
    with pytest.raises(FileNotFoundError, match=message):
        Reader.load(name)


def test_an_empty_folder_is_no_model(tmp_path):
    with pytest.raises(OSError, match=r"config\.json"):
        Reader.load(tmp_path)


def test_pairs_come_as_tuples_dicts_or_from_a_generator(tmp_path):
    reader = Reader.load(save_bert(tmp_path), protocol=Protocol(max_seq_length=48, doc_stride=8))
    pairs = [("who sat ?", "The cat sat ."), ("where ?", "on the mat in Paris")]
    wanted = reader.answer_many(pairs)
    assert reader.answer_many(pair for pair in pairs) == wanted
    assert reader.answer_many({"question": q, "context": c} for q, c in pairs) == wanted


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (None, "question 0 is None, not a text"),
        (["who"], r"question 0 is \['who'\], not a text"),
        ("who \ud800", "question 0: a lone surrogate at character 4"),
    ],
)
def test_what_is_no_question_is_named(question, message, tmp_path):
    reader = Reader.load(save_bert(tmp_path), protocol=Protocol(max_seq_length=48, doc_stride=8))
    with pytest.raises(ValueError, match=message):
        reader.answer(question, "The cat sat .")
    with pytest.raises(ValueError, match="pair 0 is 'who'"):
        reader.answer_many(["who"])
