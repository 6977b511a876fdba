"""distill.models.student: students cut out of their teacher or loaded, and the checks of a pair."""

import json

import pytest
import torch
from transformers import (
    AlbertConfig,
    AlbertForQuestionAnswering,
    BertConfig,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertModel,
    BertTokenizer,
    DistilBertConfig,
    DistilBertForMaskedLM,
    DistilBertForQuestionAnswering,
    RobertaConfig,
    RobertaForMaskedLM,
    RobertaForQuestionAnswering,
    RobertaTokenizer,
)

from distill.models.student import (
    check_layer_map,
    check_same_tokenizer,
    find_span_head,
    load_teacher,
    make_student,
    uniform_layer_map,
)
from eval.reading.encoder import encoder_of, layers_of
from tests.tiny_readers import bert_tokenizer, roberta_tokenizer, save_bert, save_roberta

SIZES = {"num_attention_heads": 2, "intermediate_size": 64, "initializer_range": 0.3}
FAMILIES = ["bert", "roberta", "distilbert"]
IDS = torch.tensor([[2, 7, 8, 9, 3, 10, 11, 3]])


def config(family, layers=4, width=32):
    if family == "distilbert":
        return DistilBertConfig(
            vocab_size=31, max_position_embeddings=64, dim=width, n_layers=layers, n_heads=2,
            hidden_dim=64, initializer_range=0.3,
        )  # fmt: skip
    kind, more = (BertConfig, {}) if family == "bert" else (RobertaConfig, {"pad_token_id": 1})
    return kind(
        vocab_size=31, max_position_embeddings=66, hidden_size=width, num_hidden_layers=layers,
        **SIZES, **more,
    )  # fmt: skip


READERS = {
    "bert": BertForQuestionAnswering,
    "roberta": RobertaForQuestionAnswering,
    "distilbert": DistilBertForQuestionAnswering,
}
MASKED = {"roberta": RobertaForMaskedLM, "distilbert": DistilBertForMaskedLM}


def reader(family, layers=4, seed=1):
    torch.manual_seed(seed)
    return READERS[family](config(family, layers)).eval()


def save(model, folder, tokenizer=None):
    model.save_pretrained(folder)
    (tokenizer or bert_tokenizer()).save_pretrained(folder)
    return str(folder)


def same(first, second):
    """Whether two modules have the same weights under the same names."""
    theirs, ours = first.state_dict(), second.state_dict()
    return theirs.keys() == ours.keys() and all(torch.equal(theirs[k], ours[k]) for k in theirs)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("layers", [(2, 4), (4,), (1, 2, 3, 4)])
def test_layers_embeddings_and_head_are_the_teachers(family, layers):
    teacher = reader(family)
    student = make_student("teacher:" + ",".join(map(str, layers)), teacher, seed=0)
    assert type(student) is type(teacher)
    assert student.config.num_hidden_layers == len(layers_of(student)) == len(layers)
    assert teacher.config.num_hidden_layers == len(layers_of(teacher)) == 4
    for layer, copied in zip(layers, layers_of(student), strict=True):
        assert same(layers_of(teacher)[layer - 1], copied)
    assert same(encoder_of(teacher).embeddings, encoder_of(student).embeddings)
    assert same(teacher.qa_outputs, student.qa_outputs)
    # the weights are the student's own
    with torch.no_grad():
        layers_of(student)[0].apply(lambda module: [p.zero_() for p in module.parameters()])
    assert same(teacher, reader(family))


@pytest.mark.parametrize("family", FAMILIES)
def test_all_the_layers_make_the_teacher_again(family):
    teacher = reader(family)
    student = make_student("teacher:1,2,3,4", teacher, seed=0).eval()
    assert torch.equal(student(IDS).start_logits, teacher(IDS).start_logits)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_first_layers_make_the_hidden_states_of_the_teacher(family):
    teacher = reader(family)
    student = make_student("teacher:1,2", teacher, seed=0).eval()
    theirs = encoder_of(teacher)(IDS, output_hidden_states=True).hidden_states
    ours = encoder_of(student)(IDS, output_hidden_states=True).hidden_states
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs[:3], strict=True))


