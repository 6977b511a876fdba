"""What is known of the texts that a set or a reader is made from: a card says that, no more."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from augment.base.toml_files import fill, read_toml
from augment.cards.head import hub_words

FIELDS = (
    "language",
    "license",
    "source_datasets",
    "annotations_creators",
    "language_creators",
)
"""Fields of a card's head that are inherited from the input's."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """What somebody says of the input; a card says of the rest that it is not known."""

    language: tuple[str, ...] = ()
    """Languages of the texts, as codes of two letters."""
    license: str | None = None
    """Licence of the texts, as the hub writes it: cc-by-4.0, mit, other."""
    source: tuple[str, ...] = ()
    """Where the texts are from: ids of data sets on the hub."""
    annotators: tuple[str, ...] = ()
    """Who asked and answered: crowdsourced, expert-generated, machine-generated, found, other."""

    def __post_init__(self) -> None:
        known = hub_words()
        for key, words in self.facts().items():
            for word in [words] if isinstance(words, str) else words:
                if word not in known.get(key, [word]):
                    raise ValueError(f"{word!r}: not one of the hub's words for {key}")

    def facts(self) -> dict[str, Any]:
        """Give the fields of a head."""
        told: dict[str, Any] = {
            "language": list(self.language),
            "license": self.license,
            "source_datasets": list(self.source),
            "annotations_creators": list(self.annotators),
        }
        return {key: words for key, words in told.items() if words}


@dataclass(frozen=True, kw_only=True)
class KnownSource:
    """An input that is recognised."""

    ids: tuple[str, ...]
    sha256: tuple[str, ...]
    said: str
    limit: str
    facts: Mapping[str, Any]
    citation: str = ""


@cache
def _known_sources() -> tuple[KnownSource, ...]:
    path = Path(__file__).with_name("known_sources.toml")
    tables = read_toml(path)["sources"]
    return tuple(
        fill(KnownSource, table, f"{path}: sources.{n}.") for n, table in enumerate(tables)
    )


def known_source(name: str, sha256: str) -> KnownSource | None:
    """Recognise an input by its hub id or its file's hash."""
    return next((s for s in _known_sources() if name in s.ids or sha256 in s.sha256), None)


def citations(facts: Mapping[str, Any]) -> list[str]:
    """Give the keys of what is to be cited for the texts, as far as their source is known."""
    sources = facts.get("source_datasets", [])
    return [
        s.citation for s in _known_sources() if s.citation and s.facts["source_datasets"] == sources
    ]


def inherited(card: Mapping[str, Any]) -> dict[str, Any]:
    """Take from the head of an input's card what a head of ours may hold."""
    known = hub_words()
    found: dict[str, Any] = {}
    for key in FIELDS:
        given = card.get(key) or []
        words = [str(word) for word in (given if isinstance(given, list) else [given])]
        if key == "language":
            words = [word.partition("-")[0] for word in words]
        kept = [word for word in words if word in known.get(key, words) and word != "original"]
        if key != "license":
            found[key] = list(dict.fromkeys(kept))
        elif words:
            found[key] = kept[0] if kept else "other"
    return {key: value for key, value in found.items() if value}
