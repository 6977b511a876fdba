"""A set's data card, from its manifest: YAML head and text as the hub reads them."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from augment.base.command import UsageError
from augment.base.commit import write_atomic
from augment.base.set_records import RUN, Manifest, read_manifest
from augment.cards.facts import citations, inherited, known_source
from augment.cards.handwork import card_head, write_signed
from augment.cards.head import REPOSITORY, hub_words
from augment.cards.plots import draw_set, word_shares
from augment.cards.template import one_line, render
from augment.shards import ANSWERS, data_files, schema_of

TINYBERT = "jiao-etal-2020-tinybert"
EXAMPLES, PICTURE = "examples.json", "words.svg"


def write_card(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write `README.md` beside a manifest; what somebody wrote into the one that is there stays.

    Args:
        folder: of a finished set, or what `augment.cards.archive` left of one.
        facts: what is known of the input, besides what the card that is there says.
    """
    path = folder / "README.md"
    facts = {**card_facts(folder), **facts}
    manifest = read_manifest(folder)
    given: dict[str, Any] = {"picture": _draw(folder / PICTURE, manifest)}
    if (folder / EXAMPLES).is_file():
        given["examples"] = json.loads((folder / EXAMPLES).read_bytes())
    if is_archive(folder):
        given["run"] = json.loads((folder / RUN).read_bytes())
    write_signed(path, card_text(manifest, facts, **given))


def is_archive(folder: Path) -> bool:
    """Tell what `augment.cards.archive` copied of a set from a set."""
    return (folder / EXAMPLES).is_file() and not (folder / "data").is_dir()


def _draw(path: Path, manifest: Manifest) -> str | None:
    """Draw a set's picture if it is not there; give its name, or None without matplotlib."""
    if not path.is_file():
        try:
            write_atomic(path, draw_set(manifest))
        except UsageError as error:
            print(f"{path.parent}: the card goes without its picture: {error}", file=sys.stderr)
            return None
    return path.name


def card_facts(folder: Path) -> dict[str, Any]:
    """Give what the card of a folder says of the texts in it."""
    path = folder / "README.md"
    return inherited(card_head(path)) if path.is_file() else {}


def card_text(
    manifest: Manifest,
    facts: Mapping[str, Any],
    suffix: str = ".arrow",
    examples: dict[str, Any] | None = None,
    run: dict[str, Any] | None = None,
    picture: str | None = None,
) -> str:
    """Fill the card from a manifest.

    Args:
        manifest: of a finished set.
        facts: what is known of the input, as fields of a head; a known source needs none.
        suffix: of the shards' files.
        examples: copies to look at.
        run: how it was built, for an archived card.
        picture: the file's name beside the card.
    """
    from huggingface_hub import DatasetCardData

    plan, rows = manifest.plan, manifest.rows
    name = one_line(plan.input.name)
    sizes = hub_words()["size_categories"]
    known = known_source(plan.input.name, plan.input.sha256)
    named = [plan.input.name] if REPOSITORY.fullmatch(plan.input.name) else []
    facts = {"source_datasets": named, **facts, **(known.facts if known else {})}
    facts = {key: value for key, value in facts.items() if value}
    head = DatasetCardData(
        language=facts.get("language"),
        license=facts.get("license"),
        annotations_creators=facts.get("annotations_creators"),
        language_creators=list(
            dict.fromkeys([*facts.get("language_creators", ()), "machine-generated"])
        ),
        multilinguality=facts.get("language")
        and ["multilingual" if len(facts["language"]) > 1 else "monolingual"],
        size_categories=[sizes[min(max(len(str(rows)) - 3, 0), len(sizes) - 1)]],
        source_datasets=facts.get("source_datasets"),
        task_categories=["question-answering"],
        task_ids=["extractive-qa"],
        pretty_name=f"{name}, {plan.copies_per_example}x word replacement",
        tags=["data-augmentation", "word-replacement", "tinybert", "twentyfold"],
        configs=[
            {
                "config_name": "default",
                "data_files": [{"split": "train", "path": data_files(manifest, suffix)}],
            }
        ],
        dataset_info={
            "features": _features(manifest),
            "splits": [
                {"name": "train", "num_bytes": manifest.bytes_in_memory, "num_examples": rows}
            ],
            "download_size": manifest.bytes,
            "dataset_size": manifest.bytes_in_memory,
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
        picture=picture,
        facts=facts,
        known=known,
        citations=[*citations(facts), TINYBERT],
    )


def _features(manifest: Manifest) -> list[dict[str, Any]]:
    """Describe the columns as `dataset_info` does."""
    features: list[dict[str, Any]] = []
    for field in schema_of(manifest):
        if field.type == ANSWERS:
            parts = [{"name": "text", "list": "string"}, {"name": "answer_start", "list": "int32"}]
            features.append({"name": field.name, "struct": parts})
        else:
            features.append({"name": field.name, "dtype": str(field.type)})
    return features
