"""What an engine is, and how many cores it may use."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from pixelwise.bundles import Bundle
from pixelwise.errors import UsageError

PRECISIONS = ("auto", "fp32", "bf16", "int8")
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
        The precision that is really used: ``fp32``, ``bf16`` or ``int8``.
    device
        Where it runs: ``cpu``, ``cuda`` or ``mps``.
    """

    name: str
    precision: str
    device: str

    def run(self, images: np.ndarray, wanted: Wanted) -> np.ndarray:
        """B×H×W×C uint8 to ``labels`` (B×H×W integers) or ``logits`` (B×K×H×W float32).

        B×X×Y×Z×C float32 of volumes to B×X×Y×Z or B×K×X×Y×Z.
        """
        ...


def graph_for(bundle: Bundle, precision: str) -> Path:
    """The ONNX file that has this precision; UsageError when int8 is wanted and the bundle has none."""
    if precision != "int8":
        return bundle.graph
    if bundle.int8_graph is None:
        raise UsageError(
            f"'{bundle.manifest.name}' has no int8 graph; make one: pixelwise export --model {bundle.path} "
            "--int8 --calibration PHOTOS --data LABELLED --out BUNDLE"
        )
    return bundle.int8_graph


def available_cores() -> int:
    """Cores that this process may really use: its affinity, and the cgroup's quota where there is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return max(1, cores)
    return max(1, cores if quota == "max" else min(cores, round(int(quota) / int(period))))
