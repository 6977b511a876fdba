"""Say what a training ran on, and measure its energy where codecarbon is installed."""

import resource
import sys
from types import TracebackType
from typing import Any

import torch

from augment.base.command import usable_cores
from augment.base.records import processor
from distill.training.trainer import Place
from eval.reading.processes import launch_rank


def describe_hardware(place: Place) -> dict[str, Any]:
    """Name processor, cores, GPU and the peaks of memory, in MiB."""
    divisor = 2**20 if sys.platform == "darwin" else 2**10
    found: dict[str, Any] = {
        "processor": processor(),
        "cores": usable_cores(),
        "num_processes": place.num_processes,
        "device": place.device,
        "dtype": place.dtype,
        "peak_resident_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // divisor,
    }
    if place.device == "cuda":
        found["gpu"] = torch.cuda.get_device_name()
        found["peak_gpu_mib"] = torch.cuda.max_memory_allocated() // 2**20
    return found


class EnergyMeter:
    """Measures a block's energy in kWh; `kwh` stays None without codecarbon."""

    kwh: float | None = None

    def __init__(self) -> None:
        self._tracker: Any = None

    def __enter__(self) -> "EnergyMeter":
        try:
            from codecarbon import OfflineEmissionsTracker
        except ImportError:
            return self
        if launch_rank() == 0:
            # the country decides the emissions, which are not kept; energy does not depend on it
            self._tracker = OfflineEmissionsTracker(
                country_iso_code="DEU", save_to_file=False, log_level="error"
            )
            self._tracker.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._tracker is not None:
            self._tracker.stop()
            self.kwh = round(self._tracker.final_emissions_data.energy_consumed, 6)
