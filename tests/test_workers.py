"""Several processes: results, errors, a worker that dies, and a parent that does."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from augment.base.workers import run_tasks

ROOT = Path(__file__).parents[1]


def doubling(offset: int, device: str) -> Callable[[int], tuple[str, int]]:
    def work(task: int) -> tuple[str, int]:
        if task == 13:
            raise ValueError("thirteen is not welcome")
        if task == 99:
            os.kill(os.getpid(), signal.SIGKILL)
        return device, 2 * task + offset

    return work


@pytest.mark.parametrize("devices", [["a"], ["a", "b"]])
def test_every_task_is_done_once(devices: list[str]) -> None:
    done = sorted(number for _, number in run_tasks(range(9), doubling, (1,), devices))
    assert done == [2 * task + 1 for task in range(9)]


@pytest.mark.parametrize("devices", [["a"], ["a", "b"]])
def test_an_error_in_a_worker_reaches_the_caller(devices: list[str]) -> None:
    with pytest.raises(ValueError, match="thirteen"):
        list(run_tasks([1, 13, 2], doubling, (0,), devices))


def test_a_killed_worker_is_said_with_the_remedy() -> None:
    with pytest.raises(RuntimeError, match=r"a worker process died(?s:.)*fewer --num-workers"):
        list(run_tasks([1, 99], doubling, (0,), ["a", "b"]))


def hearing(device: str) -> Callable[[int], bool]:
    return lambda _: signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_workers_never_hear_ctrl_c_and_the_parent_does() -> None:
    assert all(run_tasks(range(4), hearing, (), ["a", "b"]))
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


PARENT = """
import os, time
from dataclasses import dataclass
from augment.base.command import run
from augment.base.workers import run_tasks

@dataclass
class Nothing:
    pass

def setup(device):
    def work(task):
        os.write(1, f"{os.getpid()}\\n".encode())  # at once: the other worker writes, too
        time.sleep(600)
    return work

if __name__ == "__main__":
    run(Nothing, lambda _: list(run_tasks([1, 2], setup, (), ["a", "b"])))
"""


@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)]
)
def test_workers_end_when_their_parent_does(sent: int, code: int, tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    parent = subprocess.Popen(
        [sys.executable, str(script)], stdout=pipe, stderr=pipe, text=True, env=environment
    )
    assert parent.stdout is not None
    workers = [int(parent.stdout.readline()) for _ in range(2)]
    parent.send_signal(sent)
    _, said = parent.communicate(timeout=60)
    assert parent.returncode == code
    assert "Traceback" not in said
    give_up = time.monotonic() + 60
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < give_up, "a worker outlived its parent"
        time.sleep(0.05)
