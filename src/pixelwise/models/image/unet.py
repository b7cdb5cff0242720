"""U-Net: a contracting and an expanding path, joined by skip connections at every resolution.

Paper: Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation",
MICCAI 2015, arXiv 1505.04597.

Departures
----------
- ``paper``: none known in the network. ``forward`` is the paper's overlap-tile strategy with one tile: the
  image is mirrored at its borders until the valid output covers it. The paper has "drop-out layers at the end
  of the contracting path" without a number: here probability 0.5 after its last two levels. Pixels are scaled
  to -1..1.
- ``default``: any encoder as contracting path, "same" padding, batch norm, bilinear resizing to the size of
  the skip, so that every input size works.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from pixelwise.errors import UsageError
from pixelwise.models.encoders import DEFAULT_ENCODER, Encoder, create_encoder
from pixelwise.models.layers import ConvNormAct, crop, initialise_he, mirror_pad, resize, scale_channels
from pixelwise.models.network import Features, Preprocessing, SegmentationNetwork, Stage

_DECODER_WIDTHS = (512, 256, 128, 64, 32, 16)


class UNet(SegmentationNetwork):
    """U-Net on any encoder (variant ``default``).

    Parameters
    ----------
    num_classes, in_channels, multilabel
        As in :class:`~pixelwise.models.network.SegmentationNetwork`.
    encoder
        timm name of the encoder.
    weights
        Encoder weights, see :func:`~pixelwise.models.encoders.create_encoder`.
    """

    encoder: Encoder

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        *,
        multilabel: bool = False,
        encoder: str = DEFAULT_ENCODER,
        weights: str | None = None,
    ) -> None:
        super().__init__(num_classes, in_channels, multilabel)
        self.encoder = create_encoder(encoder, in_channels, weights=weights)
        below, *skips = self.encoder.channels[::-1]
        # One step per skip, and a last one at the image's own resolution without a skip.
        self.steps = nn.ModuleList()
        for skip, width in zip((*skips, 0), _DECODER_WIDTHS[-len(skips) - 1 :], strict=True):
            self.steps.append(nn.Sequential(ConvNormAct(below + skip, width), ConvNormAct(width, width)))
            below = width
        self.classifier = nn.Conv2d(below, num_classes, 1)

    def stages(self) -> tuple[Stage, ...]:
        """The encoder's levels and ``"decoder"``."""
        return (*self.encoder.stages(), Stage("decoder", self._decode))

    def _decode(self, features: Features) -> Features:
        deepest, *skips = [features[f"level{i}"] for i in range(len(self.encoder.channels), 0, -1)]
        x = deepest
        for step, skip in zip(self.steps, skips, strict=False):
            x = step(torch.cat([resize(x, skip.shape[-2:]), skip], dim=1))
        x = self.steps[-1](resize(x, features["image"].shape[-2:]))
        return {**features, "logits": self.classifier(x)}


_WIDTHS = (64, 128, 256, 512, 1024)
_SKIP_CROPS = (88, 40, 16, 4)
"""Pixels cut from each side of a skip, shallow to deep; the same for every usable size."""
_MARGIN = 184
"""What the valid convolutions take: output size = input size - 184."""
_SMALLEST, _STEP = 188, 16
"""Usable input sizes are 188 + 16 n: only those are even before every pool."""


class PaperUNet(SegmentationNetwork):
    """U-Net as published: 3×3 convolutions without padding, no batch norm, 31 million parameters.

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
        down = [in_channels, *(scale_channels(channels, width) for channels in _WIDTHS)]
        up = down[:0:-1]
        self.contraction = nn.ModuleList(_valid_block(*pair) for pair in pairwise(down))
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(below, above, 2, stride=2) for below, above in pairwise(up)
        )
        self.expansion = nn.ModuleList(_valid_block(2 * above, above) for above in up[1:])
        self.classifier = nn.Conv2d(up[-1], num_classes, 1)
        self.pool = nn.MaxPool2d(2)
        self.dropout = nn.Dropout(0.5)
        initialise_he(self)

    @property
    def preprocessing(self) -> Preprocessing:
        """Pixels are scaled from 0..255 to -1..1."""
        return Preprocessing((127.5,) * self.in_channels, (127.5,) * self.in_channels)

    def stages(self) -> tuple[Stage, ...]:
        """``"tile"`` (the mirrored image), the five levels and ``"expansion"``."""
        levels = [self._level_stage(index) for index in range(len(_WIDTHS))]
        return (Stage("tile", _tile), *levels, Stage("expansion", self._crop_logits))

    def forward_valid(self, x: Tensor) -> Tensor:
        """Return the logits of the tile's centre, 184 pixels smaller: B×C×572×572 gives B×K×388×388.

        Raises
        ------
        UsageError
            A side is not 188 + 16 n pixels.
        """
        check_tile_size(x.shape[-2:])
        features: Features = {"tile": x}
        for index in range(len(_WIDTHS)):
            features = self._level_stage(index).run(features)
        return self._expand(features)

    def _level_stage(self, index: int) -> Stage:
        source, target = f"level{index}" if index else "tile", f"level{index + 1}"

        def run(features: Features) -> Features:
            x = features[source]
            x = self.contraction[index](self.pool(x) if index else x)
            return {**features, target: self.dropout(x) if index >= len(_WIDTHS) - 2 else x}

        return Stage(target, run)

    def _expand(self, features: Features) -> Tensor:
        x = features["level5"]
        for index, (up, block) in enumerate(zip(self.up, self.expansion, strict=True)):
            depth = len(_WIDTHS) - 2 - index
            x = up(x)
            cut = _SKIP_CROPS[depth]
            skip = features[f"level{depth + 1}"][:, :, cut:-cut, cut:-cut]
            x = block(torch.cat([skip, x], dim=1))
        return self.classifier(x)

    def _crop_logits(self, features: Features) -> Features:
        return {**features, "logits": crop(self._expand(features), 0, 0, features["image"].shape[-2:])}


def check_tile_size(size: Sequence[int]) -> None:
    """Raise UsageError, naming the nearest usable sizes, unless both sides are 188 + 16 n.

    >>> check_tile_size((572, 188))
    """
    for side in size:
        if side < _SMALLEST or (side - _SMALLEST) % _STEP:
            below = _SMALLEST + max(0, (side - _SMALLEST) // _STEP) * _STEP
            nearest = f"{below}" if side < _SMALLEST else f"{below} or {below + _STEP}"
            raise UsageError(
                f"a U-Net tile must have sides of {_SMALLEST} + {_STEP}n pixels, not {side}: "
                f"use {nearest}, or forward() for images of any size"
            )


def _tile(features: Features) -> Features:
    """Mirror the image to the smallest tile whose valid output covers it."""
    image = features["image"]
    smallest = _SMALLEST - _MARGIN
    steps = [(side - smallest + _STEP - 1) // _STEP for side in image.shape[-2:]]
    tile = mirror_pad(image, _MARGIN // 2, [_SMALLEST + _STEP * count for count in steps])
    return {**features, "tile": tile}


def _valid_block(in_channels: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 3),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, channels, 3),
        nn.ReLU(inplace=True),
    )
