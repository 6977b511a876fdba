"""A training's losses, drawn: one picture for all stages."""

from collections.abc import Mapping, Sequence
from typing import Any

from augment.cards.plots import drawing, svg


def draw_curves(stages: Sequence[Mapping[str, Any]]) -> bytes | None:
    """Draw each stage's losses by step, as SVG; None where no stage has any.

    Args:
        stages: of a training's record.

    Raises:
        UsageError: matplotlib is not installed.
    """
    numbered = enumerate(stages, 1)
    logged = [(n, stage) for n, stage in numbered if stage.get("losses", {}).get("step")]
    if not logged:
        return None
    with drawing("curves", (5 * len(logged), 3.4)) as figure:
        for axes, (number, stage) in zip(
            figure.subplots(1, len(logged), squeeze=False)[0], logged, strict=True
        ):
            losses = stage["losses"]
            for name, values in losses.items():
                if name != "step":
                    axes.plot(losses["step"], values, label=name.replace("_", " "))
            axes.set(title=f"{number}. {stage['stage']['kind']}", xlabel="step", ylabel="loss")
            axes.set_ylim(bottom=0)
            axes.grid(alpha=0.3)
            axes.legend()
        return svg(figure)
