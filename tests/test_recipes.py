"""distill.recipes: the published numbers, their sources, the table and the checks."""

import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest

from augment.base.command import UsageError
from distill.recipe_sources import SOURCES
from distill.recipes import (
    ALIASES,
    KIND_FIELDS,
    RECIPES,
    Recipe,
    Stage,
    find_recipe,
    haystack_fidelity,
    table,
    used_fields,
)

ROOT = Path(__file__).parents[1]


def stage(**changes):
    """A sound prediction stage, changed."""
    given = {"kind": "prediction", "rows": "original", "teacher": "t", "epochs": 1}
    return Stage(**{**given, "batch_size": 8, "learning_rate": 1e-4, **changes})


def test_names_are_those_of_the_recipes():
    assert [*RECIPES] == [recipe.name for recipe in RECIPES.values()] == [*SOURCES]
    assert set(ALIASES.values()) <= set(RECIPES)
    assert not set(ALIASES) & set(RECIPES)


# what the model cards state
@pytest.mark.parametrize(
    ("name", "index", "stated"),
    [
        (
            "tinybert-6l-768d-squad2",
            0,
            {"batch_size": 26, "epochs": 5, "learning_rate": 5e-5, "warmup": 0.2},
        ),
        (
            "tinybert-6l-768d-squad2",
            1,
            {
                "batch_size": 26,
                "epochs": 5,
                "learning_rate": 3e-5,
                "head_dropout": 0.1,
                "temperature": 1,
                "kd_weight": 1,
                "hard_weight": 0,
            },
        ),
        (
            "tinyroberta-squad2",
            0,
            {"batch_size": 96, "epochs": 4, "learning_rate": 1e-4, "warmup": 0.2},
        ),
        (
            "tinyroberta-squad2",
            2,
            {
                "batch_size": 96,
                "epochs": 4,
                "learning_rate": 3e-5,
                "warmup": 0.2,
                "kd_weight": 0.75,
                "temperature": 1.5,
            },
        ),
        (
            "distilbert-squad1",
            0,
            {"kd_weight": 0.5, "hard_weight": 0.5, "temperature": 2, "span_reduction": "mean"},
        ),
    ],
)
def test_the_published_numbers(name, index, stated):
    found = RECIPES[name].stages[index]
    assert {key: getattr(found, key) for key in stated} == stated


def test_the_stages_learn_from_whom_the_cards_say():
    kinds = {
        name: [(one.kind, one.rows, one.teacher) for one in recipe.stages]
        for name, recipe in RECIPES.items()
    }
    bert = "deepset/bert-base-uncased-squad2"
    assert kinds["tinybert-6l-768d-squad2"] == [
        ("intermediate", "augmented", bert),
        ("prediction", "original", bert),
    ]
    assert kinds["tinyroberta-squad2"] == [
        ("intermediate", "text", "FacebookAI/roberta-base"),
        ("intermediate", "augmented", "deepset/roberta-base-squad2"),
        ("prediction", "original", "deepset/roberta-large-squad2"),
    ]
    assert [kind[0] for kind in kinds["distilbert-squad1"]] == ["prediction"]
    assert RECIPES["distilbert-squad1"].score == "squad_v1"


@pytest.mark.parametrize("name", RECIPES)
def test_every_value_has_its_source(name):
    recipe, sources = RECIPES[name], SOURCES[name]
    wanted = {field.name for field in fields(Recipe)} - {"name", "stages"}
    for index, one in enumerate(recipe.stages):
        used = used_fields(one)
        wanted |= {f"stages.{index}.{field}" for field in used}
        for field in fields(Stage):  # a value set where nothing reads it would be a mistake
            if field.name not in used:
                assert getattr(one, field.name) == field.default, (index, field.name)
    assert set(sources) == wanted
    assert all(source.strip() for source in sources.values())


def test_the_fields_of_the_kinds_are_those_of_a_stage():
    names = {field.name for field in fields(Stage)}
    assert {name for kind in KIND_FIELDS.values() for name in kind} <= names
    supervised = used_fields(stage(kind="supervised", teacher=None))
    assert "temperature" not in supervised
    assert "learning_rate" in supervised


def test_an_alias_and_a_name_find_the_same():
    tinybert = RECIPES["tinybert-6l-768d-squad2"]
    assert find_recipe("distbert-squad2-768d") is find_recipe(tinybert.name) is tinybert


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tinybert-6l-768d-squad", "did you mean tinybert-6l-768d-squad2"),
        ("distbert-squad2-768", "did you mean distbert-squad2-768d"),
        ("xxx", "there are tinybert-6l-768d-squad2, "),
    ],
)
def test_an_unknown_recipe_names_the_near_ones(name, message):
    with pytest.raises(UsageError, match=f"no recipe '{name}'; {message}"):
        find_recipe(name)


