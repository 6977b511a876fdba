"""Run the campaign and print its table; what is wrong goes, with what was said, into a file.

A case is a function of the seed and its number: `--only fuzz --start 731 --cases 1` runs it again.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: forks have one thread

import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from tests.campaign import damage, full_disk, fuzz, kills, others, stops, store
from tests.campaign.scene import Case, Scene

RIGHT = {
    damage.SAME,
    damage.NAMED,
    full_disk.NAMED,
    fuzz.ACCEPTED,
    fuzz.REFUSED,
    others.UNTOUCHED,
    store.SAME,
    store.NAMED,
    stops.SAME,
}
PARTS: dict[str, tuple[int, Callable[[Scene, range, int], Iterator[Case]]]] = {
    "damage": (600, damage.cases),
    "kills": (200, kills.cases),
    "disk": (150, full_disk.cases),
    "fuzz": (1500, fuzz.cases),
    "others": (30, others.cases),
    "store": (200, store.cases),
    "stops": (1000, stops.cases),
}
"""How many cases a whole campaign has; of stops at most, as many as requests that write."""


@dataclass(frozen=True, kw_only=True)
class CampaignConfig:
    """Faults at random, the same for the same seed."""

    only: Literal["all", "damage", "kills", "disk", "fuzz", "others", "store", "stops"] = "all"
    """One part."""
    start: int = 0
    """Number of the first case."""
    cases: int | None = None
    """Of each part; by default what a whole campaign has."""
    seed: int = 0
    """Decides every draw but the moments of kills."""
    report: Path | None = None
    """A file to which every case that went wrong is added, as soon as it did."""


def main(config: CampaignConfig) -> int:
    """Run the parts, print a table of each; give the number of cases that went wrong."""
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="campaign-") as folder:
        scene = Scene(Path(folder))
        for name, (whole, cases) in PARTS.items():
            if config.only not in ("all", name):
                continue
            end = config.start + (config.cases or whole)
            found = []
            for case in cases(scene, range(config.start, end), config.seed):
                found.append(case)
                bad = case.verdict not in RIGHT
                wrong += bad
                if bad and config.report:
                    with config.report.open("a") as file:
                        file.write(f"{name} {shown(case)}\n\n")
                if len(found) % 50 == 0:
                    print(f"{name}: {len(found)} cases", file=sys.stderr, flush=True)
            print(table(name, found), flush=True)
    return wrong


def table(name: str, found: list[Case]) -> str:
    """Count verdicts, of all and of each kind of fault; name the cases that went wrong."""
    lines = [f"{name}: {len(found)} cases"]
    lines += [
        f"  {n:5} {verdict}" for verdict, n in Counter(c.verdict for c in found).most_common()
    ]
    bad = Counter((c.verdict, c.fault, c.state, c.file) for c in found if c.verdict not in RIGHT)
    lines += [f"    {n:3} x {': '.join(key)}" for key, n in sorted(bad.items())]
    return "\n".join(lines)


def shown(case: Case) -> str:
    """Write a case out."""
    heading = f"{case.number}: {case.verdict}: {case.fault} {case.file} ({case.state})"
    return f"{heading}\n{case.said.strip()[-2000:]}"


if __name__ == "__main__":
    raise SystemExit(min(main(tyro.cli(CampaignConfig)), 1))
