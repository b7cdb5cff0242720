"""Measuring on volumes: every voxel counts as a pixel does, and slices are the examples to look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from pixelwise.evaluation.evaluate import Progress, evaluate
from pixelwise.evaluation.evaluation import Evaluation
from pixelwise.labels import LabelMap
from pixelwise.sample import Dataset, Sample, Volume


class VolumePredictor(Protocol):
    """Whatever labels volumes."""

    @property
    def labels(self) -> LabelMap:
        """Its classes."""

    def predict_volume(self, volume: Volume) -> Volume:
        """The volume with a mask of class ids."""


def evaluate_volumes(
    segmenter: VolumePredictor, dataset: Dataset[Volume], progress: Progress | None = None
) -> Evaluation:
    """Measure a segmenter on labelled volumes: :func:`evaluate` with voxels in the place of pixels."""

    def as_sample(record: Any) -> Sample:
        volume = dataset.open_record(record)
        return Sample(volume.array, volume.mask, path=volume.path, meta=volume.meta)

    samples = Dataset(
        dataset.records,
        as_sample,
        dataset.labels,
        name=dataset.name,
        splits=None if dataset.split is None else [dataset.split] * len(dataset),
        root=dataset.root,
    )
    return evaluate(_Voxels(segmenter), samples, progress)


def pick_slices(
    evaluation: Evaluation,
    dataset: Dataset[Volume],
    segmenter: VolumePredictor,
    window: tuple[float, float],
    most: int = 6,
) -> list[dict[str, Any]]:
    """One slice of each of the worst volumes, as :func:`pick_examples` gives images.

    It is the slice along the last axis that holds most of the rarest class; the first channel is shown as
    grey, from ``window`` (low, high).
    """
    ranked = sorted((s for s in evaluation.images if s.mean_iou is not None), key=lambda s: s.mean_iou or 0.0)
    table, _ = segmenter.labels.lookup_from(dataset.labels)
    low, high = window
    examples = []
    for score in ranked[:most]:
        volume = dataset[score.index]
        assert volume.mask is not None
        ids, counts = np.unique(volume.mask[volume.mask < len(dataset.labels)], return_counts=True)
        z = int((volume.mask == ids[counts.argmin()]).sum(axis=(0, 1)).argmax())
        voxels = volume.array[:, :, z] if volume.array.ndim == 3 else volume.array[:, :, z, 0]
        grey = ((voxels.astype(np.float32) - low) * (255 / (high - low))).clip(0, 255).astype(np.uint8)
        predicted = _mask(segmenter, volume)
        # X to the right and Y upwards, as atlases have it when Y points to the patient's front.
        planes = (np.repeat(grey[..., None], 3, axis=2), table[volume.mask[:, :, z]], predicted[:, :, z])
        image, target, prediction = (np.swapaxes(plane, 0, 1)[::-1] for plane in planes)
        title = f"{score.name}, slice {z}: mean IoU of the volume {score.mean_iou:.3f}"
        examples.append({"title": title, "image": image, "target": target, "prediction": prediction})
    return examples


@dataclass(frozen=True)
class _Labelled:
    mask: np.ndarray


class _Voxels:
    """A segmenter of volumes as one of arrays."""

    def __init__(self, segmenter: VolumePredictor) -> None:
        self.labels = segmenter.labels
        self.segmenter = segmenter

    def predict(self, image: np.ndarray) -> _Labelled:
        """Label the voxels of an X×Y×Z array."""
        return _Labelled(_mask(self.segmenter, Volume(image)))


def _mask(segmenter: VolumePredictor, volume: Volume) -> np.ndarray:
    mask = segmenter.predict_volume(volume).mask
    assert mask is not None
    return mask
