"""Global Convolutional Network: large kernels k×k, split into k×1 and 1×k, classify and locate at once.

Paper: Peng, Zhang, Yu, Luo, Sun, "Large Kernel Matters: Improve Semantic Segmentation by Global Convolutional
Network", CVPR 2017, arXiv 1703.02719.

Departures
----------
- ``paper``: the residual encoder is torchvision's ResNet-152 (or 101, 50), not the "ResNet-GCN" that the
  paper trains from the start as a second option. Deconvolutions are 4×4, start as bilinear interpolation,
  have no bias, and are cropped where a map of odd size meets its neighbour.
- ``default``: any encoder; branches of at least 21 channels also for fewer classes, and a 1×1 classifier;
  bilinear resizing instead of deconvolution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from pixelwise.errors import UsageError
from pixelwise.models.encoders import DEFAULT_ENCODER, Encoder, create_encoder
from pixelwise.models.encoders.resnet import PaperResNet
from pixelwise.models.layers import BilinearDeconvolution, crop, resize
from pixelwise.models.network import Features, SegmentationNetwork, Stage

_STRIDES = (4, 8, 16, 32)
_NARROWEST = 21


class GlobalConvolution(nn.Module):
    """A k×k kernel as the sum of k×1 then 1×k and 1×k then k×1: linear, no norm, no activation.

    Parameters
    ----------
    in_channels, out_channels
        Widths; the branches are ``out_channels`` wide.
    kernel_size
        k, odd, so that the map keeps its place.

    Raises
    ------
    UsageError
        k is even.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 15) -> None:
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise UsageError(f"kernel_size must be odd, not {kernel_size}: an even kernel shifts the map")
        tall, wide = (kernel_size, 1), (1, kernel_size)
        self.left = _split(in_channels, out_channels, tall, wide)
        self.right = _split(in_channels, out_channels, wide, tall)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.left(x) + self.right(x)


def _split(in_channels: int, out_channels: int, *kernels: tuple[int, int]) -> nn.Sequential:
    widths = (in_channels, out_channels, out_channels)
    return nn.Sequential(
        *(
            nn.Conv2d(widths[i], widths[i + 1], k, padding=(k[0] // 2, k[1] // 2))
            for i, k in enumerate(kernels)
        )
    )


class BoundaryRefinement(nn.Module):
    """x + conv3×3(ReLU(conv3×3(x))), without batch norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return x + self.residual(x)


class _Deconvolution(nn.Module):
    """Doubles a map by a learned 4×4 deconvolution and cuts it to ``size``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.deconvolution = BilinearDeconvolution(channels, 4, 2, learned=True)

    def forward(self, x: Tensor, size: Sequence[int]) -> Tensor:
        # Unpadded, it gives 2 n + 2 values; the first lies before the map.
        return crop(self.deconvolution(x), 1, 1, size)


class GCN(SegmentationNetwork):
    """GCN on any encoder with features at strides 4, 8, 16 and 32 (variant ``default``).

    Parameters
    ----------
    num_classes, in_channels, multilabel
        As in :class:`~pixelwise.models.network.SegmentationNetwork`.
    encoder
        timm name of the encoder.
    weights
        Encoder weights, see :func:`~pixelwise.models.encoders.create_encoder`.
    kernel_size
        k of the global convolutions; odd.
    boundary_refinement
        Off leaves the nine refinement blocks out, to see what they do.
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
        kernel_size: int = 15,
        boundary_refinement: bool = True,
    ) -> None:
        super().__init__(num_classes, in_channels, multilabel)
        width = max(num_classes, _NARROWEST)
        self._build(
            create_encoder(encoder, in_channels, 32, weights), width, kernel_size, boundary_refinement
        )
        self.classifier: nn.Module = nn.Conv2d(width, num_classes, 1)

    def _build(self, encoder: Encoder, width: int, kernel_size: int, refined: bool) -> None:
        self.encoder = encoder
        levels = [encoder.level(stride) for stride in _STRIDES]
        self._levels = [f"level{level + 1}" for level in levels]
        refine: Callable[[], nn.Module] = (lambda: BoundaryRefinement(width)) if refined else nn.Identity
        self.globals = nn.ModuleList(
            nn.Sequential(GlobalConvolution(encoder.channels[level], width, kernel_size), refine())
            for level in levels
        )
        # After the three sums, and after each of the two upsamplings from stride 4 to the image.
        self.refinements = nn.ModuleList(refine() for _ in range(5))

    def _upsample(self, index: int, x: Tensor, size: Sequence[int]) -> Tensor:
        """Bring a map to the size of the next finer one; ``index`` counts from the deepest."""
        return resize(x, size)

    def stages(self) -> tuple[Stage, ...]:
        """The encoder's levels, ``"globals"`` (a score map per level) and ``"fusion"``."""
        return (*self.encoder.stages(), Stage("globals", self._score), Stage("fusion", self._fuse))

    def _score(self, features: Features) -> Features:
        scores = {
            f"score{stride}": block(features[level])
            for stride, block, level in zip(_STRIDES, self.globals, self._levels, strict=True)
        }
        return {**features, **scores}

    def _fuse(self, features: Features) -> Features:
        deepest, *finer = [features[f"score{stride}"] for stride in reversed(_STRIDES)]
        x = deepest
        for index, score in enumerate(finer):
            x = self.refinements[index](self._upsample(index, x, score.shape[-2:]) + score)
        height, width = features["image"].shape[-2:]
        x = self.refinements[3](self._upsample(3, x, ((height + 1) // 2, (width + 1) // 2)))
        x = self.refinements[4](self._upsample(4, x, (height, width)))
        return {**features, "logits": self.classifier(x)}


class PaperGCN(GCN):
    """GCN as published: ResNet, k = 15, branches as wide as there are classes, deconvolutions.

    Parameters
    ----------
    num_classes, in_channels, multilabel
        As in :class:`~pixelwise.models.network.SegmentationNetwork`.
    encoder
        ``"resnet152"``, ``"resnet101"`` or ``"resnet50"``.
    weights
        Path of ImageNet weights of the encoder.
    kernel_size
        k of the global convolutions; odd.
    boundary_refinement
        Off leaves the nine refinement blocks out, to see what they do.
    deconvolution
        Off interpolates bilinearly instead, as most copies of the network do.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        *,
        multilabel: bool = False,
        encoder: str = "resnet152",
        weights: str | None = None,
        kernel_size: int = 15,
        boundary_refinement: bool = True,
        deconvolution: bool = True,
    ) -> None:
        SegmentationNetwork.__init__(self, num_classes, in_channels, multilabel)
        resnet = PaperResNet(encoder, in_channels, 32, weights)
        self._build(resnet, num_classes, kernel_size, boundary_refinement)
        self.classifier = nn.Identity()
        self.deconvolutions = nn.ModuleList(_Deconvolution(num_classes) for _ in range(5 * deconvolution))

    def _upsample(self, index: int, x: Tensor, size: Sequence[int]) -> Tensor:
        if not self.deconvolutions:
            return super()._upsample(index, x, size)
        upsampled: Tensor = self.deconvolutions[index](x, size)
        return upsampled
