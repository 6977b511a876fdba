"""Readers of two layers and width 32 with random weights, and a data set to ask them."""

import json

import torch
from tokenizers import pre_tokenizers
from transformers import (
    BertConfig,
    BertForQuestionAnswering,
    BertModel,
    BertTokenizer,
    DistilBertConfig,
    DistilBertForQuestionAnswering,
    RobertaConfig,
    RobertaForQuestionAnswering,
    RobertaTokenizer,
)

WORDS = "who what where the cat dog sat on mat in paris france river 19 ##90 ##s ' , . ? [ ] a b c"
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "initializer_range": 0.5,  # wide: logits far apart, so that rounding decides nothing
}


def bert_tokenizer():
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS.split()]
    return BertTokenizer(vocab={word: index for index, word in enumerate(vocab)})


def roberta_tokenizer():
    vocab = {word: index for index, word in enumerate(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])}
    for letter in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocab[letter] = len(vocab)
    return RobertaTokenizer(vocab=vocab, merges=[])


def save_bert(folder, *, head=True, seed=0, positions=64):
    """A BERT reader, or without its span head."""
    tokenizer = bert_tokenizer()
    torch.manual_seed(seed)
    config = BertConfig(vocab_size=len(tokenizer), max_position_embeddings=positions, **SIZES)
    (BertForQuestionAnswering if head else BertModel)(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_roberta(folder):
    tokenizer = roberta_tokenizer()
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=66, pad_token_id=1, **SIZES
    )
    RobertaForQuestionAnswering(config).save_pretrained(folder)
    tokenizer.model_max_length = 64
    tokenizer.save_pretrained(folder)
    return folder


def save_distilbert(folder):
    tokenizer = bert_tokenizer()
    torch.manual_seed(0)
    config = DistilBertConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=64,
        dim=32,
        n_layers=2,
        n_heads=2,
        hidden_dim=64,
        initializer_range=0.5,
    )
    DistilBertForQuestionAnswering(config).save_pretrained(folder)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    tokenizer.save_pretrained(folder)
    return folder


CONTEXTS = [
    "The cat sat on the mat in Paris , France . " * 5,
    "A dog sat in the river .",
    "In 1990s the dog sat on a cat . A mat sat in France .",
]


def write_dev(path, *, impossible=True):
    """Three contexts and two questions each, the first answerable; wrong `answer_start`s."""
    paragraphs = []
    for number, context in enumerate(CONTEXTS):
        first = {"id": f"q{number}a", "question": " who sat ?", "is_impossible": False}
        first["answers"] = [{"text": "sat", "answer_start": 999}]
        second = {"id": f"q{number}b", "question": "what river ?", "is_impossible": impossible}
        second["answers"] = [] if impossible else first["answers"]
        paragraphs.append({"context": context, "qas": [first, second]})
    path.write_text(
        json.dumps({"version": "x", "data": [{"title": "t", "paragraphs": paragraphs}]})
    )
    return path
