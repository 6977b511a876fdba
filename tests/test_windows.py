"""Windows as the tokenizer itself would cut them, and labels on the right tokens."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertTokenizer, PreTrainedTokenizerFast, RobertaTokenizer

from eval.reading.windows import WindowRule, cut_windows, label_window, pad_windows, window_spans

SHARED = Path(__file__).parents[1].parent / "shared"
WORDS = "who what the cat dog sat on mat in paris france river 19 ##90 ##s ' , . ? [ ] mask sep é"


@pytest.fixture(scope="module")
def bert():
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS.split()]
    return BertTokenizer(vocab={word: index for index, word in enumerate(vocab)})


@pytest.fixture(scope="module")
def roberta():
    """Byte level, no merges: every byte a token, so that a window is long and offsets repeat."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {word: index for index, word in enumerate(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])}
    vocab |= {letter: len(vocab) + index for index, letter in enumerate(letters)}
    return RobertaTokenizer(vocab=vocab, merges=[])


QUESTIONS = ["  who sat on the mat?", "what river?", "cat " * 30]
CONTEXTS = [
    "The cat sat on the mat. " * 20,
    "Paris, France",
    "In 1990s Paris [SEP] the [MASK] river's é cat.\n\nDog <mask> </s> sat  on.",
]


@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_equals_what_the_tokenizer_makes_of_a_pair(name, request):
    """run_qa's call, for every question with every context; here questions keep 64 tokens."""
    tokenizer = request.getfixturevalue(name)
    rule = WindowRule(max_seq_length=96, doc_stride=11)
    questions = [q[:40] for q in QUESTIONS for _ in CONTEXTS]
    contexts = CONTEXTS * len(QUESTIONS)
    windows = cut_windows(tokenizer, questions, contexts, rule).windows
    pairs = tokenizer(
        [question.lstrip() for question in questions],
        contexts,
        truncation="only_second",
        max_length=96,
        stride=11,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        split_special_tokens=True,
    )
    assert [window.row for window in windows] == pairs["overflow_to_sample_mapping"]
    assert len(windows) > len(questions)
    for index, window in enumerate(windows):
        assert window.input_ids.tolist() == pairs["input_ids"][index]
        mask = [side == 1 for side in pairs.sequence_ids(index)]
        assert window.context_mask().tolist() == mask
        kept = [tuple(pairs["offset_mapping"][index][i]) for i, inside in enumerate(mask) if inside]
        assert [tuple(pair) for pair in window.offsets.tolist()] == kept
        if name == "bert":
            assert window.token_type_ids.tolist() == pairs["token_type_ids"][index]
        else:
            assert window.token_type_ids is None


def test_special_words_in_a_text_stay_text(bert, roberta):
    for tokenizer in (bert, roberta):
        window = cut_windows(tokenizer, ["[MASK] <mask>"], ["[SEP] </s>"], WindowRule()).windows[0]
        ids = window.input_ids.tolist()
        assert tokenizer.mask_token_id not in ids
        assert ids.count(tokenizer.sep_token_id) == (2 if tokenizer is bert else 3)


@pytest.mark.parametrize(
    ("num_tokens", "capacity", "step", "spans"),
    [
        (10, 10, 4, [(0, 10)]),
        (11, 10, 4, [(0, 10), (4, 11)]),
        # run_qa with an overlap of 3: step 10 - 3
        (20, 10, 7, [(0, 10), (7, 17), (14, 20)]),
        # farm with a step of 3, over the same 20 tokens: more windows, the last reaches the end
        (20, 10, 3, [(0, 10), (3, 13), (6, 16), (9, 19), (12, 20)]),
        (0, 10, 4, [(0, 0)]),
    ],
)
def test_window_spans(num_tokens, capacity, step, spans):
    assert window_spans(num_tokens, capacity, step) == spans


@given(st.integers(0, 300), st.integers(1, 60), st.data())
def test_windows_cover_every_token(num_tokens, capacity, data):
    step = data.draw(st.integers(1, capacity))
    spans = window_spans(num_tokens, capacity, step)
    assert set(range(num_tokens)) == {i for start, end in spans for i in range(start, end)}
    assert all(end - start <= capacity for start, end in spans)
    assert all(end < num_tokens for _, end in spans[:-1])


