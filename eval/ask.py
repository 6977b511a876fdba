"""Ask readers questions in the browser, several side by side: a teacher, a student, a small one.

The answer is marked in the text, beside the best spans with their scores, the probability that
there is no answer, and the time taken, by either protocol. Nothing leaves the machine. Needs the
`ui` extra.
"""

from dataclasses import dataclass
from typing import Annotated

import tyro

from augment.base.command import UsageError, run
from augment.base.models import Device, shown_name
from eval.reading.protocol import Protocol
from eval.reading.reader import Dtype, Reader


@dataclass(frozen=True, kw_only=True)
class Ask:
    """The readers to ask, and where."""

    models: Annotated[
        tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="MODEL [MODEL ...]")
    ]
    """Hub ids or folders of checkpoints with a span head, or what else `Reader.load` takes."""
    n_best: int = 5
    """Show this number of spans of each answer at first."""
    max_seq_length: int = 384
    """Number of tokens in a window."""
    doc_stride: int = 128
    """Tokens that neighbouring windows share with run_qa, or between their starts with farm."""
    device: Device = "auto"
    """Run the readers here; a GPU is taken if there is one."""
    dtype: Dtype = "float32"
    """Precision of the readers."""
    allow_bin: bool = False
    """Also read weights from pytorch_model.bin, if there are no safetensors."""
    host: str | None = None
    """Serve on this address of the machine.
    The default, 127.0.0.1, cannot be reached from other machines."""
    port: int | None = None
    """Serve on this port; the first free one from 7860 on by default."""

    def __post_init__(self) -> None:
        if not self.models:
            raise UsageError("name one MODEL at least")
        _ = self.protocol  # checks its own fields
        if not 1 <= self.n_best <= 20:
            raise UsageError(f"n_best {self.n_best}: must be 1 to 20")

    @property
    def protocol(self) -> Protocol:
        """The first of the two protocols, with its settings."""
        return Protocol(max_seq_length=self.max_seq_length, doc_stride=self.doc_stride)


def ask(config: Ask) -> None:
    """Load the readers and serve the page until Ctrl-C.

    Raises:
        UsageError: Gradio is missing, the port is taken, or a model's windows are shorter.
        ValueError: a checkpoint that is no reader.
        OSError: no model of a name.
    """
    from augment.pages.local_page import import_gradio, serve
    from eval.asking.app import make_page

    import_gradio()  # before minutes are spent on loading
    readers = {}
    for number, model in enumerate(config.models, 1):
        name = shown_name(model)
        readers[f"{name} ({number})" if name in readers else name] = Reader.load(
            model,
            protocol=config.protocol,
            device=config.device,
            dtype=config.dtype,
            allow_bin=config.allow_bin,
        )
    serve(make_page(readers, config.n_best), config.host, config.port)


def main() -> None:
    """Run the command line."""
    run(Ask, ask)


if __name__ == "__main__":
    main()
