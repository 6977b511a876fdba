"""distill.recipes: the published numbers, their sources, the table and the checks."""

import re
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest

from augment.base.command import UsageError
from distill import recipes as module
from distill.recipes import (
    BUNDLED,
    KIND_FIELDS,
    PruningStage,
    Recipe,
    Stage,
    find_file,
    find_recipe,
    haystack_fidelity,
    read_recipe,
    recipe_names,
    table,
    used_fields,
)

ROOT = Path(__file__).parents[1]


def stage(**changes):
    """A sound prediction stage, changed."""
    given = {"kind": "prediction", "rows": "original", "teacher": "t", "epochs": 1}
    return Stage(**{**given, "batch_size": 8, "learning_rate": 1e-4, **changes})


def test_names_are_those_of_the_files():
    assert "tinybert-6l-768d-squad2" in recipe_names()
    files = [find_file(name) for name in recipe_names()]
    assert [file.recipe.name for file in files] == recipe_names()
    names = [*recipe_names(), *(alias for file in files for alias in file.aliases)]
    assert len(names) == len(set(names))


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
    found = find_recipe(name).stages[index]
    assert {key: getattr(found, key) for key in stated} == stated


def test_the_stages_learn_from_whom_the_cards_say():
    kinds = {
        name: [(one.kind, one.rows, one.teacher) for one in recipe.stages]
        for name, recipe in ((name, find_recipe(name)) for name in recipe_names())
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
    assert find_recipe("distilbert-squad1").score == "squad_v1"


@pytest.mark.parametrize("name", recipe_names())
def test_every_value_has_its_source(name):
    file = find_file(name)
    rows = table(file.recipe, file.sources)
    assert {key for key, _, _ in rows} == file.sources.keys()
    assert all(source.strip() for _, _, source in rows)


OWN = """
student = "a/student"
seed = { value = 7, source = "mine" }

[[stages]]
kind = "intermediate"
rows = "augmented"
teacher = "a/teacher"
epochs = 1
batch_size = 8
learning_rate = 1e-4
layer_map = [2, 4]

[[stages]]
kind = "prediction"
rows = "original"
teacher = "a/teacher"
epochs = 0.5
batch_size = 8
learning_rate = 1e-4
dense_block = "none"
regularization = 5
"""


@pytest.fixture
def own(tmp_path):
    """A person's recipe: in a file, hardly a source."""
    path = tmp_path / "own.toml"
    path.write_text(OWN)
    return path


def test_a_recipe_is_a_file(own):
    found = find_recipe(str(own))
    shared = {"teacher": "a/teacher", "batch_size": 8, "learning_rate": 1e-4}
    first = Stage(kind="intermediate", rows="augmented", epochs=1, layer_map=(2, 4), **shared)
    pruned = {"dense_block": None, "regularization": 5}
    second = PruningStage(kind="prediction", rows="original", epochs=0.5, **shared, **pruned)
    wanted = Recipe(name="own", student="a/student", seed=7, stages=(first, second))
    assert found == wanted
    rows = {key: rest for key, *rest in table(found, find_file(str(own)).sources)}
    assert rows["seed"] == ["7", "mine"]
    assert rows["stages.0.layer_map"] == ["(2, 4)", ""]
    assert rows["stages.1.dense_block"] == ["none", ""]


@pytest.mark.parametrize(
    ("was", "becomes", "message"),
    [
        ("batch_size = 8", "batch-size = 8", "stages.0.batch-size: unknown key; did you mean batc"),
        ("seed =", "sed =", "sed: unknown key; did you mean seed?"),
        ("student = ", "name = 'x'\nstudent = ", "name: unknown key; there are student, max_seq"),
        ('teacher"\nepochs = 0.5', 'teacher"', "stages.1.epochs: is missing"),
        ("epochs = 0.5", "epochs = 'two'", "stages.1.epochs: is 'two', expected a number"),
        ("epochs = 0.5", "epochs = true", "stages.1.epochs: is True, expected a number"),
        ("batch_size = 8", "batch_size = 8.5", "stages.0.batch_size: is 8.5, expected a whole num"),
        ('"original"', '"orignal"', "stages.1.rows: is 'orignal', expected 'text' or 'augmented'"),
        ("[2, 4]", "[2, 'x']", "stages.0.layer_map.1: is 'x', expected a whole number"),
        ('"none"', "[32]", "stages.1.dense_block: is [32], expected a list of 2 values, each a wh"),
        ("source =", "sauce =", "seed.sauce: unknown key; did you mean source or value?"),
        ("layer_map =", "temperature =", "stages.0.temperature: is [2, 4], expected a number"),
        ("layer_map = [2, 4]", "temperature = 2.0", "stages.0.temperature: a stage of kind inter"),
        ("epochs = 0.5", "epochs = 0", "stages.1: prediction stage: --stages.N.epochs 0: must be"),
        ("[[stages]]", "[stages]", "not a TOML file: Cannot declare ('stages',) twice (at line 14"),
    ],
)
def test_a_file_with_a_fault_names_its_place(own, was, becomes, message):
    assert was in OWN
    own.write_text(OWN.replace(was, becomes))
    with pytest.raises(ValueError, match=re.escape(f"{own}: {message}")):
        find_recipe(str(own))


def test_a_file_without_stages_and_one_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"own\.toml: no such TOML file"):
        find_recipe(str(tmp_path / "own.toml"))
    (tmp_path / "own.toml").write_text("student = 'x'")
    with pytest.raises(ValueError, match=r"own\.toml: recipe own: no stages"):
        find_recipe(str(tmp_path / "own.toml"))
    (tmp_path / "other.toml").write_text("student = 'x'\nstages = 3")
    with pytest.raises(ValueError, match="stages: expected tables"):
        find_recipe(str(tmp_path / "other.toml"))


