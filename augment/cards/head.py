"""The YAML head of a card, checked offline against the words that the hub knows.

The hub's own check needs a network and runs when a card is pushed. Here are its words for the
fields that our cards use. Source: huggingface/hub-docs, docs/hub/repositories-licenses.md;
huggingface/huggingface.js, packages/tasks/src/pipelines.ts; datasets 5, utils/resources/*.json.
Differs: languages are those with a code of two letters.
"""

import math
import re
from collections.abc import Iterator
from typing import Any

from augment.base.paragraphs import raise_faults

LICENSES = """
apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0
bigcode-openrail-m afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear
c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0
cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0
cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0 cdla-permissive-2.0 wtfpl
ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1
lgpl-3.0 isc lppl-1.3c ms-pl mpl-2.0 odc-by odbl openrail++ osl-3.0 postgresql ofl-1.1 ncsa
unlicense zlib pddl lgpl-lr unknown other
""".split()
TASKS = """
text-classification token-classification table-question-answering question-answering
zero-shot-classification translation summarization feature-extraction text-generation
text2text-generation fill-mask sentence-similarity table-to-text multiple-choice text-ranking
text-retrieval
""".split()
TASK_IDS = ["extractive-qa", "open-domain-qa", "closed-domain-qa"]
SIZES = ["n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B"]
CREATORS = ["found", "crowdsourced", "expert-generated", "machine-generated", "other"]
LANGUAGES = """
aa ab ae af ak am an ar as av ay az ba be bg bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv
dz ee el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie
ig ii ik io is it iu ja ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg
mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn
ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st su sv sw ta te tg th ti tk tl tn to tr ts tt
ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu
""".split()
WORDS = {
    "license": LICENSES,
    "language": LANGUAGES,
    "task_categories": TASKS,
    "task_ids": TASK_IDS,
    "pipeline_tag": TASKS,
    "size_categories": SIZES,
    "annotations_creators": [*CREATORS, "no-annotation"],
    "language_creators": CREATORS,
    "multilinguality": ["monolingual", "multilingual", "translation", "other"],
    "library_name": ["transformers"],
}
"""Field of a head to the words that may stand there, alone or in a list."""
FREE = ["pretty_name", "tags", "configs", "dataset_info", "source_datasets"]
FREE += ["base_model", "datasets", "metrics", "model-index"]
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
METRICS = ("exact_match", "f1")
REMEDY = "a card holds what the hub knows and what was measured, nothing else"


def head_text(data: Any) -> str:
    """Write a card's head, with the lines that fence it.

    Args:
        data: `DatasetCardData` or `ModelCardData`.

    Raises:
        ValueError: a field or a word that the hub does not know, or a number that is none.
    """
    raise_faults("head of the card", head_faults(data.to_dict()), REMEDY)
    return f"---\n{data.to_yaml()}\n---\n\n"


def head_faults(head: dict[str, Any]) -> list[str]:
    """List what is wrong in a head, as YAML reads it."""
    faults = [f"{key}: not a field of our cards" for key in head if key not in {*WORDS, *FREE}]
    for key in ("license", "language"):
        if key not in head:
            faults.append(f"{key}: missing")
    for key, known in WORDS.items():
        found = head.get(key, [])
        for word in found if isinstance(found, list) else [found]:
            if word not in known:
                faults.append(f"{key}: the hub does not know {word!r}")
    for key in ("base_model", "datasets"):
        names = head.get(key, [])
        for name in names if isinstance(names, list) else [names]:
            if not isinstance(name, str) or not REPOSITORY.fullmatch(name):
                faults.append(f"{key}: {name!r} is not a repository of the hub (owner/name)")
    faults += [f"{where} is {value}" for where, value in not_finite(head)]
    return faults + _index_faults(head.get("model-index", []))


def _index_faults(index: Any) -> list[str]:
    """Check a `model-index`: one model, tasks and metrics of the hub, percentages."""
    faults = []
    if index and (len(index) != 1 or not index[0].get("name")):
        faults.append("model-index: needs one model, with its name")
    for result in (result for model in index for result in model.get("results", [])):
        if result.get("task", {}).get("type") not in TASKS:
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
