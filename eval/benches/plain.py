"""The plain ways that the fast ones are measured against and must equal: rules, loops, no tricks.

`plain_scores` is the official SQuAD 2.0 script, `plain_run_qa` and `plain_farm` turn logits into
answers. `python -m eval.benches.plain DEV PREDICTIONS [NA_PROBS]` scores, step by step as the
official script. Used by `eval.bench` and by the tests; nothing else needs it.
"""

import json
import re
import string
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eval.reading.answers import NO_SPAN_ODDS
from eval.reading.protocol import Protocol
from eval.reading.spans import FloatArray
from eval.reading.windows import Window


def plain_normalize(text: str) -> str:
    """Normalise one text: case, punctuation, articles, white space, in this order."""
    kept = "".join(char for char in text.lower() if char not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", kept).split())


def plain_f1(gold: str, prediction: str) -> float:
    """F1 of one prediction against one gold answer."""
    gold_words = plain_normalize(gold).split() if gold else []
    words = plain_normalize(prediction).split() if prediction else []
    if len(gold_words) == 0 or len(words) == 0:
        return int(gold_words == words)
    common = sum((Counter(gold_words) & Counter(words)).values())
    if common == 0:
        return 0
    precision, recall = 1.0 * common / len(words), 1.0 * common / len(gold_words)
    return (2 * precision * recall) / (precision + recall)


def plain_scores(
    articles: Sequence[Mapping[str, Any]],
    predictions: Mapping[str, str],
    na_probs: Mapping[str, float] | None = None,
    na_prob_thresh: float = 1.0,
) -> dict[str, float]:
    """Score as the official SQuAD 2.0 script does; groups without questions are left out.

    Source: the rules of evaluate-v2.0.py (Rajpurkar et al. 2018).
    """
    questions = [qa for a in articles for p in a["paragraphs"] for qa in p["qas"]]
    has_answer = {qa["id"]: bool(qa["answers"]) for qa in questions}
    exact, f1 = {}, {}
    for qa in questions:
        golds = [a["text"] for a in qa["answers"] if plain_normalize(a["text"])] or [""]
        said = predictions[qa["id"]]
        exact[qa["id"]] = max(int(plain_normalize(g) == plain_normalize(said)) for g in golds)
        f1[qa["id"]] = max(plain_f1(gold, said) for gold in golds)
    result: dict[str, float] = {}
    groups = {"": list(has_answer)}
    groups["HasAns_"] = [qid for qid, answerable in has_answer.items() if answerable]
    groups["NoAns_"] = [qid for qid, answerable in has_answer.items() if not answerable]
    for prefix, group in groups.items():
        if not group:
            continue
        for name, scores in (("exact", exact), ("f1", f1)):
            total = 0.0
            for qid in group:
                null = na_probs is not None and na_probs[qid] > na_prob_thresh
                total += float(not has_answer[qid]) if null else scores[qid]
            result[prefix + name] = 100.0 * total / len(group)
        result[prefix + "total"] = len(group)
    if na_probs is not None:
        for name, scores in (("exact", exact), ("f1", f1)):
            best, threshold = _plain_best(predictions, scores, na_probs, has_answer)
            result |= {f"best_{name}": best, f"best_{name}_thresh": threshold}
    return result


def _plain_best(
    predictions: Mapping[str, str],
    scores: Mapping[str, float],
    na_probs: Mapping[str, float],
    has_answer: Mapping[str, bool],
) -> tuple[float, float]:
    now = best = float(sum(1 for qid in has_answer if not has_answer[qid]))
    threshold = 0.0
    for qid in sorted(na_probs, key=lambda key: na_probs[key]):
        now += scores[qid] if has_answer[qid] else (-1 if predictions[qid] else 0)
        if now > best:
            best, threshold = now, na_probs[qid]
    return 100.0 * best / len(scores), threshold


def plain_run_qa(
    windows: Sequence[Window],
    logits: Sequence[tuple[FloatArray, FloatArray]],
    contexts: Sequence[str],
    protocol: Protocol,
    may_be_null: bool,
) -> list[dict[str, Any]]:
    """Turn logits into answers by run_qa's nested loops over starts and ends.

    Args:
        windows: of all questions, in order.
        logits: start and end logits of each window, (length,) without padding.

    Returns:
        For each question text, null_odds and the n-best list.

    Source: transformers examples/pytorch/question-answering/utils_qa.py.
    Differs: as `eval.reading.answers.Protocol`.
    """
    of_question: list[list[int]] = [[] for _ in contexts]
    for index, window in enumerate(windows):
        of_question[window.row].append(index)
    n = protocol.n_best_size
    assert protocol.max_answer_length is not None
    results = []
    for context, indices in zip(contexts, of_question, strict=True):
        null: dict[str, Any] | None = None
        found: list[dict[str, Any]] = []
        for index in indices:
            window, (starts, ends) = windows[index], logits[index]
            null_score = starts[0] + ends[0]
            if null is None or null["score"] > null_score:
                null = {"text": "", "start_logit": starts[0], "end_logit": ends[0]}
                null["score"] = null_score
            for start in np.argsort(-starts, kind="stable")[:n].tolist():
                for end in np.argsort(-ends, kind="stable")[:n].tolist():
                    if not window.context_start <= start < window.context_end:
                        continue
                    if not window.context_start <= end < window.context_end:
                        continue
                    if end < start or end - start + 1 > protocol.max_answer_length:
                        continue
                    first = window.offsets[start - window.context_start][0]
                    last = window.offsets[end - window.context_start][1]
                    if context[first:last] == "":
                        continue
                    span = {"text": context[first:last], "score": starts[start] + ends[end]}
                    span |= {"start_logit": starts[start], "end_logit": ends[end]}
                    found.append(span)
        assert null is not None
        found = sorted(found, key=lambda span: span["score"], reverse=True)[:n]
        odds: Any = NO_SPAN_ODDS
        if found:
            odds = null["score"] - found[0]["start_logit"] - found[0]["end_logit"]
        says_null = not found or (may_be_null and odds > protocol.null_score_diff_threshold)
        text = "" if says_null else found[0]["text"]
        results.append({"text": text, "null_odds": float(odds), "nbest": found, "null": null})
    return results


def plain_farm(
    windows: Sequence[Window],
    logits: Sequence[tuple[FloatArray, FloatArray]],
    contexts: Sequence[str],
    protocol: Protocol,
    may_be_null: bool,
) -> list[dict[str, Any]]:
    """Turn logits into answers as Haystack 1.1 did: the full matrix of spans of every window.

    Source: Haystack v1.1.0, QuestionAnsweringHead: logits_to_preds, reduce_preds.
    """
    assert protocol.max_answer_length is not None
    results: list[dict[str, Any]] = []
    for row, context in enumerate(contexts):
        gaps, best_text, best_score = [], "", -np.inf
        for window, (starts, ends) in zip(windows, logits, strict=True):
            if window.row != row:
                continue
            window_best = -np.inf
            for start in range(window.context_start, window.context_end):
                stop = min(window.context_end, start + protocol.max_answer_length)
                for end in range(start, stop):
                    score = starts[start] + ends[end]
                    if score > window_best:
                        window_best = score
                    if score > best_score:
                        first = window.offsets[start - window.context_start][0]
                        last = window.offsets[end - window.context_start][1]
                        best_text, best_score = context[first:last], score
            gaps.append(window_best - (starts[0] + ends[0]))
        no_answer = may_be_null and best_score - max(gaps) >= best_score
        text = "" if no_answer else best_text
        results.append({"text": text, "null_odds": float(-max(gaps)), "score": best_score})
    return results


def main() -> None:
    """Score the files named on the command line."""
    contents = []
    for name in sys.argv[1:4]:
        with open(name, encoding="utf-8") as file:
            contents.append(json.load(file))
    contents[0] = contents[0]["data"]
    print(json.dumps(plain_scores(*contents), indent=2))


if __name__ == "__main__":
    main()