def test_a_bundled_recipe_without_a_source_is_refused(tmp_path, monkeypatch):
    text = (BUNDLED / "distilbert-squad1.toml").read_text("utf-8")
    bare = re.sub(r"^seed .*$", "seed = 1", text, flags=re.MULTILINE)
    path = tmp_path / "bare.toml"
    path.write_text(bare.replace('source = "no weight decay', 'source = ""} #'))
    assert read_recipe(path).recipe.seed == 1
    monkeypatch.setattr(module, "BUNDLED", tmp_path)
    read_recipe.cache_clear()
    with pytest.raises(ValueError, match=r"seed: no source\n  stages\.0\.decay_all: no source"):
        read_recipe(path)


def test_the_fields_of_the_kinds_are_those_of_a_stage():
    names = {field.name for field in fields(Stage)}
    assert {name for kind in KIND_FIELDS.values() for name in kind} <= names
    supervised = used_fields(stage(kind="supervised", teacher=None))
    assert "temperature" not in supervised
    assert "learning_rate" in supervised


def test_an_alias_and_a_name_find_the_same():
    tinybert = find_recipe("tinybert-6l-768d-squad2")
    assert find_recipe("distbert-squad2-768d") is find_recipe(tinybert.name) is tinybert


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tinybert-6l-768d-squad", "did you mean tinybert-6l-768d-squad2"),
        ("distbert-squad2-768", "did you mean distbert-squad2-768d"),
        ("xxx", "there are bert-block-sparse-squad1, "),
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
    file = find_file("tinyroberta-squad2")
    found = {name: (value, source) for name, value, source in table(file.recipe, file.sources)}
    assert found["stages.2.kd_weight"] == (
        "0.75",
        "card of deepset/tinyroberta-squad2: distillation_loss_weight",
    )
    assert found["stages.0.layer_map"][0] == "uniform"
    assert "stages.0.kd_weight" not in found
    changed = stage(kind="supervised", teacher=None)
    ours = replace(file.recipe, stages=(changed,))
    assert ("stages.0.teacher", "none", file.sources["stages.0.teacher"]) in table(
        ours, file.sources
    )


def recipes(*arguments):
    command = [sys.executable, "-m", "distill.recipes", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_the_command_lists_prints_and_refuses(own):
    listed = recipes()
    assert listed.returncode == 0
    assert all(name in listed.stdout for name in (*recipe_names(), "distbert-squad2-768d"))
    assert re.search(r"^stages.1.regularization +5", recipes(str(own)).stdout, re.MULTILINE)
    printed = recipes("distbert-squad2-768d")
    lines = printed.stdout.splitlines()
    assert lines[0] == "tinybert-6l-768d-squad2"
    columns = lines[1].index("value"), lines[1].index("source")
    for line in filter(None, lines[2:]):
        assert all(line[column - 1] == " " != line[column] for column in columns), line
    unknown = recipes("tinybert-6l")
    assert unknown.returncode == 2
    assert "no recipe 'tinybert-6l'; did you mean tinybert-6l-768d-squad2" in unknown.stderr
