"""Kill builds and distillations at random moments, run them again, and compare every byte."""

import os
import random
import signal
import time
from collections.abc import Iterator

from tests.campaign.damage import SAME, Case, out_of
from tests.campaign.scene import Scene, build, train

LEFT = {"candidates", "cache", "mlm", "teacher", "train.json", "vectors.txt", "set"}
"""Names that may lie beside the result."""


def cases(scene: Scene, number: int, seed: int) -> Iterator[Case]:
    """Kill, terminate or interrupt a command; the last as a process of its own, as by Ctrl-C."""
    draws = random.Random(seed)
    seconds, right = {}, {}
    assert scene.run(build("set")).code == 0
    scene.keep("start")
    for command in (build("set-2"), train("student-2")):
        scene.put_back("start")
        began = time.monotonic()
        done = scene.run(command)
        assert done.code == 0, done.said
        seconds[command] = time.monotonic() - began
        right[command] = scene.digest(out_of(command))
    for _ in range(number):
        command = draws.choice(list(right))
        kind = draws.choice((signal.SIGKILL, signal.SIGTERM, signal.SIGINT))
        out = out_of(command)
        scene.put_back("start")
        if kind == signal.SIGINT:
            stopped = scene.interrupt(command, draws.uniform(0.1, 2 * seconds[command] + 3))
        else:
            child = scene.start(command)
            time.sleep(draws.uniform(0, seconds[command]))
            os.kill(child, kind)
            stopped = scene.end(child)
        fault = stopped.fault if kind == signal.SIGINT and stopped.code != 130 else None
        again = scene.run(command)
        left = {path.name for path in scene.folder.iterdir()} - LEFT - {out}
        if fault or again.fault:
            verdict = str(fault or again.fault)
        elif again.code:
            verdict = "does not go on"
        elif scene.digest(out) != right[command]:
            verdict = "OTHER BYTES"
        else:
            verdict = f"left over: {', '.join(sorted(left))}" if left else SAME
        yield Case(kind.name, command[0], "killed", verdict, (stopped.said + again.said)[-2000:])
