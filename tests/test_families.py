"""Families that predict also train: every one as a student and as a teacher of spans, tiny."""

import copy

import pytest
import torch
from tokenizers import processors
from transformers import AutoConfig, AutoModelForQuestionAnswering, PreTrainedTokenizerFast

from distill.models.attention import can_capture
from distill.models.distiller import IntermediateDistiller, SpanDistiller, model_inputs
from distill.models.student import load_teacher, make_student
from distill.models.teacher import IntermediateTeacher, SpanTeacher
from distill.recipes import Stage
from distill.training.keeping import save_student
from eval.reading.protocol import Protocol
from eval.reading.reader import Reader
from tests.tiny_readers import SIZES, bert_tokenizer, roberta_tokenizer

OWN = {"convbert", "deberta", "deberta-v2", "longformer", "megatron-bert", "mpnet", "rembert"}
OWN |= {"roformer"}
FAMILIES = {
    "albert": {"embedding_size": 16},
    "bert": {},
    "camembert": {},
    "convbert": {"embedding_size": 32, "head_ratio": 2, "conv_kernel_size": 3},
    "data2vec-text": {},
    "deberta": {"pos_att_type": "c2p|p2c", "relative_attention": True},
    "deberta-v2": {"pos_att_type": "c2p|p2c", "relative_attention": True},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
    "electra": {"embedding_size": 32},
    "ernie": {},
    "longformer": {"attention_window": [8, 8], "max_position_embeddings": 128},
    "megatron-bert": {},
    "modernbert": {"global_attn_every_n_layers": 2, "local_attention": 8},
    "mpnet": {},
    "rembert": {"input_embedding_size": 16},
    "roberta": {},
    "roformer": {"embedding_size": 32},
    "xlm-roberta": {},
}

GIVEN = {"teacher": "x", "rows": "original", "epochs": 1, "batch_size": 2, "learning_rate": 1e-3}


def save(family, folder):
    """Save a reader; Longformer's wants three separators in a pair, as RoBERTa's tokenizer sets."""
    tokenizer = roberta_tokenizer() if family == "longformer" else bert_tokenizer()
    special = {
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.cls_token_id,
        "cls_token_id": tokenizer.cls_token_id,
        "eos_token_id": tokenizer.sep_token_id,
        "sep_token_id": tokenizer.sep_token_id,
    }
    sizes = {**SIZES, "vocab_size": len(tokenizer), "max_position_embeddings": 66, **special}
    if family == "distilbert":
        sizes = {key: value for key, value in sizes.items() if key not in SIZES}
    config = AutoConfig.for_model(family, **{**sizes, **FAMILIES[family]})
    torch.manual_seed(0)
    AutoModelForQuestionAnswering.from_config(config).save_pretrained(folder)
    if not getattr(config, "type_vocab_size", 0):
        tokenizer.model_input_names = ["input_ids", "attention_mask"]
    tokenizer.save_pretrained(folder)
    return str(folder)


def batch(model):
    ids = torch.randint(5, 29, (2, 24), generator=torch.Generator().manual_seed(0))
    ids[:, 0], ids[:, [8, 9, 23]] = 4, model.config.sep_token_id or 3
    mask = torch.ones_like(ids)
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_that_predicts_also_trains(family, tmp_path):
    folder = save(family, tmp_path / "reader")
    tokenizer, teacher = load_teacher(folder, span_head=True)
    student = make_student(folder, None, seed=0)
    taught = SpanTeacher(copy.deepcopy(teacher))(batch(teacher))
    stage = Stage(kind="prediction", hard_weight=1.0, **GIVEN)
    distiller = SpanDistiller(student, stage).train()
    with torch.no_grad():
        for weight in student.parameters():
            weight += 0.01 * torch.randn_like(weight)
    optimizer = torch.optim.AdamW(distiller.parameters(), 1e-3)
    positions = torch.tensor([[11, 12], [15, 15]])
    distiller.eval()
    seen = []
    for _ in range(8):
        losses = distiller(**model_inputs(student, batch(student)), positions=positions, **taught)
        losses["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
        seen.append(losses["loss"].item())
    assert seen[-1] < seen[0]

    save_student(student, tokenizer, tmp_path / "student")
    protocol = Protocol(max_seq_length=48, doc_stride=8)
    reader = Reader.load(tmp_path / "student", protocol=protocol, device="cpu")
    answer = reader.answer("who sat ?", "The cat sat on the mat .", may_be_null=False)
    assert answer.text in "The cat sat on the mat ."


@pytest.mark.parametrize("family", [f for f in FAMILIES if f != "albert"])  # its layers are one
def test_hidden_states_are_learned_and_attention_where_it_can_be_had(family, tmp_path):
    folder = save(family, tmp_path / "reader")
    _, teacher = load_teacher(folder, span_head=False)
    student = make_student(folder, None, seed=0)
    attention = can_capture(student) and can_capture(teacher)
    assert attention == (family not in OWN)  # their attention is their own
    stage = Stage(kind="intermediate", attention_weight=float(attention), **GIVEN)
    asked = IntermediateTeacher(teacher, (1, 2), attention=attention)
    taught = asked(batch(teacher))
    with torch.no_grad():
        for weight in student.parameters():
            weight += 0.01 * torch.randn_like(weight)
    distiller = IntermediateDistiller(student, 32, stage)
    losses = distiller(**model_inputs(student, batch(student)), **taught)
    losses["loss"].backward()
    assert losses["loss"] > 0
    assert ("attention_loss" in losses) == attention


def test_modernberts_new_head_is_drawn_by_the_seed(tmp_path):
    folder = save("modernbert", tmp_path / "reader")
    from transformers import AutoModel

    AutoModel.from_pretrained(folder).save_pretrained(tmp_path / "encoder")
    bert_tokenizer().save_pretrained(tmp_path / "encoder")
    first, second, other = (
        make_student(str(tmp_path / "encoder"), None, seed).state_dict() for seed in (1, 1, 2)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    different = {name for name in first if not torch.equal(first[name], other[name])}
    assert different == {"head.dense.weight", "classifier.weight"}


def test_xlnet_reads_past_its_minus_one_positions_and_is_refused_for_its_tokenizer(tmp_path):
    """XLNet has no limit of positions, which it writes as -1, and puts its class token last."""
    sizes = {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64, "vocab_size": 30}
    torch.manual_seed(0)
    config = AutoConfig.for_model("xlnet", **sizes)
    assert config.max_position_embeddings == -1
    AutoModelForQuestionAnswering.from_config(config).save_pretrained(tmp_path / "reader")
    tokenizer = bert_tokenizer()
    tokenizer.save_pretrained(tmp_path / "reader")
    asked = "who sat ?", "The cat sat on the mat ."
    answer = Reader.load(tmp_path / "reader", device="cpu").answer(*asked, may_be_null=False)
    assert answer.text in asked[1]

    cls_last = processors.TemplateProcessing(
        "$A:0 [SEP]:0 [CLS]:2",
        "$A:0 [SEP]:0 $B:1 [SEP]:1 [CLS]:2",
        [("[SEP]", tokenizer.sep_token_id), ("[CLS]", tokenizer.cls_token_id)],
    )
    backend = tokenizer.backend_tokenizer
    backend.post_processor = cls_last
    special = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"}
    PreTrainedTokenizerFast(tokenizer_object=backend, **special).save_pretrained(
        tmp_path / "reader"
    )
    with pytest.raises(ValueError, match="does not begin a pair with a class token"):
        Reader.load(tmp_path / "reader", device="cpu").answer(*asked)
