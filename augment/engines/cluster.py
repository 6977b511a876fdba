"""Run tasks on the machines of a Ray cluster, which is joined and never started.

Ray does a task again whose process or machine was lost. Tasks are pure and their results atomic, so
that doing one twice does no harm.
"""

import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from augment.base.command import UsageError
from augment.base.progress import say_done, watch
from augment.base.workers import TICK
from augment.engines.shared_folder import CommonGround, common_ground

Task = TypeVar("Task")
Result = TypeVar("Result")

AHEAD = 2
"""Tasks that are handed out for each one that can run, so that no place waits for its next."""


@contextmanager
def joined(
    address: str | None,
    gpus_per_task: float,
    retries: int,
    environment: Mapping[str, str] | None = None,
) -> Iterator["Cluster"]:
    """Join a cluster until the block's end.

    Args:
        address: HOST:PORT; by default RAY_ADDRESS, or that of the cluster on this machine.
        gpus_per_task: of tasks that need any.
        retries: how often a task is done again whose process or machine was lost.
        environment: variables of the processes that do tasks.

    Raises:
        UsageError: there is no cluster, or Ray is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise UsageError(
            "--engine ray: Ray is not installed; in the project's folder, "
            "pip install -e '.[ray]' -c constraints.txt"
        ) from error
    where = address or os.environ.get("RAY_ADDRESS") or "auto"
    try:
        if where != "auto":  # Ray itself would try for minutes
            host, _, port = where.rpartition(":")
            socket.create_connection((host, int(port)), timeout=10).close()
        variables = {"env_vars": dict(environment or {})}
        ray.init(where, logging_level="warning", runtime_env=variables)
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise UsageError(
            f"--address {where}: no Ray cluster there to join ({error}); start one with `ray start "
            "--head`, and `ray start --address HOST:PORT` on other machines"
        ) from error
    try:
        yield Cluster(ray, gpus_per_task, retries)
    finally:
        ray.shutdown()


@dataclass(frozen=True)
class Cluster:
    """A cluster that was joined: an `Engine`."""

    ray: Any
    gpus_per_task: float
    retries: int
    ground: CommonGround | None = None

    @property
    def has_gpus(self) -> bool:
        """Tell whether any machine has a GPU."""
        return bool(self.ray.cluster_resources().get("GPU"))

    @contextmanager
    def sharing(self, folders: Sequence[Path], files: Sequence[Path]) -> Iterator["Cluster"]:
        """Check that all machines share folders and files; those that join later are checked, too.

        Raises:
            RuntimeError: with the machine, and what it lacks.
        """
        affinity = self.ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        check = self.ray.remote(num_cpus=0)(CommonGround.check)
        with common_ground(folders, files) as ground:
            places = [affinity(n["NodeID"], soft=False) for n in self.ray.nodes() if n["Alive"]]
            for looked in [check.options(scheduling_strategy=p).remote(ground) for p in places]:
                self._result(looked)
            yield replace(self, ground=ground)

    def run(
        self,
        tasks: Iterable[Task],
        setup: Callable[..., Callable[[Task], Result]],
        arguments: tuple[Any, ...],
        device: str,
    ) -> Iterator[Result]:
        """Do tasks as `run_tasks` does; a process that does several is set up once.

        Raises:
            RuntimeError: a task was lost more often than it is retried, or no machine can do it.
        """
        ray, gpus = self.ray, self.gpus_per_task if device.startswith("cuda") else 0
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        counter = ray.remote(num_cpus=0, scheduling_strategy=here)(_Counter).remote()
        stage = [ray.put((setup, (*arguments, device), self.ground)), counter]
        options = {"num_cpus": 1, "num_gpus": gpus, "max_calls": 0, "max_retries": self.retries}
        do = ray.remote(**options)(_do)
        key, waiting = uuid4().hex, iter(tasks)
        pending: list[Any] = []
        while True:
            free = AHEAD * self._places(gpus) - len(pending)
            pending += [do.remote(key, stage, task) for task in islice(waiting, max(0, free))]
            if not pending:
                return
            finished, pending = ray.wait(pending, timeout=TICK)
            say_done(ray.get(counter.take.remote()))
            for reference in finished:
                yield self._result(reference)

    def _places(self, gpus: float) -> int:
        """Count the tasks that can run at a time."""
        there = self.ray.cluster_resources()
        places = int(there.get("GPU", 0) / gpus if gpus else there.get("CPU", 0))
        if not places:
            raise RuntimeError(
                f"no machine of the Ray cluster offers a {'GPU' if gpus else 'CPU'}; add one that "
                "does, and run the same command again"
            )
        return places

    def _result(self, reference: Any) -> Any:
        exceptions = self.ray.exceptions
        try:
            return self.ray.get(reference)
        except exceptions.RayTaskError as error:
            raise error.cause from None
        except exceptions.RayError as error:
            raise RuntimeError(
                f"a task was lost with its process or machine, and {self.retries} times more "
                f"({type(error).__name__}), perhaps for lack of memory; run the same command again "
                "to go on"
            ) from error


class _Counter:
    """What tasks have done since it was last asked for; lives beside the build."""

    def __init__(self) -> None:
        self.amount = 0.0

    def add(self, amount: float) -> None:
        self.amount += amount

    def take(self) -> float:
        amount, self.amount = self.amount, 0.0
        return amount


_set_up: tuple[str, Callable[[Any], Any]] | None = None
"""In a process that does tasks: the key of the stage that it was set up for, and what does one."""


def _do(key: str, stage: list[Any], task: Any) -> Any:
    global _set_up
    if _set_up is None or _set_up[0] != key:
        import ray

        setup, arguments, ground = ray.get(stage[0])
        if ground is not None:
            ground.check()
        amount, told = 0.0, time.monotonic()

        def add(more: float) -> None:
            nonlocal amount, told
            amount += more
            if time.monotonic() - told > TICK:
                stage[1].add.remote(amount)
                amount, told = 0.0, time.monotonic()

        watch(add)
        _set_up = None  # the memory of the stage before, which the new one may need
        _set_up = key, setup(*arguments)
    return _set_up[1](task)
