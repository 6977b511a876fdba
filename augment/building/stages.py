"""The two stages of a build: candidates of contexts, then shards. Both go on after a kill."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from augment.base.command import usable_cores
from augment.base.commit import remove_leftovers
from augment.base.folders import ABANDONED_SECONDS
from augment.base.models import check_accelerator, gpu_names
from augment.base.paragraphs import Paragraph
from augment.base.progress import bar, say_done
from augment.base.records import processor
from augment.base.set_records import Plan, Receipt
from augment.base.workers import Engine, run_tasks
from augment.building.blocks import Blocks
from augment.building.receipts import Shards, unmeasured
from augment.building.sources import Model, Sources
from augment.engines.array_job import ArrayPart, LeftToOthers
from augment.shards import AugmentedParagraph, shard_names, write_shard
from augment.variants.glove import Vectors
from augment.variants.glove import neighbours as find_neighbours
from augment.variants.masked_lm import MaskedLM, MaskedLMSettings
from augment.variants.parts import Parts
from augment.variants.replace import make_variants
from augment.variants.store import CandidateStore, Stored, compute_part, neighbour_part

Work = TypeVar("Work")

CONTEXTS_PER_PART = 128  # contexts whose candidates are computed and stored together
WORDS_PER_PART = 16384  # words whose neighbours are looked up and stored together
SHARE_BINS = 20  # of the histogram of the share of words replaced


def compute_candidates(
    sources: Sources,
    contexts: Parts,
    neighbours: Parts | None,
    num_workers: int | None,
    engine: Engine | None = None,
    part: ArrayPart | None = None,
) -> int:
    """Fill the store with what it lacks; give the number of contexts sent through the model.

    Raises:
        LeftToOthers: with `part`, there is more to do than its share.
    """
    blocks = sources.blocks
    for parts in (contexts, neighbours):
        if parts and parts.folder.is_dir():
            remove_leftovers(parts.folder, ABANDONED_SECONDS)
    stored = Stored(contexts, neighbours)
    tasks = [task for block in range(blocks.number) for task in _tasks(blocks, block, stored)]
    own = _own(tasks, part)
    missing = sum(len(task.places) for task in own)
    settings = sources.model.settings
    devices = [settings.device_class] if engine else _devices(settings, num_workers, len(own))
    threads = 1 if engine else max(1, usable_cores() // len(devices))
    arguments = (contexts, sources.model, blocks, threads)
    done = run_tasks(own, set_up_candidates, arguments, devices, engine)
    with bar("candidates", "context", missing):
        list(done)
    stored.refresh()
    if part and (left := _number_lacking(blocks, stored)):
        raise LeftToOthers(f"candidates of {left} contexts")
    if neighbours and sources.vectors:
        unknown = _unknown_words(blocks, stored)
        starts = range(0, len(unknown), WORDS_PER_PART)
        words = [unknown[start : start + WORDS_PER_PART] for start in starts]
        vectors = replace(sources.vectors, matrix=np.asarray(sources.vectors.matrix))
        looked_up = run_tasks(
            words, set_up_neighbours, (neighbours, vectors, settings), ["cpu"], engine
        )
        with bar("neighbours", "word", len(unknown)):
            list(looked_up if unknown else ())
    return missing if sources.model.folder else 0


@dataclass(frozen=True)
class ContextsTask:
    """Contexts of a block: where they stand in `Blocks.distinct`."""

    block: int
    places: NDArray[np.uint16]


def _tasks(blocks: Blocks, block: int, stored: Stored) -> list[ContextsTask | None]:
    """Group a block's contexts by length, long and short groups mixed, without what is stored."""
    lacks = stored.lacks(blocks.distinct(block))
    starts = range(0, len(lacks), CONTEXTS_PER_PART)
    groups = [start + np.flatnonzero(lacks[start : start + CONTEXTS_PER_PART]) for start in starts]
    mixed = Random(block).sample(groups, len(groups))  # a true rate from the beginning
    return [ContextsTask(block, group.astype(np.uint16)) if len(group) else None for group in mixed]


def _number_lacking(blocks: Blocks, stored: Stored) -> int:
    numbers = range(blocks.number)
    return sum(int(stored.lacks(blocks.distinct(number)).sum()) for number in numbers)


def _unknown_words(blocks: Blocks, stored: Stored) -> list[str]:
    """Give the words, sorted, whose neighbours are asked for and not stored."""
    words: set[str] = set()
    for block in range(blocks.number):
        texts = blocks.distinct(block)
        asked = stored.candidates(texts, alone=True).words_for_glove(texts)
        words.update(stored.unknown_words(asked - words))
    return sorted(words)


def set_up_candidates(
    parts: Parts, model: Model, blocks: Blocks, threads: int, device: str
) -> Callable[[ContextsTask], int]:
    """Load the masked LM in a worker; give the function that stores some contexts' candidates."""
    masked_lm = None
    if model.folder:
        import torch

        from augment.variants.attention import keep_freed_memory

        check_accelerator(model.settings.accelerator, device)
        keep_freed_memory()
        torch.set_num_threads(threads)
        masked_lm = MaskedLM.load(
            str(model.folder), device, model.settings.dtype, model.settings.language
        )
    distinct = lru_cache(maxsize=1)(blocks.distinct)  # tasks of a block follow one another

    def compute(task: ContextsTask) -> int:
        texts = distinct(task.block)
        contexts = [texts[place] for place in task.places]
        name = model.settings.accelerator or processor()
        parts.write(compute_part(contexts, masked_lm, model.settings), name)
        return len(contexts)

    return compute


