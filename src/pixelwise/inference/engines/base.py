"""What an engine is, and how many cores it may use."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

PRECISIONS = ("auto", "fp32", "bf16")
"""Precisions that a user can ask for."""

Wanted = Literal["labels", "logits"]
"""The graph's outputs: one plane of class ids, or K planes of float32 logits."""


class Engine(Protocol):
    """Runs a bundle's graph.

    Attributes
    ----------
    name
        As in ``ENGINES``.
    precision
        The precision that is really used: ``fp32`` or ``bf16``.
    """

    name: str
    precision: str

    def run(self, images: np.ndarray, wanted: Wanted) -> np.ndarray:
        """B×H×W×C uint8 to ``labels`` (B×H×W integers) or ``logits`` (B×K×H×W float32).

        B×X×Y×Z×C float32 of volumes to B×X×Y×Z or B×K×X×Y×Z.
        """
        ...


def available_cores() -> int:
    """Cores that this process may really use: its affinity, and the cgroup's quota where there is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return max(1, cores)
    return max(1, cores if quota == "max" else min(cores, round(int(quota) / int(period))))
