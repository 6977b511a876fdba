"""Measure the speed of predicting and scoring, and of a student against its teacher.

Both sides take turns in one run. The table, in Markdown, shows medians and ratios. Where both sides
have a result, it is checked that the results are equal.
"""

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from augment.base.command import UsageError, existing_file, run, to_json, usable_cores, versions
from eval.benches.timing import HEADER, Comparison, take_turns
from eval.scoring.gold import GoldQuestion, read_gold, spread
from eval.scoring.submission import write_whole

Row = Literal["latency", "scoring", "answers", "predict", "memory"]


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Measure, and print a table; rows other than `latency` need --dev, most need --model."""

    rows: tuple[Row, ...] = ("latency",)
    """`latency`: the student against the teacher.
    `scoring`: the scoring command against the official script's way.
    `answers`: turning logits into answers.
    `predict`: predicting a dev set.
    `memory`: peak memory of the prediction command."""
    dev: Path | None = None
    """A SQuAD 2.0 JSON file; all rows but `latency` need it."""
    model: str | None = None
    """The reader for `answers`, `predict` and `memory`: a hub id, a folder or `embedded`."""
    predictions: Path | None = None
    """Predictions for `scoring`; by default gold answers, every second one made wrong."""
    teacher: str | None = None
    """For `latency`: a hub id or a folder; by default random weights, 12 layers of width 768."""
    student: str | None = None
    """For `latency`: a hub id or a folder; by default random weights, 6 layers of width 768."""
    sample: int | None = None
    """Number of questions to predict, spread over the dev set; by default all."""
    repeats: int = 5
    """Number of turns."""
    threads: int | None = None
    """Number of PyTorch threads; by default one for each usable core."""
    out_file: Path | None = None
    """Also write the figures, the number of cores and the versions into this JSON file."""

    def __post_init__(self) -> None:
        for name in ("sample", "repeats", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} {value}: must be at least 1")
        if self.dev is None and set(self.rows) - {"latency"}:
            raise UsageError("rows other than latency need a SQuAD 2.0 file: name it with --dev")
        if self.model is None and set(self.rows) & {"answers", "predict", "memory"}:
            raise UsageError("rows answers, predict and memory need a reader: --model")


def bench(config: Bench) -> list[Comparison]:
    """Measure the rows of `config`, print them as they come and give them."""
    found: list[Comparison] = []
    print(HEADER, flush=True)
    for comparison in _measure(config):
        print(comparison.line(), flush=True)
        found.append(comparison)
    if config.out_file is not None:
        rows = [{**vars(row), "ratio": row.ratio} for row in found]
        record = {"rows": rows, "cores": usable_cores(), "versions": versions()}
        write_whole(config.out_file, to_json(record))
    return found


def _measure(config: Bench) -> Iterator[Comparison]:
    if set(config.rows) - {"scoring"}:
        import torch

        torch.set_num_threads(config.threads or usable_cores())
    if "latency" in config.rows:
        yield from _latency(config)
    if config.dev is None:
        return
    dev = existing_file(config.dev, "SQuAD file")
    with tempfile.TemporaryDirectory() as folder:
        if "scoring" in config.rows:
            predictions = config.predictions or _made_up_predictions(dev, Path(folder))
            yield _scoring(dev, predictions, config.repeats)
        if config.model is None:
            return
        gold = spread(read_gold(dev)[0], config.sample)
        if "memory" in config.rows:
            from eval.reading.exported import is_exported

            if is_exported(config.model):
                raise UsageError("row memory compares two precisions; an exported reader has one")
            yield _memory(config.model, gold, Path(folder))
        from eval.benches.predicting import compare_answers, compare_predicting

        if "answers" in config.rows:
            yield compare_answers(config.model, gold, config.repeats)
        if "predict" in config.rows:
            yield from compare_predicting(config.model, gold)


def _latency(config: Bench) -> Iterator[Comparison]:
    """One forward pass of each model over the same random tokens."""
    import torch

    teacher = _model(config.teacher, num_hidden_layers=12)
    student = _model(config.student, num_hidden_layers=6)
    vocabulary = min(teacher.config.vocab_size, student.config.vocab_size)
    generator = torch.Generator().manual_seed(0)
    for length in (128, 384):
        for batch in (1, 8, 32):
            ids = torch.randint(vocabulary, (batch, length), generator=generator)
            inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
            with torch.inference_mode():
                plain, ours = take_turns(
                    partial(teacher, **inputs), partial(student, **inputs), config.repeats
                )
            per_second = batch / statistics.median(ours)
            what = f"forward pass, batch {batch}, {length} tokens"
            yield Comparison(what, plain, ours, f"student: {per_second:.1f} windows/s")


def _scoring(dev: Path, predictions: Path, repeats: int) -> Comparison:
    """The whole command of each, from start to exit."""
    said: dict[str, Any] = {}

    def start(module: str) -> None:
        command = [sys.executable, "-m", module, str(dev), str(predictions)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        said[module] = json.loads(done.stdout)

    official, own = "eval.benches.plain", "eval.squad_v2"
    plain, ours = take_turns(lambda: start(official), lambda: start(own), repeats)
    equal = said[official].items() <= said[own].items()
    note = f"{said[official]['total']} predictions; {'equal' if equal else 'UNEQUAL'} scores"
    return Comparison("scoring, whole command", plain, ours, note)


def _memory(model: str, gold: list[GoldQuestion], folder: Path) -> Comparison:
    """The prediction command in fp32 and in bf16, each once in a process of its own."""
    paragraphs = [{"context": q.context, "qas": [{"id": q.id, "question": q.text}]} for q in gold]
    dev = folder / "dev.json"
    dev.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}), encoding="utf-8")
    seconds = []
    for dtype in ("float32", "bfloat16"):
        command = [sys.executable, "-m", "eval.predict", model, str(dev), str(folder / dtype)]
        start = time.perf_counter()
        subprocess.run(
            [*command, "--device", "cpu", "--dtype", dtype], check=True, stdout=subprocess.DEVNULL
        )
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024**2
    note = f"{len(gold)} questions; peak memory {peak:.2f} GiB"
    return Comparison("prediction command, fp32 against bf16", (seconds[0],), (seconds[1],), note)


def _model(name: str | None, num_hidden_layers: int) -> Any:
    """Load a span model on the CPU, or make one of BERT's base width with random weights."""
    if name is not None:
        from eval.reading.exported import ExportedReader, is_exported
        from eval.reading.reader import find_reader, load_checkpoint

        if is_exported(name):
            return ExportedReader(name)
        return load_checkpoint(find_reader(name), dtype="float32", allow_bin=False)[1]
    from transformers import BertConfig, BertForQuestionAnswering

    return BertForQuestionAnswering(BertConfig(num_hidden_layers=num_hidden_layers)).eval()


def _made_up_predictions(dev: Path, folder: Path) -> Path:
    questions, path = read_gold(dev)[0], folder / "predictions.json"
    texts = {q.id: (q.answers or ("",))[0] + " or so" * (i % 2) for i, q in enumerate(questions)}
    path.write_text(json.dumps(texts), encoding="utf-8")
    return path


def main() -> None:
    """Run the command line."""
    run(Bench, bench)


if __name__ == "__main__":
    main()
