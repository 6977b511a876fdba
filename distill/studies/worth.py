"""How much real data copies are worth: their gain as a share of the gain of real data.

Intervals are of the questions asked, the same ones for every arm; the training's own chance
shows in a second seed.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eval.compare import interval, times_drawn

NUM_RESAMPLES, LEVEL = 10_000, 0.95


class Estimate(NamedTuple):
    """A figure with the ends of its interval."""

    value: float
    low: float
    high: float


def lead(a: NDArray[np.float32], b: NDArray[np.float32]) -> Estimate:
    """Give how far `b` is above `a` in the mean, from figures of the same rows, (rows,) each."""
    gain = b - a
    return Estimate(float(gain.mean()), *interval(_draws(gain)[:, 0], LEVEL))


def worth(
    originals: NDArray[np.float32], copies: NDArray[np.float32], ceiling: NDArray[np.float32]
) -> Estimate | None:
    """Give (copies - originals) / (ceiling - originals) of the means; 1 is as good as real data.

    Args:
        originals, copies, ceiling: figures of the same rows, (rows,) each, losses or scores.

    Returns:
        None where the ceiling's own gain is not beyond chance: a share of it would say nothing.
    """
    gain, whole = copies - originals, ceiling - originals
    draws = _draws(gain, whole)
    low, high = interval(draws[:, 1], LEVEL)
    if low <= 0 <= high:
        return None
    value = float(gain.mean() / whole.mean())
    return Estimate(value, *interval(draws[:, 0] / draws[:, 1], LEVEL))


def _draws(*gains: NDArray[np.float32]) -> NDArray[np.float64]:
    """Give the means of redrawn rows, the same rows for all, (resamples, gains)."""
    sums = _times_drawn(len(gains[0])).astype(np.float64) @ np.stack(gains, 1).astype(np.float64)
    return sums / len(gains[0])


@lru_cache(maxsize=2)
def _times_drawn(rows: int) -> NDArray[np.int16]:
    """Keep the draws, which take most of the time and are the same for all arms."""
    chunks = times_drawn(rows, NUM_RESAMPLES, seed=0)
    return np.concatenate([times.astype(np.int16) for times in chunks])
