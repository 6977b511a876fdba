"""What is trained: one module, a student and its projections, whose `forward` gives the losses.

Losses are taken inside `forward`, so that they work under `DistributedDataParallel`, and the
projections are parameters of the module, so that they are trained and saved. The teacher is not
in it: it comes as tensors.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from distill.models.attention import Captured, capture_attention, fast_attention
from distill.models.losses import (
    Heads,
    RealTokens,
    SpanLogits,
    attention_probability_loss,
    attention_score_loss,
    hidden_state_loss,
    prediction_loss,
)
from distill.recipes import Stage
from eval.reading.encoder import encoder_of, head_of, layers_of


def model_inputs(model: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Choose of a batch what a model takes: not every one has token types."""
    names = ["input_ids", "attention_mask"]
    if getattr(model.config, "type_vocab_size", 0) > 1:
        names.append("token_type_ids")
    return {name: batch[name] for name in names if name in batch}


class IntermediateDistiller(nn.Module):
    """A student that learns its teacher's hidden states and attention, without its span head.

    The loss is `hidden_weight` times the sum over the embeddings and every layer of the hidden
    states' mean squared errors, plus `attention_weight` times the sum over layers of the
    attention's.
    Source: TinyBERT (Jiao et al. 2020), equations 7 to 9. Differs: a projection only where sizes
    differ, one for each state; padding is left out of the means (unless `count_padding`).
    """

    batch_inputs = ()
    """What it takes of a batch beside the model's inputs."""

    def __init__(self, student: Any, teacher_width: int, stage: Stage) -> None:
        super().__init__()
        self.student = student
        self.stage = stage
        for parameter in student.parameters():
            parameter.requires_grad_(False)
        for parameter in encoder_of(student).parameters():
            parameter.requires_grad_(True)
        num_layers = len(layers_of(student))
        width = student.config.hidden_size
        self.projections: nn.ModuleList | None = None
        if width != teacher_width:
            self.projections = nn.ModuleList(
                nn.Linear(width, teacher_width, bias=False) for _ in range(num_layers + 1)
            )
        self._captured: Captured | None = None
        if stage.attention_weight:
            self._captured = capture_attention(student, range(1, num_layers + 1))
        else:
            fast_attention(student)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        teacher_hidden: Sequence[Tensor],
        teacher_heads: Sequence[Heads],
        token_type_ids: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Give `loss` and its terms.

        Args:
            input_ids, attention_mask, token_type_ids: (batch, tokens).
            teacher_hidden: the embeddings and each matched layer, (batch, tokens, width) each.
            teacher_heads: queries and keys of each matched layer; empty without attention.
        """
        encoder = encoder_of(self.student)
        inputs = _inputs(input_ids, attention_mask, token_type_ids)
        hidden = encoder(**inputs, output_hidden_states=True).hidden_states
        real = RealTokens.of(attention_mask)
        counted = RealTokens.of(torch.ones_like(real.real)) if self.stage.count_padding else real
        terms = {}
        if self.stage.hidden_weight:
            if self.projections is not None:
                hidden = [project(h) for project, h in zip(self.projections, hidden, strict=True)]
            terms["hidden_loss"] = self.stage.hidden_weight * sum_of(
                hidden_state_loss(student, teacher, counted)
                for student, teacher in zip(hidden, teacher_hidden, strict=True)
            )
        if self._captured is not None:
            pairs = zip(self._captured.take(), teacher_heads, strict=True)
            terms["attention_loss"] = self.stage.attention_weight * sum_of(
                self._attention_loss(student, teacher, real) for student, teacher in pairs
            )
        return {"loss": sum_of(terms.values()), **terms}

    def _attention_loss(self, student: Heads, teacher: Heads, real: RealTokens) -> Tensor:
        if self.stage.attention_target == "probabilities":
            return attention_probability_loss(
                student, teacher, real, count_padding=self.stage.count_padding
            )
        return attention_score_loss(student, teacher, real)


class SpanDistiller(nn.Module):
    """A student that learns its teacher's start and end distributions, labels, or both.

    Its span head runs in float32, as the teacher's does.
    """

    batch_inputs = ("positions", "teacher_start", "teacher_end")
    """What it takes of a batch beside the model's inputs."""

    def __init__(self, student: Any, stage: Stage, extra_terms: Sequence[nn.Module] = ()) -> None:
        """Make one of a student.

        Args:
            student: a reader.
            stage: its losses.
            extra_terms: modules whose `forward(student)` gives further terms of the loss by name;
                their parameters are trained with the student's.
        """
        super().__init__()
        self.student = student
        self.stage = stage
        self.extra_terms = nn.ModuleList(extra_terms)
        for parameter in student.parameters():
            parameter.requires_grad_(True)
        fast_attention(student)
        head = head_of(student)
        if stage.head_dropout:
            self._dropout_before(head)
        head.register_forward_hook(_exactly)

    def _dropout_before(self, head: nn.Module) -> None:
        """Drop inputs of the span head in training, as Haystack does and BERT's reader does not."""

        def drop(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            hidden = nn.functional.dropout(args[0], self.stage.head_dropout, module.training)
            return (hidden, *args[1:])

        head.register_forward_pre_hook(drop)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        positions: Tensor,
        teacher_start: Tensor | None = None,
        teacher_end: Tensor | None = None,
        token_type_ids: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Give `loss` and its terms.

        Args:
            input_ids, attention_mask, token_type_ids: (batch, tokens).
            positions: first and last token of the answer, (batch, 2).
            teacher_start, teacher_end: logits, (batch, tokens); None where nobody teaches.
        """
        output = self.student(**_inputs(input_ids, attention_mask, token_type_ids))
        teacher = None
        if teacher_start is not None and teacher_end is not None:
            teacher = SpanLogits(teacher_start, teacher_end)
        taught = self.stage.kind == "prediction"
        losses = prediction_loss(
            SpanLogits(output.start_logits, output.end_logits),
            teacher,
            positions,
            torch.ones_like(attention_mask) if self.stage.count_padding else attention_mask,
            kd_weight=self.stage.kd_weight if taught else 0.0,
            hard_weight=self.stage.hard_weight if taught else 1.0,
            temperature=self.stage.temperature,
            span_reduction=self.stage.span_reduction,
        )
        for terms in self.extra_terms:
            for name, term in terms(self.student).items():
                losses[name] = term
                losses["loss"] = losses["loss"] + term
        return losses


def _exactly(head: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """Give a span head's logits in float32, also within an autocast region."""
    if output.dtype == torch.float32:
        return output
    weight, bias = cast(Tensor, head.weight), cast(Tensor, head.bias)
    with torch.autocast(output.device.type, enabled=False):
        return nn.functional.linear(args[0].float(), weight.float(), bias.float())


def _inputs(ids: Tensor, mask: Tensor, types: Tensor | None) -> dict[str, Tensor]:
    given = {"input_ids": ids, "attention_mask": mask}
    return given if types is None else {**given, "token_type_ids": types}


def sum_of(terms: Any) -> Tensor:
    """Add tensors; there must be one."""
    return torch.stack(list(terms)).sum()
