"""The processes that `torchrun` started: they meet once, and the first decides for all.

What lies on disk may change between two looks, and may look different from another node. So one
process looks, and tells the others; each function here is called by all of them or by none.
"""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

PATIENCE = timedelta(minutes=10)
"""How long a process waits for the others to come, or within a training step."""
LONG_WORK = timedelta(hours=12)
"""How long it waits while others may be tokenising, or computing a teacher's logits."""


def launch_rank() -> int:
    """Give this process's rank, also before the processes have met."""
    return int(os.environ.get("RANK", "0"))


def num_processes() -> int:
    """Count the processes that `torchrun` started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def meet(device: "torch.device") -> None:
    """Join the other processes, if there are any and this one has not done so.

    They never part: the store of `torchrun` keeps every address that it was told, also those of
    processes that it has started again since. Who comes first would find an old one there, where
    nobody listens, and wait for good. So each life of the processes has a prefix of its own.

    Args:
        device: on which this one will compute.
    """
    import torch
    import torch.distributed as dist
    from torch.distributed.rendezvous import rendezvous

    if num_processes() == 1 or dist.is_initialized():
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    store, rank, world = next(rendezvous("env://", timeout=PATIENCE))
    life = _call_together(store, world) if rank == 0 else _come(store, rank)
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        store=dist.PrefixStore(life, store),  # type: ignore[attr-defined]
        rank=rank,
        world_size=world,
        timeout=PATIENCE,
    )


def _come(store: Any, rank: int) -> str:
    """Ask the first process for the name of this life, by a name that nobody has had before."""
    own = uuid4().hex
    store.set(f"come {rank}", own)
    life: str = store.get(f"answer {own}").decode()  # waits for it
    store.set(f"{life} {rank}", "here")
    return life


def _call_together(store: Any, world: int) -> str:
    """Answer whoever asks, also those of an earlier life, until all of this one are there."""
    life, absent, give_up = uuid4().hex, set(range(1, world)), time.monotonic() + PATIENCE.seconds
    while absent:
        if time.monotonic() > give_up:
            raise RuntimeError(f"processes {sorted(absent)} of {world} did not come")
        for rank in sorted(absent):
            if store.check([f"come {rank}"]):
                store.set(f"answer {store.get(f'come {rank}').decode()}", life)
            if store.check([f"{life} {rank}"]):
                absent.remove(rank)
        time.sleep(0.02)
    return life


def process_rank() -> tuple[int, int]:
    """Give this process's rank and their number: 0 and 1 where they have not met."""
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


@cache
def _patient() -> Any:
    """Make the group in which they talk: its messages lie in memory, whatever the device."""
    import torch.distributed as dist

    return dist.new_group(backend="gloo", timeout=LONG_WORK)


def gather(value: T) -> list[T]:
    """Give every process's value to all of them, in the order of their ranks."""
    import torch.distributed as dist

    _, world = process_rank()
    if world == 1:
        return [value]
    values: list[Any] = [None] * world
    dist.all_gather_object(values, value, group=_patient())
    return values


def wait_for_all() -> None:
    """Wait until every process has come here."""
    import torch.distributed as dist

    if process_rank()[1] > 1:
        dist.barrier(group=_patient())


def first_decides(decide: Callable[[], T]) -> T:
    """Let the first process find something out, and give it to all.

    If it fails, it alone says why, and the others leave when it has left.
    """
    import torch.distributed as dist

    rank, world = process_rank()
    if world == 1:
        return decide()
    told: list[Any] = [False, None]
    if rank == 0:
        try:
            told = [True, decide()]
        finally:
            dist.broadcast_object_list(told, src=0, group=_patient())
    else:
        dist.broadcast_object_list(told, src=0, group=_patient())
        if not told[0]:
            with suppress(RuntimeError):  # the connection ends with the first process
                dist.barrier(group=_patient())
            raise SystemExit(1)
    found: T = told[1]
    return found


def keeper_of(folder: Path) -> int:
    """Give the first process for which a folder is the one that it is here.

    Processes of one node share its folders, those of several nodes what is mounted in both.
    """
    rank, world = process_rank()
    if world == 1:
        return 0
    own = folder / f".{rank}.{uuid4().hex}.tmp"
    with suppress(FileNotFoundError):  # there is no such folder here
        own.touch()
    marks = gather(own.name)
    keeper = next((number for number, mark in enumerate(marks) if (folder / mark).exists()), rank)
    wait_for_all()
    own.unlink(missing_ok=True)
    return keeper


def after_its_keeper(folder: Path, work: Callable[[], T]) -> T:
    """Do some work that leaves files in a folder: one process first, then who finds them there."""
    folder.mkdir(parents=True, exist_ok=True)
    is_keeper = keeper_of(folder) == process_rank()[0]
    if is_keeper:
        found = work()
    wait_for_all()
    return found if is_keeper else work()
