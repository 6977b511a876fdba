"""The augmenter as a library: texts in, variants out, no files.

from augment.augmenter import Augmenter

augmenter = Augmenter.load("embedded", "embedded")
augmenter.augment("The tide falls twice a day.", answers=[("twice a day", 15)], copies=3)
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from augment.base.models import Device
from augment.base.paragraphs import Answer, Paragraph, span_fault
from augment.building.plan import check_ids
from augment.building.sources import Model, find_model, find_vectors
from augment.shards import SCHEMA, AugmentedParagraph, row_batches
from augment.squad import OnBadAnswer, read_squad
from augment.variants.glove import Vectors, neighbours
from augment.variants.keep_list import keep_list
from augment.variants.masked_lm import MaskedLM
from augment.variants.masking import MaskingRule
from augment.variants.replace import make_variants, replaced_spans
from augment.variants.store import CandidateStore, compute_part
from augment.variants.words import ENGLISH, WordRule

CONTEXTS_AT_ONCE = 128  # whose candidates are found together
STREAMED_ROWS = 512


@dataclass(frozen=True)
class AugmentedText:
    """One variant of a text."""

    text: str
    answers: tuple[Answer, ...]
    """The answers that were given, where they stand in this text."""
    replaced: tuple[tuple[int, int, str], ...]
    """Replaced words: `[start, end)` in this text, and the word that stood there."""


class Augmenter:
    """A masked LM and word vectors, loaded. Make one with `Augmenter.load`."""

    def __init__(self, model: Model, vectors: Vectors | None) -> None:
        self.settings = model.settings
        self.vectors = vectors
        self.masked_lm = None
        if model.folder:
            device, dtype = model.settings.device_class, model.settings.dtype
            self.masked_lm = MaskedLM.load(
                str(model.folder), device, dtype, model.settings.language
            )

    @classmethod
    def load(
        cls,
        mlm: str = "google-bert/bert-base-uncased",
        glove: str = "embedded",
        *,
        num_candidates: int = 15,
        masking: MaskingRule = "spread",
        words: WordRule = "content",
        device: Device = "auto",
        dtype: str = "auto",
        language: str = ENGLISH,
    ) -> "Augmenter":
        """Load what the flags of the same names of `augment.build` name.

        Raises:
            ValueError: `glove` is `fit`: there is no corpus to fit to; or no candidates wanted.
            FileNotFoundError: nothing of that name.
        """
        if glove == "fit":
            raise ValueError("glove 'fit' needs a corpus; pass a file, 'embedded' or 'none'")
        if num_candidates < 1:
            raise ValueError(f"num_candidates {num_candidates}: must be 1 or more")
        model = find_model(
            mlm,
            num_candidates=num_candidates,
            masking=masking,
            words=words,
            device=device,
            dtype=dtype,
            language=language,
        )
        return cls(model, find_vectors(glove, [])[0])

    def augment(
        self,
        context: str,
        answers: Iterable[Answer | tuple[str, int]] = (),
        *,
        copies: int = 20,
        replace_probability: float = 0.4,
        seed: int = 0,
        keep_words: Iterable[str] = (),
    ) -> list[AugmentedText]:
        """Make variants of a text; the same that `augment.build` makes of it.

        Args:
            context: the text.
            answers: spans to keep, as (text, start in characters).
            copies: how many variants.
            replace_probability: chance of each word, 0 to 1.
            seed: decides the draws.
            keep_words: words and phrases that are never replaced.

        Raises:
            ValueError: an answer is not where it is said to be, or a number is out of range.
        """
        _check_numbers(copies, replace_probability)
        spans = [a if isinstance(a, Answer) else Answer(*a) for a in answers]
        for answer in spans:
            fault = span_fault(context, answer.text, answer.start)
            if fault:
                raise ValueError(fault)
        slots = self.candidates([context]).slots(context)
        variants = make_variants(
            context,
            slots,
            [(answer.start, answer.end) for answer in spans],
            copies=copies,
            replace_probability=replace_probability,
            seed=seed,
            keep_words=keep_list(keep_words),
        )
        moved = variants.moved([answer.start for answer in spans]).tolist()
        return [
            AugmentedText(
                text=variant.text,
                answers=tuple(
                    Answer(answer.text, start) for answer, start in zip(spans, starts, strict=True)
                ),
                replaced=tuple(
                    (start, end, context[slot.start : slot.end])
                    for start, end, slot in replaced_spans(slots, variant)
                ),
            )
            for variant, starts in zip(variants.copies, moved, strict=True)
        ]

    def candidates(self, contexts: Sequence[str]) -> CandidateStore:
        """Find the candidates of some texts: the build's own store, in memory."""
        settings = self.settings
        part = compute_part(list(dict.fromkeys(contexts)), self.masked_lm, settings)
        if self.vectors is None:
            return CandidateStore.of(part, None)
        words = sorted(CandidateStore.of(part, None).words_for_glove(contexts))
        near = neighbours(self.vectors, words, settings.num_candidates, settings.language)
        return CandidateStore.of(part, near)


