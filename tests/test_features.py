"""Rows to labelled windows on disk: labels, counts, what the cache is addressed by."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from transformers import AutoTokenizer

from augment.base.command import UsageError
from augment.base.set_records import Judge
from augment.build import BuildConfig, build
from augment.shards import read_rows
from distill.rows.features import find_source, load_features, tokenizer_sha256
from eval.reading.windows import WindowRule
from eval.scoring.judged_set import write_judged
from tests.small_sets import answer, question, squad
from tests.tiny_readers import bert_tokenizer, roberta_tokenizer

RULE = WindowRule(max_seq_length=32, doc_stride=8, max_query_length=8)
CONTEXT = "the cat sat on the mat in paris , france . " * 4


@pytest.fixture
def data(write_json):
    far = {"text": "france", "answer_start": CONTEXT.rindex("france")}
    questions = [
        question("near", answer(CONTEXT, "cat"), answer(CONTEXT, "mat")),
        question("far", far),
        question("none"),
        question("long", answer(CONTEXT, CONTEXT[4:-2])),
    ]
    return write_json(squad([(CONTEXT, questions), ("a dog . ", [question("dog")])]))


def load(path, cache, kind="original", rule=RULE, tokenizer=None):
    source = find_source(kind, str(path))
    return load_features(source, tokenizer or bert_tokenizer(), rule, cache)


def windows(features):
    return np.split(features.tokens, np.cumsum(features.lengths)[:-1])


def three_copies(data, out):
    models = {"mlm": "embedded", "glove": "none"}
    build(BuildConfig(train=str(data), out=out, copies_per_example=3, num_workers=1, **models))
    return out


@pytest.mark.parametrize("tokenizer", [bert_tokenizer, roberta_tokenizer])
def test_labels_are_the_first_gold_answer(data, tmp_path, tokenizer):
    tok = tokenizer()
    rule = WindowRule(max_seq_length=44, doc_stride=8, max_query_length=20)
    features = load(data, tmp_path, rule=rule, tokenizer=tok)
    found = {
        tok.decode(ids[start : end + 1]).strip()
        for ids, (start, end) in zip(windows(features), features.labels, strict=True)
        if start
    }
    assert found == {"cat", "france"}
    assert features.counts["answers_in_no_window"] == 1  # `long` is longer than any window
    assert features.counts["rows_without_answer"] == 2
    assert features.counts["rows"] == 5
    assert features.counts["windows"] == len(features) == len(features.lengths)


def test_windows_are_the_scorers_windows(data, tmp_path):
    features = load(data, tmp_path)
    assert features.lengths.max() <= RULE.max_seq_length
    assert features.counts["rows_in_many_windows"] == 4
    first = bert_tokenizer()("What about near?", CONTEXT, max_length=32, truncation="only_second")
    assert windows(features)[0].tolist() == first["input_ids"]
    types = np.arange(features.lengths[0]) >= features.context_starts[0]
    assert types.astype(int).tolist() == first["token_type_ids"]


def test_long_questions_are_cut_and_counted(data, tmp_path):
    rule = WindowRule(max_seq_length=32, doc_stride=8, max_query_length=2)
    assert load(data, tmp_path, rule=rule).counts["questions_truncated"] == 5


def test_the_second_time_nothing_is_tokenised(data, tmp_path, monkeypatch):
    first = load(data, tmp_path)
    monkeypatch.setattr("distill.rows.features._write", None)
    again = load(data, tmp_path)
    assert again.key == first.key
    assert np.array_equal(again.tokens, first.tokens)


def test_everything_that_shapes_windows_is_in_the_key(data, write_json, tmp_path):
    content = json.loads(data.read_text())
    content["data"][0]["paragraphs"][0]["qas"][0]["question"] += "?"
    other_tokenizer = bert_tokenizer()
    other_tokenizer.backend_tokenizer.add_tokens(["paris france"])
    keys = [
        load(data, tmp_path).key,
        load(write_json(content, "other.json"), tmp_path).key,
        load(data, tmp_path, tokenizer=other_tokenizer).key,
        load(data, tmp_path, tokenizer=roberta_tokenizer()).key,
        *(
            load(data, tmp_path, rule=WindowRule(**{**vars(RULE), name: value})).key
            for name, value in (
                ("max_seq_length", 30),
                ("doc_stride", 9),
                ("max_query_length", 7),
                ("stride_is", "step"),
            )
        ),
    ]
    assert len(set(keys)) == len(keys)


def test_a_tokenizer_is_known_by_what_it_does_not_by_its_last_call():
    used = bert_tokenizer()
    used("the cat", truncation=True, max_length=3, padding="max_length")
    assert tokenizer_sha256(used) == tokenizer_sha256(bert_tokenizer())


def test_token_types_are_part_of_it(data, tmp_path):
    distilbert = bert_tokenizer()
    distilbert.model_input_names = ["input_ids", "attention_mask"]  # as DistilBERT's
    assert not load(data, tmp_path, tokenizer=distilbert).token_types
    assert load(data, tmp_path).token_types


def test_originals_of_a_set_are_the_files_rows(data, tmp_path):
    three_copies(data, tmp_path / "set")
    every = load(tmp_path / "set", tmp_path, "augmented")
    originals = load(tmp_path / "set", tmp_path, "original")
    assert np.array_equal(originals.tokens, load(data, tmp_path).tokens)
    assert np.array_equal(originals.labels, load(data, tmp_path).labels)
    assert every.counts["rows"] == 4 * originals.counts["rows"]
    assert find_source("augmented", str(tmp_path / "set")).copies == 3


def test_a_changed_shard_is_refused(data, tmp_path):
    out = tmp_path / "set"
    build(
        BuildConfig(
            train=str(data),
            out=out,
            mlm="embedded",
            glove="none",
            num_workers=1,
            allow_unchanged=True,
        )
    )  # few words
    shard = next((tmp_path / "set" / "data").iterdir())
    shard.write_bytes(shard.read_bytes() + b"!")
    with pytest.raises(ValueError, match="expected"):
        find_source("augmented", str(tmp_path / "set"))


def test_text_is_cut_without_overlap(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the cat sat\n\n" + "a dog " * 30 + "\n[SEP] on\n", "utf-8")
    source = find_source("text", None, [text])
    tok = bert_tokenizer()
    features = load_features(source, tok, WindowRule(max_seq_length=22), tmp_path)
    assert tok.decode(windows(features)[0]) == "[CLS] the cat sat [SEP]"
    assert features.lengths.tolist() == [5, 22, 22, 22, 6]
    assert windows(features)[-1][1:-1].tolist() == tok.convert_tokens_to_ids(
        ["[", "[UNK]", "]", "on"]
    )
    assert (features.labels == 0).all()


def test_rows_that_change_meanwhile_are_not_cached(data, tmp_path):
    source = find_source("original", str(data))
    data.write_text(data.read_text().replace("near?", "far?"))
    with pytest.raises(RuntimeError, match="changed while it was in use"):
        load_features(source, bert_tokenizer(), RULE, tmp_path)
    assert not list(tmp_path.glob("features-*[!e]"))


def test_text_in_another_encoding_is_named(tmp_path):
    path = tmp_path / "latin.txt"
    path.write_bytes("caf\xe9".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin.txt: not UTF-8"):
        load_features(find_source("text", None, [path]), bert_tokenizer(), RULE, tmp_path)


def test_nothing_to_train_on_is_an_error(tmp_path):
    text = tmp_path / "empty.txt"
    text.write_text("\n \n")
    with pytest.raises(ValueError, match="no rows to train on"):
        load_features(find_source("text", None, [text]), bert_tokenizer(), RULE, tmp_path)
    with pytest.raises(FileNotFoundError, match="no such text file"):
        find_source("text", None, [tmp_path / "absent.txt"])


KILLED = """
import os, signal, sys
from pathlib import Path
import distill.rows.features as features
from eval.reading.windows import WindowRule
from eval.scoring.judged_set import write_judged
from tests.tiny_readers import bert_tokenizer
features.CHUNK = 2
cut = features._cut
def killed(*given):
    os.kill(os.getpid(), signal.SIGKILL) if given[-1]["rows"] else None
    return cut(*given)
