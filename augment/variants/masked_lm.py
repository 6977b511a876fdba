"""Candidates from a masked LM: the most likely words at a word's masked place.

The encoder runs in a 16-bit type where the hardware has it; the vocabulary head runs in fp32, at
the masked places alone, over whole words alone. Shapes are fixed by the settings (rows padded to
a multiple of 32, a fixed number of rows a batch, 64 places a head call, the last ones filled up
with blanks), so a context's candidates do not depend on its company.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from augment.base.checkpoints import check_whole, load_model, load_tokenizer
from augment.base.progress import say_done
from augment.variants.masking import MaskingRule, Row, one_piece_words, plan_rows, windows
from augment.variants.offsets import check_offsets, trimmed
from augment.variants.vocabulary import read_vocabulary
from augment.variants.words import ENGLISH, Span, WordRule, kind_of, replaceable_words

if TYPE_CHECKING:
    import torch

Item = TypeVar("Item")

LENGTH_STEP = 32  # rows are padded to a multiple of this many wordpieces
HEAD_PLACES = 64  # masked places in one call of the vocabulary head
SPARE = 16  # candidates fetched beyond twice the number wanted, for those that are filtered out


@dataclass(frozen=True, kw_only=True)
class MaskedLMSettings:
    """Everything besides the text and the weights that shapes a word's candidates."""

    num_candidates: int
    masking: MaskingRule
    words: WordRule
    batch_tokens: int
    dtype: str
    device_class: str
    language: str = ENGLISH
    accelerator: str | None = None
    """The GPU's name; None on a CPU."""


@dataclass(frozen=True)
class ContextCandidates:
    """A context's replaceable words and what the masked LM would put in their places."""

    starts: NDArray[np.int32]
    ends: NDArray[np.int32]
    one_piece: NDArray[np.bool_]
    """Whether the word is one wordpiece, so that the masked LM was asked."""
    token_ids: NDArray[np.int32]
    """(words, num_candidates), the most likely first, filled up with -1."""


