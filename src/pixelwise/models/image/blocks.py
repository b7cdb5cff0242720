"""Heads and context modules that several image networks share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pixelwise.models.layers import ConvNormAct, PooledBatchNorm2d, SeparableConvNormAct


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
