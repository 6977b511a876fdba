"""The text of a data card, from a set's manifest: YAML head and body as the hub reads them."""

import json
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

from augment.base.commit import write_atomic
from augment.cards.head import SIZES, head_text
from augment.cards.plots import word_shares
from augment.shards import ANSWERS, SCHEMA, read_manifest

RUN, EXAMPLES, PICTURE = "run.json", "examples.json", "words.svg"

SQUAD_1 = """@inproceedings{rajpurkar-etal-2016-squad,
  title = {SQuAD: 100,000+ Questions for Machine Comprehension of Text},
  author = {Rajpurkar, Pranav and Zhang, Jian and Lopyrev, Konstantin and Liang, Percy},
  booktitle = {Proceedings of EMNLP}, year = {2016}
}"""

SQUAD_2 = """@inproceedings{rajpurkar-etal-2018-know,
  title = {Know What You Don't Know: Unanswerable Questions for SQuAD},
  author = {Rajpurkar, Pranav and Jia, Robin and Liang, Percy},
  booktitle = {Proceedings of ACL}, year = {2018}
}"""


def examples_section(examples: dict[str, Any]) -> str:
    """Show the examples, wrapped."""
    shown = "\n\n".join(
        fill(text, 96, break_long_words=False, break_on_hyphens=False) for text in examples["texts"]
    )
    said = fill(
        "One copy of each of three paragraphs of the sample that ships with the program (not of "
        f"SQuAD), made with this set's settings by the masked LM `{examples['mlm']}` and the "
        f"vectors `{examples['glove']}`. `[new|old]` is a replaced word, `<...>` an answer:",
        100,
    )
    return f"## Examples\n\n{said}\n\n```\n{shown}\n```\n"


def picture_section(manifest: dict[str, Any]) -> str:
    """Show the picture, and in words what is in it."""
    shares = word_shares(manifest)
    words = "; ".join(f"{share:.1%} {name}" for name, share in shares.items())
    bins = manifest["copies_by_share_replaced"]
    total, width = max(1, sum(bins)), 100 // len(bins)
    parts = [
        f"{number / total:.1%} of the copies differ in {n * width} to {(n + 1) * width} % of "
        "their words"
        for n, number in enumerate(bins)
        if number / total >= 0.05
    ]
    return f"""## How far copies differ

![Share of words replaced, by source, and copies by share of their words replaced]({PICTURE})

{fill(f"Of the words of all copies: {words}.", 100)}

{fill("; ".join(parts), 100)}.
"""


def run_section(record: dict[str, Any]) -> str:
    """Say on what, how long and with which versions the set was built."""
    seconds, workers = record["seconds"], record["num_workers"]
    parts = ", ".join(f"{name} {value:,.0f} s" for name, value in seconds.items())
    versions = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    text = (
        f"{sum(seconds.values()):,.0f} s on {record['processor']}, "
        f"{workers} worker{'s' if workers > 1 else ''} ({parts}). "
        f"{record['contexts_through_the_model']:,} contexts went through the masked LM; the "
        "candidates of the others were stored. "
        f"At most {record['peak_memory_mib']:,} MiB in a process. {record['note']} With {versions}."
    )
    return f"## Hardware and time\n\n{fill(text, 100)}\n"


def write_card(folder: Path) -> None:
    """Write `README.md` beside a manifest, from that and what `augment.cards.kept` left there."""
    manifest = read_manifest(folder)
    sections = []
    if (folder / EXAMPLES).is_file():
        sections.append(examples_section(json.loads((folder / EXAMPLES).read_bytes())))
        sections.append(picture_section(manifest))
        sections.append(run_section(json.loads((folder / RUN).read_bytes())))
    write_atomic(folder / "README.md", card_text(manifest, sections=sections))


def card_text(
    manifest: dict[str, Any],
    data_files: str = "data/train-*.arrow",
    sections: Sequence[str] = (),
) -> str:
    """Fill the card from a manifest.

    Args:
        manifest: of a finished set.
        data_files: where the shards are, relative to the card.
        sections: put before the known limits.
    """
    from huggingface_hub import DatasetCardData

    plan, rows = manifest["plan"], manifest["rows"]
    size = SIZES[min(max(len(str(rows)) - 3, 0), len(SIZES) - 1)]
    head = DatasetCardData(
        language=["en"],
        license="cc-by-sa-4.0",
        annotations_creators=["crowdsourced"],
        language_creators=["found", "machine-generated"],
        multilinguality=["monolingual"],
        size_categories=[size],
        source_datasets=["extended|squad_v2" if _has_impossible(manifest) else "extended|squad"],
        task_categories=["question-answering"],
        task_ids=["extractive-qa"],
        pretty_name=f"{plan['input']['name']}, {plan['copies_per_example']}x word replacement",
        tags=["data-augmentation", "word-replacement", "tinybert", "twentyfold"],
        configs=[
            {"config_name": "default", "data_files": [{"split": "train", "path": data_files}]}
        ],
        dataset_info={
            "features": _features(),
            "splits": [
                {"name": "train", "num_bytes": manifest["bytes_in_memory"], "num_examples": rows}
            ],
            "download_size": manifest["bytes"],
            "dataset_size": manifest["bytes_in_memory"],
        },
    )
    return head_text(head) + _body(manifest, sections)


