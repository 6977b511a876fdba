"""Measure how much faster pruned readers are than a dense one.

The readers take turns in one run, and the table shows ratios. If no reader is named, a BERT-base
with random weights is pruned like the published block-sparse BERT: 7.5 % of the linear weights and
38 of 144 heads are left. A quarter of its feed-forward neurons are left, with zeros in them; which
ones the published model has left is not known here.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from augment.base.command import UsageError, run, to_json

HEADS_KEPT = (4, 4, 4, 3, 3, 3, 3, 3, 3, 3, 3, 2)
"""Of each layer, 38 together."""
NEURONS_KEPT = 1 / 4
PUBLISHED_DENSITY = 0.075
BLOCK = 32


@dataclass(frozen=True, kw_only=True)
class PruneBenchConfig:
    """Which readers, in which batches."""

    pruned: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="DIR")] = ()
    """Readers to measure, pruned or not: folders or hub ids."""
    dense: str | None = None
    """The reader to compare them with."""
    batch_sizes: tuple[int, ...] = (1, 8, 32)
    """Rows in a batch; each size is measured."""
    tokens: int = 384
    """Tokens in a row."""
    repeats: int = 5
    """Number of turns that are counted."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to measure."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Number type of all readers."""
    out: Path | None = None
    """Also write the ratios into this JSON file; only with one reader."""

    def __post_init__(self) -> None:
        if bool(self.pruned) != (self.dense is not None):
            raise UsageError("name pruned readers and, with --dense, what to compare them with")
        if self.out is not None and len(self.pruned) > 1:
            raise UsageError("--out: holds the figures of one reader")
        if self.out is not None and not self.pruned:
            raise UsageError("--out: names the reader that was measured; name one")
        if self.out is not None and not self.out.parent.is_dir():
            raise UsageError(f"--out {self.out}: no folder {self.out.parent}")
        if min(self.repeats, self.tokens, *self.batch_sizes) < 1:
            raise UsageError("--repeats, --tokens and --batch-sizes must be 1 or more")


def bench(config: PruneBenchConfig) -> None:
    """Print one table over readers and batches."""
    import torch

    from augment.base.models import model_sha256, pick_device, shown_name
    from distill.training.hardware import describe_hardware
    from distill.training.trainer import Place
    from eval.benches.timing import HEADER
    from eval.reading.reader import load_checkpoint

    device = pick_device(config.device)
    hardware = describe_hardware(Place(device=device.type, dtype=config.dtype))
    named = hardware.get("gpu", f"{hardware['processor']}, {hardware['cores']} cores")
    print(f"{named}; {config.dtype}; {torch.get_num_threads()} threads; {config.tokens} tokens")
    print(HEADER.replace("plain / teacher", "dense").replace("ours / student", "pruned"))
    if config.dense is None:
        dense, pruned = published_shape()
        left = pruned.pruned
        name = f"BERT-base, {left.linear_density:.1%} of the linear weights"
        readers = [(name, pruned)]
    else:
        load = partial(load_checkpoint, dtype=config.dtype, allow_bin=False)
        dense = load(config.dense)[1]
        readers = [(shown_name(name), load(name)[1]) for name in config.pruned]
    dense.to(device, getattr(torch, config.dtype))
    for name, reader in readers:
        reader.to(device, getattr(torch, config.dtype))
        ratios = {}
        for size in config.batch_sizes:
            found = _compare(config, f"{name}, batch {size}", dense, reader, size)
            print(found.line(), flush=True)
            ratios[str(size)] = {"ratio": found.ratio, "ratios": found.ratios}
        if config.out is not None:
            record = {
                "dense": shown_name(config.dense or ""),
                "dense_sha256": config.dense and model_sha256(config.dense),
                "sha256": config.dense and model_sha256(config.pruned[0]),
                "tokens": config.tokens,
                "dtype": config.dtype,
                "threads": torch.get_num_threads(),
                "hardware": hardware,
                "batches": ratios,
            }
            config.out.write_text(to_json(record), encoding="utf-8")


def _compare(config: PruneBenchConfig, what: str, dense: Any, pruned: Any, size: int) -> Any:
    import torch

    from eval.benches.timing import Comparison, take_turns
    from eval.reading.encoder import positions_of

    draw = torch.Generator().manual_seed(0)
    highest = min(model.config.vocab_size for model in (dense, pruned))
    positions = min(positions_of(model.config) or config.tokens for model in (dense, pruned))
    if config.tokens > positions:
        raise UsageError(f"--tokens {config.tokens}: the readers have {positions} positions")
    ids = torch.randint(5, highest, (size, config.tokens), generator=draw).to(dense.device)
    mask = torch.ones_like(ids)

    def read(model: Any) -> None:
        with torch.inference_mode():
            model(input_ids=ids, attention_mask=mask)
        if ids.is_cuda:
            torch.cuda.synchronize()

    seconds = take_turns(lambda: read(dense), lambda: read(pruned), config.repeats)
    return Comparison(what, *seconds)


def published_shape() -> tuple[Any, Any]:
    """Make a dense BERT-base reader, and its copy with a mask like the published one, compacted.

    Returns:
        Both, with random weights, in eval mode.
    """
    import copy

    import torch
    from transformers import BertConfig, BertForQuestionAnswering

    from distill.prune import compact
    from eval.reading.encoder import KINDS, dense_shape, parts_of

    torch.manual_seed(0)
    dense = BertForQuestionAnswering(BertConfig()).eval()
    pruned = copy.deepcopy(dense)
    shape = dense_shape(pruned.config)
    rows_left = sum(HEADS_KEPT) * shape.head_size
    neurons = int(NEURONS_KEPT * shape.num_neurons)
    left = shape.width * (4 * rows_left + 2 * neurons * len(HEADS_KEPT))
    wanted = PUBLISHED_DENSITY * len(HEADS_KEPT) * sum(shape.weights(kind) for kind in KINDS)
    with torch.no_grad():
        for parts, heads in zip(parts_of(pruned), HEADS_KEPT, strict=True):
            size = heads * shape.head_size
            for linear in (parts.query, parts.key, parts.value):
                linear.weight[size:] = 0
            parts.attention_output.weight[:, size:] = 0
            parts.ffn_in.weight[neurons:] = 0
            parts.ffn_out.weight[:, neurons:] = 0
            for linear in parts.linears().values():
                outputs, inputs = linear.weight.shape
                kept = torch.rand(outputs // BLOCK, inputs // BLOCK) < wanted / left
                blocks = linear.weight.view(outputs // BLOCK, BLOCK, inputs // BLOCK, BLOCK)
                blocks *= kept[:, None, :, None]
    compact(pruned)
    return dense, pruned


if __name__ == "__main__":
    run(PruneBenchConfig, bench)
