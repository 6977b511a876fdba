"""Readers on the machines of a cluster, which find spans for the one that asks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from augment.base.progress import bar, say_done
from augment.base.workers import run_tasks
from augment.engines.options import EngineOptions
from eval.reading.reader import Find, Reader
from eval.reading.spans import WindowSpans
from eval.reading.windows import Window

BATCHES_PER_TASK = 8
"""Enough that a task takes longer than handing it out."""

Batches = Sequence[Sequence[Window]]


@contextmanager
def elsewhere(
    runs_on: EngineOptions, out: Path, loading: Mapping[str, Any]
) -> Iterator[Find | None]:
    """Give what has a cluster find spans, or None if none is to be joined.

    Args:
        runs_on: what was chosen.
        out: a folder by which machines know that they share one.
        loading: for `Reader.load`.
    """
    with runs_on.joined() as cluster:
        if cluster is None:
            yield None
            return
        local = Path(loading["name"]).absolute()
        there = {**loading, "name": str(local)} if local.exists() else loading
        device = "cuda" if cluster.has_gpus and loading["device"] != "cpu" else "cpu"
        with cluster.sharing([out], [local] if local.exists() else []) as engine:

            def find(batches: Batches) -> Iterator[tuple[int, WindowSpans]]:
                starts = range(0, len(batches), BATCHES_PER_TASK)
                tasks = [(start, batches[start : start + BATCHES_PER_TASK]) for start in starts]
                with bar("windows", "batch", len(batches)):
                    for found in run_tasks(tasks, set_up_reader, (there,), [device], engine):
                        yield from found

            yield find


def set_up_reader(
    loading: Mapping[str, Any], device: str
) -> Callable[[tuple[int, Batches]], list[tuple[int, WindowSpans]]]:
    """Load the reader in a worker; give the function that finds the spans of some batches."""
    reader = Reader.load(**{**loading, "device": device})

    def find(task: tuple[int, Batches]) -> list[tuple[int, WindowSpans]]:
        found = []
        for number, windows in enumerate(task[1], task[0]):
            found.append((number, reader.find(windows)))
            say_done(1)
        return found

    return find
