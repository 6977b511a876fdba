"""What runs a command's work: this machine's processes, or a cluster that is joined."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Literal

from augment.base.command import UsageError
from augment.engines.cluster import Cluster, joined


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """What runs the work. It does not change the output."""

    engine: Literal["local", "ray"] = "local"
    """`local`: processes of this machine. `ray`: the machines of a Ray cluster, which is joined."""
    address: str | None = None
    """HOST:PORT of the Ray cluster; by default RAY_ADDRESS, or the cluster on this machine."""
    gpus_per_task: float = 1
    """GPUs that Ray gives to a task with a model, 0.5 for two tasks a GPU."""
    retries: int = 3
    """How often Ray does a task again whose process or machine was lost."""

    def __post_init__(self) -> None:
        set_here = [field for field in fields(self) if getattr(self, field.name) != field.default]
        if self.engine == "local" and set_here:
            raise UsageError("--address, --gpus-per-task and --retries are for --engine ray")
        if not 0 < self.gpus_per_task < float("inf"):
            raise UsageError(f"--gpus-per-task {self.gpus_per_task}: must be above 0")
        if self.retries < 0:
            raise UsageError(f"--retries {self.retries}: must be 0 or more")

    @contextmanager
    def joined(self, environment: Mapping[str, str] | None = None) -> Iterator[Cluster | None]:
        """Join the cluster, if there is to be one, until the block's end.

        Args:
            environment: variables of the processes that do tasks.
        """
        if self.engine == "local":
            yield None
            return
        with joined(self.address, self.gpus_per_task, self.retries, environment) as cluster:
            yield cluster


LOCAL = EngineOptions()
