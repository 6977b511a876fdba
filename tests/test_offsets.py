"""Tokenizers that count a blank to the word after it, and one that loses letters."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from augment.variants.masking import one_piece_words
from augment.variants.offsets import check_offsets, holds_blanks, trimmed
from augment.variants.words import find_words
from eval.reading.windows import _tokenize

TEXT = "Anne lit it in May"


def metaspace() -> PreTrainedTokenizerFast:
    words = ["<s>", *("▁" + word for word in TEXT.split())]
    vocabulary = {word: number for number, word in enumerate(words)}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<s>"))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<s>")


def test_the_blank_before_a_word_is_none_of_its_letters() -> None:
    tokenizer = metaspace()
    check_offsets(tokenizer)
    assert holds_blanks(tokenizer)
    given = tokenizer(TEXT, return_offsets_mapping=True)["offset_mapping"]
    words = find_words(TEXT)
    assert one_piece_words(words, given) == [0, -1, -1, -1, -1]
    assert one_piece_words(words, trimmed(TEXT, given)) == [0, 1, 2, 3, 4]
    ((_, offsets),) = _tokenize(tokenizer, [TEXT])
    assert [TEXT[start:end] for start, end in offsets] == TEXT.split()


def test_letters_that_are_lost_are_named() -> None:
    tokens = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "ĠA"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    made = Tokenizer(models.BPE(vocabulary, [("Ġ", "A")]))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=True)]
    )
    made.post_processor = processors.RobertaProcessing(
        ("!", 0), ("!", 0), trim_offsets=True, add_prefix_space=False
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, name_or_path="made-up")
    with pytest.raises(ValueError, match="made-up: this tokenizer's offsets lose 'A"):
        check_offsets(tokenizer)


def test_a_reader_of_that_kind_is_refused() -> None:
    folder = Path(__file__).parents[1].parent / "shared/cases/robbert_reader_model"
    if not folder.is_dir():
        pytest.skip("needs ../shared/cases")
    from eval.predict import Reader

    with pytest.raises(ValueError, match="robbert_reader_model: this tokenizer's offsets lose"):
        Reader.load(str(folder)).read(["Who?"], ["Hollis."])
