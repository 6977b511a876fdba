"""What others published about the systems that the recipes follow: a file beside each recipe.

Nothing of it was measured by this project.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

from augment.base.toml_files import fill, read_toml
from distill.recipes import BUNDLED, recipe_names


@dataclass(frozen=True, kw_only=True)
class Figure:
    """Scores of one system, by the official scorer's names and as published: who says so."""

    system: str
    scores: Mapping[str, float]
    protocol: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Fact:
    """Another statement about a system, with its number, and who says so."""

    text: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Published:
    """What is known of the system that a recipe follows, and what its card needs besides."""

    about: str
    """What the student is, in a sentence."""
    metric: Literal["squad_v2", "squad_v1"]
    train_file: str
    citations: tuple[str, ...]
    """Keys of `augment/cards/citations.bib`."""
    figures: tuple[Figure, ...] = ()
    facts: tuple[Fact, ...] = ()
    datasets: tuple[str, ...] = ()
    """Hub ids of what the recipe trains on."""
    measured_systems: tuple[str, ...] = ()
    """Hub ids whose figures a person with the weights would measure again."""
    texts: tuple[str, ...] = ()
    """Plain text that its stages need, as `distill.train --text` takes it."""
    notes: tuple[str, ...] = ()
    """What a reader should know before comparing."""


@cache
def published(recipe: str) -> Published:
    """Read what was published of the system that a bundled recipe follows.

    Raises:
        ValueError: no such recipe, or a fault in its file.
    """
    if recipe not in recipe_names():
        raise ValueError(f"no recipe {recipe!r} with a card; there are {', '.join(recipe_names())}")
    path = BUNDLED / "published" / f"{recipe}.toml"
    return fill(Published, read_toml(path), f"{path}: ")
