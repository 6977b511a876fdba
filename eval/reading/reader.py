"""A reader: a checkpoint with a span head, its tokenizer and a protocol, asked in batches."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from augment.base.checkpoints import (
    check_whole,
    damage_named,
    load_config,
    load_model,
    load_tokenizer,
)
from augment.base.command import UsageError
from augment.base.models import Device, pick_device, warn_if_emulated
from eval.reading.answers import Answer, Span, choose_answers
from eval.reading.encoder import positions_of
from eval.reading.exported import is_exported, load_exported
from eval.reading.processes import gather, process_rank
from eval.reading.protocol import Protocol
from eval.reading.pruned import is_pruned, load_pruned
from eval.reading.spans import WindowSpans, find_spans
from eval.reading.windows import Window, WindowSet, cut_windows, pad_windows

if TYPE_CHECKING:
    pass

Dtype = Literal["float32", "bfloat16", "float16"]

Find = Callable[[Sequence[Sequence[Window]]], Iterable[tuple[int, WindowSpans]]]
"""Finds the spans of batches; gives each batch's number with them, in any order."""


EMBEDDED = Path(__file__).parents[1] / "embedded"
"""The reader that ships with the package."""


def find_reader(name: str | Path) -> str:
    """Give the folder of the reader that ships for `embedded`, and any other name as it is."""
    return str(EMBEDDED) if name == "embedded" else str(name)


