"""What is handed in to be scored: a file of predictions, a file of no-answer probabilities.

The official scorers crash on a missing id (2.0) or give it 0 (1.1), ignore extra ones, let the
last of two win and sort NaN anywhere. Here each of these stops with the ids.
"""

import hashlib
import json
import platform
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from augment.base.commit import write_atomic
from augment.base.paragraphs import raise_faults

PREDICT_CONFIG = "predict.json"
"""What `eval.predict` writes beside its predictions, and where the protocol is read from."""
PREDICTIONS_REMEDY = "every question needs one text; an empty text stands for 'no answer'"
PROBABILITIES_REMEDY = "every question needs one finite number"


def read_submission(path: Path) -> tuple[dict[str, Any], str]:
    """Read an object {id: value} and the SHA-256 of the file's bytes.

    Raises:
        ValueError: not JSON, not one object, or ids that occur twice, named.
        FileNotFoundError: no such file.
    """
    if path.is_dir():
        raise ValueError(f"{path}: a folder; name the file in it, such as predictions.json")
    raw = path.read_bytes()
    twice: list[str] = []

    def remember(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                twice.append(f"question id {key!r} occurs more than once")
            found[key] = value
        return found

    try:
        content = json.loads(raw.decode("utf-8-sig"), object_pairs_hook=remember)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a JSON file of {{id: value}}: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected one object {{id: value}}, found a list or a value")
    raise_faults(str(path), list(dict.fromkeys(twice)), "keep one value for each question")
    return content, hashlib.sha256(raw).hexdigest()


def check_predictions(
    predictions: Mapping[str, Any], ids: Iterable[str], name: str = "predictions"
) -> None:
    """Check that there is exactly one text for every question.

    Raises:
        ValueError: missing, extra or null ids and values that are not texts, named.
    """
    faults = _id_faults(predictions, ids, "prediction")
    for qid, text in predictions.items():
        if not isinstance(text, str):
            hint = "; is this nbest_predictions.json?" if isinstance(text, list) else ""
            found = "null" if text is None else type(text).__name__
            faults.append(f"question {qid}: the prediction is {found}, not a text{hint}")
    raise_faults(name, faults, PREDICTIONS_REMEDY)


def check_probabilities(
    na_probs: Mapping[str, Any], ids: Iterable[str], name: str = "no-answer probabilities"
) -> None:
    """Check that there is exactly one finite number for every question.

    Raises:
        ValueError: missing or extra ids, and values that are null, NaN or no number, named.
    """
    faults = _id_faults(na_probs, ids, "no-answer probability")
    for qid, value in na_probs.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not abs(value) <= sys.float_info.max:  # nor an int that no float holds
            shown = "null" if value is None else repr(value)[:40]
            faults.append(
                f"question {qid}: the no-answer probability is {shown}, not a finite number"
            )
    raise_faults(name, faults, PROBABILITIES_REMEDY)


def protocol_of(predictions: Path, sha256: str) -> str:
    """Say how a predictions file was made, or `unknown`.

    It is known when `eval.predict` left its configuration in the same folder and that names
    the very bytes of this file.
    """
    try:
        made = json.loads(predictions.with_name(PREDICT_CONFIG).read_text(encoding="utf-8"))
        if made["files"][predictions.name] == sha256:
            return str(made["protocol_signature"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return "unknown"


def signature(**parts: object) -> str:
    """Join what a score depends on to one line, versions last, in the manner of sacreBLEU."""
    try:
        own = version("twentyfold")
    except PackageNotFoundError:
        own = "source"
    parts = {**parts, "twentyfold": own, "python": platform.python_version()}
    return "|".join(f"{name}:{value}" for name, value in parts.items())


def write_whole(path: Path, text: str) -> None:
    """Write a file, and the folders to it, in full or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, text)


def _id_faults(found: Mapping[str, Any], ids: Iterable[str], what: str) -> list[str]:
    wanted = dict.fromkeys(ids)
    missing = [f"question {qid}: no {what}" for qid in wanted if qid not in found]
    extra = [f"question {qid}: a {what}, but no such question" for qid in found.keys() - wanted]
    return missing + sorted(extra)
