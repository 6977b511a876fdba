"""Every kind of thing that is kept survives a power cut: synced before a mark or a name says so.

Neighbours and shards of a build are in test_commit.py; a window's logits and their mark are in
test_teacher.py.
"""

from fnmatch import filter as filter_names
from pathlib import Path

import pytest

from augment.base.stored import CHECKSUMS
from augment.build import BuildConfig, build
from augment.fit_mlm import FitMlmConfig, fit_mlm
from augment.fitting.glove_fit import GloveFit, fitted_to
from augment.shards import open_shards
from augment.variants.glove import load_vectors
from distill.models.teacher import LOGITS
from distill.training.stages import distil
from tests import tiny_distil
from tests.sync_order import Named, Recorder, Sync, faults, recorded


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where everything goes that is looked at: OUT, and the cache."""
    folder = tmp_path / "kept"
    folder.mkdir()
    monkeypatch.setenv("TWENTYFOLD_CACHE", str(folder / "cache"))
    return folder


def survives(seen: Recorder, *patterns: str) -> None:
    """See that nothing could be lost, that names were given, and that each file's syncs count."""
    assert faults(seen.events) == []
    names = [event.name for event in seen.events if isinstance(event, Named)]
    assert [pattern for pattern in patterns if not filter_names(names, pattern)] == []
    for sync in {event for event in seen.events if isinstance(event, Sync)}:
        rest = [e for e in seen.events if isinstance(e, Named) or e.inode != sync.inode]
        assert faults(rest), sync


def test_vectors(glove_file: Path, kept: Path) -> None:
    with recorded(kept, marks=(CHECKSUMS,)) as seen:
        load_vectors(glove_file)
        fitted_to(["the cat sat", "a dog sat"], GloveFit(dimensions=4, min_count=1, epochs=1))
    survives(seen, f"cache/glove-*/{CHECKSUMS}", f"cache/fitted-*/{CHECKSUMS}")


def test_candidates(tiny_bert: Path, train: Path, tmp_path: Path, kept: Path) -> None:
    config = BuildConfig(
        train=str(train),
        out=tmp_path / "set",
        candidates=kept / "candidates",
        mlm=str(tiny_bert),
        glove="none",
        num_workers=1,
        dtype="float32",
        device="cpu",
        allow_unchanged=True,
    )
    with recorded(kept) as seen:
        build(config)
    survives(seen, "candidates/*/??/*.part", "candidates/*/setting.json")


def test_uncompressed_shards(train: Path, glove_file: Path, tmp_path: Path, kept: Path) -> None:
    config = BuildConfig(
        train=str(train), out=tmp_path / "set", mlm="none", glove=str(glove_file), num_workers=1
    )
    build(config)
    with recorded(kept, marks=(CHECKSUMS,)) as seen:
        open_shards(config.out)
    survives(seen, f"cache/shards-*/{CHECKSUMS}")


def test_a_distillation(tmp_path: Path, kept: Path) -> None:
    recipe = tiny_distil.two_stages(tiny_distil.bert(tmp_path / "teacher"))
    data = tiny_distil.rows(tmp_path / "train.json")
    with recorded(kept, marks=(CHECKSUMS,)) as seen:
        distil(tiny_distil.job(recipe, kept / "out", data, save_steps=2, keep_steps=(1,)))
    survives(
        seen,
        f"cache/features-*/{CHECKSUMS}",
        f"cache/logits-*/{LOGITS}",
        f"*/checkpoint-2/{CHECKSUMS}",
        f"*/student/{CHECKSUMS}",
        "*/1-intermediate",
        "*/1-intermediate-step-1",
        "out",
    )


def test_a_fitted_mlm(tiny_bert: Path, train: Path, kept: Path) -> None:
    config = FitMlmConfig(
        train=str(train), out=kept / "fitted", mlm=str(tiny_bert), dtype="float32", save_steps=1
    )
    with recorded(kept, marks=(CHECKSUMS,)) as seen:
        fit_mlm(config)
    survives(seen, f"*/checkpoint-1/{CHECKSUMS}", "*/fit.json", "fitted")