def test_a_cut_out_student_is_saved_and_loaded(tmp_path):
    student = make_student("teacher:2,4", reader("distilbert"), seed=0)
    again = make_student(save(student, tmp_path / "student"), None, seed=5)
    assert same(student, again)
    assert again.config.num_hidden_layers == 2


def test_a_cut_out_student_is_float32_and_leaves_the_random_state_alone():
    teacher = reader("bert").half()
    before = torch.get_rng_state()
    student = make_student("teacher:2,4", teacher, seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    assert {weight.dtype for weight in student.parameters()} == {torch.float32}
    assert student.config.dtype == torch.float32
    assert torch.equal(student.qa_outputs.weight, teacher.qa_outputs.weight.float())


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("teacher:2,5", "student teacher:2,5: no layer 5; the teacher has layers 1 to 4"),
        ("teacher:0,2", "student teacher:0,2: no layer 0; the teacher has layers 1 to 4"),
        ("teacher:2,x", "student teacher:2,x: name layers as in teacher:2,4,6"),
        ("teacher:", "student teacher:: name layers as in teacher:2,4,6"),
        ("teacher:4,2", "student teacher:4,2: name each layer once, lower ones first"),
        ("teacher:2,2", "student teacher:2,2: name each layer once, lower ones first"),
    ],
)
def test_layers_that_the_teacher_lacks_are_refused(spec, message):
    with pytest.raises(ValueError, match=message):
        make_student(spec, reader("bert"), seed=0)


def test_layers_need_a_teacher_that_reads():
    with pytest.raises(ValueError, match=r"student teacher:2,4: no teacher to take layers from"):
        make_student("teacher:2,4", None, seed=0)
    with pytest.raises(ValueError, match=r"the teacher: a head without span outputs"):
        make_student("teacher:2,4", BertModel(config("bert")), seed=0)


def test_a_reader_is_loaded_as_it_is(tmp_path, capsys):
    folder = save_bert(tmp_path / "reader")
    capsys.readouterr()
    student = make_student(str(folder), None, seed=0)
    assert capsys.readouterr().err == ""
    assert same(student, BertForQuestionAnswering.from_pretrained(folder))


@pytest.mark.parametrize("family", ["roberta", "distilbert"])
def test_a_head_that_is_missing_is_drawn_by_the_seed(family, tmp_path, capsys):
    torch.manual_seed(3)
    masked = MASKED[family](config(family))
    folder = save(masked, tmp_path / "masked")
    capsys.readouterr()
    first = make_student(folder, None, seed=7)
    said = f"{folder}: no span head; a new one is drawn by seed 7"
    assert capsys.readouterr().err.splitlines() == [said]
    torch.manual_seed(99)  # whatever happened before
    assert same(first, make_student(folder, None, seed=7))
    other = make_student(folder, None, seed=8)
    assert same(encoder_of(first), encoder_of(other))
    assert not torch.equal(first.qa_outputs.weight, other.qa_outputs.weight)
    assert not first.qa_outputs.bias.any()
    assert same(layers_of(first), layers_of(masked))
    # 64 draws of standard deviation 0.3: the sample's is within a quarter of it
    assert first.qa_outputs.weight.std().item() == pytest.approx(0.3, rel=0.25)


def test_an_encoder_with_a_hole_is_refused(tmp_path):
    folder = save(reader("bert", layers=2), tmp_path / "short")
    path = tmp_path / "short" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "num_hidden_layers": 3}))
    with pytest.raises(ValueError, match=r"lacks 16 weights: bert.encoder.layer.2"):
        make_student(folder, None, seed=0)
    with pytest.raises(ValueError, match=r"lacks 16 weights: encoder.layer.2"):
        load_teacher(folder, span_head=False)


def test_pickled_weights_are_read_on_request_alone(tmp_path, capsys):
    folder = tmp_path / "old"
    model = reader("bert", layers=2)
    save(model, folder)
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(OSError, match=r"no weights as safetensors .*pass --allow-bin"):
        make_student(str(folder), None, seed=0)
    with pytest.raises(OSError, match=r"no weights as safetensors .*pass --allow-bin"):
        load_teacher(str(folder), span_head=False)
    assert same(make_student(str(folder), None, seed=0, allow_bin=True), model)
    assert "reading pytorch_model.bin (pickled), as allowed" in capsys.readouterr().err


