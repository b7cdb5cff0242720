"""VGG-16 as FCN used it: ceiling pools, a wide first padding, fc6 and fc7 as convolutions.

Papers: Simonyan, Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2015,
arXiv 1409.1556; turned convolutional by Long, Shelhamer, Darrell, CVPR 2015, arXiv 1411.4038.

Departures: input is RGB where Caffe's is BGR (mean and weights in RGB order, otherwise the same); random
weights are He-initialised, where the papers always start from ImageNet weights.
"""

from __future__ import annotations

from torch import Tensor, nn

from pixelwise.errors import DataError, UsageError
from pixelwise.models.encoders.base import Encoder, Features, Preprocessing, Stage
from pixelwise.models.encoders.weights import adapt_first_layer, read_state_dict
from pixelwise.models.layers import CeilMaxPool2d, initialise_he

CAFFE_MEAN = (122.67892, 116.66877, 104.00699)
"""Mean RGB of ImageNet on the 0..255 scale; the standard deviation is left at 1."""

_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels and number of 3×3 convolutions per block; a 2×2 pool ends each."""


class VGG16(Encoder):
    """The 13 convolutions of VGG-16; the levels are its five pools.

    Parameters
    ----------
    in_channels
        Number of image channels.
    first_padding
        Padding of the very first convolution; FCN uses 100 so that small images leave room for fc6.
    weights
        None, or the path of a state dict whose tensors come in VGG-16's order (torchvision's do), trained on
        RGB minus ``CAFFE_MEAN`` at the 0..255 scale. The classifier's tensors may follow.

    Raises
    ------
    UsageError
        ``weights="imagenet"``: none are shipped.
    DataError
        The file cannot be read or does not hold VGG-16.
    """

    def __init__(self, in_channels: int = 3, first_padding: int = 1, weights: str | None = None) -> None:
        super().__init__()
        self.channels = tuple(channels for channels, _ in _BLOCKS)
        self.reductions = (2, 4, 8, 16, 32)
        self.preprocessing = Preprocessing(CAFFE_MEAN, (1.0, 1.0, 1.0)).for_channels(in_channels)
        widths = (in_channels, *self.channels)
        self.blocks = nn.ModuleList(
            _block(widths[i], channels, count, first_padding if i == 0 else 1)
            for i, (channels, count) in enumerate(_BLOCKS)
        )
        initialise_he(self)
        if weights is not None:
            self.load(weights)

    def stages(self) -> tuple[Stage, ...]:  # noqa: D102
        return tuple(self._level_stage(index, block) for index, block in enumerate(self.blocks))

    def _level_stage(self, index: int, module: nn.Module) -> Stage:
        source, target = f"level{index}" if index else "image", f"level{index + 1}"

        def run(features: Features) -> Features:
            return {**features, target: module(features[source])}

        return Stage(target, run)

    def load(self, path: str) -> None:
        """Copy weights from a file by position; fully connected ones are folded to kernels."""
        if path == "imagenet":
            raise UsageError("no ImageNet weights for 'vgg16' are shipped; pass a file (weights=PATH)")
        values = list(read_state_dict(path).values())
        targets = list(self.state_dict().values())
        if len(values) < len(targets):
            raise DataError(f"{path}: holds {len(values)} tensors where VGG-16 has {len(targets)}")
        for index, target in enumerate(targets):
            targets[index].copy_(_fit(values[index], target, path, index))


class FullyConvolutionalVGG16(VGG16):
    """VGG-16 with fc6 (7×7, no padding) and fc7 (1×1) as convolutions and dropout 0.5 after each: level 6."""

    def __init__(self, in_channels: int = 3, first_padding: int = 100, weights: str | None = None) -> None:
        super().__init__(in_channels, first_padding)
        self.channels = (*self.channels, 4096)
        self.reductions = (*self.reductions, 32)
        self.fc6 = nn.Conv2d(512, 4096, 7)
        self.fc7 = nn.Conv2d(4096, 4096, 1)
        self.activation = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(0.5)
        initialise_he(self.fc6)
        initialise_he(self.fc7)
        if weights is not None:
            self.load(weights)

    def stages(self) -> tuple[Stage, ...]:  # noqa: D102
        return (*super().stages(), Stage("level6", self._fully_connected))

    def _fully_connected(self, features: Features) -> Features:
        x = self.dropout(self.activation(self.fc6(features["level5"])))
        return {**features, "level6": self.dropout(self.activation(self.fc7(x)))}


def _block(in_channels: int, channels: int, count: int, first_padding: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for index in range(count):
        padding = first_padding if index == 0 else 1
        layers += [nn.Conv2d(in_channels, channels, 3, padding=padding), nn.ReLU(inplace=True)]
        in_channels = channels
    return nn.Sequential(*layers, CeilMaxPool2d())


def _fit(value: Tensor, target: Tensor, path: str, index: int) -> Tensor:
    if index == 0 and value.ndim == 4:
        value = adapt_first_layer(value, target.shape[1])
    if value.numel() != target.numel() or (value.ndim == 4 and value.shape != target.shape):
        raise DataError(
            f"{path}: tensor {index} has shape {tuple(value.shape)} where VGG-16 has {tuple(target.shape)}"
        )
    return value.view_as(target)
