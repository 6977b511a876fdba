"""Run the campaign and print its table; what is wrong goes, with what was said, into a file.

python -m tests.campaign [--cases N] [--seed N] [--only damage|kills|fuzz] [--report FILE]
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: forks have one thread

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from tests.campaign import damage, fuzz, kills
from tests.campaign.damage import NAMED, SAME, Case
from tests.campaign.fuzz import ACCEPTED, REFUSED
from tests.campaign.scene import Scene

RIGHT = {SAME, NAMED, ACCEPTED, REFUSED}
PARTS: dict[str, Callable[[Scene, int, int], Iterator[Case]]] = {
    "damage": damage.cases,
    "kills": kills.cases,
    "fuzz": fuzz.cases,
}


@dataclass(frozen=True, kw_only=True)
class CampaignConfig:
    """Faults at random, the same for the same seed."""

    cases: int = 600
    """Of each part, at most."""
    seed: int = 0
    """Decides every draw but the moments of kills."""
    only: Literal["all", "damage", "kills", "fuzz"] = "all"
    """One part."""
    report: Path | None = None
    """A file for every case that went wrong."""


def main(config: CampaignConfig) -> int:
    """Run the parts, print a table of each; give the number of cases that went wrong."""
    wrong = []
    for name, cases in PARTS.items():
        if config.only not in ("all", name):
            continue
        with tempfile.TemporaryDirectory(prefix="campaign-") as folder:
            found = list(cases(Scene(Path(folder)), config.cases, config.seed))
        print(table(name, found), flush=True)
        wrong += [case for case in found if case.verdict not in RIGHT]
    if config.report:
        config.report.write_text("\n\n".join(shown(case) for case in wrong) + "\n")
    return len(wrong)


def table(name: str, found: list[Case]) -> str:
    """Count verdicts, of all and of each kind of fault; name the cases that went wrong."""
    lines = [f"{name}: {len(found)} cases"]
    lines += [
        f"  {n:5} {verdict}" for verdict, n in Counter(c.verdict for c in found).most_common()
    ]
    bad = Counter((c.verdict, c.damage, c.state, c.file) for c in found if c.verdict not in RIGHT)
    lines += [f"    {n:3} x {': '.join(key)}" for key, n in sorted(bad.items())]
    return "\n".join(lines)


def shown(case: Case) -> str:
    """Write a case out."""
    return f"{case.verdict}: {case.damage} {case.file} ({case.state})\n{case.said.strip()}"


if __name__ == "__main__":
    raise SystemExit(min(main(tyro.cli(CampaignConfig)), 1))
