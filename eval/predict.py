"""Predict the answers to a dev set with an extractive reader.

Writes predictions.json, na_probs.json, null_odds.json and nbest_predictions.json into OUT. The
settings follow in predict.json, so that the scorers can name the protocol. On N GPUs, run
`torchrun --nproc-per-node N -m eval.predict ...`.
"""

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated, Any, Literal

import numpy as np
import tyro

from augment.base.command import UsageError, needing, run, to_json, versions
from augment.base.folders import check_room
from augment.base.models import Device, model_sha256, pick_device, shown_name
from augment.engines.options import LOCAL, EngineOptions
from augment.remote.storage_options import AS_CONFIGURED, StorageOptions
from augment.squad import DEV_PART, Part
from eval.reading.answers import Answer, Span
from eval.reading.elsewhere import elsewhere
from eval.reading.exported import exported_dtype, is_exported
from eval.reading.processes import first_decides, meet, num_processes, process_rank
from eval.reading.protocol import Protocol
from eval.reading.reader import Dtype, Reader, find_reader
from eval.scoring.gold import read_gold, texts_to_read
from eval.scoring.submission import PREDICT_CONFIG, write_whole

__all__ = ["Answer", "Predict", "Protocol", "Reader", "Span", "main", "predict"]

BYTES_OF_A_SPAN = 250
"""In nbest_predictions.json, about."""
NOT_IDENTITY = (
    "model",
    "dev",
    "part",
    "out",
    "batch_size",
    "device",
    "allow_bin",
    "overwrite",
    "runs_on",
    "storage",
)
"""Fields that say where and how fast, not what: they may change between runs (the model and the
data set are told by their hashes)."""


