"""The bundled sample is SQuAD 2.0 as published, and holds the awkward cases on purpose."""

import json
from pathlib import Path

import pytest

from augment.squad import SquadSet, read_squad

EMBEDDED = Path(__file__).parents[1] / "augment" / "embedded"
FILES = {name: EMBEDDED / f"sample-{name}-v2.0.json" for name in ("train", "dev")}


@pytest.fixture(params=["train", "dev"])
def sample(request: pytest.FixtureRequest) -> SquadSet:
    return read_squad(FILES[request.param])


def raw_questions(name: str) -> list[dict]:
    content = json.loads(FILES[name].read_text(encoding="utf-8"))
    return [
        {**question, "context": paragraph["context"]}
        for article in content["data"]
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    ]


def spans(name: str) -> list[tuple[str, int, int]]:
    return [
        (question["context"], answer["answer_start"], answer["answer_start"] + len(answer["text"]))
        for question in raw_questions(name)
        for answer in question["answers"]
    ]


@pytest.mark.parametrize(("name", "paragraphs", "questions"), [("train", 30, 233), ("dev", 12, 88)])
def test_counts(name, paragraphs, questions):
    counts = read_squad(FILES[name]).counts
    assert counts["paragraphs"] == counts["distinct_contexts"] == paragraphs
    assert counts["questions"] == questions
    assert 0.3 < counts["impossible_questions"] / questions < 0.36


def test_paragraphs_are_as_long_as_squads(sample):
    lengths = [len(paragraph.context.split()) for paragraph in sample.paragraphs]
    assert min(lengths) >= 80
    assert max(lengths) <= 155


def test_train_and_dev_share_no_text():
    contexts = [{p.context for p in read_squad(path).paragraphs} for path in FILES.values()]
    titles = [{p.title for p in read_squad(path).paragraphs} for path in FILES.values()]
    ids = [{question["id"] for question in raw_questions(name)} for name in FILES]
    for train, dev in (contexts, titles, ids):
        assert not train & dev


@pytest.mark.parametrize("name", ["train", "dev"])
def test_layout_is_the_official_one(name):
    content = json.loads(FILES[name].read_text(encoding="utf-8"))
    assert content["version"] == "v2.0"
    for question in raw_questions(name):
        assert ("plausible_answers" in question) == question["is_impossible"]
        for answer in question.get("plausible_answers", []):
            start = answer["answer_start"]
            assert question["context"][start : start + len(answer["text"])] == answer["text"]


@pytest.mark.parametrize("name", ["train", "dev"])
def test_answers_at_both_ends_and_inside_tokens(name):
    found = spans(name)
    assert any(start == 0 for _, start, _ in found)
    assert any(end == len(context) for context, _, end in found)
    inside = [
        context[start:end]
        for context, start, end in found
        if context[end : end + 1].isalnum() or (start and context[start - 1].isalnum())
    ]
    assert bool(inside) == (name == "train"), inside


def test_an_answer_occurs_elsewhere_too():
    repeated = [
        context for context, start, end in spans("train") if context.count(context[start:end]) > 1
    ]
    assert len(repeated) >= 5


@pytest.mark.parametrize("character", [*list('—–-"é£€%°½'), "m³", "U.S.", "12.5", "20,000"])
def test_awkward_characters_occur(character):
    texts = [
        paragraph.context for path in FILES.values() for paragraph in read_squad(path).paragraphs
    ]
    assert any(character in text for text in texts)


def test_a_newline_occurs():
    assert any("\n" in paragraph.context for paragraph in read_squad(FILES["train"]).paragraphs)


def test_dev_has_several_gold_answers():
    numbers = [len(q["answers"]) for q in raw_questions("dev") if not q["is_impossible"]]
    assert max(numbers) == 3
    assert sum(number > 1 for number in numbers) > len(numbers) / 3
