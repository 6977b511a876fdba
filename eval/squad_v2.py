"""Score predictions on SQuAD 2.0, as the official script does.

In SQuAD 2.0 a question may have no answer; the right prediction is then an empty text.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from augment.base.command import UsageError, run, to_json
from augment.remote.storage_options import AS_CONFIGURED, StorageOptions
from augment.squad import DEV_PART, Part
from eval.scoring.gold import Dataset, gold_answers, gold_questions, gold_sha256, read_gold
from eval.scoring.no_answer import Curve, apply_threshold, find_best_threshold, precision_recall
from eval.scoring.submission import (
    check_predictions,
    check_probabilities,
    protocol_of,
    read_submission,
    signature,
    write_whole,
)
from eval.squad_v1 import exact_match, normalize_answer, percent, token_f1


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The official figures of SQuAD 2.0, in percent; None for a group without questions.

    The figures from `best_exact` on exist only where no-answer probabilities were given. They
    are oracles: their thresholds were chosen with the gold answers in hand.
    """

    exact: float
    f1: float
    total: int
    HasAns_exact: float | None
    HasAns_f1: float | None
    HasAns_total: int
    NoAns_exact: float | None
    NoAns_f1: float | None
    NoAns_total: int
    best_exact: float | None = None
    best_exact_thresh: float | None = None
    best_f1: float | None = None
    best_f1_thresh: float | None = None
    pr_exact_ap: float | None = None
    pr_f1_ap: float | None = None
    pr_oracle_ap: float | None = None
    signature: str
    """How the figures were made, on one line."""

    def as_dict(self) -> dict[str, Any]:
        """Give the flat object that `--out-file` holds."""
        without = self.best_exact is None
        figures = asdict(self).items()
        return {k: v for k, v in figures if not (without and k.startswith(("best_", "pr_")))}


def score(
    dataset: Dataset,
    predictions: Mapping[str, str],
    na_probs: Mapping[str, float] | None = None,
    *,
    na_prob_thresh: float = 1.0,
) -> Scores:
    """Score one text per question, "" for 'no answer', against the best of its gold answers.

    Args:
        dataset: a `SquadSet`, a parsed SQuAD file, or the list under its "data".
        predictions: a text for each id.
        na_probs: a no-answer probability for each id.
        na_prob_thresh: a question counts as 'no answer' where its probability is above this.

    Raises:
        ValueError: ids that are missing, extra, null or NaN, named.
    """
    gold = gold_answers(gold_questions(dataset), "the data set")
    check_predictions(predictions, gold)
    if na_probs is not None:
        check_probabilities(na_probs, gold)
    return _Scoring(gold, predictions, na_probs, na_prob_thresh).scores("unknown")


def question_scores(prediction: str, gold: tuple[str, ...]) -> tuple[int, float]:
    """Give the exact match and the F1 of one question, each with its best gold answer.

    Source: evaluate-v2.0.py. Gold texts of which normalising leaves nothing are dropped; when
    none is left the right answer is the empty one.
    """
    wanted = {text for text in map(normalize_answer, gold) if text} or {""}
    predicted = normalize_answer(prediction)
    return (
        max(exact_match(predicted, text) for text in wanted),
        max(f1(predicted, text) for text in wanted),
    )


def f1(prediction: str, gold: str) -> float:
    """F1 of the words of two normalised texts; where one is empty, 1 only if both are."""
    if not prediction or not gold:
        return exact_match(prediction, gold)
    return token_f1(prediction, gold)


