"""What a build ends with: the manifest of the set, and a table."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from augment.base.set_records import Manifest, Plan, Receipt, RunRecord


def make_manifest(
    plan: Plan, input_counts: Mapping[str, int], receipts: Sequence[Receipt]
) -> Manifest:
    """Sum the receipts up: a function of the plan and the data alone."""
    counts: Counter[str] = Counter()
    for receipt in receipts:
        counts.update(receipt.counts)
    histograms = (receipt.copies_by_share_replaced for receipt in receipts)
    return Manifest(
        plan=replace(plan, shards=None),
        input_counts=input_counts,
        counts=dict(counts),
        copies_by_share_replaced=tuple(sum(bins) for bins in zip(*histograms, strict=True)),
        rows=sum(receipt.shard.rows for receipt in receipts),
        bytes=sum(receipt.shard.bytes for receipt in receipts),
        bytes_in_memory=sum(receipt.bytes_in_memory for receipt in receipts),
        shards=tuple(receipt.shard for receipt in receipts),
    )


def summary(manifest: Manifest, record: RunRecord) -> str:
    """Write the table that a build ends with."""
    counts, inputs, plan = manifest.counts, manifest.input_counts, manifest.plan
    words = max(1, counts["words"] * plan.copies_per_example)
    lines = [
        ("contexts", f"{inputs['paragraphs']:,}"),
        ("questions", f"{inputs['questions']:,}"),
        ("rows", f"{manifest.rows:,}"),
        ("shards", f"{len(manifest.shards)}, {manifest.bytes / 1e6:,.1f} MB"),
        ("words replaced by the masked LM", f"{counts['replaced_by_masked_lm'] / words:.1%}"),
        ("words replaced by GloVe", f"{counts['replaced_by_glove'] / words:.1%}"),
    ]
    shown = {"words", "replaced_by_masked_lm", "replaced_by_glove"}
    lines += [
        (name.replace("_", " "), f"{number:,}")
        for name, number in sorted(counts.items())
        if name not in shown and number
    ]
    usual = {"paragraphs", "questions", "distinct_contexts", "impossible_questions", "answers"}
    lines += [
        (name.replace("_", " "), f"{number:,}")
        for name, number in sorted(inputs.items())
        if name not in usual
    ]
    lines.append(("contexts through the model", f"{record.contexts_through_the_model:,}"))
    lines += [(f"seconds {name}", f"{value:,.1f}") for name, value in record.seconds.items()]
    lines.append(("peak memory of a process", f"{record.peak_memory_mib:,} MiB"))
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:<{width}}  {value:>14}" for name, value in lines)
