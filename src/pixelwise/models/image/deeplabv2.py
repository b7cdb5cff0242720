"""DeepLab v2: atrous spatial pyramid pooling (ASPP), the sum of classifiers that see the image at several
rates.

Paper: Chen, Papandreou, Kokkinos, Murphy, Yuille, "DeepLab: Semantic Image Segmentation with Deep
Convolutional Nets, Atrous Convolution, and Fully Connected CRFs", PAMI 2018, arXiv 1606.00915.

Departures
----------
- ``paper``: RGB where Caffe has BGR; ResNet-101 scales by ImageNet's mean and deviation. Sides are extended
  to 8 n + 1 and labels shrunk by 8 for the loss, as in :mod:`pixelwise.models.image.deeplabv1`. ResNet-101
  dilates every unit of a block as the published nets do; ``exact_dilation`` keeps the features of the
  undilated ResNet. Batch norm is trained unless the training is told to freeze it (``freeze_batch_norm``),
  which the paper does.
  The loss of a smaller scale is taken on its logits brought to the full scale's grid.
- ``default``: any dilatable encoder at output stride 8, exactly dilated; bilinear resizing with
  align_corners=False; one scale; the loss at full size.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import ClassVar

import torch
from torch import Tensor, nn

from pixelwise.errors import UsageError, unknown_name
from pixelwise.models.encoders import DEFAULT_ENCODER, Encoder, create_encoder
from pixelwise.models.encoders.resnet import PaperResNet
from pixelwise.models.encoders.vgg import DeepLabVGG16
from pixelwise.models.image.blocks import FieldOfView
from pixelwise.models.image.deeplabv1 import on_grid
from pixelwise.models.layers import interpolate_grid, resize, scale_channels
from pixelwise.models.network import Features, SegmentationNetwork, Stage

_STRIDE = 8
RATES = (6, 12, 18, 24)
"""ASPP-L, the paper's best; ASPP-S has (2, 4, 8, 12)."""


