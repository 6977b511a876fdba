"""Measure the speed of each part of a build, and print a table.

`speed` compares the masked LM with Haystack v1's loop, rebuilt here: one masked word a row, 16 rows
of one context a batch, the vocabulary head at every position, float32. The two take turns. They
have BERT-base's shapes and random weights, as speed does not depend on the weights. Ours runs on
the 128 contexts of middle length, as a build would; the loop runs on a few of them.
"""

import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro

from augment.base.command import run, usable_cores
from augment.base.records import shown
from augment.building.stages import CONTEXTS_PER_PART
from augment.squad import read_squad
from augment.variants.masked_lm import MaskedLM, MaskedLMSettings
from augment.variants.masking import plan_rows, windows
from augment.variants.words import find_words

Part = Literal["speed", "agreement", "writing", "glove"]
HAYSTACK_ROWS = 16
SPREAD_RUNS = 3


@dataclass(frozen=True, kw_only=True)
class BenchConfig:
    """What to measure."""

    train: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="TRAIN")]
    """A SQuAD JSON file, a folder made by `augment.build`, or a hub data set id."""
    parts: tuple[Part, ...] = ("speed", "glove")
    """`speed`: the masked LM against Haystack's loop.
    `agreement`: candidates that `--masking spread` and `--masking one` have in common.
    `writing`: writing shards from stored candidates.
    `glove`: the nearest neighbours of 20,000 words among 400,000."""
    mlm: str = "embedded"
    """A masked LM. `speed` uses its tokenizer only, `agreement` and `writing` the model itself."""
    contexts: int = 8
    """Contexts that Haystack's loop runs on in `speed`; each takes it about half a minute."""
    agreement_contexts: int = 200
    """Number of contexts for `agreement`."""
    candidates: Path | None = None
    """For `writing`: the folder in which a build stored its candidates."""
    glove: str = "none"
    """For `writing`: the --glove of that build."""
    threads: int = usable_cores()
    """Number of threads of the masked LM."""

    def __post_init__(self) -> None:
        if "writing" in self.parts and self.candidates is None:
            raise ValueError("--parts writing: needs the --candidates of a finished build")


Line = tuple[str, str, str]


def bench(config: BenchConfig) -> list[Line]:
    """Measure the parts; give (what, value, against what) for each figure."""
    import torch

    from augment.variants.attention import keep_freed_memory

    keep_freed_memory()
    torch.set_num_threads(config.threads)
    measure: dict[Part, Callable[[BenchConfig], list[Line]]] = {
        "speed": speed,
        "agreement": agreement,
        "writing": writing,
        "glove": glove,
    }
    return [line for part in config.parts for line in measure[part](config)]


