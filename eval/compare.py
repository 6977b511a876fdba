"""Compare several predictions of one dev set: their scores, and their leads over the first.

Intervals are bootstrap intervals over the questions of the dev set; they say nothing about how much
another training seed would change. All systems are scored on the same draws of questions, so that
the interval of a lead is one of paired differences.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from numpy.typing import NDArray

from augment.base.command import UsageError, run
from augment.remote.storage_options import AS_CONFIGURED, StorageOptions
from augment.squad import DEV_PART, Part
from eval.scoring.gold import gold_answers, read_gold
from eval.scoring.submission import check_predictions, read_submission
from eval.squad_v2 import question_scores

CHUNK = 200  # resamples drawn at once: bounds the memory


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Compare PREDICTIONS, two or more files, on the SQuAD set DEV."""

    dev: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="DEV")]
    """A file, folder or data set as `augment.build` takes it."""
    predictions: Annotated[
        tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="PREDICTIONS")
    ]
    """JSON files {id: text}, with "" for no answer. The others are compared with the first."""
    part: tyro.conf.OmitArgPrefixes[Part] = DEV_PART
    """Part of DEV to read."""
    num_resamples: int = 10_000
    """Number of bootstrap draws."""
    level: float = 0.95
    """Confidence level of the intervals."""
    seed: int = 0
    """Seed of the draws."""
    out_file: Path | None = None
    """Also write the figures into this JSON file."""
    storage: tyro.conf.OmitArgPrefixes[StorageOptions] = AS_CONFIGURED
    """How stores are reached that URLs lead to."""

    def __post_init__(self) -> None:
        if not self.predictions:
            raise UsageError("compare what? name files of predictions")
        if not 0 < self.level < 1 or self.num_resamples < 1:
            raise UsageError("--level must be between 0 and 1, --num-resamples 1 or more")


def compare(config: Compare) -> list[dict[str, float | str]]:
    """Score the files and print a table; give its rows.

    Raises:
        ValueError: ids that are missing, extra or null, named.
    """
    gold = gold_answers(read_gold(config.dev, config.part)[0], config.dev)
    systems = []
    for path in config.predictions:
        predictions, _ = read_submission(path)
        check_predictions(predictions, gold, str(path))
        systems.append([question_scores(predictions[qid], texts) for qid, texts in gold.items()])
    scores = 100 * np.array(systems, dtype=np.float64)
    means = scores.mean(1)
    draws = resample(scores, config.num_resamples, config.seed)
    rows: list[dict[str, float | str]] = []
    for number, path in enumerate(config.predictions):
        row: dict[str, float | str] = {"predictions": path.as_posix()}
        for place, name in enumerate(("exact", "f1")):
            row[name] = means[number, place]
            ends = interval(draws[:, number, place], config.level)
            row[f"{name}_low"], row[f"{name}_high"] = ends
            lead = draws[:, number, place] - draws[:, 0, place]
            row[f"{name}_lead"] = means[number, place] - means[0, place]
            row[f"{name}_lead_low"], row[f"{name}_lead_high"] = interval(lead, config.level)
        rows.append(row)
    _print(rows, config.level)
    if config.out_file is not None:
        config.out_file.write_text(json.dumps(rows, indent=2) + "\n", "utf-8")
    return rows


def resample(scores: NDArray[np.float64], num_resamples: int, seed: int) -> NDArray[np.float64]:
    """Draw questions with replacement and average; the same questions for every system.

    Args:
        scores: (systems, questions, metrics).
        num_resamples: number of draws.
        seed: decides them.

    Returns:
        (resamples, systems, metrics).

    Source: the percentile bootstrap (Efron 1979), paired as in Koehn 2004.
    """
    questions = scores.shape[1]
    found = [
        np.einsum("rq,sqm->rsm", times / questions, scores, optimize=True)
        for times in times_drawn(questions, num_resamples, seed)
    ]
    return np.concatenate(found)


def times_drawn(questions: int, num_resamples: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Draw as many questions as there are, again and again; give how often each was drawn.

    Yields:
        (resamples, questions), of some resamples at a time.
    """
    random = np.random.default_rng(seed)
    for start in range(0, num_resamples, CHUNK):
        number = min(CHUNK, num_resamples - start)
        yield random.multinomial(questions, np.full(questions, 1 / questions), size=number)


def interval(draws: NDArray[np.float64], level: float) -> tuple[float, float]:
    """Give the ends between which the middle `level` of the draws lies."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _print(rows: Sequence[dict[str, float | str]], level: float) -> None:
    print(f"intervals hold {level:.0%} of the draws; leads are over the first")
    for row in rows:
        parts = [
            f"{name} {row[name]:.2f} ({row[name + '_low']:.2f} to {row[name + '_high']:.2f})"
            f", lead {row[name + '_lead']:+.2f} "
            f"({row[name + '_lead_low']:+.2f} to {row[name + '_lead_high']:+.2f})"
            for name in ("exact", "f1")
        ]
        print(f"{row['predictions']}: " + "; ".join(parts))


def main() -> None:
    """Run the command line."""
    run(Compare, compare)


if __name__ == "__main__":
    main()