class _Scoring:
    """The scores of each question, made once, and the figures over groups of them."""

    def __init__(
        self,
        gold: Mapping[str, tuple[str, ...]],
        predictions: Mapping[str, str],
        na_probs: Mapping[str, float] | None,
        na_prob_thresh: float,
    ) -> None:
        self.gold, self.predictions, self.na_probs = gold, predictions, na_probs
        self.threshold = na_prob_thresh
        self.has_answer = {qid: bool(texts) for qid, texts in gold.items()}
        pairs = {qid: question_scores(predictions[qid], texts) for qid, texts in gold.items()}
        self.exact: dict[str, float] = {qid: pair[0] for qid, pair in pairs.items()}
        self.f1: dict[str, float] = {qid: pair[1] for qid, pair in pairs.items()}

    def curves(self) -> dict[str, Curve]:
        """Trace the three precision-recall curves; none without probabilities or answers."""
        if self.na_probs is None:
            return {}
        oracle = {qid: float(answerable) for qid, answerable in self.has_answer.items()}
        per_question = {"exact": self.exact, "f1": self.f1, "oracle": oracle}
        traced = {
            name: precision_recall(scores, self.na_probs, self.has_answer)
            for name, scores in per_question.items()
        }
        return {name: curve for name, curve in traced.items() if curve is not None}

    def scores(self, protocol: str) -> Scores:
        exact, f1 = self.exact, self.f1
        figures: dict[str, Any] = {}
        parts: dict[str, object] = {"protocol": protocol, "n": len(self.gold)}
        parts["data"] = gold_sha256(self.gold)[:12]
        if self.na_probs is not None:
            parts["na_prob_thresh"] = self.threshold
            exact, f1 = (
                apply_threshold(scores, self.na_probs, self.has_answer, self.threshold)
                for scores in (exact, f1)
            )
            figures |= self._best("exact", self.exact) | self._best("f1", self.f1)
            figures |= {f"pr_{k}_ap": v.average_precision for k, v in self.curves().items()}
        for prefix, wanted in (("HasAns_", True), ("NoAns_", False)):
            group = [qid for qid, answerable in self.has_answer.items() if answerable is wanted]
            figures[f"{prefix}exact"] = percent([exact[qid] for qid in group]) if group else None
            figures[f"{prefix}f1"] = percent([f1[qid] for qid in group]) if group else None
            figures[f"{prefix}total"] = len(group)
        return Scores(
            exact=percent(list(exact.values())),
            f1=percent(list(f1.values())),
            total=len(exact),
            signature=signature(metric="squad_v2", **parts),
            **figures,
        )

    def _best(self, name: str, scores: Mapping[str, float]) -> dict[str, float]:
        assert self.na_probs is not None
        best, threshold = find_best_threshold(
            self.predictions, scores, self.na_probs, self.has_answer
        )
        return {f"best_{name}": best, f"best_{name}_thresh": threshold}


@dataclass(frozen=True, kw_only=True)
class SquadV2:
    """Score PREDICTIONS on the SQuAD 2.0 set DEV."""

    dev: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="DEV")]
    """A file, folder or data set as `augment.build` takes it."""
    predictions: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="PREDICTIONS")]
    """A JSON file {id: text}, with "" for no answer."""
    part: tyro.conf.OmitArgPrefixes[Part] = DEV_PART
    """Part of DEV to read."""
    na_prob_file: Path | None = None
    """A JSON file {id: probability of no answer}; adds best_* and pr_*_ap to the scores."""
    na_prob_thresh: float = 1.0
    """Score a question as 'no answer' if its probability of no answer is above this."""
    out_file: Path | None = None
    """Also write the scores into this JSON file."""
    out_image_dir: Path | None = None
    """Draw precision-recall curves and histograms into this folder, as PNG and SVG."""
    storage: tyro.conf.OmitArgPrefixes[StorageOptions] = AS_CONFIGURED
    """How stores are reached that URLs lead to."""

    def __post_init__(self) -> None:
        if self.na_prob_file is None and self.out_image_dir is not None:
            raise UsageError("--out-image-dir draws probabilities; give them with --na-prob-file")
        if self.na_prob_file is None and self.na_prob_thresh != 1.0:
            raise UsageError("--na-prob-thresh does nothing without --na-prob-file")
        if math.isnan(self.na_prob_thresh):
            raise UsageError("--na-prob-thresh nan: must be a number")


def score_files(config: SquadV2) -> Scores:
    """Score the files of `config`, print the scores, write them and draw where asked."""
    if config.out_image_dir is not None:
        from eval.scoring.plots import draw_all, require_matplotlib

        require_matplotlib()
    gold = gold_answers(read_gold(config.dev, config.part)[0], config.dev)
    predictions, sha256 = read_submission(config.predictions)
    check_predictions(predictions, gold, str(config.predictions))
    na_probs = None
    if config.na_prob_file is not None:
        na_probs, _ = read_submission(config.na_prob_file)
        check_probabilities(na_probs, gold, str(config.na_prob_file))
    scoring = _Scoring(gold, predictions, na_probs, config.na_prob_thresh)
    scores = scoring.scores(protocol_of(config.predictions, sha256))
    print(to_json(scores.as_dict()), end="")
    if config.out_file is not None:
        write_whole(config.out_file, to_json(scores.as_dict()))
    if config.out_image_dir is not None and na_probs is not None:
        draw_all(scoring.curves(), na_probs, scoring.has_answer, config.out_image_dir)
    return scores


def main() -> None:
    """Run the command line."""
    run(SquadV2, score_files)


if __name__ == "__main__":
    main()
