"""Measure on how many copies a reader still gives the answer that was carried over.

Replacing words never changes the letters of an answer, but it can destroy what made it the answer.
The tables show the reader's scores by copy and by the share of words that were replaced, beside its
scores on the originals. With --write these answers become columns of the set, to filter it by.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from augment.base.command import UsageError, run, to_json, versions
from augment.base.models import Device, model_sha256, shown_name
from augment.browsing.alignment import share_replaced
from eval.reading.protocol import Protocol
from eval.reading.reader import Dtype, Reader, find_reader
from eval.scoring.submission import signature, write_whole
from eval.squad_v1 import percent
from eval.squad_v2 import question_scores

SHARE_STEP = 10
"""Rows are grouped by the share of words replaced in steps of so many percent."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Ask the reader MODEL the questions of the augmented set SET."""

    augmented: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SET")]
    """A folder made by `augment.build`."""
    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")]
    """A reader: hub id, folder of a checkpoint with a span head, or `embedded`."""
    sample: int = 500
    """Number of questions, spread evenly over the set; each is asked on all its copies.
    With --write all are asked."""
    protocol: Literal["run_qa", "farm"] = "run_qa"
    """How answers are chosen; see `python -m eval.predict --help`."""
    batch_size: int = 32
    """Windows in a batch."""
    device: Device = "auto"
    """Where the reader runs."""
    dtype: Dtype = "float32"
    """Number type of the reader."""
    allow_bin: bool = False
    """Also load pytorch_model.bin if a checkpoint has no safetensors."""
    write: Path | None = None
    """Also write the set into this folder with two more columns: reader_answer, reader_f1 (0 to 1).
    `distill.finetune --min-agreement` takes it."""
    out_file: Path | None = None
    """Also write the figures into this JSON file."""

    def __post_init__(self) -> None:
        for name in ("sample", "batch_size"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} {getattr(self, name)}: must be at least 1")


@dataclass(frozen=True)
class JudgedRow:
    """An augmented row with what the reader made of it."""

    source_id: str
    copy_index: int
    share_replaced: float
    """Share of the context's words that differ from the original's, 0 to 1."""
    exact: int
    f1: float
    answer: str


@dataclass(frozen=True)
class Group:
    """Scores of some rows, in percent."""

    name: str
    rows: int
    exact: float
    f1: float
    kept: float | None
    """Exact match on those rows whose original the reader answers as labelled."""


def agreement(config: Agreement) -> dict[str, Any]:
    """Ask, judge, print the tables and give the figures.

    Raises:
        ValueError: a set whose copies do not belong to its originals.
    """
    from augment.base.set_records import Judge, read_manifest
    from augment.shards import manifest_sha256, read_rows
    from eval.scoring.judged_set import check_free, write_judged

    config = replace(config, model=find_reader(config.model))
    if config.write is not None:
        check_free(config.write)
    manifest = read_manifest(config.augmented)
    may_be_null = bool(manifest.input_counts["impossible_questions"])
    protocol = Protocol(name=config.protocol)
    reader = Reader.load(
        config.model,
        protocol=protocol,
        batch_size=config.batch_size,
        device=config.device,
        dtype=config.dtype,
        allow_bin=config.allow_bin,
    )
    judged: list[JudgedRow] = []

    def ask(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, float]]:
        found = judge(rows, reader, may_be_null=may_be_null)
        judged.extend(found)
        return [(row.answer, row.f1) for row in found]

    if config.write is None:
        ask(pick_rows(lambda: read_rows(config.augmented), config.sample))
    else:
        asked = Judge(
            model=shown_name(config.model),
            model_sha256=model_sha256(config.model),
            protocol=f"{protocol.signature()},dtype={config.dtype}",
            set_sha256=manifest_sha256(config.augmented),
        )
        write_judged(config.augmented, config.write, asked, ask)
    copies, shares = by_copy(judged), by_share(judged)
    print(table("copy", copies), table("words replaced", shares), sep="\n\n")
    figures = {
        "by_copy": [asdict(group) for group in copies],
        "by_share_replaced": [asdict(group) for group in shares],
        "signature": signature(
            metric="agreement",
            protocol=f"{protocol.signature()},dtype={config.dtype}",
            n=len(judged),
            data=manifest_sha256(config.augmented)[:12],
        ),
    }
    if config.out_file is not None:
        record = {**figures, "configuration": _configuration(config, protocol)}
        write_whole(config.out_file, to_json({**record, "versions": versions()}))
    return figures