def test_long_questions_lose_their_end_and_are_counted(bert):
    rule = WindowRule(max_seq_length=40, doc_stride=4, max_query_length=8)
    cut = cut_windows(bert, ["cat " * 30, "who?"], ["the mat"] * 2, rule)
    assert cut.counts == {
        "questions": 2,
        "questions_truncated": 1,
        "questions_in_many_windows": 0,
        "windows": 2,
    }
    assert cut.windows[0].context_start == 1 + 8 + 1


def test_what_is_counted(bert):
    """A question of just the allowed length is whole; a context of two windows is counted once."""
    rule = WindowRule(max_seq_length=14, doc_stride=1, max_query_length=3)
    cut = cut_windows(bert, ["cat cat cat", "cat " * 4], ["mat", "dog " * 9], rule)
    assert cut.counts == {
        "questions": 2,
        "questions_truncated": 1,
        "questions_in_many_windows": 1,
        "windows": 3,
    }
    assert [window.row for window in cut.windows] == [0, 1, 1]


def test_texts_are_tokenized_in_chunks(bert, monkeypatch):
    questions = [f"who {'cat ' * number}" for number in range(5)]
    contexts = [f"the {'dog ' * number}" for number in range(5)]
    whole = cut_windows(bert, questions, contexts, WindowRule()).windows
    monkeypatch.setattr("eval.reading.windows.CHUNK", 2)
    cut = cut_windows(bert, questions, contexts, WindowRule()).windows
    assert [w.input_ids.tolist() for w in cut] == [w.input_ids.tolist() for w in whole]


def test_defaults_are_those_of_run_qa():
    assert WindowRule() == WindowRule(
        max_seq_length=384, doc_stride=128, max_query_length=64, stride_is="overlap"
    )


@pytest.mark.parametrize(
    ("stride_is", "doc_stride", "step"),
    [("overlap", 1, 9), ("overlap", 9, 1), ("step", 1, 1), ("step", 10, 10)],
)
def test_the_farthest_and_the_shortest_steps(stride_is, doc_stride, step):
    """10 tokens fit: a step of at least 1 and at most 10."""
    assert WindowRule(doc_stride=doc_stride, stride_is=stride_is).step(10) == step
    beyond = WindowRule(doc_stride=10 if stride_is == "overlap" else 11, stride_is=stride_is)
    with pytest.raises(ValueError, match="cannot cover it"):
        beyond.step(10)


def test_an_empty_context_gives_a_window_without_context(bert):
    window = cut_windows(bert, ["who?"], [""], WindowRule()).windows[0]
    assert window.context_mask().sum() == 0
    assert label_window(window, 0, 0) == (0, 0)


@pytest.mark.parametrize(
    ("answer", "tokens"),
    [
        ("1990s", ["19", "##90", "##s"]),
        ("1990", ["19", "##90"]),
        ("990", ["19", "##90"]),  # begins inside a token: the token that holds it
        ("Paris, France", ["paris", ",", "france"]),
        ("mat", ["mat"]),
    ],
)
def test_label_window(bert, answer, tokens):
    context = "On the mat in 1990s Paris, France."
    window = cut_windows(bert, ["who?"], [context], WindowRule()).windows[0]
    start = context.index(answer)
    first, last = label_window(window, start, start + len(answer))
    assert bert.convert_ids_to_tokens(window.input_ids[first : last + 1].tolist()) == tokens


def test_labels_point_to_the_class_token_when_the_answer_is_not_wholly_inside(bert):
    context = "cat dog cat dog cat dog cat dog"
    rule = WindowRule(max_seq_length=3 + 1 + 4, doc_stride=1)
    windows = cut_windows(bert, ["who"], [context], rule).windows
    labels = [label_window(window, 8, 23) for window in windows]  # tokens 2 to 5 of 8
    assert [window.offsets[[0, -1]].tolist() for window in windows] == [
        [[0, 3], [12, 15]],
        [[12, 15], [24, 27]],
        [[24, 27], [28, 31]],
    ]
    assert labels == [(0, 0), (0, 0), (0, 0)]
    assert label_window(windows[1], 16, 23) == (4, 5)


