"""Adapt a masked LM to the contexts of a SQuAD file, a built set or a hub data set.

Every chosen wordpiece is replaced by the mask token, as `augment.build` does when it asks for
candidates. With --teacher, the model also learns the distributions of a larger model at the masked
positions. With --mlm compact, it is first cut from that teacher, to a quarter of its size. The
scores on held-out text are printed and stored in OUT/fit.json. If the command was interrupted, run
it again: it goes on from the last checkpoint. Pass OUT to `augment.build` with --mlm.
"""

import json
import random
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from augment.base.command import UsageError, needing, run, to_json, versions
from augment.base.commit import write_atomic
from augment.base.folders import OutFolder, folder_bytes
from augment.base.models import Device, model_folder, model_sha256, pick_device, pick_dtype
from augment.base.records import read_record, shown
from augment.fitting.compact_mlm import CompactShape, cut_compact
from augment.fitting.masked_batches import group_by_length, measure, tokenize_windows
from augment.fitting.masked_training import MaskedSteps, Training, train
from augment.remote.storage_options import AS_CONFIGURED, StorageOptions
from augment.squad import TRAIN_PART, Part, SquadSet, read_contexts
from augment.variants.masked_lm import load_masked_lm

RECORD = "fit.json"
"""The settings and the scores, in the model's folder."""
MEASURED_SHARE = 0.15  # of the held-out wordpieces, whatever was masked in training
HELD_OUT_EVERY = 50
BYTES_OF_A_PARAMETER = 40
"""On disk: float32 in the result, and in three checkpoints, each with two moments."""
DEFAULT_SHAPE = CompactShape()