def test_a_name_of_nothing_is_no_matter_of_formats(tmp_path):
    for load in (
        lambda: make_student(str(tmp_path / "none"), None, seed=0),
        lambda: load_teacher(str(tmp_path / "none"), span_head=False),
    ):
        with pytest.raises(OSError, match=r"none") as caught:
            load()
        assert "allow-bin" not in str(caught.value)


def test_damaged_weights_are_named(tmp_path):
    folder = save(reader("bert", layers=2), tmp_path / "damaged")
    (tmp_path / "damaged" / "model.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(ValueError, match=r"damaged: damaged weights .*; fetch it again"):
        make_student(folder, None, seed=0)


@pytest.mark.parametrize("span_head", [True, False])
def test_a_teacher_is_frozen_and_in_eval_mode(span_head, tmp_path):
    folder = str(save_roberta(tmp_path / "teacher"))
    tokenizer, teacher = load_teacher(folder, span_head=span_head)
    assert tokenizer.is_fast
    assert not any(module.training for module in teacher.modules())
    assert not any(weight.requires_grad for weight in teacher.parameters())
    assert hasattr(teacher, "qa_outputs") == span_head
    whole = RobertaForQuestionAnswering.from_pretrained(folder)
    assert same(layers_of(teacher), layers_of(whole))


@pytest.mark.parametrize("family", ["roberta", "distilbert"])
def test_a_teacher_without_span_head_teaches_hidden_states_alone(family, tmp_path):
    masked = MASKED[family](config(family))
    folder = save(masked, tmp_path / "masked")
    _, teacher = load_teacher(folder, span_head=False)
    assert same(teacher, encoder_of(masked))  # and no pooler
    with pytest.raises(ValueError, match=r"lacks 2 weights: qa_outputs.bias.*it is no reader yet"):
        load_teacher(folder, span_head=True)


def test_an_encoder_is_loaded_without_its_pooler(tmp_path):
    model = BertModel(config("bert")).eval()
    _, teacher = load_teacher(save(model, tmp_path / "bert"), span_head=False)
    assert not [name for name in teacher.state_dict() if "pooler" in name]
    assert torch.equal(teacher(IDS).last_hidden_state, model(IDS).last_hidden_state)


def test_a_head_of_other_outputs_is_refused(tmp_path):
    three = BertForQuestionAnswering(BertConfig(**config("bert").to_dict() | {"num_labels": 3}))
    with pytest.raises(ValueError, match=r"x: a head without span outputs .*out_features=3"):
        find_span_head(three, "x")
    folder = save(three, tmp_path / "three")
    for load in (
        lambda: make_student(folder, None, seed=0),
        lambda: load_teacher(folder, span_head=True),
    ):
        with pytest.raises(ValueError, match=r"a head without span outputs"):
            load()
    classifier = BertForSequenceClassification(config("bert"))
    with pytest.raises(ValueError, match=r"x: a head without span outputs .qa_outputs: none"):
        find_span_head(classifier, "x")


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_are_found_with_and_without_a_head(family):
    model = reader(family)
    assert encoder_of(encoder_of(model)) is encoder_of(model)
    assert layers_of(encoder_of(model)) is layers_of(model)
    assert len(layers_of(model)) == 4


def test_shared_layers_are_refused():
    albert = AlbertForQuestionAnswering(
        AlbertConfig(vocab_size=40, embedding_size=8, hidden_size=32, num_hidden_layers=4, **SIZES)
    )
    with pytest.raises(ValueError, match=r"found no list of its 4 layers"):
        layers_of(albert)


@pytest.mark.parametrize(
    ("student", "teacher", "layer_map"),
    [
        (6, 12, (2, 4, 6, 8, 10, 12)),
        (3, 12, (4, 8, 12)),
        (3, 6, (2, 4, 6)),
        (4, 4, (1, 2, 3, 4)),
        (1, 12, (12,)),
    ],
)
def test_a_uniform_layer_map(student, teacher, layer_map):
    assert uniform_layer_map(student, teacher) == layer_map
    check_layer_map(layer_map, student, teacher)


@pytest.mark.parametrize(("student", "teacher"), [(5, 12), (12, 6), (4, 6)])
def test_layers_that_cannot_be_spread_evenly(student, teacher):
    message = f"{teacher} teacher layers cannot be spread evenly over {student} .*layer-map"
    with pytest.raises(ValueError, match=message):
        uniform_layer_map(student, teacher)


@pytest.mark.parametrize(
    ("layer_map", "message"),
    [
        ((2, 4, 7), "--stages.N.layer-map 2 4 7: no layer 7; the teacher has layers 1 to 6"),
        ((0, 2, 4), "--stages.N.layer-map 0 2 4: no layer 0; the teacher has layers 1 to 6"),
        ((2, 4), "--stages.N.layer-map 2 4: 2 layers for a student of 3"),
        ((1, 2, 4, 6), "--stages.N.layer-map 1 2 4 6: 4 layers for a student of 3"),
    ],
)
def test_a_layer_map_out_of_range_is_refused(layer_map, message):
    with pytest.raises(ValueError, match=message):
        check_layer_map(layer_map, 3, 6)
    check_layer_map((1, 1, 6), 3, 6)  # two student layers may learn from one


def changed(**changes):
    vocab = bert_tokenizer().get_vocab()
    return BertTokenizer(vocab=vocab, **changes)


def test_equal_tokenizers_pass(tmp_path):
    names = ("t", "s")
    check_same_tokenizer(bert_tokenizer(), bert_tokenizer(), names)
    check_same_tokenizer(roberta_tokenizer(), roberta_tokenizer(), names)
    cut = bert_tokenizer()
    cut("who sat ?", truncation=True, max_length=2)  # leaves its mark on the tokenizer
    cut.model_max_length = 64
    cut.model_input_names = ["input_ids", "attention_mask"]  # DistilBERT's
    check_same_tokenizer(bert_tokenizer(), cut, names)


def test_another_vocabulary_is_refused():
    vocab = bert_tokenizer().get_vocab()
    swapped = BertTokenizer(vocab={**vocab, "cat": vocab["dog"], "dog": vocab["cat"]})
    message = (
        "teacher t and student s have different vocabularies: 30 and 30 tokens, 2 of them differ, "
        r"such as 'cat' \(9 and 10\); a student learns from a teacher of the same tokenizer"
    )
    with pytest.raises(ValueError, match=message):
        check_same_tokenizer(bert_tokenizer(), swapped, ("t", "s"))
    with pytest.raises(ValueError, match=r"have different vocabularies: 30 and 261 tokens"):
        check_same_tokenizer(bert_tokenizer(), roberta_tokenizer(), ("t", "s"))


def test_another_way_to_cut_text_is_refused():
    with pytest.raises(ValueError, match=r'have different tokenizers: normalizer .*"lowercase"'):
        check_same_tokenizer(bert_tokenizer(), changed(do_lower_case=False), ("t", "s"))
    spaced = roberta_tokenizer()
    spaced.backend_tokenizer.pre_tokenizer.add_prefix_space = True
    with pytest.raises(ValueError, match=r"have different tokenizers: pre_tokenizer"):
        check_same_tokenizer(roberta_tokenizer(), spaced, ("t", "s"))
    trimmed = roberta_tokenizer()  # changes offsets, no ids
    before = trimmed.backend_tokenizer.pre_tokenizer.trim_offsets
    trimmed.backend_tokenizer.pre_tokenizer.trim_offsets = not before
    check_same_tokenizer(roberta_tokenizer(), trimmed, ("t", "s"))
    vocab = {**roberta_tokenizer().get_vocab(), "ab": 261}
    plain, merging = (RobertaTokenizer(vocab=vocab, merges=m) for m in ([], [("a", "b")]))
    with pytest.raises(ValueError, match=r'different tokenizers: merges \[\] and \[\["a", "b"\]\]'):
        check_same_tokenizer(plain, merging, ("t", "s"))
