"""A Ray cluster of two machines that are one, and what can be killed of it while it builds.

`python -m tests.clusters` kills a raylet, a process that does a task, and the build itself, in each
stage, and prints what came of it.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.small_sets import answer, question, squad

ROOT = Path(__file__).parents[1]
MACHINE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
STAGES = {"candidates": "set.candidates/*/*/*.part", "shards": "set.incomplete/receipts/**/*.json"}
KINDS = ("raylet", "worker", "build")


@dataclass
class Machines:
    """Two raylets on this machine, with one CPU each; a build runs beside the first."""

    cluster: Any
    nodes: list[Any]

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def raylet(self, number: int) -> int:
        return int(self.nodes[number].all_processes["raylet"][0].process.pid)

    def workers(self) -> list[int]:
        """Processes that do a task now."""
        raylets, found = {self.raylet(0), self.raylet(1)}, []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                parent = int(stat.read_text().rpartition(")")[2].split()[1])
                doing = (stat.parent / "cmdline").read_bytes().startswith(b"ray::_do")
            except OSError:  # it has just ended
                continue
            if parent in raylets and doing:
                found.append(int(stat.parent.name))
        return found


@contextmanager
def two_machines(*caches: Path) -> Iterator[Machines]:
    """Start them; end them, and nothing else, afterwards.

    Args:
        caches: of each; otherwise they share one.
    """
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    own = [{"env_vars": {"TWENTYFOLD_CACHE": str(cache)}} for cache in caches] or [{}, {}]
    cluster = Cluster(initialize_head=True, head_node_args={**MACHINE, **own[0]})
    try:
        yield Machines(cluster, [cluster.head_node, cluster.add_node(**MACHINE, **own[1])])
    finally:
        cluster.shutdown()


def long_set(number: int) -> dict[str, Any]:
    """Make up paragraphs of some hundred words, so that their stages last for a while."""
    draws = random.Random(0)
    words = (
        "lighthouse tower keeper lamp evening ship letter daughter book clover hive river".split()
    )
    paragraphs = []
    for index in range(number):
        text = " ".join([f"Number {index}", *draws.choices(words, k=400)]) + "."
        paragraphs.append((text, [question(f"q{index}", answer(text, f"Number {index}"))]))
    return squad(paragraphs)


def start(train: Path, folder: Path | str, *more: str) -> subprocess.Popen[str]:
    """Start a build of `folder`/set."""
    settings = "--mlm none --glove embedded --copies-per-example 4 --num-shards 8".split()
    places = [str(train), f"{folder}/set"]
    return subprocess.Popen(
        [sys.executable, "-m", "augment.build", *places, *settings, *more],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finished(build: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for its end; give its exit code and what it said."""
    try:
        said, _ = build.communicate(timeout=300)
    finally:
        build.kill()
    return build.returncode, said


def kill_in_stage(
    machines: Machines, kind: str, stage: str, train: Path, folder: Path, number: int = 1
) -> tuple[int, int, str]:
    """Build, and kill something when so many tasks of a stage are done.

    Returns:
        How many were; the build's exit code and what it said.
    """
    build = start(train, folder, "--engine", "ray", "--address", machines.address)
    done: list[Path] = []
    while len(done) < number and build.poll() is None:
        time.sleep(0.02)
        done = list(folder.glob(STAGES[stage]))
    if build.poll() is not None:
        raise RuntimeError(f"over before the stage: {finished(build)}")
    if kind == "raylet":
        os.kill(machines.raylet(1), signal.SIGKILL)
    elif kind == "own raylet":
        os.kill(machines.raylet(0), signal.SIGKILL)
    elif kind == "build":
        os.kill(build.pid, signal.SIGKILL)
    else:
        while not (found := machines.workers()) and build.poll() is None:
            time.sleep(0.01)
        for worker in found[:1]:
            os.kill(worker, signal.SIGKILL)
    return len(done), *finished(build)


def main() -> None:
    """Print the table of kills."""
    import json

    from tests.test_build import digests

    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    os.environ["TWENTYFOLD_CACHE"] = str(folder / "cache")
    train = folder / "train.json"
    train.write_text(json.dumps(long_set(1024)))
    code, said = finished(start(train, folder / "right"))
    assert code == 0, said
    right = digests(folder / "right" / "set")
    for kind in ("raylet", "own raylet", "worker", "build"):
        for stage in STAGES:
            for number in (1, 4) if kind in ("worker", "build") else (2,):
                with two_machines() as machines:
                    out = folder / f"{kind}-{stage}-{number}"
                    done, code, said = kill_in_stage(machines, kind, stage, train, out, number)
                    began = time.monotonic()
                    again = ""
                    if code:
                        if kind != "own raylet":
                            run = start(
                                train, out, "--engine", "ray", "--address", machines.address
                            )
                            second, more = finished(run)
                        else:
                            with two_machines() as others:
                                run = start(
                                    train, out, "--engine", "ray", "--address", others.address
                                )
                                second, more = finished(run)
                        again = f", again: {second} after {time.monotonic() - began:.0f} s"
                        said += more
                    same = (out / "set").exists() and digests(out / "set") == right
                print(f"{kind}, {stage}, {done} of 8 done: exit {code}{again}: ", end="")
                print("the same bytes" if same else f"OTHER\n{said}", flush=True)


if __name__ == "__main__":
    main()
