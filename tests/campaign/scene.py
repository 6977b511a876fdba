"""Tiny builds and a tiny two-stage distillation, by command, in forks of one warm process."""

import gc
import hashlib
import importlib
import json
import os
import pkgutil
import resource
import runpy
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import BertForMaskedLM

from augment.base.folders import empty
from augment.cards.plots import drawing, svg
from tests import tiny_distil
from tests.small_sets import small_set
from tests.test_crash import disturb

ROOT = Path(__file__).parents[2]
CPU_SECONDS = 60
"""After which a command counts as hanging."""
NOT_COMPARED = {
    *("run.json", "training.json", "stage.json", "predict.json", "README.md"),  # times, names
    "SHA256SUMS",  # over those
    "curves.svg",  # the mean loss since the last entry of the log, or since a run went on
}

BUCKET = "file://bucket/set"
"""Of what the first build made."""

Command = tuple[str, ...]
"""A module and its arguments."""

TINY = ("--max-seq-length", "32", "--doc-stride", "8", "--max-query-length", "8")
CPU = ("--device", "cpu", "--dtype", "float32")


def build(
    out: str, *more: str, source: str = "train.json", candidates: str = "candidates"
) -> Command:
    """Masked LM and vectors, one after the other, in two shards."""
    sources = ("--mlm", "mlm", "--glove", "vectors.txt", "--candidates", candidates)
    size = ("--copies-per-example", "2", "--num-shards", "2", "--num-workers", "1")
    return ("augment.build", source, out, *sources, *size, *CPU, *more)


def rebuild(out: str) -> Command:
    """The same from a set in a bucket, with candidates in another; both are fetched."""
    return build(out, source=BUCKET, candidates="file://bucket/candidates")


def fit(out: str) -> Command:
    """Vectors fitted to the contexts, no masked LM."""
    sources = ("--mlm", "none", "--glove", "fit", "--copies-per-example", "2")
    return ("augment.build", "train.json", out, *sources, "--num-workers", "1", "--allow-unchanged")


def train(out: str, *more: str) -> Command:
    """Both stages, four steps each, a checkpoint after every second."""
    models = ("--teacher", "teacher", "--student", "teacher:2,4", "--stages.0.layer-map", "2", "4")
    steps = ("--stages.0.batch-size", "4", "--stages.1.batch-size", "4", "--stages.0.epochs", "1")
    limits = ("--max-steps", "4", "--save-steps", "2")
    given = ("--recipe", "minilm-3l-384d-squad2", "--data", "set", "--output", out)
    return ("distill.train", *given, *models, *steps, *limits, *TINY, *CPU, *more)


def predict(out: str) -> Command:
    """The student on what it learned."""
    return ("eval.predict", "student", "train.json", out, *TINY, *CPU)


@dataclass(frozen=True)
class Case:
    """What was done to what, and what came of it."""

    number: int
    state: str
    """Of the disk, or the command."""
    file: str
    fault: str
    verdict: str
    said: str = ""


@dataclass(frozen=True)
class Job:
    """Work that a campaign disturbs."""

    command: Callable[..., Command]
    """From the name of what it makes."""
    start: str
    """The state of the disk that it begins from."""
    out: str
    """What it made of it undisturbed."""


BUILD = Job(build, "inputs", "set")
FIT = Job(fit, "inputs", "fitted")
TRAIN = Job(train, "built", "student")
REBUILD = Job(rebuild, "trained", "rebuilt")
PREDICT = Job(predict, "rebuilt", "said")
JOBS = (BUILD, FIT, TRAIN, REBUILD, PREDICT)


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    """Negative for a signal."""
    said: str
    """On stdout and stderr."""

    @property
    def fault(self) -> str | None:
        """What no command may do, whatever its input."""
        if "Traceback (most recent call last)" in self.said:
            return "traceback"
        if self.code == -signal.SIGXCPU:
            return "hangs"
        if self.code < 0:
            return signal.Signals(-self.code).name
        return None if self.code in (0, 1, 2) else f"exit {self.code}"


