"""Export a reader for fast answers on a CPU: an ONNX graph, with weights in int8 on request.

OUT is a folder that `eval.predict`, `Reader.load` and `eval.bench` take as they take MODEL. Its
README.md says how much faster it is here, and with --dev what it scores, beside the checkpoint in
float32. Pruned readers are exported as they are.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from augment.base.command import UsageError, run, to_json, usable_cores, versions
from augment.base.folders import made_at_once
from augment.base.models import model_sha256, shown_name
from augment.base.records import processor
from augment.remote.storage_options import AS_CONFIGURED, StorageOptions


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Which reader, and how."""

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")]
    """A reader: a hub id or a folder."""
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """A new folder for the exported reader."""
    to: Literal["onnx"] = "onnx"
    """The format: onnx runs by ONNX Runtime."""
    quantize: Literal["int8"] | None = None
    """int8: the linear layers multiply in 8 bits; faster, and the answers change a little."""
    dev: str | None = None
    """A SQuAD set to score the checkpoint and the exported reader on."""
    sample: int | None = None
    """Score so many questions only, spread evenly over --dev."""
    repeats: int = 7
    """How often the speed is measured; the card says the median and the range."""
    allow_bin: bool = False
    """Also load pytorch_model.bin if a checkpoint has no safetensors."""
    storage: tyro.conf.OmitArgPrefixes[StorageOptions] = AS_CONFIGURED
    """How stores are reached that URLs lead to."""

    def __post_init__(self) -> None:
        if self.repeats < 1 or (self.sample is not None and self.sample < 1):
            raise UsageError("--repeats and --sample must be 1 or more")
        if self.sample is not None and self.dev is None:
            raise UsageError("--sample: of what? name a SQuAD set with --dev")


def export(config: ExportConfig) -> dict[str, Any]:
    """Export the reader, measure it, and give the record that lies in OUT/export.json.

    Raises:
        UsageError: OUT exists, or MODEL is exported already.
        ValueError, OSError: no reader of that name, or none that can be exported.
    """
    if config.out.exists():
        raise UsageError(f"{config.out}: exists; choose another OUT, or move it away")
    _check_packages()
    from distill.cards.export_card import export_card
    from distill.exporting.graph import quantize_graph, write_graph
    from distill.exporting.measured import measure_scores, measure_speed
    from eval.reading.exported import EXPORT, GRAPH, ExportedReader, is_exported
    from eval.reading.reader import find_reader, load_checkpoint
    from eval.scoring.gold import read_gold, spread

    if is_exported(config.model):
        raise UsageError(f"{config.model}: is exported already; name the checkpoint it is from")
    gold, dev_sha256 = read_gold(config.dev) if config.dev else ([], "")
    tokenizer, model = load_checkpoint(
        find_reader(config.model), dtype="float32", allow_bin=config.allow_bin
    )
    dtype = config.quantize or "float32"
    with made_at_once(config.out) as made:
        model.config.to_json_file(made / "config.json")
        tokenizer.save_pretrained(made)
        difference = write_graph(model, tokenizer, made / GRAPH)
        if config.quantize:
            exact = (made / GRAPH).rename(made / "float32.onnx")
            quantize_graph(exact, made / GRAPH)
            exact.unlink()
        record = {
            "model": shown_name(config.model),
            "model_sha256": model_sha256(find_reader(config.model)),
            "dtype": dtype,
            "float32_logits_differ_by": difference,
            "processor": processor(),
            "cores": usable_cores(),
            "versions": {**versions(), **_check_packages()},
        }
        (made / EXPORT).write_text(to_json(record), encoding="utf-8")
        record["speed"] = measure_speed(model, tokenizer, made, config.repeats)
        record["scores"] = None
        if config.dev:
            found = measure_scores(
                model, ExportedReader(made), tokenizer, spread(gold, config.sample)
            )
            record["scores"] = {**found, "dev": shown_name(config.dev), "dev_sha256": dev_sha256}
        (made / EXPORT).write_text(to_json(record), encoding="utf-8")
        (made / "README.md").write_text(export_card(record), encoding="utf-8")
    print(f"{config.out}: {dtype}; see {config.out / 'README.md'}")
    return record


def _check_packages() -> dict[str, str]:
    """Give the versions of what the export needs.

    Raises:
        UsageError: something is not installed.
    """
    from importlib.metadata import PackageNotFoundError, version

    names = ("onnx", "onnxruntime", "onnxscript")
    try:
        return {name: version(name) for name in names}
    except PackageNotFoundError as error:
        raise UsageError(
            f"exporting needs {', '.join(names)}: install the project with its extra [onnx]"
        ) from error


def main() -> None:
    """Run the command line."""
    run(ExportConfig, export)


if __name__ == "__main__":
    main()
