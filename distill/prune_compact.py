"""Remove heads and neurons whose weights are zero from a reader, and write the rest into OUT.

The answers stay the same. This is for published readers with zeros in their weights, for example
those whose configuration has `pruned_heads`. Readers pruned by `distill.train` are compact already.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from augment.base.command import UsageError, run
from augment.base.folders import made_at_once


@dataclass(frozen=True, kw_only=True)
class CompactConfig:
    """Which reader, and where to."""

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")]
    """A hub id or folder of a reader."""
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """A new folder for the smaller reader."""
    drop_uniform_heads: bool = False
    """Also remove heads without queries or keys, which changes the answers a little."""
    allow_bin: bool = False
    """Also load pytorch_model.bin if a checkpoint has no safetensors."""


def compact_reader(config: CompactConfig) -> None:
    """Write the compacted reader with its tokenizer.

    Raises:
        UsageError: OUT exists.
        ValueError, OSError: no reader of that name.
    """
    from distill.prune import compact
    from eval.reading.reader import load_checkpoint

    if config.out.exists():
        raise UsageError(f"{config.out}: exists; choose another OUT, or move it away")
    tokenizer, model = load_checkpoint(config.model, dtype="float32", allow_bin=config.allow_bin)
    pruned = compact(model, drop_uniform_heads=config.drop_uniform_heads)
    with made_at_once(config.out) as made:
        model.save_pretrained(made)
        tokenizer.save_pretrained(made)
    print("\n".join(f"- {fact}" for fact in pruned.facts()))
    print(config.out)


if __name__ == "__main__":
    run(CompactConfig, compact_reader)
