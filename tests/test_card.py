"""The data card: a head that the hub and `datasets` accept, and true numbers."""

import json
import re
from pathlib import Path
from typing import Any

import datasets.utils.resources
import pyarrow as pa
import pytest
import yaml
from huggingface_hub import ModelCardData

from augment.build import BuildConfig, build
from augment.card import CardConfig, _main, card_text
from augment.card_head import LANGUAGES, SIZES, WORDS, head_faults, head_text
from augment.check import check
from augment.shards import read_manifest, shard_paths
from tests.small_sets import CONTEXT, answer, question, squad


@pytest.fixture
def out(train: Path, glove_file: Path, tmp_path: Path) -> Path:
    out = tmp_path / "set"
    build(BuildConfig(train=str(train), out=out, mlm="none", glove=str(glove_file), num_workers=1))
    return out


def head(text: str) -> dict[str, Any]:
    assert text.startswith("---\n")
    found: dict[str, Any] = yaml.safe_load(text.split("\n---\n")[0].removeprefix("---\n"))
    return found


# what the hub's card check knows, as far as this card uses it
LICENCE, TASK, SUBTASK = "cc-by-sa-4.0", "question-answering", "extractive-qa"
CREATORS = {"found", "crowdsourced", "expert-generated", "machine-generated", "other"}


def test_the_head(out: Path) -> None:
    from datasets import Features
    from datasets.utils.metadata import MetadataConfigs
    from huggingface_hub import DatasetCard

    text = (out / "README.md").read_text("utf-8")
    found = head(text)
    assert found["license"] == LICENCE
    assert found["language"] == ["en"]
    assert found["task_categories"] == [TASK]
    assert found["task_ids"] == [SUBTASK]
    assert found["size_categories"] == ["n<1K"]
    assert found["source_datasets"] == ["extended|squad_v2"]
    assert {*found["annotations_creators"], *found["language_creators"]} <= CREATORS
    manifest = read_manifest(out)
    info = found["dataset_info"]
    assert info["splits"] == [
        {"name": "train", "num_bytes": manifest["bytes_in_memory"], "num_examples": 189}
    ]
    sizes = [path.stat().st_size for path in shard_paths(out)]
    assert info["download_size"] == sum(sizes)
    with pa.OSFile(str(shard_paths(out)[0])) as shard:
        schema = pa.ipc.open_file(shard).schema
    assert Features._from_yaml_list(info["features"]) == Features.from_arrow_schema(schema)
    card = DatasetCard(text)
    assert MetadataConfigs.from_dataset_card_data(card.data)["default"]["data_files"] == [
        {"split": "train", "path": "data/train-*.arrow"}
    ]


@pytest.mark.parametrize(
    ("rows", "category"),
    [
        (999, "n<1K"),
        (1000, "1K<n<10K"),
        (99_999, "10K<n<100K"),
        (2_204_076, "1M<n<10M"),
        (10**8, "100M<n<1B"),
    ],
)
def test_size_categories(out: Path, rows: int, category: str) -> None:
    text = card_text({**read_manifest(out), "rows": rows})
    assert head(text)["size_categories"] == [category]
    assert f"{rows:,} rows: the 9 questions of `train.json`" in text


def test_the_text_says_what_the_manifest_says(out: Path) -> None:
    text, manifest = (out / "README.md").read_text("utf-8"), read_manifest(out)
    table = dict(re.findall(r"^\| ([a-z ]+) \| ([\d,]+) \|$", text, re.MULTILINE))
    counted = {**manifest["input_counts"], **manifest["counts"]}
    assert table == {name.replace("_", " "): f"{n:,}" for name, n in counted.items()}
    words = manifest["counts"]["words"] * 20
    share = manifest["counts"]["replaced_by_glove"] / words
    assert f"{share:.1%} of all words" in text
    assert "masked LM `" not in text  # there was none
    assert manifest["plan"]["glove"]["sha256"][:16] in text
    assert "probability 0.4" in text
    assert "is **not** a source of facts" in text
    assert str(out.parent) not in text


