"""pixelwise: label every pixel of an image, every frame of a video, every point of a cloud.

Importing this package loads nothing heavy: each public name is fetched when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from pixelwise import losses, metrics, models, refine
    from pixelwise.api import benchmark, check, evaluate, load, read, train, write
    from pixelwise.errors import DataError, MissingExtraError, PixelwiseError, UsageError
    from pixelwise.labels import LabelMap
    from pixelwise.sample import Clip, Cloud, Dataset, Sample, Volume

_HOMES = {
    "load": "pixelwise.api",
    "read": "pixelwise.api",
    "check": "pixelwise.api",
    "write": "pixelwise.api",
    "train": "pixelwise.api",
    "evaluate": "pixelwise.api",
    "benchmark": "pixelwise.api",
    "models": "",
    "losses": "",
    "metrics": "",
    "refine": "",
    "LabelMap": "pixelwise.labels",
    "Sample": "pixelwise.sample",
    "Clip": "pixelwise.sample",
    "Cloud": "pixelwise.sample",
    "Volume": "pixelwise.sample",
    "Dataset": "pixelwise.sample",
    "PixelwiseError": "pixelwise.errors",
    "UsageError": "pixelwise.errors",
    "DataError": "pixelwise.errors",
    "MissingExtraError": "pixelwise.errors",
}

__all__ = [
    "Clip",
    "Cloud",
    "DataError",
    "Dataset",
    "LabelMap",
    "MissingExtraError",
    "PixelwiseError",
    "Sample",
    "UsageError",
    "Volume",
    "benchmark",
    "check",
    "evaluate",
    "load",
    "losses",
    "metrics",
    "models",
    "read",
    "refine",
    "train",
    "write",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'pixelwise' has no attribute '{name}'")
    value = (
        getattr(importlib.import_module(home), name) if home else importlib.import_module(f"pixelwise.{name}")
    )
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
