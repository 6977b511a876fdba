"""Pins: bytes of small sets and texts that readers see, as they lie in tests/pins.

A change of one of them is meant or is a fault. If it is meant, write them anew, and read what
`git diff tests/pins` says before it is committed:

    python -m tests.test_pins

What lies in tests/pins/inputs is read and never written anew: vectors whose neighbours do not
depend on rounding, and candidates of the embedded masked LM, stored. (With inputs/candidates
deleted these are computed again; another processor may then give others.) Nothing else depends
on the processor either. Bytes of shards depend on the release of pyarrow (`rows` in shards.txt,
the hash of what is in them, does not), helps on that of tyro, the picture on that of matplotlib.
"""

import difflib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from distill.recipes import Recipe, Stage, recipe_names
from tests.finished_runs import RECIPE, finished, predict_and_score, record, write_record
from tests.small_sets import CONTEXT, answer, question, small_set, squad

ROOT = Path(__file__).parents[1]
PINS = ROOT / "tests/pins"
INPUTS = PINS / "inputs"
SAMPLE = ROOT / "augment/embedded/sample-train-v2.0.json"
VECTORS = INPUTS / "vectors.txt"
NOT_COMMANDS = {"eval.benches.plain"}  # a rival of the benchmarks, started with a list of files
COMMANDS = sorted(
    f"{path.parent.name}.{path.stem}"
    for package in ("augment", "eval", "distill")
    for path in (ROOT / package).glob("*.py")
    if '"__main__"' in path.read_text("utf-8")
)

RUN = """
import contextlib, io, json, os, runpy, sys
os.sched_getaffinity = lambda process: {0}  # a help shows the number of cores
texts = []
for command, *arguments in json.load(sys.stdin):
    shown = io.StringIO()
    sys.argv = [command, *arguments]
    sys.modules.pop(command, None)
    try:
        with contextlib.redirect_stdout(shown):
            runpy.run_module(command, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        assert not end.code, (command, arguments, end.code)
    texts.append(shown.getvalue())
json.dump(texts, sys.stdout)
"""
"""Runs commands one after the other in one process; gives what each prints."""

Texts = dict[str, str]
"""Name in tests/pins to content."""


