"""Teachers, rows and jobs so small that a whole recipe runs in seconds."""

import json
from dataclasses import replace

import torch
from transformers import (
    BertConfig,
    BertForQuestionAnswering,
    DistilBertConfig,
    DistilBertForMaskedLM,
    RobertaConfig,
    RobertaForQuestionAnswering,
)

from distill.recipes import Recipe, Stage
from distill.training.job import Job
from tests.tiny_readers import CONTEXTS, bert_tokenizer, roberta_tokenizer

SIZES = {"num_attention_heads": 2, "intermediate_size": 64, "initializer_range": 0.3}


def bert(folder, *, layers=4, width=32, dropout=0.1, seed=1, head=BertForQuestionAnswering):
    """Save a BERT reader with its tokenizer."""
    tokenizer = bert_tokenizer()
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=64,
        hidden_size=width,
        num_hidden_layers=layers,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        **SIZES,
    )
    head(config).save_pretrained(folder)
    tokenizer.model_max_length = 64
    tokenizer.save_pretrained(folder)
    return str(folder)


def roberta(folder, *, layers=4, width=32, dropout=0.1, seed=1, head=RobertaForQuestionAnswering):
    """Save a RoBERTa reader; another `head` for a model that has none."""
    tokenizer = roberta_tokenizer()
    torch.manual_seed(seed)
    config = RobertaConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=66,
        pad_token_id=1,
        hidden_size=width,
        num_hidden_layers=layers,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        **SIZES,
    )
    head(config).save_pretrained(folder)
    tokenizer.model_max_length = 64
    tokenizer.save_pretrained(folder)
    return str(folder)


def distilbert(folder, *, layers=2):
    """Save a DistilBERT without a span head, as distilbert-base-uncased is."""
    tokenizer = bert_tokenizer()
    torch.manual_seed(2)
    config = DistilBertConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=64,
        dim=32,
        n_layers=layers,
        n_heads=2,
        hidden_dim=64,
        initializer_range=0.3,
    )
    DistilBertForMaskedLM(config).save_pretrained(folder)
    tokenizer.model_max_length = 64
    tokenizer.save_pretrained(folder)
    return str(folder)


def rows(path, *, impossible=True):
    """Write a SQuAD file of three contexts and six questions, spans right."""
    paragraphs = []
    for number, context in enumerate(CONTEXTS):
        sat = {"text": "sat", "answer_start": context.index("sat")}
        first = {"id": f"q{number}a", "question": "who sat ?", "is_impossible": False}
        second = {"id": f"q{number}b", "question": "what river ?", "is_impossible": impossible}
        first["answers"], second["answers"] = [sat], [] if impossible else [sat]
        paragraphs.append({"context": context, "qas": [first, second]})
    path.write_text(
        json.dumps({"version": "x", "data": [{"title": "t", "paragraphs": paragraphs}]})
    )
    return str(path)


def shrink(recipe: Recipe, student: str, teachers, **fields) -> Recipe:
    """Give a recipe small models, short windows and a batch of four."""
    stages = tuple(
        replace(
            stage, **{"teacher": teacher, "batch_size": 4, "epochs": min(stage.epochs, 2), **fields}
        )
        for stage, teacher in zip(recipe.stages, teachers, strict=True)
    )
    return replace(
        recipe,
        student=student,
        stages=stages,
        max_seq_length=32,
        doc_stride=8,
        max_query_length=8,
    )


def two_stages(teacher: str, student="teacher:2,4", **fields) -> Recipe:
    """Both stages of TinyBERT on small models."""
    common = {"teacher": teacher, "epochs": 2, "batch_size": 4, "learning_rate": 1e-3, **fields}
    return Recipe(
        name="tiny",
        student=student,
        stages=(
            Stage(kind="intermediate", rows="augmented", **common),
            Stage(kind="prediction", rows="original", **common),
        ),
        max_seq_length=32,
        doc_stride=8,
        max_query_length=8,
    )


def job(recipe: Recipe, output, data, **fields) -> Job:
    """Run on the CPU in float32, as tests do."""
    return Job(recipe=recipe, output=output, data=data, device="cpu", dtype="float32", **fields)
