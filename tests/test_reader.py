"""eval.predict.Reader: the small public reader."""

import pytest

from augment.base.command import UsageError
from augment.base.models import pick_device
from eval.predict import Protocol, Reader
from eval.reading.windows import cut_windows
from tests.tiny_readers import CONTEXTS, save_bert

PROTOCOL = Protocol(max_seq_length=40, doc_stride=8, max_query_length=12)


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    folder = save_bert(tmp_path_factory.mktemp("reader"))
    return Reader.load(folder, protocol=PROTOCOL, device="cpu")


def test_an_answer_is_a_piece_of_the_context(reader):
    for context in CONTEXTS:
        answer = reader.answer("who sat ?", context, may_be_null=False)
        assert answer.text == context[answer.start : answer.end] != ""
        assert 0 <= answer.no_answer_probability <= 1
        assert len(answer.spans) == 1
        assert answer.score == answer.spans[0].score


def test_n_best_spans_are_different_and_ranked(reader):
    spans = reader.answer("who sat ?", CONTEXTS[0], n_best=5).spans
    assert len({(span.start, span.end) for span in spans}) == len(spans) == 5
    assert [s.score for s in spans] == sorted((s.score for s in spans), reverse=True)


def test_many_equals_one_by_one(reader):
    pairs = [(question, text) for text in CONTEXTS for question in ("who sat ?", "what river ?")]
    together = reader.answer_many(pairs)
    for pair, answer in zip(pairs, together, strict=True):
        alone = reader.answer(*pair)
        assert (answer.text, answer.start, answer.end) == (alone.text, alone.start, alone.end)
        assert answer.score == pytest.approx(alone.score, abs=1e-4)
    assert reader.answer_many([]) == []


def test_no_answer_says_so(reader):
    sure = Reader(
        reader.model,
        reader.tokenizer,
        Protocol(max_seq_length=40, doc_stride=8, null_score_diff_threshold=-1e6),
    )
    answer = sure.answer("who ?", CONTEXTS[1])
    assert (answer.text, answer.start, answer.end, answer.score) == ("", 0, 0, answer.null.score)
    assert answer.spans[0].text  # what it would have said


def test_logits_are_those_of_the_model_itself(reader):
    """The batch that `Reader` makes against the model called on the tokenizer's own pair."""
    import torch

    window = cut_windows(reader.tokenizer, ["who sat"], [CONTEXTS[1]], PROTOCOL.window_rule)
    starts, ends = reader.logits(window.windows, length=38)
    with torch.inference_mode():
        plain = reader.model(**reader.tokenizer("who sat", CONTEXTS[1], return_tensors="pt"))
    length = len(window.windows[0])
    torch.testing.assert_close(torch.tensor(starts[:, :length]), plain.start_logits)
    torch.testing.assert_close(torch.tensor(ends[:, :length]), plain.end_logits)


@pytest.mark.parametrize("n_best", [0, 21])
def test_n_best_out_of_range(reader, n_best):
    with pytest.raises(ValueError, match=f"n_best {n_best}: must be 1 to 20"):
        reader.answer("who ?", "the cat", n_best=n_best)


def test_nothing_of_that_name(tmp_path):
    with pytest.raises(OSError, match="nowhere"):
        Reader.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("file", "text", "what"),
    [
        ("model.safetensors", b"1234", "weights .SafetensorError"),
        ("tokenizer.json", b'{"version": "1.0", "mod', "tokenizer .JSONDecode"),
        ("tokenizer.json", b"{}", "tokenizer .KeyError"),
    ],
)
def test_damaged_files_of_a_checkpoint(tmp_path, file, text, what):
    folder = save_bert(tmp_path / "bert")
    (folder / file).write_bytes(text)
    with pytest.raises(ValueError, match=f"bert: damaged {what}.*; fetch it again"):
        Reader.load(folder, protocol=PROTOCOL, device="cpu")


def test_cuda_without_a_gpu_says_what_to_do(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UsageError, match="finds no GPU; pass --device cpu, or install a torch"):
        pick_device("cuda")
