"""Fit GloVe vectors to the contexts of a SQuAD file, a built set or a hub data set.

Writes Stanford's text format (a word and its numbers on each line, most frequent words first),
compressed when OUT ends in .gz. Pass the file to `augment.build` with --glove.
"""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from augment.base.command import UsageError, run, to_json, versions
from augment.base.commit import write_atomic
from augment.base.records import differences, read_record
from augment.fitting.glove_fit import DEFAULT_FIT, fit_vectors, write_vectors
from augment.fitting.glove_model import GloveFit
from augment.remote.storage_options import AS_CONFIGURED, StorageOptions
from augment.squad import TRAIN_PART, Part, read_contexts
from augment.variants.glove import load_vectors
from augment.variants.words import ENGLISH


@dataclass(frozen=True, kw_only=True)
class FitGloveConfig:
    """Fit GloVe vectors to the contexts of TRAIN."""

    train: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="TRAIN")]
    """A file, folder or data set as `augment.build` takes it; its contexts are used."""
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """The file of vectors. A record of how it was made is written to OUT.json."""
    fit: tyro.conf.OmitArgPrefixes[GloveFit] = DEFAULT_FIT
    """How the vectors are fitted."""
    part: tyro.conf.OmitArgPrefixes[Part] = TRAIN_PART
    """Part of TRAIN to read."""
    language: str = ENGLISH
    """Language of TRAIN, as in augment.build."""
    sample: int | None = None
    """Fit to N contexts, evenly spread over TRAIN; by default to all."""
    max_words: int | None = None
    """Write only the N most frequent words; by default all."""
    decimals: int = 5
    """Digits after the decimal point."""
    storage: tyro.conf.OmitArgPrefixes[StorageOptions] = AS_CONFIGURED
    """How stores are reached that URLs lead to."""
    overwrite: bool = False
    """Replace OUT if it was made with other settings."""

    def __post_init__(self) -> None:
        if self.sample is not None and self.sample < 1:
            raise UsageError(f"--sample {self.sample}: must be 1 or more")
        if self.max_words is not None and self.max_words < 2:
            raise UsageError(f"--max-words {self.max_words}: neighbours need two words")
        if not 1 <= self.decimals <= 9:
            raise UsageError(f"--decimals {self.decimals}: must be from 1 to 9")


def fit_glove(config: FitGloveConfig) -> dict[str, Any]:
    """Fit vectors as the command does; give the record that is written beside them.

    Raises:
        UsageError: OUT was made with other settings and may not be replaced.
        ValueError: too little text.
    """
    squad = read_contexts(config.train, config.part)
    plan = {
        "input": {"name": squad.name, "sha256": squad.sha256},
        "settings": {
            **asdict(config.fit),
            "max_words": config.max_words,
            "decimals": config.decimals,
            **({} if config.sample is None else {"sample": config.sample}),
        },
    }
    record_path = config.out.with_name(config.out.name + ".json")
    if config.out.exists() and not config.overwrite:
        record = read_record(record_path, config.out)
        if record is None:
            raise UsageError(
                f"{config.out}: exists and is not a file made here; choose another OUT, or pass "
                "--overwrite to replace it"
            )
        different = differences({key: record.get(key) for key in plan}, plan)
        if different:
            raise UsageError(
                f"{config.out} was made otherwise; pass --overwrite to replace it:\n  "
                + "\n  ".join(different)
            )
        if "words" in record:  # else a run was killed before it was done
            print(f"{config.out}: complete already")
            return record
    started = time.monotonic()
    losses: list[float] = []
    contexts = list(dict.fromkeys(paragraph.context for paragraph in squad.paragraphs))
    if config.sample is not None:
        step = max(1, len(contexts) / config.sample)
        contexts = [contexts[int(n * step)] for n in range(min(config.sample, len(contexts)))]
    words, matrix = fit_vectors(
        contexts, config.fit, lambda _, loss: losses.append(round(loss, 6)), config.language
    )
    config.out.parent.mkdir(parents=True, exist_ok=True)
    kept = slice(config.max_words)
    write_atomic(record_path, to_json(plan))  # killed after this, the same command goes on
    write_vectors(config.out, words[kept], matrix[kept], config.decimals)
    load_vectors(config.out)  # reads the file back, and leaves the cache that a build maps
    record = {
        **plan,
        "contexts": len(contexts),
        "words": len(words[kept]),
        "mean_losses": losses,
        "seconds": round(time.monotonic() - started, 1),
        "versions": versions(),
    }
    write_atomic(record_path, to_json(record))
    print(
        f"{config.out}: {record['words']:,} words in {matrix.shape[1]} dimensions, mean loss "
        f"{losses[-1]:.5f} after {len(losses)} epochs, {record['seconds']:.0f} s"
    )
    return record


def main() -> None:
    """Run the command line."""
    run(FitGloveConfig, fit_glove)


if __name__ == "__main__":
    main()
