"""Measure the speed of training, part by part, against the plain way to do the same.

Both ways take turns in one run, and the table shows their ratio. The plain way is that of earlier
distillation scripts: rows padded to 384 tokens, eager attention, attention maps of every layer,
and the heads and poolers that no loss needs.
"""

import os
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from augment.base.command import UsageError, run
from distill.benches.campaign import Campaign, run_campaign

Part = Literal["intermediate", "prediction", "masking", "features", "memory", "speed", "gpu"]
PRODUCT_SIZE = {"cuda": 8192, "cpu": 1024}
"""Of the square matrices whose product says what the machine can do."""
V100_BYTES = 16 * 2**30


@dataclass(frozen=True, kw_only=True)
class BenchConfig:
    """Which parts, on which questions, how often."""

    data: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="TRAIN")]
    """A SQuAD JSON file or a folder made by `augment.build`; its questions are the rows."""
    tokenizer: str = "google-bert/bert-base-uncased"
    """Tokenizer of an uncased BERT: a hub id or a folder."""
    parts: tuple[Part, ...] = ("intermediate", "prediction", "masking", "memory")
    """`intermediate`: a training step of the intermediate stage, ours against the plain way.
    `prediction`: a step of the prediction stage, the teacher's logits from disk or computed.
    `masking`: the same step with every linear layer masked, as in pruning, and without masks.
    `features`: turning rows into tokenised windows.
    `memory`: memory of a step, computed from the tensors that autograd stores.
    `speed`: examples a second of the intermediate stage, by rows in a step.
    `gpu`: all that a GPU has to show: tests, a build, a teacher, the study, memory and speed."""
    batch_size: int = 26
    """Rows in a training step."""
    batch_sizes: tuple[int, ...] = (26, 32, 64, 128, 256)
    """`speed`: rows in a step; the last ones may not fit into memory."""
    steps: int = 3
    """Training steps in a turn."""
    repeats: int = 3
    """Number of turns."""
    layers: int = 12
    """Layers of the teacher; the student has half as many."""
    width: int = 768
    """Width of the hidden states, of teacher and student."""
    heads: int = 12
    """Attention heads in a layer, of teacher and student."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to measure."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number type of the matrix products."""
    seed: int = 0
    """Seed of the weights and of the choice of rows."""
    gpu: Campaign = field(default_factory=Campaign)
    """What the part `gpu` works on."""

    def __post_init__(self) -> None:
        if self.layers % 2:
            raise UsageError(f"--layers {self.layers}: must be even, the student has half")


def bench(config: BenchConfig) -> None:
    """Print one table over all parts."""
    print(_machine(config))
    from eval.benches.timing import HEADER

    if {"intermediate", "prediction"} & set(config.parts):
        print(HEADER.replace("plain / teacher", "before").replace("ours / student", "ours"))
        for part in ("intermediate", "prediction"):
            if part in config.parts:
                measure = _intermediate if part == "intermediate" else _prediction
                print(measure(_Bench(config)).line(), flush=True)
    if "masking" in config.parts:
        _masking(_Bench(config))
    if "features" in config.parts:
        _features(config)
    if "memory" in config.parts:
        _memory(_Bench(config))
    if "speed" in config.parts:
        _speed(config)
    if "gpu" in config.parts:
        names = ("layers", "width", "heads", "steps", "repeats", "tokenizer")
        sizes = [text for name in names for text in (f"--{name}", str(getattr(config, name)))]
        sizes += ["--batch-sizes", *map(str, config.batch_sizes)]
        run_campaign(config.gpu, config.data, _place(config).device, sizes)


def _machine(config: BenchConfig) -> str:
    import torch

    from distill.training.hardware import describe_hardware

    place = _place(config)
    found = describe_hardware(place)
    named = found.get("gpu", f"{found['processor']}, {found['cores']} cores")
    return f"{named}; {place.dtype}; {torch.get_num_threads()} threads; torch {torch.__version__}"


def _place(config: BenchConfig) -> Any:
    from augment.base.models import pick_device, pick_dtype
    from distill.training.trainer import Place

    device = pick_device(config.device).type
    return Place(device=device, dtype=pick_dtype(config.dtype, device))