class SummedASPP(nn.Module):
    """One classifier per rate on the same map; their LOGITS are summed, nothing is concatenated."""

    def __init__(self, branches: Sequence[nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return torch.stack([branch(x) for branch in self.branches]).sum(dim=0)


def convolution_aspp(in_channels: int, num_classes: int, rates: Sequence[int]) -> SummedASPP:
    """The ASPP on ResNet: a 3×3 convolution with bias straight to the logits per rate."""
    return SummedASPP([nn.Conv2d(in_channels, num_classes, 3, padding=rate, dilation=rate) for rate in rates])


class DeepLabV2(SegmentationNetwork):
    """DeepLab v2 on any encoder (variant ``default``).

    Parameters
    ----------
    num_classes, in_channels, multilabel
        As in :class:`~pixelwise.models.network.SegmentationNetwork`.
    encoder
        timm name of the encoder; it must be dilatable.
    weights
        Encoder weights, see :func:`~pixelwise.models.encoders.create_encoder`.
    rates
        Dilations of the classifiers.
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
        rates: Sequence[int] = RATES,
    ) -> None:
        super().__init__(num_classes, in_channels, multilabel)
        self.encoder = create_encoder(encoder, in_channels, _STRIDE, weights)
        self.aspp = convolution_aspp(self.encoder.channels[-1], num_classes, rates)

    def stages(self) -> tuple[Stage, ...]:
        """The encoder's levels and ``"aspp"``."""
        return (*self.encoder.stages(), Stage("aspp", self._classify))

    def _classify(self, features: Features) -> Features:
        logits = self.aspp(features[f"level{len(self.encoder.channels)}"])
        return {**features, "logits": resize(logits, features["image"].shape[-2:])}


class PaperDeepLabV2(SegmentationNetwork):
    """DeepLab v2 as published, on ResNet-101 (44.0 million parameters) or VGG-16 (37.9).

    Parameters
    ----------
    num_classes, in_channels, multilabel
        As in :class:`~pixelwise.models.network.SegmentationNetwork`.
    encoder
        ``"resnet101"`` or ``"vgg16"``.
    weights
        Path of ImageNet weights of the encoder.
    rates
        Dilations of the classifiers: (6, 12, 18, 24) is ASPP-L, (2, 4, 8, 12) ASPP-S.
    scales
        The image is labelled at each of these scales and the largest logit wins (MSC); (1,) is one scale.
        In training every scale gets a loss of its own, with the weight of the fused one.
    exact_dilation
        ResNet: keep the dilation before in the first unit of a dilated block.
    width
        Factor on VGG-16's channels; 1 is the paper, less is quicker.
    """

    encoder: Encoder
    loss_stride: ClassVar[int] = _STRIDE
    auxiliary_weight: ClassVar[float] = 1.0

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        *,
        multilabel: bool = False,
        encoder: str = "resnet101",
        weights: str | None = None,
        rates: Sequence[int] = RATES,
        scales: Sequence[float] = (1.0, 0.75, 0.5),
        exact_dilation: bool = False,
        width: float = 1.0,
    ) -> None:
        super().__init__(num_classes, in_channels, multilabel)
        if not scales or scales[0] != 1 or not all(0 < scale <= 1 for scale in scales):
            raise UsageError(f"scales start with 1 and lie between 0 and 1, not {tuple(scales)}")
        if encoder not in ("resnet101", "vgg16"):
            raise unknown_name("encoder of the paper's network", encoder, ("resnet101", "vgg16"))
        self.scales = tuple(Fraction(scale).limit_denominator(16) for scale in scales)
        if encoder == "vgg16":
            vgg = DeepLabVGG16(in_channels, width, weights)
            channels = scale_channels(1024, width)
            branches = [FieldOfView(vgg.channels[-1], channels, num_classes, dilation=rate) for rate in rates]
            for branch in branches if weights is not None else ():
                branch.load(str(weights))
            self.encoder, self.aspp = vgg, SummedASPP(branches)
        else:
            self.encoder = PaperResNet(encoder, in_channels, _STRIDE, weights, caffe=not exact_dilation)
            self.aspp = convolution_aspp(self.encoder.channels[-1], num_classes, rates)

    def stages(self) -> tuple[Stage, ...]:
        """``"grid"`` (the image at every scale), the encoder's levels, ``"aspp"`` and ``"fusion"``."""
        grid, *levels = on_grid(self.encoder.stages())
        scaled = [self._at_every_scale(stage) for stage in (*levels, Stage("aspp", self._score))]
        return (Stage("grid", lambda f: self._pyramid(grid.run(f))), *scaled, Stage("fusion", self._fuse))

    def auxiliary(self, features: Features) -> tuple[Tensor, ...]:
        """The logits of every scale; none when there is only one."""
        if len(self.scales) == 1:
            return ()
        size = features["image"].shape[-2:]
        return tuple(interpolate_grid(scores, _STRIDE, size) for scores in self._on_full_grid(features))

    def _pyramid(self, features: Features) -> Features:
        """The image at every scale, all with sides of 8 n + 1: 321, 241 and 161."""
        image = features["grid"]
        cells = [(side - 1) // _STRIDE for side in image.shape[-2:]]
        images = {"grid@0": image}
        for index, scale in enumerate(self.scales[1:], start=1):
            size = [n * scale.numerator // scale.denominator * _STRIDE + 1 for n in cells]
            images[f"grid@{index}"] = resize(image, size, align_corners=True)
        return {**features, **images}

    def _score(self, features: Features) -> Features:
        return {**features, "scores": self.aspp(features[f"level{len(self.encoder.channels)}"])}

    def _at_every_scale(self, stage: Stage) -> Stage:
        """Run a stage on the entries ``name@0``, ``name@1`` ... of every scale."""

        def run(features: Features) -> Features:
            found = dict(features)
            for index in range(len(self.scales)):
                mark = f"@{index}"
                given = {name[: -len(mark)]: x for name, x in features.items() if name.endswith(mark)}
                made = stage.run({"image": features["image"], **given})
                found |= {name + mark: x for name, x in made.items() if name != "image"}
            return found

        return Stage(stage.name, run)

    def _on_full_grid(self, features: Features) -> list[Tensor]:
        """The logits of every scale on the grid of the full one."""
        size = features["scores@0"].shape[-2:]
        smaller = [features[f"scores@{index}"] for index in range(1, len(self.scales))]
        return [features["scores@0"], *(resize(scores, size, align_corners=True) for scores in smaller)]

    def _fuse(self, features: Features) -> Features:
        """The element-wise maximum of all scales."""
        fused, *others = self._on_full_grid(features)
        for scores in others:
            fused = torch.maximum(fused, scores)
        return {**features, "logits": interpolate_grid(fused, _STRIDE, features["image"].shape[-2:])}
