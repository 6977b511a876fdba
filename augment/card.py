"""Write the data card of a set (README.md, as the hub shows it) from the set's manifest.

With --keep, write a fuller card into a folder of its own: pictures, examples, and the times of the
build. That folder holds no data, so that it can lie in a repository.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from augment.base.command import run
from augment.base.paragraphs import raise_faults
from augment.base.set_records import RUN
from augment.base.stored import checksum_faults, seal
from augment.cards.archive import archive_card
from augment.cards.data_card import card_facts, is_archive, write_card
from augment.cards.facts import Told
from augment.shards import (
    folder_faults,
)


@dataclass(frozen=True, kw_only=True)
class CardConfig:
    """Which set's card to write anew, and what to say in it; what a person wrote there stays."""

    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """A finished set, or a folder that --keep made before."""
    keep: Path | None = None
    """Write the fuller card, with the files that it is made from, into this folder."""
    mlm: str = "embedded"
    """With --keep: the masked LM that makes the examples."""
    glove: str = "embedded"
    """With --keep: the vectors that make the examples."""
    note: str = ""
    """With --keep: a sentence for the card on how the build's times were taken."""
    input: Told = field(default_factory=Told)
    """What is known of the data that the set was made from, if the card does not say it yet."""


def _main(config: CardConfig) -> None:
    told = config.input.facts()
    if is_archive(config.out):
        write_card(config.out, told)
        print(config.out / "README.md")
        return
    faults = folder_faults(config.out) + checksum_faults(config.out, RUN)
    others = [fault for fault in faults if not fault.startswith("README.md")]
    raise_faults(str(config.out), others, "build the set again, or copy it again")
    if config.keep is not None:
        archive_card(config.out, config.keep, config.mlm, config.glove, config.note)
        write_card(config.keep, {**card_facts(config.out), **told})
        print(config.keep / "README.md")
        return
    write_card(config.out, told)
    seal(config.out)
    print(config.out / "README.md")


if __name__ == "__main__":
    run(CardConfig, _main)
