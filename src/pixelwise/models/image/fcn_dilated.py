"""FCN on a dilated encoder: one score layer at output stride 8, no skips. What torchvision calls FCN.

Paper: Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015,
arXiv 1411.4038, for the idea; the network is torchvision's (BSD-3). The paper's own nets are in fcn.py.

Departures
----------
- ``torchvision``: none, its weights fit (``fcn_resnet50``, ``fcn_resnet101``).
- ``default``: any dilatable encoder instead of a ResNet, no auxiliary head.
"""

from __future__ import annotations

from torch import Tensor

from pixelwise.errors import unknown_name
from pixelwise.models.encoders import DEFAULT_ENCODER, Encoder, create_encoder
from pixelwise.models.encoders.torchvision_encoder import TorchvisionEncoder
from pixelwise.models.image.blocks import FCNHead
from pixelwise.models.image.interchange import load_torchvision, split_weights
from pixelwise.models.layers import resize
from pixelwise.models.network import Features, SegmentationNetwork, Stage


class DilatedFCN(SegmentationNetwork):
    """FCN on any dilated encoder (variant ``default``).

    Parameters
    ----------
    num_classes, in_channels, multilabel
        As in :class:`~pixelwise.models.network.SegmentationNetwork`.
    encoder
        timm name of the encoder; it must be dilatable.
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
        self.encoder = create_encoder(encoder, in_channels, 8, weights)
        self.classifier = FCNHead(self.encoder.channels[-1], num_classes)

    def stages(self) -> tuple[Stage, ...]:
        """The encoder's levels and ``"classifier"``."""
        return (*self.encoder.stages(), Stage("classifier", self._classify))

    def _classify(self, features: Features) -> Features:
        logits = self.classifier(features[f"level{len(self.encoder.channels)}"])
        return {**features, "logits": resize(logits, features["image"].shape[-2:])}


class TorchvisionFCN(DilatedFCN):
    """torchvision's ``fcn_resnet50`` and ``fcn_resnet101``: its weights fit.

    Parameters
    ----------
    num_classes, in_channels, multilabel
        As in :class:`~pixelwise.models.network.SegmentationNetwork`.
    encoder
        ``"resnet50"`` or ``"resnet101"``.
    weights
        Path of a state dict of the whole network, or of torchvision's ImageNet encoder.
    auxiliary_head
        A second head on the third block, used in training.
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
        SegmentationNetwork.__init__(self, num_classes, in_channels, multilabel)
        if encoder not in ("resnet50", "resnet101"):
            raise unknown_name("encoder of torchvision's network", encoder, ("resnet50", "resnet101"))
        whole, encoder_weights = split_weights(weights)
        self.encoder = TorchvisionEncoder(encoder, in_channels, encoder_weights)
        channels = self.encoder.channels
        self.classifier = FCNHead(channels[-1], num_classes)
        self.extra = FCNHead(channels[self.encoder.extra], num_classes) if auxiliary_head else None
        if whole:
            load_torchvision(self, whole)

    def auxiliary(self, features: Features) -> tuple[Tensor, ...]:
        """The logits of the second head."""
        if self.extra is None:
            return ()
        logits = self.extra(features[f"level{self.encoder.extra + 1}"])
        return (resize(logits, features["image"].shape[-2:]),)
