"""Draw what a set's manifest counted: which words were replaced, and how far copies differ."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from augment.base.command import UsageError
from augment.base.set_records import Manifest


def word_shares(manifest: Manifest) -> dict[str, float]:
    """Give the shares of all words of all copies: replaced, by source, and left, by reason.

    Returns:
        Shares that sum to 1, in the order in which they are drawn.
    """
    counts, plan = manifest.counts, manifest.plan
    copies = plan.copies_per_example
    words = max(1, counts["words"] * copies)
    replaced = {
        "replaced by the masked LM": counts["replaced_by_masked_lm"] / words,
        "replaced by a neighbour": counts["replaced_by_glove"] / words,
    }
    replaceable = counts["replaceable_words"] * copies / words
    left = {
        "left: not drawn, in an answer, no candidates": replaceable - sum(replaced.values()),
        "never replaced, by the word rule": 1 - replaceable,
    }
    return replaced | left


@contextmanager
def drawing(name: str, size: tuple[float, float]) -> Iterator[Any]:
    """Give a figure of `size` inches whose SVG has the same bytes every time.

    Raises:
        UsageError: matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError(
            "pictures need matplotlib: in the project's folder, "
            "pip install -e '.[plots]' -c constraints.txt"
        ) from error
    with matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        yield Figure(figsize=size, layout="constrained")


def svg(figure: Any) -> bytes:
    """Write a figure of `drawing`, while it is open."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    return drawn.getvalue()


def draw_set(manifest: Manifest) -> bytes:
    """Draw both pictures as one SVG.

    Raises:
        UsageError: matplotlib is not installed.
    """
    with drawing("set", (10, 3.6)) as figure:
        left, right = figure.subplots(1, 2)
        shares = word_shares(manifest)
        bars = left.barh(list(shares), [100 * share for share in shares.values()], color="#4878a8")
        left.bar_label(bars, [f"{share:.1%}" for share in shares.values()], padding=3)
        left.invert_yaxis()
        left.set(xlabel="% of the words of all copies")
        left.margins(x=0.25)  # room for the numbers
        bins = manifest.copies_by_share_replaced
        total = max(1, sum(bins))
        width = 100 / len(bins)
        heights = [100 * number / total for number in bins]
        places = [width * number for number in range(len(bins))]
        seen = [n + 1 for n, number in enumerate(bins) if 1000 * number >= total]
        last = max(seen, default=len(bins))
        right.bar(places, heights, width, align="edge", color="#4878a8", ec="white")
        right.set(xlabel="% of a copy's words replaced", ylabel="% of the copies")
        right.set_xlim(0, width * last)
        return svg(figure)
