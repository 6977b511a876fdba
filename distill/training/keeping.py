"""Students as checkpoints that any reader loads: a stage's, and those of some of its steps."""

import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from augment.base.folders import rename_folder
from distill.models.attention import CAPTURE
from eval.reading.encoder import encoder_of


def save_student(student: Any, tokenizer: Any, folder: Path) -> None:
    """Write a student as an ordinary checkpoint: no hook, no capture, PyTorch's own attention.

    A pruned one goes with its pruning.json.
    """
    if encoder_of(student).config._attn_implementation == CAPTURE:
        student.set_attn_implementation("sdpa")
    write_student(student, tokenizer, folder)


def write_student(student: Any, tokenizer: Any, folder: Path) -> None:
    """Write a student that goes on being trained: its attention stays as it is."""
    student.save_pretrained(folder)
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.save_pretrained(folder)


class KeptSteps(TrainerCallback):  # type: ignore[misc]
    """Keeps the student as it is after some steps; one that is kept already stays."""

    def __init__(
        self, student: Any, tokenizer: Any, steps: Collection[int], folder_of: Callable[[int], Path]
    ) -> None:
        self.student, self.tokenizer = student, tokenizer
        self.steps, self.folder_of = frozenset(steps), folder_of

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Write it, when it is time."""
        folder = self.folder_of(state.global_step)
        wanted = state.global_step in self.steps and state.is_world_process_zero
        if not wanted or folder.is_dir():
            return
        incomplete = folder.with_name(folder.name + ".incomplete")
        shutil.rmtree(incomplete, ignore_errors=True)
        write_student(self.student, self.tokenizer, incomplete)
        rename_folder(incomplete, folder)
