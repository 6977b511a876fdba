"""How near a training step comes to what the machine's matrix products reach."""

import time
from collections.abc import Callable
from typing import Any

HEADER = """\
| rows in a step | examples a second | TFLOP/s | share of a large product's |
|---|---|---|---|"""


def line(made: Any, reached: float) -> str:
    """Time steps of the intermediate stage; write the row in Markdown.

    Args:
        made: teacher, student and rows, as `distill.bench` makes them.
        reached: operations a second of a large product.
    """
    import torch

    from distill.models.distiller import IntermediateDistiller
    from distill.models.teacher import IntermediateTeacher

    made.to_device()
    ours = IntermediateDistiller(made.student, made.config.width, made.stage).train()
    asked = IntermediateTeacher(made.teacher, made.layer_map, attention=True)
    optimizer = made.optimizer(ours)

    def steps() -> None:
        for number in range(made.config.steps):
            batch = made.device_batch(number)
            inputs = {k: v for k, v in batch.items() if k != "positions"}
            made.step(ours, optimizer, lambda: ours(**inputs, **asked(batch)))  # noqa: B023
        made.wait()

    size = made.config.batch_size
    try:
        flops = count_flops(steps)
        seconds = min(_time(steps) for _ in range(made.config.repeats))
    except torch.cuda.OutOfMemoryError:
        return f"| {size} | does not fit into memory | | |"
    examples, rate = made.config.steps * size / seconds, flops / seconds
    return f"| {size} | {examples:,.1f} | {rate / 1e12:.3g} | {100 * rate / reached:.0f} % |"


def count_flops(work: Callable[[], Any]) -> int:
    """Count the floating-point operations of matrix products, forward and backward."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def product_rate(device: str, dtype: str, size: int) -> float:
    """Measure the operations a second of a large square matrix product, the best of ten.

    A data sheet's peak is higher: no product reaches it, and clocks fall under load.
    """
    import torch

    first, second = torch.randn(2, size, size, device=device, dtype=getattr(torch, dtype))

    def multiply() -> None:
        torch.matmul(first, second)
        if device == "cuda":
            torch.cuda.synchronize()

    multiply()  # chooses a kernel
    return 2 * size**3 / min(_time(multiply) for _ in range(10))


def _time(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
