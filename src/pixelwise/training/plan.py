"""The automatic plan: what is decided from the data when the user is silent, and why."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any, TypeVar

import numpy as np

from pixelwise.data import CheckReport
from pixelwise.errors import DataError, UsageError
from pixelwise.losses.balance import median_frequency_weights
from pixelwise.sample import Dataset, Sample, Volume
from pixelwise.training.config import TrainConfig
from pixelwise.training.loader import steps_per_epoch
from pixelwise.training.volumes import VolumeReport, plan_volumes

_COMFORTABLE_AREA = 480 * 360  # px; what trains in an afternoon on a CPU
_LARGE_SIDE = 2048  # px; larger images would lose too much by resizing
_PATCH = (512, 512)
_STEPS = 2000
_IMBALANCE = 10  # commonest to rarest class

Data = TypeVar("Data", Sample, Volume)


@dataclass(frozen=True)
class Plan:
    """A configuration without open questions, and why each was answered so.

    Attributes
    ----------
    config
        Every setting has a value.
    reasons
        From a setting to a sentence.
    """

    config: TrainConfig
    reasons: dict[str, str]

    def to_dict(self) -> dict[str, str]:
        """One readable line per decision."""
        values = self.config.model_dump()
        return {key: f"{_show(values[key])} ({why})" for key, why in self.reasons.items()}


def make_plan(config: TrainConfig, train_set: Dataset[Any], report: CheckReport | VolumeReport) -> Plan:
    """Fill every open setting of ``config`` from what the data doctor found."""
    if isinstance(report, VolumeReport):
        return Plan(*plan_volumes(config, report))
    if config.window is not None or (config.size is not None and len(config.size) == 3):
        raise UsageError("a window, and a size of three sides, are for volumes; leave them out for images")
    reasons: dict[str, str] = {}
    found: dict[str, Any] = {}

    def decide(key: str, value: Any, why: str) -> Any:
        """The user's value, or else ``value`` with its reason."""
        said = getattr(config, key)
        if said is not None:
            return said
        found[key], reasons[key] = value, why
        return value

    counted = report.splits[_counted_split(train_set, report)]
    height, width = counted.size_range()["median"]
    seen = f"the median image is {width}x{height}"
    patches = decide("patches", max(height, width) > _LARGE_SIDE and config.size is None, seen)
    if patches:
        sides = max(32, min(_PATCH[1], width)), max(32, min(_PATCH[0], height))
        size = decide("size", sides, "patches at native scale")
    else:
        size = decide("size", _comfortable(height, width), seen)
    images = len(train_set)
    fitting = 8 if math.prod(size) <= 2 * _COMFORTABLE_AREA else 4
    batch = decide("batch", max(1, min(fitting, images)), f"{images} training images")
    per_epoch = steps_per_epoch(images, batch, config.accumulate)
    if config.max_steps is not None:
        why = f"{config.max_steps} steps, {per_epoch} per epoch"
        decide("epochs", math.ceil(config.max_steps / per_epoch), why)
    elif config.max_minutes is not None:
        decide("epochs", 100_000, f"as many as fit into {config.max_minutes:g} minutes")
    else:
        decide("epochs", min(300, max(8, math.ceil(_STEPS / per_epoch))), f"about {_STEPS} steps")
    decide("lr", 1e-3 if config.optimizer == "adamw" else 1e-2, f"usual for {config.optimizer}")
    decide("class_weights", *_weighting(train_set, report))
    return Plan(config.model_copy(update=found), reasons)


