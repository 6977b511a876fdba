"""A few faults of each kind of `make campaign`; CONTRIBUTING says how to run all."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = ("damage", "kills", "disk", "fuzz", "others", "store", "stops")


@pytest.mark.slow
def test_a_slice_of_the_campaign(tmp_path: Path) -> None:
    report = tmp_path / "report.txt"
    command = [sys.executable, "-m", "tests.campaign", "--cases", "4", "--report", str(report)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, report.read_text() if report.exists() else done.stderr
    parts = [line for line in done.stdout.splitlines() if not line.startswith(" ")]
    assert parts == [f"{part}: 4 cases" for part in PARTS]