class MaskedLM:
    """A loaded masked LM. Build it with `MaskedLM.load`."""

    def __init__(
        self, model: Any, tokenizer: Any, device: str, dtype: str, language: str = ENGLISH
    ) -> None:
        import torch

        check_offsets(tokenizer)
        tokenizer.split_special_tokens = True  # "[MASK]" in a text is text
        self.tokenizer = tokenizer
        self.device = torch.device(device)
        self.prefix, self.suffix = _special_ends(tokenizer)
        self.max_pieces = _max_positions(model, tokenizer) - len(self.prefix) - len(self.suffix)
        if self.max_pieces < 1:
            raise ValueError(f"{tokenizer.name_or_path}: no positions left for a text")
        self.language = language
        self.vocabulary = read_vocabulary(tokenizer, language)
        if model.get_output_embeddings() is None:
            raise ValueError(f"{type(model).__name__}: a masked-LM head of an unsupported build")
        if device == "cpu" and dtype == "bfloat16" and model._supports_attention_backend:
            from augment.variants.attention import register

            model.set_attn_implementation(register())
        self._split_head(model.eval(), getattr(torch, dtype))

    @classmethod
    def load(
        cls, name: str, device: str = "cpu", dtype: str = "float32", language: str = ENGLISH
    ) -> "MaskedLM":
        """Load a masked LM from a folder, a hub id, or `embedded`.

        Raises:
            ValueError: what `load_masked_lm` refuses, or a head of an unknown build.
            OSError: nothing of that name.
        """
        tokenizer, model = load_masked_lm(name)
        return cls(model, tokenizer, device, dtype, language)

    def candidates(
        self, contexts: Sequence[str], words: Sequence[Sequence[Span]], settings: MaskedLMSettings
    ) -> list[ContextCandidates]:
        """Find candidates for every replaceable word of each context.

        Args:
            contexts: any number of texts.
            words: all words of each text (`find_words`).
            settings: `num_candidates`, `masking`, `words` and `batch_tokens` are used.
        """
        found, rows = [], []
        for number, (context, spans) in enumerate(zip(contexts, words, strict=True)):
            kept = replaceable_words(context, spans, settings.words, self.language)
            ids, places, pieces = self.places(context, kept)
            cuts = windows(context, pieces, self.max_pieces)
            for row in plan_rows(places, cuts, len(spans), settings.masking, settings.words):
                rows.append((number, row, ids))
            starts_ends = np.array(kept, np.int32).reshape(-1, 2)
            found.append(
                ContextCandidates(
                    starts_ends[:, 0],
                    starts_ends[:, 1],
                    np.array(places) >= 0,
                    np.full((len(kept), settings.num_candidates), -1, np.int32),
                )
            )
        for number, word, top in self._predict(rows, settings):
            result = found[number]
            original = contexts[number][result.starts[word] : result.ends[word]]
            chosen = self._distinct(original, top, settings.num_candidates)
            result.token_ids[word, : len(chosen)] = chosen
        return found

    def places(
        self, context: str, words: Sequence[Span]
    ) -> tuple[list[int], list[int], list[Span]]:
        """Cut a context into wordpieces and find the words among them.

        Returns:
            the wordpieces' token ids; for each word its wordpiece, or -1 if it is not one that
            stands for a whole word; the wordpieces' character spans.
        """
        encoded = self.tokenizer(
            context,
            add_special_tokens=False,
            return_offsets_mapping=True,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        ids, pieces = encoded["input_ids"], trimmed(context, encoded["offset_mapping"])
        places = [
            place if place >= 0 and self.vocabulary.texts[ids[place]] else -1
            for place in one_piece_words(words, pieces)
        ]
        return ids, places, pieces

    def _predict(
        self, rows: Sequence[tuple[int, Row, list[int]]], settings: MaskedLMSettings
    ) -> Iterator[tuple[int, int, NDArray[np.int64]]]:
        """Run the rows by padded length; give (context, word, token ids from likely to not)."""
        by_length = defaultdict(list)
        contexts = len({number for number, _, _ in rows})
        ends = len(self.prefix) + len(self.suffix)
        for item in rows:
            length = item[1].stop - item[1].start + ends
            by_length[-(-length // LENGTH_STEP) * LENGTH_STEP].append(item)
        for length, group in sorted(by_length.items()):
            rows_per_batch = max(1, settings.batch_tokens // length)
            for batch in chunks(group, rows_per_batch):
                yield from self._predict_batch(batch, length, rows_per_batch, settings)
                say_done(contexts * len(batch) / len(rows))

    def _predict_batch(
        self,
        batch: Sequence[tuple[int, Row, list[int]]],
        length: int,
        num_rows: int,
        settings: MaskedLMSettings,
    ) -> Iterator[tuple[int, int, NDArray[np.int64]]]:
        input_ids = np.full((num_rows, length), self.tokenizer.pad_token_id or 0, np.int64)
        attention_mask = np.zeros((num_rows, length), np.int64)
        input_ids[:, 0], attention_mask[:, 0] = self.tokenizer.mask_token_id, 1  # a blank row
        places: dict[tuple[bool, str], list[tuple[int, int, int, int]]] = defaultdict(list)
        for index, (number, row, ids) in enumerate(batch):
            line = [*self.prefix, *ids[row.start : row.stop], *self.suffix]
            input_ids[index, : len(line)] = line
            attention_mask[index, : len(line)] = 1
            for piece, word in zip(row.masked, row.words, strict=True):
                column = piece - row.start + len(self.prefix)
                input_ids[index, column] = self.tokenizer.mask_token_id
                places[self._group(ids[piece])].append((index, column, number, word))
        hidden = self._encode(input_ids, attention_mask)
        for key, alike in places.items():
            columns = self.vocabulary.groups[key]
            for chunk in chunks(alike, HEAD_PLACES):
                top = self._top(hidden, chunk, columns, settings.num_candidates)
                for (_, _, number, word), token_ids in zip(chunk, top, strict=True):
                    yield number, word, token_ids

    def _group(self, token_id: int) -> tuple[bool, str]:
        """Tell which tokens may replace this one: those of its kind."""
        kind = kind_of(self.vocabulary.texts[token_id], self.language)
        assert kind is not None  # such words are not replaceable
        return bool(self.vocabulary.is_tight[token_id]), kind

    def _encode(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]
    ) -> "torch.Tensor":
        """Give the last hidden states, (rows, wordpieces, size), in fp32."""
        import torch

        with torch.inference_mode():
            states = self.encoder(
                input_ids=torch.from_numpy(input_ids).to(self.device),
                attention_mask=torch.from_numpy(attention_mask).to(self.device),
            )[0].float()
        return cast("torch.Tensor", states)

    def _top(
        self,
        hidden: "torch.Tensor",
        places: Sequence[tuple[int, int, int, int]],
        columns: slice,
        num_candidates: int,
    ) -> NDArray[np.int64]:
        """Give token ids by falling logit, the lower id first among equals."""
        import torch

        at = np.zeros((HEAD_PLACES, 2), np.int64)
        at[: len(places)] = [place[:2] for place in places]
        index = torch.from_numpy(at).to(self.device)
        with torch.inference_mode():
            gathered = hidden[index[:, 0], index[:, 1]].unsqueeze(0)
            logits = self.head(inputs_embeds=gathered).logits[0, : len(places), columns]
            wanted = min(2 * num_candidates + SPARE, logits.shape[1])
            values, indices = logits.topk(wanted)
        if not torch.isfinite(values).all():
            raise ValueError("the masked LM gave NaN or infinite logits; try --dtype float32")
        token_ids = self.vocabulary.ids[columns][indices.cpu().numpy()]
        order = np.lexsort((token_ids, -values.cpu().numpy()))
        return np.take_along_axis(token_ids, order, axis=1)

    def _distinct(self, original: str, token_ids: NDArray[np.int64], number: int) -> list[int]:
        """Keep the first `number` that differ from the word and from each other without case."""
        kept: dict[str, int] = {original.casefold(): -1}
        for token_id in token_ids.tolist():
            kept.setdefault(self.vocabulary.texts[token_id].casefold(), token_id)
            if len(kept) > number:
                break
        return list(kept.values())[1:]

    def _split_head(self, model: Any, dtype: "torch.dtype") -> None:
        """Split the model into a 16-bit encoder and an fp32 head over whole words only.

        The head keeps its own code: the model runs with its encoder replaced by one that passes
        `inputs_embeds` through.

        Raises:
            ValueError: the parted model does not give the whole model's logits.
        """
        import torch
        from transformers.modeling_outputs import BaseModelOutput

        class PassThrough(torch.nn.Module):
            def forward(self, *args: Any, **kwargs: Any) -> Any:
                return BaseModelOutput(last_hidden_state=kwargs["inputs_embeds"])

        trial = torch.tensor([[*self.prefix, self.tokenizer.mask_token_id, *self.suffix]])
        kept = torch.from_numpy(self.vocabulary.ids)
        with torch.inference_mode():
            expected = model(input_ids=trial).logits[..., kept]
        self.encoder = model.base_model
        setattr(model, model.base_model_prefix, PassThrough())
        self.head = model
        output = model.get_output_embeddings()
        output.weight = torch.nn.Parameter(output.weight[kept].detach(), requires_grad=False)
        if output.bias is not None:
            output.bias = torch.nn.Parameter(output.bias[kept].detach(), requires_grad=False)
        with torch.inference_mode():
            parted = model(inputs_embeds=self.encoder(input_ids=trial)[0]).logits
        if parted.shape != expected.shape or not torch.allclose(parted, expected, atol=1e-4):
            raise ValueError(f"{type(model).__name__}: a masked-LM head of an unsupported build")
        self.head.to(self.device)
        self.encoder.to(self.device, dtype)


def load_masked_lm(name: str) -> tuple[Any, Any]:
    """Load a masked LM and its tokenizer, float32, in eval mode.

    Raises:
        ValueError: no masked LM, or a tokenizer that is not its own or has no mask token.
        OSError: nothing of that name.
    """
    tokenizer = load_tokenizer(name)
    if tokenizer.mask_token_id is None:
        raise ValueError(f"{name}: this tokenizer has no mask token")
    model, missing = load_model("AutoModelForMaskedLM", name)
    check_whole(name, missing, "it is no masked LM; pass one that is")
    return tokenizer, model


def words_alone(
    context: str, words: Sequence[Span], rule: WordRule, language: str = ENGLISH
) -> ContextCandidates:
    """Give a context's replaceable words without asking a model: all are GloVe's."""
    kept = replaceable_words(context, words, rule, language)
    spans = np.array(kept, np.int32).reshape(-1, 2)
    none = np.empty((len(kept), 0), np.int32)
    return ContextCandidates(spans[:, 0], spans[:, 1], np.zeros(len(kept), np.bool_), none)


def chunks(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Cut a sequence into runs of `size`, the last one shorter."""
    return (items[start : start + size] for start in range(0, len(items), size))


def _special_ends(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Give the special tokens before and after a text."""
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    begin = next(i for i in range(len(whole)) if whole[i : i + len(plain)] == plain)
    return whole[:begin], whole[begin + len(plain) :]


def _max_positions(model: Any, tokenizer: Any) -> int:
    """Count the positions a text can use; RoBERTa's table begins after its padding index."""
    embeddings = getattr(model.base_model, "embeddings", None)
    table = getattr(embeddings, "position_embeddings", None)
    padding: int | None = getattr(table, "padding_idx", None)
    offset = 0 if padding is None else padding + 1
    positions = getattr(model.config, "max_position_embeddings", None) or 512
    return int(min(positions - offset, tokenizer.model_max_length))
