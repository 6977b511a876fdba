"""Show what is left of a pruned reader: heads, neurons and density of every layer.

Prints a table; with --picture, also draws it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from augment.base.command import run
from augment.base.commit import write_atomic


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """Which reader."""

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="DIR")]
    """A folder or hub id of a pruned reader."""
    picture: Path | None = None
    """Also draw the table as this SVG file; needs the `plots` extra."""
    allow_bin: bool = False
    """Also load pytorch_model.bin if a checkpoint has no safetensors."""


def report(config: ReportConfig) -> None:
    """Print the table, and draw the picture."""
    from distill.prune import load_pruned
    from distill.prune.report import draw_density, markdown_table, report_rows

    model = load_pruned(config.model, allow_bin=config.allow_bin)
    print(markdown_table(report_rows(model.pruned)))
    print()
    print("\n".join(f"- {fact}" for fact in model.pruned.facts()))
    if config.picture is not None:
        write_atomic(config.picture, draw_density(model.pruned))
        print(f"\n{config.picture}")


if __name__ == "__main__":
    run(ReportConfig, report)
