"""A teacher's logits on disk: equal to asking it, and never somebody else's."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

from augment.base.command import UsageError
from distill.models.teacher import SpanTeacher, TeacherLogits
from distill.rows.batches import Batches
from distill.rows.features import find_source, load_features
from eval.reading.windows import WindowRule
from tests import tiny_distil

RULE = WindowRule(max_seq_length=32, doc_stride=8, max_query_length=8)


@pytest.fixture
def made(tmp_path):
    folder = tiny_distil.bert(tmp_path / "teacher")
    teacher = AutoModelForQuestionAnswering.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    data = tiny_distil.rows(tmp_path / "train.json")
    features = load_features(find_source("original", data), tokenizer, RULE, tmp_path)
    return teacher, features, tmp_path


def every(features):
    return np.arange(len(features))


def test_cached_logits_are_the_teachers(made):
    teacher, features, cache = made
    batches = Batches(features, 2, 4, 1, 0)
    batches.logits = TeacherLogits(features, "sha", "float32", cache)
    assert batches.logits.fill(every(features), teacher, 3) == len(features)
    for step in range(2):
        batch = batches[step]
        asked = SpanTeacher(teacher)(batch)
        real = batch["attention_mask"] == 1
        for name in ("teacher_start", "teacher_end"):
            assert torch.allclose(batch[name][real], asked[name][real], atol=1e-5)
            assert (batch[name][~real] == 0).all()


def test_they_are_computed_once_over_epochs_and_runs(made):
    teacher, features, cache = made
    some = np.array([0, 2, 2])
    assert TeacherLogits(features, "sha", "float32", cache).fill(some, teacher, 2) == 2
    again = TeacherLogits(features, "sha", "float32", cache)
    assert again.fill(some, None, 2) == 0
    assert again.fill(every(features), teacher, 2) == len(features) - 2


def test_another_teacher_other_windows_or_dtype_is_another_cache(made, tmp_path):
    """Haystack's key had neither the teacher's weights nor the windows in it: stale hits."""
    _, features, cache = made
    other_rule = WindowRule(max_seq_length=32, doc_stride=9, max_query_length=8)
    data = str(tmp_path / "train.json")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "teacher")
    others = load_features(find_source("original", data), tokenizer, other_rule, cache)
    keys = {
        TeacherLogits(windows, sha256, dtype, cache).key
        for windows, sha256, dtype in (
            (features, "one", "float32"),
            (features, "two", "float32"),
            (features, "one", "bfloat16"),
            (others, "one", "float32"),
        )
    }
    assert len(keys) == 4


def test_a_disk_without_room_is_said_before_the_work(made, request):
    teacher, features, cache = made
    logits = TeacherLogits(features, "sha", "float32", cache)
    request.getfixturevalue("full_disk")
    with pytest.raises(
        UsageError, match=r"logits-\w+: no space left on its disk, needs about 1 MB"
    ):
        logits.fill(every(features), teacher, 2)


def test_an_interrupted_computation_goes_on(made, monkeypatch):
    teacher, features, cache = made
    monkeypatch.setattr("distill.models.teacher.CHUNK", 4)
    logits = TeacherLogits(features, "sha", "float32", cache)
    compute, asked = logits._compute, []

    def fail_later(rows, *rest):
        if len(asked) == 3:
            raise KeyboardInterrupt
        asked.append(rows)
        return compute(rows, *rest)

    monkeypatch.setattr(logits, "_compute", fail_later)
    with pytest.raises(KeyboardInterrupt):
        logits.fill(every(features), teacher, 2)
    again = TeacherLogits(features, "sha", "float32", cache)
    assert again.fill(every(features), teacher, 2) == len(features) - 4  # one chunk was kept


def test_a_window_is_marked_when_its_logits_are_on_disk(made, monkeypatch):
    """When logits are synced, their windows still count as missing; the marks are flushed next."""
    teacher, features, cache = made
    monkeypatch.setattr("distill.models.teacher.CHUNK", 4)
    logits = TeacherLogits(features, "sha", "float32", cache)
    flush, sync, seen = np.memmap.flush, os.fsync, []

    def watch_flush(array):
        seen.append((Path(array.filename).name, len(logits.missing(every(features)))))
        flush(array)

    def watch_sync(descriptor):
        name = Path(os.readlink(f"/proc/self/fd/{descriptor}")).name
        seen.append((name, len(logits.missing(every(features)))))
        sync(descriptor)

    monkeypatch.setattr(np.memmap, "flush", watch_flush)
    monkeypatch.setattr(os, "fsync", watch_sync)
    assert logits.fill(every(features), teacher, 2) == len(features) > 8
    expected = []
    for done in range(0, len(features), 4):
        left = len(features) - done
        expected += [("logits.bin", left), ("checks.bin", max(left - 4, 0))]
    assert seen == expected


OPEN = """
import sys
from pathlib import Path
import numpy as np
from transformers import AutoModelForQuestionAnswering, AutoTokenizer
from distill.rows.features import find_source, load_features
from distill.models.teacher import TeacherLogits
from tests.test_teacher import RULE
folder, data, cache = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(folder)
features = load_features(find_source("original", data), tokenizer, RULE, Path(cache))
logits = TeacherLogits(features, "sha", "float32", Path(cache))
logits.fill(np.arange(len(features)), AutoModelForQuestionAnswering.from_pretrained(folder), 2)
assert (np.abs(logits.logits).sum(1) > 0).all(), "logits that are done and zero"
"""


@pytest.mark.slow
def test_processes_that_open_it_at_once_share_it(made):
    _, _, cache = made
    root = Path(__file__).parents[1]
    command = [sys.executable, "-c", OPEN, cache / "teacher", cache / "train.json", cache / "new"]
    env = {**os.environ, "PYTHONPATH": str(root)}
    runs = [subprocess.Popen(command, env=env) for _ in range(4)]
    assert [run.wait(timeout=300) for run in runs] == [0] * 4


@pytest.mark.parametrize("name", ["logits.bin", "checks.bin"])
def test_a_cut_or_lost_file_is_computed_anew(made, name):
    teacher, features, cache = made
    logits = TeacherLogits(features, "sha", "float32", cache)
    logits.fill(every(features), teacher, 2)
    path = logits.folder / name
    path.write_bytes(path.read_bytes()[:-4])
    again = TeacherLogits(features, "sha", "float32", cache)
    assert again.fill(every(features), teacher, 2) == len(features)


@pytest.mark.parametrize("name", ["logits.bin", "checks.bin"])
def test_a_flipped_bit_is_computed_anew(made, name, capsys):
    teacher, features, cache = made
    logits = TeacherLogits(features, "sha", "float32", cache)
    logits.fill(every(features), teacher, 2)
    whole = logits.logits.copy()
    path = logits.folder / name
    content = bytearray(path.read_bytes())
    content[5] ^= 16
    path.write_bytes(content)
    again = TeacherLogits(features, "sha", "float32", cache)
    assert again.fill(every(features), teacher, 2) == 1
    assert f"{logits.folder}: 1 windows are damaged" in capsys.readouterr().err
    assert np.allclose(again.logits, whole, atol=1e-6)
    assert again.fill(every(features), teacher, 2) == 0


def test_a_broken_teacher_is_no_teacher(made):
    teacher, features, cache = made
    torch.nn.init.constant_(teacher.qa_outputs.bias, float("nan"))
    with pytest.raises(ValueError, match="NaN or infinite"):
        TeacherLogits(features, "sha", "float32", cache).fill(every(features), teacher, 2)


def test_the_teacher_gets_token_types_and_no_gradients(made):
    teacher, features, _ = made
    seen = []
    teacher.bert.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["token_type_ids"]), with_kwargs=True
    )
    batch = Batches(features, 1, 4, 1, 0)[0]
    given = SpanTeacher(teacher)(batch)
    assert seen[0].sum() > 0
    assert not given["teacher_start"].requires_grad
