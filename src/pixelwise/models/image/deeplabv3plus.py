"""DeepLab v3+: atrous spatial pyramid pooling and a light decoder on stride-4 features.

Paper: Chen, Zhu, Papandreou, Schroff, Adam, "Encoder-Decoder with Atrous Separable Convolution for Semantic
Image Segmentation", ECCV 2018, arXiv 1802.02611. Details the paper leaves open follow its reference code
(tensorflow/models, research/deeplab): batch norm and ReLU after depthwise AND pointwise convolutions in ASPP
and decoder, dropout 0.1 after the projection, batch norm eps 1e-5 there.

Departures
----------
- ``default``: any encoder; bilinear resizing with align_corners=False; the stride-4 tap is the encoder's
  deepest stride-4 feature.
- ``paper``: none known in the architecture. Xception-65 is timm's (batch norm eps 1e-3, strides on the third
  separable convolution); the tap is taken before the ReLU that follows it, as in the reference code, while
  timm's own feature is after it. Multi-grid is off, as in the reference code, and an option.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from pixelwise.models.encoders import DEFAULT_ENCODER, Encoder, create_encoder
from pixelwise.models.encoders.xception import Xception65
from pixelwise.models.image.blocks import ASPP, check_output_stride, usual_rates
from pixelwise.models.layers import ConvNormAct, SeparableConvNormAct, resize
from pixelwise.models.network import Features, SegmentationNetwork, Stage

_WIDTH = 256
_LOW_LEVEL_WIDTH = 48


class DeepLabV3Plus(SegmentationNetwork):
    """DeepLab v3+ on any encoder (variant ``default``).

    Parameters
    ----------
    num_classes, in_channels, multilabel
        As in :class:`~pixelwise.models.network.SegmentationNetwork`.
    encoder
        timm name of the encoder; it must be dilatable.
    weights
        Encoder weights, see :func:`~pixelwise.models.encoders.create_encoder`.
    output_stride
        16, or 8 for finer and four times costlier deep features.
    rates
        Dilations of the ASPP; None: (6, 12, 18), doubled at output stride 8.
    separable
        Split the convolutions of the ASPP into depthwise and pointwise.
    """

    encoder: Encoder
    align_corners = False

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        *,
        multilabel: bool = False,
        encoder: str = DEFAULT_ENCODER,
        weights: str | None = None,
        output_stride: int = 16,
        rates: Sequence[int] | None = None,
        separable: bool = True,
    ) -> None:
        super().__init__(num_classes, in_channels, multilabel)
        net = create_encoder(encoder, in_channels, check_output_stride(output_stride), weights)
        chosen = rates or usual_rates(output_stride)
        self._build(net, ASPP(net.channels[-1], _WIDTH, chosen, separable=separable))

    def _build(self, encoder: Encoder, context: nn.Module) -> None:
        """Join an encoder and what sees its deepest level at several scales, 256 channels wide."""
        self.encoder = encoder
        low = encoder.level(4)
        self._low, self._deep = f"level{low + 1}", f"level{len(encoder.channels)}"
        self.aspp = context
        self.project_low = ConvNormAct(encoder.channels[low], _LOW_LEVEL_WIDTH, 1)
        self.decoder = nn.Sequential(
            SeparableConvNormAct(_WIDTH + _LOW_LEVEL_WIDTH, _WIDTH), SeparableConvNormAct(_WIDTH, _WIDTH)
        )
        self.classifier = nn.Conv2d(_WIDTH, self.num_classes, 1)

    def stages(self) -> tuple[Stage, ...]:
        """The encoder's levels, ``"context"`` (ASPP on the deepest) and ``"decoder"``."""
        return (*self.encoder.stages(), Stage("context", self._context), Stage("decoder", self._decode))

    def _context(self, features: Features) -> Features:
        return {**features, "context": self.aspp(features[self._deep])}

    def _decode(self, features: Features) -> Features:
        low = self.project_low(features[self._low])
        context = resize(features["context"], low.shape[-2:], self.align_corners)
        logits = self.classifier(self.decoder(torch.cat([context, low], dim=1)))
        return {**features, "logits": resize(logits, features["image"].shape[-2:], self.align_corners)}


class PaperDeepLabV3Plus(DeepLabV3Plus):
    """DeepLab v3+ as published: Xception-65, stride-4 tap of 256 channels, align_corners=True.

    Parameters
    ----------
    num_classes, in_channels, multilabel
        As in :class:`~pixelwise.models.network.SegmentationNetwork`.
    weights
        Path of a timm state dict of ``xception65``.
    output_stride
        16 for training; 8 for the paper's finest evaluation.
    multi_grid
        Factors on the dilation of Xception's last three convolutions.
    """

    align_corners = True

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        *,
        multilabel: bool = False,
        weights: str | None = None,
        output_stride: int = 16,
        multi_grid: Sequence[int] = (1, 1, 1),
    ) -> None:
        SegmentationNetwork.__init__(self, num_classes, in_channels, multilabel)
        net = Xception65(in_channels, check_output_stride(output_stride), multi_grid, weights)
        self._build(net, ASPP(net.channels[-1], _WIDTH, usual_rates(output_stride), separable=True))
