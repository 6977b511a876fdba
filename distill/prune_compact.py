"""Cut out of a reader what is dead in it, and write what is left into OUT.

For readers whose weights have zeros: a published one with `pruned_heads` keeps its dead neurons,
for instance. The answers stay the same. Readers that `distill.train` pruned are compact already.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from augment.base.command import UsageError, run
from augment.base.commit import rename_folder


@dataclass(frozen=True, kw_only=True)
class CompactConfig:
    """Which reader, and where to."""

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")]
    """A hub id or folder of a reader."""
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """The folder that is made."""
    drop_uniform_heads: bool = False
    """Also remove heads without queries or keys, which is not exact."""
    allow_bin: bool = False
    """Also read pytorch_model.bin, where there are no safetensors."""


def compact_reader(config: CompactConfig) -> None:
    """Write the compacted reader with its tokenizer.

    Raises:
        UsageError: OUT exists.
        ValueError, OSError: no reader of that name.
    """
    import shutil

    from distill.prune import compact
    from eval.reading.reader import load_checkpoint

    if config.out.exists():
        raise UsageError(f"{config.out}: exists; choose another OUT, or move it away")
    tokenizer, model = load_checkpoint(config.model, dtype="float32", allow_bin=config.allow_bin)
    pruned = compact(model, drop_uniform_heads=config.drop_uniform_heads)
    made = config.out.with_name(config.out.name + ".incomplete")
    shutil.rmtree(made, ignore_errors=True)
    model.save_pretrained(made)
    tokenizer.save_pretrained(made)
    rename_folder(made, config.out)
    print("\n".join(f"- {fact}" for fact in pruned.facts()))
    print(config.out)


if __name__ == "__main__":
    run(CompactConfig, compact_reader)
