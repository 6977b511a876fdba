"""Counting pairs, fitting GloVe to them, and the command around it."""

import errno
import gzip
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from augment.base.command import UsageError
from augment.fit_glove import FitGloveConfig, fit_glove
from augment.fitting.cooccurrence import count_pairs, count_vocabulary, lower_words
from augment.fitting.glove_fit import fit_vectors, fitted_to, write_vectors
from augment.fitting.glove_model import FIRST_SQUARE, GloveFit, _deal, first_vectors, fit_pairs
from augment.variants.glove import load_vectors
from tests.small_sets import question, squad
from tests.word_pairs import share_in_order

PROJECT = Path(__file__).parents[1]
TRAIN = PROJECT.parent / "shared" / "data" / "squad" / "train-v2.0-rebuilt.json"
SMALL = {"min_count": 1, "window": 2, "num_batches": 1}

FIVE_WORDS = ["cat", "sat", "mat", "cat", "hat"]
# Worked by hand, window 2: neighbours weigh 1, next neighbours 1/2.
#   cat-sat: 1 (places 0, 1) + 1/2 (1, 3)    cat-mat: 1/2 (0, 2) + 1 (2, 3)
#   sat-mat: 1    cat-hat: 1    mat-hat: 1/2
FIVE_WORD_PAIRS = {
    ("cat", "sat"): 1.5,
    ("cat", "mat"): 1.5,
    ("mat", "sat"): 1.0,
    ("cat", "hat"): 1.0,
    ("hat", "mat"): 0.5,
}


def five_word_table(window: int = 2):
    vocabulary = count_vocabulary([FIVE_WORDS], 1)
    return vocabulary, count_pairs([FIVE_WORDS], vocabulary, window)


def as_dict(vocabulary, table):
    return {
        (vocabulary[first], vocabulary[second]): count
        for first, second, count in zip(*table.blocks.joined(0, 1), strict=True)
    }


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("TWENTYFOLD_CACHE", str(folder))
    return folder


# Counting


def test_vocabulary_is_by_frequency_then_spelling():
    assert count_vocabulary([FIVE_WORDS], 1) == ["cat", "hat", "mat", "sat"]
    assert count_vocabulary([FIVE_WORDS], 2) == ["cat"]


def test_pairs_of_five_words_by_hand():
    vocabulary, table = five_word_table()
    assert as_dict(vocabulary, table) == pytest.approx(FIVE_WORD_PAIRS)


def test_a_word_with_itself_counts_from_both_sides():
    # Distance 3: once from the left, once from the right, 1/3 each.
    vocabulary, table = five_word_table(window=3)
    assert as_dict(vocabulary, table)["cat", "cat"] == pytest.approx(2 / 3)


def test_rare_words_are_taken_out_before_distances():
    table = count_pairs([["a", "rare", "b"]], ["a", "b"], window=1)
    assert as_dict(["a", "b"], table) == {("a", "b"): 1.0}


def test_windows_end_with_the_text():
    assert count_pairs([["a"], ["b"]], ["a", "b"], window=5).num_pairs == 0


@pytest.mark.parametrize("window", [1, 4])
def test_pairs_equal_a_plain_double_loop(monkeypatch, window):
    monkeypatch.setattr("augment.fitting.cooccurrence.CHUNK_WORDS", 30)
    draws = random.Random(3)
    texts = [[draws.choice("abcdefg") for _ in range(draws.randrange(12))] for _ in range(40)]
    expected = {}
    for text in texts:
        for i, left in enumerate(text):
            for j in range(i + 1, min(len(text), i + window + 1)):
                key = tuple(sorted([left, text[j]]))
                twice = 2 if left == text[j] else 1
                expected[key] = expected.get(key, 0) + twice / (j - i)
    vocabulary = sorted("abcdefg")
    found = as_dict(vocabulary, count_pairs(texts, vocabulary, window))
    assert found == pytest.approx(expected)


def test_words_are_lower_case_without_final_stops():
    assert lower_words("The U.S. sold tea.") == ["the", "u.s", ".", "sold", "tea", "."]


