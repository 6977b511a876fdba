"""The head of a student's card: the same for one that was trained and for a recipe's."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from distill.cards.measured import dev_set, signature_of

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCardData


def head(
    name: str,
    facts: Mapping[str, Any],
    base: str | None,
    datasets: Iterable[str],
    scores: Mapping[str, Any] | None,
    made: Mapping[str, Any],
) -> "ModelCardData":
    """Give a head, with a `model-index` where something was measured.

    Args:
        name: of the model.
        facts: what is known of the texts that it learned from.
        base: hub id of the model that it starts from.
        datasets: hub ids.
        scores: the official figures.
        made: how the scored predictions were made.
    """
    from huggingface_hub import ModelCardData

    return ModelCardData(
        language=facts.get("language"),
        license=facts.get("license"),
        library_name="transformers",
        pipeline_tag="question-answering",
        base_model=base,
        datasets=sorted(set(datasets)) or None,
        metrics=["exact_match", "f1"] if scores else None,
        tags=["extractive-qa", "knowledge-distillation", "twentyfold"],
        model_name=name if scores else None,
        eval_results=_model_index(scores, made) if scores else None,
    )


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


def _model_index(scores: Mapping[str, Any], made: Mapping[str, Any]) -> list["EvalResult"]:
    from huggingface_hub import EvalResult

    dataset_type, dataset_name = dev_set(signature_of(scores), made)
    names = (("exact_match", "exact", "exact"), ("exact_match", "exact match", "exact_match"))
    return [
        EvalResult(
            task_type="question-answering",
            task_name="Question answering",
            dataset_type=dataset_type,
            dataset_name=dataset_name,
            dataset_split="validation",
            metric_type=kind,
            metric_name=shown,
            metric_value=scores[key],
            metric_args={"signature": scores["signature"]},
        )
        for kind, shown, key in (*names, ("f1", "F1", "f1"))
        if key in scores
    ]