def speed(config: BenchConfig) -> list[Line]:
    """Compare the rival and `one` on some contexts of a part with `spread` on the whole part."""
    part = _middle_part(config)
    part_words = [find_words(context) for context in part]
    contexts = part[:: max(1, len(part) // config.contexts)][: config.contexts]
    words = [find_words(context) for context in contexts]
    plain = _bert_base(config.mlm)
    rival = HaystackLoop(*plain)
    ours = MaskedLM(*_bert_base(config.mlm), device="cpu", dtype="bfloat16")
    spread = _settings(masking="spread")
    one = _settings(masking="one")
    ours.candidates(contexts[:1], words[:1], spread)  # warm up
    times: dict[str, list[float]] = {"rival": [], "one": [], "spread": []}
    peaks: dict[str, list[float]] = {"bfloat16": [], "float32": []}
    for context, spans in zip(contexts, words, strict=True):
        for dtype, rates in peaks.items():
            rates.append(matmul_peak(dtype))
        times["rival"].append(_time(partial(rival.candidates, context)))
        times["one"].append(_time(partial(ours.candidates, [context], [spans], one)))
        if len(times["spread"]) < SPREAD_RUNS:
            times["spread"].append(_time(partial(ours.candidates, part, part_words, spread)))
    rival_rate = len(contexts) / sum(times["rival"])
    one_rate = len(contexts) / sum(times["one"])
    spread_rate = len(part) / statistics.median(times["spread"])
    peak = {dtype: statistics.median(rates) for dtype, rates in peaks.items()}
    ideal = _ideal_seconds(ours, part, part_words, spread, peak)
    return [
        ("Haystack's loop", f"{rival_rate:.3f} contexts/s", ""),
        ("`--masking one`", f"{one_rate:.3f} contexts/s", f"{one_rate / rival_rate:.1f}x"),
        ("`--masking spread`", f"{spread_rate:.2f} contexts/s", f"{spread_rate / rival_rate:.0f}x"),
        (
            "share of the matrix-product peak",
            f"{ideal / statistics.median(times['spread']):.0%}",
            f"{peak['bfloat16'] / 1e9:.0f} GFLOP/s bf16, {peak['float32'] / 1e9:.0f} fp32",
        ),
    ]


class HaystackLoop:
    """Haystack v1's augment_squad, its masked-LM part, with the waste that makes it slow."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model, self.tokenizer = model.eval(), tokenizer

    def candidates(self, context: str) -> dict[int, list[int]]:
        """Give 15 token ids for every word that is one wordpiece, by its place."""
        import torch

        encoded = self.tokenizer(context, truncation=True, max_length=512)
        ids = torch.tensor(encoded["input_ids"])
        word_of = encoded.word_ids()
        places = [at for at, word in enumerate(word_of) if word_of.count(word) == 1]
        found: dict[int, list[int]] = {}
        for start in range(0, len(places), HAYSTACK_ROWS):
            batch = places[start : start + HAYSTACK_ROWS]
            rows = ids.repeat(len(batch), 1)
            rows[torch.arange(len(batch)), torch.tensor(batch)] = self.tokenizer.mask_token_id
            with torch.inference_mode():
                logits = self.model(input_ids=rows).logits
            top = logits[torch.arange(len(batch)), torch.tensor(batch)].topk(15).indices
            found.update(zip(batch, top.tolist(), strict=True))
        return found


def matmul_peak(dtype: str) -> float:
    """Measure the machine's rate for products of BERT-base's shapes, in FLOP/s: best of ten."""
    import torch

    kind = getattr(torch, dtype)
    left, right = torch.randn(4096, 768, dtype=kind), torch.randn(3072, 768, dtype=kind)
    with torch.inference_mode():
        product = torch.nn.functional.linear
        product(left, right)
        best = min(_time(lambda: product(left, right)) for _ in range(10))
    return 2 * 4096 * 768 * 3072 / best


def agreement(config: BenchConfig) -> list[Line]:
    """Count candidates that `spread` has in common with `one`, on evenly chosen contexts."""
    contexts = _contexts(config, config.agreement_contexts)
    words = [find_words(context) for context in contexts]
    model = MaskedLM.load(config.mlm, dtype="bfloat16")
    found = {m: model.candidates(contexts, words, _settings(masking=m)) for m in ("one", "spread")}
    common = [
        len(set(first) & set(second)) / 15
        for one, spread in zip(found["one"], found["spread"], strict=True)
        for first, second, asked in zip(
            one.token_ids.tolist(), spread.token_ids.tolist(), one.one_piece, strict=True
        )
        if asked
    ]
    rows = {m: _num_rows(model, contexts, words, _settings(masking=m)) for m in found}
    per_context = (f"{rows[m] / len(contexts):.0f} rows a context" for m in ("spread", "one"))
    return [
        ("candidates in common", f"{statistics.mean(common):.1%}", " against ".join(per_context))
    ]


def writing(config: BenchConfig) -> list[Line]:
    """Build the whole set from stored candidates with a new seed, and throw it away."""
    from augment.build import BuildConfig, build

    assert config.candidates is not None
    with tempfile.TemporaryDirectory(dir=config.candidates.parent) as folder:
        out = Path(folder) / "set"
        made = BuildConfig(
            train=config.train,
            out=out,
            mlm=config.mlm,
            glove=config.glove,
            candidates=config.candidates,
            seed=1,
        )
        record = build(made)
        size = sum(path.stat().st_size for path in (out / "data").iterdir())
    if record.contexts_through_the_model:
        raise ValueError(f"{config.candidates}: has not all candidates of {shown(config.train)}")
    return [
        ("sampling and writing", f"{record.seconds['writing']:.1f} s", f"{size / 1e6:.0f} MB"),
        ("peak memory of a process", f"{record.peak_memory_mib:,} MiB", ""),
    ]


def glove(config: BenchConfig) -> list[Line]:
    """Find the 15 nearest of 20,000 words among 400,000 vectors of 300 dimensions."""
    from augment.variants.glove import Vectors, nearest

    random = np.random.default_rng(0)
    matrix = random.standard_normal((400_000, 300), np.float32)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    vectors = Vectors([str(row) for row in range(len(matrix))], matrix, "", 0)
    seconds = _time(lambda: nearest(vectors, range(0, 400_000, 20), 15))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return [("15 nearest of 20,000 in 400,000 x 300", f"{seconds:.0f} s", f"{memory:,.0f} MiB")]


def _bert_base(tokenizer_name: str) -> tuple[Any, Any]:
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForMaskedLM

    from augment.base.models import model_folder

    tokenizer = AutoTokenizer.from_pretrained(model_folder(tokenizer_name))
    torch.manual_seed(0)
    return BertForMaskedLM(BertConfig(vocab_size=len(tokenizer))), tokenizer


def _settings(**changes: Any) -> MaskedLMSettings:
    plain = MaskedLMSettings(
        num_candidates=15,
        masking="spread",
        words="all",
        batch_tokens=2048,
        dtype="bfloat16",
        device_class="cpu",
    )
    return replace(plain, **changes)


def _middle_part(config: BenchConfig) -> list[str]:
    """Give the contexts that a build would compute together, those of middle length."""
    found = sorted(
        {p.context for p in read_squad(config.train).paragraphs}, key=lambda c: (len(c), c)
    )
    start = max(0, (len(found) - CONTEXTS_PER_PART) // 2)
    return found[start : start + CONTEXTS_PER_PART]


def _contexts(config: BenchConfig, number: int) -> list[str]:
    found = list(dict.fromkeys(p.context for p in read_squad(config.train).paragraphs))
    return found[:: max(1, len(found) // number)][:number]


def _num_rows(
    model: MaskedLM, contexts: Sequence[str], words: Sequence[Any], settings: MaskedLMSettings
) -> int:
    return sum(len(rows) for rows in _rows(model, contexts, words, settings))


def _rows(
    model: MaskedLM, contexts: Sequence[str], words: Sequence[Any], settings: MaskedLMSettings
) -> list[list[Any]]:
    found = []
    for context, spans in zip(contexts, words, strict=True):
        _, places, pieces = model.places(context, spans)
        cuts = windows(context, pieces, model.max_pieces)
        found.append(plan_rows(places, cuts, len(spans), settings.masking, settings.words))
    return found


def _ideal_seconds(
    model: MaskedLM,
    contexts: Sequence[str],
    words: Sequence[Any],
    settings: MaskedLMSettings,
    peak: dict[str, float],
) -> float:
    """Give the time that the work would take at the peak; padding and blank rows are no work."""
    shape = model.head.config
    size, layers, inner = shape.hidden_size, shape.num_hidden_layers, shape.intermediate_size
    encoder = head = 0.0
    for rows in _rows(model, contexts, words, settings):
        for row in rows:
            length = row.stop - row.start + len(model.prefix) + len(model.suffix)
            linear = 2 * length * (4 * size * size + 2 * size * inner)
            encoder += layers * (linear + 4 * length * length * size)
            head += len(row.masked) * 2 * size * (len(model.vocabulary.ids) + size)
    return encoder / peak[settings.dtype] + head / peak["float32"]


def _time(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _main(config: BenchConfig) -> None:
    import pandas as pd

    table = pd.DataFrame(bench(config), columns=["what", "value", "against"])
    print(table.to_string(index=False))


if __name__ == "__main__":
    run(BenchConfig, _main)
