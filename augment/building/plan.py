"""The parts of a build's plan that are worked out: which paragraphs go where, by what names."""

from collections.abc import Sequence
from itertools import pairwise

from augment.base.paragraphs import Paragraph, raise_faults
from augment.base.set_records import ShardPlan
from augment.shards import row_id, shard_name

CONTEXTS_PER_SHARD = 300
READERS, FEWEST_CONTEXTS = 4, 32
"""A reader that streams takes whole shards, so that with one shard all but one stand idle. A small
set is dealt to a usual number of them, as long as a shard is worth opening."""


def plan_shards(num_paragraphs: int, num_shards: int | None) -> tuple[ShardPlan, ...]:
    """Deal paragraphs to shards: contiguous, sizes differing by at most one.

    Raises:
        ValueError: more shards than paragraphs.
    """
    for_readers = min(READERS, num_paragraphs // FEWEST_CONTEXTS)
    number = num_shards or max(1, -(-num_paragraphs // CONTEXTS_PER_SHARD), for_readers)
    if number > num_paragraphs:
        raise ValueError(f"--num-shards {number}: there are only {num_paragraphs} paragraphs")
    bounds = [num_paragraphs * index // number for index in range(number + 1)]
    return tuple(
        ShardPlan(file=shard_name(index, number), first_paragraph=first, num_paragraphs=end - first)
        for index, (first, end) in enumerate(pairwise(bounds))
    )


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
