"""Kill builds and distillations at random moments, run them again, and compare every byte."""

import os
import random
import signal
import time
from collections.abc import Iterator

from tests.campaign.damage import SAME
from tests.campaign.scene import BUILD, TRAIN, Case, Job, Scene

KINDS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
FROM_THE_START = 0.2
"""Share of Ctrl-C that a process of its own gets, which may still be importing."""


def cases(scene: Scene, numbers: range, seed: int) -> Iterator[Case]:
    """Kill, terminate or interrupt a command; each case is a function of seed and number."""
    seconds = {job: _seconds(scene, job) for job in (BUILD, TRAIN)}
    for number in numbers:
        draws = random.Random(f"{seed}/{number}")
        job, kind = draws.choice((BUILD, TRAIN)), draws.choice(KINDS)
        command = job.command(job.out)
        scene.put_back(job.start)
        if kind == signal.SIGINT and draws.random() < FROM_THE_START:
            stopped = scene.interrupt(command, draws.uniform(0.1, 2 * seconds[job] + 3))
        else:
            child = scene.start(command)
            time.sleep(draws.uniform(0, seconds[job]))
            os.kill(child, kind)
            stopped = scene.end(child)
        again = scene.run(command)
        left = scene.left_over(job)
        if kind == signal.SIGINT and stopped.fault and stopped.code != 130:
            verdict = stopped.fault
        elif again.fault:
            verdict = again.fault
        elif again.code:
            verdict = "does not go on"
        elif scene.digest(job.out) != scene.right[job.out]:
            verdict = "OTHER BYTES"
        else:
            verdict = f"left over: {', '.join(left)}" if left else SAME
        said = stopped.said + again.said
        yield Case(number, job.out, "", kind.name, verdict, said)


def _seconds(scene: Scene, job: Job) -> float:
    scene.put_back(job.start)
    began = time.monotonic()
    assert scene.run(job.command(job.out)).code == 0
    return time.monotonic() - began
