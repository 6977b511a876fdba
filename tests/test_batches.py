"""The order of the rows, and batches read from the cache."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from distill.rows.batches import Batches, epoch_order
from distill.rows.features import find_source, load_features
from eval.reading.windows import WindowRule
from tests.tiny_readers import bert_tokenizer, write_dev

LENGTHS = (np.arange(1000, dtype=np.int32) * 7919) % 300 + 10


@given(
    number=st.integers(1, 300),
    batch_size=st.integers(1, 40),
    seed=st.integers(0, 99),
    epoch=st.integers(0, 9),
)
def test_every_row_once_and_the_last_batch_filled_up(number, batch_size, seed, epoch):
    order = epoch_order(LENGTHS[:number], batch_size, seed, epoch)
    assert order.shape == (-(-number // batch_size), batch_size)
    counts = np.bincount(order.ravel(), minlength=number)
    assert counts.min() >= 1
    assert counts.sum() - number < batch_size


def test_an_order_is_pinned():
    """So that a training goes on after an update of NumPy or of this project."""
    assert epoch_order(LENGTHS[:10], 4, 42, 0).tolist() == [
        [5, 2, 2, 7],
        [4, 4, 9, 1],
        [6, 3, 8, 0],
    ]


def test_order_depends_on_seed_and_epoch_alone():
    orders = [epoch_order(LENGTHS, 8, seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert len({order.tobytes() for order in orders}) == 4
    assert np.array_equal(orders[0], epoch_order(LENGTHS, 8, 0, 0))


def test_batches_hold_rows_of_like_length_in_random_order():
    order = epoch_order(LENGTHS, 8, 0, 0)
    lengths = LENGTHS[order]
    assert (lengths.max(1) - lengths.min(1)).mean() < 10  # of 300
    assert np.corrcoef(np.arange(len(order)), lengths[:, 0])[0, 1] < 0.3  # not sorted over all


@pytest.fixture
def features(tmp_path):
    source = find_source("original", str(write_dev_with_spans(tmp_path / "dev.json")))
    return load_features(
        source,
        bert_tokenizer(),
        WindowRule(max_seq_length=32, doc_stride=8, max_query_length=8),
        tmp_path,
    )


def write_dev_with_spans(path):
    import json

    write_dev(path)
    content = json.loads(path.read_text())
    for paragraph in content["data"][0]["paragraphs"]:
        for question in paragraph["qas"]:
            for answer in question["answers"]:
                answer["answer_start"] = paragraph["context"].index(answer["text"])
    path.write_text(json.dumps(content))
    return path


def test_a_batch_is_what_the_tokenizer_pads(features):
    batches = Batches(features, num_steps=4, batch_size=3, micro_batches=1, seed=0)
    rows = batches.step_rows(0)
    batch = batches[0]
    assert batch["input_ids"].shape[1] % 8 == 0
    for place, row in enumerate(rows):
        length = features.lengths[row]
        start = features.starts[row]
        assert batch["attention_mask"][place].sum() == length
        ids = batch["input_ids"][place]
        assert ids[:length].tolist() == features.tokens[start : start + length].tolist()
        assert (ids[length:] == features.pad_token_id).all()
        types = batch["token_type_ids"][place]
        assert types[features.context_starts[row] : length].all()
        assert types.sum() == length - features.context_starts[row]  # padding has type 0
        assert batch["positions"][place].tolist() == features.labels[row].tolist()


@pytest.mark.parametrize(("number", "sizes"), [(2, [2, 2]), (3, [2, 1, 1])])
def test_micro_batches_are_the_steps_rows(features, number, sizes):
    whole = Batches(features, 4, 4, 1, seed=3)
    parts = Batches(features, 4, 4, number, seed=3)
    assert len(whole) == 4
    assert len(parts) == number * len(whole)
    for step in range(4):
        split = [parts.step_rows(step)[part::number] for part in range(number)]
        assert [len(rows) for rows in split] == sizes
        assert sorted(np.concatenate(split)) == sorted(whole.step_rows(step))
        for part, rows in enumerate(split):
            item = parts[number * step + part]
            assert torch.equal(item["positions"], parts.collate(rows)["positions"])


def test_steps_go_on_over_epochs_and_may_be_asked_in_any_order(features):
    batches = Batches(features, 9, 4, 1, seed=0)
    per_epoch = -(-len(features) // 4)
    inorder = [batches.step_rows(step).tolist() for step in range(9)]
    first = {row for rows in inorder[:per_epoch] for row in rows}
    assert first == set(range(len(features)))
    assert inorder[per_epoch : 2 * per_epoch] != inorder[:per_epoch]
    assert [batches.step_rows(step).tolist() for step in reversed(range(9))] == inorder[::-1]


def test_micro_batches_without_rows_are_refused(features):
    with pytest.raises(ValueError, match="batch_size 3: fewer rows than the 4 micro-batches"):
        Batches(features, 1, 3, 4, seed=0)


def test_rows_may_be_padded_to_a_length(features):
    assert Batches(features, 1, 2, 1, seed=0, pad_to=40)[0]["input_ids"].shape == (2, 40)