def split_data(
    data: Dataset[Data], fraction: float, seed: int, hold_out: str | None = None
) -> tuple[Dataset[Data], Dataset[Data], str]:
    """Training and validation samples, and a sentence on where the latter come from.

    The splits called ``train`` and ``val`` are taken when there are; otherwise a random ``fraction`` of
    the training images is held out, the same for the same seed. ``test`` is never touched.

    With ``hold_out``, the training images whose names match this pattern are validated on, such as one of
    several sequences; a split ``val`` is left alone then, for judging what was chosen that way.

    Raises
    ------
    DataError
        Fewer than two labelled images are left for training.
    UsageError
        ``hold_out`` matches no training image, or all.
    """
    names = {name.lower(): name for name in data.splits}
    val_name = next((names[n] for n in ("val", "valid", "validation") if n in names), None)
    train_name = next((names[n] for n in ("train", "training") if n in names), None)
    kept_back = {n for n in data.splits if n == val_name or n.lower() in ("test", "testing")}
    others = [n for n in data.splits if n not in kept_back]
    if train_name is None and len(others) == 1:  # images in no split, beside a test split
        train_name = others[0]
    if train_name is None and kept_back:
        raise DataError(f"{data.name}: no split to train on among {', '.join(data.splits)}; call one 'train'")
    if hold_out is not None:
        return _held_out(data.select(train_name) if train_name else data, hold_out)
    if val_name and train_name:
        return data.select(train_name), data.select(val_name), f"the data's own split '{val_name}'"
    pool = data.select(train_name) if train_name else data
    if len(pool) < 2:
        raise DataError(
            f"{data.name}: {len(pool)} labelled image(s) are too few to train on; at least 2 are needed"
        )
    rng = np.random.default_rng(seed)
    if len(volumes := _slices_by_volume(pool)) > 1:
        order = rng.permutation(len(volumes))
        held = min(len(volumes) - 1, max(1, round(fraction * len(volumes))))
        why = f"the slices of {held} of {len(volumes)} volumes held out at random"
        parts = [sorted(i for v in part for i in volumes[v]) for part in (order[held:], order[:held])]
        return pool.subset(parts[0]), pool.subset(parts[1]), why
    order = rng.permutation(len(pool))
    held = max(1, round(fraction * len(pool)))
    why = f"{held} of {len(pool)} images held out at random; give a 'val' folder if neighbours look alike"
    return pool.subset(sorted(order[held:].tolist())), pool.subset(sorted(order[:held].tolist())), why


def _held_out(pool: Dataset[Data], pattern: str) -> tuple[Dataset[Data], Dataset[Data], str]:
    matching = [sample.path is not None and fnmatch(sample.path.name, pattern) for sample in pool]
    held = [position for position, matches in enumerate(matching) if matches]
    if not held or len(held) == len(pool):
        raise UsageError(
            f"hold_out '{pattern}' matches {len(held)} of {len(pool)} training images of {pool.name}; "
            "expected a pattern that some of their file names match, such as 'seq3_*'"
        )
    left = [position for position, matches in enumerate(matching) if not matches]
    why = f"the {len(held)} of {len(pool)} training images that match '{pattern}'"
    return pool.subset(left), pool.subset(held), why


def _slices_by_volume(data: Dataset[Any]) -> list[list[int]]:
    """The positions of the slices of every volume, which look alike; nothing for data of other kinds."""
    if "volume_path" not in data[0].meta:
        return []
    volumes: dict[Any, list[int]] = {}
    for position, sample in enumerate(data):
        volumes.setdefault(sample.meta.get("volume_path"), []).append(position)
    return list(volumes.values())


def class_weights(
    kind: str | None, train_set: Dataset[Any], report: CheckReport | VolumeReport
) -> np.ndarray | None:
    """K float32 weights for the loss from the training split, or None."""
    if kind in (None, "none"):
        return None
    if isinstance(report, VolumeReport):
        weights = median_frequency_weights(report.counts)
    else:
        weights = report.class_weights(_counted_split(train_set, report))
    weights = np.sqrt(weights) if kind == "sqrt-median" else weights
    return np.clip(weights, 0.1, 10.0).astype(np.float32)


def _comfortable(height: int, width: int) -> tuple[int, int]:
    factor = min(1.0, math.sqrt(_COMFORTABLE_AREA / (height * width)))
    return max(32, round(width * factor / 8) * 8), max(32, round(height * factor / 8) * 8)


def _counted_split(train_set: Dataset[Sample], report: CheckReport) -> str:
    """The part of the report that the training images are in."""
    return train_set.split if train_set.split in report.splits else next(iter(report.splits))


def _weighting(train_set: Dataset[Sample], report: CheckReport) -> tuple[str, str]:
    weights = report.class_weights(_counted_split(train_set, report))
    present = weights[weights > 0]
    ratio = float(present.max() / present.min()) if len(present) else 1.0
    choice = "sqrt-median" if ratio > _IMBALANCE else "none"
    return choice, f"the commonest class is {ratio:.0f} times as frequent as the rarest"


def _show(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
