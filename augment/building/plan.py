"""The parts of a build's plan that are worked out: which paragraphs go where, by what names."""

from collections.abc import Iterable, Sequence

from augment.base.paragraphs import Paragraph, raise_faults
from augment.base.set_records import ShardPlan
from augment.shards import row_id

CONTEXTS_PER_SHARD = 300
READERS, FEWEST_CONTEXTS = 4, 32
"""A reader that streams takes whole shards, so that with one shard all but one stand idle. A small
set is dealt to a usual number of them, as long as a shard is worth opening."""


def plan_shards(
    num_paragraphs: int, num_shards: int | None, contexts_per_shard: int | None = None
) -> ShardPlan:
    """Settle the number of shards: what was asked for, or enough to hold so many contexts each.

    Raises:
        ValueError: more shards than paragraphs.
    """
    number = num_shards or -(-num_paragraphs // (contexts_per_shard or CONTEXTS_PER_SHARD))
    if num_shards is None and contexts_per_shard is None:
        number = max(number, min(READERS, num_paragraphs // FEWEST_CONTEXTS))
    if number > num_paragraphs:
        raise ValueError(f"--num-shards {number}: there are only {num_paragraphs} paragraphs")
    return ShardPlan(num_paragraphs=num_paragraphs, num_shards=number)


def check_ids(name: str, paragraphs: Sequence[Paragraph], copies: int) -> None:
    """Make sure that no copy gets an id that an input row has.

    Raises:
        ValueError: with the ids.
    """
    ids = {question.id for paragraph in paragraphs for question in paragraph.questions}
    raise_clashes(name, [qid for qid in ids if original_of(qid, copies) in ids])


def original_of(qid: str, copies: int) -> str | None:
    """Give the question one of whose copies will have this id; None if it cannot be a copy's."""
    original, mark, _ = qid.rpartition("#")
    is_copy = mark and any(qid == row_id(original, copy) for copy in range(1, copies + 1))
    return original if is_copy else None


def raise_clashes(name: str, ids: Iterable[str]) -> None:
    """Refuse ids that copies will have.

    Raises:
        ValueError: if there are any.
    """
    faults = [
        f"question id {qid!r} is what a copy of another question will be called"
        for qid in sorted(ids)
    ]
    raise_faults(name, faults, "rename them: copies are named <id>#01, <id>#02 and so on")
