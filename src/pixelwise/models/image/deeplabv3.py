"""DeepLab v3: atrous spatial pyramid pooling with batch norm and image pooling, multi-grid, no CRF.

Paper: Chen, Papandreou, Schroff, Adam, "Rethinking Atrous Convolution for Semantic Image Segmentation", 2017,
arXiv 1706.05587. The final upsampling follows its reference code (tensorflow/models, research/deeplab).

Departures
----------
- ``paper``: ResNet-101 (or 50) is torchvision's, with strides on the 3×3 convolutions of the units.
- ``default``: any dilatable encoder, no multi-grid, bilinear resizing with align_corners=False.
- ``torchvision``: that library's network, whose weights fit: no multi-grid, dropout 0.5 and one more 3×3
  convolution behind the ASPP (590,336 more parameters on ResNet), rates 12, 24 and 36 also on MobileNetV3 at
  output stride 16, an auxiliary head.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from pixelwise.models.encoders import DEFAULT_ENCODER, Encoder, create_encoder
from pixelwise.models.encoders.resnet import PaperResNet
from pixelwise.models.encoders.torchvision_encoder import TorchvisionEncoder
from pixelwise.models.image.blocks import ASPP, FCNHead, check_output_stride, usual_rates
from pixelwise.models.image.interchange import load_torchvision, split_weights
from pixelwise.models.layers import ConvNormAct, resize
from pixelwise.models.network import Features, SegmentationNetwork, Stage

_WIDTH = 256


class DeepLabV3(SegmentationNetwork):
    """DeepLab v3 on any encoder (variant ``default``).

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
    ) -> None:
        super().__init__(num_classes, in_channels, multilabel)
        net = create_encoder(encoder, in_channels, check_output_stride(output_stride), weights)
        self._build(net, rates or usual_rates(output_stride))

    def _build(self, encoder: Encoder, rates: Sequence[int]) -> None:
        self.encoder = encoder
        self.aspp = ASPP(encoder.channels[-1], _WIDTH, rates)
        self.classifier = nn.Conv2d(_WIDTH, self.num_classes, 1)

    def stages(self) -> tuple[Stage, ...]:
        """The encoder's levels, ``"context"`` (ASPP on the deepest) and ``"classifier"``."""
        return (*self.encoder.stages(), Stage("context", self._context), Stage("classifier", self._classify))

    def _context(self, features: Features) -> Features:
        return {**features, "context": self.aspp(features[f"level{len(self.encoder.channels)}"])}

    def _classify(self, features: Features) -> Features:
        logits = self.classifier(features["context"])
        return {**features, "logits": resize(logits, features["image"].shape[-2:], self.align_corners)}


class PaperDeepLabV3(DeepLabV3):
    """DeepLab v3 as published: ResNet with multi-grid; train at output stride 16, evaluate at 8.

    Parameters
    ----------
    num_classes, in_channels, multilabel
        As in :class:`~pixelwise.models.network.SegmentationNetwork`.
    encoder
        ``"resnet101"`` or ``"resnet50"``.
    weights
        Path of ImageNet weights of the encoder.
    output_stride
        16 for training; 8 for the paper's finest evaluation (the parameters are the same).
    multi_grid
        Factors on the dilation of the last block's units.
    """

    align_corners = True

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        *,
        multilabel: bool = False,
        encoder: str = "resnet101",
        weights: str | None = None,
        output_stride: int = 16,
        multi_grid: Sequence[int] = (1, 2, 4),
    ) -> None:
        SegmentationNetwork.__init__(self, num_classes, in_channels, multilabel)
        check_output_stride(output_stride)
        resnet = PaperResNet(encoder, in_channels, output_stride, weights, multi_grid=multi_grid)
        self._build(resnet, usual_rates(output_stride))


class TorchvisionDeepLabV3(SegmentationNetwork):
    """torchvision's ``deeplabv3_resnet50``, ``_resnet101`` and ``_mobilenet_v3_large``: its weights fit.

    Parameters
    ----------
    num_classes, in_channels, multilabel
        As in :class:`~pixelwise.models.network.SegmentationNetwork`.
    encoder
        ``"resnet50"``, ``"resnet101"`` or ``"mobilenet_v3_large"``.
    weights
        Path of a state dict of the whole network, or of torchvision's ImageNet encoder.
    auxiliary_head
        A second head on shallower features, used in training.
    """

    encoder: TorchvisionEncoder

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        *,
        multilabel: bool = False,
        encoder: str = "resnet50",
        weights: str | None = None,
        auxiliary_head: bool = True,
    ) -> None:
        super().__init__(num_classes, in_channels, multilabel)
        whole, encoder_weights = split_weights(weights)
        self.encoder = TorchvisionEncoder(encoder, in_channels, encoder_weights)
        channels = self.encoder.channels
        self.classifier = nn.Sequential(
            ASPP(channels[-1], _WIDTH, (12, 24, 36), dropout=0.5),
            *ConvNormAct(_WIDTH, _WIDTH, 3),
            nn.Conv2d(_WIDTH, num_classes, 1),
        )
        self.extra = FCNHead(channels[self.encoder.extra], num_classes) if auxiliary_head else None
        if whole:
            load_torchvision(self, whole)

    def stages(self) -> tuple[Stage, ...]:
        """The encoder's levels and ``"classifier"``."""
        return (*self.encoder.stages(), Stage("classifier", self._classify))

    def auxiliary(self, features: Features) -> tuple[Tensor, ...]:
        """The logits of the second head."""
        if self.extra is None:
            return ()
        logits = self.extra(features[f"level{self.encoder.extra + 1}"])
        return (resize(logits, features["image"].shape[-2:]),)

    def _classify(self, features: Features) -> Features:
        logits = self.classifier(features[f"level{len(self.encoder.channels)}"])
        return {**features, "logits": resize(logits, features["image"].shape[-2:])}