@dataclass(frozen=True, kw_only=True)
class Predict:
    """Predict the answers of DEV with the reader MODEL; OUT is a folder."""

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")]
    """A reader: hub id, folder of a checkpoint with a span head, or `embedded`."""
    dev: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="DEV")]
    """A file, folder or data set as `augment.build` takes it."""
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """Folder for the predictions."""
    part: tyro.conf.OmitArgPrefixes[Part] = DEV_PART
    """Part of DEV to read."""
    protocol: Literal["run_qa", "farm"] = "run_qa"
    """Choose windows and answers as transformers' run_qa.py does, or as Haystack 1.1 to 1.3."""
    max_seq_length: int = 384
    """Tokens in a window of question and context."""
    doc_stride: int = 128
    """run_qa: tokens that neighbouring windows share. farm: tokens between their starts."""
    max_query_length: int | None = None
    """Tokens kept of a question. By default all with run_qa, and 64 with farm."""
    max_answer_length: int | None = None
    """Longest answer, in tokens; by default 30 with run_qa and 1,000 with farm."""
    n_best_size: int = 20
    """Answers written for each question; with run_qa also the starts and ends tried in a window."""
    null_score_diff_threshold: float = 0.0
    """Predict no answer if its score is higher than the best span's by more than this."""
    batch_size: int = 32
    """Windows in a batch."""
    device: Device = "auto"
    """Where the reader runs."""
    dtype: Dtype = "float32"
    """Number type of the reader; scores that you publish should be made with float32."""
    allow_bin: bool = False
    """Also load pytorch_model.bin if a checkpoint has no safetensors."""
    runs_on: tyro.conf.OmitArgPrefixes[EngineOptions] = LOCAL
    """What runs the reader. It does not change the output."""
    storage: tyro.conf.OmitArgPrefixes[StorageOptions] = AS_CONFIGURED
    """How stores are reached that URLs lead to."""
    overwrite: bool = False
    """Replace predictions in OUT that were made with other settings."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UsageError(f"batch_size {self.batch_size}: must be at least 1")
        if self.runs_on.engine == "ray" and num_processes() > 1:
            raise UsageError("--engine ray: runs on all machines by itself, without torchrun")
        _ = self.rules  # checks the protocol's own fields

    @property
    def rules(self) -> Protocol:
        """The protocol with its settings."""
        return Protocol(
            name=self.protocol,
            max_seq_length=self.max_seq_length,
            doc_stride=self.doc_stride,
            max_query_length=self.max_query_length,
            max_answer_length=self.max_answer_length,
            n_best_size=self.n_best_size,
            null_score_diff_threshold=self.null_score_diff_threshold,
        )


def predict(config: Predict) -> dict[str, str]:
    """Predict, write the files and give the predictions.

    Raises:
        UsageError: OUT holds predictions of another configuration.
        ValueError: a data set without contexts, or a checkpoint that is no reader.
        OSError: OUT cannot be written.
    """
    config = replace(config, model=find_reader(config.model))
    meet(pick_device(config.device))
    questions, dev_sha256 = read_gold(config.dev, config.part)
    asked, contexts = texts_to_read(questions, shown_name(config.dev))
    may_be_null = any(question.may_be_null for question in questions)
    first_decides(lambda: _probe(config.out))
    identity = _identity(config, dev_sha256, may_be_null)
    done = first_decides(lambda: _finished(config, identity))
    if done is not None:
        if process_rank()[0] == 0:
            print(f"{config.out}: complete already", file=sys.stderr)
        return done
    num_bytes = len(questions) * config.n_best_size * BYTES_OF_A_SPAN
    first_decides(lambda: check_room(config.out, num_bytes))
    loading: dict[str, Any] = {
        "name": config.model,
        "protocol": config.rules,
        "batch_size": config.batch_size,
        "device": config.device,
        "dtype": config.dtype,
        "allow_bin": config.allow_bin,
    }
    with elsewhere(config.runs_on, config.out, loading) as find:
        reader = Reader.load(**loading)
        answers = reader.read(asked, contexts, may_be_null=may_be_null, progress=True, find=find)
    predictions = {q.id: answer.text for q, answer in zip(questions, answers, strict=True)}
    if process_rank()[0] == 0:
        files = dict(_files(predictions, answers, may_be_null, config.n_best_size))
        with needing(num_bytes):
            _write(config, files, {**identity, "counts": reader.counts})
        print(f"{config.out}: {len(predictions)} questions predicted")
    return predictions


def _identity(config: Predict, dev_sha256: str, may_be_null: bool) -> dict[str, Any]:
    """Everything that the predictions depend on, for predict.json."""
    kept = {k: v for k, v in asdict(config).items() if k not in NOT_IDENTITY}
    dtype = exported_dtype(config.model) if is_exported(config.model) else config.dtype
    return {
        **kept,
        "dtype": dtype,
        "model_sha256": model_sha256(config.model),
        "max_answer_length": config.rules.max_answer_length,
        "max_query_length": config.rules.max_query_length,
        "dev_sha256": dev_sha256,
        "answers_may_be_null": may_be_null,
        "protocol_signature": f"{config.rules.signature()},dtype={dtype}",
    }


def _finished(config: Predict, identity: Mapping[str, Any]) -> dict[str, str] | None:
    """Give the predictions that an equal run left, or None when there is work to do.

    Raises:
        UsageError: another configuration's predictions are there, and no --overwrite.
        ValueError: predict.json is damaged.
    """
    record = config.out / PREDICT_CONFIG
    if config.overwrite or not record.is_file():
        return None
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
        hashes = dict(found["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{record}: damaged ({type(error).__name__}: {error}); delete it, or pass --overwrite"
        ) from error
    different = [key for key, value in identity.items() if found.get(key) != value]
    if different:
        listed = ", ".join(f"{key} {found.get(key)!r}" for key in different)
        raise UsageError(
            f"{config.out}: predictions made with {listed}; choose another OUT or --overwrite"
        )
    for name, sha256 in hashes.items():
        path = config.out / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            return None
    predictions: dict[str, str] = json.loads((config.out / "predictions.json").read_text("utf-8"))
    return predictions


def _probe(out: Path) -> None:
    """Try to write where OUT will be, before hours are spent on what goes into it."""
    there = out
    while not there.exists():
        there = there.parent
    try:
        with TemporaryFile(dir=there) as file:
            file.write(b"?")
    except OSError as error:
        raise OSError(
            f"{out}: cannot write into this folder ({error.strerror}); choose another OUT"
        ) from error


def _files(
    predictions: Mapping[str, str], answers: Sequence[Answer], with_null: bool, n_best_size: int
) -> Iterator[tuple[str, str]]:
    """Give each file's name and content, with the names and the meanings of run_qa."""
    pairs = list(zip(predictions, answers, strict=True))
    yield "predictions.json", _dump(predictions)
    yield "na_probs.json", _dump({qid: a.no_answer_probability for qid, a in pairs})
    yield "null_odds.json", _dump({qid: a.null_odds for qid, a in pairs})
    yield (
        "nbest_predictions.json",
        _dump({qid: _n_best(a, with_null, n_best_size) for qid, a in pairs}),
    )


def _n_best(answer: Answer, with_null: bool, n_best_size: int) -> list[dict[str, Any]]:
    """List spans and null by score, each with its share of the softmax over the list.

    As in run_qa the list holds `n_best_size` of them, and the null in any case.
    """
    spans = list(answer.spans)
    if with_null or not spans:
        spans = sorted([*spans, answer.null], key=lambda span: -span.score)[:n_best_size]
        if all(span.text for span in spans):
            spans.append(answer.null)
    scores = np.array([span.score for span in spans])
    shares = np.exp(scores - scores.max())
    shares /= shares.sum()
    return [
        {**span._asdict(), "probability": share}
        for span, share in zip(spans, shares.tolist(), strict=True)
    ]


def _write(config: Predict, files: Mapping[str, str], record: Mapping[str, Any]) -> None:
    """Write the files, predict.json last: where it is, all are there in full."""
    config.out.mkdir(parents=True, exist_ok=True)
    (config.out / PREDICT_CONFIG).unlink(missing_ok=True)
    hashes = {}
    for name, text in files.items():
        write_whole(config.out / name, text)
        hashes[name] = hashlib.sha256(text.encode()).hexdigest()
    names = {"model": shown_name(config.model), "dev": shown_name(config.dev)}
    made = {**record, **names, "files": hashes, "versions": versions()}
    write_whole(config.out / PREDICT_CONFIG, to_json(made))


def _dump(value: Mapping[str, Any]) -> str:
    """Write in the data set's order, one question a line."""
    lines = (f"{json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in value.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main() -> None:
    """Run the command line."""
    run(Predict, predict)


if __name__ == "__main__":
    main()