def _questions(manifest: dict[str, Any]) -> str:
    number, limit = (
        manifest["input_counts"]["questions"],
        manifest["plan"]["input"]["limit_contexts"],
    )
    return f"the {number:,} questions" + (f" of the first {limit:,} paragraphs" if limit else "")


def _has_impossible(manifest: dict[str, Any]) -> bool:
    return bool(manifest["input_counts"]["impossible_questions"])


def _features() -> list[dict[str, Any]]:
    """Describe the columns as `dataset_info` does."""
    features: list[dict[str, Any]] = []
    for field in SCHEMA:
        if field.type == ANSWERS:
            parts = [{"name": "text", "list": "string"}, {"name": "answer_start", "list": "int32"}]
            features.append({"name": field.name, "struct": parts})
        else:
            features.append({"name": field.name, "dtype": str(field.type)})
    return features


def _body(manifest: dict[str, Any], sections: Sequence[str]) -> str:
    plan, counts, inputs = manifest["plan"], manifest["counts"], manifest["input_counts"]
    copies = plan["copies_per_example"]
    words = max(1, counts["words"] * copies)
    model, vectors = plan["masked_lm"], plan["glove"]
    made_with = []
    if model:
        made_with.append(
            f"- Words of one wordpiece: the {plan['num_candidates']} most likely words of the "
            f"masked LM `{model['name']}` (SHA-256 `{model['sha256'][:16]}`, "
            f"masking `{model['masking']}`, {model['dtype']} on {model['device_class']}); "
            f"{counts['replaced_by_masked_lm'] / words:.1%} of all words were replaced this way."
        )
    if vectors:
        made_with.append(
            f"- Other words: the {plan['num_candidates']} nearest neighbours in the vectors "
            f"`{vectors['name']}` (SHA-256 `{vectors['sha256'][:16]}`); "
            f"{counts['replaced_by_glove'] / words:.1%} of all words."
        )
    rows = "\n".join(
        f"| {name.replace('_', ' ')} | {number:,} |"
        for name, number in sorted({**inputs, **counts}.items())
    )
    return f"""# {plan["input"]["name"]}, {copies}x augmented by word replacement

{manifest["rows"]:,} rows: {_questions(manifest)} of `{plan["input"]["name"]}`
(SHA-256 `{plan["input"]["sha256"][:16]}`), each once as it was and {copies} times over a context in
which words were replaced. Questions and answers are unchanged, and every answer stands letter for
letter at its `answer_start`, in every copy.

## What it is for

Distilling extractive question-answering models, TinyBERT's way: a teacher reads the varied
contexts, a student learns what the teacher computes. It can also train with its labels.

It is **not** a source of facts. Replacing words changes what a text says: dates, names and numbers
of a copy are not true of the world, and a copy of an answerable question may no longer contain
its answer, or an impossible one may have become answerable.

## How it was made

Each word that is allowed to change is replaced with probability {plan["replace_probability"]} by a
word drawn uniformly from its candidates (seed {plan["seed"]}; word rule `{plan["words"]}`;
{len(plan["keep_words"])} words kept by a list; wrong answers in the input: \
`{plan["input"]["on_bad_answer"]}`):

{chr(10).join(made_with)}

Words that share a character with an answer are never replaced. Everything else is spliced, not
re-joined: case, accents, spaces and line breaks are the original's.

| counted | number |
|---|---|
{rows}

## Columns

`id` (the SQuAD id; `<id>#07` for copy 7), `title`, `context`, `question`, `answers` (`text`,
`answer_start` in characters), `is_impossible`, `source_id`, `copy_index` (0 is the original).

{"".join(section + chr(10) for section in sections)}## Known limits

- Facts change with words: the contexts of copies are not true statements.
- The masked LM's and the vectors' biases are in the replacements.
- Answers are never touched, so a reader may learn that what does not look replaced is the answer.
- Labels are carried over; `python -m eval.agreement` measures on how many rows a reader agrees.
- The text is English Wikipedia's, the questions are crowd workers' who saw the paragraph.

## Licence and sources

SQuAD is by Rajpurkar et al. (2016, 2018), on text of English Wikipedia, CC BY-SA 4.0; a set made
from it is under the same licence. If the input was another text, its own licence holds: change
this section and the head. The method is from TinyBERT (Jiao et al. 2020).

```bibtex
{SQUAD_2 if _has_impossible(manifest) else SQUAD_1}
@inproceedings{{jiao-etal-2020-tinybert,
  title = {{TinyBERT: Distilling BERT for Natural Language Understanding}},
  author = {{Jiao, Xiaoqi and Yin, Yichun and Shang, Lifeng and Jiang, Xin and Chen, Xiao and
            Li, Linlin and Wang, Fang and Liu, Qun}},
  booktitle = {{Findings of EMNLP}}, year = {{2020}}
}}
```
"""
