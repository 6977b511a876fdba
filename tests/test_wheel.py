"""The wheel carries everything: installed elsewhere, every command runs, from a set to a score."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import tiny_distil
from tests.test_pins import COMMANDS, RUN

ROOT = Path(__file__).parents[1]
PACKAGES = ("augment", "distill", "eval")
Python = Callable[..., str]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build it from what is in the checkout, with nothing fetched."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "wheel"]
    local = ["--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, *local, "-w", folder, source], check=True, timeout=600)
    return next(folder.glob("twentyfold-*.whl"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Python:
    """Run Python in an environment of the wheel's own, in an empty folder.

    What the project needs comes from this environment, by a path that leaves out what its .pth
    files add: so the checkout, which an editable install adds, is out of reach.
    """
    folder = tmp_path_factory.mktemp("installed")
    venv = [sys.executable, "-m", "venv", "--without-pip", folder / "venv"]
    subprocess.run(venv, check=True, timeout=120)
    own = folder / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--quiet", "--python", own, "install"]
    subprocess.run([*pip, "--no-deps", "--no-index", wheel], check=True, timeout=600)
    (site,) = (folder / "venv").glob("lib/python*/site-packages")
    (site / "needs.pth").write_text(sysconfig.get_path("purelib") + "\n")
    work = folder / "work"
    work.mkdir()
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"HF_HUB_OFFLINE": "1", "PYTHONNOUSERSITE": "1"}

    def run(*arguments: object, text: str = "") -> str:
        command = [str(own), *map(str, arguments)]
        done = subprocess.run(
            command,
            cwd=work,
            env=environment,
            input=text,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout.strip()

    for name in PACKAGES:
        found = run("-c", f"import {name}; print({name}.__file__)")
        assert found == str(site / name / "__init__.py")
    return run


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    expected = {
        path.relative_to(ROOT).as_posix()
        for name in PACKAGES
        for path in (ROOT / name).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        tops = next(name for name in archive.namelist() if name.endswith("top_level.txt"))
        assert archive.read(tops).decode().split() == list(PACKAGES)
    assert names <= expected
    assert expected - names == {f"{name}/README.md" for name in PACKAGES}  # for the checkout


@pytest.mark.slow
def test_every_command_has_its_help(python: Python) -> None:
    asked = [[command, "--help"] for command in COMMANDS]
    texts = json.loads(python("-c", RUN, text=json.dumps(asked)))
    assert len(texts) >= 25
    for command, text in zip(COMMANDS, texts, strict=True):
        assert f"usage: python -m {command}" in text


@pytest.mark.slow
def test_from_a_set_to_a_score(python: Python, tmp_path: Path) -> None:
    rows = tiny_distil.rows(tmp_path / "train.json")
    answerable = tiny_distil.rows(tmp_path / "answerable.json", impossible=False)
    teacher = tiny_distil.bert(tmp_path / "teacher")
    short = ["--max-seq-length", 32, "--doc-stride", 8, "--max-query-length", 8]
    on_cpu = ["--device", "cpu", "--dtype", "float32"]
    train = ["-m", "distill.train", *short, *on_cpu, "--max-steps", 2, "--teacher", teacher]

    sources = ["--mlm", "embedded", "--glove", "embedded", "--copies-per-example", 2]
    python("-m", "augment.build", rows, "set", *sources)
    assert "nothing wrong" in python("-m", "augment.check", "set")

    student = ["--student", "teacher:2,4", "--stages.0.layer-map", 2, 4]
    recipe = ["--recipe", "minilm-3l-384d-squad2", "--data", "set"]
    shown = python(*train, *recipe, *student, "--output", "student")
    assert "stage 1, intermediate:" in shown
    assert "stage 2, prediction: 2 steps" in shown

    recipe = ["--recipe", "minilm-hybrid-sparse-squad1", "--data", answerable]
    block = ["--stages.0.attention-block", 8, 8]
    python(*train, *recipe, *block, "--student", "teacher:1,2", "--output", "pruned")
    assert "heads removed: " in python("-m", "distill.prune_report", "pruned")

    for model in ("student", "pruned"):
        python("-m", "eval.predict", model, rows, f"{model}-said", *short, *on_cpu)
        scored = python("-m", "eval.squad_v2", rows, f"{model}-said/predictions.json")
        assert '"total": 6' in scored
