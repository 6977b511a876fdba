"""Masked batches, the taught loss, cutting a compact model, and the command around them."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

from augment.base.checkpoints import load_tokenizer
from augment.base.command import UsageError
from augment.fit_mlm import FitMlmConfig, fit_mlm
from augment.fitting.compact_mlm import CompactShape, cut_compact
from augment.fitting.masked_batches import (
    group_by_length,
    mask_batch,
    masked_logits,
    measure,
    tokenize_windows,
)
from augment.fitting.masked_training import Clock, MaskedSteps, taught_loss
from tests.small_sets import question, squad

PROJECT = Path(__file__).parents[1]
SHAPE = CompactShape(embedding_size=8, intermediate_size=16, layers=(0, 1))
MORE = "the queen bees leave a garden and the old keeper made light in the tower every night . "


def sentences(number: int) -> list[str]:
    """Texts of the tiny models' words, 8 to 30 words long."""
    draws = random.Random(1)
    words = MORE.split()
    return [" ".join(draws.choices(words, k=draws.randrange(8, 31))) for _ in range(number)]


@pytest.fixture(scope="module")
def tokenizer(tiny_bert):
    return AutoTokenizer.from_pretrained(tiny_bert)


@pytest.fixture(scope="module")
def rows(tokenizer):
    return tokenize_windows(tokenizer, sentences(40), 64)


@pytest.fixture
def corpus(write_json):
    return write_json(
        squad([(text, [question(f"q{n}")]) for n, text in enumerate(sentences(60))]), "corpus.json"
    )


def load(folder):
    return AutoModelForMaskedLM.from_pretrained(folder, dtype=torch.float32).eval()


# Batches


def test_long_texts_become_windows_with_nothing_lost(tokenizer):
    (whole,) = tokenizer([MORE * 3])["input_ids"]
    found = tokenize_windows(tokenizer, [MORE * 3], 20)
    assert max(map(len, found)) <= 20
    assert [token for row in found for token in row[1:-1]] == whole[1:-1]


def test_groups_hold_every_row_within_the_budget(rows):
    groups = group_by_length(rows, 100)
    assert sorted(row for group in groups for row in group) == sorted(rows)
    assert all(len(group) * max(map(len, group)) <= 100 for group in groups)


def test_a_row_longer_than_the_budget_is_alone():
    assert group_by_length([[1] * 9, [1] * 2, [1] * 2], 4) == [[[1, 1], [1, 1]], [[1] * 9]]


def test_masks_hide_real_words_only(rows, tokenizer):
    batch = mask_batch(rows, tokenizer, 0.3, torch.Generator().manual_seed(0))
    masked = batch["labels"] != -100
    assert (batch["input_ids"][masked] == tokenizer.mask_token_id).all()
    restored = torch.where(masked, batch["labels"], batch["input_ids"])
    for row, ids, length in zip(rows, restored, batch["attention_mask"].sum(1), strict=True):
        assert ids[:length].tolist() == row
    special = torch.isin(restored, torch.tensor(tokenizer.all_special_ids))
    assert not (masked & special).any()
    assert masked.any(1).all()
    assert masked.sum() / (~special).sum() == pytest.approx(0.3, abs=0.05)


def test_a_tiny_share_still_masks_one_place_in_each_row(rows, tokenizer):
    batch = mask_batch(rows, tokenizer, 1e-9)
    assert ((batch["labels"] != -100).sum(1) == 1).all()


@pytest.mark.parametrize("kind", ["tiny_bert", "tiny_roberta"])
def test_the_head_at_masked_places_gives_the_whole_heads_logits(kind, request):
    folder = request.getfixturevalue(kind)
    model, tokenizer = load(folder), AutoTokenizer.from_pretrained(folder)
    batch = mask_batch(tokenize_windows(tokenizer, sentences(5), 64), tokenizer, 0.3)
    with torch.inference_mode():
        whole = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        found = masked_logits(model, batch)
        again = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    assert torch.allclose(found, whole[batch["labels"] != -100], atol=1e-5)
    assert torch.equal(whole, again)  # the hook is gone


def test_a_model_agrees_with_itself(tiny_bert, rows, tokenizer):
    model = load(tiny_bert)
    scores = measure(model, tokenizer, group_by_length(rows, 200), 0.15, load(tiny_bert))
    assert scores["candidates_in_common"] == 15
    assert scores["teacher_masked_accuracy"] == scores["masked_accuracy"]
    assert scores == measure(model, tokenizer, group_by_length(rows, 200), 0.15, model)


# Training