def test_pairs_are_dealt_as_if_all_were_sorted_at_once(monkeypatch):
    monkeypatch.setattr("augment.fitting.cooccurrence.RANGES", 4)
    draws = random.Random(1)
    letters = "abcdefghijklm"
    table = count_pairs([[draws.choice(letters) for _ in range(60)]], letters, window=3)
    assert len(table.blocks) == 4
    whole = np.stack(table.blocks.joined(0, 1))
    numbers = np.random.Generator(np.random.Philox(2)).integers(0, 7, table.num_pairs)
    expected = np.array_split(whole[:, np.argsort(numbers, kind="stable")], 7, axis=1)
    dealt = _deal(table, 7, np.random.Generator(np.random.Philox(2)))
    for number, batch in enumerate(expected):
        found = np.stack(dealt.joined(number, 7))
        assert sorted(found.T.tolist()) == sorted(batch.T.tolist())


# Fitting


def test_first_loss_by_hand():
    # With vectors near 0 a pair's loss is f(x) (log x)^2 / 2; x_max 1, so f is 1 from 1 up:
    # 2 * (log 1.5)^2 / 2 + 0 + 0 + 0.5^0.75 * (log 0.5)^2 / 2 = 0.1644 + 0.1428, over 5 pairs.
    vocabulary, table = five_word_table()
    losses = []
    fit = GloveFit(dimensions=4000, x_max=1, epochs=1, **SMALL)
    fit_pairs(table, len(vocabulary), fit, lambda _, loss: losses.append(loss))
    assert losses[0] == pytest.approx(0.30725 / 5, rel=0.01)


def test_five_words_are_fitted_exactly():
    vocabulary, table = five_word_table()
    losses = []
    fit = GloveFit(dimensions=8, x_max=1, epochs=400, flat=0, **SMALL)
    fit_pairs(table, len(vocabulary), fit, lambda _, loss: losses.append(loss))
    assert losses[-1] < 1e-6


def test_steps_equal_torchs_adagrad_on_the_written_out_loss():
    _vocabulary, table = five_word_table(window=3)
    fit = GloveFit(dimensions=6, x_max=2, epochs=7, flat=0, seed=5, **SMALL)
    words, contexts = (part.clone().requires_grad_() for part in first_vectors(4, 6, 5))
    optimizer = torch.optim.Adagrad(
        [words, contexts], lr=0.1, initial_accumulator_value=FIRST_SQUARE, eps=0
    )
    first, second, counted = table.blocks.joined(0, 1)
    count = torch.zeros(4, 4)
    count[first, second] = torch.tensor(counted, dtype=torch.float32)
    count[second, first] = torch.tensor(counted, dtype=torch.float32)
    weight = (count / 2).pow(0.75).clamp(max=1)
    for _ in range(7):
        optimizer.zero_grad()
        residual = words @ contexts.T - count.clamp(min=1e-9).log()
        (weight * residual.square() / 2).sum().backward()
        words.grad[:, 7] = contexts.grad[:, 6] = 0
        optimizer.step()
    expected = (words + contexts)[:, :6].detach().numpy()
    assert fit_pairs(table, 4, fit) == pytest.approx(expected, abs=1e-5)


def test_a_planted_synonym_is_the_nearest():
    draws = random.Random(0)
    companions = {f"word{i}": [f"near{i}{j}" for j in range(6)] for i in range(10)}
    companions["glorp"] = companions["blick"] = [f"shared{j}" for j in range(6)]
    texts = []
    for _ in range(1500):
        target = draws.choice(sorted(companions))
        texts.append(
            " ".join(
                [
                    *draws.choices(companions[target], k=2),
                    target,
                    *draws.choices(companions[target], k=2),
                ]
            )
        )
    fit = GloveFit(dimensions=16, window=4, epochs=12, num_batches=10)
    words, matrix = fit_vectors(texts, fit)
    matrix = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    targets = [words.index(word) for word in companions]
    cosines = matrix[targets] @ matrix[words.index("glorp")]
    best = np.array(list(companions))[np.argsort(-cosines)]
    assert best[:2].tolist() == ["glorp", "blick"]


TEXTS = ["the cat sat on the mat", "a cat and a dog sat there", "the dog ate the mat"] * 3


def test_same_seed_same_vectors_whatever_the_threads():
    fit = GloveFit(dimensions=7, min_count=1, epochs=4)
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(fit_vectors(TEXTS, fit)[1].tobytes())
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1]
    other = fit_vectors(TEXTS, GloveFit(dimensions=7, min_count=1, epochs=4, seed=1))[1]
    assert other.tobytes() != found[0]


