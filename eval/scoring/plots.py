"""Draw the official script's pictures of no-answer probabilities, as PNG and SVG."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from augment.base.command import UsageError
from eval.scoring.no_answer import Curve

TITLES = {
    "exact": "Precision-Recall curve for Exact Match score",
    "f1": "Precision-Recall curve for F1 score",
    "oracle": "Oracle Precision-Recall curve (binary task of HasAns vs. NoAns)",
}


def require_matplotlib() -> None:
    """Stop before any work when pictures are asked for and cannot be drawn."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "pictures need matplotlib: in the project's folder, "
            "pip install -e '.[plots]' -c constraints.txt"
        ) from error


def draw_all(
    curves: Mapping[str, Curve],
    na_probs: Mapping[str, float],
    has_answer: Mapping[str, bool],
    folder: Path,
) -> None:
    """Write pr_exact, pr_f1, pr_oracle and the two histograms of probabilities into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, curve in curves.items():
        title = f"{TITLES[name]}, AP {curve.average_precision:.2f}"
        _save(_draw_curve(curve, title), folder / f"pr_{name}")
    for name, wanted in (("hasAns", True), ("noAns", False)):
        values = [na_probs[qid] for qid, answerable in has_answer.items() if answerable is wanted]
        if values:
            _save(_draw_histogram(values, name), folder / f"na_prob_hist_{name}")


def _draw_curve(curve: Curve, title: str) -> Any:
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.subplots()
    axes.step(curve.recalls, curve.precisions, color="b", alpha=0.4, where="post")
    axes.fill_between(curve.recalls, curve.precisions, step="post", alpha=0.2, color="b")
    axes.set(xlabel="Recall", ylabel="Precision", xlim=(0.0, 1.05), ylim=(0.0, 1.05), title=title)
    return figure


def _draw_histogram(values: Sequence[float], name: str) -> Any:
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.subplots()
    axes.hist(values, weights=[1 / len(values)] * len(values), bins=20, range=(0.0, 1.0))
    axes.set(
        xlabel="Model probability of no-answer",
        ylabel="Proportion of dataset",
        title=f"Histogram of no-answer probability: {name}",
    )
    return figure


def _save(figure: Any, stem: Path) -> None:
    """Write both formats, the same bytes every time (SVG would hold the date and random ids)."""
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": stem.name}):
        for suffix, metadata in ((".png", {"Software": None}), (".svg", {"Date": None})):
            drawn = io.BytesIO()
            figure.savefig(drawn, format=suffix[1:], metadata=metadata)
            stem.with_suffix(suffix).write_bytes(drawn.getvalue())
