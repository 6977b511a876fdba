"""The two protocols that published SQuAD scores were made by, with every setting that counts."""

import sys
from dataclasses import dataclass
from typing import Literal

import numpy as np

from eval.reading.windows import WindowRule

DEFAULT_ANSWER_LENGTH = {"run_qa": 30, "farm": 1000}
FARM_QUERY_LENGTH = 64


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How a question is cut into windows and how the windows' logits become one answer.

    `run_qa`: transformers' example. The null scores its minimum over windows and wins if it beats
    the best span by more than the threshold.
    `farm`: Haystack 1.1 to 1.3, raw scores. The null wins if in every window it is at least as
    good as that window's best span (plus the threshold).

    Source: transformers examples/pytorch/question-answering/utils_qa.py; Haystack v1.1.0
    QuestionAnsweringHead.
    Differs: padding is never among the best starts and ends; equal logits go to the earlier token;
    where run_qa would answer the literal "empty" for want of a span, the answer is "".
    A stock Haystack 1.26 gives other answers than farm: it ranks by confidence.
    """

    name: Literal["run_qa", "farm"] = "run_qa"
    max_seq_length: int = 384
    doc_stride: int = 128
    max_query_length: int | None = None
    """In tokens; None for the protocol's own: no limit for run_qa, 64 for farm."""
    max_answer_length: int | None = None
    """Longest answer, in tokens; None for the protocol's own: 30 for run_qa, 1,000 for farm."""
    n_best_size: int = 20
    """Spans kept of a question; for run_qa also the starts and ends tried in a window."""
    null_score_diff_threshold: float = 0.0

    def __post_init__(self) -> None:
        if self.max_answer_length is None:
            object.__setattr__(self, "max_answer_length", DEFAULT_ANSWER_LENGTH[self.name])
        if self.max_query_length is None and self.name == "farm":
            object.__setattr__(self, "max_query_length", FARM_QUERY_LENGTH)
        for name in ("max_answer_length", "max_query_length", "n_best_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} {getattr(self, name)}: must be at least 1")
        if not np.isfinite(self.null_score_diff_threshold):
            raise ValueError("null_score_diff_threshold: must be a finite number")
        _ = self.window_rule

    @property
    def window_rule(self) -> WindowRule:
        """The window part of the protocol: `doc_stride` is an overlap, or a step for farm."""
        return WindowRule(
            max_seq_length=self.max_seq_length,
            doc_stride=self.doc_stride,
            max_query_length=self.max_query_length or sys.maxsize,
            stride_is="overlap" if self.name == "run_qa" else "step",
            strip_questions=self.name == "run_qa",
            answers_end="own" if self.name == "run_qa" else "next",
        )

    def null_wins(self, null_odds: float) -> bool:
        """Decide for 'no answer' from the null's lead over the spans."""
        if self.name == "run_qa":
            return null_odds > self.null_score_diff_threshold
        return null_odds >= self.null_score_diff_threshold

    def signature(self) -> str:
        """Name the protocol and its settings in a few words."""
        return (
            f"{self.name},len={self.max_seq_length},stride={self.doc_stride},"
            f"query={self.max_query_length},answer={self.max_answer_length},"
            f"nbest={self.n_best_size},null={self.null_score_diff_threshold}"
        )
