"""`--dtype auto` on a CPU: by the units that exist, else by a timed product."""

import types

import pytest
import torch

from augment.base import models


@pytest.fixture(autouse=True)
def forgotten():
    for known in (models.cpu_dtype, models.warn_if_emulated):
        known.cache_clear()
    yield
    for known in (models.cpu_dtype, models.warn_if_emulated):
        known.cache_clear()


def flags(monkeypatch, *, avx512=False, amx=False, onednn=True):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: onednn)


@pytest.mark.parametrize("unit", ["avx512", "amx"])
def test_units_for_bfloat16_decide_without_a_clock(unit, monkeypatch):
    flags(monkeypatch, **{unit: True})
    monkeypatch.setattr(models.time, "perf_counter", None)
    assert models.pick_dtype("auto", "cpu") == "bfloat16"


def test_without_units_and_without_onednn_it_is_float32(monkeypatch):
    flags(monkeypatch, onednn=False)
    monkeypatch.setattr(models.time, "perf_counter", None)
    assert models.pick_dtype("auto", "cpu") == "float32"


@pytest.mark.parametrize(
    ("times", "dtype"), [(2.0, "float32"), (0.95, "float32"), (0.5, "bfloat16")]
)
def test_without_units_the_faster_product_decides(times, dtype, monkeypatch):
    """An emulating processor takes longer for a product in bfloat16."""
    flags(monkeypatch)
    now = 0.0

    def linear(rows, weight):
        nonlocal now
        now += times if rows.dtype == torch.bfloat16 else 1.0

    monkeypatch.setattr(torch.nn.functional, "linear", linear)
    monkeypatch.setattr(models, "time", types.SimpleNamespace(perf_counter=lambda: now))
    assert models.pick_dtype("auto", "cpu") == dtype


@pytest.mark.parametrize(("units", "said"), [(True, ""), (False, "warning: bfloat16 is slower")])
def test_who_asks_for_bfloat16_hears_once_that_it_is_emulated(units, said, monkeypatch, capsys):
    flags(monkeypatch, avx512=units, onednn=False)
    for _ in range(2):
        assert models.pick_dtype("bfloat16", "cpu") == "bfloat16"
    heard = capsys.readouterr().err
    assert heard.startswith(said)
    assert heard.count("\n") == bool(said)
