"""The wheel carries everything: installed elsewhere, it builds the sample with embedded models."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_a_built_wheel_builds_a_set(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet"]
    local = ["--no-deps", "--no-build-isolation", "--no-index"]
    source = tmp_path / "source"
    for name in ("augment", "distill", "eval"):
        shutil.copytree(ROOT / name, source / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    subprocess.run([*pip, "wheel", *local, "-w", tmp_path, source], check=True)
    wheel = next(tmp_path.glob("twentyfold-*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
        with archive.open(next(n for n in archive.namelist() if n.endswith("top_level.txt"))) as f:
            assert f.read().split() == [b"augment", b"distill", b"eval"]
    assert {name for name in tops if "." not in name} == {"augment", "distill", "eval"}
    site, work = tmp_path / "site", tmp_path / "work"
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "-t", site, wheel], check=True)
    work.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(site), "HF_HUB_OFFLINE": "1"}

    def python(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    found = python("-c", "import augment; print(augment.__file__)")
    assert found.startswith(str(site))
    sample = f"{site}/augment/embedded/sample-train-v2.0.json"
    embedded = ["--mlm", "embedded", "--glove", "embedded", "--copies-per-example", "2"]
    python("-m", "augment.build", sample, "set", *embedded)
    assert "nothing wrong" in python("-m", "augment.check", "set")
    assert "card of deepset" in python("-m", "distill.recipes", "tinybert-6l-768d-squad2")
