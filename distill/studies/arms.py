"""The trainings that are compared, in the order in which their figures are wanted."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

Kind = Literal["originals", "copies", "ceiling"]


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One training of stage 1 on one set, measured along its way."""

    name: str
    """Of its record."""
    kind: Kind
    """originals: N questions; copies: these and their copies; ceiling: all questions there are."""
    num_originals: int
    """N, in every kind: it says how many steps a pass has, and what stage 2 trains on."""
    passes: tuple[int, ...]
    """Measured when so many times N rows have been read; the last ends the schedule."""
    seed: int = 1
    """Draws the originals, the copies, the order of the rows and dropout."""
    learning_rate: float | None = None
    """None: the one that the trials choose."""
    replace_probability: float = 0.4
    words: Literal["content", "all"] = "content"
    glove: Literal["fit", "none"] = "fit"
    rows: Literal["augmented", "balanced"] = "augmented"

    def steps(self, num_passes: int, batch_size: int) -> int:
        """Give the steps in which so many times N rows are read."""
        return num_passes * -(-self.num_originals // batch_size)


PASSES = (12, 25, 50, 100)
LONG = (*PASSES, 200)


def trials(rates: tuple[float, ...]) -> list[Arm]:
    """Give the short arms that choose the learning rate, for the originals alone."""
    return [
        Arm(
            name=f"trial-{rate:g}",
            kind="originals",
            num_originals=128,
            passes=(25,),
            learning_rate=rate,
        )
        for rate in rates
    ]


def _arm(kind: Kind, num_originals: int = 128, knob: str = "", **fields: Any) -> Arm:
    made = Arm(name="", kind=kind, num_originals=num_originals, **{"passes": PASSES, **fields})
    parts = (num_originals, kind, *([knob] if knob else []), f"{made.passes[-1]}-passes")
    return replace(made, name=f"{'-'.join(map(str, parts))}-seed-{made.seed}")


ARMS: tuple[Arm, ...] = (
    _arm("originals", 64),
    _arm("copies", 64),
    _arm("ceiling", 64),
    _arm("originals"),
    _arm("copies"),
    _arm("ceiling"),
    _arm("copies", knob="p0.15", replace_probability=0.15),
    _arm("copies", knob="balanced", rows="balanced"),
    _arm("originals", seed=2),
    _arm("copies", seed=2),
    _arm("originals", 512),
    _arm("copies", 512),
    _arm("ceiling", 512),
    _arm("copies", knob="words-all", words="all"),
    _arm("copies", knob="mlm-alone", glove="none"),
    _arm("copies", knob="words-all", words="all", seed=2),
    _arm("copies", knob="p0.15", replace_probability=0.15, seed=2),
    _arm("copies", knob="balanced", rows="balanced", seed=2),
    _arm("copies", knob="mlm-alone", glove="none", seed=2),
    _arm("originals", passes=LONG),
    _arm("copies", passes=LONG),
    _arm("ceiling", passes=LONG),
)


def chosen_rate(records: Mapping[str, Mapping[str, Any]], rates: tuple[float, ...]) -> float:
    """Give the rate whose trial ends with the lowest held-out loss of stage 1.

    Raises:
        KeyError: a trial has no record yet.
    """
    loss = {
        arm.learning_rate: records[arm.name]["points"][-1]["held_out_loss"] for arm in trials(rates)
    }
    return min(rates, key=lambda rate: float(loss[rate]))
