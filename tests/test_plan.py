"""The plan: what decides a set's bytes, how contexts are dealt to shards, what is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from augment.base.paragraphs import Paragraph, Question
from augment.base.records import differences
from augment.build import BuildConfig, find_sources, make_plan, read_input
from augment.building.plan import check_ids, plan_shards
from tests.small_sets import small_set


@given(st.integers(1, 900), st.none() | st.integers(1, 900))
def test_shards_hold_every_paragraph_once(num_paragraphs: int, num_shards: int | None) -> None:
    if num_shards and num_shards > num_paragraphs:
        with pytest.raises(ValueError, match=f"--num-shards {num_shards}: there are only"):
            plan_shards(num_paragraphs, num_shards)
        return
    shards = plan_shards(num_paragraphs, num_shards)
    places = [shards.paragraphs(index) for index in range(shards.num_shards)]
    assert [at for place in places for at in place] == list(range(num_paragraphs))
    sizes = [len(place) for place in places]
    assert max(sizes) - min(sizes) <= 1
    usual = max(-(-num_paragraphs // 300), min(4, num_paragraphs // 32))
    assert shards.num_shards == (num_shards or usual)


@given(st.integers(1, 900), st.integers(1, 900))
def test_shards_hold_no_more_than_was_asked_for(num_paragraphs: int, most: int) -> None:
    shards = plan_shards(num_paragraphs, None, most)
    sizes = [len(shards.paragraphs(index)) for index in range(shards.num_shards)]
    assert max(sizes) <= most
    assert shards.num_shards == -(-num_paragraphs // most)


def paragraphs(*ids: str) -> list[Paragraph]:
    return [Paragraph("", "c", tuple(Question(qid, "?", (), True) for qid in ids))]


@pytest.mark.parametrize(
    ("ids", "clashes"),
    [
        (["a", "a#1", "a#001", "a#00", "b#01", "#01", "a#21"], []),  # copies are a#01 to a#20
        (["a", "a#01"], ["a#01"]),
        (["a#20", "a"], ["a#20"]),
        (["a#b", "a#b#05", "a"], ["a#b#05"]),
        (["", "#01"], ["#01"]),
    ],
)
def test_ids_that_copies_will_have(ids: list[str], clashes: list[str]) -> None:
    if not clashes:
        check_ids("t.json", paragraphs(*ids), 20)
        return
    with pytest.raises(ValueError, match=r"^t\.json: question id (?s:.)*rename them") as caught:
        check_ids("t.json", paragraphs(*ids), 20)
    assert [qid for qid in ids if repr(qid) in str(caught.value)] == clashes


@pytest.mark.parametrize(
    ("there", "here", "expected"),
    [
        ({"seed": 1}, {"seed": 1}, []),
        ({"seed": 1}, {"seed": 2}, ["seed: 1 there, 2 here"]),
        ({"seed": 1}, {}, ["seed: 1 there, null here"]),
        ({"a": {"b": "x", "c": 1}}, {"a": {"b": "y", "c": 1}}, ['a.b: "x" there, "y" here']),
        ({"a": None}, {"a": {"b": 1}}, ['a: null there, {"b": 1} here']),
        ({"b": 1, "a": 1}, {"b": 2, "a": 2}, ["a: 1 there, 2 here", "b: 1 there, 2 here"]),
        ({"w": ["x" * 99]}, {"w": []}, [f'w: ["{"x" * 68} there, [] here']),
    ],
)
def test_differences(there: dict[str, Any], here: dict[str, Any], expected: list[str]) -> None:
    assert differences(there, here) == expected


@pytest.fixture
def config(train: Path, glove_file: Path, tmp_path: Path) -> BuildConfig:
    glove = str(glove_file)
    return BuildConfig(train=str(train), out=tmp_path / "set", mlm="none", glove=glove)


def plan_of(config: BuildConfig) -> dict[str, Any]:
    return make_plan(config, find_sources(config, read_input(config))).as_json()


def test_the_plan_knows_no_machine(config: BuildConfig, train: Path, tmp_path: Path) -> None:
    plan = plan_of(config)
    copied = tmp_path / "deep" / train.name
    copied.parent.mkdir()
    copied.write_bytes(train.read_bytes())
    out = copied.parent / "other"
    other = replace(config, train=str(copied), out=out, num_workers=7, overwrite=True)
    assert plan_of(other) == plan
    assert json.loads(json.dumps(plan)) == plan
    assert str(tmp_path) not in json.dumps(plan)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"copies_per_example": 3}, "copies_per_example: 20 there, 3 here"),
        ({"num_candidates": 3}, "num_candidates"),
        ({"replace_probability": 0.2}, "replace_probability"),
        ({"seed": 1}, "seed"),
        ({"words": "all"}, 'words: "content" there, "all" here'),
        ({"on_bad_answer": "drop"}, "input.on_bad_answer"),
        ({"limit_contexts": 2}, "input.limit_contexts: null there, 2 here"),
        ({"num_shards": 2}, "shards.num_shards: 1 there, 2 here"),
        ({"contexts_per_shard": 1}, "shards.num_shards: 1 there, 3 here"),
    ],
)
def test_every_knob_is_in_the_plan(config: BuildConfig, change: dict[str, Any], key: str) -> None:
    found = differences(plan_of(config), plan_of(replace(config, **change)))
    assert found[0].startswith(key), found


def test_every_input_is_in_the_plan(
    config: BuildConfig, glove_file: Path, write_json: Callable[..., Path], tmp_path: Path
) -> None:
    plan = plan_of(config)
    kept = tmp_path / "kept.txt"
    kept.write_text("Calais\n\n paris \n")
    assert differences(plan, plan_of(replace(config, keep_words=kept))) == [
        'keep_words: [] there, ["calais", "paris"] here'
    ]
    content = small_set()
    content["data"][0]["title"] = "Another"
    changed = replace(config, train=str(write_json(content, "train.json")))
    assert [line.split(":")[0] for line in differences(plan, plan_of(changed))] == ["input.sha256"]
    vectors = tmp_path / glove_file.name
    vectors.write_text(glove_file.read_text() + "more 1 1 1 1\n")
    changed = replace(changed, glove=str(vectors))
    assert "glove.sha256" in [line.split(":")[0] for line in differences(plan, plan_of(changed))]
