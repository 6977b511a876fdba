"""Score predictions on SQuAD 1.1: exact match and F1 in percent, as the official script does."""

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from augment.base.command import run, to_json
from augment.base.paragraphs import raise_faults
from augment.remote.storage_options import AS_CONFIGURED, StorageOptions
from augment.squad import DEV_PART, Part
from eval.scoring.gold import REMEDY, Dataset, gold_answers, gold_questions, gold_sha256, read_gold
from eval.scoring.submission import (
    check_predictions,
    protocol_of,
    read_submission,
    signature,
    write_whole,
)

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize_answer(text: str) -> str:
    """Lower the case, then drop ASCII punctuation, then articles, then extra white space.

    Source: evaluate-v1.1.py and evaluate-v2.0.py (Rajpurkar et al. 2016, 2018), which agree.
    Curly quotes, dashes and accents stay, as there: never normalise more.
    """
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def exact_match(prediction: str, gold: str) -> int:
    """Give 1 if the two normalised texts are equal, else 0."""
    return int(prediction == gold)


def token_f1(prediction: str, gold: str) -> float:
    """F1 of the words, with their counts, that two normalised texts share; 0 if none."""
    predicted, wanted = prediction.split(), gold.split()
    num_same = sum((Counter(predicted) & Counter(wanted)).values())
    if num_same == 0:
        return 0
    precision = 1.0 * num_same / len(predicted)
    recall = 1.0 * num_same / len(wanted)
    return (2 * precision * recall) / (precision + recall)


def percent(values: Sequence[float]) -> float:
    """100.0 * sum / number, added from left to right as every published score was.

    From Python 3.12 on `sum` rounds floats once at the end, which moves the last digit.
    """
    total: float = 0
    for value in values:
        total += value
    return 100.0 * total / len(values)


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The official figures of SQuAD 1.1, in percent."""

    exact_match: float
    f1: float
    total: int
    """Questions scored."""
    signature: str
    """How the figures were made, on one line."""

    def as_dict(self) -> dict[str, Any]:
        """Give the flat object that `--out-file` holds."""
        return asdict(self)


def score(dataset: Dataset, predictions: Mapping[str, str]) -> Scores:
    """Score one text per question against the best of its gold answers.

    Args:
        dataset: a `SquadSet`, a parsed SQuAD file, or the list under its "data".
        predictions: a text for each id.

    Raises:
        ValueError: ids that are missing, extra or null, or have no gold answer, named.
    """
    gold = gold_answers(gold_questions(dataset), "the data set")
    check_predictions(predictions, gold)
    return _score(gold, predictions, "unknown")


def _score(
    gold: Mapping[str, tuple[str, ...]], predictions: Mapping[str, str], protocol: str
) -> Scores:
    faults = [f"question {qid}: no gold answer" for qid, texts in gold.items() if not texts]
    raise_faults("the data set", faults, f"{REMEDY}; score SQuAD 2.0 with eval.squad_v2")
    exact, f1 = [], []
    for qid, texts in gold.items():
        predicted = normalize_answer(predictions[qid])
        wanted = {normalize_answer(text) for text in texts}
        exact.append(max(exact_match(predicted, text) for text in wanted))
        f1.append(max(token_f1(predicted, text) for text in wanted))
    made = signature(metric="squad_v1", protocol=protocol, n=len(gold), data=gold_sha256(gold)[:12])
    return Scores(exact_match=percent(exact), f1=percent(f1), total=len(gold), signature=made)


@dataclass(frozen=True, kw_only=True)
class SquadV1:
    """Score PREDICTIONS on the SQuAD 1.1 set DEV."""

    dev: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="DEV")]
    """A file, folder or data set as `augment.build` takes it."""
    predictions: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="PREDICTIONS")]
    """A JSON file {id: text}."""
    part: tyro.conf.OmitArgPrefixes[Part] = DEV_PART
    """Part of DEV to read."""
    out_file: Path | None = None
    """Also write the scores into this JSON file."""
    storage: tyro.conf.OmitArgPrefixes[StorageOptions] = AS_CONFIGURED
    """How stores are reached that URLs lead to."""


def score_files(config: SquadV1) -> Scores:
    """Score the files of `config`, print the scores and write them where asked."""
    gold = gold_answers(read_gold(config.dev, config.part)[0], config.dev)
    predictions, sha256 = read_submission(config.predictions)
    check_predictions(predictions, gold, str(config.predictions))
    scores = _score(gold, predictions, protocol_of(config.predictions, sha256))
    print(to_json(scores.as_dict()), end="")
    if config.out_file is not None:
        write_whole(config.out_file, to_json(scores.as_dict()))
    return scores


def main() -> None:
    """Run the command line."""
    run(SquadV1, score_files)


if __name__ == "__main__":
    main()
