"""What the card of an input says of it: its language, licence, sources and annotators."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

KEYS = (
    "pretty_name",
    "language",
    "license",
    "source_datasets",
    "annotations_creators",
    "language_creators",
)
"""The fields of a data card's head that a set made from it inherits."""


def folder_card(folder: Path) -> dict[str, Any]:
    """Read the head of a folder's README.md; empty if it has none.

    Raises:
        ValueError: the head is not YAML.
    """
    path = folder / "README.md"
    return _head(path) if path.is_file() else {}


def hub_card(name: str) -> dict[str, Any]:
    """Read the head of a hub data set's card; empty if the hub does not give it."""
    from huggingface_hub import hf_hub_download

    try:
        return _head(Path(hf_hub_download(name, "README.md", repo_type="dataset")))
    except (OSError, ValueError):  # the rows are there; what is not known is left out of our card
        return {}


def _head(path: Path) -> dict[str, Any]:
    from huggingface_hub import metadata_load

    try:
        head: Mapping[str, Any] = metadata_load(path) or {}
    except Exception as error:
        raise ValueError(f"{path}: its head is not YAML: {error}; mend or delete it") from error
    return {key: head[key] for key in KEYS if head.get(key)}
