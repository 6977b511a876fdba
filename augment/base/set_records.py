"""What a set says of itself: the plan of its build, receipts of shards, manifest, run record.

They are read and checked here alone; a damaged one is an error that names the file and the key.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from augment.base.folders import PLAN
from augment.base.records import as_json, read_as

MANIFEST, RUN = "manifest.json", "run.json"
AGAIN = "build the set again, or copy it again"


@dataclass(frozen=True, kw_only=True)
class InputPlan:
    """The set that a build reads."""

    name: str
    sha256: str
    on_bad_answer: str
    limit_contexts: int | None


@dataclass(frozen=True, kw_only=True)
class MaskedLMPlan:
    """The masked LM, and what of its running decides its candidates."""

    name: str
    sha256: str
    masking: str
    batch_tokens: int
    dtype: str
    device_class: str
    accelerator: str | None = None
    """The GPU's name; None, and not written down, on a CPU."""


@dataclass(frozen=True, kw_only=True)
class GlovePlan:
    """The word vectors."""

    name: str
    sha256: str
    skipped_lines: int


@dataclass(frozen=True, kw_only=True)
class ShardPlan:
    """How paragraphs are dealt to shards: contiguous, sizes differing by at most one."""

    num_paragraphs: int
    num_shards: int

    def paragraphs(self, shard: int) -> range:
        """Give the places of a shard's paragraphs in the input."""
        first, end = (self.num_paragraphs * at // self.num_shards for at in (shard, shard + 1))
        return range(first, end)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that decides a set's bytes, and nothing else.

    No worker count, no path of this machine, no time: two builds with the same plan are the same.
    """

    format: int
    input: InputPlan
    masked_lm: MaskedLMPlan | None
    glove: GlovePlan | None
    words: str
    language: str | None = None
    """None, and not written down, for English."""
    keep_words: tuple[str, ...]
    num_candidates: int
    replace_probability: float
    copies_per_example: int
    seed: int
    shards: ShardPlan | None = None
    """None, and not written down, in a manifest, which says more of each shard."""

    def as_json(self) -> dict[str, Any]:
        """Give it as it lies in plan.json."""
        found = as_json(self)
        if self.language is None:
            del found["language"]
        if self.shards is None:
            del found["shards"]
        if self.masked_lm and self.masked_lm.accelerator is None:
            del found["masked_lm"]["accelerator"]
        return found


@dataclass(frozen=True, kw_only=True)
class Shard:
    """A finished shard, as a manifest names it."""

    file: str
    """Its place in `data/`."""
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What is known of a shard when it is written."""

    shard: Shard
    bytes_in_memory: int
    counts: Mapping[str, int]
    copies_by_share_replaced: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Judge:
    """The reader whose answers stand in every row, and the set that it was asked."""

    model: str
    model_sha256: str
    protocol: str
    set_sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a finished set is: a function of the plan and the data alone."""

    plan: Plan
    input_counts: Mapping[str, int]
    counts: Mapping[str, int]
    copies_by_share_replaced: tuple[int, ...]
    rows: int
    bytes: int
    bytes_in_memory: int
    shards: tuple[Shard, ...]
    judged: Judge | None = None
    """None, and not written down, where no reader was asked."""

    def as_json(self) -> dict[str, Any]:
        """Give it as it lies in manifest.json."""
        found = {**as_json(self), "plan": self.plan.as_json()}
        if self.judged is None:
            del found["judged"]
        return found


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """How a build ran: what may differ between two builds of the same set."""

    config: Mapping[str, str]
    versions: Mapping[str, str]
    seconds: Mapping[str, float]
    contexts_through_the_model: int
    peak_memory_mib: int
    num_workers: int


def is_set(name: str | Path) -> bool:
    """Tell a set, finished or not, from anything else that has rows in it.

    One that lost its manifest is still none of its copies' originals: `read_manifest` refuses it.
    """
    return any((Path(name) / file).is_file() for file in (MANIFEST, PLAN))


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a finished set.

    Raises:
        FileNotFoundError: there is none, so the set is unfinished or not ours.
        ValueError: it is damaged.
    """
    found = read_as(Manifest, folder / MANIFEST, AGAIN)
    if found is None:
        raise FileNotFoundError(
            f"{folder}: no manifest.json in it, so not a finished set; "
            "build it to the end, or pass a SQuAD JSON file"
        )
    return found


def read_run(folder: Path) -> RunRecord:
    """Read the run record of a finished set.

    Raises:
        FileNotFoundError, ValueError: there is none, or it is damaged.
    """
    found = read_as(RunRecord, folder / RUN, AGAIN)
    if found is None:
        raise FileNotFoundError(f"{folder / RUN}: is missing; {AGAIN}")
    return found
