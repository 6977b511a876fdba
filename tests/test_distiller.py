"""The modules that are trained: what they hand to the losses."""

from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

from distill.models.distiller import IntermediateDistiller, SpanDistiller
from distill.models.student import load_teacher, make_student
from distill.models.teacher import IntermediateTeacher, SpanTeacher
from distill.rows.batches import Batches
from distill.rows.features import find_source, load_features
from eval.reading.windows import WindowRule
from tests import tiny_distil
from tests.tiny_distil import two_stages

RULE = WindowRule(max_seq_length=32, doc_stride=8, max_query_length=8)


@pytest.fixture
def made(tmp_path):
    """Give a teacher's folder and a function from a stage and a padded length to the losses."""
    folder = tiny_distil.bert(tmp_path / "teacher", dropout=0.0)
    data = find_source("original", tiny_distil.rows(tmp_path / "train.json"))
    features = load_features(data, AutoTokenizer.from_pretrained(folder), RULE, tmp_path)
    other = tiny_distil.bert(tmp_path / "student", layers=2, dropout=0.0, seed=7)

    def losses(stage, pad_to):
        batch = Batches(features, 1, 6, 1, 0, pad_to=pad_to)[0]
        assert (batch["attention_mask"] == 0).any()  # rows of several lengths
        _, teacher = load_teacher(folder, span_head=True)
        student = make_student(other, None, 0)
        inputs = {name: value for name, value in batch.items() if name != "positions"}
        if stage.kind == "intermediate":
            asked = IntermediateTeacher(teacher, stage.layer_map or (2, 4), attention=True)
            return IntermediateDistiller(student, 32, stage)(**inputs, **asked(batch))
        return SpanDistiller(student, stage)(**batch, **SpanTeacher(teacher)(batch))

    return folder, losses


FIELDS = [{}, {"attention_target": "probabilities"}, {"hard_weight": 1.0}, {"kd_weight": 0.0}]


@pytest.mark.parametrize("fields", FIELDS, ids=str)
@pytest.mark.parametrize("index", [0, 1])
def test_padding_changes_no_loss_unless_it_is_counted(made, index, fields):
    """Haystack and TinyBERT counted it, so that what a student learned hung on its neighbours."""
    folder, losses = made
    stage = two_stages(folder, **{"hard_weight": 0.5, **fields}).stages[index]
    short, long = losses(stage, None), losses(stage, 64)
    for name in short:
        assert torch.allclose(short[name], long[name], rtol=1e-4), name
    counted = replace(stage, count_padding=True)
    assert not torch.allclose(losses(counted, None)["loss"], losses(counted, 64)["loss"], rtol=1e-3)


def test_teacher_layers_are_those_of_the_map(made):
    folder, losses = made
    stages = [two_stages(folder, layer_map=layers).stages[0] for layers in ((1, 2), (1, 4), (2, 4))]
    values = [losses(stage, None)["hidden_loss"].item() for stage in stages]
    assert len(set(values)) == 3
    # a student that is its teacher's layers 1 and 2 has nothing to learn from layers 1 and 2
    teacher = load_teacher(folder, span_head=True)[1]
    student = make_student("teacher:1,2", teacher, 0).eval()
    ids = torch.randint(5, 20, (3, 12))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    asked = IntermediateTeacher(teacher, (1, 2), attention=True)(inputs)
    loss = IntermediateDistiller(student, 32, stages[0])(**inputs, **asked)["loss"]
    assert loss.item() < 1e-9


def test_the_head_rests_in_the_intermediate_stage_alone(made):
    folder, _ = made
    intermediate, prediction = two_stages(folder).stages
    student = AutoModelForQuestionAnswering.from_pretrained(folder)
    IntermediateDistiller(student, 32, intermediate)
    resting = {name for name, value in student.named_parameters() if not value.requires_grad}
    assert resting == {"qa_outputs.weight", "qa_outputs.bias"}
    SpanDistiller(student, prediction)
    assert all(value.requires_grad for value in student.parameters())
