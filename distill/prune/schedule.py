"""How far pruning has gone at a step: pure functions of the step and the stage."""

from distill.recipes import PruningStage


def threshold_at(step: int, num_steps: int, stage: PruningStage) -> float:
    """Give the threshold of a step: constant, then a cubic, then constant.

    Source: Zhu and Gupta 2017, equation 1; movement-pruning's masked_run_squad.py and nn_pruning
    have the same, with both ends in multiples of the learning rate's warmup.

    Args:
        step: optimizer steps done.
        num_steps: of the stage.
        stage: its thresholds and the shares of the steps at both ends.

    Returns:
        `initial_threshold` before the cubic, `final_threshold` after it.
    """
    start, end = stage.prune_start * num_steps, (1 - stage.prune_hold) * num_steps
    first, last = stage.initial_threshold, stage.final_threshold
    if step <= start:
        return first
    if step > end:
        return last
    left = 1 - (step - start) / (end - start)
    return last + (first - last) * left**3


def regularization_at(step: int, num_steps: int, stage: PruningStage) -> float:
    """Give the weight of the regularisation: it rises with the threshold to its last value."""
    if not stage.regularization:
        return 0.0
    share = threshold_at(step, num_steps, stage) / stage.final_threshold
    return stage.regularization * share
