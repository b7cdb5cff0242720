"""DeepLab v1: VGG-16 made dense by atrous convolution, with a large field of view (LargeFOV).

Paper: Chen, Papandreou, Kokkinos, Murphy, Yuille, "Semantic Image Segmentation with Deep Convolutional Nets
and Fully Connected CRFs", ICLR 2015, arXiv 1412.7062. The CRF is ``pixelwise.refine.dense_crf``.

Departures
----------
- ``paper``: RGB where Caffe has BGR. Images of any size are extended to sides of 8 n + 1 pixels with the mean
  colour, and the logits are cropped. Labels are shrunk by 8 for the loss (``loss_stride``): logits and labels
  meet at every eighth pixel, where interpolation leaves the logits as they are.
- ``default``: any dilatable encoder at output stride 8, exactly dilated; batch norm in the head, which is 512
  wide; bilinear resizing with align_corners=False; the loss at full size.
"""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from pixelwise.errors import unknown_name
from pixelwise.models.encoders import DEFAULT_ENCODER, Encoder, create_encoder
from pixelwise.models.encoders.vgg import DeepLabVGG16
from pixelwise.models.image.blocks import FieldOfView
from pixelwise.models.layers import ConvNormAct, interpolate_grid, resize, scale_channels
from pixelwise.models.network import Features, SegmentationNetwork, Stage

_WIDTH = 512
_STRIDE = 8


class DeepLabV1(SegmentationNetwork):
    """DeepLab-LargeFOV on any encoder (variant ``default``).

    Parameters
    ----------
    num_classes, in_channels, multilabel
        As in :class:`~pixelwise.models.network.SegmentationNetwork`.
    encoder
        timm name of the encoder; it must be dilatable.
    weights
        Encoder weights, see :func:`~pixelwise.models.encoders.create_encoder`.
    rate
        Dilation of the 3×3 convolution with the large field of view.
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
        rate: int = 12,
    ) -> None:
        super().__init__(num_classes, in_channels, multilabel)
        self.encoder = create_encoder(encoder, in_channels, _STRIDE, weights)
        self._deep = f"level{len(self.encoder.channels)}"
        self.classifier = nn.Sequential(
            ConvNormAct(self.encoder.channels[-1], _WIDTH, 3, dilation=rate),
            nn.Dropout(0.1),
            ConvNormAct(_WIDTH, _WIDTH, 1),
            nn.Dropout(0.1),
            nn.Conv2d(_WIDTH, num_classes, 1),
        )

    def stages(self) -> tuple[Stage, ...]:
        """The encoder's levels and ``"classifier"``."""
        return (*self.encoder.stages(), Stage("classifier", self._classify))

    def _classify(self, features: Features) -> Features:
        logits = self.classifier(features[self._deep])
        return {**features, "logits": resize(logits, features["image"].shape[-2:])}


_FIELDS: dict[str, tuple[int, int, int]] = {"large": (3, 12, 1024), "7x7": (7, 4, 4096), "4x4": (4, 4, 4096)}
"""The paper's kernels of fc6: size, dilation, channels."""


class PaperDeepLabV1(SegmentationNetwork):
    """DeepLab on VGG-16 as published; 20.5 million parameters with the large field of view.

    Parameters
    ----------
    num_classes, in_channels, multilabel
        As in :class:`~pixelwise.models.network.SegmentationNetwork`.
    weights
        Path of VGG-16 weights; fc6 and fc7 are thinned out as in the paper.
    field_of_view
        ``"large"`` (3×3, rate 12, 1024 channels), ``"7x7"`` or ``"4x4"`` (rate 4, 4096 channels).
    width
        Factor on VGG-16's channels; 1 is the paper, less is quicker.
    """

    encoder: Encoder
    loss_stride: ClassVar[int] = _STRIDE

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        *,
        multilabel: bool = False,
        weights: str | None = None,
        field_of_view: str = "large",
        width: float = 1.0,
    ) -> None:
        super().__init__(num_classes, in_channels, multilabel)
        if field_of_view not in _FIELDS:
            raise unknown_name("field_of_view", field_of_view, _FIELDS)
        kernel_size, dilation, channels = _FIELDS[field_of_view]
        self.encoder = DeepLabVGG16(in_channels, width, weights)
        self.average = nn.AvgPool2d(3, stride=1, padding=1)
        self.classifier = FieldOfView(
            self.encoder.channels[-1],
            scale_channels(channels, width),
            num_classes,
            kernel_size=kernel_size,
            dilation=dilation,
        )
        if weights is not None:
            self.classifier.load(weights)

    def stages(self) -> tuple[Stage, ...]:
        """``"grid"`` (the image with sides of 8 n + 1), the pools of VGG-16 and ``"classifier"``."""
        return (*on_grid(self.encoder.stages()), Stage("classifier", self._classify))

    def _classify(self, features: Features) -> Features:
        logits = self.classifier(self.average(features["level5"]))
        return {**features, "logits": interpolate_grid(logits, _STRIDE, features["image"].shape[-2:])}


def extend_to_grid(image: Tensor) -> Tensor:
    """Add zeros, the mean colour, below and on the right until both sides are 8 n + 1 pixels."""
    bottom, right = (-(side - 1) % _STRIDE for side in image.shape[-2:])
    return F.pad(image, (0, right, 0, bottom))


def on_grid(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """The stages of an encoder, run on the entry ``"grid"`` instead of ``"image"``."""
    first, *others = stages

    def run_first(features: Features) -> Features:
        return {**first.run({**features, "image": features["grid"]}), "image": features["image"]}

    grid = Stage("grid", lambda features: {**features, "grid": extend_to_grid(features["image"])})
    return (grid, Stage(first.name, run_first), *others)
