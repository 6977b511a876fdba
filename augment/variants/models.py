"""Find models: a folder, the embedded one, or the hub's; what they are known by, where they run."""

import hashlib
from itertools import chain
from pathlib import Path

from augment.base.commit import file_sha256

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


def model_folder(name: str) -> Path:
    """Give the folder of a model: one on disk, the embedded one, or a hub id's local copy."""
    if name == "embedded":
        return EMBEDDED
    if Path(name).is_dir():
        return Path(name)
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise FileNotFoundError(f"{name}: no such model folder")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        patterns = ["*.json", "*.txt", "*.model", "model*.safetensors"]
        return Path(snapshot_download(name, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise FileNotFoundError(
            f"{name}: not a folder, and no model hub gave it; pass a folder, or `embedded`"
        ) from error


def model_sha256(folder: Path) -> str:
    """Hash a model's weights, configuration and tokenizer: what decides its candidates.

    Raises:
        FileNotFoundError: there are no safetensors weights.
    """
    weights = sorted(folder.glob("model*.safetensors"))
    if not weights:
        raise FileNotFoundError(f"{folder}: no model.safetensors in it")
    digest = hashlib.sha256()
    for path in chain(weights, (folder / name for name in TOKENIZER_AND_CONFIG)):
        if path.is_file():
            digest.update(path.name.encode() + b"\0")
            digest.update(bytes.fromhex(file_sha256(path)))
    return digest.hexdigest()


def pick_device(device: str) -> str:
    """Settle `auto`: a GPU if there is one.

    Raises:
        ValueError: `cuda` was asked for and there is none.
    """
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "--device cuda: this torch sees no GPU; pass --device cpu, or install another torch"
        )
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


def pick_dtype(dtype: str, device_class: str) -> str:
    """Settle `auto`: the 16-bit type that the hardware multiplies natively, else float32."""
    import torch

    if dtype != "auto":
        return dtype
    if device_class == "cuda":
        return "bfloat16" if torch.cuda.get_device_capability() >= (8, 0) else "float16"
    return "bfloat16" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "float32"