def test_squad_1_is_the_source_of_a_set_without_impossible_questions(
    write_json: Any, glove_file: Path, tmp_path: Path
) -> None:
    path = write_json(squad([(CONTEXT, [question("q", answer(CONTEXT, "1848"))])]))
    out = tmp_path / "set"
    build(BuildConfig(train=str(path), out=out, mlm="none", glove=str(glove_file), num_workers=1))
    assert head((out / "README.md").read_text())["source_datasets"] == ["extended|squad"]


@pytest.mark.parametrize(
    "name", ["a: b.json", "- 'x' \"y\".json", "ünïcode 漢.json", "#1, [x].json"]
)
def test_odd_names(out: Path, name: str) -> None:
    manifest = read_manifest(out)
    manifest["plan"]["input"]["name"] = name
    text = card_text(manifest)
    assert head(text)["pretty_name"] == f"{name}, 20x word replacement"
    assert f"# {name}, 20x augmented" in text


def test_the_card_can_be_written_anew(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (out / "README.md").read_bytes()
    (out / "README.md").write_text("gone")
    _main(CardConfig(out=out))
    assert capsys.readouterr().out.endswith("README.md\n")
    assert (out / "README.md").read_bytes() == before
    check(out)


VOCABULARY = Path(datasets.utils.resources.__file__).parent


@pytest.mark.parametrize(
    ("ours", "file", "key"),
    [
        (SIZES, "size_categories.json", None),
        (LANGUAGES, "languages.json", None),
        (WORDS["annotations_creators"], "creators.json", "annotations"),
        (WORDS["language_creators"], "creators.json", "language"),
        (WORDS["multilinguality"], "multilingualities.json", None),
    ],
)
def test_our_words_are_those_of_the_hub(ours: list[str], file: str, key: str | None) -> None:
    theirs = json.loads((VOCABULARY / file).read_text("utf-8"))
    assert set(ours) <= set(theirs[key] if key else theirs)


HEAD: dict[str, Any] = {"license": "mit", "language": ["en"]}
METRIC = {"type": "f1", "value": 50.0, "args": {"signature": "metric:squad_v2"}}


def index(**metric: Any) -> dict[str, Any]:
    result = {
        "task": {"type": "question-answering"},
        "dataset": {"type": "rajpurkar/squad_v2", "name": "SQuAD 2.0"},
        "metrics": [{**METRIC, **metric}],
    }
    return {"model-index": [{"name": "small", "results": [result]}]}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"license": "CC BY-SA 4.0"}, "license: the hub does not know 'CC BY-SA 4.0'"),
        ({"language": ["English"]}, "language: the hub does not know 'English'"),
        ({"task_categories": ["qa"]}, "task_categories: the hub does not know 'qa'"),
        ({"size_categories": ["1M"]}, "size_categories: the hub does not know '1M'"),
        ({"base_model": "/home/me/model"}, "base_model: '/home/me/model' is not a repository"),
        ({"colour": "blue"}, "colour: not a field of our cards"),
        ({"dataset_info": {"size": float("nan")}}, "dataset_info.size is nan"),
        (index(value=float("nan")), "model-index: 'f1' is nan"),
        (index(value=None), "model-index: 'f1' is None"),
        (index(value="76"), "model-index: 'f1' is '76'"),
        (index(args={}), "model-index: 'f1' without a signature"),
        (index(type="bleu"), "model-index: 'bleu' is 50.0"),
    ],
)
def test_faults_of_a_head(change: dict[str, Any], fault: str) -> None:
    assert head_faults({**HEAD, **index()}) == []
    assert any(fault in found for found in head_faults({**HEAD, **change}))


def test_a_head_with_a_fault_is_not_written() -> None:
    with pytest.raises(ValueError, match="the hub does not know 'wtf'"):
        head_text(ModelCardData(language="en", license="wtf"))
    with pytest.raises(ValueError, match="license: missing"):
        head_text(ModelCardData(language="en"))
