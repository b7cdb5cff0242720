"""Learning-rate schedules as pure functions of progress, so that a resumed run needs no state for them."""

from __future__ import annotations

import math


def rate_factor(schedule: str, progress: float, warmup: float) -> float:
    """The share of the peak learning rate at ``progress`` (0 at the start, 1 at the end).

    ``onecycle``: a cosine rise from 1/25 during ``warmup``, then a cosine fall to 1/1000 (Smith 2018).
    ``poly``: a linear warm-up, then (1 - progress)^0.9 (DeepLab). ``constant``: after the warm-up, 1.

    >>> [round(rate_factor("poly", p, 0.0), 3) for p in (0.0, 0.5, 1.0)]
    [1.0, 0.536, 0.0]
    """
    progress = min(1.0, max(0.0, progress))
    if progress < warmup:
        rise = progress / warmup
        return 0.04 + 0.96 * (1 - math.cos(math.pi * rise)) / 2 if schedule == "onecycle" else rise
    fall = (progress - warmup) / (1 - warmup)
    if schedule == "onecycle":
        return 0.001 + 0.999 * (1 + math.cos(math.pi * fall)) / 2
    return (1 - fall) ** 0.9 if schedule == "poly" else 1.0
