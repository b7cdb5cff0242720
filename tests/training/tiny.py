"""A network of two convolutions, so that bundles cost next to nothing, and pictures it can be judged on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from pixelwise.bundles import Bundle, WorkingScale
from pixelwise.labels import LabelMap
from pixelwise.models.network import SegmentationNetwork
from pixelwise.sample import Dataset, Sample
from pixelwise.training.export import export_bundle

LABELS = LabelMap(("dark", "middle", "bright"))


class Tiny(SegmentationNetwork):
    """Dark, middle, bright by rule, over a hidden layer whose other channels are noise of ``seed``."""

    def __init__(self, seed: int = 0, outlier: float = 1.0) -> None:
        super().__init__(num_classes=3)
        generator = torch.Generator().manual_seed(seed)
        self.hidden = nn.Conv2d(3, 8, 3, padding=1)
        self.classifier = nn.Conv2d(8, 3, 1)
        with torch.no_grad():
            self.hidden.weight.copy_(torch.randn(8, 3, 3, 3, generator=generator) * 0.1)
            self.hidden.weight[:2] = 0
            self.hidden.weight[0, :, 1, 1], self.hidden.weight[1, :, 1, 1] = 1.0, -1.0
            self.hidden.weight[2] *= outlier
            self.hidden.bias.zero_()
            self.classifier.weight.zero_()
            self.classifier.weight[0, 1, 0, 0], self.classifier.weight[2, 0, 0, 0] = 1.0, 1.0
            self.classifier.weight[1] = torch.randn(8, 1, 1, generator=generator) * 0.01
            self.classifier.bias.copy_(torch.tensor([-1.0, 0.0, -1.0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(torch.relu(self.hidden(x)))


def tiny_bundle(path: Path, seed: int = 0, outlier: float = 1.0) -> Bundle:
    """A bundle of it; ``outlier`` makes one useless channel so large that 8 bits see nothing else."""
    return export_bundle(
        Tiny(seed, outlier),
        path,
        name="tiny",
        labels=LABELS,
        working=WorkingScale(height=40, width=48),
        licence="CC0",
    )


def picture(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Three bands of brightness with some noise, 40x48 px, and their classes."""
    mask = np.repeat(np.arange(3, dtype=np.uint8), [10, 14, 16])[:, None].repeat(48, axis=1)
    noise = np.random.default_rng(seed).integers(-12, 13, (40, 48, 3))
    return (np.array([20, 122, 235])[mask][:, :, None] + noise).clip(0, 255).astype(np.uint8), mask


def pictures(count: int = 4, first: int = 0) -> Dataset[Sample]:
    """Labelled pictures in memory."""

    def open_record(seed: int) -> Sample:
        image, mask = picture(seed)
        return Sample(image, mask, meta={"name": str(seed)})

    return Dataset(range(first, first + count), open_record, LABELS, name="bands")