class _Bench:
    """Teacher and student of the shapes asked for, with random weights, and real rows."""

    def __init__(self, config: BenchConfig) -> None:
        import torch
        from transformers import AutoTokenizer, BertConfig, BertForQuestionAnswering

        from distill.models.student import uniform_layer_map
        from distill.recipes import Stage
        from distill.rows.batches import Batches
        from distill.rows.features import find_source, load_features
        from eval.reading.windows import WindowRule

        self.config, self.place = config, _place(config)
        tokenizer = AutoTokenizer.from_pretrained(config.tokenizer)
        kind = "augmented" if Path(config.data).is_dir() else "original"
        features = load_features(find_source(kind, config.data), tokenizer, WindowRule())
        num_steps = config.steps * (config.repeats + 1)
        self.batches = Batches(features, num_steps, config.batch_size, 1, config.seed)
        torch.manual_seed(config.seed)
        shape = BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=config.width,
            num_attention_heads=config.heads,
            intermediate_size=4 * config.width,
            num_hidden_layers=config.layers,
        )
        self.teacher = BertForQuestionAnswering(shape).eval()
        self.student = BertForQuestionAnswering(
            BertConfig(**{**shape.to_dict(), "num_hidden_layers": config.layers // 2})
        )
        self.layer_map = uniform_layer_map(config.layers // 2, config.layers)
        self.stage = Stage(
            kind="intermediate",
            rows="augmented",
            teacher="random weights",
            epochs=1,
            batch_size=config.batch_size,
            learning_rate=5e-5,
        )
        self.turn = 0

    def to_device(self) -> None:
        """Move both models; the teacher's weights take the 16-bit type."""
        import torch

        self.teacher.to(self.place.device, getattr(torch, self.place.dtype))
        self.student.to(self.place.device)

    def optimizer(self, module: Any) -> Any:
        """Make the AdamW that trains it."""
        import torch

        from distill.training.trainer import parameter_groups

        groups = parameter_groups(module, self.stage)
        return torch.optim.AdamW(groups, lr=5e-5, fused=self.place.device == "cuda")

    def step(self, module: Any, optimizer: Any, losses: Callable[[], Any]) -> None:
        """Train one step on what `losses` gives."""
        import torch

        with torch.autocast(
            self.place.device,
            getattr(torch, self.place.dtype),
            enabled=self.place.dtype != "float32",
        ):
            loss = losses()["loss"]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    def device_batch(self, step: int, pad_to: int | None = None) -> dict[str, Any]:
        """Read the rows of a step."""
        self.batches.pad_to = pad_to
        batch = self.batches[step % len(self.batches)]
        return {name: tensor.to(self.place.device) for name, tensor in batch.items()}

    def wait(self) -> None:
        """Let the GPU finish, before the clock is read."""
        if self.place.device == "cuda":
            import torch

            torch.cuda.synchronize()


def _intermediate(made: _Bench) -> Any:
    """Time the intermediate stage both ways, after comparing their losses."""
    import copy

    from distill.benches.plain import PlainIntermediate
    from distill.models.distiller import IntermediateDistiller
    from distill.models.teacher import IntermediateTeacher
    from eval.benches.timing import Comparison, take_turns

    difference = loss_difference(made)
    made.to_device()
    plain = PlainIntermediate(
        copy.deepcopy(made.student), copy.deepcopy(made.teacher), made.layer_map
    )
    ours = IntermediateDistiller(made.student, made.config.width, made.stage)
    asked = IntermediateTeacher(made.teacher, made.layer_map, attention=True)
    optimizers = {"plain": made.optimizer(plain.student), "ours": made.optimizer(ours)}
    ours.train()
    turns = {"plain": 0, "ours": 0}

    def step_plain(step: int) -> None:
        batch = made.device_batch(step, pad_to=384)
        made.step(plain.student, optimizers["plain"], lambda: plain.losses(batch))

    def step_ours(step: int) -> None:
        batch = made.device_batch(step)
        taught = asked(batch)
        inputs = {k: v for k, v in batch.items() if k != "positions"}
        made.step(ours, optimizers["ours"], lambda: ours(**inputs, **taught))

    def turn(name: str, step: Callable[[int], None]) -> None:
        for _ in range(made.config.steps):
            step(turns[name])
            turns[name] += 1
        made.wait()

    seconds = take_turns(
        lambda: turn("plain", step_plain), lambda: turn("ours", step_ours), made.config.repeats
    )
    rows = made.config.steps * made.config.batch_size
    rate = rows / sorted(seconds[1])[len(seconds[1]) // 2]
    note = f"{rate:.1f} examples/s; losses differ by {difference:.1e} (fp32, no padding)"
    return Comparison("intermediate stage", *seconds, note)


def loss_difference(made: _Bench) -> float:
    """Compare both ways' losses on one batch without padding, in fp32 and without dropout.

    Returns:
        The relative difference.
    """
    import copy

    import torch

    from distill.benches.plain import PlainIntermediate
    from distill.models.distiller import IntermediateDistiller
    from distill.models.teacher import IntermediateTeacher

    teacher, student = copy.deepcopy(made.teacher), copy.deepcopy(made.student).eval()
    rows = made.batches.step_rows(0)[:4]
    batch = made.batches.collate(rows)
    shortest = int(batch["attention_mask"].sum(1).min())
    inputs = {k: v[:, :shortest] for k, v in batch.items() if k != "positions"}
    with torch.no_grad():
        before = PlainIntermediate(
            copy.deepcopy(student), copy.deepcopy(teacher), made.layer_map
        ).losses(inputs)["loss"]
        asked = IntermediateTeacher(teacher, made.layer_map, attention=True)(inputs)
        now = IntermediateDistiller(student, made.config.width, made.stage)(**inputs, **asked)
    return abs(float(before - now["loss"])) / float(before)


def _prediction(made: _Bench) -> Any:
    """Time the prediction stage from its second epoch on: logits from disk, or asked for."""
    import numpy as np

    from distill.models.distiller import SpanDistiller
    from distill.models.teacher import SpanTeacher, TeacherLogits
    from eval.benches.timing import Comparison, take_turns

    made.to_device()
    stage = replace(made.stage, kind="prediction", rows="original")
    module = SpanDistiller(made.student, stage).train()
    optimizer = made.optimizer(module)
    asked = SpanTeacher(made.teacher)
    steps = range(made.config.steps)
    turns = {"asked": 0, "cached": 0}
    with tempfile.TemporaryDirectory() as cache:
        logits = TeacherLogits(made.batches.features, "bench", made.place.dtype, Path(cache))
        rows = np.concatenate([made.batches.step_rows(s) for s in range(len(made.batches))])
        logits.fill(rows, made.teacher, 2 * made.config.batch_size)

        def turn(name: str) -> None:
            made.batches.logits = logits if name == "cached" else None
            for _ in steps:
                batch = made.device_batch(turns[name])
                turns[name] += 1
                taught = asked(batch) if name == "asked" else {}
                made.step(module, optimizer, partial(module, **batch, **taught))
            made.wait()

        seconds = take_turns(lambda: turn("asked"), lambda: turn("cached"), made.config.repeats)
    return Comparison("prediction stage, cached logits", *seconds, "from the second epoch on")


def _masking(made: _Bench) -> None:
    """Time a step of a pruning stage against the plain distiller's, both with stored logits."""
    import copy

    import torch

    from distill.models.distiller import SpanDistiller
    from distill.prune import Pruner
    from distill.recipes import PruningStage, find_recipe
    from eval.benches.timing import Comparison, take_turns

    made.to_device()
    stage = find_recipe("bert-block-sparse-squad1").stages[0]
    assert isinstance(stage, PruningStage)
    masked = copy.deepcopy(made.student)
    pruner = Pruner(masked, stage)
    pruner.set_step(1, 1)
    modules = {
        "plain": SpanDistiller(made.student, stage).train(),
        "masked": SpanDistiller(masked, stage, [pruner]).train(),
    }
    optimizers = {name: made.optimizer(module) for name, module in modules.items()}
    turns = dict.fromkeys(modules, 0)

    def turn(name: str) -> None:
        for _ in range(made.config.steps):
            batch = made.device_batch(turns[name])
            turns[name] += 1
            logits = torch.zeros(batch["input_ids"].shape, device=made.place.device)
            given = {**batch, "teacher_start": logits, "teacher_end": logits}
            made.step(modules[name], optimizers[name], partial(modules[name], **given))
        made.wait()

    seconds = take_turns(lambda: turn("masked"), lambda: turn("plain"), made.config.repeats)
    found = Comparison("masking", *seconds)
    low, high = min(found.ratios), max(found.ratios)
    print(f"masking: a step takes {found.ratio:.2f} times as long ({low:.2f} to {high:.2f})")


def _features(config: BenchConfig) -> None:
    """Time rows to windows, in an empty cache."""
    from transformers import AutoTokenizer

    from distill.rows.features import find_source, load_features
    from eval.reading.windows import WindowRule

    tokenizer = AutoTokenizer.from_pretrained(config.tokenizer)
    kind = "augmented" if Path(config.data).is_dir() else "original"
    source = find_source(kind, config.data)
    folder = os.environ.get("TMPDIR")
    with tempfile.TemporaryDirectory(dir=folder) as cache:
        start = time.perf_counter()
        features = load_features(source, tokenizer, WindowRule(), Path(cache))
        seconds = time.perf_counter() - start
        size = sum(path.stat().st_size for path in features.folder.iterdir()) / 2**20
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        print(
            f"features: {features.counts['rows']:,} rows, {len(features):,} windows, "
            f"{features.lengths.mean():.0f} tokens each, in {seconds:.0f} s "
            f"({size:,.0f} MiB on disk; peak of the process {peak:,.0f} MiB)",
            flush=True,
        )


def _memory(made: _Bench) -> None:
    """Add up what a padded step keeps; on a GPU also measure it."""
    import torch

    from distill.models.distiller import IntermediateDistiller
    from distill.models.teacher import IntermediateTeacher

    made.to_device()
    ours = IntermediateDistiller(made.student, made.config.width, made.stage).train()
    asked = IntermediateTeacher(made.teacher, made.layer_map, attention=True)
    if made.place.device == "cuda":
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, V100_BYTES / total))
        torch.cuda.reset_peak_memory_stats()
    batch = made.device_batch(0, pad_to=384)
    batch["attention_mask"] = torch.ones_like(batch["attention_mask"])
    kept: dict[int, int] = {}

    def note(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    inputs = {k: v for k, v in batch.items() if k != "positions"}
    optimizer = made.optimizer(ours)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        made.step(ours, optimizer, lambda: ours(**inputs, **asked(batch)))
    weights = {p.untyped_storage().data_ptr() for p in ours.parameters()}
    trained = 4 * sum(p.numel() for p in ours.parameters())
    teacher = sum(p.numel() * p.element_size() for p in made.teacher.parameters())
    activations = sum(size for place, size in kept.items() if place not in weights)
    parts = {
        "student, gradients and AdamW": 4 * trained,
        "teacher": teacher,
        "kept for the backward pass": activations,
    }
    text = ", ".join(f"{name} {size / 2**30:.2f} GiB" for name, size in parts.items())
    print(
        f"memory, batch {made.config.batch_size} x 384: {text}; "
        f"{sum(parts.values()) / 2**30:.2f} GiB together (computed)"
    )
    if made.place.device == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**30
        print(f"memory, measured with the process limited to 16 GiB: {peak:.2f} GiB")


def _speed(config: BenchConfig) -> None:
    """Print a table of the intermediate stage's speed, by rows in a step."""
    from distill.benches.speed import HEADER, line, product_rate

    place = _place(config)
    reached = product_rate(place.device, place.dtype, PRODUCT_SIZE[place.device])
    print(HEADER)
    for batch_size in config.batch_sizes:
        made = _Bench(replace(config, batch_size=batch_size))
        print(line(made, reached), flush=True)


def main() -> None:
    """Run the command line."""
    run(BenchConfig, bench)


if __name__ == "__main__":
    main()
