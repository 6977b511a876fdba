"""Small things that many tests need: a set, vectors, and masked LMs that fit in a second."""

import gc
import json
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small models: threads would wait for each other

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import settings

from tests.small_sets import small_set

settings.register_profile("any machine", deadline=None)  # nothing here is timed
settings.load_profile("any machine")

SHARED = Path(__file__).parents[1].parent / "shared"

WORDS = """
the a old new lighthouse tower near by calais paris was is built made in of its her keeper guard
, . ; - ' " $ anne marie lit saw lamp light every evening morning night ships boats paid gave
for to s daughter son later then wrote read famous small book song bees birds visit leave clover
flower field garden twice once day year queen king never always leaves hive nest do fly city
house and on it he she they with from 1848 5 00 one two mask un ing
""".split()


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Leave the user's cache alone."""
    os.environ["TWENTYFOLD_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session", autouse=True)
def imports_are_no_garbage() -> None:
    """Spare `gc.collect`, which every training calls, what was imported: most of its time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The real data and models, where they are at hand."""
    if not SHARED.is_dir():
        pytest.skip("needs ../shared with the real data and models")
    return SHARED


@pytest.fixture
def memory_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Give fsspec's store in memory, empty, beside an empty cache; nothing waits in it."""
    fsspec = pytest.importorskip("fsspec")
    monkeypatch.setenv("TWENTYFOLD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("augment.remote.bucket.PAUSE", 0.0)
    monkeypatch.setattr("augment.remote.placing.SETTLING", 0.0)
    files = fsspec.filesystem("memory")
    files.store.clear()
    yield files
    files.store.clear()


@pytest.fixture
def write_json(tmp_path: Path) -> Callable[[Any], Path]:
    def write(content: Any, name: str = "train.json") -> Path:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
        return path

    return write


@pytest.fixture
def train(write_json: Callable[[Any], Path]) -> Path:
    return write_json(small_set())


@pytest.fixture(scope="session")
def glove_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred words in four dimensions, in Stanford's format."""
    import numpy as np

    path = tmp_path_factory.mktemp("glove") / "tiny.txt"
    random = np.random.default_rng(0)
    words = [*(word for word in WORDS if word.isalpha()), "leroy", "cafe", "keeper's"]
    lines = (f"{w} " + " ".join(f"{x:.4f}" for x in random.normal(size=4)) for w in words)
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT masked LM, two layers of width 32, with 64 positions."""
    import torch
    from transformers import BertConfig, BertForMaskedLM, BertTokenizer

    folder = tmp_path_factory.mktemp("tiny-bert")
    pieces = ["##s", "##er", "##ing", "leroy"]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused1]", *WORDS, *pieces]
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    tokenizer = BertTokenizer(vocab=vocabulary, do_lower_case=True, model_max_length=64)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.5,
    )
    BertForMaskedLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random RoBERTa masked LM with a byte-level vocabulary of the same words."""
    import torch
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import RobertaConfig, RobertaForMaskedLM, RobertaTokenizer

    folder = tmp_path_factory.mktemp("tiny-roberta")
    words = [word for word in WORDS if len(word) > 1]
    words += [word.capitalize() for word in words]
    tokens = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *sorted(ByteLevel.alphabet())]
    merges = []
    for word in [f"Ġ{word}" for word in words] + words:
        for end in range(2, len(word) + 1):
            tokens.append(word[:end])
            merges.append((word[: end - 1], word[end - 1]))
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    tokenizer = RobertaTokenizer(
        vocab=vocabulary, merges=list(dict.fromkeys(merges)), model_max_length=64
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=66,
        initializer_range=0.5,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
    )
    RobertaForMaskedLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave no room on any disk."""
    monkeypatch.setattr("augment.base.folders.shutil.disk_usage", lambda _: SimpleNamespace(free=0))