def test_a_flat_loss_ends_the_fit():
    losses = []
    fit = GloveFit(dimensions=4, min_count=1, epochs=300, flat=0.2)
    fit_vectors(TEXTS, fit, lambda _, loss: losses.append(loss))
    assert len(losses) < 300
    assert losses[-2] - losses[-1] < 0.2 * losses[-2]


# Files and the command


def write_squad(path: Path, contexts: list[str]) -> Path:
    paragraphs = [(text, [question(f"q{number}")]) for number, text in enumerate(contexts)]
    path.write_text(json.dumps(squad(paragraphs)), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["v.txt", "v.txt.gz"])
def test_written_vectors_are_read_back(tmp_path, name):
    words, matrix = ["été", "u.s", "¢5"], np.array([[0.5, 1], [2, 0], [0, -3]], np.float32)
    write_vectors(tmp_path / name, words, matrix)
    opened = gzip.open if name.endswith(".gz") else open
    with opened(tmp_path / name, "rt", encoding="utf-8") as file:
        assert file.readline() == "été 0.50000 1.00000\n"
    read = load_vectors(tmp_path / name, tmp_path / "cache")
    assert read.words == words
    assert np.asarray(read.matrix)[2].tolist() == [0, -1]


def test_the_command_writes_vectors_and_a_record(tmp_path, capsys, cache):
    train = write_squad(tmp_path / "train.json", TEXTS)
    fit = GloveFit(dimensions=4, min_count=1, epochs=2)
    config = FitGloveConfig(train=str(train), out=tmp_path / "v.txt.gz", fit=fit, max_words=3)
    fit_glove(config)
    assert load_vectors(config.out).words == ["the", "a", "cat"]
    record = json.loads((tmp_path / "v.txt.gz.json").read_text())
    assert record["settings"]["dimensions"] == 4
    assert record["words"] == 3
    assert [path.name for path in cache.glob("*/*.npy")] == ["vectors.npy"]
    assert len(record["mean_losses"]) == 2
    first = config.out.read_bytes()
    capsys.readouterr()
    fit_glove(config)
    assert "complete already" in capsys.readouterr().out
    fit_glove(FitGloveConfig(**{**vars(config), "overwrite": True}))
    assert config.out.read_bytes() == first


def test_other_settings_into_the_same_file_are_refused(tmp_path):
    train = write_squad(tmp_path / "train.json", TEXTS)
    fit = GloveFit(dimensions=4, min_count=1, epochs=1)
    fit_glove(FitGloveConfig(train=str(train), out=tmp_path / "v.txt", fit=fit))
    other = FitGloveConfig(
        train=str(train), out=tmp_path / "v.txt", fit=GloveFit(dimensions=5, min_count=1, epochs=1)
    )
    with pytest.raises(UsageError, match=r"settings.dimensions: 4 there, 5 here"):
        fit_glove(other)


def small_config(tmp_path, **more):
    train = write_squad(tmp_path / "train.json", TEXTS)
    fit = GloveFit(dimensions=4, min_count=1, epochs=1)
    return FitGloveConfig(train=str(train), out=tmp_path / "v.txt", fit=fit, **more)


def test_a_run_killed_before_its_record_goes_on(tmp_path, monkeypatch):
    config = small_config(tmp_path)
    with monkeypatch.context() as killed:
        killed.setattr("augment.fit_glove.load_vectors", lambda _: 1 / 0)  # after the vectors
        with pytest.raises(ZeroDivisionError):
            fit_glove(config)
    assert config.out.is_file()
    assert fit_glove(config)["words"] == 10
    assert json.loads((tmp_path / "v.txt.json").read_text())["words"] == 10


def test_vectors_from_elsewhere_are_left_alone(tmp_path):
    config = small_config(tmp_path)
    config.out.write_text("word 1 2\n")
    with pytest.raises(UsageError, match=r"v.txt: exists and is not a file made here"):
        fit_glove(config)
    assert config.out.read_text() == "word 1 2\n"
    assert fit_glove(small_config(tmp_path, overwrite=True))["words"] == 10


def test_a_damaged_record_is_named(tmp_path):
    config = small_config(tmp_path)
    fit_glove(config)
    (tmp_path / "v.txt.json").write_text('{"inp')
    with pytest.raises(ValueError, match=r"v.txt.json: damaged \(.*\); delete .*v.txt and run"):
        fit_glove(config)


