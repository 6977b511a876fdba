"""All that a GPU has to show, in one call: commands of the project, one after the other.

Each goes on where it was cut short when the campaign is started again, and writes a log into the
campaign's folder. What fails is named at the end, and does not keep the rest from running.
"""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from augment.base.command import UsageError

MEASURED = "measured in"
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """What the part `gpu` works on, and where; smaller to try it."""

    dev: str | None = None
    """A dev set: teachers and students are scored on it."""
    mlm: str = "google-bert/bert-base-uncased"
    """The masked LM that the set is built by, and that the teacher starts from."""
    layers: tuple[int, ...] = (2, 4, 6, 8, 10, 12)
    """Layers of the teacher that make the study's students."""
    work: Path = Path("gpu-campaign")
    """Where sets, models, records and logs go."""
    tests: tuple[str, ...] = ("tests",)
    """Tests to run; tests that need a GPU are skipped elsewhere."""
    limit_contexts: int | None = None
    """Build with the first N paragraphs."""
    max_steps: int | None = None
    """Train the teacher for N steps."""
    arms: tuple[str, ...] = ()
    """Arms of the study; all of them by default."""
    dtypes: tuple[str, ...] = ("float16", "bfloat16")
    """Number types of the measurements."""


def commands(
    campaign: Campaign, train: str, device: str, sizes: Sequence[str]
) -> Iterator[tuple[str, list[str]]]:
    """Give each command of the campaign with its name.

    Args:
        campaign: what was asked for.
        train: a SQuAD file.
        device: where.
        sizes: flags of `distill.bench` for its shapes and turns.
    """
    work, on = campaign.work, ["--device", device]
    assert campaign.dev is not None  # checked before
    limit = _flag("--limit-contexts", campaign.limit_contexts)
    steps = _flag("--max-steps", campaign.max_steps)
    yield "tests", ["pytest", "-q", *campaign.tests]
    yield (
        "build",
        ["augment.build", train, f"{work}/set20x", "--mlm", campaign.mlm, *on, *limit],
    )
    yield (
        "teacher",
        [
            *("distill.finetune", train, f"{work}/teacher", "--model", campaign.mlm),
            *("--dev", campaign.dev, *on, *steps),
        ],
    )
    for dtype in campaign.dtypes:
        parts = ["--parts", "memory", "speed", "--dtype", dtype]
        yield f"{MEASURED} {dtype}", ["distill.bench", train, *parts, *on, *sizes]
    yield (
        "study",
        [
            *("distill.study", train, campaign.dev, "--teacher", f"{work}/teacher"),
            *("--mlm", campaign.mlm, "--layers", *map(str, campaign.layers)),
            *("--work", f"{work}/study", "--records", f"{work}/records"),
            *(("--arms", *campaign.arms) if campaign.arms else ()),
        ],
    )


def run_campaign(campaign: Campaign, train: str, device: str, sizes: Sequence[str]) -> None:
    """Run every command; print a table of them, with the last line of each, then what was measured.

    Raises:
        UsageError: no dev set.
        RuntimeError: what failed.
    """
    if campaign.dev is None:
        raise UsageError("--parts gpu: name a dev set with --gpu.dev")
    campaign.work.mkdir(parents=True, exist_ok=True)
    failed, measured = [], []
    print("| what | seconds | it says |\n|---|---|---|")
    for name, command in commands(campaign, train, device, sizes):
        log = campaign.work / f"{name.replace(' ', '-')}.log"
        start = time.monotonic()
        with log.open("w") as file:
            code = subprocess.run(
                [sys.executable, "-m", *command],
                cwd=ROOT if name == "tests" else None,
                stdout=file,
                stderr=subprocess.STDOUT,
                check=False,
            ).returncode
        text = log.read_text(errors="replace").strip()
        last = text.rpartition("\n")[2].replace("|", " ").strip()
        print(f"| {name} | {time.monotonic() - start:.0f} | {last} |", flush=True)
        if code:
            failed.append(f"{name} (exit {code}, see {log})")
        elif name.startswith(MEASURED):
            measured.append(text)
    print("", *measured, sep="\n\n")
    if failed:
        raise RuntimeError(f"failed: {', '.join(failed)}")


def _flag(name: str, value: int | None) -> list[str]:
    return [] if value is None else [name, str(value)]
