"""The rows of a study: one question a paragraph, in one window, some articles set apart.

Which questions are taken is decided by a hash of the seed and their ids, so N originals are among
any larger number of them, and nothing depends on an order.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from augment.base.commit import write_atomic
from augment.base.folders import claimed
from augment.base.paragraphs import Paragraph, Question
from augment.build import BuildConfig, build
from augment.squad import read_squad
from distill.split import EVERY, FIRST
from distill.studies.arms import Arm
from eval.reading.windows import WindowRule, cut_windows

Pair = tuple[Paragraph, Question]


@dataclass(frozen=True)
class Sets:
    """Files that all arms share."""

    folder: Path
    mlm: str

    @property
    def held_out(self) -> Path:
        """Questions of the articles set apart."""
        return self.folder / "held-out.json"

    @property
    def ceiling(self) -> Path:
        """All questions of the other articles."""
        return self.folder / "ceiling.json"

    @property
    def dev(self) -> Path:
        """The dev set's questions that are asked."""
        return self.folder / "dev.json"

    def originals(self, arm: Arm) -> Path:
        """Write the N originals of an arm, unless they are there.

        Raises:
            ValueError: there are fewer.
        """
        path = self.folder / f"originals-{arm.num_originals}-seed-{arm.seed}.json"
        if not path.is_file():
            pairs = _pairs(self.ceiling)
            if len(pairs) < arm.num_originals:
                raise ValueError(
                    f"{self.ceiling}: {len(pairs)} questions fit, {arm.num_originals} are wanted"
                )
            _write(path, _drawn(pairs, arm.num_originals, str(arm.seed)))
        return path

    def rows(self, arm: Arm) -> Path:
        """Give what stage 1 of an arm trains on; copies are built here if nobody did."""
        if arm.kind == "ceiling":
            return self.ceiling
        originals = self.originals(arm)
        if arm.kind == "originals":
            return originals
        made = f"{arm.replace_probability:g}-{arm.words}-{arm.glove}"
        out = self.folder / f"{originals.stem}-copies-{made}"
        threads = torch.get_num_threads()
        with claimed(out.with_name(f"{out.name}.being-built"), wait=True):
            build(
                BuildConfig(
                    train=str(originals),
                    out=out,
                    candidates=self.folder / f"{originals.stem}.candidates",
                    mlm=self.mlm,
                    glove=arm.glove,
                    words=arm.words,
                    replace_probability=arm.replace_probability,
                    seed=arm.seed,
                    num_workers=1,
                    device="cpu",
                    dtype="float32",
                )
            )
        torch.set_num_threads(threads)  # a build in this process takes all cores
        return out


def make_sets(
    sets: Sets, train: str, dev: str, num_dev: int, tokenizer: Any, rule: WindowRule
) -> None:
    """Write the shared files, unless they are there."""
    sets.folder.parent.mkdir(parents=True, exist_ok=True)
    with claimed(sets.folder, wait=True):
        if sets.dev.is_file():  # the last one
            return
        fitting = fitting_questions(read_squad(train).paragraphs, tokenizer, rule)
        chosen = one_a_paragraph(fitting)
        titles = list(dict.fromkeys(paragraph.title for paragraph, _ in chosen))
        apart = set(titles[FIRST::EVERY])
        _write(sets.held_out, [pair for pair in chosen if pair[0].title in apart])
        _write(sets.ceiling, [pair for pair in chosen if pair[0].title not in apart])
        asked = read_squad(dev, split="validation", on_bad_answer="drop").paragraphs
        _write(sets.dev, _drawn(fitting_questions(asked, tokenizer, rule), num_dev, "dev"))


def fitting_questions(
    paragraphs: Sequence[Paragraph], tokenizer: Any, rule: WindowRule
) -> list[Pair]:
    """Give the answerable questions that fit into one window with their whole context."""
    pairs = [(p, q) for p in paragraphs for q in p.questions if not q.is_impossible]
    questions, contexts = [q.text for _, q in pairs], [p.context for p, _ in pairs]
    windows = cut_windows(tokenizer, questions, contexts, rule).windows
    many = {after.row for before, after in pairwise(windows) if before.row == after.row}
    longest = rule.max_query_length
    lengths = [len(ids) for ids in tokenizer(questions, add_special_tokens=False)["input_ids"]]
    return [p for row, p in enumerate(pairs) if row not in many and lengths[row] <= longest]


def one_a_paragraph(pairs: Sequence[Pair]) -> list[Pair]:
    """Of every context keep the question whose id hashes lowest, in the order of the contexts."""
    best: dict[str, Pair] = {}
    for pair in pairs:
        context = pair[0].context
        if context not in best or _hash(pair, "paragraph") < _hash(best[context], "paragraph"):
            best[context] = pair
    return list(best.values())


def _drawn(pairs: Sequence[Pair], number: int, purpose: str) -> list[Pair]:
    """Give the `number` of lowest hash, in their order."""
    taken = {pair[1].id for pair in sorted(pairs, key=lambda p: _hash(p, purpose))[:number]}
    return [pair for pair in pairs if pair[1].id in taken]


def _hash(pair: Pair, purpose: str) -> bytes:
    return hashlib.blake2b(f"{purpose} {pair[1].id}".encode()).digest()


def _pairs(path: Path) -> list[Pair]:
    return [(p, q) for p in read_squad(path).paragraphs for q in p.questions]


def _write(path: Path, pairs: Sequence[Pair]) -> None:
    articles: dict[str, list[dict[str, Any]]] = {}
    for paragraph, question in pairs:
        answers = [{"text": a.text, "answer_start": a.start} for a in question.answers]
        asked = {"id": question.id, "question": question.text, "answers": answers}
        articles.setdefault(paragraph.title, []).append(
            {"context": paragraph.context, "qas": [asked]}
        )
    data = [{"title": title, "paragraphs": found} for title, found in articles.items()]
    write_atomic(path, json.dumps({"version": "1.1", "data": data}, ensure_ascii=False))
