"""Load a checkpoint: its fast tokenizer, which is seen to be the model's, and its weights.

The one loader of the project. What a checkpoint lacks is given back by name: a masked LM may lack
nothing, a student its span head. The libraries' own errors get the name of what is damaged.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from augment.base.models import model_folder, model_sha256

MADE_BY = ("training.json", "fit.json")
"""Records that trainings leave in the folder of what they made, with its hash."""
Head = Literal["AutoModel", "AutoModelForMaskedLM", "AutoModelForQuestionAnswering"]


def load_tokenizer(name: str | Path) -> Any:
    """Load a model's fast tokenizer.

    Raises:
        ValueError: damaged files, no fast tokenizer, or one that is not the model's.
        FileNotFoundError: nothing of that name.
    """
    from transformers import AutoTokenizer

    folder = model_folder(name)
    size = load_config(name).vocab_size
    with damage_named(name, "tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(folder)
    if not tokenizer.is_fast:
        raise ValueError(f"{name}: no fast tokenizer; this needs its tokenizer.json")
    if not size / 2 < len(tokenizer) <= size:  # transformers makes one up where there is none
        raise ValueError(
            f"{name}: a tokenizer of {len(tokenizer):,} tokens for a model of {size:,}; are its "
            "own tokenizer's files there?"
        )
    return tokenizer


def load_config(name: str | Path) -> Any:
    """Load a model's configuration; every loader begins with it.

    Raises:
        ValueError: it is damaged, or the model is not the one that its training left here.
        FileNotFoundError: nothing of that name.
    """
    from transformers import AutoConfig

    folder = model_folder(name)
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{name}: no config.json in this folder, so no model")
    _check_unchanged(folder, name)
    with damage_named(name, "configuration"):
        return AutoConfig.from_pretrained(folder)


def _check_unchanged(folder: Path, name: str | Path) -> None:
    """See that a model that was trained here is the one that its record names."""
    for record in MADE_BY:
        try:
            found = json.loads((folder / record).read_bytes())
        except (FileNotFoundError, ValueError):  # somebody else's, or no record
            continue
        made = found.get("weights_sha256") if isinstance(found, dict) else None
        if made is not None and made != model_sha256(folder):
            raise ValueError(
                f"{name}: not the model that its {record} names: weights, configuration or "
                f"tokenizer were damaged or replaced; fetch it again, or, if they were meant to "
                f"change, delete {record}"
            )


def load_model(
    head: Head, name: str | Path, *, dtype: str = "float32", allow_bin: bool = False
) -> tuple[Any, set[str]]:
    """Load a model, in eval mode.

    Args:
        head: the class of transformers.
        name: a folder, a hub id, or `embedded`.
        dtype: of the weights.
        allow_bin: read pytorch_model.bin where there are no safetensors.

    Returns:
        The model, and the names of the weights that the checkpoint lacks.

    Raises:
        ValueError: damaged files.
        OSError: nothing of that name, or no safetensors.
    """
    import torch
    import transformers

    if not sys.stderr.isatty():
        transformers.utils.logging.disable_progress_bar()
    os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")  # no bot's files by the back door
    folder = model_folder(name)
    options = {"dtype": getattr(torch, dtype), "output_loading_info": True}
    load = getattr(transformers, head).from_pretrained
    with _quiet(), damage_named(name, "weights"):
        try:
            model, found = load(folder, use_safetensors=True, **options)
        except OSError as error:
            if not allow_bin:
                raise OSError(
                    f"{name}: no weights as safetensors ({error}); if there is a "
                    "pytorch_model.bin that you trust, pass --allow-bin"
                ) from error
            print(f"{name}: reading pytorch_model.bin (pickled), as allowed", file=sys.stderr)
            model, found = load(folder, use_safetensors=False, weights_only=True, **options)
    return model.eval(), set(found["missing_keys"])


def check_whole(name: str | Path, missing: set[str], remedy: str) -> None:
    """Refuse a checkpoint that lacks weights.

    Raises:
        ValueError: with the first of them.
    """
    if missing:
        shown = ", ".join(sorted(missing)[:5])
        raise ValueError(f"{name}: the checkpoint lacks {len(missing)} weights: {shown}; {remedy}")


@contextmanager
def damage_named(name: str | Path, what: str) -> Iterator[None]:
    """Name the checkpoint where a library fails over damaged bytes.

    safetensors and tokenizers raise bare exceptions, transformers a KeyError or a JSON error
    without a file's name; what these libraries say in their own words stays as it is.
    """
    try:
        yield
    except Exception as error:
        clear = isinstance(error, OSError | ValueError | RuntimeError | ImportError | MemoryError)
        if clear and not isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
            raise
        said = f"{type(error).__name__}: {error}"
        raise ValueError(f"{name}: damaged {what} ({said}); fetch it again") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from listing missing and unread weights: what matters is checked here."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
