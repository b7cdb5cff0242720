"""Heads and context modules that several image networks share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelwise.errors import UsageError
from pixelwise.models.encoders.vgg import load_fully_connected
from pixelwise.models.layers import (
    ConvNormAct,
    PooledBatchNorm2d,
    SeparableConvNormAct,
    initialise_he,
)


def check_output_stride(output_stride: int) -> int:
    """Return ``output_stride``; UsageError unless it is 8 or 16."""
    if output_stride not in (8, 16):
        raise UsageError(f"output_stride must be 8 or 16, not {output_stride}")
    return output_stride


def usual_rates(output_stride: int) -> tuple[int, ...]:
    """DeepLab v3's dilations: 6, 12 and 18 at output stride 16, twice that at 8."""
    return tuple(rate * 16 // output_stride for rate in (6, 12, 18))


class ImagePooling(nn.Module):
    """The mean of the whole map through a 1×1 convolution, spread over the map again."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.norm = PooledBatchNorm2d(out_channels)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        pooled = self.activation(self.norm(self.conv(x.mean(dim=(2, 3), keepdim=True))))
        return pooled.expand(-1, -1, x.shape[2], x.shape[3])


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling of DeepLab v3 and v3+.

    A 1×1 convolution, one dilated 3×3 per rate and image pooling side by side, each ``out_channels`` wide
    with batch norm and ReLU; concatenated, projected by a 1×1, dropout.

    Parameters
    ----------
    in_channels, out_channels
        Widths of the input and of every branch and the output.
    rates
        Dilations of the 3×3 branches: (6, 12, 18) at output stride 16, twice that at 8.
    separable
        Split the 3×3 convolutions into depthwise and pointwise (v3+).
    dropout
        Probability of dropping a value of the output.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 256,
        rates: Sequence[int] = (6, 12, 18),
        *,
        separable: bool = False,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        dilated = SeparableConvNormAct if separable else ConvNormAct
        self.branches = nn.ModuleList(
            [
                ConvNormAct(in_channels, out_channels, 1),
                *(dilated(in_channels, out_channels, dilation=rate) for rate in rates),
                ImagePooling(in_channels, out_channels),
            ]
        )
        self.project = ConvNormAct(len(self.branches) * out_channels, out_channels, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.dropout(self.project(torch.cat([branch(x) for branch in self.branches], dim=1)))


class FieldOfView(nn.Sequential):
    """A classifier of DeepLab v1 and v2 on VGG-16: fc6 (dilated), fc7, fc8 with ReLU and dropout between.

    Parameters
    ----------
    in_channels, channels, num_classes
        Widths of the input, of fc6 and fc7, and of the logits.
    kernel_size, dilation
        Of fc6, which keeps the size of the map.
    """

    def __init__(
        self, in_channels: int, channels: int, num_classes: int, *, kernel_size: int = 3, dilation: int = 12
    ) -> None:
        padding = dilation * (kernel_size - 1) // 2
        super().__init__(
            nn.Conv2d(in_channels, channels, kernel_size, padding=padding, dilation=dilation),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Conv2d(channels, channels, 1),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Conv2d(channels, num_classes, 1),
        )
        initialise_he(self)

    def load(self, path: str) -> None:
        """Copy fc6 and fc7 of VGG-16, thinned out, where the file holds them."""
        fc6, fc7 = self[0], self[3]
        assert isinstance(fc6, nn.Conv2d) and isinstance(fc7, nn.Conv2d)
        load_fully_connected(fc6, fc7, path)


class SpatialPyramidPooling(nn.Module):
    """The largest values over 1×1, 2×2, 4×4 ... parts of a map, in one vector of fixed length.

    He, Zhang, Ren, Sun, "Spatial Pyramid Pooling in Deep Convolutional Networks for Visual Recognition", ECCV
    2014, arXiv 1406.4729: what lets a classifier with dense layers take images of any size.

    Parameters
    ----------
    levels
        Parts per side; C channels give C times the sum of their squares.

    Examples
    --------
    >>> SpatialPyramidPooling((1, 2, 4))(torch.zeros(2, 8, 13, 9)).shape
    torch.Size([2, 168])
    """

    def __init__(self, levels: Sequence[int] = (1, 2, 4)) -> None:
        super().__init__()
        self.levels = tuple(levels)

    def forward(self, x: Tensor) -> Tensor:
        """Return B×(C·Σ level²) for B×C×H×W of any size."""
        return torch.cat([F.adaptive_max_pool2d(x, level).flatten(1) for level in self.levels], dim=1)


class FCNHead(nn.Sequential):
    """torchvision's head on a dilated encoder: 3×3 to a quarter of the channels, dropout, 1×1 scores."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        channels = max(1, in_channels // 4)
        super().__init__(
            *ConvNormAct(in_channels, channels, 3), nn.Dropout(0.1), nn.Conv2d(channels, num_classes, 1)
        )
