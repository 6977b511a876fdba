"""Find models: a folder, the embedded one, or the hub's; what they are known by, where they run.

Every model of the project is found, hashed and placed here, and loaded by `checkpoints`.
"""

import hashlib
import os
import sys
import time
from functools import cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from augment.base.command import UsageError
from augment.base.commit import file_sha256
from augment.base.records import shown

if TYPE_CHECKING:
    import torch

TOKENIZER_AND_CONFIG = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
)
EMBEDDED = Path(__file__).parents[1] / "embedded"


Device = Literal["auto", "cpu", "cuda"]


def model_folder(name: str | Path) -> Path:
    """Give the folder of a model: one on disk, the embedded one, or a hub id's local copy.

    Raises:
        FileNotFoundError: nothing of that name.
    """
    if name == "embedded":
        return EMBEDDED
    if Path(name).is_dir():
        return Path(name)
    shown = str(name)
    if shown.startswith((".", "/", "~")) or shown.count("/") > 1:
        raise FileNotFoundError(f"{name}: no such model folder; name a folder or a hub id")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    patterns = ["*.json", "*.txt", "*.model", "model*.safetensors"]
    try:
        folder = Path(snapshot_download(shown, allow_patterns=patterns))
        if not any(folder.glob("model*.safetensors")):  # read only where the user allows it
            snapshot_download(shown, allow_patterns=["pytorch_model*.bin"])
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise FileNotFoundError(
            f"{name}: not a folder, and no model hub gave it; name a folder or a hub id"
        ) from error
    return folder


def model_sha256(name: str | Path) -> str:
    """Hash a model's weights, configuration and tokenizer: what decides what it says.

    Raises:
        FileNotFoundError: nothing of that name, or no weights in it.
    """
    folder = model_folder(name)
    kinds = ("model*.safetensors", "pytorch_model*.bin", "model.onnx")
    weights = next((found for kind in kinds if (found := sorted(folder.glob(kind)))), [])
    if not weights:
        raise FileNotFoundError(f"{name}: no model.safetensors in it")
    digest = hashlib.sha256()
    for path in chain(weights, (folder / name for name in TOKENIZER_AND_CONFIG)):
        if path.is_file():
            digest.update(path.name.encode() + b"\0")
            digest.update(bytes.fromhex(file_sha256(path)))
    return digest.hexdigest()


def shown_name(source: str | Path) -> str:
    """Leave this machine's folders out of a record that travels: a folder's own name alone."""
    return Path(source).resolve().name if Path(source).exists() else shown(source)


def pick_device(wanted: Device) -> "torch.device":
    """Choose the device: with `auto` a GPU where there is one, each process its own.

    Raises:
        UsageError: `cuda` was asked for and there is none.
    """
    import torch

    if wanted == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "--device cuda: this PyTorch finds no GPU; pass --device cpu, or install a torch that "
            "serves this GPU"
        )
    if wanted == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def pick_accelerator(wanted: str | None, device_class: str) -> str | None:
    """Settle on one kind of GPU, by name; None on a CPU.

    Two kinds differ where two words are nearly as likely: what they compute side by side would
    depend on which did what.

    Raises:
        UsageError: there is none of that name, or there are several kinds and none was named.
    """
    if device_class == "cpu":
        if wanted is not None:
            raise UsageError(f"--accelerator {wanted}: the masked LM runs on a CPU here")
        return None
    there = gpu_names()
    shown = ", ".join(sorted(set(there)))
    if wanted is not None and wanted not in there:
        raise UsageError(f"--accelerator {wanted}: no GPU of that name here; there are: {shown}")
    if wanted is None and len(set(there)) > 1:
        raise UsageError(
            f"GPUs of several kinds here ({shown}): their candidates differ a little, and the set "
            "would depend on which computed what; choose one kind with --accelerator"
        )
    return wanted or there[0]


def check_accelerator(wanted: str | None, device: str) -> None:
    """Refuse to compute on another kind of GPU than the one that was settled on.

    Raises:
        RuntimeError: with both names.
    """
    import torch

    if wanted is not None and (found := torch.cuda.get_device_name(device)) != wanted:
        raise RuntimeError(
            f"{device}: is {found}, the candidates are {wanted}'s; let --accelerator name the kind "
            "that all tasks get"
        )


def gpu_names() -> list[str]:
    """Name the GPUs of this machine, in the order of their numbers."""
    import torch

    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def pick_dtype(dtype: str, device_class: str) -> str:
    """Settle `auto`: the 16-bit type that the hardware multiplies natively, else float32."""
    import torch

    if dtype != "auto":
        warn_if_emulated(dtype, device_class)
        return dtype
    if device_class == "cuda":
        return "bfloat16" if torch.cuda.get_device_capability() >= (8, 0) else "float16"
    return cpu_dtype()


@cache
def warn_if_emulated(dtype: str, device_class: str) -> None:
    """Say, once, that bfloat16 was asked of a processor without units for it."""
    if (dtype, device_class) == ("bfloat16", "cpu") and cpu_dtype() == "float32":
        print("warning: bfloat16 is slower than float32 on this processor", file=sys.stderr)


@cache
def cpu_dtype() -> str:
    """Give the type in which this processor multiplies faster: bfloat16 or float32.

    By its units, so that a resumed run finds the same; else by a product, which takes some
    milliseconds. oneDNN alone does not tell: it supports bfloat16 also where it emulates it, at
    half of float32's speed.
    """
    import torch

    if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported():
        return "bfloat16"
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return "float32"
    products = {
        name: torch.ones(256, 768, dtype=getattr(torch, name)) for name in ("float32", "bfloat16")
    }
    seconds = dict.fromkeys(products, float("inf"))
    for _ in range(5):
        for name, rows in products.items():
            weight = torch.ones(768, 768, dtype=rows.dtype)
            start = time.perf_counter()
            torch.nn.functional.linear(rows, weight)
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    return "bfloat16" if seconds["bfloat16"] < 0.9 * seconds["float32"] else "float32"
