"""Write two simple sets of predictions for a dev set: the gold answers, and no answer at all.

The gold answers score 100. No answer at all scores the share of questions that have none, 50.0716
on the SQuAD 2.0 dev set, which a reader has to beat.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from augment.base.command import run, to_json
from augment.remote.storage_options import AS_CONFIGURED, StorageOptions
from augment.squad import DEV_PART, Part
from eval.scoring.gold import gold_answers, read_gold
from eval.scoring.submission import write_whole


@dataclass(frozen=True, kw_only=True)
class Baselines:
    """Write OUT/gold.json and OUT/empty.json for the questions of DEV."""

    dev: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="DEV")]
    """A file, folder or data set as `augment.build` takes it."""
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """Folder for gold.json and empty.json."""
    part: tyro.conf.OmitArgPrefixes[Part] = DEV_PART
    """Part of DEV to read."""
    storage: tyro.conf.OmitArgPrefixes[StorageOptions] = AS_CONFIGURED
    """How stores are reached that URLs lead to."""


def write_baselines(config: Baselines) -> None:
    """Write both files; the same input gives the same bytes."""
    gold = gold_answers(read_gold(config.dev, config.part)[0], config.dev)
    first = {qid: texts[0] if texts else "" for qid, texts in gold.items()}
    write_whole(config.out / "gold.json", to_json(first))
    write_whole(config.out / "empty.json", to_json(dict.fromkeys(gold, "")))
    print(f"{config.out}: gold.json and empty.json, {len(gold)} questions each")


def main() -> None:
    """Run the command line."""
    run(Baselines, write_baselines)


if __name__ == "__main__":
    main()