def set_up_neighbours(
    parts: Parts, vectors: Vectors, settings: MaskedLMSettings, device: str
) -> Callable[[Sequence[str]], int]:
    """Give the function that stores some words' neighbours."""
    if not vectors.matrix.flags.writeable:  # shared by a machine's processes; torch would warn
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")

    def look_up(words: Sequence[str]) -> int:
        found = find_neighbours(vectors, words, settings.num_candidates, settings.language)
        parts.write(neighbour_part(found), processor())
        return len(words)

    return look_up


def write_shards(
    blocks: Blocks,
    plan: Plan,
    parts: tuple[Parts, Parts | None],
    shards: Shards,
    num_workers: int | None,
    engine: Engine | None = None,
    part: ArrayPart | None = None,
) -> list[Receipt]:
    """Write every shard that has no valid receipt; give all receipts in order.

    Raises:
        LeftToOthers: with `part`, there is more to do than its share.
    """
    assert plan.shards is not None  # else it is a manifest's
    tasks: list[tuple[str, range] | None] = []
    names = shard_names(plan.shards.num_shards)
    for index, (name, done) in enumerate(zip(names, shards.receipts(names), strict=True)):
        tasks.append(None if done else (name, plan.shards.paragraphs(index)))
    own = _own(tasks, part)
    devices = _devices(None, num_workers, len(own))
    arguments = (shards, plan, blocks, *parts)
    written = run_tasks(own, set_up_shards, arguments, devices, engine)
    total = sum(len(task[1]) for task in own)
    with bar("shards", "context", total):
        list(written)
    receipts = [receipt for receipt in shards.receipts(names) if receipt]
    left = len(names) - len(receipts)
    if part:
        raise LeftToOthers(f"{left} shards" if left else "the manifest")
    if left:
        raise RuntimeError(
            f"{left} of {len(names)} shards that were just written are not there as they were "
            "written; run the same command again"
        )
    return receipts


def set_up_shards(
    shards: Shards,
    plan: Plan,
    blocks: Blocks,
    contexts: Parts,
    neighbours: Parts | None,
    device: str,
) -> Callable[[tuple[str, range]], int]:
    """Open the candidates in a worker; give the function that writes one shard and its receipt."""
    stored = Stored(contexts, neighbours)

    def write(task: tuple[str, range]) -> int:
        name, places = task
        paragraphs = list(blocks.paragraphs(places))
        store = stored.candidates([paragraph.context for paragraph in paragraphs])
        augmented, counts, shares = augment_paragraphs(paragraphs, store, plan)

        def write_at(path: Path) -> Receipt:
            rows, bytes_in_memory = write_shard(path, augmented)
            return Receipt(
                shard=unmeasured(name, rows),
                bytes_in_memory=bytes_in_memory,
                counts=counts,
                copies_by_share_replaced=tuple(shares),
            )

        shards.add(name, write_at)
        return len(paragraphs)

    return write


def augment_paragraphs(
    paragraphs: Iterable[Paragraph], store: CandidateStore, plan: Plan
) -> tuple[list[AugmentedParagraph], Counter[str], list[int]]:
    """Make the copies of some paragraphs.

    Returns:
        the paragraphs with their copies; counts by reason; how many copies had which share of
        their words replaced, in `SHARE_BINS` equal bins from 0 to 1.
    """
    counts: Counter[str] = Counter()
    shares = [0] * SHARE_BINS
    augmented = []
    for paragraph in paragraphs:
        variants = make_variants(
            paragraph.context,
            store.slots(paragraph.context),
            [(answer.start, answer.end) for q in paragraph.questions for answer in q.answers],
            copies=plan.copies_per_example,
            replace_probability=plan.replace_probability,
            seed=plan.seed,
            keep_words=frozenset(plan.keep_words),
        )
        num_words = store.num_words(paragraph.context)
        for variant in variants.copies:
            share = len(variant.replaced) / max(num_words, 1)
            shares[min(int(share * SHARE_BINS), SHARE_BINS - 1)] += 1
        counts.update(variants.counts)
        counts["words"] += num_words
        say_done(1)
        augmented.append(AugmentedParagraph(paragraph, variants))
    return augmented, counts, shares


def _own(tasks: Sequence[Work | None], part: ArrayPart | None) -> list[Work]:
    """Give the tasks to do here; None stands for one that is done."""
    return (part or ArrayPart(1, 1)).own(tasks)


def _devices(
    settings: MaskedLMSettings | None, num_workers: int | None, num_tasks: int
) -> list[str]:
    """Give one device for each worker: GPUs of the one kind in turn, or cores."""
    if settings and settings.device_class == "cuda":
        named = enumerate(gpu_names())
        available = [f"cuda:{index}" for index, name in named if name == settings.accelerator]
    else:
        available = ["cpu"] * usable_cores()
    number = max(1, min(num_workers or len(available), num_tasks))
    return [available[index % len(available)] for index in range(number)]
