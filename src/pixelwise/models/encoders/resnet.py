"""ResNets as the DeepLab papers changed them: multi-grid (v3), and Caffe's strides and dilations (v2).

Papers: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv 1512.03385; Chen et al.,
arXiv 1606.00915 (DeepLab v2) and 1706.05587 (DeepLab v3). Layers by timm (torchvision's names and weights).

Departures: input is RGB scaled by ImageNet's mean and deviation, where Caffe's nets subtract a BGR mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from pixelwise.errors import UsageError, unknown_name
from pixelwise.models.encoders.timm_encoder import TimmEncoder

RESNETS = ("resnet50", "resnet101", "resnet152")


class PaperResNet(TimmEncoder):
    """ResNet-50, 101 or 152 with features at strides 2, 4, 8 and on to ``output_stride``.

    Parameters
    ----------
    name
        ``"resnet50"``, ``"resnet101"`` or ``"resnet152"``.
    in_channels
        Number of image channels.
    output_stride
        8, 16 or 32.
    weights
        None, or the path of an ImageNet state dict with torchvision's or timm's names.
    multi_grid
        Factors on the dilation of the last block's three units (DeepLab v3: 1, 2, 4).
    caffe
        DeepLab v2's net: strides on the first 1×1 convolution of a unit, and all units of a dilated block
        dilated alike. Off, strides are on the 3×3 and the first unit keeps the dilation of the block before,
        so that the features equal those of stride 32 computed densely.

    Raises
    ------
    UsageError
        Another name, or ``multi_grid`` has not three factors.
    """

    def __init__(
        self,
        name: str,
        in_channels: int = 3,
        output_stride: int = 32,
        weights: str | None = None,
        *,
        multi_grid: Sequence[int] | None = None,
        caffe: bool = False,
    ) -> None:
        if name not in RESNETS:
            raise unknown_name("encoder of the paper's network", name, RESNETS)
        super().__init__(name, in_channels, output_stride, weights)
        if weights is None:
            self._start_at_one()
        if caffe:
            self._as_caffe(output_stride)
        if multi_grid is not None:
            if len(multi_grid) != 3 or min(multi_grid) < 1:
                raise UsageError(f"multi_grid needs three factors of at least 1, not {tuple(multi_grid)}")
            for unit, factor in zip(self.net["layer4"], multi_grid, strict=True):
                _dilate(unit, 32 // output_stride * factor)

    def _start_at_one(self) -> None:
        """Undo timm's zero start of the last batch norm of each unit, which is younger than these papers."""
        for block in ("layer1", "layer2", "layer3", "layer4"):
            for unit in self.net[block]:
                nn.init.ones_(unit.bn3.weight)

    def _as_caffe(self, output_stride: int) -> None:
        stride = 4
        for block in (self.net["layer2"], self.net["layer3"], self.net["layer4"]):
            stride *= 2
            first = block[0]
            first.conv1.stride, first.conv2.stride = first.conv2.stride, (1, 1)
            for unit in block if stride > output_stride else ():
                _dilate(unit, stride // output_stride)


def _dilate(unit: Any, rate: int) -> None:
    unit.conv2.dilation = unit.conv2.padding = (rate, rate)
