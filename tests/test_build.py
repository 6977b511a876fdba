"""The build as a whole: same bytes, going on, refusing, and what its manifest says."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from augment.base.command import UsageError
from augment.base.folders import claimed
from augment.base.set_records import read_manifest
from augment.build import BuildConfig, build
from augment.check import check
from augment.shards import read_rows
from tests.small_sets import CONTEXT, question, small_set, squad

ROOT = Path(__file__).parents[1]


@pytest.fixture
def config(train: Path, glove_file: Path, tmp_path: Path) -> BuildConfig:
    """A build without a model: every word gets its neighbours."""
    out = tmp_path / "set"
    return BuildConfig(train=str(train), out=out, mlm="none", glove=str(glove_file), num_workers=1)


def digests(folder: Path) -> dict[str, str]:
    """Hash everything that has to be the same every time."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.name not in {"run.json", "SHA256SUMS"}
    }


def command(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "augment.build", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "HF_HUB_OFFLINE": "1", **environment},
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_twenty_copies_and_the_original(config: BuildConfig) -> None:
    build(config)
    rows = list(read_rows(config.out))
    assert len(rows) == 9 * 21
    assert len({row["id"] for row in rows}) == len(rows)
    assert rows[0]["context"] == CONTEXT
    assert rows[0]["answers"] == {"text": ["1848"], "answer_start": [CONTEXT.index("1848")]}
    assert {row["id"] for row in rows} >= {"year", "year#01", "year#20"}
    assert check(config.out) == {"shards": 1, "rows": 189, "spans": 21 * 7, "questions": 9}


def test_the_manifest_counts(config: BuildConfig) -> None:
    build(config)
    manifest = read_manifest(config.out)
    assert manifest.rows == 189
    assert manifest.input_counts["plausible_answers_ignored"] == 1
    assert manifest.counts["contexts_without_replaceable_words"] == 1  # the one of symbols
    assert manifest.counts["copies_equal_to_original"] == 20
    assert sum(manifest.copies_by_share_replaced) == 60
    assert manifest.counts["replaced_by_masked_lm"] == 0
    assert manifest.counts["replaced_by_glove"] > 0


def test_the_folder_holds_what_it_should(config: BuildConfig) -> None:
    build(config)
    top = {path.name for path in config.out.iterdir()}
    records = {"manifest.json", "plan.json", "run.json", "SHA256SUMS"}
    assert top == {"data", "README.md", "examples.json", "words.svg", *records}
    assert [path.name for path in (config.out / "data").iterdir()] == ["train-00000-of-00001.arrow"]
    beside = {path.name for path in config.out.parent.iterdir()}
    assert beside == {"train.json", "set", "set.candidates"}


