"""Rows of a set, or plain text, as labelled windows: tokenised once, memory-mapped ever after.

The cache is addressed by everything that shapes it: the rows' hash, which of them, the tokenizer
and the window rule. A training reads windows straight from the mapped files, so its memory does
not grow with the set but for the order: some 30 bytes a window.
"""

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from augment.base.command import UsageError, default_cache
from augment.base.commit import file_sha256
from augment.base.set_records import is_set, read_manifest
from augment.base.stored import stored
from augment.remote.fetching import source_at_hand
from augment.shards import manifest_sha256, read_shard, shard_paths
from augment.squad import TRAIN_PART, OnBadAnswer, Part, SquadSet, read_squad
from eval.reading.windows import Window, WindowRule, cut_windows, label_window

FORMAT = 2
"""2: with checksums."""
CHUNK = 2000  # rows tokenised at once
OF_A_BYTE = 0.5
"""Bytes of windows for a byte of text, about: ids of 2 bytes, and 20 bytes for each window."""


class Row(NamedTuple):
    """One question of one copy of a context."""

    question: str
    context: str
    answer: tuple[int, int] | None
    """The first gold answer as `context[start:end]`; None where there is no answer."""


@dataclass(frozen=True)
class Source:
    """Where a stage's rows come from, found and hashed, not read yet."""

    kind: str
    """`text`, `augmented` (all copies), `balanced` (copy 0 as often as others) or `original`."""
    paths: tuple[str, ...]
    """Text files; or one shard folder, or whatever `read_squad` takes."""
    sha256: str
    copies: int
    """Copies of each original that there are; 0 for what was not made by `augment.build`."""
    part: Part = TRAIN_PART
    """Which part of a data set."""
    on_bad_answer: OnBadAnswer = "fail"
    """What becomes of answers that are not where they should be."""
    min_agreement: float | None = None
    """Leave out copies whose `reader_f1` is below; None: keep all."""
    num_bytes: int = 0
    """Of the rows' text, about."""

    @property
    def name(self) -> str:
        """The names of the files, without their folders."""
        return ", ".join(Path(path).name for path in self.paths)

    def rows(self) -> Iterator[Row]:
        """Give the rows in order; a line of text is a row without a question."""
        if self.kind == "text":
            yield from (Row("", line, None) for path in self.paths for line in _lines(Path(path)))
        elif is_set(self.paths[0]):
            yield from _shard_rows(Path(self.paths[0]), self)
        else:
            yield from self._questions()

    def check_unchanged(self) -> None:
        """See that the rows are still those that were hashed.

        Raises:
            RuntimeError: somebody changed them meanwhile.
        """
        paths = [Path(path) for path in self.paths]
        asked = (self.part, self.on_bad_answer, self.min_agreement)
        if find_source(self.kind, self._data, paths, *asked).sha256 != self.sha256:
            raise RuntimeError(f"{self.name}: changed while it was in use; start anew")

    @property
    def _data(self) -> str | list[str]:
        return self.paths[0] if len(self.paths) == 1 else [*self.paths]

    def _questions(self) -> Iterator[Row]:
        for paragraph in _read(self._data, self.part, self.on_bad_answer).paragraphs:
            for question in paragraph.questions:
                answer = None
                if question.answers:
                    start = question.answers[0].start
                    answer = (start, start + len(question.answers[0].text))
                yield Row(question.text, paragraph.context, answer)


def find_source(
    kind: str,
    data: str | list[str] | None,
    text: Sequence[Path] = (),
    part: Part = TRAIN_PART,
    on_bad_answer: OnBadAnswer = "fail",
    min_agreement: float | None = None,
) -> Source:
    """Find and check the rows that a stage asks for; every shard's hash is compared.

    Raises:
        UsageError: `min_agreement` for rows that no reader has judged.
        ValueError: a shard folder that fails its check, or a file that is not SQuAD.
        FileNotFoundError: nothing of that name.
    """
    if kind == "text":
        for path in text:
            if not path.is_file():
                raise FileNotFoundError(f"{path}: no such text file")
        hashes = [file_sha256(path) for path in text]
        digest = hashlib.sha256("\n".join(hashes).encode()).hexdigest()
        size = sum(path.stat().st_size for path in text)
        return Source(kind, tuple(map(str, text)), digest, 0, num_bytes=size)
    assert data is not None  # checked by the command
    data = source_at_hand(data) if isinstance(data, str) else data
    if isinstance(data, str) and is_set(data):
        folder = Path(data)
        shard_paths(folder)
        manifest = read_manifest(folder)
        _check_judged(data, manifest.judged is not None, min_agreement)
        copies, sha256 = manifest.plan.copies_per_example, manifest_sha256(folder)
        rows = {"original": 1, "balanced": 2 * copies}.get(kind, copies + 1)
        size = manifest.bytes_in_memory * rows // (copies + 1)
        return Source(kind, (data,), sha256, copies, min_agreement=min_agreement, num_bytes=size)
    _check_judged(data, False, min_agreement)
    squad = _read(data, part, on_bad_answer)
    sha256 = squad.sha256
    size = sum(len(one.context) * len(one.questions) for one in squad.paragraphs)
    if on_bad_answer != "fail":  # other rows of the same file
        sha256 = hashlib.sha256(f"{sha256} {on_bad_answer}".encode()).hexdigest()
    paths = (data,) if isinstance(data, str) else tuple(data)
    return Source("original", paths, sha256, 0, part, on_bad_answer, num_bytes=size)


