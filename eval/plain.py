"""The plain ways that the fast ones are measured against and must equal: rules, loops, no tricks.

`python -m eval.plain DEV PREDICTIONS [NA_PROBS]` scores as the official SQuAD 2.0 script does,
step by step. Used by `eval.bench` and by the tests; nothing else needs it.
"""

import json
import re
import string
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any


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
