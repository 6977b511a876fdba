"""Write the two sets of predictions that any scorer is checked with: gold, and all empty.

The first gold answers score 100. Empty texts score the share of questions without an answer:
50.0716 on the SQuAD 2.0 dev set, which a reader has to beat.
"""

from dataclasses import dataclass
from pathlib import Path

import tyro

from augment.base.command import run, to_json
from eval.scoring.gold import gold_answers, read_gold
from eval.scoring.submission import write_whole


@dataclass(frozen=True, kw_only=True)
class Baselines:
    """Write OUT/gold.json and OUT/empty.json for the questions of DEV."""

    dev: tyro.conf.Positional[str]
    """A SQuAD JSON file, a shard folder, or a hub data set id."""
    out: tyro.conf.Positional[Path]
    """A folder."""


def write_baselines(config: Baselines) -> None:
    """Write both files; the same input gives the same bytes."""
    gold = gold_answers(read_gold(config.dev)[0], config.dev)
    first = {qid: texts[0] if texts else "" for qid, texts in gold.items()}
    write_whole(config.out / "gold.json", to_json(first))
    write_whole(config.out / "empty.json", to_json(dict.fromkeys(gold, "")))
    print(f"{config.out}: gold.json and empty.json, {len(gold)} questions each")


def main() -> None:
    """Run the command line."""
    run(Baselines, write_baselines)


if __name__ == "__main__":
    main()
