"""The plan of a build: everything that decides its bytes, and nothing else.

No worker count, no path of this machine, no time: two builds with the same plan are the same.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from augment.shards import row_id, shard_name
from augment.sources import Sources
from augment.squad import Paragraph, raise_faults

if TYPE_CHECKING:
    from augment.build import BuildConfig

FORMAT = 1
"""Raised whenever the same inputs and settings would give other bytes."""
CONTEXTS_PER_SHARD = 300


def make_plan(config: "BuildConfig", sources: Sources) -> dict[str, Any]:
    """Gather everything that decides the set's bytes."""
    paragraphs = sources.squad.paragraphs
    check_ids(sources.squad.name, paragraphs, config.copies_per_example)
    masked_lm = None
    if sources.model.folder:
        settings = sources.model.settings
        masked_lm = {
            "name": sources.model.name,
            "sha256": sources.model.sha256,
            "masking": settings.masking,
            "batch_tokens": settings.batch_tokens,
            "dtype": settings.dtype,
            "device_class": settings.device_class,
        }
    glove = None
    if sources.vectors:
        glove = {
            "name": sources.vectors_name,
            "sha256": sources.vectors.sha256,
            "skipped_lines": sources.vectors.skipped_lines,
        }
    return {
        "format": FORMAT,
        "input": {
            "name": sources.squad.name,
            "sha256": sources.squad.sha256,
            "on_bad_answer": config.on_bad_answer,
            "limit_contexts": config.limit_contexts,
        },
        "masked_lm": masked_lm,
        "glove": glove,
        "words": config.words,
        "keep_words": sorted(sources.keep_words),
        "num_candidates": config.num_candidates,
        "replace_probability": config.replace_probability,
        "copies_per_example": config.copies_per_example,
        "seed": config.seed,
        "shards": plan_shards(len(paragraphs), config.num_shards),
    }


def plan_shards(num_paragraphs: int, num_shards: int | None) -> list[dict[str, Any]]:
    """Deal paragraphs to shards: contiguous, sizes differing by at most one.

    Raises:
        ValueError: more shards than paragraphs.
    """
    number = num_shards or max(1, -(-num_paragraphs // CONTEXTS_PER_SHARD))
    if number > num_paragraphs:
        raise ValueError(f"--num-shards {number}: there are only {num_paragraphs} paragraphs")
    bounds = [num_paragraphs * index // number for index in range(number + 1)]
    return [
        {"file": shard_name(index, number), "first_paragraph": first, "num_paragraphs": end - first}
        for index, (first, end) in enumerate(pairwise(bounds))
    ]


def check_ids(name: str, paragraphs: Sequence[Paragraph], copies: int) -> None:
    """Make sure that no copy gets an id that an input row has.

    Raises:
        ValueError: with the ids.
    """
    ids = {question.id for paragraph in paragraphs for question in paragraph.questions}
    clashes = sorted(
        qid
        for qid in ids
        if "#" in qid
        and any(qid == row_id(qid.rpartition("#")[0], copy) for copy in range(1, copies + 1))
        and qid.rpartition("#")[0] in ids
    )
    faults = [
        f"question id {qid!r} is what a copy of another question will be called" for qid in clashes
    ]
    raise_faults(name, faults, "rename them: copies are named <id>#01, <id>#02 and so on")


def differences(there: Mapping[str, Any], here: Mapping[str, Any], at: str = "") -> list[str]:
    """Name the keys in which two plans differ, with both values."""
    found = []
    for key in sorted(there.keys() | here.keys()):
        old, new = there.get(key), here.get(key)
        if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
            old, new = ({str(place): one for place, one in enumerate(o)} for o in (old, new))
        if isinstance(old, dict) and isinstance(new, dict):
            found += differences(old, new, f"{at}{key}.")
        elif old != new:
            shown = (json.dumps(value)[:70] for value in (old, new))
            found.append(f"{at}{key}: {' there, '.join(shown)} here")
    return found


def read_plan(folder: Path) -> dict[str, Any] | None:
    """Read the plan of a finished or unfinished build; None if there is none.

    Raises:
        ValueError: it is damaged.
    """
    path = folder / "plan.json"
    if not path.is_file():
        return None
    try:
        plan: dict[str, Any] = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: damaged ({error}); delete {folder} and build again") from error
    return plan
