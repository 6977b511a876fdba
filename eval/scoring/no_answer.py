"""What no-answer probabilities add to the SQuAD 2.0 scores: thresholds and precision-recall.

Everything here takes per-question scores in [0, 1] and keeps the official script's order of
additions, so the figures agree to the last digit.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Curve:
    """A precision-recall curve over questions sorted from surely answered to surely not."""

    precisions: tuple[float, ...]
    recalls: tuple[float, ...]
    average_precision: float
    """Average precision, in percent."""


def apply_threshold(
    scores: Mapping[str, float],
    na_probs: Mapping[str, float],
    has_answer: Mapping[str, bool],
    threshold: float,
) -> dict[str, float]:
    """Score a question as 'no answer' where its probability lies above the threshold."""
    return {
        qid: float(not has_answer[qid]) if na_probs[qid] > threshold else score
        for qid, score in scores.items()
    }


def find_best_threshold(
    predictions: Mapping[str, str],
    scores: Mapping[str, float],
    na_probs: Mapping[str, float],
    has_answer: Mapping[str, bool],
) -> tuple[float, float]:
    """Find the threshold that would have scored best, chosen with the gold answers in hand.

    Starts from answering nothing and answers one question more at a time. Among equal
    probabilities the order is the file's, as in the official script.

    Returns:
        The best score in percent, and its threshold (0.0 where answering nothing is best).
    """
    current: float = sum(not answerable for answerable in has_answer.values())
    best, best_threshold = current, 0.0
    for qid in sorted(na_probs, key=na_probs.__getitem__):
        if has_answer[qid]:
            current += scores[qid]
        elif predictions[qid]:
            current -= 1
        if current > best:
            best, best_threshold = current, na_probs[qid]
    return 100.0 * best / len(scores), best_threshold


def precision_recall(
    scores: Mapping[str, float], na_probs: Mapping[str, float], has_answer: Mapping[str, bool]
) -> Curve | None:
    """Trace precision and recall as the threshold rises; None when nothing is answerable.

    A point stands only where a threshold can: after the last of equal probabilities.
    """
    num_answerable = sum(has_answer.values())
    if num_answerable == 0:
        return None
    order = sorted(na_probs, key=na_probs.__getitem__)
    found, average = 0.0, 0.0
    precisions, recalls = [1.0], [0.0]
    for number, qid in enumerate(order, start=1):
        if has_answer[qid]:
            found += scores[qid]
        if number == len(order) or na_probs[qid] != na_probs[order[number]]:
            precision, recall = found / float(number), found / float(num_answerable)
            average += precision * (recall - recalls[-1])
            precisions.append(precision)
            recalls.append(recall)
    return Curve(tuple(precisions), tuple(recalls), 100.0 * average)
