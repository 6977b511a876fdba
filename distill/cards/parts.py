"""Parts that the cards of students and of recipes share."""

from collections.abc import Mapping, Sequence
from typing import Any

from distill.cards.measured import dev_set, signature_of
from distill.cards.published import CITATIONS

METRICS = {
    "exact": ("exact_match", "exact"),
    "exact_match": ("exact_match", "exact match"),
    "f1": ("f1", "F1"),
}
"""Type and name on the hub of the official figures that stand in a `model-index`."""


def base_model(student: str, teacher: str | None) -> str | None:
    """Give the hub id that a student starts from: its own, or its teacher's whose layers it takes.

    Args:
        student: as a recipe names it.
        teacher: of the last stage.
    """
    start = (teacher or "") if student.startswith("teacher:") else student
    return start if is_hub_id(start) else None


def is_hub_id(name: str) -> bool:
    """Tell a hub repository from a folder, whose parents a record leaves out."""
    return name.count("/") == 1


def model_index(scores: Mapping[str, Any], made: Mapping[str, Any]) -> list[Any]:
    """Give the `EvalResult`s of a score file, each with its signature."""
    from huggingface_hub import EvalResult

    parts = signature_of(scores)
    dataset_type, dataset_name = dev_set(parts, made)
    return [
        EvalResult(
            task_type="question-answering",
            task_name="Question answering",
            dataset_type=dataset_type,
            dataset_name=dataset_name,
            dataset_split="validation",
            metric_type=METRICS[name][0],
            metric_name=METRICS[name][1],
            metric_value=scores[name],
            metric_args={"signature": scores["signature"]},
        )
        for name in METRICS
        if name in scores
    ]


def place(record: Mapping[str, Any]) -> str:
    """Name the machine of a training."""
    hardware = record["hardware"]
    found = f"{hardware.get('processor')}, {hardware.get('cores')} cores"
    if "gpu" in hardware:
        return f"{hardware['num_processes']} x {hardware['gpu']}, {found}"
    return found


def energy(record: Mapping[str, Any]) -> str:
    """Say what a training used, where codecarbon measured all of its stages."""
    found = [stage.get("energy_kwh") for stage in record["stages"]]
    known = [kwh for kwh in found if kwh is not None]
    return f", {sum(known):.4g} kWh (codecarbon)" if known and len(known) == len(found) else ""


def citations(keys: Sequence[str]) -> str:
    """Give BibTeX entries by their keys in `CITATIONS`."""
    return "\n".join(["```bibtex", *(CITATIONS[key] for key in keys), "```", ""])
