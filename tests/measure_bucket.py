"""Measure what a set in a bucket takes on this machine: `python -m tests.measure_bucket N`.

Of a build of N contexts into an S3 server on loopback, of its check and of reading it: the peak
memory of the largest process, and the peak of what lies in the cache, by folder. Not a test.
"""

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.many_contexts import rows
from tests.s3_server import s3_server

URL = "s3://bucket/set"
SETTINGS = "--mlm none --glove embedded --copies-per-example 2".split()
READ = f"from augment.shards import open_shards; print(open_shards('{URL}').num_rows, 'rows')"
PEAK = """
import resource, subprocess, sys
subprocess.run([sys.executable, *sys.argv[1:]], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
COMMANDS = {
    "build": ("-m", "augment.build", "train.jsonl", URL, *SETTINGS),
    "check": ("-m", "augment.check", URL),
    "read": ("-c", READ),
}


def sizes(cache: Path) -> Counter[str]:
    """Give the mebibytes that lie in each folder of the cache."""
    found: Counter[str] = Counter()
    for path in cache.rglob("*"):
        try:
            if path.is_file():
                kind, _, *rest = path.relative_to(cache).parts
                kind = kind.partition("-")[0]
                found[f"builds/{rest[0]}" if kind == "builds" else kind] += path.stat().st_size
        except FileNotFoundError:  # gone a moment ago
            continue
    return Counter({name: round(size / 2**20) for name, size in found.items()})


def measured(command: tuple[str, ...], cache: Path) -> tuple[int, Counter[str]]:
    """Run a command; give its peak memory in MiB, and the peak of each folder of the cache."""
    peak, over = Counter[str](), threading.Event()

    def watch() -> None:
        while not over.wait(timeout=0.2):
            for name, size in sizes(cache).items():
                peak[name] = max(peak[name], size)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        done = subprocess.run(
            [sys.executable, "-c", PEAK, *command],
            cwd=cache.parent,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=7200,
        )
    finally:
        over.set()
        watcher.join(timeout=60)
    return int(done.stdout.split()[-1]) // 1024, peak


def main(number: int) -> None:
    """Measure and print."""
    import s3fs

    with TemporaryDirectory() as folder, s3_server():
        s3fs.S3FileSystem(skip_instance_cache=True).mkdir("bucket")
        train, cache = Path(folder) / "train.jsonl", Path(folder) / "cache"
        with train.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows(number))
        os.environ |= {"TWENTYFOLD_CACHE": str(cache), "PYTHONPATH": str(Path.cwd())}
        print(f"{number} contexts, {train.stat().st_size >> 20} MiB of input")
        for name, command in COMMANDS.items():
            memory, peak = measured(command, cache)
            print(f"{name}: {memory} MiB of memory; in the cache, MiB: {dict(peak)}")


if __name__ == "__main__":
    main(int(sys.argv[1]))
