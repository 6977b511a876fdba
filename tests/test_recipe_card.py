"""Cards of recipes: as their files say, regenerated; figures with sources; commands that parse."""

import json
import re
import shlex
import shutil
import statistics
from pathlib import Path
from typing import Any

import pytest
import tyro
import yaml
from huggingface_hub import ModelCard

from augment.base.command import to_json
from augment.build import BuildConfig
from augment.cards.head import head_faults
from distill.archive import ArchiveConfig, archive
from distill.card import CardConfig, _main
from distill.cards.measured import dev_set, signature_of
from distill.cards.published import published
from distill.cards.recipe_card import pictures, read_arms, recipe_card
from distill.recipes import BUNDLED, find_recipe, recipe_names
from distill.train import TrainConfig, defaults
from eval import squad_v1, squad_v2
from eval.predict import Predict
from eval.reading.encoder import KINDS
from eval.reading.pruned import Pruned, PrunedLayer, read_pruned
from tests.archived_answers import restore
from tests.finished_runs import finished, predict_and_score, record, write_record
from tests.small_sets import small_set

CARDS = Path(__file__).parents[1] / "data_cards"
RECIPE = "minilm-3l-384d-squad2"
ARMS = [arm for name in recipe_names() for arm in sorted((CARDS / name).glob("*/eval"))]


def head(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text.split("\n---\n")[0].removeprefix("---\n"))
    return found


def section(text: str, title: str) -> str:
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def table(text: str) -> list[dict[str, str]]:
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    names, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(names, row, strict=True)) for row in rows]


def test_every_recipe_has_a_card_and_no_other_is_there() -> None:
    assert recipe_names() == sorted(path.stem for path in (BUNDLED / "published").glob("*.toml"))
    for name in recipe_names():
        assert (CARDS / name / "README.md").is_file()


@pytest.mark.parametrize("name", recipe_names())
def test_a_card_is_what_its_files_give(name: str) -> None:
    text = (CARDS / name / "README.md").read_text("utf-8")
    assert text == recipe_card(name, CARDS / name)
    for file, drawn in pictures(read_arms(CARDS / name)).items():
        assert (CARDS / name / file).read_bytes() == drawn
    assert head_faults(head(text)) == []
    ModelCard(text)


@pytest.mark.parametrize("name", recipe_names())
def test_every_measured_number_is_that_of_a_file(name: str) -> None:
    text = (CARDS / name / "README.md").read_text("utf-8")
    measured = section(text, "Measured here")
    rows = {row["system"]: row for row in table(measured)} if "| system |" in measured else {}
    found = {path.name: json.loads((path / "eval/scores.json").read_text())
             for path in CARDS.joinpath(name).iterdir() if path.is_dir()}  # fmt: skip
    assert rows.keys() == found.keys()
    for arm, scores in found.items():
        row, files = rows[arm], CARDS / name / arm
        if (files / "pruning.json").is_file():
            left = read_pruned(files / "pruning.json")
            heads = len(left.layers) * left.num_heads
            assert row["linear weights left"] == f"{left.linear_density:.1%}"
            assert row["heads gone"] == f"{left.removed_heads} of {heads}"
            assert row["parameters"] == f"{left.parameters:,}"
        if (files / "speed.json").is_file():
            batches = json.loads((files / "speed.json").read_text())["batches"]
            medians = [statistics.median(batches[size]["ratios"]) for size in ("1", "8", "32")]
            assert row["times faster"] == ", ".join(f"{median:.1f}" for median in medians)
        others = {"linear weights left", "heads gone", "times faster"}
        for figure in {*row} - {"system", "trained", "parameters"} - others:
            assert rows[arm][figure] == (f"{scores[figure]:.2f}" if figure in scores else "")
        assert scores["signature"] in measured
    index = head(text).get("model-index", [])
    assert bool(index) == ("student" in found)
    for metric in (metric for model in index for r in model["results"] for metric in r["metrics"]):
        assert metric["value"] in (
            found["student"].get(key) for key in ("exact", "exact_match", "f1")
        )


@pytest.mark.parametrize("folder", ARMS, ids=lambda path: f"{path.parts[-3]}/{path.parts[-2]}")
def test_scores_are_those_of_the_predictions(folder: Path, shared: Path, tmp_path: Path) -> None:
    scores = json.loads((folder / "scores.json").read_text())
    if not (folder / "answers.npz").is_file():
        pytest.skip("the answers of this arm were not kept")
    metric = signature_of(scores)["metric"]
    dev = shared / "data/squad" / ("dev-v2.0.json" if metric == "squad_v2" else "dev-v1.1.json")
    restore(folder.parent, str(dev), tmp_path)
    assert unversioned(score_again(metric, dev, tmp_path)) == unversioned(scores)


