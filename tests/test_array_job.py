"""`--part K/N`: jobs that share a folder, at once or one after the other, make the same set."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from augment.base.command import UsageError
from augment.base.folders import claimed
from augment.build import BuildConfig, build
from augment.engines.array_job import ArrayPart, LeftToOthers, never_seen
from augment.engines.options import EngineOptions
from tests.clusters import ROOT, long_set
from tests.test_build import digests


def test_every_task_is_in_one_part_whatever_is_done_already() -> None:
    tasks: list[int | None] = [0, None, 2, 3, None, 5, 6]
    own = [ArrayPart(number, 3).own(tasks) for number in (1, 2, 3)]
    assert own == [[0, 3, 6], [], [2, 5]]


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "1/0", "a/b", "1/3/4", "-1/3"])
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=f"--part {text}: must be K/N"):
        ArrayPart.parse(text)


def test_a_part_goes_with_nothing_that_others_would_suffer_from(config: BuildConfig) -> None:
    said = "--part: goes with neither"
    with pytest.raises(ValueError, match=said):
        replace(config, share="1/2", overwrite=True)
    with pytest.raises(ValueError, match=said):
        replace(config, share="1/2", num_workers=None, runs_on=EngineOptions(engine="ray"))


@pytest.fixture
def config(train: Path, glove_file: Path, tmp_path: Path) -> BuildConfig:
    return BuildConfig(
        train=str(train),
        out=tmp_path / "work" / "set",
        mlm="none",
        glove=str(glove_file),
        num_workers=1,
        num_shards=3,
        copies_per_example=3,
    )


def test_parts_do_their_share_of_what_is_next(config: BuildConfig) -> None:
    whole = replace(config, out=config.out.with_name("whole"))
    build(whole)
    receipts = config.folder.incomplete / "receipts"

    def share(part: str) -> str:
        with pytest.raises(LeftToOthers) as left:
            build(replace(config, share=part))
        return str(left.value)

    assert share("2/3") == "candidates of 3 contexts"  # one task, which is the first part's
    assert share("1/3") == "2 shards"  # the candidates are there: it goes on
    assert sorted(path.name for path in receipts.glob("*.json")) == [
        "train-00000-of-00003.arrow.json"
    ]
    assert share("1/3") == "2 shards"  # again: nothing left to do for it
    assert never_seen(os.listdir(receipts)) == ["3/3"]
    assert share("3/3") == "1 shards"
    assert share("2/3") == "the manifest"
    build(config)
    assert digests(config.out) == digests(whole.out)


def test_a_part_that_never_worked_here_is_named(
    config: BuildConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    for part in ("1/3", "3/3"):
        with pytest.raises(LeftToOthers):
            build(replace(config, share=part))
    build(config)
    assert "set.incomplete: --part 2/3 never worked here: not run, or on" in capsys.readouterr().err


def test_parts_share_a_folder_and_nobody_finishes_it_meanwhile(config: BuildConfig) -> None:
    part = replace(config, share="1/1")
    config.out.parent.mkdir()
    with claimed(config.folder.incomplete, shared=True):
        with pytest.raises(RuntimeError, match="another process is at work here"):
            build(config)
        with pytest.raises(LeftToOthers):
            build(part)
    with (
        claimed(config.folder.incomplete),
        pytest.raises(RuntimeError, match="another process is at work here"),
    ):
        build(part)


def test_another_configuration_is_refused(config: BuildConfig) -> None:
    with pytest.raises(LeftToOthers):
        build(replace(config, share="1/2"))
    with pytest.raises(UsageError, match=r"seed: 0 there, 7 here"):
        build(replace(config, share="2/2", seed=7))


@pytest.mark.slow
def test_three_jobs_at_once(tmp_path: Path) -> None:
    train = tmp_path / "train.json"
    train.write_text(json.dumps(long_set(300)))

    def start(out: str, *more: str) -> subprocess.Popen[str]:
        settings = "--mlm none --glove embedded --copies-per-example 2 --num-shards 7".split()
        places = [str(train), str(tmp_path / out / "set"), "--num-workers", "1"]
        return subprocess.Popen(
            [sys.executable, "-m", "augment.build", *places, *settings, *more],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )

    def said(jobs: list[subprocess.Popen[str]]) -> list[str]:
        found = [job.communicate(timeout=120)[0] for job in jobs]
        assert [job.returncode for job in jobs] == [0] * len(jobs)
        return found

    said([start("whole")])
    for _ in range(2):  # candidates; shards, if some found none of them left
        for text in said([start("parts", "--part", f"{k}/3") for k in (1, 2, 3)]):
            assert "has done its share of what was next" in text
    [last] = said([start("parts", "--part", "1/3")])
    assert "Still lacking: the manifest. When" in last
    said([start("parts")])
    assert digests(tmp_path / "parts" / "set") == digests(tmp_path / "whole" / "set")
