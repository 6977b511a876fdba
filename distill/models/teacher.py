"""What a teacher says of a batch, and its logits kept on disk.

A teacher is in eval mode, needs no gradients, and stands outside of what is trained and saved.
"""

import hashlib
import json
import os
import sys
import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from augment.base.command import default_cache, needing
from augment.base.commit import write_atomic
from augment.base.folders import check_room, claimed
from distill.models.attention import capture_attention, fast_attention
from distill.models.distiller import model_inputs
from distill.rows.batches import Batches
from distill.rows.features import Features
from eval.reading.encoder import encoder_of, head_of
from eval.reading.processes import gather, keeper_of, process_rank, wait_for_all

FORMAT = 2
"""2: with a checksum of every window."""
LOGITS, CHECKS = "logits.bin", "checks.bin"
CHUNK = 4096
"""Windows whose logits are made between two writes to disk."""
Targets = Callable[[dict[str, Tensor]], dict[str, Any]]
"""From a batch to what the teacher adds to it, as arguments of the distiller's `forward`."""


class IntermediateTeacher:
    """Gives the hidden states and heads of the matched layers of a frozen teacher."""

    def __init__(self, model: Any, layer_map: Sequence[int], *, attention: bool) -> None:
        self.encoder = encoder_of(model)
        self.layer_map = tuple(layer_map)
        self.captured = None
        if attention:
            self.captured = capture_attention(model, self.layer_map)
        else:
            fast_attention(model)

    @torch.no_grad()
    def __call__(self, batch: dict[str, Tensor]) -> dict[str, Any]:
        """Give `teacher_hidden` and `teacher_heads` of a batch."""
        inputs = model_inputs(self.encoder, batch)
        hidden = self.encoder(**inputs, output_hidden_states=True).hidden_states
        return {
            "teacher_hidden": [hidden[layer] for layer in (0, *self.layer_map)],
            "teacher_heads": self.captured.take() if self.captured else [],
        }


class SpanTeacher:
    """Gives the start and end logits of a frozen teacher, computed anew for each batch.

    The span head runs in float32: in bfloat16 logits from 8 to 16 would be 0.06 apart.
    """

    def __init__(self, model: Any) -> None:
        fast_attention(model)
        self.model = model
        head_of(model).float().register_forward_pre_hook(lambda _, inputs: (inputs[0].float(),))

    @torch.no_grad()
    def __call__(self, batch: dict[str, Tensor]) -> dict[str, Any]:
        """Give `teacher_start` and `teacher_end` of a batch, float32."""
        output = self.model(**model_inputs(self.model, batch))
        return {
            "teacher_start": output.start_logits.float(),
            "teacher_end": output.end_logits.float(),
        }


