"""The model card of a student: a head the hub accepts, measured figures, and nothing else."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from distill.card import CardConfig, _main
from distill.cards.measured import read_training
from distill.cards.model_card import card_text, write_card
from distill.training.trainer import curve
from tests.finished_runs import finished, record, write_record
from tests.hostile import HOSTILE, body_markup, spoiled

SQUAD_1 = "3527663986b8295af4f7fcdff1ba1ff3f72d07d61a20f487cb238a6ef92fd955"


def head(folder: Path) -> dict[str, Any]:
    text = (folder / "README.md").read_text("utf-8")
    found: dict[str, Any] = yaml.safe_load(text.split("\n---\n")[0].removeprefix("---\n"))
    return found


def test_the_head_and_its_model_index(tmp_path: Path) -> None:
    folder = finished(tmp_path / "student")
    write_card(folder)
    found = head(folder)
    scores = json.loads((folder / "eval/scores.json").read_text())
    assert found["library_name"] == "transformers"
    assert found["pipeline_tag"] == "question-answering"
    assert found["base_model"] == "someone/student"
    assert "datasets" not in found  # set20x is no data set of the hub
    [model] = found["model-index"]
    assert model["name"] == "small"
    [result] = model["results"]
    assert result["task"]["type"] == "question-answering"
    assert result["dataset"] == {"name": "dev.json", "type": "dev.json", "split": "validation"}
    values = {metric["type"]: metric["value"] for metric in result["metrics"]}
    assert values == {"exact_match": scores["exact"], "f1": scores["f1"]}
    for metric in result["metrics"]:
        assert metric["args"] == {"signature": scores["signature"]}
    assert ModelCard.load(folder / "README.md").data.eval_results is not None


def test_the_text_says_what_was_measured(tmp_path: Path) -> None:
    folder = finished(tmp_path / "student")
    write_card(folder)
    text = (folder / "README.md").read_text("utf-8")
    scores = json.loads((folder / "eval/scores.json").read_text())
    table = dict(re.findall(r"^\| (\w+) \| ([\d.,]+) \|$", text, re.MULTILINE))
    assert table["HasAns_f1"] == f"{scores['HasAns_f1']:.2f}"
    assert table["total"] == str(scores["total"])
    assert scores["signature"] in text
    assert "1,234,567 parameters, distilled by" in text
    assert "| prediction | original | someone/teacher | 2 | 8 | 3e-05 | 4 | 32 | 62 |" in text
    assert "Trained in 123 s on A Processor, 2 cores." in text
    assert str(tmp_path) not in text


def test_no_name_becomes_markup(tmp_path: Path) -> None:
    plain = record(hardware={**record()["hardware"], "gpu": "A GPU"})
    hostile = spoiled(plain)
    hostile["plan"]["recipe"]["score"] = "squad_v2"
    hostile["plan"]["recipe"]["stages"] = plain["plan"]["recipe"]["stages"]
    for stage in hostile["plan"]["recipe"]["stages"]:
        stage["teacher"] = stage["rows"] = HOSTILE
    found = card_text(hostile, {})
    assert body_markup(found) == body_markup(card_text(plain, {}))
    assert "\x1b" not in found


def test_a_card_says_of_its_rows_what_is_known(tmp_path: Path) -> None:
    folder = finished(tmp_path / "student")
    write_card(folder)
    text = (folder / "README.md").read_text("utf-8")
    assert not {"language", "license"} & head(folder).keys()
    assert "- licence: not known" in text
    assert "Wikipedia" not in text
    facts = {"language": ["de"], "license": "cc-by-4.0"}
    found = yaml.safe_load(card_text(record(data_card=facts), {}).split("---\n")[1])
    assert facts.items() <= found.items()
    plan = record()["plan"]
    squad = {"kind": "original", "name": "train.json", "sha256": SQUAD_1}
    card = card_text(record(plan={**plan, "rows": [squad, squad]}), {})
    assert "cc-by-sa-4.0" in card.split("---\n")[1]
    assert card.count("SQuAD is by Rajpurkar et al.") == 1
    assert "rajpurkar-etal-2016-squad" in card
    mixed = card_text(record(plan={**plan, "rows": [squad, plan["rows"][0]]}), {})
    assert "license" not in mixed.split("---\n")[1]
    text_rows = [{**row, "kind": "text"} for row in plan["rows"]]
    unknown = card_text(record(plan={**plan, "rows": text_rows}, data_card=facts), {})
    assert "license" not in unknown.split("---\n")[1]


def test_the_curves_of_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = record()
    for stage in found["stages"]:
        stage["losses"] = {"step": [1, 50], "loss": [3.0, 1.5], "hidden_loss": [1.0, 0.5]}
    folder = finished(tmp_path / "student", scored=False, stages=found["stages"])
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    write_card(folder)
    assert "the card goes without its picture" in capsys.readouterr().err
    assert "curves.svg" not in (folder / "README.md").read_text()
    monkeypatch.undo()
    write_card(folder)
    assert "![loss by step, for each stage](curves.svg)" in (folder / "README.md").read_text()
    drawn = (folder / "curves.svg").read_text()
    for words in ("1. intermediate", "2. prediction", "hidden loss", "step"):
        assert f">{words}<" in drawn
    write_card(folder)
    assert (folder / "curves.svg").read_text() == drawn


def test_a_curve_has_few_points() -> None:
    logged = [{"loss": 1.0 / n, "epoch": 0.1, "step": n} for n in range(1, 1000)]
    found = curve(logged)
    assert found.keys() == {"step", "loss"}
    assert len(found["step"]) == len(found["loss"]) == 200
    assert (found["step"][:2], found["loss"][1]) == ([1, 6], round(1 / 6, 6))
    assert curve([]) == {"step": []}


def test_a_student_without_scores_has_no_model_index(tmp_path: Path) -> None:
    folder = finished(tmp_path / "student", scored=False)
    write_card(folder)
    assert "model-index" not in head(folder)
    assert "metrics" not in head(folder)
    assert "Not measured" in (folder / "README.md").read_text()


def test_a_trial_says_that_it_is_one(tmp_path: Path) -> None:
    plan = {**record()["plan"], "max_steps": 30}
    folder = finished(tmp_path / "student", scored=False, plan=plan)
    write_card(folder)
    assert "stopped after 30 steps" in (folder / "README.md").read_text()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ({"f1": float("nan")}, "scores.f1 is nan"),
        ({"signature": ""}, "no signature"),
        ({"signature": "metric:bleu|n:9"}, "its metric is not one of"),
        ({"exact": None}, "exact is None, not a percentage"),
        ({"f1": 101.0}, "f1 is 101.0, not a percentage"),
        ({"total": 8}, "total is 8, the signature says n:9"),
        ({"HasAns_exact": 99.0}, "exact is not what HasAns_exact and NoAns_exact come to"),
    ],
)
def test_what_was_not_measured_is_an_error(
    tmp_path: Path, spoil: dict[str, Any], message: str
) -> None:
    folder = finished(tmp_path / "student")
    scores = {**json.loads((folder / "eval/scores.json").read_text()), **spoil}
    (folder / "eval/scores.json").write_text(json.dumps(scores))
    write_record(folder, record(scores=scores))
    with pytest.raises(ValueError, match=re.escape(message)):
        write_card(folder)
    assert not (folder / "README.md").exists()


def test_scores_need_their_predictions_and_their_protocol(tmp_path: Path) -> None:
    folder = finished(tmp_path / "student")
    predictions = folder / "eval/predictions.json"
    kept = predictions.read_bytes()
    predictions.write_bytes(kept + b" ")
    with pytest.raises(ValueError, match=r"predictions\.json is not the file that predict\.json"):
        write_card(folder)
    predictions.unlink()
    with pytest.raises(FileNotFoundError, match="scores, but no predictions"):
        write_card(folder)
    predictions.write_bytes(kept)
    made = json.loads((folder / "eval/predict.json").read_text())
    made["protocol_signature"] = "farm"
    (folder / "eval/predict.json").write_text(json.dumps(made))
    with pytest.raises(ValueError, match="its protocol is not the one of predict"):
        write_card(folder)


def test_scores_of_another_run(tmp_path: Path) -> None:
    folder = finished(tmp_path / "student")
    found = json.loads((folder / "training.json").read_text())
    found["scores"]["f1"] = 12.5
    write_record(folder, found)
    with pytest.raises(ValueError, match=r"not the scores of eval/scores\.json"):
        write_card(folder)


def test_a_record_that_is_not_whole(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"training\.json"):
        write_card(tmp_path)
    (tmp_path / "training.json").write_text('{"plan": {}}')
    with pytest.raises(
        ValueError, match=r"training\.json: incomplete \(plan\.recipe: is missing\)"
    ):
        write_card(tmp_path)
    folder = finished(tmp_path / "student")
    found = json.loads((folder / "training.json").read_text())
    del found["stages"][0]["seconds"]
    write_record(folder, found)
    with pytest.raises(ValueError, match=r"training\.json: incomplete \(.*\); train, predict"):
        write_card(folder)


@pytest.mark.parametrize("wrong", [["x"], {"x": 1}, "x", [[]], True])
@pytest.mark.parametrize(
    "at",
    [
        *("plan", "stages", "hardware", "parameters", "seconds", "weights_sha256"),
        *("plan.recipe", "plan.rows", "plan.max_steps", "plan.recipe.name"),
        *("plan.recipe.student", "plan.recipe.stages.0.kind", "plan.recipe.stages.1.epochs"),
        *("plan.rows.1.name", "stages.0.steps", "stages.1.seconds", "stages.0.last_losses"),
    ],
)
def test_a_value_of_another_type_is_named(tmp_path: Path, at: str, wrong: Any) -> None:
    value = record()
    *above, last = (int(key) if key.isdigit() else key for key in at.split("."))
    inner: Any = value
    for key in above:
        inner = inner[key]
    if type(wrong) is type(inner[last]) and not isinstance(wrong, list):
        pytest.skip("of the right type")
    inner[last] = wrong
    write_record(tmp_path, value)
    with pytest.raises(ValueError, match=r"training\.json: incomplete \(.*\); train, predict"):
        read_training(tmp_path)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = finished(tmp_path / "student")
    _main(CardConfig(out=folder))
    assert capsys.readouterr().out == f"{folder / 'README.md'}\n"
