"""The peers' rules, written out by hand: windows, logits and answers without any code of ours.

Source: transformers examples/pytorch/question-answering (run_qa.py, utils_qa.py); Haystack v1.1.0
(SquadProcessor, QuestionAnsweringHead, QACandidate.span_to_string).
"""

import numpy as np
import torch


def logits_of(model, encoded):
    inputs = {name: torch.tensor([ids]) for name, ids in encoded.items()}
    with torch.no_grad():
        output = model(**inputs)
    return output.start_logits[0].numpy(), output.end_logits[0].numpy()


def run_qa(model, tokenizer, question, context, *, length, stride, n_best=20, longest=30):
    """Give the text (null allowed) and the null's lead, as postprocess_qa_predictions does."""
    features = tokenizer(
        question.lstrip(),
        context,
        truncation="only_second",
        max_length=length,
        stride=stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    null, found = None, []
    for index in range(len(features["input_ids"])):
        names = set(tokenizer.model_input_names) & features.keys()
        starts, ends = logits_of(model, {name: features[name][index] for name in names})
        sides = features.sequence_ids(index)
        offsets = [
            place if side == 1 else None
            for place, side in zip(features["offset_mapping"][index], sides, strict=True)
        ]
        if null is None or null > starts[0] + ends[0]:
            null = starts[0] + ends[0]
        for start in np.argsort(starts)[-1 : -n_best - 1 : -1]:
            for end in np.argsort(ends)[-1 : -n_best - 1 : -1]:
                if not offsets[start] or not offsets[end]:
                    continue
                if end < start or end - start + 1 > longest:
                    continue
                text = context[offsets[start][0] : offsets[end][1]]
                if text:
                    found.append((starts[start] + ends[end], text))
    if not found:
        return "", None  # it says "empty"
    score, text = max(found, key=lambda pair: pair[0])
    return ("" if null - score > 0 else text), null - score


def farm(model, tokenizer, question, context, *, length, step, longest_question=64):
    """Give the text (null allowed) and the null's lead, as Haystack's aggregation does."""
    asked = tokenizer(question, add_special_tokens=False)["input_ids"][:longest_question]
    document = tokenizer(context, add_special_tokens=False, return_offsets_mapping=True)
    ids = document["input_ids"]
    token_starts = [start for start, _ in document["offset_mapping"]]
    pair = tokenizer("a", "a")["input_ids"]
    middle = pair[2 : len(pair) - 2]  # between the two words
    room = length - len(asked) - 2 - len(middle)
    best_gap, best, best_score, passage = -np.inf, None, -np.inf, 0
    while True:
        part = ids[passage : passage + room]
        row = [pair[0], *asked, *middle, *part, pair[-1]]
        encoded = {"input_ids": row, "attention_mask": [1] * len(row)}
        first = 1 + len(asked) + len(middle)
        if "token_type_ids" in tokenizer.model_input_names:
            encoded["token_type_ids"] = [0] * first + [1] * (len(row) - first)
        starts, ends = logits_of(model, encoded)
        inside = slice(first, first + len(part))
        scores = starts[inside, None] + ends[None, inside]
        scores = np.where(np.triu(np.ones_like(scores)) == 1, scores, -np.inf)
        start, end = np.unravel_index(scores.argmax(), scores.shape)
        best_gap = max(best_gap, scores[start, end] - (starts[0] + ends[0]))
        if scores[start, end] > best_score:
            best, best_score = (passage + start, passage + end), scores[start, end]
        if passage + room >= len(ids):
            break
        passage += step
    start_token, next_token = best[0], best[1] + 1
    stop = len(context) if next_token == len(ids) else token_starts[next_token]
    text = context[token_starts[start_token] : stop].strip()
    return ("" if -best_gap >= 0 else text), -best_gap
