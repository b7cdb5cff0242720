"""What a training on volumes decides from its data: the intensity window, the patch, batch and epochs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from pixelwise.augment.volume import check_volume
from pixelwise.errors import DataError, UsageError
from pixelwise.losses.balance import median_frequency_weights
from pixelwise.sample import Dataset, Volume
from pixelwise.training.config import TrainConfig
from pixelwise.training.loader import mask_of, pixels_of, steps_per_epoch

_COMFORTABLE_VOXELS = 64**3  # what trains on a CPU
_BATCH = 2
_STEPS = 1000
_STEPS_BETWEEN_VALIDATIONS = 100
_TAKEN = 10_000  # intensities of each volume that the window is computed from
_NOT_FOR_VOLUMES = ("scale_range", "rotate", "patches", "encoder", "freeze_encoder")


@dataclass(frozen=True)
class VolumeReport:
    """What the training volumes are like.

    Attributes
    ----------
    shapes, spacings
        N×3 voxels, and N×3 millimetres.
    channels
        The number of channels, the same in all.
    counts
        N×K int64, the voxels of each class in each volume.
    window
        The 0.5 and 99.5 percentile of the intensities of all classes but the commonest.
    """

    shapes: np.ndarray
    spacings: np.ndarray
    channels: int
    counts: np.ndarray
    window: tuple[float, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, for ``check.json``."""
        return {
            "volumes": len(self.shapes),
            "median_shape": np.median(self.shapes, axis=0).tolist(),
            "median_spacing": np.median(self.spacings, axis=0).round(4).tolist(),
            "channels": self.channels,
            "voxels": self.counts.sum(axis=0).tolist(),
            "window": list(self.window),
        }


def inspect_volumes(dataset: Dataset[Volume]) -> VolumeReport:
    """Read every volume once; what cannot be trained on is one sentence.

    Raises
    ------
    DataError
        A volume has no mask, or one of another size; the mask holds an id that is no class; volumes differ
        in their number of channels; no voxel is labelled.
    """
    classes, ignore = len(dataset.labels), dataset.labels.ignore
    shapes, spacings, channels, rows = [], [], [], []
    taken: list[list[np.ndarray]] = [[] for _ in range(classes)]
    for number, volume in enumerate(dataset):
        check_volume(volume)
        pixels, mask = pixels_of(volume), mask_of(volume)
        where = volume.path or volume.meta.get("name", f"volume {number}")
        here = np.bincount(mask.ravel(), minlength=classes)
        wrong = [int(i) for i in np.flatnonzero(here) if i >= classes and i != ignore]
        if wrong:
            raise DataError(f"{where}: the mask holds id {wrong[0]}, expected 0..{classes - 1} or {ignore}")
        shapes.append(pixels.shape[:3])
        spacings.append(volume.spacing)
        channels.append(pixels.shape[3])
        if channels[-1] != channels[0]:
            raise DataError(f"{where}: {channels[-1]} channel(s), but {channels[0]} in the first volume")
        rows.append(here[:classes])
        for index in np.flatnonzero(rows[-1]):  # evenly spread, so that nothing depends on chance
            values = pixels[mask == index]
            taken[index].append(values[:: max(1, len(values) // _TAKEN)].ravel())
    counts = np.array(rows, np.int64).reshape(-1, classes)
    if not counts.any():
        raise DataError(f"{dataset.name}: no voxel of {len(dataset)} training volumes has a class")
    window = _window(counts.sum(axis=0), taken)
    return VolumeReport(np.array(shapes), np.array(spacings), channels[0], counts, window)


def plan_volumes(config: TrainConfig, report: VolumeReport) -> tuple[TrainConfig, dict[str, str]]:
    """Fill every open setting from what the volumes are like; return the reasons, too.

    Raises
    ------
    UsageError
        A setting was given that training on volumes does not know.
    """
    for name in _NOT_FOR_VOLUMES:
        if name in config.model_fields_set and getattr(config, name) is not None:
            raise UsageError(f"'{name}' is for images; training on volumes does not know it, leave it out")
    if config.size is not None and len(config.size) != 3:
        raise UsageError(f"patches of volumes have three sides, such as 64x64x48, found {config.size}")
    images = len(report.shapes)
    shape = np.median(report.shapes, axis=0)
    size = config.size or _comfortable(shape.tolist())
    batch = config.batch or min(_BATCH, images)
    per_epoch = steps_per_epoch(images, batch, config.accumulate)
    if config.max_steps is not None:
        epochs, why = math.ceil(config.max_steps / per_epoch), f"{config.max_steps} steps"
    elif config.max_minutes is not None:
        epochs, why = 100_000, f"as many as fit into {config.max_minutes:g} minutes"
    else:
        epochs, why = math.ceil(_STEPS / per_epoch), f"about {_STEPS} steps, {per_epoch} per epoch"
    weights = median_frequency_weights(report.counts)[report.counts.any(axis=0)]
    ratio = float(weights.max() / weights.min())
    median = "x".join(f"{side:g}" for side in shape)
    decisions: dict[str, tuple[Any, str]] = {
        "patches": (True, "volumes are cut into patches at their own scale"),
        "size": (size, f"the median volume is {median}"),
        "window": (report.window, "0.5 and 99.5 percentile of all classes but the commonest"),
        "batch": (batch, f"{images} training volumes"),
        "epochs": (epochs, why),
        "lr": (1e-3 if config.optimizer == "adamw" else 1e-2, f"usual for {config.optimizer}"),
        "class_weights": (
            "sqrt-median" if ratio > 10 else "none",
            f"the commonest class is {ratio:.0f} times as frequent as the rarest",
        ),
    }
    found = {key: decision for key, decision in decisions.items() if getattr(config, key) is None}
    if "validate_every" not in config.model_fields_set:
        every = max(1, round(_STEPS_BETWEEN_VALIDATIONS / per_epoch))
        found["validate_every"] = every, f"an epoch has {per_epoch} steps"
    config = config.model_copy(update={key: value for key, (value, _) in found.items()})
    return config, {key: why for key, (_, why) in found.items()}


def _comfortable(shape: list[float]) -> tuple[int, ...]:
    """The volume's proportions with as many voxels as train on a CPU; a small volume is taken whole."""
    factor = (_COMFORTABLE_VOXELS / math.prod(shape)) ** (1 / 3)
    if factor >= 1:
        return tuple(max(8, round(side)) for side in shape)
    return tuple(max(8, round(side * factor / 8) * 8) for side in shape)


def _window(counts: np.ndarray, taken: list[list[np.ndarray]]) -> tuple[float, float]:
    """nnU-Net's rule for CT: what is to be found decides, and air and bone may saturate."""
    rarer = [part for index, parts in enumerate(taken) if index != counts.argmax() for part in parts]
    values = np.concatenate(rarer or [part for parts in taken for part in parts])
    low, high = (float(value) for value in np.percentile(values, (0.5, 99.5)))
    return (low, high) if low < high else (low - 0.5, low + 0.5)
