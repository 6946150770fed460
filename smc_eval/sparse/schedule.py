"""Schedules of mask changes in training: their steps, and sparsities or shares. Needs no tensors."""

from __future__ import annotations

import math


def window(steps: int, since: float, until: float) -> tuple[int, int]:
    """First and last step of a share of training, counted from 0, both included."""
    last = min(round(until * steps), steps - 1)
    return min(round(since * steps), last), last


def spacing(span: int, every: int, events: int) -> int:
    """Steps between events: `every`, or fewer if `span` steps would then have less than `events`."""
    return max(1, min(every, span // events))


def cubic(initial: float, final: float, share: float) -> float:
    """Sparsity after a share of the schedule: rises fast at first, slowly at the end.

    Zhu & Gupta (2017), equation 1, where the share is (t - t0) / (n delta_t).
    """
    return final + (initial - final) * (1 - share) ** 3


def cosine(initial: float, final: float, share: float) -> float:
    """Half a cosine wave from `initial` to `final`. Evci et al. (2020), section 3, with `final` = 0."""
    return final + (initial - final) / 2 * (1 + math.cos(math.pi * share))


def sigmoid(initial: float, final: float, share: float, slope: float) -> float:
    """Sparsity after a share of the schedule: rises slowly at first and at the end, fast in the middle.

    A logistic curve from `-slope` to `slope`, stretched so that it begins at `initial` and ends at `final`.
    """
    low, high, here = (1 / (1 + math.exp(slope * (1 - 2 * x))) for x in (0.0, 1.0, share))
    return initial + (final - initial) * (here - low) / (high - low)


def linear(step: int, warmup: int, steps: int) -> float:
    """Share of a rate that rises from 0 for `warmup` steps, and then falls to 0 at the end of `steps`."""
    return step / warmup if step < warmup else (steps - step) / (steps - warmup)