def test_taught_loss_by_hand():
    # Both distributions uniform over 4 words: each cross-entropy is log 4.
    zeros, labels = torch.zeros(2, 4), torch.tensor([0, 3])
    expected = (1.0 + 0.2) * torch.tensor(4.0).log()
    assert taught_loss(zeros, labels, zeros, 1.0, 0.2) == pytest.approx(expected.item())


def test_taught_loss_equals_the_sum_of_torchs():
    logits, teacher = torch.randn(2, 7, 11, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(7)
    entropy = torch.nn.functional.cross_entropy
    expected = 0.7 * entropy(logits, teacher.softmax(-1)) + 0.3 * entropy(logits, labels)
    assert taught_loss(logits, labels, teacher, 0.7, 0.3) == pytest.approx(expected.item())


def test_a_step_is_the_same_whatever_came_before(rows, tokenizer):
    batches = group_by_length(rows, 200)
    steps = MaskedSteps(batches, tokenizer, 0.15, 0, 3 * len(batches))
    late = steps[len(batches) + 1]
    for step in range(len(batches)):
        steps[step]
    assert all(torch.equal(late[key], value) for key, value in steps[len(batches) + 1].items())


def test_an_epoch_takes_every_batch_once(rows, tokenizer):
    batches = group_by_length(rows, 200)
    steps = MaskedSteps(batches, tokenizer, 0.15, 0, 2 * len(batches))
    for epoch in range(2):
        sizes = [steps[epoch * len(batches) + n]["input_ids"].shape for n in range(len(batches))]
        expected = [(len(group), max(map(len, group))) for group in batches]
        assert sorted(map(tuple, sizes)) == sorted(expected)


def test_the_learning_rate_rises_and_falls():
    clock = Clock(1000, None)
    assert [clock.rate(step) for step in (0, 25, 50, 525, 1000)] == pytest.approx(
        [0, 0.5, 1, 0.5, 0]
    )


def test_the_learning_rate_falls_by_the_clock(monkeypatch):
    now = 0.0
    monkeypatch.setattr("augment.fitting.masked_training.time.monotonic", lambda: now)
    clock = Clock(1000, 2.0)
    now = 90.0
    assert clock.done(10) == 0.75
    assert clock.rate(10) == pytest.approx(0.25 / 0.95)


# The compact model


def test_a_nearly_full_copy_starts_near_the_teacher(tiny_bert, rows, tokenizer):
    teacher = load(tiny_bert)
    whole = CompactShape(embedding_size=31, intermediate_size=64, layers=(0, 1))
    student = cut_compact(teacher, whole, tokenizer, rows, 0.15).eval()
    scores = measure(student, tokenizer, group_by_length(rows, 200), 0.15, teacher)
    chance = 15 * 15 / teacher.config.vocab_size
    assert scores["candidates_in_common"] > 2 * chance


def test_a_compact_model_needs_no_code_of_ours(tiny_bert, rows, tokenizer, tmp_path):
    student = cut_compact(load(tiny_bert), SHAPE, tokenizer, rows, 0.15)
    student.half().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model_type"] == "electra"
    assert "auto_map" not in config
    read = load(tmp_path)
    assert type(read).__name__ == "ElectraForMaskedLM"
    assert read.config.embedding_size == 8


@pytest.mark.parametrize(
    ("shape", "error", "message"),
    [
        ({"layers": (0, 2), "embedding_size": 8}, ValueError, "the teacher has 2"),
        ({"layers": (0,), "embedding_size": 32}, ValueError, "below the teacher's width, 32"),
        ({"layers": ()}, UsageError, "rising order"),
        ({"layers": (1, 0)}, UsageError, "rising order"),
        ({"layers": (-1, 0)}, UsageError, "rising order"),
        ({"embedding_size": 0}, UsageError, "must be 1 or more"),
    ],
)
def test_shapes_that_cannot_be_cut(tiny_bert, rows, tokenizer, shape, error, message):
    with pytest.raises(error, match=message):
        cut_compact(load(tiny_bert), CompactShape(**shape), tokenizer, rows, 0.15)


def test_a_compact_model_is_cut_from_a_bert_only(tiny_roberta, rows, tokenizer):
    with pytest.raises(ValueError, match="cut from a BERT, not from a roberta"):
        cut_compact(load(tiny_roberta), SHAPE, tokenizer, rows, 0.15)


# The command


def settings(corpus, tmp_path, **more):
    return FitMlmConfig(
        train=str(corpus), out=tmp_path / "fitted", dtype="float32", batch_tokens=256, **more
    )


def test_fitting_lowers_the_held_out_loss(tiny_bert, corpus, tmp_path, capsys):
    config = settings(corpus, tmp_path, mlm=str(tiny_bert), epochs=8, learning_rate=1e-2)
    record = fit_mlm(config)
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    held_out = group_by_length(tokenize_windows(tokenizer, sentences(60)[::50], 64), 256)
    before = measure(load(tiny_bert), tokenizer, held_out, 0.15)
    assert record["held_out"]["masked_loss"] < before["masked_loss"] - 1
    assert record == json.loads((config.out / "fit.json").read_text())
    assert "masked_accuracy" in capsys.readouterr().out
    assert sorted(os.listdir(tmp_path)) == ["corpus.json", "fitted"]
    read = AutoTokenizer.from_pretrained(config.out)
    again = measure(load(config.out), read, held_out, 0.15)
    assert again == pytest.approx(record["held_out"], rel=1e-5)
    fit_mlm(config)
    assert "complete already" in capsys.readouterr().out
    weights = config.out / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(ValueError, match=r"fitted: not the model that its fit\.json names"):
        load_tokenizer(config.out)


def test_a_compact_student_is_taught(tiny_bert, corpus, tmp_path):
    config = settings(
        corpus, tmp_path, mlm="compact", teacher=str(tiny_bert), compact=SHAPE, epochs=30,
        learning_rate=1e-2, save_dtype="float16",
    )  # fmt: skip
    scores = fit_mlm(config)["held_out"]
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    rows = tokenize_windows(tokenizer, sentences(60), 64)
    start = cut_compact(load(tiny_bert), SHAPE, tokenizer, rows, 0.15).eval()
    first = measure(start, tokenizer, [rows[::50]], 0.15, load(tiny_bert))
    assert scores["candidates_in_common"] > first["candidates_in_common"]
    assert json.loads((config.out / "config.json").read_text())["dtype"] == "float16"


def test_the_same_weights_from_the_same_seed(tiny_bert, corpus, tmp_path):
    weights = []
    for name, seed in (("one", 0), ("two", 0), ("other", 1)):
        config = FitMlmConfig(
            train=str(corpus), out=tmp_path / name, mlm=str(tiny_bert), seed=seed, epochs=1,
            batch_tokens=256, dtype="float32",
        )  # fmt: skip
        fit_mlm(config)
        weights.append((tmp_path / name / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]


@pytest.mark.slow
def test_a_killed_run_goes_on_and_gives_the_same_weights(tiny_bert, corpus, tmp_path):
    def command(out: Path) -> list[str]:
        return [
            sys.executable, "-m", "augment.fit_mlm", str(corpus), str(out), "--mlm", str(tiny_bert),
            "--epochs", "6", "--batch-tokens", "128", "--save-steps", "10", "--dtype", "float32",
        ]  # fmt: skip

    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = subprocess.Popen(command(killed), cwd=PROJECT, stdout=subprocess.DEVNULL)
    while not list(tmp_path.glob("killed.incomplete/checkpoints/checkpoint-*/trainer_state.json")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    assert not killed.exists()
    for out in (killed, whole):
        subprocess.run(
            command(out), cwd=PROJECT, check=True, stdout=subprocess.DEVNULL, timeout=600
        )
    assert (killed / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_other_settings_into_the_same_folder_are_refused(tiny_bert, corpus, tmp_path):
    fit_mlm(settings(corpus, tmp_path, mlm=str(tiny_bert), epochs=1))
    with pytest.raises(UsageError, match=r"settings.epochs: 1(.0)? there, 2(.0)? here"):
        fit_mlm(settings(corpus, tmp_path, mlm=str(tiny_bert), epochs=2))
    fit_mlm(settings(corpus, tmp_path, mlm=str(tiny_bert), epochs=2, overwrite=True))


def test_a_folder_from_elsewhere_is_left_alone(tiny_bert, corpus, tmp_path):
    config = settings(corpus, tmp_path, mlm=str(tiny_bert), overwrite=True)
    config.out.mkdir()
    (config.out / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"fitted: exists and is not a model made here"):
        fit_mlm(config)
    assert os.listdir(config.out) == ["thesis.txt"]


def test_the_old_model_stays_until_the_new_one_is_whole(tiny_bert, corpus, tmp_path, monkeypatch):
    first = settings(corpus, tmp_path, mlm=str(tiny_bert), epochs=1)
    first.out.mkdir()  # an empty folder may be filled
    record = fit_mlm(first)
    other = settings(corpus, tmp_path, mlm=str(tiny_bert), epochs=2, overwrite=True)
    with monkeypatch.context() as killed:
        killed.setattr("augment.fit_mlm.train", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            fit_mlm(other)
    assert json.loads((first.out / "fit.json").read_text()) == record
    first.out.rename(other.folder.replaced)  # as if killed between the two renames
    assert fit_mlm(other)["settings"]["epochs"] == 2
    assert sorted(os.listdir(tmp_path)) == ["corpus.json", "fitted"]


def test_a_disk_without_room_is_said_before_the_work(tiny_bert, corpus, tmp_path, full_disk):
    with pytest.raises(UsageError, match="no space left on its disk, needs about 1 MB"):
        fit_mlm(settings(corpus, tmp_path, mlm=str(tiny_bert)))


def test_a_record_with_a_wrong_type_is_named(tiny_bert, corpus, tmp_path):
    config = settings(corpus, tmp_path, mlm=str(tiny_bert), max_minutes=0.01, epochs=1)
    record = fit_mlm(config)
    assert fit_mlm(config) == record
    for key, wrong in {"weights_sha256": ["x"], "held_out": {"loss": "x"}, "models": 1}.items():
        (config.out / "fit.json").write_text(json.dumps({**record, key: wrong}))
        with pytest.raises(ValueError, match=rf"fit\.json: damaged \({key}.*expected"):
            fit_mlm(config)
    (config.out / "fit.json").write_text("[" * 50_000)
    with pytest.raises(ValueError, match=r"fit\.json: damaged"):
        fit_mlm(config)


def test_a_damaged_record_is_named(tiny_bert, corpus, tmp_path):
    config = settings(corpus, tmp_path, mlm=str(tiny_bert))
    config.out.mkdir()
    (config.out / "fit.json").write_text("{}")
    (config.out / "plan.json").write_text('{"set')
    with pytest.raises(ValueError, match=r"plan.json: damaged \(.*\); delete .*fitted and run"):
        fit_mlm(config)


@pytest.mark.parametrize("role", ["mlm", "teacher"])
def test_a_model_without_a_head_is_refused(tiny_bert, corpus, tmp_path, role):
    headless = tmp_path / "headless"
    load(tiny_bert).bert.save_pretrained(headless)
    AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(headless)
    names = {"mlm": str(tiny_bert), role: str(headless)}
    with pytest.raises(ValueError, match=r"headless: .* lacks \d+ weights: cls.*masked LM"):
        fit_mlm(settings(corpus, tmp_path, **names))
    assert sorted(os.listdir(tmp_path)) == ["corpus.json", "headless"]


def test_log_files_get_no_progress_bars(tiny_bert, corpus, tmp_path, capfd):
    fit_mlm(settings(corpus, tmp_path, mlm=str(tiny_bert), epochs=1))
    assert "it/s" not in capfd.readouterr().err


def test_a_clock_ends_the_run(tiny_bert, corpus, tmp_path):
    started = time.monotonic()
    fit_mlm(settings(corpus, tmp_path, mlm=str(tiny_bert), epochs=10**6, max_minutes=0.01))
    assert time.monotonic() - started < 300


def test_a_teacher_with_another_vocabulary(tiny_bert, tiny_roberta, corpus, tmp_path):
    with pytest.raises(ValueError, match="has another vocabulary than"):
        fit_mlm(settings(corpus, tmp_path, mlm=str(tiny_bert), teacher=str(tiny_roberta)))


def test_too_few_contexts(tiny_bert, write_json, tmp_path):
    corpus = write_json(squad([("one context", [question("q")])]), "corpus.json")
    with pytest.raises(ValueError, match="too few contexts"):
        fit_mlm(settings(corpus, tmp_path, mlm=str(tiny_bert)))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"mlm": "compact"}, "--mlm compact: cut from what"),
        ({"epochs": 0.0}, "--epochs 0.0: must be above 0"),
        ({"max_minutes": float("nan")}, "--max-minutes nan"),
        ({"mask_share": 1.0}, "--mask-share 1.0"),
        ({"limit_contexts": -25}, "--limit-contexts -25: must be 1 or more"),
        ({"max_seq_length": 1}, "--max-seq-length 1: must be 3 or more"),
        ({"seed": -1}, "--seed -1: must be 0 or more"),
        ({"seed": 2**32}, "--seed 4294967296: must be 0 or more, below"),
        ({"kd_weight": float("nan")}, "--kd-weight nan: must be 0 or more"),
        ({"hard_weight": -0.1}, "--hard-weight -0.1: must be 0 or more"),
        ({"kd_weight": 0.0, "hard_weight": 0.0}, "nothing to learn from"),
    ],
)
def test_settings_out_of_range(corpus, tmp_path, wrong, message):
    with pytest.raises(UsageError, match=message):
        settings(corpus, tmp_path, **wrong)


def test_help_explains_itself_without_torch():
    code = (
        "import sys; sys.argv = ['fit_mlm', '--help']\n"
        "from augment.fit_mlm import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=PROJECT,
        check=True,
        timeout=120,
    )
    for words in ("--teacher", "--max-minutes", "cut from"):
        assert words in done.stdout
