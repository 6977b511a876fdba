"""Malformed inputs to every command: an error in words, no hang, nothing half made."""

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.campaign.damage import Case
from tests.campaign.scene import CPU, TINY, Command, Scene, build, predict, train

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
    ("recipe.toml", ("distill.recipes", "recipe.toml")),
    ("recipe.toml", (*RECIPE, "--max-steps", "1", *TINY, *CPU)),
)
"""A file of its input, and a command; what begins with `new` is an output."""


def cases(scene: Scene, number: int, seed: int) -> Iterator[Case]:
    """Give every command in turn a malformed input."""
    for command in (build("set"), train("student"), predict("said")):
        done = scene.run(command)
        assert done.code == 0, done.said
    recipes = Path(__file__).parents[2] / "distill/recipes"
    shutil.copy(recipes / "minilm-3l-384d-squad2.toml", scene.folder / "recipe.toml")
    scene.keep("start")
    draws = random.Random(seed)
    for turn in range(number):
        pattern, command = TARGETS[turn % len(TARGETS)]
        scene.put_back("start")
        path = draws.choice(sorted(p for p in scene.folder.glob(pattern) if p.is_file()))
        path.write_bytes(mutate(path.read_bytes(), draws))
        name = path.relative_to(scene.folder).as_posix()
        done = scene.run(command)
        made = [p.name for p in scene.folder.iterdir() if p.name.startswith("new")]
        if done.fault:
            verdict = done.fault
        elif done.code == 0:
            verdict = ACCEPTED
        elif made:
            verdict = f"half made: {', '.join(made)}"
        else:
            verdict = REFUSED
        yield Case(command[0], name, "malformed", verdict, done.said[-2000:])