@dataclass(frozen=True, kw_only=True)
class FitMlmConfig:
    """What to adapt, to what, and how."""

    train: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="TRAIN")]
    """A file, folder or data set as `augment.build` takes it; its contexts are used."""
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """Folder of the new model. Until it is complete, it is called OUT.incomplete."""
    mlm: str = "google-bert/bert-base-uncased"
    """Where to start: a hub id, a folder, `embedded`, or `compact` (cut from the teacher)."""
    teacher: str | None = None
    """A larger masked LM with the same vocabulary: a hub id or a folder."""
    dev: str | None = None
    """Held-out text, in the same forms as TRAIN; by default every 50th context of TRAIN."""
    part: tyro.conf.OmitArgPrefixes[Part] = TRAIN_PART
    """Part of TRAIN to read."""
    dev_split: str = "validation"
    """Split of the dev set, if it has several."""
    limit_contexts: int | None = None
    """Use only the first N paragraphs."""
    epochs: float = 3.0
    """Passes over the text."""
    max_minutes: float | None = None
    """Stop after this time at the latest; the learning rate is then scheduled by time."""
    learning_rate: float | None = None
    """Peak learning rate of AdamW; by default 5e-5, and 8e-4 for a compact model."""
    batch_tokens: int = 4096
    """Wordpieces in a batch, padding included."""
    max_seq_length: int = 512
    """Wordpieces in a window; a longer context becomes several windows."""
    mask_share: float = 0.15
    """Share of wordpieces that are masked in training."""
    kd_weight: float = 1.0
    """Weight of the cross-entropy with the teacher's distribution."""
    hard_weight: float = 0.2
    """Weight of the cross-entropy with the masked words, if there is a teacher."""
    compact: CompactShape = DEFAULT_SHAPE
    """What `--mlm compact` keeps of the teacher."""
    save_dtype: Literal["float32", "float16"] = "float32"
    """Precision of the stored weights."""
    save_steps: int = 500
    """Steps between checkpoints."""
    seed: int = 0
    """Seed of the masks and of the order of batches."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number type of the matrix products; the weights are trained in float32."""
    storage: tyro.conf.OmitArgPrefixes[StorageOptions] = AS_CONFIGURED
    """How stores are reached that URLs lead to."""
    overwrite: bool = False
    """Replace OUT, or an unfinished run, that was made with other settings."""

    def __post_init__(self) -> None:
        if self.mlm == "compact" and self.teacher is None:
            raise UsageError("--mlm compact: cut from what? name a BERT with --teacher")
        for name in ("epochs", "max_minutes", "learning_rate", "batch_tokens", "save_steps"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise UsageError(f"--{name.replace('_', '-')} {value}: must be above 0")
        if not 0 < self.mask_share < 1:
            raise UsageError(f"--mask-share {self.mask_share}: must be between 0 and 1")
        if self.limit_contexts is not None and self.limit_contexts < 1:
            raise UsageError(f"--limit-contexts {self.limit_contexts}: must be 1 or more")
        if self.max_seq_length < 3:
            raise UsageError(
                f"--max-seq-length {self.max_seq_length}: must be 3 or more, a wordpiece and two "
                "special tokens"
            )
        if not 0 <= self.seed < 2**32:  # NumPy's limit
            raise UsageError(f"--seed {self.seed}: must be 0 or more, below 2**32")
        for name in ("kd_weight", "hard_weight"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):  # false for NaN
                raise UsageError(f"--{name.replace('_', '-')} {value}: must be 0 or more")
        if self.kd_weight == self.hard_weight == 0:
            raise UsageError("--kd-weight 0 --hard-weight 0: nothing to learn from")

    @property
    def folder(self) -> OutFolder:
        """The model's folder, and where it is made."""
        return OutFolder(out=self.out, what="a model", mark=RECORD, overwrite=self.overwrite)


@dataclass(frozen=True, kw_only=True)
class FitRecord:
    """What every fit.json says."""

    settings: Mapping[str, Any]
    text: str
    models: Mapping[str, Any]
    held_out: Mapping[str, float]
    weights_sha256: str
    versions: Mapping[str, str]


def fit_mlm(config: FitMlmConfig) -> dict[str, Any]:
    """Adapt the model, write its folder and give the record that lies in it.

    Raises:
        UsageError: OUT was made with other settings, or elsewhere, and may not be replaced.
        ValueError: no text, a model without a masked-LM head, or a teacher with another vocabulary.
    """
    config.folder.look()
    plan = _plan(config)
    with config.folder.claimed(plan) as finished:
        if finished:
            print(f"{config.out}: complete already")
            return read_record(config.out / RECORD, config.out, FitRecord) or {}
        return _fit(config, plan)


def _fit(config: FitMlmConfig, plan: dict[str, Any]) -> dict[str, Any]:
    tokenizer, model, teacher = _load(config)
    rows, held_out = _read_rows(config, tokenizer)
    if model is None:
        student = cut_compact(teacher, config.compact, tokenizer, rows, config.mask_share)
        model = _fast(student, config.device)
    training = _training(config)
    batches = group_by_length(rows, config.batch_tokens)
    num_steps = max(1, round(len(batches) * config.epochs))
    steps = MaskedSteps(batches, tokenizer, config.mask_share, config.seed, num_steps)
    config.folder.prepare(plan)
    num_bytes = model.num_parameters() * BYTES_OF_A_PARAMETER
    config.folder.look(num_bytes - folder_bytes(config.folder.incomplete))
    with needing(num_bytes):
        checkpoints = config.folder.incomplete / "checkpoints"
        train(model, teacher, steps, training, checkpoints)
        dev = group_by_length(held_out, config.batch_tokens)
        scores = measure(model, tokenizer, dev, MEASURED_SHARE, teacher)
        _save(config, model, tokenizer)
        record = {
            **plan,
            "held_out": scores,
            "weights_sha256": model_sha256(config.folder.incomplete),
            "versions": versions(),
        }
        write_atomic(config.folder.incomplete / RECORD, to_json(record))
        shutil.rmtree(checkpoints)
        config.folder.put_in_place()
        print(
            f"{config.out}: " + ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
        )
        return record


def _plan(config: FitMlmConfig) -> dict[str, Any]:
    """Gather what decides the result: settings, and what the names in them stand for."""
    settings = json.loads(json.dumps(asdict(config), default=str))
    for name in ("train", "out", "dev", "mlm", "teacher", "storage", "overwrite", "save_steps"):
        del settings[name]
    names = {"mlm": config.mlm, "teacher": config.teacher}
    return {
        "settings": settings,
        "text": read_contexts(config.train, config.part).sha256,
        "held_out_text": config.dev and _read_dev(config, config.dev).sha256,
        "models": {
            key: name if name in (None, "compact") else model_sha256(model_folder(name))
            for key, name in names.items()
        },
    }


def _read_dev(config: FitMlmConfig, dev: str) -> SquadSet:
    return read_contexts(dev, Part(config.part.config, config.dev_split))


def _read_rows(config: FitMlmConfig, tokenizer: Any) -> tuple[list[list[int]], list[list[int]]]:
    """Read and tokenise the text; give shuffled rows to train on, and rows held out."""
    squad = read_contexts(config.train, config.part).limit(config.limit_contexts)
    texts = list(dict.fromkeys(paragraph.context for paragraph in squad.paragraphs))
    if config.dev is None:
        held_out = texts[::HELD_OUT_EVERY]
        texts = [text for number, text in enumerate(texts) if number % HELD_OUT_EVERY]
    else:
        paragraphs = _read_dev(config, config.dev).paragraphs
        held_out = list(dict.fromkeys(paragraph.context for paragraph in paragraphs))
    if not texts or not held_out:
        raise ValueError(
            f"{shown(config.train)}: too few contexts to train on some and hold out others"
        )
    length = min(config.max_seq_length, tokenizer.model_max_length)
    rows = tokenize_windows(tokenizer, texts, length)
    random.Random(config.seed).shuffle(rows)
    return rows, tokenize_windows(tokenizer, held_out, length)


def _load(config: FitMlmConfig) -> tuple[Any, Any, Any]:
    """Give the tokenizer, the model to start from (None for `compact`) and the teacher (or None).

    Raises:
        ValueError: what is no masked LM, or a teacher of another vocabulary.
    """
    tokenizer = model = teacher = None
    if config.teacher is not None:
        tokenizer, teacher = load_masked_lm(config.teacher)
        _fast(teacher, config.device)
    if config.mlm != "compact":
        taught, (tokenizer, model) = tokenizer, load_masked_lm(config.mlm)
        _fast(model, config.device)
        if taught and taught.get_vocab() != tokenizer.get_vocab():
            raise ValueError(f"{config.teacher} has another vocabulary than {config.mlm}")
    return tokenizer, model, teacher


def _fast(model: Any, device: Device) -> Any:
    """Choose the attention: on a CPU the fused one's backward pass takes three times as long."""
    if pick_device(device).type == "cpu":
        model.set_attn_implementation("eager")
    return model


def _training(config: FitMlmConfig) -> Training:
    device = pick_device(config.device).type
    return Training(
        max_minutes=config.max_minutes,
        learning_rate=config.learning_rate or (8e-4 if config.mlm == "compact" else 5e-5),
        kd_weight=config.kd_weight,
        hard_weight=config.hard_weight,
        seed=config.seed,
        save_steps=config.save_steps,
        device=device,
        dtype=pick_dtype(config.dtype, device),
    )


def _save(config: FitMlmConfig, model: Any, tokenizer: Any) -> None:
    """Write the model and its tokenizer."""
    import torch

    made = config.folder.incomplete
    model.to(getattr(torch, config.save_dtype)).save_pretrained(made)
    if tokenizer.is_fast:
        tokenizer.backend_tokenizer.no_truncation()  # that was for our windows alone
    tokenizer.save_pretrained(made)


def main() -> None:
    """Run the command line."""
    run(FitMlmConfig, fit_mlm)


if __name__ == "__main__":
    main()
