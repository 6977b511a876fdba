"""Readers that `distill.export` wrote: run by ONNX Runtime on the CPU, called as others are."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from augment.base.command import UsageError

if TYPE_CHECKING:
    import torch

GRAPH, EXPORT = "model.onnx", "export.json"
SLOW_FUSIONS = ["SkipLayerNormFusion"]
"""ONNX Runtime 1.32 has 0.6 ms for a fused residual and norm of 384 x 384 numbers, and 0.1 ms for
the two apart (AVX-512, one thread): a fifth of an int8 MiniLM's time."""


class ExportedLogits(NamedTuple):
    """What an exported reader gives, (batch, tokens) each."""

    start_logits: "torch.Tensor"
    end_logits: "torch.Tensor"


class ExportedReader:
    """The graph of a reader in a session of ONNX Runtime, with as many threads as PyTorch has."""

    def __init__(self, folder: str | Path) -> None:
        """Open the graph.

        Raises:
            UsageError: there is no ONNX Runtime.
            ValueError: a damaged graph or record.
        """
        import torch
        from transformers import AutoConfig

        try:
            import onnxruntime
        except ImportError as error:
            raise UsageError(
                f"{folder}: an exported reader runs by ONNX Runtime; pip install onnxruntime"
            ) from error
        self.dtype = exported_dtype(folder)
        self.config = AutoConfig.from_pretrained(folder)
        self.device = torch.device("cpu")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors
        path = Path(folder) / GRAPH
        try:
            self._session = onnxruntime.InferenceSession(
                str(path),
                options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=SLOW_FUSIONS,
            )
        except Exception as error:  # of a module that is not public
            raise ValueError(f"{path}: cannot be run ({error}); export it again") from error
        self._names = [given.name for given in self._session.get_inputs()]

    def __call__(self, **inputs: "torch.Tensor") -> ExportedLogits:
        """Give the logits of a batch; token types are 0 where they are not given."""
        import torch

        if "token_type_ids" in self._names and "token_type_ids" not in inputs:
            inputs["token_type_ids"] = torch.zeros_like(inputs["input_ids"])
        given = {name: inputs[name].numpy() for name in self._names}
        return ExportedLogits(*map(torch.from_numpy, self._session.run(None, given)))


def is_exported(name: str | Path) -> bool:
    """Tell whether a folder holds an exported reader."""
    return (Path(name) / EXPORT).is_file()


def exported_dtype(folder: str | Path) -> str:
    """Give what an exported reader's products are computed in: float32 or int8.

    Raises:
        ValueError: a damaged record.
    """
    path = Path(folder) / EXPORT
    try:
        dtype = json.loads(path.read_bytes())["dtype"]
        if dtype not in ("float32", "int8"):
            raise ValueError(f"dtype {dtype!r}")
    except (ValueError, KeyError, TypeError) as error:
        said = f"{type(error).__name__}: {error}"
        raise ValueError(f"{path}: damaged ({said}); export the reader again") from error
    return str(dtype)


def load_exported(name: str | Path, *, device: str, dtype: str) -> tuple[Any, ExportedReader]:
    """Load an exported reader and its tokenizer.

    Raises:
        UsageError: another device or precision than it has.
        ValueError: damaged files.
    """
    from transformers import AutoTokenizer

    if device == "cuda":
        raise UsageError(f"--device cuda: {name} is exported for the CPU; name the checkpoint")
    if dtype != "float32":
        raise UsageError(
            f"--dtype {dtype}: {name} computes in {exported_dtype(name)}, as it was exported; "
            "leave --dtype out"
        )
    return AutoTokenizer.from_pretrained(name), ExportedReader(name)