class TeacherLogits:
    """Start and end logits of every window that a training reads, float32, memory-mapped.

    `logits` is (tokens, 2); `checks` is (windows,), the CRC-32 of a window's logits, 0 where they
    are not there.

    The files lie in the cache under the hash of the windows and of what the teacher is. A window
    is computed once, whichever epoch or run asks for it first; an interrupted computation goes
    on, since a window's checksum is written when its logits are on disk. Logits that do not fit
    their checksum are computed again.
    """

    def __init__(
        self, features: Features, teacher_sha256: str, dtype: str, cache: Path | None = None
    ) -> None:
        described = {"features": features.key, "teacher": teacher_sha256, "dtype": dtype}
        text = json.dumps({**described, "format": FORMAT}, sort_keys=True)
        self.key = hashlib.sha256(text.encode()).hexdigest()
        self.features = features
        self.folder = (cache or default_cache()) / f"logits-{self.key[:16]}"
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with claimed(self.folder, wait=True):
            self._open()
        self._proven = np.zeros(len(features), np.bool_)

    def read(self, flat: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Give the start and end logits of tokens, by their places in `features.tokens`."""
        both = self.logits[flat]
        return both[..., 0], both[..., 1]

    def missing(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Of some rows, give those whose logits are not there yet, longest first."""
        wanted = np.unique(rows)
        wanted = wanted[~self._proven[wanted]]
        there = wanted[np.asarray(self.checks[wanted]) != 0]
        proven = np.array([self._check(row) == self.checks[row] for row in there], np.bool_)
        self._proven[there[proven]] = True
        if not proven.all():
            print(
                f"{self.folder}: {(~proven).sum()} windows are damaged, and computed again",
                file=sys.stderr,
            )
        return self._longest_first([wanted[~self._proven[wanted]]])

    def _longest_first(self, parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
        """Give each row once, by the lengths of their windows."""
        rows = np.unique(np.concatenate(parts))
        longest_first: NDArray[np.int64] = rows[
            np.argsort(-self.features.lengths[rows], kind="stable")
        ]
        return longest_first

    def fill(self, rows: NDArray[np.int64], model: Any, batch_size: int) -> int:
        """Compute the logits of those of `rows` that are missing; give their number.

        Processes of `torchrun` share the work. What one of them computes, each keeper of a cache
        writes into it: a node may have a cache of its own.
        """
        from tqdm import tqdm

        rank, world = process_rank()
        is_keeper = keeper_of(self.folder) == rank
        with claimed(self.folder, wait=True) if is_keeper else nullcontext():
            missing = self._longest_first(gather(self.missing(rows) if is_keeper else rows[:0]))
            if not len(missing):
                return 0
            num_bytes = 8 * int(self.features.lengths[missing].sum())
            if is_keeper:
                check_room(self.folder, num_bytes)
            batches = Batches(self.features, 0, batch_size, 1, 0)
            teacher = SpanTeacher(model)
            shown = sys.stderr.isatty() and rank == 0
            bar = tqdm(total=len(missing), desc="teacher", unit=" windows", disable=not shown)
            for start in range(0, len(missing), CHUNK):
                chunk = missing[start : start + CHUNK]
                places = range(0, len(chunk), batch_size)[rank::world]
                computed = [
                    self._compute(chunk[place : place + batch_size], batches, teacher)
                    for place in places
                ]
                parts = gather(computed)
                if is_keeper:
                    made = (pair for part in parts for made in part for pair in made)
                    with needing(num_bytes):
                        self._write(chunk, made)
                self._proven[chunk] = True
                bar.update(len(chunk))
            bar.close()
        wait_for_all()
        return len(missing)

    def _compute(
        self, rows: NDArray[np.int64], batches: Batches, teacher: SpanTeacher
    ) -> list[tuple[np.int64, NDArray[np.float32]]]:
        """Give some windows with their logits, (tokens, 2)."""
        batch = batches.collate(rows)
        device = teacher.model.device
        given = teacher({name: tensor.to(device) for name, tensor in batch.items()})
        both = torch.stack([given["teacher_start"], given["teacher_end"]], -1).cpu().numpy()
        made = [(row, both[place, : self.features.lengths[row]]) for place, row in enumerate(rows)]
        if not all(np.isfinite(logits).all() for _, logits in made):
            raise ValueError(
                "the teacher gives NaN or infinite logits; try --dtype float32, and check "
                "that its training ended well"
            )
        return made

    def _write(
        self,
        chunk: NDArray[np.int64],
        made: Iterable[tuple[np.int64, NDArray[np.float32]]],
    ) -> None:
        """Write windows' logits: into the file, since a full disk kills who writes a map."""
        with (self.folder / LOGITS).open("rb+") as file:
            for row, logits in made:
                file.seek(8 * int(self.features.starts[row]))
                file.write(np.ascontiguousarray(logits, np.float32).tobytes())
            file.flush()
            os.fsync(file.fileno())
        self.checks[chunk] = [self._check(row) for row in chunk]
        self.checks.flush()

    def _check(self, row: np.int64) -> int:
        """Give the checksum of a window's logits as they lie there; never 0."""
        start = self.features.starts[row]
        return zlib.crc32(self.logits[start : start + self.features.lengths[row]].tobytes()) or 1

    def _open(self) -> None:
        """Map the files, made first (sparse, nothing in them) unless both are there, whole.

        Under the lock: a file that is replaced while another process maps the old one would take
        that one's logits with it.
        """
        sizes = {CHECKS: 4 * len(self.features), LOGITS: 8 * len(self.features.tokens)}
        paths = {name: self.folder / name for name in sizes}
        if any(not p.is_file() or p.stat().st_size != sizes[n] for n, p in paths.items()):
            write_atomic(paths[CHECKS], bytes(sizes[CHECKS]))  # first: killed between, none is
            write_atomic(paths[LOGITS], partial(_sparse, sizes[LOGITS]))  # said to be there
        shape = (len(self.features.tokens), 2)
        self.logits = np.memmap(paths[LOGITS], np.float32, "r", shape=shape)
        self.checks = np.memmap(paths[CHECKS], np.uint32, "r+")


def _sparse(size: int, path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(size)
