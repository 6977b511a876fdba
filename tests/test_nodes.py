"""Several processes, on one node and on two, train what one trains."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForQuestionAnswering

from distill.models.student import make_student
from tests import one_of_several, tiny_distil

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A teacher without dropout, rows, and what one process makes of them."""
    folder = tmp_path_factory.mktemp("one")
    teacher = tiny_distil.bert(folder / "teacher", dropout=0.0)
    data = tiny_distil.rows(folder / "train.json")
    one_of_several.train(teacher, folder / "student", data, folder / "notes")
    return folder


@pytest.fixture
def port():
    """Give a port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def node(made, out, *launch, cwd, **environment):
    """Start `torchrun` on what is a node of its own: it has its folder and its cache."""
    cwd.mkdir(exist_ok=True)
    script = ROOT / "tests" / "one_of_several.py"
    given = made / "teacher", out, made / "train.json", cwd.parent / "notes"
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", *launch, *map(str, (script, *given))],
        cwd=cwd,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "TWENTYFOLD_CACHE": str(cwd / "cache"),
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def two_nodes(made, outs, tmp_path, port, *launch, **environment):
    """Run two nodes to their end; give what each printed, and how each ended."""
    launch = [*launch, "--nnodes=2", "--rdzv-id=x"]
    launch += ["--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{port}", "--local-addr=127.0.0.1"]
    nodes = [
        node(made, out, *launch, cwd=tmp_path / name, **environment)
        for out, name in zip(outs, "ab", strict=True)
    ]
    said = [process.communicate(timeout=600) for process in nodes]
    return ["".join(texts) for texts in said], [process.returncode for process in nodes]


def notes(folder, what):
    """Read what the processes noted."""
    paths = sorted((folder / "notes").glob(f"{what}-*"))
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def steps(folder):
    """Give the rows of every step of every stage."""
    parts = {tuple(map(str, part)): part for part in notes(folder, "rows")}
    found = {}
    for seed, step, rows in parts.values():
        found.setdefault((seed, step), []).extend(rows)
    return {step: sorted(rows) for step, rows in found.items()}


def check_equal(made, folder, num_processes):
    """Compare rows, losses and weights with those of one process."""
    assert steps(folder) == steps(made)
    assert {len(rows) for rows in steps(folder).values()} == {26}
    one, several = (
        json.loads((place / "student/training.json").read_text()) for place in (made, folder)
    )
    assert several["hardware"]["num_processes"] == num_processes
    for ours, theirs in zip(several["stages"], one["stages"], strict=True):
        assert len(ours["losses"]["step"]) == 6
        for name, values in theirs["losses"].items():
            # the record keeps six digits after the point
            assert ours["losses"][name] == pytest.approx(values, rel=1e-6, abs=1.1e-6), name
    assert several["scores"]["exact"] == one["scores"]["exact"]
    teacher = AutoModelForQuestionAnswering.from_pretrained(made / "teacher")
    before = make_student("teacher:2,4", teacher, 42).state_dict()
    after, theirs = (load_file(p / "student/model.safetensors") for p in (made, folder))
    moved = torch.cat([(after[name] - before[name]).flatten() for name in after])
    apart = torch.cat([(after[name] - theirs[name]).flatten() for name in after])
    assert apart.norm() <= 1e-3 * moved.norm()


def test_two_processes_train_as_one(made, tmp_path):
    """Also when one of them comes late to wherever they meet."""
    launch = "--standalone", "--nproc-per-node=2"
    process = node(made, tmp_path / "student", *launch, cwd=tmp_path / "a", LATE="1")
    said, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors[-3000:]
    assert said.count("stage 1, intermediate") == 1
    check_equal(made, tmp_path, 2)


def test_two_nodes_train_as_one_though_a_process_is_killed(made, tmp_path, port):
    outs, restarting = [tmp_path / "student"] * 2, ("--nproc-per-node=2", "--max-restarts=1")
    said, codes = two_nodes(made, outs, tmp_path, port, *restarting, LATE="0", DYING="1")
    assert codes == [0, 0], said
    assert (tmp_path / "notes.died").exists()
    check_equal(made, tmp_path, 4)
    assert sorted(notes(tmp_path, "tokenised")) == ["0", "1"]  # once on each node
    caches = [sorted((tmp_path / name / "cache").glob("logits-*/*.bin")) for name in "ab"]
    assert [path.read_bytes() for path in caches[0]] == [path.read_bytes() for path in caches[1]]


def test_nodes_that_do_not_share_output_stop_at_once(made, tmp_path, port):
    said, codes = two_nodes(made, ["student", "student"], tmp_path, port)
    assert codes == [1, 1]
    sentence = "student: not shared, process 1 of 2 does not see what the first one makes there"
    assert "".join(said).count(f"UsageError: {sentence}") == 1, said
    assert "stage 1, " not in "".join(said)
