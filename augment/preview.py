"""Show variants of a text, or of a file's first paragraphs, before building anything.

Replaced words are shown as [new|old]. Answers are underlined on a terminal, and elsewhere put
between < and >.
"""

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from augment.base.command import run
from augment.base.paragraphs import Answer
from augment.remote.storage_options import AS_CONFIGURED, StorageOptions
from augment.squad import TRAIN_PART, OnBadAnswer, Part, read_squad
from augment.variants.marks import mark
from augment.variants.masking import MaskingRule
from augment.variants.words import ENGLISH, WordRule


@dataclass(frozen=True, kw_only=True)
class PreviewConfig:
    """What to show variants of, and how they are made."""

    train: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="TRAIN")] = None
    """A file or data set as `augment.build` takes it; leave it out with --text."""
    text: str | None = None
    """Show variants of this text instead of a file's paragraphs."""
    paragraphs: int = 3
    """Number of paragraphs of TRAIN to show."""
    copies: int = 2
    """Number of variants of each."""
    mlm: str = "google-bert/bert-base-uncased"
    """Masked LM for words that are one wordpiece: a hub id, a folder, `embedded`, or `none`."""
    glove: str = "embedded"
    """Vectors for all other words: `embedded`, `none`, or a file in Stanford's format."""
    masking: MaskingRule = "spread"
    """Mask one word at a time, or several far apart; see `python -m augment.build --help`."""
    words: WordRule = "content"
    """Words that may be replaced; see `python -m augment.build --help`."""
    num_candidates: int = 15
    """Candidates that a replacement is drawn from."""
    replace_probability: float = 0.4
    """Chance that a word is replaced."""
    seed: int = 0
    """Seed of every random draw."""
    keep_words: Path | None = None
    """A file of words and phrases that are never replaced, one a line."""
    language: str = ENGLISH
    """Language of the text, as in augment.build."""
    part: tyro.conf.OmitArgPrefixes[Part] = TRAIN_PART
    """Part of TRAIN to read."""
    on_bad_answer: OnBadAnswer = "fail"
    """What to do with an answer that does not stand at its answer_start, as in augment.build."""
    storage: tyro.conf.OmitArgPrefixes[StorageOptions] = AS_CONFIGURED
    """How stores are reached that URLs lead to."""

    def __post_init__(self) -> None:
        if (self.train is None) == (self.text is None):
            raise ValueError("pass either a file or --text")
        if not 0 <= self.replace_probability <= 1:
            raise ValueError(f"--replace-probability {self.replace_probability}: must be 0 to 1")
        for name in ("paragraphs", "copies", "num_candidates"):
            if getattr(self, name) < 1:
                flag = f"--{name.replace('_', '-')} {getattr(self, name)}"
                raise ValueError(f"{flag}: must be 1 or more")
        if self.glove == "fit":
            raise ValueError("--glove fit: a preview fits nothing; pass a file, embedded or none")


def preview(config: PreviewConfig) -> str:
    """Make the text that the command shows."""
    from augment.augmenter import Augmenter
    from augment.building.sources import read_keep_words

    shown: list[tuple[str, list[Answer]]]
    if config.train is None:
        shown = [(config.text or "", [])]
    else:
        squad = read_squad(config.train, **asdict(config.part), on_bad_answer=config.on_bad_answer)
        found = squad.paragraphs[: config.paragraphs]
        shown = [(p.context, [a for q in p.questions for a in q.answers]) for p in found]
    augmenter = Augmenter.load(
        config.mlm,
        config.glove,
        num_candidates=config.num_candidates,
        masking=config.masking,
        words=config.words,
        language=config.language,
    )
    blocks, underline = [], sys.stdout.isatty()
    for context, answers in shown:
        variants = augmenter.augment(
            context,
            answers,
            copies=config.copies,
            replace_probability=config.replace_probability,
            seed=config.seed,
            keep_words=read_keep_words(config.keep_words),
        )
        blocks.append(mark(context, answers, (), underline=underline))
        for number, copy in enumerate(variants, 1):
            marked = mark(copy.text, copy.answers, copy.replaced, underline=underline)
            blocks.append(f"{number}. {marked}")
    return "\n\n".join(blocks)


def _main(config: PreviewConfig) -> None:
    print(preview(config))


if __name__ == "__main__":
    run(PreviewConfig, _main)
