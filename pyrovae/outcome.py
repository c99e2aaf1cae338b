"""Whether training has led below the loss that it began with, in a sentence; knows no run and no data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

FAR_ABOVE = 100.0
"""Times the size of the loss before the first step: so far above it no model is of use."""

HARDLY = 0.01
"""Share of the loss before the first step that is no more than chance, in few steps on few rows."""


ADVICE = "in a new run, a smaller train.lr, train.clip = 10, or data of a smaller range often help"


class Outcome(NamedTuple):
    """What is wrong with the losses of a training."""

    is_failure: bool
    """Whether the training has failed; else there is only a reason to look at it."""
    message: str


def judge(
    before: float, losses: Mapping[int, float], *, of: str, is_warming_up: bool = False
) -> Outcome | None:
    """What is wrong with the losses after the epochs, beside the loss before the first step, if anything is.

    Args:
        before: the loss before the first step, in nats per datum.
        losses: after each epoch that was measured, by its number, the last epoch last.
        of: the rows, in words.
        is_warming_up: whether a warm-up of the objective was not over in the last epoch.

    Example:
        >>> judge(40.0, {1: 35.0, 2: 41.0}, of="validation rows").is_failure
        False
        >>> judge(40.0, {1: 35.0, 2: 1e6}, of="validation rows").is_failure
        True
    """
    best, last = min(losses, key=lambda epoch: losses[epoch]), list(losses)[-1]
    rise = losses[last] - before
    if losses[best] < before and rise <= 0:
        return None
    was = f"the loss on {of} was {before:.6g} nats per datum before the first step and is {losses[last]:.6g}"
    lowest = f"{losses[best]:.6g} after epoch {best}"
    advice = _advice(rise / abs(before) if before else 1.0, is_warming_up=is_warming_up)
    if losses[best] >= before:
        at_best = "" if best == last else f" (at best {lowest})"
        found = f"training has not made the model better: {was} after the last{at_best}"
        return Outcome(True, f"{found}; all epochs are saved; {advice}")
    kept = f"the checkpoint 'best' has the weights of the lowest loss, {lowest}"
    if rise > FAR_ABOVE * abs(before):
        return Outcome(
            True, f"training has diverged: {was} after the last; all epochs are saved, and {kept}; {advice}"
        )
    return Outcome(False, f"training has ended worse than it began: {was} after the last; {kept}; {advice}")


def _advice(rise: float, *, is_warming_up: bool) -> str:
    """What to do about a loss that has risen by this share."""
    if is_warming_up:
        return "the warm-up of the objective was not over: train for more epochs than it has"
    if rise <= HARDLY:
        return "the loss has hardly moved: train for more epochs, or in a new run with a larger train.lr"
    return ADVICE
