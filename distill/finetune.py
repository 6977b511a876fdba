"""Fine-tune a model on labelled rows, without a teacher.

Use it to train a teacher, or the baseline that a distilled student is compared with. If the command
was interrupted, run it again: it goes on from the last checkpoint.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from augment.base.command import UsageError, run
from augment.remote.storage_options import AS_CONFIGURED, StorageOptions
from augment.squad import TRAIN_PART, OnBadAnswer, Part
from distill.recipes import Recipe, Stage


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """What to fine-tune, on what, and how."""

    train: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="TRAIN")]
    """A file, folder or data set as `augment.build` takes it, or a set that it built."""
    output: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """Folder of the new reader. Until it is complete, it is called OUT.incomplete."""
    model: str
    """Model to start from: a hub id, a folder (with or without a span head), or `embedded`.
    Or teacher:2,4,6 for those layers of the reader that --layers-of names."""
    layers_of: str | None = None
    """With --model teacher:2,4,6: the reader that the layers come from."""
    rows: Literal["original", "augmented"] = "original"
    """Rows of a built set to train on: the original questions, or these and all copies."""
    min_agreement: float | None = None
    """Leave out copies on which a reader's F1 with the label is below this, 0 to 1.
    For --rows augmented, and a set that `eval.agreement --write` made."""
    part: tyro.conf.OmitArgPrefixes[Part] = TRAIN_PART
    """Part of TRAIN to read."""
    on_bad_answer: OnBadAnswer = "fail"
    """What to do with an answer that does not stand at its answer_start, as in augment.build."""
    dev_split: str = "validation"
    """Split of the dev set, if it has several."""
    dev: str | None = None
    """A dev set, in the same forms as TRAIN: the finished reader is scored on it."""
    dev_steps: int | None = None
    """Also score the reader during training, every N steps."""
    dev_limit: int | None = None
    """Use only the first N paragraphs of the dev set for the scores during training."""
    score: Literal["squad_v2", "squad_v1"] = "squad_v2"
    """Official score to use; squad_v1 is for a dev set without unanswerable questions."""
    epochs: float = 2.0
    """Passes over the rows."""
    max_steps: int | None = None
    """Train for N steps; the learning rate schedule ends with them."""
    batch_size: int = 24
    """Windows in a training step, over all processes."""
    gradient_accumulation_steps: int = 1
    """Parts into which each process splits its share of a step, to save memory."""
    learning_rate: float = 3e-5
    """Peak learning rate of AdamW."""
    warmup: float = 0.1
    """Share of the steps during which the learning rate rises; then it falls linearly to 0."""
    weight_decay: float = 0.01
    """Weight decay of AdamW; biases and layer norms have none."""
    max_seq_length: int = 384
    """Tokens in a window of question and context."""
    doc_stride: int = 128
    """Tokens of the context that neighbouring windows share."""
    max_query_length: int = 64
    """Longer questions are cut to this number of tokens."""
    seed: int = 42
    """Seed of the order of rows, of new weights and of dropout."""
    save_steps: int = 1000
    """Steps between checkpoints."""
    logging_steps: int = 50
    """Steps between entries in the TensorBoard log."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number type of the matrix products; weights stay in float32. auto: 16 bits where fast."""
    allow_bin: bool = False
    """Also load pytorch_model.bin if a checkpoint has no safetensors."""
    storage: tyro.conf.OmitArgPrefixes[StorageOptions] = AS_CONFIGURED
    """How stores are reached that URLs lead to."""
    overwrite: bool = False
    """Replace OUT, or an unfinished run, that was made with other settings."""

    def __post_init__(self) -> None:
        if self.model.startswith("teacher:") != (self.layers_of is not None):
            raise UsageError("--model teacher:2,4,6 and --layers-of READER go together")
        if self.min_agreement is not None:
            if self.rows != "augmented":
                raise UsageError("--min-agreement leaves out copies; pass --rows augmented")
            if not 0 <= self.min_agreement <= 1:
                raise UsageError(f"--min-agreement {self.min_agreement}: must be 0 to 1")


def finetune(config: FinetuneConfig) -> dict[str, Any]:
    """Fine-tune and give the record that lies in OUT/training.json."""
    from distill.training.job import Job
    from distill.training.stages import distil

    stage = Stage(
        kind="supervised",
        rows=config.rows,
        teacher=config.layers_of,
        epochs=config.epochs,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        warmup=config.warmup,
        weight_decay=config.weight_decay,
        kd_weight=0.0,
        hard_weight=1.0,
    )
    recipe = Recipe(
        name="finetune",
        student=config.model,
        stages=(stage,),
        max_seq_length=config.max_seq_length,
        doc_stride=config.doc_stride,
        max_query_length=config.max_query_length,
        seed=config.seed,
        score=config.score,
    )
    return distil(
        Job(
            recipe=recipe,
            output=config.output,
            data=config.train,
            min_agreement=config.min_agreement,
            part=config.part,
            on_bad_answer=config.on_bad_answer,
            dev=config.dev,
            dev_part=Part(config.part.config, config.dev_split),
            dev_steps=config.dev_steps,
            dev_limit=config.dev_limit,
            max_steps=config.max_steps,
            accumulation=config.gradient_accumulation_steps,
            save_steps=config.save_steps,
            logging_steps=config.logging_steps,
            device=config.device,
            dtype=config.dtype,
            allow_bin=config.allow_bin,
            overwrite=config.overwrite,
        )
    )


def main() -> None:
    """Run the command line."""
    run(FinetuneConfig, finetune)


if __name__ == "__main__":
    main()
