"""Readers taught by labels alone: do copies help there, and those that a reader agrees with?

No teacher: what is learned is the label that was carried over, right or wrong. The judge of the
copies is the reader that learned from their originals.
"""

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from augment.base.models import model_folder
from distill.finetune import FinetuneConfig
from distill.studies.arms import Arm
from distill.studies.measures import dev_scores, means
from distill.studies.records import write_record
from distill.studies.running import Setup, dev_signature, shown_training

NUM_ORIGINALS, PASSES, LEARNING_RATE, MIN_AGREEMENT = 512, 20, 1e-4, 0.5


@dataclass(frozen=True, kw_only=True)
class LabelArm:
    """One reader, fine-tuned from the masked LM."""

    name: str
    taught_by: Literal["originals", "copies", "agreeing copies"]
    """agreeing copies: without those on which the originals' reader has too low an F1."""
    num_originals: int = NUM_ORIGINALS
    passes: int = PASSES
    """So many times N rows are read, in every arm."""
    seed: int = 1
    kind: str = "labels"

    @property
    def set(self) -> Arm:
        """Give the arm of stage 1 whose copies are taken."""
        return Arm(
            name="",
            kind="copies",
            num_originals=self.num_originals,
            passes=(self.passes,),
            seed=self.seed,
        )


LABEL_ARMS = tuple(
    LabelArm(
        name=f"{NUM_ORIGINALS}-labels-{taught_by.replace(' ', '-')}-seed-1", taught_by=taught_by
    )
    for taught_by in ("originals", "copies", "agreeing copies")
)


def run_label_arm(setup: Setup, arm: LabelArm) -> dict[str, Any]:
    """Fine-tune, ask the dev questions and write the record."""
    from distill.finetune import finetune

    folder = setup.work / arm.name
    config = _config(setup, arm, folder / "reader")
    training = finetune(config)
    rows = dev_scores(config.output, setup.sets.dev, setup.protocol, setup.dtype)
    record = {
        "arm": asdict(arm),
        "dev": means(rows),
        "min_agreement": config.min_agreement,
        "training": [shown_training(training)],
        "signature": dev_signature(setup, len(rows["f1"])),
    }
    write_record(setup.records, [rows], record)
    shutil.rmtree(folder)
    return record


def _config(setup: Setup, arm: LabelArm, output: Path) -> FinetuneConfig:
    """Say how a reader is fine-tuned; its rows are made here if they are not there."""
    least = None
    if arm.taught_by == "originals":
        data = setup.sets.originals(arm.set)
    else:
        data = setup.sets.rows(arm.set)
    if arm.taught_by == "agreeing copies":
        data, least = _judged(setup, arm, data), MIN_AGREEMENT
    return FinetuneConfig(
        train=str(data),
        output=output,
        model=str(model_folder(setup.sets.mlm)),
        rows="original" if arm.taught_by == "originals" else "augmented",
        min_agreement=least,
        score="squad_v1",
        epochs=arm.passes,  # at least: an epoch of copies is longer, `max_steps` ends it
        max_steps=arm.set.steps(arm.passes, setup.batch_size),
        batch_size=setup.batch_size,
        learning_rate=LEARNING_RATE,
        max_seq_length=setup.rule.max_seq_length,
        doc_stride=setup.rule.doc_stride,
        max_query_length=setup.rule.max_query_length,
        seed=arm.seed,
        save_steps=400,
        device="cpu",
        dtype=setup.dtype,
    )


def _judged(setup: Setup, arm: LabelArm, copies: Path) -> Path:
    """Give the copies with the answers of the reader that learned from their originals."""
    from distill.finetune import finetune
    from eval.agreement import Agreement, agreement

    out = copies.with_name(f"{copies.name}-judged")
    if not out.is_dir():
        judge = LabelArm(**{**asdict(arm), "name": "judge", "taught_by": "originals"})
        reader = copies.with_name(f"{copies.name}-judge")
        finetune(_config(setup, judge, reader))
        agreement(
            Agreement(
                augmented=copies, model=str(reader), write=out, device="cpu", dtype=setup.dtype
            )
        )
    return out
