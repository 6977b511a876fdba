"""Articles set apart, and rows with as many questions without an answer as with one."""

import json

import pytest

from augment.base.command import UsageError
from distill.split import SplitConfig, split


@pytest.fixture
def train(tmp_path):
    def question(article, number):
        answers = [] if number == 0 else [{"text": "a", "answer_start": 0}]
        name = f"{article}-{number}"
        return {"id": name, "question": "?", "answers": answers, "is_impossible": not answers}

    data = [
        {
            "title": str(article),
            "paragraphs": [
                {"context": "a b", "qas": [question(article, number)]} for number in range(4)
            ],
        }
        for article in range(45)
    ]
    path = tmp_path / "train.json"
    path.write_text(json.dumps({"version": "v2.0", "data": data}))
    return path


def questions(path):
    found = json.loads(path.read_text())
    assert found["version"] == "v2.0"
    return {
        q["id"]: q["is_impossible"]
        for a in found["data"]
        for p in a["paragraphs"]
        for q in p["qas"]
    }


def test_held_out_articles_are_in_one_file_alone(train, tmp_path, capsys):
    out, held = tmp_path / "out.json", tmp_path / "held.json"
    split(SplitConfig(train=str(train), out=out, held_out=held))
    assert {key.split("-")[0] for key in questions(held)} == {"9", "29"}
    assert questions(held).keys() | questions(out).keys() == questions(train).keys()
    assert not questions(held).keys() & questions(out).keys()
    assert f"{out}: 172 questions, 43 of them unanswerable" in capsys.readouterr().out


def test_balanced(train, tmp_path):
    outs = [tmp_path / name for name in ("one.json", "two.json", "three.json")]
    for out, seed in zip(outs, (0, 0, 1), strict=True):
        split(SplitConfig(train=str(train), out=out, balance=True, seed=seed))
    one, two, three = map(questions, outs)
    assert one == two != three
    assert sum(one.values()) == 45
    assert len(one) == 90
    assert all(p["qas"] for a in json.loads(outs[0].read_text())["data"] for p in a["paragraphs"])


def test_what_cannot_be_balanced(train, tmp_path):
    found = json.loads(train.read_text())
    for article in found["data"]:
        article["paragraphs"] = article["paragraphs"][1:]
    train.write_text(json.dumps(found))
    with pytest.raises(UsageError, match="0 unanswerable questions and 135 answerable"):
        split(SplitConfig(train=str(train), out=tmp_path / "out.json", balance=True))
    train.write_text('{"data": [{"paragraphs": [{"qas": [{"id": "x"}]}]}]}')
    with pytest.raises(ValueError, match=r"train\.json: .*\.context: expected str, found nothing"):
        split(SplitConfig(train=str(train), out=tmp_path / "out.json"))
