"""What `torchrun` starts in tests of several processes: a training that notes what it does.

LATE names the rank that comes late to wherever the processes meet, DYING one that is killed before
a step of the first stage, in its first life.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import torch.distributed as dist
from transformers import TrainerCallback

from augment.base.command import leave
from distill.rows import features
from distill.rows.batches import Batches
from distill.training import stages
from tests.tiny_distil import job, two_stages

RANK = os.environ.get("RANK", "0")
DIES_BEFORE = 4


def train(teacher, out, data, notes):
    """Train both stages with batches of 26 rows; note in a folder what is read and tokenised.

    With Adam's own epsilon, parameters whose gradient is nothing but rounding, such as the bias of
    keys, would move as far as others, and elsewhere in every run.
    """
    read, tokenise = Batches.__getitem__, features._write

    def noted_read(batches, item):
        step, part = divmod(item, batches.micro_batches)
        rows = batches.step_rows(step)[part :: batches.micro_batches].tolist()
        note("rows", [batches.seed, step, rows])
        return read(batches, item)

    def noted_tokenise(*given):
        note("tokenised", os.environ.get("GROUP_RANK"))
        return tokenise(*given)

    def note(what, value):
        with (Path(notes) / f"{what}-{RANK}").open("a") as file:
            file.write(json.dumps(value) + "\n")

    recipe = two_stages(teacher, batch_size=26, epochs=6, adam_epsilon=1e-3)
    Path(notes).mkdir(exist_ok=True)
    Batches.__getitem__, features._write = noted_read, noted_tokenise
    try:
        stages.distil(
            job(recipe, Path(out), data, dev=data, dev_steps=3, save_steps=2, logging_steps=1)
        )
    finally:
        Batches.__getitem__, features._write = read, tokenise


class Dying(TrainerCallback):
    """Kills this process, once."""

    def __init__(self, mark):
        self.mark = Path(mark)

    def on_step_begin(self, args, state, control, **_):
        if state.global_step + 1 == DIES_BEFORE and not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)


def late(call):
    """Give a call that comes late."""

    def called(*given, **named):
        time.sleep(0.3)
        return call(*given, **named)

    return called


if __name__ == "__main__":
    if os.environ.get("LATE") == RANK:
        for name in ("init_process_group", "new_group", "barrier", "all_gather_object"):
            setattr(dist, name, late(getattr(dist, name)))
    if os.environ.get("DYING") == RANK:
        callbacks = stages._callbacks
        stages._callbacks = lambda *given: [*callbacks(*given), Dying(sys.argv[4] + ".died")]
    train(*sys.argv[1:])
    leave()
