"""Which source a replaced word came from: the masked LM or GloVe."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

from augment.base.set_records import Plan
from augment.remote.bucket_parts import parts_at
from augment.variants.masked_lm import MaskedLMSettings
from augment.variants.store import GLOVE, MASKED_LM, Stored, context_setting
from augment.variants.words import ENGLISH

Sources = Callable[[str], Callable[[int], int | None]]
"""From a context to a function from a word's first character to `MASKED_LM`, `GLOVE` or None."""


def find_sources(candidates: str | Path, plan: Plan) -> Sources | None:
    """Find out what the words of contexts were replaced from.

    With one source alone it is known anyway; with both the stored candidates tell. None where
    they are not at hand.

    Args:
        candidates: where `augment.build` kept them, `OUT.candidates` by default.
        plan: the set's, from its manifest.
    """
    if plan.masked_lm is None or plan.glove is None:
        only = GLOVE if plan.masked_lm is None else MASKED_LM
        return lambda _: lambda _: only
    known = {**vars(plan), "language": plan.language or ENGLISH, **vars(plan.masked_lm)}
    settings = MaskedLMSettings(**{one.name: known[one.name] for one in fields(MaskedLMSettings)})
    parts = parts_at(candidates, context_setting(known["sha256"], settings))
    if not parts.names():
        return None
    stored = Stored(parts, None)

    def sources(context: str) -> Callable[[int], int | None]:
        if stored.lacks([context]).any():
            return lambda _: None
        slots = stored.candidates([context]).slots(context)
        return {slot.start: slot.source or GLOVE for slot in slots}.get

    return sources
