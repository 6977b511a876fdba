"""The data card: a head that the hub and `datasets` accept, and true numbers."""

import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets.utils.resources
import pyarrow as pa
import pytest
import yaml
from huggingface_hub import ModelCardData

from augment.base.command import UsageError
from augment.base.set_records import Manifest, read_manifest
from augment.base.toml_files import fill
from augment.build import BuildConfig, build
from augment.card import CardConfig, _main
from augment.cards.data_card import card_text, write_card
from augment.cards.handwork import signed, write_signed
from augment.cards.head import check_head, head_faults, hub_words
from augment.cards.plots import draw_set, word_shares
from augment.cards.template import text as as_text
from augment.check import check
from augment.shards import read_rows, shard_paths
from augment.squad import read_squad
from tests.hostile import body_markup, spoiled


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


def test_the_head(out: Path) -> None:
    from datasets import Features
    from datasets.utils.metadata import MetadataConfigs
    from huggingface_hub import DatasetCard

    text = (out / "README.md").read_text("utf-8")
    found = head(text)
    for unknown in ("license", "language", "multilinguality", "source_datasets"):
        assert unknown not in found
    assert found["task_categories"] == [TASK]
    assert found["task_ids"] == [SUBTASK]
    assert found["size_categories"] == ["n<1K"]
    assert found["language_creators"] == ["machine-generated"]
    manifest = read_manifest(out)
    info = found["dataset_info"]
    assert info["splits"] == [
        {"name": "train", "num_bytes": manifest.bytes_in_memory, "num_examples": 189}
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
    text = card_text(replace(read_manifest(out), rows=rows), {})
    assert head(text)["size_categories"] == [category]
    assert f"{rows:,} rows: the 9 questions of `train.json`" in text


def test_the_text_says_what_the_manifest_says(out: Path) -> None:
    text, manifest = (out / "README.md").read_text("utf-8"), read_manifest(out)
    table = dict(re.findall(r"^\| ([a-z ]+) \| ([\d,]+) \|$", text, re.MULTILINE))
    counted = {**manifest.input_counts, **manifest.counts}
    assert table == {name.replace("_", " "): f"{n:,}" for name, n in counted.items()}
    words = manifest.counts["words"] * 20
    share = manifest.counts["replaced_by_glove"] / words
    assert f"{share:.1%} of all words" in text
    assert "masked LM `" not in text  # there was none
    assert manifest.plan.glove.sha256[:16] in text
    assert "probability 0.4" in text
    assert "is **not** a source of facts" in text
    assert str(out.parent) not in text


@pytest.mark.parametrize(
    "name", ["a: b.json", "- 'x' \"y\".json", "ünïcode 漢.json", "#1, [x].json"]
)
def test_odd_names(out: Path, name: str) -> None:
    plain = read_manifest(out).as_json()
    plain["plan"]["input"]["name"] = name
    text = card_text(fill(Manifest, plain, ""), {})
    assert head(text)["pretty_name"] == f"{name}, 20x word replacement"
    assert f"# {as_text(name)}, 20x augmented" in text


def test_no_name_becomes_markup(out: Path) -> None:
    manifest = read_manifest(out).as_json()
    manifest["plan"]["masked_lm"] = {"batch_tokens": 1} | dict.fromkeys(
        ("name", "sha256", "masking", "dtype", "device_class"), "x"
    )
    run = {"seconds": {"a": 1.0}, "num_workers": 1, "contexts_through_the_model": 0, "note": "x"}
    run |= {"peak_memory_mib": 9, "versions": {"python": "3"}, "processor": "x"}
    examples = {"mlm": "x", "glove": "y", "texts": ["one", "two"]}
    plain = card_text(fill(Manifest, manifest, ""), {}, examples=examples, run=run)
    spoilt = fill(Manifest, spoiled(manifest), "")
    found = card_text(spoilt, {}, examples=spoiled(examples), run=spoiled(run))
    assert body_markup(found) == body_markup(plain)
    assert "\x1b" not in found
    assert "\u202e" not in found
    assert head(found)["pretty_name"].startswith("x␍")


def test_the_card_can_be_written_anew(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (out / "README.md").read_bytes()
    (out / "README.md").write_text("gone")
    with pytest.raises(ValueError, match="it has no head; mend it, or move it away"):
        _main(CardConfig(out=out))
    (out / "README.md").write_bytes(b"caf\xe9")
    with pytest.raises(ValueError, match=r"README\.md: 'utf-8' codec.*; mend it, or move it away"):
        write_signed(out / "README.md", signed("---\na: b\n---\n"))
    (out / "README.md").unlink()
    _main(CardConfig(out=out))
    assert capsys.readouterr().out.endswith("README.md\n")
    assert (out / "README.md").read_bytes() == before
    check(out)


VOCABULARY = Path(datasets.utils.resources.__file__).parent


@pytest.mark.parametrize(
    ("ours", "file", "key"),
    [
        ("size_categories", "size_categories.json", None),
        ("language", "languages.json", None),
        ("annotations_creators", "creators.json", "annotations"),
        ("language_creators", "creators.json", "language"),
        ("multilinguality", "multilingualities.json", None),
    ],
)
def test_our_words_are_those_of_the_hub(ours: str, file: str, key: str | None) -> None:
    theirs = json.loads((VOCABULARY / file).read_text("utf-8"))
    assert set(hub_words()[ours]) <= set(theirs[key] if key else theirs)


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


def test_a_head_with_a_fault_is_refused() -> None:
    with pytest.raises(ValueError, match="the hub does not know 'wtf'"):
        check_head(ModelCardData(language="en", license="wtf").to_dict())


CARDS = Path(__file__).parents[1] / "data_cards"
KEPT = sorted(path.parent for path in CARDS.glob("*/manifest.json"))


@pytest.mark.parametrize(
    "path",
    sorted(path for path in CARDS.glob("*/README.md") if path.parent.name != "study"),  # no card
    ids=lambda path: path.parent.name,
)
def test_every_head_in_data_cards(path: Path) -> None:
    found = head(path.read_text("utf-8"))
    assert head_faults(found) == []
    assert found["license"] == LICENCE
    assert found.get("task_categories", [found.get("pipeline_tag")]) == [TASK]


@pytest.mark.parametrize("folder", KEPT, ids=lambda path: path.name)
def test_a_kept_card_is_what_its_files_give(folder: Path, tmp_path: Path) -> None:
    text = (folder / "README.md").read_text("utf-8")
    shutil.copytree(folder, tmp_path / "kept")
    write_card(tmp_path / "kept", {})
    assert (tmp_path / "kept/README.md").read_text("utf-8") == text
    assert head_faults(head(text)) == []
    files = {path.name for path in folder.iterdir()}
    assert files == {"README.md", "manifest.json", "run.json", "examples.json", "words.svg"}


@pytest.mark.parametrize("folder", KEPT, ids=lambda path: path.name)
def test_numbers_of_a_kept_card(folder: Path) -> None:
    """Each number, worked out here from the files beside it."""
    manifest, run = (json.loads((folder / f"{n}.json").read_text()) for n in ("manifest", "run"))
    text = (folder / "README.md").read_text("utf-8")
    flat = " ".join(text.split())
    counts, inputs, plan = manifest["counts"], manifest["input_counts"], manifest["plan"]
    assert manifest["rows"] == sum(shard["rows"] for shard in manifest["shards"])
    assert manifest["rows"] == inputs["questions"] * 21
    assert f"{manifest['rows']:,} rows: the {inputs['questions']:,} questions" in text
    words = counts["words"] * 20
    for source, what in (("masked_lm", "replaced by the masked LM"), ("glove", "replaced by a n")):
        share = f"{100 * counts[f'replaced_by_{source}'] / words:.1f}%"
        assert f"{share} {what}" in flat
        assert f"{share} of all words" in flat
        assert f">{share}<" in (folder / "words.svg").read_text("utf-8")
    bins = manifest["copies_by_share_replaced"]
    assert sum(bins) == inputs["paragraphs"] * 20
    largest = max(range(20), key=lambda number: bins[number])
    share = f"{100 * bins[largest] / sum(bins):.1f}%"
    assert f"{share} of the copies differ in {5 * largest} to {5 * largest + 5} %" in flat
    assert f"{sum(run['seconds'].values()):,.0f} s on {run['processor']}" in flat
    assert f"{run['contexts_through_the_model']:,} contexts went through" in flat
    for key in ("num_candidates", "replace_probability", "seed", "words"):
        assert str(plan[key]) in text


def test_no_path_of_a_machine_and_no_squad_text_is_kept(shared: Path) -> None:
    kept = "".join(path.read_text("utf-8") for path in CARDS.rglob("*")
                   if path.is_file() and path.suffix not in (".npz", ".png"))  # fmt: skip
    for start in ("/work/", "/tmp/", "/home/", "/root/"):
        assert start not in kept
    kept = kept.lower()
    for paragraph in read_squad(shared / "data/squad/dev-v2.0.json").paragraphs:
        assert paragraph.context[:60].lower() not in kept
        assert not any(question.text.lower() in kept for question in paragraph.questions)


def test_what_is_kept_of_a_set(out: Path, tmp_path: Path, capsys: Any) -> None:
    folder = tmp_path / "kept"
    _main(CardConfig(out=out, keep=folder, mlm="none", glove="embedded", note="Alone."))
    assert capsys.readouterr().out == f"{folder / 'README.md'}\n"
    check(out)  # the set is as it was
    text = (folder / "README.md").read_text("utf-8")
    run = json.loads((folder / "run.json").read_text())
    assert "config" not in run  # it holds paths
    assert str(tmp_path) not in "".join(p.read_text() for p in folder.iterdir())
    examples = json.loads((folder / "examples.json").read_text())["texts"]
    assert len(examples) == 3
    for example in examples:
        assert re.search(r"\[[^|\]]+\|[^|\]]+\]", example)  # [new|old]
        assert "\033" not in example
    assert "caused" in text
    assert "1 worker (" in text
    assert "Alone. With" in " ".join(text.split())
    (folder / "README.md").unlink()
    _main(CardConfig(out=folder))
    assert (folder / "README.md").read_text("utf-8") == text


def test_the_picture_shows_every_word_and_copy_once(out: Path) -> None:
    manifest = read_manifest(out)
    shares = word_shares(manifest)
    assert sum(shares.values()) == pytest.approx(1)
    assert all(0 <= share <= 1 for share in shares.values())
    picture = draw_set(manifest)
    assert picture == draw_set(manifest)
    for share in shares.values():
        assert f">{share:.1%}<".encode() in picture


def test_a_built_set_has_its_examples(out: Path, train: Path) -> None:
    """The marked text of copy 1 is the set's own: without its marks it stands in the shards."""
    texts = json.loads((out / "examples.json").read_text())["texts"]
    copies = {row["context"]: row for row in read_rows(out) if row["copy_index"] == 1}
    originals = {row["context"] for row in read_rows(out) if row["copy_index"] == 0}
    assert len(texts) == min(3, len(copies))
    replaced = re.compile(r"\[([^|\]]+)\|([^|\]]+)\]")
    seen = 0
    for text in texts:
        seen += len(replaced.findall(text))
        assert re.sub("[<>]", "", replaced.sub(r"\1", text)) in copies
        assert re.sub("[<>]", "", replaced.sub(r"\2", text)) in originals
    assert seen > 3
    card = (out / "README.md").read_text("utf-8")
    assert "The first copy of some paragraphs of this set." in card
    assert "](words.svg)" in card
    assert (out / "words.svg").read_bytes() == draw_set(read_manifest(out))
    assert "## Hardware and time" not in card  # the card of a set says the same on every machine


def test_a_set_without_matplotlib_has_a_card_without_pictures(
    train: Path, glove_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    out = tmp_path / "plain"
    build(BuildConfig(train=str(train), out=out, mlm="none", glove=str(glove_file), num_workers=1))
    said = capsys.readouterr().err
    assert "the card goes without its picture: pictures need matplotlib: in the project" in said
    assert not (out / "words.svg").exists()
    assert "words.svg" not in (out / "README.md").read_text()
    check(out)
    monkeypatch.undo()
    _main(CardConfig(out=out))  # later, with it
    assert "](words.svg)" in (out / "README.md").read_text()
    check(out)


def test_pictures_need_matplotlib(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"pip install -e '\.\[plots\]' -c constraints"):
        draw_set(read_manifest(out))
