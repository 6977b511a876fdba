"""Where a tokenizer says that its pieces stand in a text: trimmed, and checked once."""

from collections.abc import Sequence
from typing import Any

from augment.variants.words import Span

PROBE = "Anne lit it (in May)."


def trimmed(text: str, pieces: Sequence[Span]) -> list[Span]:
    """Leave out the blanks at the ends of pieces, which some tokenizers count to the word."""
    return [_trimmed(text, start, end) for start, end in pieces]


def _trimmed(text: str, start: int, end: int) -> Span:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def holds_blanks(tokenizer: Any) -> bool:
    """Tell whether a tokenizer counts the blank before a word to its piece."""
    pieces = tokenizer(PROBE, add_special_tokens=False, return_offsets_mapping=True)
    return any(" " in PROBE[start:end] for start, end in pieces["offset_mapping"])


def check_offsets(tokenizer: Any) -> None:
    """See that a tokenizer's pieces hold every letter of a text.

    Raises:
        ValueError: the tokenizer, by name, and the letters that it loses: its answers would begin
            inside a word.
    """
    pieces = tokenizer(PROBE, add_special_tokens=False, return_offsets_mapping=True)
    held = {place for start, end in pieces["offset_mapping"] for place in range(start, end)}
    lost = [char for place, char in enumerate(PROBE) if place not in held and char != " "]
    if lost:
        raise ValueError(
            f"{tokenizer.name_or_path}: this tokenizer's offsets lose {''.join(lost)!r} of "
            f"{PROBE!r}, so spans would begin inside words; use another model, or mend "
            "trim_offsets and add_prefix_space in its tokenizer.json"
        )