def test_haystack_fidelity_changes_what_haystack_did_otherwise():
    recipe = find_recipe("tinybert-6l-768d-squad2")
    faithful = haystack_fidelity(recipe)
    for before, after in zip(recipe.stages, faithful.stages, strict=True):
        found = before.attention_target, before.count_padding, before.decay_all
        assert found == ("scores", False, False)
        changes = {"attention_target": "probabilities", "count_padding": True, "decay_all": True}
        assert after == replace(before, **changes)
    assert replace(faithful, stages=recipe.stages) == recipe


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher": None}, "prediction stage: --stages.N.teacher: the stage learns from one"),
        ({"rows": "text"}, "prediction stage: --stages.N.rows text: plain text has no questions"),
        ({"epochs": 0}, "--stages.N.epochs 0: must be above 0"),
        ({"batch_size": -1}, "--stages.N.batch-size -1: must be above 0"),
        ({"learning_rate": 0.0}, "--stages.N.learning-rate 0.0: must be above 0"),
        ({"learning_rate": float("nan")}, "--stages.N.learning-rate nan: must be above 0"),
        ({"temperature": 0.0}, "--stages.N.temperature 0.0: must be above 0"),
        ({"adam_epsilon": 0.0}, "--stages.N.adam-epsilon 0.0: must be above 0"),
        ({"max_grad_norm": 0.0}, "--stages.N.max-grad-norm 0.0: must be above 0"),
        ({"warmup": 1.5}, "--stages.N.warmup 1.5: a share of the steps, 0 to 1"),
        ({"weight_decay": -0.1}, "--stages.N.weight-decay -0.1: must be 0 or more"),
        ({"kd_weight": -1.0}, "--stages.N.kd-weight -1.0: must be 0 or more"),
        ({"head_dropout": 1.0}, "--stages.N.head-dropout 1.0: must be 0 to below 1"),
        ({"kd_weight": 0.0}, "--stages.N.kd-weight 0 and hard-weight 0: nothing is learned"),
        ({"kind": "intermediate", "layer_map": (0, 2)}, "--stages.N.layer-map 0 2: layers count"),
        (
            {"kind": "intermediate", "hidden_weight": 0.0, "attention_weight": 0.0},
            "intermediate stage: --stages.N.hidden-weight 0 and attention-weight 0: nothing",
        ),
    ],
)
def test_a_stage_that_cannot_run_is_refused(changes, message):
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        stage(**changes)


def test_a_supervised_stage_needs_no_teacher():
    assert stage(kind="supervised", teacher=None, kd_weight=0.0).teacher is None


def test_a_recipe_has_stages():
    with pytest.raises(ValueError, match="recipe empty: no stages"):
        Recipe(name="empty", student="s", stages=())


def test_a_table_holds_every_value():
    rows = table(find_recipe("tinyroberta-squad2"))
    found = {name: (value, source) for name, value, source in rows}
    assert found["stages.2.kd_weight"] == (
        "0.75",
        "card of deepset/tinyroberta-squad2: distillation_loss_weight",
    )
    assert found["stages.0.layer_map"][0] == "uniform"
    assert "stages.0.kd_weight" not in found
    changed = stage(kind="supervised", teacher=None)
    ours = replace(find_recipe("distilbert-squad1"), stages=(changed,))
    assert ("stages.0.teacher", "none", SOURCES[ours.name]["stages.0.teacher"]) in table(ours)


def recipes(*arguments):
    command = [sys.executable, "-m", "distill.recipes", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_the_command_lists_prints_and_refuses():
    listed = recipes()
    assert listed.returncode == 0
    assert all(name in listed.stdout for name in (*RECIPES, *ALIASES))
    printed = recipes("distbert-squad2-768d")
    lines = printed.stdout.splitlines()
    assert lines[0] == "tinybert-6l-768d-squad2"
    columns = lines[1].index("value"), lines[1].index("source")
    for line in filter(None, lines[2:]):
        assert all(line[column - 1] == " " != line[column] for column in columns), line
    unknown = recipes("tinybert-6l")
    assert unknown.returncode == 2
    assert "no recipe 'tinybert-6l'; did you mean tinybert-6l-768d-squad2" in unknown.stderr