@dataclass
class Reader:
    """Answers questions from their contexts.

    `Reader.load("folder or hub id").answer("Who ...?", "Context ...").text`
    """

    model: Any
    """A transformers model that gives `start_logits` and `end_logits`, in eval mode, or an
    `ExportedReader`, which is called alike."""
    tokenizer: Any
    """Its fast tokenizer."""
    protocol: Protocol = field(default_factory=Protocol)
    batch_size: int = 32
    """Windows in a batch."""
    counts: dict[str, int] = field(default_factory=dict)
    """What `read` counted last: windows, truncated questions, questions without a span."""

    @classmethod
    def load(
        cls,
        name: str | Path,
        *,
        protocol: Protocol | None = None,
        batch_size: int = 32,
        device: Device = "auto",
        dtype: Dtype = "float32",
        allow_bin: bool = False,
    ) -> "Reader":
        """Load a checkpoint by its folder or hub id, or the one that ships as `embedded`.

        What `distill.export` made of one is loaded as well, by its folder.

        Raises:
            ValueError: no span head, no fast tokenizer, or fewer positions than the windows have.
            OSError: nothing of that name, or no safetensors (see `allow_bin`).
        """
        if is_exported(name):
            tokenizer, model = load_exported(name, device=device, dtype=dtype)
        else:
            tokenizer, model = load_checkpoint(find_reader(name), dtype=dtype, allow_bin=allow_bin)
            place = pick_device(device)
            warn_if_emulated(dtype, place.type)
            model = model.to(place)
        reader = cls(model, tokenizer, protocol or Protocol(), batch_size)
        reader.check_length()
        return reader

    def answer(
        self, question: str, context: str, n_best: int = 1, *, may_be_null: bool = True
    ) -> Answer:
        """Answer one question; `spans` of the answer holds the `n_best` different spans."""
        return self.answer_many([(question, context)], n_best, may_be_null=may_be_null)[0]

    def answer_many(
        self,
        pairs: Iterable[tuple[str, str] | Mapping[str, str]],
        n_best: int = 1,
        *,
        may_be_null: bool = True,
    ) -> list[Answer]:
        """Answer (question, context) pairs, in their order.

        Args:
            pairs: any number, also of {"question": ..., "context": ...}; they share batches.
            n_best: spans to give with each answer.
            may_be_null: whether 'no answer' may be given.

        Raises:
            ValueError: a pair that is none, or a question or context that is no text.
        """
        if not 1 <= n_best <= self.protocol.n_best_size:
            raise ValueError(f"n_best {n_best}: must be 1 to {self.protocol.n_best_size}")
        taken = [_pair(number, pair) for number, pair in enumerate(pairs)]
        questions, contexts = [pair[0] for pair in taken], [pair[1] for pair in taken]
        answers = self.read(questions, contexts, may_be_null=may_be_null)
        return [answer._replace(spans=_different(answer.spans, n_best)) for answer in answers]

    def read(
        self,
        questions: Sequence[str],
        contexts: Sequence[str],
        *,
        may_be_null: bool = True,
        progress: bool = False,
        find: Find | None = None,
    ) -> list[Answer]:
        """Answer one question for each context; with all spans that the protocol keeps.

        Under `torchrun` the windows are split among the processes and every process gets all
        answers. `find`, if given, has readers like this one find the spans of batches elsewhere.
        """
        if not len(questions):
            return []
        for what, texts in (("question", questions), ("context", contexts)):
            for number, text in enumerate(texts):
                _check_text(f"{what} {number}", text)
        cut = cut_windows(self.tokenizer, questions, contexts, self.protocol.window_rule)
        spans = WindowSpans.empty(len(cut.windows), self.protocol.n_best_size)
        batches = self._batches(cut)
        if find is None:
            for rows, found in self._find(cut, batches, progress):
                spans.put(rows, found)
        else:
            for number, found in find([[cut.windows[row] for row in rows] for rows in batches]):
                spans.put(batches[number], found)
        rows = np.array([window.row for window in cut.windows])
        answers = choose_answers(rows, spans, contexts, self.protocol, may_be_null)
        without = sum(not answer.spans for answer in answers)
        self.counts = {**cut.counts, "questions_without_span": without}
        return answers

    def logits(
        self, windows: Sequence[Window], length: int | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Run one batch of windows, padded to the longest or to `length`.

        Returns:
            Start and end logits, (windows, length), float32 whatever the model computes in.

        Raises:
            ValueError: NaN or infinite logits.
        """
        import torch

        batch = pad_windows(windows, self.tokenizer.pad_token_id, length)
        inputs = {
            name: torch.from_numpy(ids).to(self.model.device, non_blocking=True)
            for name, ids in batch.items()
        }
        with torch.inference_mode():
            output = self.model(**inputs)
        logits = torch.stack([output.start_logits, output.end_logits]).float().cpu().numpy()
        if not np.isfinite(logits[:, batch["attention_mask"] == 1]).all():
            raise ValueError(
                "the reader gave NaN or infinite logits; try --dtype float32, and check that its "
                "training ended well"
            )
        return logits[0], logits[1]

    def check_length(self) -> None:
        """Stop when the windows are longer than the model's positions."""
        limits = (
            positions_of(self.model.config),
            getattr(self.tokenizer, "model_max_length", None),
        )
        limit = min((limit for limit in limits if limit), default=None)
        if limit is not None and self.protocol.max_seq_length > limit:
            raise UsageError(
                f"max_seq_length {self.protocol.max_seq_length}: the model has {limit} positions"
            )

    def find(self, windows: Sequence[Window]) -> WindowSpans:
        """Find the spans of a batch."""
        return find_spans(windows, *self.logits(windows), self.protocol)

    def _batches(self, cut: WindowSet) -> list[NDArray[np.int64]]:
        """Put windows of about one length together, the longest first; give their numbers."""
        lengths = np.array([len(window) for window in cut.windows])
        order = np.argsort(-lengths, kind="stable")
        starts = range(0, len(order), self.batch_size)
        return [order[start : start + self.batch_size] for start in starts]

    def _find(
        self, cut: WindowSet, batches: Sequence[NDArray[np.int64]], progress: bool
    ) -> Iterator[tuple[NDArray[np.int64], WindowSpans]]:
        """Find the spans of all batches, this process's and the others'."""
        from tqdm import tqdm

        rank, world = process_rank()
        own = batches[rank::world]
        hidden = None if progress and rank == 0 else True  # None: hidden when not a terminal
        found = []
        for rows in tqdm(own, desc="windows", unit="batch", disable=hidden):
            found.append((rows, self.find([cut.windows[row] for row in rows])))
        return (pair for part in gather(found) for pair in part)


def load_checkpoint(name: str | Path, *, dtype: Dtype, allow_bin: bool) -> tuple[Any, Any]:
    """Load a fast tokenizer and a span model in eval mode; safetensors, unless `allow_bin`.

    Raises:
        ValueError: no span head in the checkpoint, a tokenizer that is not its own, or damage.
        OSError: nothing of that name, or no safetensors.
    """
    import torch

    tokenizer = load_tokenizer(name)
    if is_pruned(load_config(name)):
        with damage_named(name, "weights"):
            model = load_pruned(name, dtype=getattr(torch, dtype), allow_bin=allow_bin)
        return tokenizer, model
    model, missing = load_model(
        "AutoModelForQuestionAnswering", name, dtype=dtype, allow_bin=allow_bin
    )
    check_whole(
        name, missing, "it is no reader yet; name a checkpoint that was fine-tuned on SQuAD"
    )
    return tokenizer, model


def _pair(number: int, pair: Any) -> tuple[str, str]:
    """Take a question and its context apart."""
    if isinstance(pair, Mapping) and {"question", "context"} <= pair.keys():
        return pair["question"], pair["context"]
    if isinstance(pair, Sequence) and not isinstance(pair, str) and len(pair) == 2:
        return pair[0], pair[1]
    raise ValueError(
        f'pair {number} is {pair!r:.60}; give (question, context) or {{"question": ..., '
        '"context": ...}'
    )


def _check_text(what: str, text: Any) -> None:
    """See that a tokenizer can take a text.

    Raises:
        ValueError: it is no string, or holds half a character.
    """
    if not isinstance(text, str):
        raise ValueError(f"{what} is {text!r:.60}, not a text")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{what}: a lone surrogate at character {error.start} of {text!r:.60}"
        ) from error


def _different(spans: Sequence[Span], n_best: int) -> tuple[Span, ...]:
    """Keep the first `n_best` spans, each once though overlapping windows give some twice."""
    kept: dict[tuple[int, int], Span] = {}
    for span in spans:
        kept.setdefault((span.start, span.end), span)
    return tuple(islice(kept.values(), n_best))