features._cut = killed
source = features.find_source("original", sys.argv[1])
features.load_features(source, bert_tokenizer(), WindowRule(max_seq_length=32, doc_stride=8,
    max_query_length=8), Path(sys.argv[2]))
"""


def test_a_killed_run_leaves_no_half_cache(data, tmp_path):
    root = os.path.dirname(os.path.dirname(__file__))
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(data), str(tmp_path / "cache")],
        env={**os.environ, "PYTHONPATH": root},
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL
    found = load(data, tmp_path / "cache")
    assert np.array_equal(found.tokens, load(data, tmp_path / "fresh").tokens)


def test_on_real_questions(shared, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(shared / "models" / "minilm-qa")
    dev = shared / "data" / "squad" / "dev-v2.0.json"
    content = json.loads(dev.read_text())
    content["data"] = content["data"][:1]
    (tmp_path / "dev.json").write_text(json.dumps(content))
    features = load(tmp_path / "dev.json", tmp_path, rule=WindowRule(), tokenizer=tokenizer)
    assert features.counts["answers_in_no_window"] == 0
    for ids, (start, end) in zip(windows(features), features.labels, strict=True):
        assert start <= end < len(ids)


def test_a_disk_without_room_is_said_before_the_work(data, tmp_path, full_disk):
    with pytest.raises(
        UsageError, match=r"features-\w+: no space left on its disk, needs about 1 MB"
    ):
        load(data, tmp_path / "cache")


def test_half_of_balanced_rows_are_originals(data, tmp_path):
    out = str(three_copies(data, tmp_path / "set"))
    kinds = ("original", "augmented", "balanced")
    originals, every, balanced = (Counter(find_source(kind, out).rows()) for kind in kinds)
    assert balanced == every + originals + originals  # there are three copies of each
    assert sum(balanced.values()) == 6 * sum(originals.values())


def test_copies_that_a_reader_does_not_answer_are_left_out(data, tmp_path):
    """A judge that gives copy 1 an F1 of 1, copy 2 of 0.5, and all others 0, originals too."""
    f1 = {1: 1.0, 2: 0.5}

    def judge(rows):
        return [("said", f1.get(row["copy_index"], 0.0)) for row in rows]

    folder, out = three_copies(data, tmp_path / "set"), tmp_path / "judged"
    write_judged(
        folder, out, Judge(model="m", model_sha256="0", protocol="p", set_sha256="1"), judge
    )
    contexts = [(row["copy_index"], row["context"]) for row in read_rows(out)]
    for least, copies in ((None, (0, 1, 2, 3)), (0.5, (0, 1, 2)), (0.6, (0, 1))):
        source = find_source("augmented", str(out), min_agreement=least)
        expected = [context for copy, context in contexts if copy in copies]
        assert [row.context for row in source.rows()] == expected
        made = load_features(source, bert_tokenizer(), RULE, tmp_path / "cache")
        assert made.counts["rows"] == len(expected)  # not those of another share
    with pytest.raises(UsageError, match="no reader has judged the rows of"):
        find_source("augmented", str(folder), min_agreement=0.5)