def test_an_answer_may_begin_and_end_with_its_window(bert):
    """Tokens 4 to 7 of 8 are window 1: an answer that is all of it, or touches one edge, is in."""
    rule = WindowRule(max_seq_length=3 + 1 + 4, doc_stride=1)
    context = "cat dog cat dog cat dog cat dog"
    window = cut_windows(bert, ["who"], [context], rule).windows[1]
    assert window.offsets[[0, -1]].tolist() == [[12, 15], [24, 27]]
    assert label_window(window, 12, 27) == (3, 6)
    assert label_window(window, 12, 15) == (3, 3)
    assert label_window(window, 24, 27) == (6, 6)
    assert label_window(window, 11, 15) == label_window(window, 24, 28) == (0, 0)


def test_letters_of_several_bytes_share_their_offsets(roberta):
    """'é' is two byte tokens with the same span: an answer holds both."""
    context = "caf é noir"
    window = cut_windows(roberta, ["who"], [context], WindowRule()).windows[0]
    first, last = label_window(window, 4, 5)
    assert (window.offsets[first - window.context_start] == [4, 5]).all()
    assert last - first >= 1


def test_padding(bert):
    windows = cut_windows(bert, ["who?", "who?"], ["cat", "cat sat on"], WindowRule()).windows
    batch = pad_windows(windows, bert.pad_token_id)
    assert batch["attention_mask"].sum(axis=1).tolist() == [len(window) for window in windows]
    assert (batch["input_ids"][0, len(windows[0]) :] == bert.pad_token_id).all()
    assert pad_windows(windows, 0, 50)["token_type_ids"].shape == (2, 50)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"max_seq_length": 20, "doc_stride": 18}, "18 as overlap windows cannot cover it"),
        ({"max_seq_length": 20, "doc_stride": 18, "stride_is": "step"}, "18 as step windows"),
        ({"max_seq_length": 4, "doc_stride": 1}, "room for -1 tokens"),
    ],
)
def test_rules_whose_windows_cannot_move_on(bert, rule, message):
    with pytest.raises(ValueError, match=message):
        cut_windows(bert, ["who sat"], ["the cat sat"], WindowRule(**rule))


def test_bad_numbers_and_tokenizers():
    with pytest.raises(ValueError, match="doc_stride 0: must be at least 1"):
        WindowRule(doc_stride=0)
    with pytest.raises(ValueError, match="needs a fast tokenizer"):
        cut_windows(object(), ["who"], ["cat"], WindowRule())
    bare = Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    bare.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(ValueError, match="does not begin a pair with a class token"):
        cut_windows(PreTrainedTokenizerFast(tokenizer_object=bare), ["a"], ["a"], WindowRule())


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared: a real tokenizer and dev set")
def test_real_questions_equal_the_tokenizers_own_windows():
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(SHARED / "models/minilm-qa")
    data = json.loads((SHARED / "data/squad/dev-v2.0.json").read_text())["data"]
    rows = [
        (qa["question"], paragraph["context"])
        for article in data[::5]
        for paragraph in article["paragraphs"][::5]
        for qa in paragraph["qas"]
    ]
    questions, contexts = [q.lstrip() for q, _ in rows], [c for _, c in rows]
    windows = cut_windows(tokenizer, [q for q, _ in rows], contexts, WindowRule()).windows
    pairs = tokenizer(
        questions,
        contexts,
        truncation="only_second",
        max_length=384,
        stride=128,
        return_overflowing_tokens=True,
        split_special_tokens=True,
    )
    assert [w.input_ids.tolist() for w in windows] == pairs["input_ids"]
    assert all(
        np.array_equal(w.token_type_ids, t)
        for w, t in zip(windows, pairs["token_type_ids"], strict=True)
    )
