"""3D U-Net: the contracting and the expanding path of the U-Net with every operation in three dimensions.

Paper: Çiçek, Abdulkadir, Lienkamp, Brox, Ronneberger, "3D U-Net: Learning Dense Volumetric Segmentation from
Sparse Annotation", MICCAI 2016, arXiv 1606.06650.

Departures
----------
- ``paper``: the paper states 19,069,955 parameters (three channels and classes). That is every weight, a bias
  of the last layer, and ONE further parameter per normalised channel, although the text has batch norm learn
  a scale and a bias: with both, there would be 2,336 more. Here it is the bias, and neither the 3×3×3 nor the
  up-convolutions have their own; a positive scale in front of a ReLU could be moved into the next layer's
  weights. Running statistics normalise at test time, as the paper has it. ``forward`` is the paper's
  overlap-tile strategy with one tile: the volume is mirrored at its borders until the valid output covers it.
  He initialisation and the scaling of intensities to -1..1 are not from the paper.
- ``default``: "same" padding, and group norm in place of batch norm, because memory leaves room for one or
  two volumes a batch, whose statistics are noise. (Instance norm, nnU-Net's choice, is undefined where the
  deepest map of a small volume is a single voxel.) Trilinear resizing to the size of the skip takes the place
  of the up-convolution, so that every size works. Half as wide as the paper's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelwise.errors import UsageError
from pixelwise.models.layers import initialise_he, mirror_pad, resize, scale_channels, window
from pixelwise.models.network import Features, Preprocessing, SegmentationNetwork, Stage

_WIDTHS = (64, 128, 256, 512)
"""Channels of the four levels; the first convolution of each has half as many, so that channels double
before the pooling, not behind it."""
_GROUPS = 8
"""Groups of group norm, where the number of channels can be divided by it."""


class VolumeNetwork(SegmentationNetwork):
    """What networks for volumes share: three axes of at least eight voxels, intensities scaled to -1..1."""

    axes = 3
    min_size = 8

    @property
    def preprocessing(self) -> Preprocessing:
        """Intensities, windowed to 0..255 before, are scaled to -1..1."""
        return Preprocessing((127.5,) * self.in_channels, (127.5,) * self.in_channels)


class UNet3D(VolumeNetwork):
    """3D U-Net for volumes of any size (variant ``default``): B×C×D×H×W to B×K×D×H×W.

    Parameters
    ----------
    num_classes, in_channels, multilabel
        As in :class:`~pixelwise.models.network.SegmentationNetwork`.
    width
        Factor on the paper's numbers of channels.
    """

    def __init__(
        self, num_classes: int, in_channels: int = 3, *, multilabel: bool = False, width: float = 0.5
    ) -> None:
        super().__init__(num_classes, in_channels, multilabel)
        widths = [scale_channels(channels, width) for channels in _WIDTHS]
        self.contraction = nn.ModuleList(
            _block(below, math.ceil(channels / 2), channels)
            for below, channels in pairwise((in_channels, *widths))
        )
        # Fewer channels before the resizing: a linear map of channels and one of positions commute.
        self.reduce = nn.ModuleList(nn.Conv3d(below, above, 1) for below, above in pairwise(widths[::-1]))
        self.expansion = nn.ModuleList(_block(2 * above, above, above) for above in widths[-2::-1])
        self.classifier = nn.Conv3d(widths[0], num_classes, 1)
        self.pool = CeilMaxPool3d()
        initialise_he(self)

    def stages(self) -> tuple[Stage, ...]:
        """The four levels and ``"expansion"``."""
        levels = [self._level_stage(index) for index in range(len(_WIDTHS))]
        return (*levels, Stage("expansion", self._expand))

    def _level_stage(self, index: int) -> Stage:
        source, target = f"level{index}" if index else "image", f"level{index + 1}"

        def run(features: Features) -> Features:
            x = features[source]
            return {**features, target: self.contraction[index](self.pool(x) if index else x)}

        return Stage(target, run)

    def _expand(self, features: Features) -> Features:
        x, *skips = (features[f"level{depth}"] for depth in range(len(_WIDTHS), 0, -1))
        for reduce, block, skip in zip(self.reduce, self.expansion, skips, strict=True):
            x = block(torch.cat([skip, resize(reduce(x), skip.shape[2:])], dim=1))
        return {**features, "logits": self.classifier(x)}


_SKIP_CROPS = (40, 16, 4)
"""Voxels cut from each side of a skip, shallow to deep; the same for every usable size."""
_MARGIN = 88
"""What the valid convolutions take: output size = input size - 88."""
_SMALLEST, _STEP = 92, 8
"""Usable input sizes are 92 + 8 n: only those are even before every pool."""


class PaperUNet3D(VolumeNetwork):
    """3D U-Net as published: 3×3×3 convolutions without padding, batch norm, 19 million parameters.

    Parameters
    ----------
    num_classes, in_channels, multilabel
        As in :class:`~pixelwise.models.network.SegmentationNetwork`.
    width
        Factor on every number of channels; 1 is the paper, less is quicker.
    """

    def __init__(
        self, num_classes: int, in_channels: int = 3, *, multilabel: bool = False, width: float = 1.0
    ) -> None:
        super().__init__(num_classes, in_channels, multilabel)
        widths = [scale_channels(channels, width) for channels in _WIDTHS]
        self.contraction = nn.ModuleList(
            _valid_block(below, math.ceil(channels / 2), channels)
            for below, channels in pairwise((in_channels, *widths))
        )
        self.up = nn.ModuleList(
            nn.ConvTranspose3d(below, below, 2, stride=2, bias=False) for below in widths[:0:-1]
        )
        self.expansion = nn.ModuleList(
            _valid_block(below + above, above, above) for below, above in pairwise(widths[::-1])
        )
        self.classifier = nn.Conv3d(widths[0], num_classes, 1)
        self.pool = nn.MaxPool3d(2)
        initialise_he(self)

    def stages(self) -> tuple[Stage, ...]:
        """``"tile"`` (the mirrored volume), the four levels and ``"expansion"``."""
        levels = [self._level_stage(index) for index in range(len(_WIDTHS))]
        return (Stage("tile", _tile), *levels, Stage("expansion", self._crop_logits))

    def forward_valid(self, x: Tensor) -> Tensor:
        """Return the logits of the tile's centre: B×C×132×132×116 gives B×K×44×44×28.

        Raises
        ------
        UsageError
            A side is not 92 + 8 n voxels.
        """
        check_tile_size(x.shape[2:])
        features: Features = {"tile": x}
        for index in range(len(_WIDTHS)):
            features = self._level_stage(index).run(features)
        return self._expand(features)

    def _level_stage(self, index: int) -> Stage:
        source, target = f"level{index}" if index else "tile", f"level{index + 1}"

        def run(features: Features) -> Features:
            x = features[source]
            return {**features, target: self.contraction[index](self.pool(x) if index else x)}

        return Stage(target, run)

    def _expand(self, features: Features) -> Tensor:
        x, *skips = (features[f"level{depth}"] for depth in range(len(_WIDTHS), 0, -1))
        for up, block, skip, cut in zip(self.up, self.expansion, skips, _SKIP_CROPS[::-1], strict=True):
            x = block(torch.cat([skip[:, :, cut:-cut, cut:-cut, cut:-cut], up(x)], dim=1))
        return self.classifier(x)

    def _crop_logits(self, features: Features) -> Features:
        size = features["image"].shape[2:]
        return {**features, "logits": window(self._expand(features), (0, 0, 0), size)}


def check_tile_size(size: Sequence[int]) -> None:
    """Raise UsageError, naming the nearest usable sizes, unless all sides are 92 + 8 n.

    >>> check_tile_size((132, 132, 116))
    """
    for side in size:
        if side < _SMALLEST or (side - _SMALLEST) % _STEP:
            below = _SMALLEST + max(0, (side - _SMALLEST) // _STEP) * _STEP
            nearest = f"{below}" if side < _SMALLEST else f"{below} or {below + _STEP}"
            raise UsageError(
                f"a 3D U-Net tile must have sides of {_SMALLEST} + {_STEP}n voxels, not {side}: "
                f"use {nearest}, or forward() for volumes of any size"
            )


class ShiftBatchNorm3d(nn.BatchNorm3d):
    """Batch norm that learns a bias but no scale."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        del self.weight
        self.register_buffer("weight", torch.ones(channels), persistent=False)


