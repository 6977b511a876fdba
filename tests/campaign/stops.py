"""Kill a build into a bucket and a push at each of their requests that write; run them again."""

import importlib
import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import product
from typing import NamedTuple

from tests.campaign.scene import Case, Command, Scene
from tests.campaign.store import AFTER, BEFORE, WRITES, Proxy, ask, empty, names, proxied, quick
from tests.s3_server import SERVERS, missing

SAME = "readers saw a whole set or none, the same when run again"
URL = "s3://bucket/new"
SOURCES = ("--mlm", "none", "--glove", "vectors.txt", "--allow-unchanged", "--num-workers", "1")
SIZE = ("--copies-per-example", "2", "--num-shards", "2")
JOBS: dict[str, Command] = {
    "build": ("augment.build", "train.json", URL, *SOURCES, *SIZE),
    "push": ("augment.push", "set", URL),
}
READER: Command = ("augment.export", URL, "seen", "--to", "parquet")
SMALLEST_PART = 1000
"""Bytes of a part, at least, where files go up in three; s3fs does so from 100 MB on."""


class Run(NamedTuple):
    """What is stopped."""

    server: str
    job: str
    in_parts: bool


class Result(NamedTuple):
    """What it makes undisturbed."""

    content: dict[str, bytes]
    seen: dict[str, str]
    """By a reader."""


def cases(scene: Scene, numbers: range, seed: int) -> Iterator[Case]:
    """Stop every run at every request that writes, in an order that the seed decides."""
    importlib.import_module("aiobotocore.session")  # once, before the forks
    with ExitStack() as stack:
        proxies = {}
        for server in SERVERS:
            if reason := missing(server):
                print(f"stops: {reason}", file=sys.stderr)
            else:
                proxies[server] = stack.enter_context(proxied(server))
        stops, right = list[tuple[Run, int, str]](), dict[str, Result]()
        for run in (Run(*each) for each in product(proxies, JOBS, (False, True))):
            proxy = proxies[run.server]
            _start_again(scene, proxy)
            proxy.disturb("", range(0), WRITES)
            done = scene.run(JOBS[run.job], _prepared(run, proxy))
            assert done.code == 0, done.said
            stops += product([run], range(proxy.count), (BEFORE, AFTER))
            if run.job not in right:
                seen = scene.run(READER, _prepared(run, proxy))
                assert seen.code == 0, seen.said
                right[run.job] = Result(_content(proxy, run), scene.digest("seen"))
            assert _content(proxy, run) == right[run.job].content
        random.Random(seed).shuffle(stops)
        for number, (run, request, fault) in list(enumerate(stops))[numbers.start : numbers.stop]:
            verdict, said = _stopped(scene, proxies[run.server], run, request, fault, right)
            state = f"{run.server}, {run.job}{' in parts' * run.in_parts}"
            yield Case(number, state, f"write {request}", fault, verdict, said)


def _stopped(
    scene: Scene, proxy: Proxy, run: Run, request: int, fault: str, right: dict[str, Result]
) -> tuple[str, str]:
    """Stop a run once; give the verdict, and what was said."""
    _start_again(scene, proxy)
    proxy.disturb(fault, range(request, sys.maxsize), WRITES)
    child = scene.start(JOBS[run.job], _prepared(run, proxy))
    proxy.victim.set_result(child)
    stopped = scene.end(child)
    proxy.calm()
    whole = "new/manifest.json" in names(proxy, "new/")
    seen = scene.run(READER, _prepared(run, proxy))
    again = scene.run(JOBS[run.job], _prepared(run, proxy))
    said = stopped.said + seen.said + again.said
    if stopped.fault != "SIGKILL":
        return "was not stopped", said
    if whole and (seen.code or scene.digest("seen") != right[run.job].seen):
        return "READERS SAW PART OF A SET", said
    if not whole and "so not a finished set" not in seen.said:
        return "readers were not told that it is not finished", said
    if again.code:
        return again.fault or "does not go on", said
    return (SAME if _content(proxy, run) == right[run.job].content else "OTHER BYTES"), said


def _start_again(scene: Scene, proxy: Proxy) -> None:
    scene.put_back("built")
    empty(proxy, "new")  # and the candidates beside it


def _content(proxy: Proxy, run: Run) -> dict[str, bytes]:
    """Give all that is there but the record of a build, which has times in it."""
    return {
        name: ask(proxy, "GET", f"/bucket/{name}")
        for name in names(proxy, "new/")
        if run.job == "push" or not name.endswith("/run.json")
    }


def _prepared(run: Run, proxy: Proxy) -> Callable[[], None]:
    def prepare() -> None:
        import s3fs.core

        from augment.cards import data_card

        quick()
        data_card.draw_set = lambda manifest: "<svg/>"  # a picture would take most of the time
        os.environ["AWS_ENDPOINT_URL"] = proxy.url
        if run.in_parts:
            s3fs.core.calculate_chunksize = lambda size, **_: max(size // 3 + 1, SMALLEST_PART)

    return prepare