def run(folder: Path, *commands: Sequence[object]) -> list[str]:
    """Run commands in a folder; give what each prints."""
    terminal = {"COLUMNS": "100", "NO_COLOR": "1"}
    places = {"PYTHONPATH": str(ROOT), "TWENTYFOLD_CACHE": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        cwd=folder,
        env={**os.environ, **terminal, **places, "HF_HUB_OFFLINE": "1"},
        input=json.dumps([list(map(str, command)) for command in commands]),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return [without_blanks(text) for text in json.loads(done.stdout)]


def without_blanks(text: str) -> str:
    """Leave out blanks at the ends of lines, which nobody sees and editors remove."""
    return "\n".join(line.rstrip() for line in text.rstrip().splitlines()) + "\n"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def shards_text(out: Path) -> str:
    """List the shards' hashes, and one of all rows that does not depend on how Arrow writes."""
    rows = hashlib.sha256()
    lines = []
    for path in sorted((out / "data").iterdir()):
        lines.append(f"{sha256(path)}  data/{path.name}")
        for row in pa.ipc.open_file(path.read_bytes()).read_all().to_pylist():
            rows.update(json.dumps(row, sort_keys=True).encode() + b"\n")
    return "\n".join([*lines, f"{rows.hexdigest()}  rows", ""])


def without_times(table: str) -> str:
    """Leave out what another run of a build measures otherwise."""
    measured = r"^(seconds \w+|peak memory of a process) +[\d.,]+( MiB)?$"
    return re.sub(measured, r"\1  (measured)", table, flags=re.MULTILINE)


def without_releases(card: str) -> str:
    """Leave out the releases in a signature."""
    return re.sub(r"\|twentyfold:[^|]+\|python:[\d.]+", "|(releases)", card)


BUILDS: dict[str, list[object]] = {
    "sample": [SAMPLE, "sample", "--mlm", "none", "--glove", VECTORS],
    "knobs": [
        *(SAMPLE, "knobs", "--mlm", "none", "--glove", VECTORS),
        *("--words", "all", "--keep-words", INPUTS / "keep.txt", "--num-candidates", 5),
        *("--copies-per-example", 3, "--replace-probability", 0.7, "--seed", 7),
        *("--limit-contexts", 10, "--num-shards", 4),
    ],
    "candidates": [
        *("small.json", "candidates", "--mlm", "embedded", "--glove", VECTORS),
        *("--dtype", "float32", "--device", "cpu", "--candidates", "store"),
        *("--on-bad-answer", "fix"),
    ],
}


def make_sets(folder: Path) -> Texts:
    """Build the sets; give their texts and hashes, and what is made of a set."""
    small = small_set()
    year, _, price, *_ = small["data"][0]["paragraphs"][0]["qas"]
    year["answers"][0]["answer_start"] += 1  # is moved
    price["answers"][0]["text"] = "6.00"  # is nowhere: dropped
    small["data"] += json.loads(SAMPLE.read_text("utf-8"))["data"][:1]
    (folder / "small.json").write_text(json.dumps(small), "utf-8")
    if (INPUTS / "candidates").is_dir():
        shutil.copytree(INPUTS / "candidates", folder / "store")
    example = ["--mlm", "none", "--glove", VECTORS]
    *tables, _, checked, _, preview = run(
        folder,
        *(["augment.build", *given, "--num-workers", 1] for given in BUILDS.values()),
        ["augment.card", "sample", "--keep", "kept", *example],
        ["augment.check", "knobs"],
        ["augment.export", "knobs", "knobs.json", "--to", "squad-json"],
        ["augment.preview", SAMPLE, "--paragraphs", 2, *example],
    )
    texts = {}
    for name, table in zip(BUILDS, tables, strict=True):
        for file in ("plan.json", "manifest.json", "README.md"):
            texts[f"sets/{name}/{file}"] = (folder / name / file).read_text("utf-8")
        texts[f"sets/{name}/shards.txt"] = shards_text(folder / name)
        texts[f"sets/{name}/table.txt"] = without_times(table)
    for file in ("examples.json", "words.svg"):
        kept = (folder / "kept" / file).read_text("utf-8")
        texts[f"sets/sample/kept/{file}"] = without_blanks(kept)
    texts["sets/knobs/check.txt"] = checked
    texts["sets/knobs/squad-json.txt"] = f"{sha256(folder / 'knobs.json')}  knobs.json\n"
    texts["sets/preview.txt"] = preview
    return texts


def make_commands(folder: Path) -> Texts:
    """Ask every command for help, and for the tables of the recipes."""
    helps: dict[str, list[str]] = {
        f"commands/help/{command}.txt": [command, "--help"]
        for command in COMMANDS
        if command not in NOT_COMMANDS
    }
    pruning = ["distill.train", "--recipe", "bert-hybrid-sparse-squad1", "--help"]
    helps["commands/help/distill.train--recipe.txt"] = pruning
    helps["commands/recipes/list.txt"] = ["distill.recipes"]
    helps |= {f"commands/recipes/{name}.txt": ["distill.recipes", name] for name in recipe_names()}
    return dict(zip(helps, run(folder, *helps.values()), strict=True))


SUPERVISED = Recipe(
    name="labels",
    student="someone/reader",
    stages=(
        Stage(
            kind="supervised",
            rows="original",
            teacher=None,
            epochs=2,
            batch_size=8,
            learning_rate=3e-5,
        ),
    ),
    score="squad_v1",
)
SIZES = {"query": 64, "key": 64, "value": 64, "attention_output": 64, "ffn_in": 96, "ffn_out": 96}
PRUNED: dict[str, Any] = {
    "dense_parameters": 9000,
    "parameters": 7000,
    "nonzero_parameters": 6500,
    "width": 16,
    "num_heads": 4,
    "num_neurons": 64,
    "layers": [
        {"heads": [0, 2], "neurons": 12, "uniform_heads": [2], "weights": SIZES},
        {
            "heads": [],
            "neurons": 0,
            "dropped_uniform_heads": [1],
            "weights": dict.fromkeys(SIZES, 0),
        },
    ],
}
"""The pruning.json of a student of two layers, its numbers made up."""


def make_students(folder: Path) -> Texts:
    """Write the cards of students: distilled and scored, a trial, from labels, pruned."""
    finished(folder / "distilled")
    finished(folder / "trial", scored=False, plan={**record()["plan"], "max_steps": 30})
    (folder / "labels").mkdir()
    answered = squad([(CONTEXT, [question("year", answer(CONTEXT, "1848")),
                                 question("who", answer(CONTEXT, "Anne Leroy"))])])  # fmt: skip
    (folder / "dev-1.json").write_text(json.dumps(answered), "utf-8")
    scores = predict_and_score(folder / "labels/eval", folder / "dev-1.json", "squad_v1")
    made = record(SUPERVISED, scores=scores)
    made["plan"]["models"] = {"someone/reader": "c0ffee" * 6}
    made["stages"][0]["energy_kwh"] = 0.125
    made["hardware"] |= {"gpu": "A GPU", "device": "cuda", "num_processes": 2}
    write_record(folder / "labels", made)
    pruned = finished(folder / "pruned", plan=record(replace(RECIPE, name="pruned"))["plan"])
    (pruned / "pruning.json").write_text(json.dumps(PRUNED), "utf-8")
    names = ("distilled", "trial", "labels", "pruned")
    printed = run(folder, *(["distill.card", name] for name in names))
    assert printed == [f"{name}/README.md\n" for name in names]
    cards = {name: (folder / name / "README.md").read_text("utf-8") for name in names}
    return {f"students/{name}.md": without_releases(card) for name, card in cards.items()}


MAKERS: dict[str, Callable[[Path], Texts]] = {
    "sets": make_sets,
    "commands": make_commands,
    "students": make_students,
}


def pinned(folder: str) -> Texts:
    """Read what is pinned in a folder."""
    files = [path for path in (PINS / folder).rglob("*") if path.is_file()]
    return {path.relative_to(PINS).as_posix(): path.read_text("utf-8") for path in files}


def stored(folder: Path) -> set[str]:
    """Name the parts of a store of candidates."""
    found = [path for kind in ("*.arrow", "??/*.part") for path in folder.glob(f"*/{kind}")]
    return {path.relative_to(folder).as_posix() for path in found}


def differences(old: Texts, new: Texts) -> list[str]:
    """Give the lines in which texts differ, as `diff -u` does."""
    return [
        line
        for name in sorted(old.keys() | new.keys())
        for line in difflib.unified_diff(
            old.get(name, "").splitlines(),
            new.get(name, "").splitlines(),
            f"pinned/{name}" if name in old else "not pinned",
            f"now/{name}" if name in new else "not made any more",
            lineterm="",
            n=1,
        )
    ]


@pytest.mark.parametrize("kind", MAKERS)
def test_nothing_has_changed(kind: str, tmp_path: Path) -> None:
    made = MAKERS[kind](tmp_path)
    old = pinned(kind)
    if old != made:
        shown = "\n".join(differences(old, made)[:200])
        pytest.fail(f"{shown}\nif this is meant: python -m tests.test_pins", pytrace=False)
    if kind == "sets":
        record = json.loads((tmp_path / "candidates/run.json").read_bytes())
        assert record["contexts_through_the_model"] == 0
        assert stored(tmp_path / "store") == stored(INPUTS / "candidates")


def test_neighbours_do_not_hang_on_rounding() -> None:
    """Between neighbours of like rank lies a hundred times what float32 rounds away."""
    lines = [line.split() for line in VECTORS.read_text("utf-8").splitlines()]
    matrix = np.array([line[1:] for line in lines], np.float64)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    nearest = -np.sort(-(matrix @ matrix.T), axis=1)[:, :40]  # 2 x 15 candidates, 8 spare, itself
    assert (nearest[:, :-1] - nearest[:, 1:]).min() > 1e-5


def write() -> None:
    """Write every pin anew."""
    for kind, make in MAKERS.items():
        with TemporaryDirectory() as folder:
            made = make(Path(folder))
            if kind == "sets" and not (INPUTS / "candidates").exists():
                shutil.copytree(Path(folder) / "store", INPUTS / "candidates")
                print("candidates were computed: run this again")
        shutil.rmtree(PINS / kind, ignore_errors=True)
        for name, text in made.items():
            (PINS / name).parent.mkdir(parents=True, exist_ok=True)
            (PINS / name).write_text(text, "utf-8")
        print(f"{PINS / kind}: {len(made)} files")


if __name__ == "__main__":
    write()
