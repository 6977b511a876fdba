"""The search for a planted secret in what commands that read from a store say and write."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import tiny_distil
from tests.campaign.scene import CPU, TINY
from tests.s3_server import s3_server

pytest.importorskip("moto.server")
s3fs = pytest.importorskip("s3fs")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
SECRET = "planted-secret-Zm9v"
FEW, SAMPLE = "s3://bucket/few.json", "s3://bucket/sample.json"
NONE = f"s3://user:{SECRET}@bucket/none.json?sign={SECRET}"


def test_no_command_says_or_writes_a_secret(tiny_bert: Path, tmp_path: Path) -> None:
    """Neither those that work nor those that fail, with the place of the error shown."""
    teacher = tiny_distil.bert(tmp_path / "teacher")
    train = ("--recipe", "distbert-squad2-768d", "--teacher", teacher, "--student", "teacher:2,4")
    train = (*train, "--only-stages", "1", "--stages.1.batch-size", "2", "--max-steps", "1")
    words = ("--mlm", "none", "--paragraphs", "1")
    small = ("--epochs", "1", "--dimensions", "4")
    masked = ("--mlm", str(tiny_bert), "--limit-contexts", "4", "--epochs", "1", *CPU)
    commands = (
        (0, "distill.train", "--data", FEW, "--dev", FEW, "--output", "s", *train, *TINY, *CPU),
        (1, "distill.train", "--data", NONE, "--output", "none", *train, *TINY, *CPU),
        (1, "distill.train", "--data", FEW, "--dev", NONE, "--output", "n", *train, *TINY, *CPU),
        (0, "eval.predict", teacher, FEW, "predicted", *TINY, *CPU),
        (1, "eval.predict", teacher, NONE, "none", *TINY, *CPU),
        (0, "augment.preview", FEW, *words),
        (1, "augment.preview", NONE, *words),
        (0, "augment.fit_glove", SAMPLE, "vectors.txt", *small),
        (1, "augment.fit_glove", NONE, "none.txt", *small),
        (0, "augment.fit_mlm", SAMPLE, "fitted", *masked),
        (1, "augment.fit_mlm", NONE, "none", *masked),
    )
    environment = {"TWENTYFOLD_CACHE": str(tmp_path / "cache"), "TWENTYFOLD_TRACEBACK": "1"}
    sample = ROOT / "augment/embedded/sample-train-v2.0.json"
    with s3_server(SECRET):
        files = s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False)
        files.mkdir("bucket")
        files.put_file(tiny_distil.rows(tmp_path / "few.json"), "bucket/few.json")
        files.put_file(str(sample), "bucket/sample.json")
        for code, *command in commands:
            done = subprocess.run(
                [sys.executable, "-m", *command],
                cwd=tmp_path,
                env={**os.environ, **environment, "PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
                timeout=300,
            )
            said = done.stdout + done.stderr
            assert (done.returncode, SECRET in said) == (code, False), (command, said[-3000:])
            assert code == 0 or "s3://bucket/none.json" in said
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    made = {path.relative_to(tmp_path).parts[0] for path in kept}
    assert made == {
        "teacher",
        "few.json",
        "cache",
        "s",
        "predicted",
        "vectors.txt",
        "vectors.txt.json",
        "fitted",
    }
    assert not [path for path in kept if SECRET.encode() in path.read_bytes()]
