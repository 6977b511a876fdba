"""The curve of a study: its numbers as tables, and its picture, from the records alone."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from augment.cards.plots import drawing, svg
from distill.studies.records import Record, read_records, read_rows
from distill.studies.worth import Estimate, lead, worth

MEASURES = {
    "f1": "F1 on the dev questions",
    "held_out_loss": "held-out loss of stage 1",
    "span_divergence": "held-out divergence from the teacher's spans",
}
Key = tuple[int, int, int]
"""N, the last pass, the seed: arms that are compared agree in these."""


def figures(folder: Path) -> str:
    """Write the tables of a folder of records as Markdown."""
    records = read_records(folder)
    trials = [r for r in records.values() if r["arm"].get("learning_rate")]
    labels = [r for r in records.values() if r["arm"]["kind"] == "labels"]
    parts = [
        f"F1 of the teacher on the dev questions: {record['dev']['f1']:.2f}"
        for record in records.values()
        if record["arm"]["kind"] == "teacher"
    ]
    parts += [_rate(trials)] if trials else []
    for key, arms in _groups(records):
        parts.append(f"### {key[0]} originals, {key[1]} passes, seed {key[2]}")
        for measure, title in MEASURES.items():
            parts.append(f"{title}:\n\n{_along(arms, measure)}")
        parts.append(_comparison(folder, arms))
    return "\n\n".join([*parts, *([_labels(folder, labels)] if labels else [])])


def draw(folder: Path) -> bytes:
    """Draw F1 and held-out loss over the passes, a row of pictures for every N and seed."""
    groups = list(_groups(read_records(folder)))
    with drawing("study", (9.0, 3.4 * len(groups))) as figure:
        panels = figure.subplots(len(groups), 2, squeeze=False)
        for (key, arms), row in zip(groups, panels, strict=True):
            for axes, measure in zip(row, ("f1", "held_out_loss"), strict=True):
                for name, record in arms.items():
                    points = record["points"]
                    axes.plot(
                        [point["passes"] for point in points],
                        [point[measure] for point in points],
                        marker="o",
                        label=name,
                    )
                axes.set(
                    title=f"{key[0]} originals, {key[1]} passes, seed {key[2]}",
                    xlabel="passes over the originals, or as many rows",
                    ylabel=MEASURES[measure],
                )
                axes.grid(alpha=0.3)
            row[0].legend(fontsize="small")
        return svg(figure)


def _groups(records: Mapping[str, Record]) -> Iterator[tuple[Key, dict[str, Record]]]:
    """Give the arms that are compared, each by its short name, the originals first.

    The ceiling, which is nearly all the data there is, stands in for that of another seed.
    """
    found: dict[Key, dict[str, Record]] = {}
    for record in records.values():
        if not record.get("after_stage_2"):
            continue  # a trial, or labels
        arm = record["arm"]
        key = (arm["num_originals"], arm["passes"][-1], arm["seed"])
        found.setdefault(key, {})[arm_title(arm)] = record
    for key in sorted(found):
        ceiling = found.get((key[0], key[1], 1), {}).get(CEILING)
        arms = {**found[key], **({CEILING: ceiling} if ceiling else {})}
        yield key, dict(sorted(arms.items(), key=lambda item: _order(item[1]["arm"])))


ORIGINALS, COPIES, CEILING = "originals", "20 copies", "ceiling"


def arm_title(arm: Mapping[str, Any]) -> str:
    """Name an arm by what sets it apart."""
    if arm["kind"] != "copies":
        return CEILING if arm["kind"] == "ceiling" else ORIGINALS
    knobs = {
        "replace_probability": (0.4, "replace probability {}"),
        "rows": ("augmented", "{}"),
        "words": ("content", "words {}"),
        "glove": ("fit", "masked LM alone"),
    }
    turned = [text.format(arm[n]) for n, (usual, text) in knobs.items() if arm[n] != usual]
    return ", ".join([COPIES, *turned])


def _order(arm: Mapping[str, Any]) -> tuple[int, str]:
    return ("originals", "copies", "ceiling").index(arm["kind"]), arm_title(arm)


def _rate(trials: Sequence[Record]) -> str:
    rows = [[f"{r['learning_rate']:g}", f"{r['points'][-1]['held_out_loss']:.3f}"] for r in trials]
    passes = trials[0]["arm"]["passes"][-1]
    return table(["learning rate", f"held-out loss of the originals, {passes} passes"], rows)


def _labels(folder: Path, records: Sequence[Record]) -> str:
    """Write what readers are worth that were taught by labels alone."""
    found = {record["arm"]["taught_by"]: record for record in records}
    by_rows = {n: found[n] for n in (ORIGINALS, "copies", "agreeing copies") if n in found}
    f1 = {name: read_rows(folder, record)["f1"][0] for name, record in by_rows.items()}
    lines = [
        [
            name,
            f"{record['training'][0]['windows']['rows']:,}",
            f"{record['dev']['f1']:.2f}",
            shown(lead(f1[ORIGINALS], f1[name]), scale=100)
            if ORIGINALS in f1 and name != ORIGINALS
            else "",
        ]
        for name, record in by_rows.items()
    ]
    first = records[0]["arm"]
    title = f"### Labels alone, {first['num_originals']} originals, {first['passes']} passes"
    heads = ["taught by", "rows", "F1 on the dev questions", "F1 over the originals"]
    return f"{title}\n\n{table(heads, lines)}"


def _along(arms: Mapping[str, Record], measure: str) -> str:
    first = next(iter(arms.values()))
    rows = [
        [str(point["passes"]), *(f"{r['points'][number][measure]:.2f}" for r in arms.values())]
        for number, point in enumerate(first["points"])
    ]
    last = [f"{r['after_stage_2'][measure]:.2f}" for r in arms.values()]
    return table(["passes", *arms], [*rows, ["after stage 2", *last]])


def _comparison(folder: Path, arms: Mapping[str, Record]) -> str:
    """Write leads over the originals and, with a ceiling, what copies are worth, at every point."""
    if ORIGINALS not in arms:
        return "No originals to compare with yet."
    rows = {name: read_rows(folder, record) for name, record in arms.items()}
    passes = [str(point["passes"]) for point in arms[ORIGINALS]["points"]]
    lines = []
    for place, point in enumerate([*passes, "after stage 2"]):
        for name in arms:
            if name == ORIGINALS:
                continue
            cells = [point, name]
            for measure in ("f1", "held_out_loss"):
                a, b = rows[ORIGINALS][measure][place], rows[name][measure][place]
                cells.append(shown(lead(a, b), scale=100 if measure == "f1" else 1))
                if CEILING in arms and name != CEILING:
                    cells.append(shown(worth(a, b, rows[CEILING][measure][place])))
                else:
                    cells.append("")
            lines.append(cells)
    heads = ["passes", "arm", "F1 over the originals", "worth", "loss over the originals", "worth"]
    return table(heads, lines)


def shown(estimate: Estimate | None, scale: float = 1.0) -> str:
    """Write a figure with its interval."""
    if estimate is None:
        return "undefined: the ceiling is not ahead"
    value, low, high = (scale * each for each in estimate)
    return f"{value:+.2f} ({low:+.2f} to {high:+.2f})"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
