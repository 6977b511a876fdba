"""The card of an exported reader: what it is, how to load it, speed and score beside float32."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from augment.cards.template import render


def export_card(record: Mapping[str, Any]) -> str:
    """Write the card from what lies in export.json."""
    from huggingface_hub import ModelCardData

    data = ModelCardData(
        language="en",
        license="other",
        pipeline_tag="question-answering",
        tags=["extractive-qa", "onnx", "twentyfold"],
    )
    return render(Path(__file__).with_name("export_card.md.jinja"), data, record=record)