class PlainConv3d(nn.Conv3d):
    """A convolution without bias, which exports.

    The exporter (onnxscript 0.7) makes up a bias of zeros for it, in a wrong shape; so it is given one.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, padding: int = 0) -> None:
        super().__init__(in_channels, out_channels, kernel_size, padding=padding, bias=False)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        bias = x.new_zeros(self.out_channels) if torch.compiler.is_compiling() else None
        return self._conv_forward(x, self.weight, bias)


class CeilMaxPool3d(nn.MaxPool3d):
    """2×2×2 max pooling to ceil(size / 2), for maps without negative values (after a ReLU).

    As :class:`~pixelwise.models.layers.CeilMaxPool2d`, with one more axis.
    """

    def __init__(self) -> None:
        super().__init__(2)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return super().forward(F.pad(x, (0, 1, 0, 1, 0, 1)))


def _tile(features: Features) -> Features:
    """Mirror the volume to the smallest tile whose valid output covers it."""
    volume = features["image"]
    smallest = _SMALLEST - _MARGIN
    steps = [(side - smallest + _STEP - 1) // _STEP for side in volume.shape[2:]]
    tile = mirror_pad(volume, _MARGIN // 2, [_SMALLEST + _STEP * count for count in steps])
    return {**features, "tile": tile}


def _block(*channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for below, above in pairwise(channels):
        norm = nn.GroupNorm(math.gcd(_GROUPS, above), above)
        layers += [PlainConv3d(below, above, 3, padding=1), norm, nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _valid_block(*channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for below, above in pairwise(channels):
        layers += [PlainConv3d(below, above, 3), ShiftBatchNorm3d(above), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