def unversioned(scores: dict[str, Any]) -> dict[str, Any]:
    return {**scores, "signature": scores["signature"].partition("|twentyfold:")[0]}


def score_again(metric: str, dev: Path, folder: Path) -> dict[str, Any]:
    files: dict[str, Any] = {"dev": str(dev), "predictions": folder / "predictions.json"}
    if metric == "squad_v1":
        return squad_v1.score_files(squad_v1.SquadV1(**files)).as_dict()
    files["na_prob_file"] = folder / "na_probs.json"
    return squad_v2.score_files(squad_v2.SquadV2(**files)).as_dict()


@pytest.mark.parametrize(
    ("name", "quoted"),
    [
        ("tinybert-6l-768d-squad2", ["71.877 | 76.361", "73.825 | 77.168"]),
        ("tinyroberta-squad2", ["78.691 | 81.92 | 76.198 | 82.664 | 81.177 | 81.177"]),
        ("distilbert-squad1", ["86.9", "88.5", "40 % fewer parameters", "60 % faster"]),
        (
            "bert-block-sparse-squad1",
            ["71.88 | 81.36", "7.5 %", "106 of 144", "1.92 times faster", "Not trained here yet"],
        ),
    ],
)
def test_published_figures_stand_in_the_card(name: str, quoted: list[str], tmp_path: Path) -> None:
    text = recipe_card(name, tmp_path)
    for words in quoted:
        assert words in text
    assert "model-index" not in head(text)  # published is not measured


def test_every_published_statement_has_a_source_and_a_protocol() -> None:
    for name in recipe_names():
        said = published(name)
        for stated in (*said.figures, *said.facts):
            assert stated.source.startswith("https://")
        for figure in said.figures:
            assert figure.protocol
            assert all(0 < value <= 100 for value in figure.scores.values())


@pytest.mark.parametrize("name", recipe_names())
def test_the_commands_can_be_given(name: str, tmp_path: Path) -> None:
    commands = re.findall(r"^python -m (\S+) (.+)$", recipe_card(name, tmp_path), re.MULTILINE)
    assert commands
    for module, line in commands:
        arguments = shlex.split(line)
        configs: dict[str, Any] = {
            "augment.build": BuildConfig,
            "eval.predict": Predict,
            "eval.squad_v1": squad_v1.SquadV1,
            "eval.squad_v2": squad_v2.SquadV2,
        }
        if module == "distill.train":
            given = TrainConfig(output=tyro.MISSING, **defaults(find_recipe(name)))
            assert tyro.cli(TrainConfig, args=arguments, default=given).recipe == name
        else:
            tyro.cli(configs[module], args=arguments)


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """A recipe's folder with a student, and a reader that was not trained here."""
    run = finished(tmp_path / "run")
    other = tmp_path / "other"
    predict_and_score(other / "eval", tmp_path / "dev.json")
    folder = tmp_path / "cards" / RECIPE
    for name, source in (("student", run), ("a-teacher", other)):
        archive(ArchiveConfig(run=source, dev=str(tmp_path / "dev.json"), arm=folder / name))
    return folder


def test_measured_arms(measured: Path) -> None:
    text = recipe_card(RECIPE, measured)
    scores = json.loads((measured / "student/eval/scores.json").read_text())
    student, teacher = table(section(text, "Measured here"))
    assert (student["system"], teacher["system"]) == ("student", "a-teacher")
    assert student["f1"] == teacher["f1"] == f"{scores['f1']:.2f}"
    assert student["parameters"] == "1,234,567"
    assert student["trained"] == (
        "intermediate on augmented rows of set20x, 4 steps of 8; "
        "prediction on original rows of set20x, 4 steps of 8"
    )
    assert teacher["trained"] == "not here"
    assert scores["signature"] in section(text, "Measured here")
    assert "- student: 123 s on A Processor, 2 cores" in section(text, "Hardware and time")
    [model] = head(text)["model-index"]
    assert [m["value"] for m in model["results"][0]["metrics"]] == [scores["exact"], scores["f1"]]
    assert "Trained and measured here" in text


def speed(folder: Path, **changes: Any) -> None:
    """Write what the benchmark would of an arm's reader."""
    made = json.loads((folder / "eval/predict.json").read_text())
    found = {
        "dense": "minilm-qa",
        "dense_sha256": "d",
        "sha256": made.get("model_sha256"),
        "tokens": 384,
        "dtype": "float32",
        "threads": 2,
        "hardware": {"processor": "A Processor"},
        "batches": {
            "1": {"ratio": 2.0, "ratios": [2.0]},
            "16": {"ratio": 5.0, "ratios": [5.0]},
            "8": {"ratio": 3.46, "ratios": [3.46]},
        },
    }
    (folder / "speed.json").write_text(json.dumps({**found, **changes}))