class Scene:
    """A folder with inputs, in which commands run; its states are kept and put back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "work"
        self.kept = folder / "kept"
        self.log = folder / "log"
        self.folder.mkdir(parents=True)
        warm()
        write_inputs(self.folder)
        self.keep("inputs")
        then = ("built", "fitted", "trained", "rebuilt", "finished")
        for job, state in zip(JOBS, then, strict=True):
            done = self.run(job.command(job.out))
            if job == BUILD:
                done = self.run(("augment.push", job.out, BUCKET))
            assert done.code == 0, done.said
            self.keep(state)
        self.right = {job.out: self.digest(job.out) for job in JOBS}

    def keep(self, name: str) -> None:
        """Copy everything aside."""
        shutil.copytree(self.folder, self.kept / name, symlinks=True)

    def put_back(self, name: str) -> None:
        """Make everything as it was kept."""
        empty(self.folder)
        shutil.copytree(self.kept / name, self.folder, symlinks=True, dirs_exist_ok=True)

    def steps(self, job: Job) -> int:
        """Count the steps on disk of an undisturbed run."""
        counted = self.log.with_name("steps")
        self.put_back(job.start)

        def count() -> None:
            disturb(lambda number, _: counted.write_text(str(number)) and None)

        assert self.run(job.command(job.out), count).code == 0
        return int(counted.read_text())

    def left_over(self, job: Job) -> list[str]:
        """Name what lies beside the result that nobody asked for."""
        names = {path.name for path in self.folder.iterdir()}
        kept = {path.name for path in (self.kept / job.start).iterdir()}
        return sorted(names - kept - {job.out, f"{job.out}.candidates", "candidates", "cache"})

    def start(self, command: Command, prepare: Callable[[], None] | None = None) -> int:
        """Run a command in a fork, after `prepare`; give its process."""
        child = os.fork()
        if child == 0:
            self._run(command, prepare)
        return child

    def end(self, child: int) -> Outcome:
        """Wait for a fork."""
        _, status = os.waitpid(child, 0)
        return Outcome(os.waitstatus_to_exitcode(status), self.log.read_text(errors="replace"))

    def run(self, command: Command, prepare: Callable[[], None] | None = None) -> Outcome:
        """Run a command in a fork to its end."""
        return self.end(self.start(command, prepare))

    def interrupt(self, command: Command, seconds: float) -> Outcome:
        """Run a command as a user does, press Ctrl-C after some seconds, wait."""
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=self.folder,
                env={**os.environ, **self._environment(), "PYTHONPATH": str(ROOT)},
                stdout=log,
                stderr=log,
            )
            try:
                process.wait(timeout=seconds)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGINT)
            code = process.wait(timeout=600)
        return Outcome(code, self.log.read_text(errors="replace"))

    def digest(self, name: str) -> dict[str, str]:
        """Hash all of a result that has to be the same every time."""
        folder = self.folder / name
        return {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
            and path.name not in NOT_COMPARED
            and "logs" not in path.relative_to(folder).parts
        }

    def _environment(self) -> dict[str, str]:
        cache = str(self.folder / "cache")
        return {"TWENTYFOLD_CACHE": cache, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}

    def _run(self, command: Command, prepare: Callable[[], None] | None) -> None:
        code = 1
        try:
            with self.log.open("wb") as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
            os.chdir(self.folder)
            os.environ.update(self._environment())
            resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 5))
            torch.set_num_threads(1)  # a fork has lost its parent's threads
            sys.argv = list(command)
            sys.modules.pop(command[0], None)  # imported by another command's module
            if prepare:
                prepare()
            runpy.run_module(command[0], run_name="__main__", alter_sys=True)
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


def warm() -> None:
    """Import what commands import, so that a fork has it, and spare the collector a look at it."""
    for name in ("augment", "eval", "distill"):
        for found in pkgutil.walk_packages(importlib.import_module(name).__path__, f"{name}."):
            importlib.import_module(found.name)
    for name in ("datasets", "transformers.trainer", "torch.utils.tensorboard"):
        importlib.import_module(name)
    with drawing("warm", (1, 1)) as figure:
        svg(figure)
    gc.collect()
    gc.freeze()


def write_inputs(folder: Path) -> None:
    """Leave a set, vectors, a masked LM and a teacher."""
    content = small_set()
    rows = json.loads(Path(tiny_distil.rows(folder / "train.json")).read_text())
    content["data"] += rows["data"]
    (folder / "train.json").write_text(json.dumps(content))
    words = sorted({w for p in content["data"] for w in p["paragraphs"][0]["context"].split()})
    numbers = np.random.default_rng(0).normal(size=(len(words), 4))
    lines = (
        f"{w.lower()} " + " ".join(f"{x:.4f}" for x in row)
        for w, row in zip(words, numbers, strict=True)
    )
    (folder / "vectors.txt").write_text("\n".join(dict.fromkeys(lines)) + "\n")
    tiny_distil.bert(folder / "mlm", head=BertForMaskedLM, seed=3)
    tiny_distil.bert(folder / "teacher")
