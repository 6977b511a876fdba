"""Write the model card of a student from the record of its training.

Every figure on it was measured. With --recipe, write the card of a recipe instead: what was
published, beside the measurements in OUT.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from augment.base.command import run
from augment.base.commit import write_atomic
from augment.cards.handwork import write_signed
from distill.cards.model_card import write_card


@dataclass(frozen=True, kw_only=True)
class CardConfig:
    """Which card to write anew."""

    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """A finished student; with --recipe, a folder of measurements."""
    recipe: str | None = None
    """Write the card of this recipe, from what was published and what is in OUT."""


def _main(config: CardConfig) -> None:
    if config.recipe is None:
        write_card(config.out)
    else:
        from distill.cards.recipe_card import pictures, read_arms, recipe_card

        text = recipe_card(config.recipe, config.out)
        config.out.mkdir(parents=True, exist_ok=True)
        write_signed(config.out / "README.md", text)
        for name, drawn in pictures(read_arms(config.out)).items():
            write_atomic(config.out / name, drawn)
    print(config.out / "README.md")


if __name__ == "__main__":
    run(CardConfig, _main)