def _read(data: str | list[str], part: Part, on_bad_answer: OnBadAnswer) -> SquadSet:
    return read_squad(data, **asdict(part), on_bad_answer=on_bad_answer)


def _check_judged(data: object, is_judged: bool, min_agreement: float | None) -> None:
    if min_agreement is not None and not is_judged:
        raise UsageError(
            f"--min-agreement {min_agreement:g}: no reader has judged the rows of {data}; make a "
            "set with `python -m eval.agreement SET READER --write OUT` and train on OUT"
        )


@dataclass(frozen=True)
class Features:
    """Labelled windows of a source, memory-mapped."""

    folder: Path
    key: str
    """Hash of everything that shaped the windows."""
    token_types: bool
    """Whether the tokenizer sets token types: 0 before the context, 1 from it on."""
    pad_token_id: int
    tokens: NDArray[Any]
    """Token ids of all windows, one after the other, (tokens,)."""
    labels: NDArray[np.int32]
    """Positions of the answer's first and last token, (windows, 2); (0, 0) for none."""
    context_starts: NDArray[np.int32]
    """Position of the first context token, (windows,)."""
    counts: dict[str, int]

    @cached_property
    def lengths(self) -> NDArray[np.int32]:
        """Tokens of each window, (windows,)."""
        return np.fromfile(self.folder / "lengths.bin", np.int32)

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Where each window begins in `tokens`, (windows,)."""
        return np.cumsum(self.lengths, dtype=np.int64) - self.lengths

    def __len__(self) -> int:
        return len(self.labels)


def load_features(
    source: Source, tokenizer: Any, rule: WindowRule, cache: Path | None = None
) -> Features:
    """Map the windows of a source, made now if nobody made them before.

    Args:
        source: the rows.
        tokenizer: a fast tokenizer.
        rule: how windows are cut; of a text, windows do not overlap.
        cache: the folder of all caches.

    Raises:
        ValueError: no rows, or a tokenizer that cannot do it.
    """
    described = {
        "format": FORMAT,
        "rows": source.kind,
        "sha256": source.sha256,
        "tokenizer": tokenizer_sha256(tokenizer),
        "rule": asdict(rule),
    }
    if source.min_agreement is not None:
        described["min_agreement"] = source.min_agreement
    key = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()

    def make(folder: Path) -> None:
        meta = _write(folder, source, tokenizer, rule)
        source.check_unchanged()
        text = json.dumps({**meta, "key": key, "from": described}, indent=2)
        (folder / "meta.json").write_text(text, encoding="utf-8")

    folder = (cache or default_cache()) / f"features-{key[:16]}"
    stored(folder, make, int(source.num_bytes * OF_A_BYTE))
    meta = json.loads((folder / "meta.json").read_bytes())
    return Features(
        folder=folder,
        key=key,
        token_types=meta["token_types"],
        pad_token_id=meta["pad_token_id"],
        tokens=np.memmap(folder / "tokens.bin", meta["token_dtype"], "r"),
        labels=np.memmap(folder / "labels.bin", np.int32, "r").reshape(-1, 2),
        context_starts=np.memmap(folder / "context_starts.bin", np.int32, "r"),
        counts=meta["counts"],
    )


def tokenizer_sha256(tokenizer: Any) -> str:
    """Identify what a fast tokenizer does to a text: its vocabulary, rules and special tokens."""
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    backend["truncation"] = backend["padding"] = None  # of the last call, not of the tokenizer
    names = ["token_type_ids" in tokenizer.model_input_names, tokenizer.special_tokens_map]
    text = json.dumps([backend, names], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _write(folder: Path, source: Source, tokenizer: Any, rule: WindowRule) -> dict[str, Any]:
    from tqdm import tqdm

    dtype = np.dtype(np.uint16 if len(tokenizer) <= 1 << 16 else np.int32)
    cut = _TextCutter(tokenizer, rule.max_seq_length) if source.kind == "text" else None
    counts: Counter[str] = Counter()
    names = ("tokens", "labels", "context_starts", "lengths")
    files = {name: (folder / f"{name}.bin").open("wb") for name in names}
    rows = source.rows()
    bar = tqdm(desc="tokenising", unit=" rows", disable=None if sys.stderr.isatty() else True)
    try:
        with bar:
            while chunk := list(islice(rows, CHUNK)):
                windows, labels = cut(chunk) if cut else _cut(tokenizer, chunk, rule, counts)
                counts["rows"] += len(chunk)
                counts["windows"] += len(windows)
                bar.update(len(chunk))
                if not windows:  # lines of which the tokenizer leaves nothing
                    continue
                arrays = (
                    np.concatenate([window.input_ids for window in windows]).astype(dtype),
                    np.array(labels, np.int32),
                    np.array([window.context_start for window in windows], np.int32),
                    np.array([len(window) for window in windows], np.int32),
                )
                for name, array in zip(names, arrays, strict=True):
                    array.tofile(files[name])
    finally:
        for file in files.values():
            file.close()
    if not counts["windows"]:
        raise ValueError(f"{source.name}: no rows to train on ({source.kind})")
    return {
        "token_dtype": dtype.str,
        "token_types": "token_type_ids" in tokenizer.model_input_names,
        "pad_token_id": tokenizer.pad_token_id,
        "counts": dict(counts),
    }


def _cut(
    tokenizer: Any, rows: Sequence[Row], rule: WindowRule, counts: Counter[str]
) -> tuple[Sequence[Window], list[tuple[int, int]]]:
    """Cut rows into windows and label them; count what does not fit."""
    cut = cut_windows(
        tokenizer, [row.question for row in rows], [row.context for row in rows], rule
    )
    labels = []
    found = set()
    for window in cut.windows:
        answer = rows[window.row].answer
        label = (0, 0) if answer is None else label_window(window, *answer)
        if label != (0, 0):
            found.add(window.row)
        labels.append(label)
    answerable = sum(row.answer is not None for row in rows)
    counts["questions_truncated"] += cut.counts["questions_truncated"]
    counts["rows_in_many_windows"] += cut.counts["questions_in_many_windows"]
    counts["windows_with_answer"] += sum(label != (0, 0) for label in labels)
    counts["rows_without_answer"] += len(rows) - answerable
    counts["answers_in_no_window"] += answerable - len(found)
    return cut.windows, labels


class _TextCutter:
    """Cuts lines into windows that do not overlap, each with the special tokens of one text."""

    def __init__(self, tokenizer: Any, max_seq_length: int) -> None:
        one = tokenizer("a", return_special_tokens_mask=True)
        place = one["special_tokens_mask"].index(0)
        ids = np.array(one["input_ids"], np.int32)
        text = one["special_tokens_mask"].count(0)
        self.tokenizer = tokenizer
        self.before, self.after = ids[:place], ids[place + text :]
        self.capacity = max_seq_length - len(self.before) - len(self.after)

    def __call__(self, rows: Sequence[Row]) -> tuple[list[Window], list[tuple[int, int]]]:
        encoded = self.tokenizer(
            [row.context for row in rows],
            add_special_tokens=False,
            return_attention_mask=False,
            split_special_tokens=True,
            verbose=False,
        )
        none = np.empty((0, 2), np.int32)
        windows = []
        for number, ids in enumerate(encoded["input_ids"]):
            for start in range(0, len(ids), self.capacity):
                part = np.array(ids[start : start + self.capacity], np.int32)
                whole = np.concatenate([self.before, part, self.after])
                windows.append(Window(number, whole, None, len(whole), none))  # one segment
        return windows, [(0, 0)] * len(windows)


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8") as file:
            yield from (line for line in map(str.strip, file) if line)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error})") from error


def _shard_rows(folder: Path, source: Source) -> Iterator[Row]:
    for path in shard_paths(folder):
        for batch in read_shard(path):
            is_original = pa.compute.equal(batch["copy_index"], 0)
            originals = batch.filter(is_original)
            if source.kind == "balanced":
                for _ in range(source.copies - 1):
                    yield from _batch_rows(originals)
            if source.min_agreement is not None:
                agrees = pa.compute.greater_equal(batch["reader_f1"], source.min_agreement)
                batch = batch.filter(pa.compute.or_(is_original, agrees))
            yield from _batch_rows(originals if source.kind == "original" else batch)


def _batch_rows(batch: pa.RecordBatch) -> Iterator[Row]:
    columns = (batch[name].to_pylist() for name in ("question", "context", "answers"))
    for question, context, answers in zip(*columns, strict=True):
        answer = None
        if answers["text"]:
            start = answers["answer_start"][0]
            answer = (start, start + len(answers["text"][0]))
        yield Row(question, context, answer)
