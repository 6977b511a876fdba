"""What is left of a pruned reader: density and heads of every layer, as figures and a table."""

from collections.abc import Mapping, Sequence

from augment.cards.plots import drawing, svg
from eval.reading.encoder import KINDS
from eval.reading.pruned import Pruned

BERT_BASE_QA, BERT_BASE_LINEAR, BERT_BASE_POOLER = 108_893_186, 84_934_656, 590_592
"""Parameters of BERT-base as a reader, its encoder's linear weights, and a pooler's parameters."""


def bert_base_density(linear_density: float) -> float:
    """Give what a card of 2020 calls the overall density of BERT-base.

    Of a reader with the pooler that it does not use, and with all its biases. Source: the two
    published pairs, 7.5 and 28.2 %, 20.2 and 38.1 %.
    """
    whole = BERT_BASE_QA + BERT_BASE_POOLER
    return (whole - (1 - linear_density) * BERT_BASE_LINEAR) / whole


def densities(pruned: Pruned) -> list[list[float]]:
    """Give the share of weights that are not 0, (layers, 6), of the dense layer's."""
    return [
        [layer.weights[kind] / pruned.shape.weights(kind) for kind in KINDS]
        for layer in pruned.layers
    ]


def report_rows(pruned: Pruned) -> list[list[str]]:
    """Give the table's cells, its head first: a row for each layer, and one for all."""
    shares = densities(pruned)
    means = [sum(column) / len(shares) for column in zip(*shares, strict=True)]
    heads = [len(layer.heads) for layer in pruned.layers]
    neurons = [layer.neurons for layer in pruned.layers]
    names = [str(number) for number in range(1, len(heads) + 1)]
    rows = [["layer", "heads", "neurons", *KINDS]]
    for name, *counts, share in zip(
        [*names, "all"],
        [*heads, sum(heads)],
        [*neurons, sum(neurons)],
        [*shares, means],
        strict=True,
    ):
        rows.append([name, *(f"{count:,}" for count in counts), *(f"{s:.1%}" for s in share)])
    return rows


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Write cells as Markdown, aligned; the first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| "
        + " | ".join(
            [
                cells[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)),
            ]
        )
        + " |"
        for cells in rows
    ]
    ruler = [":" + "-" * (widths[0] + 1), *("-" * (width + 1) + ":" for width in widths[1:])]
    return "\n".join([lines[0], f"|{'|'.join(ruler)}|", *lines[1:]])


def draw_tradeoff(points: Mapping[str, tuple[float, float]]) -> bytes:
    """Draw F1 against speed, as SVG.

    Args:
        points: by a reader's name, how many times faster than dense it is, and its F1.

    Raises:
        UsageError: matplotlib is not installed.
    """
    with drawing("tradeoff", (6, 4)) as figure:
        axes = figure.subplots()
        for name, (speed, f1) in points.items():
            axes.plot(speed, f1, "o", color="#4878a8")
            axes.annotate(name, (speed, f1), xytext=(0, 6), textcoords="offset points", ha="center")
        axes.set(xlabel="times faster than dense, batch of 8", ylabel="F1")
        axes.margins(x=0.25, y=0.15)  # room for the names
        axes.grid(alpha=0.3)
        return svg(figure)


def draw_density(pruned: Pruned) -> bytes:
    """Draw which heads stay and how dense every matrix is, as SVG.

    Raises:
        UsageError: matplotlib is not installed.
    """
    with drawing("density", (10, 0.6 + 0.3 * len(pruned.layers))) as figure:
        left, right = figure.subplots(1, 2)
        numbers = range(1, len(pruned.layers) + 1)
        stays = [
            [float(head in layer.heads) for head in range(pruned.num_heads)]
            for layer in pruned.layers
        ]
        shares = densities(pruned)
        for axes, cells in ((left, stays), (right, shares)):
            axes.imshow(cells, cmap="Blues", vmin=0, vmax=1, aspect="auto")
            axes.set(ylabel="layer", yticks=[number - 1 for number in numbers])
            axes.set_yticklabels([str(number) for number in numbers])
        removed = pruned.removed_heads
        left.set(xlabel="head", title=f"heads that stay: {removed} are gone")
        left.set_xticks(range(pruned.num_heads))
        right.set(title=f"weights that are not 0: {pruned.linear_density:.1%}")
        right.set_xticks(range(len(KINDS)), [kind.replace("_", "\n") for kind in KINDS])
        for row, values in enumerate(shares):
            for column, share in enumerate(values):
                colour = "white" if share > 0.5 else "black"
                right.text(column, row, f"{share:.0%}", ha="center", va="center", color=colour)
        return svg(figure)
