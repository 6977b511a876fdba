"""Malformed inputs to every command: an error in words, no hang, nothing half made."""

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas

from augment.shards import read_rows
from tests.campaign.scene import CPU, TINY, Case, Command, Scene, build, predict, train

REFUSED, ACCEPTED = "refused", "accepted"
VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    10**30,
    1.5,
    "",
    "x",
    "\x1b[31m\n<b>",
    [],
    {},
    [[]],
    [{}],
)
TEXTS = (
    b"",
    b"\n",
    b"null",
    b"[]",
    b"{}",
    b"[" * 5000,
    b'"x"',
    b"\xff\xfe\x00",
    b'{"data": {}}',
    b"1e999",
    bytes(range(256)),
    "é".encode("utf-16"),
)


def mutate(content: bytes, draws: random.Random) -> bytes:
    """Damage a file's meaning: a value of its JSON, or its text."""
    try:
        value = json.loads(content)
    except ValueError:
        value = None
    if value and draws.random() < 0.7:
        return json.dumps(_other(value, draws)).encode()
    way = draws.randrange(4)
    if way == 0:
        return draws.choice(TEXTS)
    at = draws.randrange(max(len(content), 1))
    if way == 1:
        return content[:at]
    if way == 2:
        return content[:at] + bytes([draws.randrange(256)]) + content[at + 1 :]
    return content[:at] + draws.choice(TEXTS) + content[at:]


def _other(value: Any, draws: random.Random) -> Any:
    """Give the value with one place in it changed or left out; near the root as often as deep."""
    if isinstance(value, dict) and value and draws.random() < 0.8:
        key = draws.choice(list(value))
        if draws.random() < 0.2:
            return {k: v for k, v in value.items() if k != key}
        return {**value, key: _other(value[key], draws)}
    if isinstance(value, list) and value and draws.random() < 0.8:
        at = draws.randrange(len(value))
        return [*value[:at], _other(value[at], draws), *value[at + 1 :]]
    return draws.choice(VALUES)


SAID = "said/predictions.json"
GLOVE = ("--mlm", "none", "--glove", "vectors.txt")
RECIPE = ("distill.train", "--recipe", "recipe.toml", "--data", "set", "--output", "new")
NA_PROBS = ("--na-prob-file", "said/na_probs.json")
TEXT = (
    *("distill.train", "--recipe", "tinyroberta-squad2", "--data", "train.json", "--output", "new"),
    *("--teacher", "teacher", "--student", "teacher:2,4", "--only-stages", "0", "--max-steps", "1"),
    *("--stages.0.batch-size", "4", "--stages.0.layer-map", "2", "4", *TINY, *CPU),
)
ROWS = ("rows.jsonl", "rows.csv", "rows.parquet")
ONE_STEP = ("--epochs", "1", "--max-steps", "1", "--batch-size", "4", *TINY, *CPU)
EPOCH = ("--mlm", "mlm", "--epochs", "1", *CPU)
TARGETS: tuple[tuple[str, Command], ...] = (
    ("train.json", build("new")),
    ("vectors.txt", build("new")),
    ("train.json", ("augment.preview", "train.json", *GLOVE)),
    ("train.json", ("augment.fit_glove", "train.json", "new.txt")),
    ("train.json", ("eval.baselines", "train.json", "new")),
    ("train.json", ("distill.split", "train.json", "new")),
    ("train.json", ("eval.squad_v2", "train.json", SAID)),
    (SAID, ("eval.squad_v2", "train.json", SAID)),
    (SAID, ("eval.squad_v1", "train.json", SAID)),
    ("said/na_probs.json", ("eval.squad_v2", "train.json", SAID, *NA_PROBS)),
    (SAID, ("eval.compare", "train.json", SAID, SAID)),
    ("set/**/*", ("augment.check", "set")),
    ("set/**/*", ("augment.export", "set", "new", "--to", "parquet")),
    ("set/**/*", ("augment.card", "set")),
    ("set/**/*", train("new")),
    ("candidates/**/*", build("new")),
    ("mlm/*", build("new")),
    ("teacher/*", train("new")),
    ("student/*", predict("new")),
    ("student/*", ("distill.card", "student")),
    ("student/*", ("distill.prune_report", "student")),
    ("student/*", ("distill.prune_compact", "student", "new")),
    ("student/**/*", train("student")),
    ("said/*", predict("said")),
    ("said/*", ("distill.archive", "said", "train.json", "new")),
    ("mlm/*", ("augment.fit_mlm", "train.json", "new", *EPOCH)),
    ("train.json", ("augment.fit_mlm", "train.json", "new", *EPOCH)),
    ("fitted-mlm/*", ("augment.fit_mlm", "train.json", "fitted-mlm", *EPOCH)),
    ("set/**/*", ("eval.agreement", "set", "student", *CPU)),
    ("set/**/*", ("augment.browse", "set", "--html", "new.html")),
    ("train.json", ("distill.finetune", "train.json", "new", "--model", "mlm", *ONE_STEP)),
    ("student/*", ("distill.finetune", "train.json", "new", "--model", "student", *ONE_STEP)),
    ("text.txt", (*TEXT, "--text", "text.txt")),
    ("keep.txt", build("new", "--keep-words", "keep.txt")),
    *((rows, ("augment.build", rows, *build("new")[2:])) for rows in ROWS),
    ("recipe.toml", ("distill.recipes", "recipe.toml")),
    ("recipe.toml", (*RECIPE, "--max-steps", "1", *TINY, *CPU)),
)
"""A file of its input, and a command; what begins with `new` is an output."""


def cases(scene: Scene, numbers: range, seed: int) -> Iterator[Case]:
    """Give every command in turn a malformed input; a case is a function of seed and number."""
    scene.put_back("finished")
    write_more(scene)
    scene.keep("fuzzed")
    for number in numbers:
        draws = random.Random(f"{seed}/{number}")
        pattern, command = TARGETS[number % len(TARGETS)]
        scene.put_back("fuzzed")
        path = draws.choice(sorted(p for p in scene.folder.glob(pattern) if p.is_file()))
        path.write_bytes(mutate(path.read_bytes(), draws))
        done = scene.run(command)
        made = [p.name for p in scene.folder.iterdir() if p.name.startswith("new")]
        if done.fault:
            verdict = done.fault
        elif done.code == 0:
            verdict = ACCEPTED
        else:
            verdict = f"half made: {', '.join(made)}" if made else REFUSED
        name = path.relative_to(scene.folder).as_posix()
        yield Case(number, command[0], name, "malformed", verdict, done.said)


def write_more(scene: Scene) -> None:
    """Leave inputs of other kinds, and a model that was fitted."""
    folder = scene.folder
    recipe = Path(__file__).parents[2] / "distill/recipes/minilm-3l-384d-squad2.toml"
    shutil.copy(recipe, folder / "recipe.toml")
    rows = pandas.DataFrame(read_rows(folder / "set")).query("copy_index == 0").head(4)
    (folder / "rows.jsonl").write_text(rows.to_json(orient="records", lines=True))
    rows.to_parquet(folder / "rows.parquet")
    rows.assign(answers=[json.dumps(value) for value in rows["answers"]]).to_csv(
        folder / "rows.csv", index=False
    )
    (folder / "text.txt").write_text("the cat sat on the mat\na dog in the river\n" * 4)
    (folder / "keep.txt").write_text("Anne Leroy\nbook\n")
    done = scene.run(("augment.fit_mlm", "train.json", "fitted-mlm", *EPOCH))
    assert done.code == 0, done.said