@pytest.mark.slow
def test_same_bytes_for_any_workers_hash_seed_locale_and_zone(
    train: Path, glove_file: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    made = []
    for workers, environment in [
        (1, {"PYTHONHASHSEED": "1", "TZ": "UTC", "LC_ALL": "C"}),
        (2, {"PYTHONHASHSEED": "2", "TZ": "Asia/Tokyo", "LC_ALL": "C.UTF-8"}),
        (3, {"PYTHONHASHSEED": "3"}),
    ]:
        out = tmp_path / f"workers-{workers}" / "set"
        sources = ["--mlm", tiny_bert, "--glove", glove_file, "--num-shards", 3]
        done = command(train, out, *sources, "--num-workers", workers, **environment)
        assert done.returncode == 0, done.stderr
        made.append(digests(out))
    assert made[0] == made[1] == made[2]
    assert len([name for name in made[0] if name.endswith(".arrow")]) == 3


def test_a_second_build_sends_nothing_through_the_model(
    config: BuildConfig, tiny_bert: Path, tmp_path: Path
) -> None:
    store = tmp_path / "kept"
    first = replace(config, mlm=str(tiny_bert), candidates=store)
    assert build(first).contexts_through_the_model == 3
    changes: list[dict[str, Any]] = [
        {"seed": 1},
        {"replace_probability": 0.2},
        {"copies_per_example": 3},
        {"glove": "none"},
        {"limit_contexts": 1},
    ]
    for number, change in enumerate(changes):
        again = replace(first, out=tmp_path / f"other-{number}", **change)
        assert build(again).contexts_through_the_model == 0, change
    for number, change in enumerate([{"num_candidates": 3}, {"masking": "one"}, {"words": "all"}]):
        other = replace(first, out=tmp_path / f"else-{number}", **change)
        assert build(other).contexts_through_the_model == 3, change


def test_run_again_it_says_it_is_complete(
    config: BuildConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    build(config)
    before = digests(config.out)
    build(replace(config, num_workers=2))  # no worker count in the plan
    assert "is complete" in capsys.readouterr().err
    assert digests(config.out) == before


def test_a_damaged_set_is_not_called_complete(config: BuildConfig) -> None:
    build(config)
    shard = next((config.out / "data").iterdir())
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(ValueError, match=rf"{shard.name}(?s:.)*--overwrite"):
        build(config)
    build(replace(config, overwrite=True))
    check(config.out)


def test_another_configuration_is_refused_with_the_keys(config: BuildConfig) -> None:
    build(config)
    before = digests(config.out)
    with pytest.raises(UsageError, match=r"--overwrite(?s:.)*seed: 0 there, 1 here"):
        build(replace(config, seed=1))
    assert digests(config.out) == before
    build(replace(config, seed=1, overwrite=True))
    assert read_manifest(config.out).plan.seed == 1
    check(config.out)


def test_a_set_of_another_format_is_said_to_be_one(config: BuildConfig) -> None:
    build(config)
    path = config.out / "plan.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "format": 2}))
    with pytest.raises(UsageError, match=r"made by another version(?s:.)*format: 2 there, 3 here"):
        build(config)


def test_a_folder_that_is_not_ours_is_left_alone(config: BuildConfig) -> None:
    config.out.mkdir()
    (config.out / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="not a set made here"):
        build(replace(config, overwrite=True))
    assert (config.out / "thesis.txt").read_text() == "years of work"


def test_a_damaged_part_of_the_store_is_set_aside_and_made_again(
    config: BuildConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build(config)
    parts = list(config.candidates_place.rglob("*.part"))
    assert len(parts) == 4  # of contexts and of words, with their indexes
    for part in parts:
        content = bytearray(part.read_bytes())
        content[len(content) // 2] ^= 1
        part.write_bytes(content)
        other = replace(
            config,
            out=tmp_path / part.parent.name / part.stem / "set",
            candidates=config.candidates_place,
        )
        build(other)
        assert f"{part}: damaged" in capsys.readouterr().err
        assert part.with_name(part.name + ".damaged").is_file()
        assert digests(other.out) == digests(config.out)


def test_two_builds_at_once_are_refused(config: BuildConfig) -> None:
    with claimed(config.folder.incomplete), pytest.raises(RuntimeError, match="another process"):
        build(config)


def test_a_set_can_be_built_from_a_set(config: BuildConfig, tmp_path: Path) -> None:
    build(config)
    again = replace(config, train=str(config.out), out=tmp_path / "again")
    build(again)
    originals = [row["context"] for row in read_rows(config.out) if row["copy_index"] == 0]
    assert [r["context"] for r in read_rows(again.out) if r["copy_index"] == 0] == originals


def test_ids_that_copies_will_have_are_refused(
    config: BuildConfig, write_json: Callable[[Any], Path]
) -> None:
    clash = squad([(CONTEXT, [question("a"), question("a#07")])])
    with pytest.raises(ValueError, match="'a#07' is what a copy of another question"):
        build(replace(config, train=str(write_json(clash))))


def test_a_set_without_questions_is_refused(
    config: BuildConfig, write_json: Callable[[Any], Path]
) -> None:
    empty = write_json(squad([(CONTEXT, [])]))
    with pytest.raises(ValueError, match=r"train\.json: no questions in it"):
        build(replace(config, train=str(empty)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"copies_per_example": 0}, "--copies-per-example 0: must be 1 or more"),
        ({"num_candidates": 0}, "--num-candidates 0"),
        ({"replace_probability": 1.1}, "--replace-probability 1.1: must be 0 to 1"),
        ({"replace_probability": float("nan")}, "--replace-probability nan"),
        ({"num_shards": 0}, "--num-shards 0"),
        ({"contexts_per_shard": 0}, "--contexts-per-shard 0"),
        ({"num_shards": 1, "contexts_per_shard": 1}, "give one of the two"),
        ({"num_workers": -1}, "--num-workers -1"),
        ({"limit_contexts": 0}, "--limit-contexts 0"),
        ({"seed": -1}, "--seed -1"),
        ({"seed": 2**64}, "--seed 18446744073709551616"),
        ({"mlm": "none", "glove": "none"}, "nothing to take candidates from"),
    ],
)
def test_bad_values(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        BuildConfig(**{"train": "t.json", "out": Path("o"), **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_shards": 4}, "--num-shards 4: there are only 3 paragraphs"),
        ({"train": "nowhere.json"}, "nowhere.json: no such file"),
        ({"glove": "nowhere.txt"}, "nowhere.txt: no such file of vectors"),
        ({"mlm": "./nowhere"}, "./nowhere: no such model folder"),
    ],
)
def test_bad_inputs_leave_nothing(
    config: BuildConfig, change: dict[str, Any], message: str
) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        build(replace(config, **change))
    assert {path.name for path in config.out.parent.iterdir()} == {"train.json"}


def test_exit_codes_and_messages(train: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps(small_set()).replace("1848", "1849", 1))
    done = command(broken, tmp_path / "set", "--mlm", "none", "--glove", "none")
    assert done.returncode == 2
    assert "nothing to take candidates from" in re.sub(r"[│\s]+", " ", done.stderr)
    done = command(broken, tmp_path / "set", "--mlm", "./none-such", "--glove", "none")
    assert done.returncode == 1
    assert "broken.json: question year: context[44:48] is '1849', the answer is" in done.stderr
    assert "pass --on-bad-answer fix (move each" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "set.incomplete").exists()


@pytest.mark.slow
def test_the_real_set_in_small(shared: Path, glove_file: Path, tmp_path: Path) -> None:
    config = BuildConfig(
        train=str(shared / "data/squad/dev-v2.0.json"),
        out=tmp_path / "set",
        mlm=str(shared / "models/minilm-mlm"),
        glove=str(shared / "data/glove/glove.6B.50d.first-2446-words.txt"),
        limit_contexts=12,
        num_workers=1,
    )
    build(config)
    assert check(config.out)["rows"] == read_manifest(config.out).input_counts["questions"] * 21


def test_a_reader_is_no_masked_lm(config: BuildConfig, tiny_bert: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForQuestionAnswering, AutoTokenizer

    folder = tmp_path / "reader"
    AutoModelForQuestionAnswering.from_pretrained(tiny_bert).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(folder)
    with pytest.raises(ValueError, match=r"reader: .* lacks \d+ weights: cls\.pred.*masked LM"):
        build(replace(config, mlm=str(folder)))


def test_cut_weights_are_named(config: BuildConfig, tiny_bert: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_bert, tmp_path / "cut")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ValueError, match="cut: damaged weights"):
        build(replace(config, mlm=str(folder)))
    assert not config.folder.incomplete.exists()


def test_candidates_are_not_kept_inside_the_set(tmp_path: Path) -> None:
    out = tmp_path / "set"
    for folder in (out / "kept", tmp_path / "set.incomplete", out):
        with pytest.raises(ValueError, match="inside OUT"):
            BuildConfig(train="t.json", out=out, candidates=folder)


def test_what_is_not_ours_beside_out_is_left_alone(config: BuildConfig) -> None:
    config.folder.incomplete.mkdir()
    (config.folder.incomplete / "thesis.txt").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="holds what is not ours"):
            build(replace(config, overwrite=overwrite))
    assert (config.folder.incomplete / "thesis.txt").read_text() == "years of work"


def test_words_to_keep(config: BuildConfig, tmp_path: Path) -> None:
    listed = tmp_path / "keep.txt"
    listed.write_text("\ufeffLighthouse\n", "utf-8")
    build(replace(config, keep_words=listed))
    assert read_manifest(config.out).counts["words_kept_by_list"] == 1
    assert all("lighthouse" in row["context"] for row in list(read_rows(config.out))[: 6 * 21])
