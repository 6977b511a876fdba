"""The YAML head of a card, checked offline against the words that the hub knows.

The hub's own check needs a network and runs when a card is pushed. `hub_words.toml` holds its words
for the fields that our cards use.
"""

import math
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from augment.base.paragraphs import raise_faults
from augment.base.toml_files import read_toml

FREE = ["pretty_name", "tags", "configs", "dataset_info", "source_datasets"]
FREE += ["base_model", "datasets", "metrics", "model-index"]
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
METRICS = ("exact_match", "f1")
REMEDY = "a card holds what the hub knows and what was measured, nothing else"


@cache
def hub_words() -> Mapping[str, list[str]]:
    """Give, for each field of a head, the words that may stand there, alone or in a list."""
    found = read_toml(Path(__file__).with_name("hub_words.toml"))
    words = {key: words.split() for key, words in found.items()}
    return words | {"pipeline_tag": words["task_categories"], "library_name": ["transformers"]}


def check_head(head: Mapping[str, Any]) -> None:
    """Raise a ValueError that names every field or word that the hub does not know."""
    raise_faults("head of the card", head_faults(head), REMEDY)


def head_faults(head: Mapping[str, Any]) -> list[str]:
    """List what is wrong in a head, as YAML reads it."""
    known = hub_words()
    faults = [f"{key}: not a field of our cards" for key in head if key not in {*known, *FREE}]
    for key in known:
        words = [word for word in _listed(head.get(key)) if word not in known[key]]
        faults += [f"{key}: the hub does not know {word!r}" for word in words]
    for key in ("base_model", "datasets"):
        for name in _listed(head.get(key)):
            if not isinstance(name, str) or not REPOSITORY.fullmatch(name):
                faults.append(f"{key}: {name!r} is not a repository of the hub (owner/name)")
    faults += [f"{where} is {value}" for where, value in not_finite(head)]
    return faults + _index_faults(head.get("model-index", []))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _index_faults(index: Any) -> list[str]:
    """Check a `model-index`: one model, tasks and metrics of the hub, percentages."""
    faults = []
    if index and (len(index) != 1 or not index[0].get("name")):
        faults.append("model-index: needs one model, with its name")
    for result in (result for model in index for result in model.get("results", [])):
        if result.get("task", {}).get("type") not in hub_words()["task_categories"]:
            faults.append(f"model-index: unknown task {result.get('task')!r}")
        for key in ("type", "name"):
            if not result.get("dataset", {}).get(key):
                faults.append(f"model-index: a data set without a {key}")
        for metric in result.get("metrics", []) or [{}]:
            value = metric.get("value")
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if metric.get("type") not in METRICS or not number or not 0 <= value <= 100:
                faults.append(f"model-index: {metric.get('type')!r} is {value!r}")
            if not metric.get("args", {}).get("signature"):
                faults.append(f"model-index: {metric.get('type')!r} without a signature")
    return faults


def not_finite(value: Any, where: str = "") -> Iterator[tuple[str, float]]:
    """Find NaN and infinite numbers in a JSON value, each with the path to it."""
    if isinstance(value, float) and not math.isfinite(value):
        yield where, value
    elif isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            yield from not_finite(inner, f"{where}.{key}" if where else str(key))
