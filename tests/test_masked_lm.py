"""Candidates from a masked LM, on random models of both tokenizer families."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from augment.variants.masked_lm import ContextCandidates, MaskedLM, MaskedLMSettings
from augment.variants.vocabulary import read_vocabulary
from augment.variants.words import find_words
from tests.small_sets import CONTEXT, SECOND

LONG = " ".join([CONTEXT, SECOND, CONTEXT.replace("Anne", "Marie")])  # past 64 positions
TEXTS = [CONTEXT, SECOND, LONG, "old", "", "。。。 😀", "[MASK] light [SEP] ##ing lamp"]


def settings(**changes: object) -> MaskedLMSettings:
    values = {
        "num_candidates": 5,
        "masking": "spread",
        "words": "content",
        "batch_tokens": 256,
        "dtype": "float32",
        "device_class": "cpu",
    }
    return MaskedLMSettings(**{**values, **changes})  # type: ignore[arg-type]


def find(model: MaskedLM, texts: list[str], **changes: object) -> list[ContextCandidates]:
    return model.candidates(texts, [find_words(text) for text in texts], settings(**changes))


@pytest.fixture(scope="module")
def bert(tiny_bert: Path) -> MaskedLM:
    return MaskedLM.load(str(tiny_bert))


@pytest.fixture(scope="module")
def roberta(tiny_roberta: Path) -> MaskedLM:
    return MaskedLM.load(str(tiny_roberta))


def plain_candidates(folder: Path, text: str, start: int, number: int) -> list[str]:
    """Mask one word of a short text, run the whole model, sort the whole vocabulary."""
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForMaskedLM.from_pretrained(folder).eval()
    encoded = tokenizer(text, return_offsets_mapping=True)
    place = next(i for i, (s, e) in enumerate(encoded["offset_mapping"]) if s == start and e > s)
    ids = torch.tensor([encoded["input_ids"]])
    original = int(ids[0, place])
    ids[0, place] = tokenizer.mask_token_id
    with torch.inference_mode():
        logits = model(input_ids=ids).logits[0, place]
    vocabulary = read_vocabulary(tokenizer)
    word, found = vocabulary.texts[original], []
    for token in sorted(range(len(logits)), key=lambda i: (-float(logits[i]), i)):
        other = vocabulary.texts[token]
        if (
            other.isalpha()
            and vocabulary.is_tight[token] == vocabulary.is_tight[original]
            and other.casefold() not in {word.casefold(), *map(str.casefold, found)}
        ):
            found.append(other)
    return found[:number]


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_equals_masking_one_word_and_sorting_all_logits(
    family: str, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(family)
    found = find(model, [CONTEXT], masking="one")[0]
    for word in (1, 5, 12):
        start = int(found.starts[word])
        assert found.one_piece[word]
        texts = [model.vocabulary.texts[i] for i in found.token_ids[word]]
        folder = request.getfixturevalue(f"tiny_{family}")
        assert texts == plain_candidates(folder, CONTEXT, start, 5)


@pytest.mark.parametrize("family", ["bert", "roberta"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_candidates_do_not_depend_on_company(
    family: str, dtype: str, request: pytest.FixtureRequest
) -> None:
    model = MaskedLM.load(str(request.getfixturevalue(f"tiny_{family}")), dtype=dtype)
    together = find(model, TEXTS, dtype=dtype)
    backwards = find(model, TEXTS[::-1], dtype=dtype)[::-1]
    for text, one, other in zip(TEXTS, together, backwards, strict=True):
        alone = find(model, [text], dtype=dtype)[0]
        assert np.array_equal(one.token_ids, alone.token_ids)
        assert np.array_equal(one.token_ids, other.token_ids)


def test_thread_count_does_not_matter(bert: MaskedLM) -> None:
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(find(bert, TEXTS))
        for one, other in zip(*found, strict=True):
            assert np.array_equal(one.token_ids, other.token_ids)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("family", ["bert", "roberta"])
@pytest.mark.parametrize("words", ["content", "all"])
@pytest.mark.parametrize("masking", ["one", "spread"])
def test_candidates_are_whole_other_words(
    family: str, words: str, masking: str, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(family)
    for text, found in zip(TEXTS, find(model, TEXTS, words=words, masking=masking), strict=True):
        for start, end, one_piece, ids in zip(
            found.starts, found.ends, found.one_piece, found.token_ids.tolist(), strict=True
        ):
            word = text[start:end]
            options = [model.vocabulary.texts[i] for i in ids if i >= 0]
            assert bool(options) == bool(one_piece), word
            assert "" not in options
            folded = [option.casefold() for option in options]
            assert len({word.casefold(), *folded}) == len(options) + 1
            if word.isalpha():
                assert all(option.isalpha() for option in options)


def test_words_of_several_pieces_and_unknown_ones_are_not_asked_about(bert: MaskedLM) -> None:
    found = find(bert, [CONTEXT, "lamps 汉 lamp"])
    assert CONTEXT[found[0].starts[0] : found[0].ends[0]] == "old"
    assert found[1].one_piece.tolist() == [False, False, True]  # lamp + ##s, unknown, lamp


def test_a_long_context_is_masked_to_its_end(bert: MaskedLM) -> None:
    found = find(bert, [LONG])[0]
    assert found.one_piece[-3:].any()
    assert (found.token_ids[found.one_piece, 0] >= 0).all()


def test_ties_go_to_the_lower_token(bert: MaskedLM, tiny_bert: Path) -> None:
    model = MaskedLM.load(str(tiny_bert))
    output = model.head.get_output_embeddings()
    output.weight.zero_()
    output.bias.zero_()
    ids = find(model, ["old lamp"])[0].token_ids
    assert all((np.diff(row) > 0).all() for row in ids)


def test_a_model_without_a_mask_token_is_refused(tiny_bert: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    folder = shutil.copytree(tiny_bert, tmp_path / "unmasked")
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    tokenizer.mask_token = None
    tokenizer.save_pretrained(folder)
    with pytest.raises(ValueError, match="unmasked: this tokenizer has no mask token"):
        MaskedLM.load(str(folder))


@pytest.mark.slow
def test_spread_agrees_with_one_on_real_text(shared: Path) -> None:
    from augment.squad import read_squad

    paragraphs = read_squad(shared / "data/squad/dev-v2.0.json").paragraphs[::200]
    texts = [paragraph.context for paragraph in paragraphs]
    model = MaskedLM.load(str(shared / "models/minilm-mlm"), dtype="bfloat16")
    rules = {"num_candidates": 15, "batch_tokens": 2048, "dtype": "bfloat16"}
    one, spread = (find(model, texts, masking=masking, **rules) for masking in ("one", "spread"))
    common = [
        len(set(a) & set(b)) / 15
        for first, second in zip(one, spread, strict=True)
        for a, b, asked in zip(
            first.token_ids.tolist(), second.token_ids.tolist(), first.one_piece, strict=True
        )
        if asked
    ]
    assert sum(common) / len(common) > 0.8


def test_a_tokenizer_that_is_not_the_models_is_refused(
    tiny_bert: Path, tiny_roberta: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(tiny_bert, tmp_path / "other")
    without = shutil.copytree(tiny_bert, tmp_path / "without")
    for folder in (other, without):
        for path in folder.glob("*token*"):
            path.unlink()
    for path in tiny_roberta.glob("*token*"):
        shutil.copy(path, other)
    with pytest.raises(ValueError, match=r"other: a tokenizer of .* tokens for a model of"):
        MaskedLM.load(str(other))
    with pytest.raises(ValueError, match=r"without: a tokenizer of 5 tokens for a model of"):
        MaskedLM.load(str(without))