def test_pruned_arms(measured: Path) -> None:
    weights = dict.fromkeys(KINDS, 100)
    layers = (
        PrunedLayer(heads=(1, 2), neurons=3, weights=weights),
        PrunedLayer(heads=(), neurons=0, weights=dict.fromkeys(KINDS, 0)),
    )
    pruned = Pruned(
        dense_parameters=1000,
        parameters=500,
        nonzero_parameters=400,
        width=16,
        num_heads=4,
        num_neurons=64,
        layers=layers,
    )
    (measured / "student/pruning.json").write_text(to_json(pruned.as_dict()))
    speed(measured / "student")
    text = recipe_card(RECIPE, measured)
    student, teacher = table(section(text, "Measured here"))
    assert student["linear weights left"] == f"{600 / (2 * (4 * 16**2 + 2 * 16 * 64)):.1%}"
    assert student["heads gone"] == "6 of 8"
    assert (student["times faster"], teacher["times faster"]) == ("2.0, 3.5, 5.0", "")
    assert "Times faster than minilm-qa at batches of 1, 8, 16, 384" in text
    drawn = pictures(read_arms(measured))
    assert set(drawn) == {"speed.svg", "density.svg"}
    assert all(f"]({name})" in text for name in drawn)
    assert read_pruned(measured / "student/pruning.json") == pruned
    speed(measured / "a-teacher", threads=1)
    with pytest.raises(ValueError, match="threads differs"):
        recipe_card(RECIPE, measured)
    speed(measured / "a-teacher", batches={})
    with pytest.raises(ValueError, match="no batch of 8"):
        recipe_card(RECIPE, measured)
    speed(measured / "a-teacher", sha256="another")
    with pytest.raises(ValueError, match="not of the reader"):
        recipe_card(RECIPE, measured)
    (measured / "student/pruning.json").write_text("{}")
    with pytest.raises(ValueError, match="damaged"):
        recipe_card(RECIPE, measured)


def test_archived_answers_give_the_predictions_again(measured: Path, tmp_path: Path) -> None:
    out = tmp_path / "again"
    out.mkdir()
    restore(measured / "student", str(tmp_path / "dev.json"), out)
    for name in ("predictions.json", "na_probs.json"):
        assert (out / name).read_bytes() == (tmp_path / "run/eval" / name).read_bytes()
    kept = {path.name for path in measured.rglob("*") if path.is_file()}
    assert kept == {"training.json", "scores.json", "predict.json", "answers.npz"}
    other = small_set()
    other["data"][0]["paragraphs"][0]["context"] = (
        "x" + small_set()["data"][0]["paragraphs"][0]["context"]
    )
    (tmp_path / "dev.json").write_text(json.dumps(other))
    with pytest.raises(ValueError, match=r"does not give the predictions\.json that was scored"):
        restore(measured / "student", str(tmp_path / "dev.json"), out)


def test_an_answer_that_is_not_in_its_context_is_not_kept(tmp_path: Path) -> None:
    run = finished(tmp_path / "run")
    other = small_set()
    for article in other["data"]:
        article["paragraphs"][0]["context"] = "Nothing."
    (tmp_path / "other.json").write_text(json.dumps(other))
    with pytest.raises(ValueError, match="is not in its context"):
        archive(ArchiveConfig(run=run, dev=str(tmp_path / "other.json"), arm=tmp_path / "arm"))


def test_an_arm_that_is_not_whole_is_an_error(measured: Path) -> None:
    (measured / "a-teacher/eval/predict.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"predict\.json"):
        recipe_card(RECIPE, measured)
    shutil.rmtree(measured / "a-teacher")
    write_record(measured / "student", record(scores={"exact": 1.0}))
    with pytest.raises(ValueError, match=r"not the scores of eval/scores\.json"):
        recipe_card(RECIPE, measured)
    shutil.rmtree(measured / "student/eval")
    with pytest.raises(FileNotFoundError, match=r"scores\.json"):
        recipe_card(RECIPE, measured)


def test_an_unknown_recipe(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no recipe 'tinybart' with a card; there are bert-block"):
        recipe_card("tinybart", tmp_path)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _main(CardConfig(out=tmp_path / "card", recipe="distilbert-squad1"))
    assert capsys.readouterr().out == f"{tmp_path / 'card' / 'README.md'}\n"
    assert (tmp_path / "card/README.md").read_text() == recipe_card("distilbert-squad1", tmp_path)


def test_a_dev_set_is_known_by_its_answers() -> None:
    assert dev_set({"data": "27e5fad348e8"}, {"dev": "x"}) == ("rajpurkar/squad_v2", "SQuAD 2.0")
    assert dev_set({"data": "0"}, {"dev": "mine.json"}) == ("mine.json", "mine.json")