def _configuration(config: Agreement, protocol: Protocol) -> dict[str, Any]:
    """Everything that the figures depend on, without this machine's folders."""
    from augment.shards import manifest_sha256

    return {
        "augmented": shown_name(config.augmented),
        "augmented_sha256": manifest_sha256(config.augmented),
        "model": shown_name(config.model),
        "model_sha256": model_sha256(config.model),
        "sample": config.sample if config.write is None else None,
        "protocol": asdict(protocol),
        "dtype": config.dtype,
        "device": config.device,
        "batch_size": config.batch_size,
        "allow_bin": config.allow_bin,
    }


def pick_rows(
    read: Callable[[], Iterable[Mapping[str, Any]]], sample: int
) -> list[Mapping[str, Any]]:
    """Take the rows, original and copies, of `sample` questions spread evenly over the set."""
    sources = [row["source_id"] for row in read() if row["copy_index"] == 0]
    number = min(sample, len(sources))
    chosen = {sources[index * len(sources) // number] for index in range(number)}
    return [row for row in read() if row["source_id"] in chosen]


def judge(
    rows: Sequence[Mapping[str, Any]], reader: Reader, *, may_be_null: bool
) -> list[JudgedRow]:
    """Ask the reader every row and score its answer against the row's label."""
    originals = {row["source_id"]: row["context"] for row in rows if row["copy_index"] == 0}
    missing = {row["source_id"] for row in rows} - originals.keys()
    if missing:
        raise ValueError(f"question {min(missing)}: copies without their original")
    answers = reader.read(
        [row["question"] for row in rows],
        [row["context"] for row in rows],
        may_be_null=may_be_null,
        progress=True,
    )
    judged = []
    for row, answer in zip(rows, answers, strict=True):
        exact, f1 = question_scores(answer.text, tuple(row["answers"]["text"]))
        share = share_replaced(originals[row["source_id"]], row["context"], f"row {row['id']}")
        judged.append(JudgedRow(row["source_id"], row["copy_index"], share, exact, f1, answer.text))
    return judged


def by_copy(rows: Sequence[JudgedRow]) -> list[Group]:
    """Summarise the originals, all copies together, and each copy."""
    copies = sorted({row.copy_index for row in rows} - {0})
    groups = {"original": [row for row in rows if row.copy_index == 0]}
    groups["all copies"] = [row for row in rows if row.copy_index > 0]
    groups |= {str(copy): [row for row in rows if row.copy_index == copy] for copy in copies}
    return _summarize(groups, rows)


def by_share(rows: Sequence[JudgedRow]) -> list[Group]:
    """Summarise the copies by the share of their words that was replaced."""
    groups: dict[str, list[JudgedRow]] = {"none": []}
    for high in range(SHARE_STEP, 101, SHARE_STEP):
        groups[f"over {high - SHARE_STEP} to {high} %"] = []
    names = list(groups)
    for row in rows:
        if row.copy_index > 0:
            groups[names[math.ceil(100 * row.share_replaced / SHARE_STEP)]].append(row)
    return _summarize(groups, rows)


def _summarize(groups: Mapping[str, Sequence[JudgedRow]], rows: Sequence[JudgedRow]) -> list[Group]:
    """Score each group that has rows, and in it those whose original was answered right."""
    right = {row.source_id for row in rows if row.copy_index == 0 and row.exact}
    found = []
    for name, members in groups.items():
        if members:
            kept = [row.exact for row in members if row.source_id in right]
            exact, f1 = percent([row.exact for row in members]), percent([r.f1 for r in members])
            found.append(Group(name, len(members), exact, f1, percent(kept) if kept else None))
    return found


def table(first: str, groups: Sequence[Group]) -> str:
    """Write groups as a Markdown table."""
    lines = [f"| {first} | rows | exact | f1 | exact where the original is right |"]
    lines.append("|---|---|---|---|---|")
    for group in groups:
        kept = "-" if group.kept is None else f"{group.kept:.1f}"
        lines.append(
            f"| {group.name} | {group.rows} | {group.exact:.1f} | {group.f1:.1f} | {kept} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run the command line."""
    run(Agreement, agreement)


if __name__ == "__main__":
    main()
