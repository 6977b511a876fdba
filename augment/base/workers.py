"""Run tasks in this process or in several; results come as they are finished."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from typing import Any, Protocol, TypeVar

from augment.base.progress import say_done, watch
from augment.base.terminal import deaf_children

Task = TypeVar("Task")
Result = TypeVar("Result")

TICK = 0.5
"""Seconds after which what other processes have done is asked for again."""


class Engine(Protocol):
    """What runs tasks elsewhere than in processes of this machine."""

    def run(
        self,
        tasks: Iterable[Task],
        setup: Callable[..., Callable[[Task], Result]],
        arguments: tuple[Any, ...],
        device: str,
    ) -> Iterator[Result]:
        """Do tasks, each once or more often; yield results in the order they finish."""
        ...


_work: Callable[[Any], Any] | None = None


def run_tasks(
    tasks: Iterable[Task],
    setup: Callable[..., Callable[[Task], Result]],
    arguments: tuple[Any, ...],
    devices: Sequence[str],
    engine: Engine | None = None,
) -> Iterator[Result]:
    """Set up one worker per device, give it tasks, yield results in the order they finish.

    Args:
        tasks: each must be picklable.
        setup: called once in every worker as `setup(*arguments, device)`; gives the function
            that does a task.
        arguments: for `setup`.
        devices: one worker each, such as `["cpu", "cpu"]`; a single one works in this process.
        engine: if given, runs the tasks instead, on devices of the first one's kind.

    Raises:
        RuntimeError: a worker died without an exception, most likely for lack of memory.
    """
    if engine is not None:
        yield from engine.run(tasks, setup, arguments, devices[0])
        return
    if len(devices) == 1:
        work = setup(*arguments, devices[0])
        yield from map(work, tasks)
        return
    others = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    for device in devices:
        queue.put(device)
    done = context.Value("d", 0.0)
    pool = ProcessPoolExecutor(len(devices), context, _start, (setup, arguments, queue, done))
    try:
        with deaf_children():  # Ctrl-C is this process's to handle
            futures = [pool.submit(_do, task) for task in tasks]
        pending, told = set(futures), 0.0
        while pending:
            finished, pending = wait(pending, TICK, FIRST_COMPLETED)
            amount = done.value
            say_done(amount - told)
            told = amount
            for future in finished:
                yield future.result()
    except BrokenProcessPool as error:
        raise RuntimeError(
            "a worker process died, most likely killed for lack of memory; "
            "run the same command again to go on, with fewer --num-workers"
        ) from error
    except BaseException:  # an error in a task, or Ctrl-C: do not wait for what nobody will use
        for worker in set(multiprocessing.active_children()) - others:
            worker.kill()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start(
    setup: Callable[..., Callable[[Any], Any]], arguments: tuple[Any, ...], queue: Any, done: Any
) -> None:
    global _work
    _end_with_parent()

    def add(amount: float) -> None:
        with done.get_lock():
            done.value += amount

    watch(add)
    _work = setup(*arguments, queue.get())


def _do(task: Any) -> Any:
    assert _work is not None
    return _work(task)


def _end_with_parent() -> None:
    """End this worker when the process that started it is gone, even by SIGKILL."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