def _check_numbers(copies: int, replace_probability: float) -> None:
    if copies < 1:
        raise ValueError(f"copies {copies}: must be 1 or more")
    if not 0 <= replace_probability <= 1:  # false for NaN
        raise ValueError(f"replace_probability {replace_probability}: must be 0 to 1")


@dataclass(frozen=True, kw_only=True)
class CopyRule:
    """How copies of a data set are made; the fields are those of `augment.build`."""

    copies: int = 20
    replace_probability: float = 0.4
    seed: int = 0
    keep_words: Iterable[str] = ()
    on_bad_answer: OnBadAnswer = "fail"

    def __post_init__(self) -> None:
        _check_numbers(self.copies, self.replace_probability)


DEFAULT_RULE = CopyRule()


def augment_dataset(ds: Any, augmenter: Augmenter, rule: CopyRule = DEFAULT_RULE) -> Any:
    """Augment a `datasets.Dataset` or `IterableDataset` into one with the shards' columns.

    Args:
        ds: rows with `id`, `title`, `context`, `question` and `answers`.
        augmenter: the models.
        rule: how many copies, and how they are made.

    Returns:
        Of a Dataset a Dataset in memory, with the rows that `augment.build` would write. Of an
        IterableDataset a lazy one; it is read `STREAMED_ROWS` rows at a time, so rows of one
        context that lie in two such batches have copies of their own.

    Raises:
        ValueError: rows that fail the check of `read_squad`.
    """
    import datasets

    if not isinstance(ds, datasets.IterableDataset):
        return datasets.Dataset(_table(ds, augmenter, rule))

    def augment_rows(columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        found: dict[str, list[Any]] = _table(rows, augmenter, rule).to_pydict()
        return found

    return ds.map(
        augment_rows,
        batched=True,
        batch_size=STREAMED_ROWS,
        remove_columns=ds.column_names,
        features=datasets.Features.from_arrow_schema(SCHEMA),
    )


def _table(rows: Any, augmenter: Augmenter, rule: CopyRule) -> pa.Table:
    squad = read_squad(rows, on_bad_answer=rule.on_bad_answer)
    check_ids(squad.name, squad.paragraphs, rule.copies)
    batches = row_batches(_augmented(squad.paragraphs, augmenter, rule))
    return pa.Table.from_batches(batches, SCHEMA)


def _augmented(
    paragraphs: Sequence[Paragraph], augmenter: Augmenter, rule: CopyRule
) -> Iterator[AugmentedParagraph]:
    """Make the copies, with candidates for many contexts at a time."""
    kept = keep_list(rule.keep_words)
    for start in range(0, len(paragraphs), CONTEXTS_AT_ONCE):
        some = paragraphs[start : start + CONTEXTS_AT_ONCE]
        store = augmenter.candidates([paragraph.context for paragraph in some])
        for paragraph in some:
            variants = make_variants(
                paragraph.context,
                store.slots(paragraph.context),
                [(answer.start, answer.end) for q in paragraph.questions for answer in q.answers],
                copies=rule.copies,
                replace_probability=rule.replace_probability,
                seed=rule.seed,
                keep_words=kept,
            )
            yield AugmentedParagraph(paragraph, variants)
