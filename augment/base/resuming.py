"""Checkpoints of a training that prove themselves, and the last of them to go on from."""

import json
import os
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from augment.base.command import to_json
from augment.base.stored import checksum_faults, discard, seal

PROGRESS = "progress.json"
"""In a checkpoint: its step, and the seconds that it took to get there."""


class WholeCheckpoints(TrainerCallback):  # type: ignore[misc]
    """Seals a checkpoint when all of it is there, with the seconds that it took to get there."""

    def __init__(self, before: float = 0.0) -> None:
        self.before = before
        self.started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Time spent on the training, killed runs included up to their last checkpoint."""
        return self.before + time.monotonic() - self.started

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Seal it, when every process has written its part."""
        import torch

        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.barrier()
        if state.is_world_process_zero:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            record = {"step": state.global_step, "seconds": round(self.seconds, 1)}
            (folder / PROGRESS).write_text(to_json(record), encoding="utf-8")
            seal(folder)


def last_whole_checkpoint(work: Path) -> tuple[Path | None, float]:
    """Give the last checkpoint that is whole, and its seconds; the first process deletes others.

    One that a kill cut short goes without a word; one that was whole once is named.
    """
    whole = {}
    for folder in work.glob("checkpoint-*"):
        faults = checksum_faults(folder)
        if not faults:
            progress = json.loads((folder / PROGRESS).read_bytes())
            whole[progress["step"]] = folder, float(progress["seconds"])
        elif os.environ.get("RANK", "0") == "0":
            discard(folder, faults)
    return whole[max(whole)] if whole else (None, 0.0)