def test_wrong_answers_do_not_matter(tmp_path):
    wrong = {"text": "the", "answer_start": 5}
    paragraphs = [("the cat and the dog " * 3, [question("q", wrong)])]
    (tmp_path / "train.json").write_text(json.dumps(squad(paragraphs)))
    fit = GloveFit(dimensions=4, min_count=1, epochs=1)
    config = FitGloveConfig(train=str(tmp_path / "train.json"), out=tmp_path / "v.txt", fit=fit)
    assert fit_glove(config)["words"] == 4


def test_a_build_of_too_little_text_names_its_own_options():
    with pytest.raises(ValueError, match=r"1 contexts: too little text .* --glove embedded, none"):
        fitted_to(["a cat sat"])


def test_too_much_text_is_refused_with_the_way_out(monkeypatch):
    monkeypatch.setattr("augment.fitting.glove_fit.MOST_CHARACTERS", 60)
    said = (
        r"9 contexts of 198 characters: .* 60 at most.*augment.fit_glove .* --sample 2`.* --glove"
    )
    with pytest.raises(UsageError, match=said):
        fitted_to(TEXTS)


def test_a_sample_is_spread_evenly(tmp_path):
    train = write_squad(tmp_path / "train.json", [f"{word} {word}" for word in "abcdefg"])
    fit = GloveFit(dimensions=4, min_count=1, epochs=1)
    config = FitGloveConfig(train=str(train), out=tmp_path / "v.txt", fit=fit, sample=3)
    assert fit_glove(config)["contexts"] == 3
    assert sorted(load_vectors(config.out).words) == ["a", "c", "e"]
    with pytest.raises(UsageError, match=r"settings.sample: 3 there, null here"):
        fit_glove(FitGloveConfig(train=str(train), out=tmp_path / "v.txt", fit=fit))


def test_fitted_to_fits_once(tmp_path, monkeypatch):
    monkeypatch.setenv("TWENTYFOLD_CACHE", str(tmp_path))
    fit = GloveFit(dimensions=4, min_count=1, epochs=1)
    path = fitted_to(TEXTS, fit)
    monkeypatch.setattr(
        "augment.fitting.glove_fit.fit_vectors", lambda *_: pytest.fail("fitted again")
    )
    assert fitted_to(TEXTS, fit) == path
    assert path.is_relative_to(tmp_path)


@pytest.mark.parametrize(
    ("contexts", "fit", "message"),
    [
        ([""], {"min_count": 1}, "0 of 0 distinct words occur 1 times or more"),
        (["word"], {"min_count": 1}, "1 of 1 distinct words"),
        (["word word word"], {"min_count": 1}, "1 of 1 distinct words"),
        (TEXTS, {"min_count": 1000}, "0 of 10 distinct words occur 1000 times or more"),
        (["one", "two"], {"min_count": 1}, "no two words stand in one text"),
    ],
)
def test_too_little_text(tmp_path, contexts, fit, message):
    train = write_squad(tmp_path / "train.json", contexts)
    with pytest.raises(ValueError, match=message):
        fit_glove(FitGloveConfig(train=str(train), out=tmp_path / "v.txt", fit=GloveFit(**fit)))
    assert os.listdir(tmp_path) == ["train.json"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dimensions": 0}, "dimensions 0: must be 1 or more"),
        ({"epochs": 0}, "epochs 0"),
        ({"window": -1}, "window -1"),
        ({"x_max": float("nan")}, "x_max nan: must be above 0"),
        ({"learning_rate": 0.0}, "learning_rate 0.0"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(UsageError, match=message):
        GloveFit(**settings)


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    train = write_squad(tmp_path / "train.json", TEXTS)

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("augment.base.commit.os.fsync", full)
    fit = GloveFit(dimensions=4, min_count=1, epochs=1)
    with pytest.raises(OSError, match="No space left"):
        fit_glove(FitGloveConfig(train=str(train), out=tmp_path / "v.txt", fit=fit))
    assert os.listdir(tmp_path) == ["train.json"]


def test_help_starts_without_torch():
    code = (
        "import sys; sys.argv = ['fit_glove', '--help']\n"
        "from augment.fit_glove import main\n"
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
    assert "--dimensions" in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(not TRAIN.is_file(), reason="needs ../shared/data")
def test_related_words_are_nearer_on_real_contexts(tmp_path):
    out = tmp_path / "vectors.txt"
    fit_glove(FitGloveConfig(train=str(TRAIN), out=out))
    vectors = load_vectors(out, tmp_path / "cache")
    assert share_in_order(vectors.words, np.asarray(vectors.matrix)) >= 0.9
