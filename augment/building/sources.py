"""Find, read and hash what a build is made from: the set, the masked LM, the vectors."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from augment.base.command import existing_file
from augment.base.models import (
    EMBEDDED,
    Device,
    model_folder,
    model_sha256,
    pick_accelerator,
    pick_device,
    pick_dtype,
    shown_name,
)
from augment.building.blocks import Blocks
from augment.variants.glove import Vectors, load_vectors
from augment.variants.keep_list import keep_list
from augment.variants.masked_lm import MaskedLMSettings
from augment.variants.masking import MaskingRule
from augment.variants.scripts import check_language
from augment.variants.words import ENGLISH, WordRule

BATCH_TOKENS = {"cpu": 2048, "cuda": 65536}


@dataclass(frozen=True)
class Model:
    """A masked LM that was found, or the lack of one, and how it will be run."""

    name: str
    folder: Path | None
    """None if there is no model (--mlm none)."""
    sha256: str | None
    settings: MaskedLMSettings


@dataclass(frozen=True)
class Sources:
    """The inputs of a build, each with the hash that identifies it."""

    blocks: Blocks
    model: Model
    vectors: Vectors | None
    """None if there are no vectors (--glove none)."""
    vectors_name: str
    keep_words: frozenset[str]
    """As `keep_list` writes them."""


def find_model(
    name: str,
    *,
    num_candidates: int = 15,
    masking: MaskingRule = "spread",
    words: WordRule = "content",
    batch_tokens: int | None = None,
    device: Device = "auto",
    dtype: str = "auto",
    language: str = ENGLISH,
    accelerator: str | None = None,
) -> Model:
    """Find a masked LM by folder, hub id, `embedded` or `none`, and settle how it runs.

    Raises:
        FileNotFoundError: nothing of that name.
        ValueError: the packages that find the language's words are not installed.
        UsageError: GPUs of several kinds, and none named.
    """
    if language != ENGLISH:
        check_language(language)
    device_class = "cpu" if name == "none" else pick_device(device).type
    settings = MaskedLMSettings(
        num_candidates=num_candidates,
        masking=masking,
        words=words,
        batch_tokens=batch_tokens or BATCH_TOKENS[device_class],
        dtype="float32" if name == "none" else pick_dtype(dtype, device_class),
        device_class=device_class,
        language=language,
        accelerator=pick_accelerator(accelerator, device_class),
    )
    if name == "none":
        return Model(name, None, None, settings)
    folder = model_folder(name)
    return Model(shown_name(name), folder, model_sha256(folder), settings)


def set_up_finding(device: str) -> Callable[[Mapping[str, Any]], Model]:
    """Give what finds a masked LM by the arguments of `find_model`, on the machine that this is."""
    return lambda arguments: find_model(**arguments)


def find_vectors(
    name: str, contexts: Iterable[str], language: str = ENGLISH
) -> tuple[Vectors | None, str]:
    """Read word vectors from a file, the embedded ones, or fit them to the contexts.

    Args:
        name: `none`, `embedded`, `fit`, or the file.
        contexts: gone through several times.
        language: of the contexts.

    Returns:
        the vectors, None for `none`, and what to call them.
    """
    if name == "none":
        return None, name
    if name == "embedded":
        return load_vectors(EMBEDDED / "glove.txt.gz"), name
    if name == "fit":
        from augment.fitting.glove_fit import fitted_to

        return load_vectors(fitted_to(contexts, language=language)), "fitted to the input"
    return load_vectors(Path(name)), Path(name).name


def read_keep_words(path: Path | None) -> frozenset[str]:
    """Read a list of words and phrases, one a line.

    Raises:
        ValueError: not UTF-8.
        FileNotFoundError: no such file.
    """
    if path is None:
        return frozenset()
    try:
        text = existing_file(path, "file of words").read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from error
    return keep_list(text.splitlines())
