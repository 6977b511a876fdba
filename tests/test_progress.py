"""augment.base.progress: the bar moves while tasks are at work, here and in other processes."""

import io
import time
from contextlib import redirect_stderr
from pathlib import Path

import pytest

from augment.base.progress import bar, say_done, watch
from augment.base.workers import run_tasks
from augment.fitting.glove_fit import fit_vectors
from augment.fitting.glove_model import GloveFit

TEXTS = ["the cat sat on the mat", "a cat and a dog sat there", "the dog ate the mat"] * 3


class Terminal(io.StringIO):
    """A stderr that somebody looks at."""

    def isatty(self):
        return True


def test_moves_by_parts_and_ends_full(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    with redirect_stderr(Terminal()) as shown, bar("reading", "context", 4):
        assert "reading:   0%" in shown.getvalue()
        for _ in range(5):
            say_done(0.5)
            time.sleep(0.11)  # tqdm draws ten times a second at most
        assert "2/4 [" in shown.getvalue()
        assert "3/4 [" not in shown.getvalue()
        say_done(99)  # more than there is stays within it
    assert "4/4 [" in shown.getvalue()
    assert "\033" not in shown.getvalue()
    say_done(1)  # nobody looks any more


def test_a_failure_leaves_the_bar_where_it_is():
    shown = Terminal()
    watch(float)  # two builds in threads of another test may have left theirs
    with pytest.raises(KeyError), redirect_stderr(shown), bar("reading", "context", 4):
        say_done({}["nothing"])
    assert "0/4 [" in shown.getvalue()
    assert "4/4 [" not in shown.getvalue()
    assert watch(float) is float


def test_is_quiet_where_nobody_looks(capsys):
    with bar("reading", "context", 4):
        say_done(1)
    assert capsys.readouterr().err == ""


def set_up(folder, device):
    def work(task):
        say_done(0.25)
        give_up = time.monotonic() + 100
        while not (folder / "seen").exists():
            assert time.monotonic() < give_up, "nobody saw that the task was at work"
            time.sleep(0.01)
        say_done(0.75)
        return task

    return work


@pytest.mark.parametrize("devices", [["cpu"], ["cpu", "cpu"]])
def test_is_told_before_a_task_is_done(devices, tmp_path: Path):
    told = []

    def move(amount):
        told.append(amount)
        if sum(told) >= 0.25:
            (tmp_path / "seen").touch()

    before = watch(move)
    try:
        assert sorted(run_tasks([1, 2, 3], set_up, (tmp_path,), devices)) == [1, 2, 3]
    finally:
        watch(before)
    assert sum(told) == 3


def test_fitting_moves_a_bar_and_prints_no_lines():
    with redirect_stderr(Terminal()) as shown:
        fit_vectors(TEXTS, GloveFit(dimensions=4, min_count=1, epochs=3))
    assert "3/3 [" in shown.getvalue()
    assert "GloVe: 100%" in shown.getvalue()
    assert "mean loss" not in shown.getvalue()
