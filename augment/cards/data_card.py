"""A set's data card, from its manifest: YAML head and text as the hub reads them."""

import json
from pathlib import Path
from typing import Any

from augment.base.commit import write_atomic
from augment.cards.head import hub_words
from augment.cards.plots import word_shares
from augment.cards.template import one_line, render
from augment.shards import ANSWERS, SCHEMA, read_manifest

RUN, EXAMPLES, PICTURE = "run.json", "examples.json", "words.svg"


def write_card(folder: Path) -> None:
    """Write `README.md` from the manifest, and from what `augment.cards.archive` left beside it."""
    examples = run = None
    if (folder / EXAMPLES).is_file():
        examples, run = (json.loads((folder / name).read_bytes()) for name in (EXAMPLES, RUN))
    write_atomic(folder / "README.md", card_text(read_manifest(folder), examples=examples, run=run))


def card_text(
    manifest: dict[str, Any],
    data_files: str = "data/train-*.arrow",
    examples: dict[str, Any] | None = None,
    run: dict[str, Any] | None = None,
) -> str:
    """Fill the card from a manifest.

    Args:
        manifest: of a finished set.
        data_files: where the shards are, relative to the card.
        examples, run: what `augment.cards.archive` copied of the set besides.
    """
    from huggingface_hub import DatasetCardData

    plan, rows = manifest["plan"], manifest["rows"]
    name = one_line(plan["input"]["name"])
    sizes = hub_words()["size_categories"]
    impossible = bool(manifest["input_counts"]["impossible_questions"])
    head = DatasetCardData(
        language=["en"],
        license="cc-by-sa-4.0",
        annotations_creators=["crowdsourced"],
        language_creators=["found", "machine-generated"],
        multilinguality=["monolingual"],
        size_categories=[sizes[min(max(len(str(rows)) - 3, 0), len(sizes) - 1)]],
        source_datasets=["extended|squad_v2" if impossible else "extended|squad"],
        task_categories=["question-answering"],
        task_ids=["extractive-qa"],
        pretty_name=f"{name}, {plan['copies_per_example']}x word replacement",
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
    return render(
        Path(__file__).with_name("data_card.md.jinja"),
        head,
        manifest=manifest,
        plan=plan,
        examples=examples,
        run=run,
        shares=word_shares(manifest),
        picture=PICTURE,
        squad="rajpurkar-etal-2018-know" if impossible else "rajpurkar-etal-2016-squad",
    )


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
