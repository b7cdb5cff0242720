"""KSAC: kernel-sharing atrous convolution. One 3×3 kernel sees the map at several rates.

Paper: Huang, Wang, Jia, He, "See More Than Once: Kernel-Sharing Atrous Convolution for Semantic
Segmentation", 2019, arXiv 1908.09443. The rest of the network is DeepLab v3+ (arXiv 1802.02611).

Departures
----------
- The text that we could read (abstracts) does not say how the branches are joined, and public copies differ.
  Here they are summed (``fusion="sum"``): only then is the number of parameters the same for any number of
  rates, which is what the paper is after. ``fusion="concat"`` joins them as DeepLab's ASPP does.
- ``paper``: Xception-65 with the decoder of DeepLab v3+; align_corners=True as there.
- ``default``: any dilatable encoder; align_corners=False.
- The shared kernel is a full 3×3 one in both: a separable one has hardly any weights to share.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelwise.errors import unknown_name
from pixelwise.models.encoders import DEFAULT_ENCODER, create_encoder
from pixelwise.models.encoders.xception import Xception65
from pixelwise.models.image.blocks import ImagePooling, check_output_stride, usual_rates
from pixelwise.models.image.deeplabv3plus import DeepLabV3Plus
from pixelwise.models.layers import ConvNormAct
from pixelwise.models.network import SegmentationNetwork

FUSIONS = ("sum", "concat")


class SharedKernelConv2d(nn.Module):
    """One 3×3 kernel applied at several rates, with batch norm of its own and ReLU for each.

    ``forward`` returns a list with one map per rate.
    """

    def __init__(self, in_channels: int, out_channels: int, rates: Sequence[int]) -> None:
        super().__init__()
        self.rates = tuple(rates)
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, 3, 3))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)  # as nn.Conv2d starts
        self.norms = nn.ModuleList(nn.BatchNorm2d(out_channels) for _ in rates)

    def forward(self, x: Tensor) -> list[Tensor]:  # noqa: D102
        maps = [F.conv2d(x, self.weight, padding=rate, dilation=rate) for rate in self.rates]
        return [F.relu(norm(seen)) for norm, seen in zip(self.norms, maps, strict=True)]


class KernelSharingPyramid(nn.Module):
    """A 1×1 convolution, the shared kernel at every rate and image pooling; joined, projected, dropout.

    Parameters
    ----------
    in_channels, out_channels
        Widths of the input and of every branch and the output.
    rates
        Dilations of the shared kernel.
    fusion
        ``"sum"`` or ``"concat"``.
    dropout
        Probability of dropping a value of the output.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 256,
        rates: Sequence[int] = (6, 12, 18),
        *,
        fusion: str = "sum",
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if fusion not in FUSIONS:
            raise unknown_name("fusion", fusion, FUSIONS)
        self.point = ConvNormAct(in_channels, out_channels, 1)
        self.shared = SharedKernelConv2d(in_channels, out_channels, rates)
        self.pooling = ImagePooling(in_channels, out_channels)
        self.sums = fusion == "sum"
        joined = out_channels if self.sums else (len(rates) + 2) * out_channels
        self.project = ConvNormAct(joined, out_channels, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        branches = [self.point(x), *self.shared(x), self.pooling(x)]
        joined = torch.stack(branches).sum(dim=0) if self.sums else torch.cat(branches, dim=1)
        return self.dropout(self.project(joined))


class KSAC(DeepLabV3Plus):
    """KSAC on any encoder (variant ``default``).

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
        Dilations of the shared kernel; None: (6, 12, 18), doubled at output stride 8.
    fusion
        How branches are joined, ``"sum"`` or ``"concat"``.
    """

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
        fusion: str = "sum",
    ) -> None:
        SegmentationNetwork.__init__(self, num_classes, in_channels, multilabel)
        net = create_encoder(encoder, in_channels, check_output_stride(output_stride), weights)
        chosen = rates or usual_rates(output_stride)
        self._build(net, KernelSharingPyramid(net.channels[-1], rates=chosen, fusion=fusion))


class PaperKSAC(DeepLabV3Plus):
    """KSAC on Xception-65 with the decoder of DeepLab v3+.

    Parameters
    ----------
    num_classes, in_channels, multilabel
        As in :class:`~pixelwise.models.network.SegmentationNetwork`.
    weights
        Path of a timm state dict of ``xception65``.
    output_stride
        16, or 8.
    rates
        Dilations of the shared kernel; None: (6, 12, 18), doubled at output stride 8.
    fusion
        How branches are joined, ``"sum"`` or ``"concat"``.
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
        rates: Sequence[int] | None = None,
        fusion: str = "sum",
    ) -> None:
        SegmentationNetwork.__init__(self, num_classes, in_channels, multilabel)
        net = Xception65(in_channels, check_output_stride(output_stride), weights=weights)
        chosen = rates or usual_rates(output_stride)
        self._build(net, KernelSharingPyramid(net.channels[-1], rates=chosen, fusion=fusion))
