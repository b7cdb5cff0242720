"""FCN-32s, FCN-16s and FCN-8s: a classifier run convolutionally, refined by scores of shallower layers.

Paper: Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015,
arXiv 1411.4038 (PAMI version: arXiv 1605.06211). Layers, crop offsets, scales and initial values follow the
reference code (shelhamer/fcn.berkeleyvision.org, the voc-fcn* nets).

Departures
----------
- ``paper``: RGB where Caffe has BGR. Fixed deconvolutions apply one bilinear kernel per class, which equals
  the reference's dense kernels that are zero off the channel diagonal.
- ``default``: any encoder instead of VGG-16; no fc6 and fc7; "same" padding; bilinear resizing to the size of
  the next map instead of deconvolution and crop, so nothing is offset; scores start random, not at zero.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from pixelwise.errors import UsageError
from pixelwise.models.encoders import DEFAULT_ENCODER, Encoder, create_encoder
from pixelwise.models.encoders.vgg import FullyConvolutionalVGG16
from pixelwise.models.layers import BilinearDeconvolution, crop, resize
from pixelwise.models.network import Features, SegmentationNetwork, Stage


class FCN32s(SegmentationNetwork):
    """FCN on any encoder (variant ``default``): 1×1 scores of stride 32, bilinear to the input's size.

    Parameters
    ----------
    num_classes, in_channels, multilabel
        As in :class:`~pixelwise.models.network.SegmentationNetwork`.
    encoder
        timm name of the encoder.
    weights
        Encoder weights, see :func:`~pixelwise.models.encoders.create_encoder`.
    """

    encoder: Encoder
    strides: ClassVar[tuple[int, ...]] = (32,)
    """Strides whose features are scored, deep to shallow."""

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
        self.encoder = create_encoder(encoder, in_channels, weights=weights)
        levels = [self.encoder.level(stride) for stride in self.strides]
        self._levels = tuple(f"level{level + 1}" for level in levels)
        self.scores = nn.ModuleList(
            nn.Conv2d(self.encoder.channels[level], num_classes, 1) for level in levels
        )

    def stages(self) -> tuple[Stage, ...]:
        """The encoder's levels and ``"fusion"``."""
        return (*self.encoder.stages(), Stage("fusion", self._fuse))

    def _fuse(self, features: Features) -> Features:
        scores = [score(features[name]) for score, name in zip(self.scores, self._levels, strict=True)]
        total = scores[0]
        for score in scores[1:]:
            total = resize(total, score.shape[-2:]) + score
        return {**features, "logits": resize(total, features["image"].shape[-2:])}


class FCN16s(FCN32s):
    """FCN on any encoder with scores of strides 32 and 16 summed; arguments as :class:`FCN32s`."""

    strides = (32, 16)


class FCN8s(FCN32s):
    """FCN on any encoder with scores of strides 32, 16 and 8 summed; arguments as :class:`FCN32s`."""

    strides = (32, 16, 8)


class _Skip(NamedTuple):
    """A shallower layer whose scores are added: its crop offset and its scale in nets trained at once."""

    name: str
    level: int
    offset: int
    scale: float
    upscore: str


_POOL4 = _Skip("score_pool4", 4, 5, 0.01, "upscore2")
_POOL3 = _Skip("score_pool3", 3, 9, 0.0001, "upscore_pool4")


class PaperFCN(SegmentationNetwork):
    """What the three published nets share; layers carry the reference code's names.

    The first convolution is padded by 100 and nothing else is, so maps are larger than the image and every
    sum crops by a fixed offset, the same for every size. Scores start at zero: until the first step the
    gradient of everything below them is zero too.

    Parameters
    ----------
    num_classes, in_channels, multilabel
        As in :class:`~pixelwise.models.network.SegmentationNetwork`.
    weights
        Path of VGG-16 weights with fc6 and fc7, see :class:`~pixelwise.models.encoders.vgg.VGG16`.
    at_once
        Scale pool4 by 0.01 and pool3 by 0.0001 before scoring, to train the whole net in one go. Off, the
        net is meant to continue from the next coarser one, see :meth:`load_stage`.
    learn_upsampling
        Learn the deconvolutions; fixed by default, as in the reference release.
    width
        Factor on VGG-16's channels; 1 is the paper, less is quicker.
    """

    encoder: Encoder
    skips: ClassVar[tuple[_Skip, ...]] = ()
    stride: ClassVar[int] = 32
    """Factor of the last deconvolution."""
    offset: ClassVar[int] = 19
    """Crop offset of the logits."""

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        *,
        multilabel: bool = False,
        weights: str | None = None,
        at_once: bool = False,
        learn_upsampling: bool = False,
        width: float = 1.0,
    ) -> None:
        super().__init__(num_classes, in_channels, multilabel)
        self.at_once = at_once
        self.encoder = FullyConvolutionalVGG16(in_channels, width=width, weights=weights)
        channels = self.encoder.channels
        self.scores = nn.ModuleDict({"score_fr": _zero_score(channels[-1], num_classes)})
        self.upscores = nn.ModuleDict()
        for skip in self.skips:
            self.scores[skip.name] = _zero_score(channels[skip.level - 1], num_classes)
            self.upscores[skip.upscore] = BilinearDeconvolution(num_classes, 4, 2, learn_upsampling)
        self._last = f"upscore{self.stride}"
        self.upscores[self._last] = BilinearDeconvolution(
            num_classes, 2 * self.stride, self.stride, learn_upsampling
        )

    def stages(self) -> tuple[Stage, ...]:
        """The pools of VGG-16, fc7 (``"level6"``) and ``"fusion"``."""
        return (*self.encoder.stages(), Stage("fusion", self._fuse))

    def _fuse(self, features: Features) -> Features:
        total = self.scores["score_fr"](features["level6"])
        for skip in self.skips:
            total = self.upscores[skip.upscore](total)
            scale = skip.scale if self.at_once else 1.0
            score = self.scores[skip.name](features[f"level{skip.level}"] * scale)
            total = total + crop(score, skip.offset, skip.offset, total.shape[-2:])
        upscored = self.upscores[self._last](total)
        return {**features, "logits": crop(upscored, self.offset, self.offset, features["image"].shape[-2:])}

    def load_stage(self, coarser: Mapping[str, Tensor]) -> None:
        """Continue from the next coarser net (32s -> 16s -> 8s): copy what both have.

        The new score layer stays at zero, so the first output is the coarser net's up to its upsampling.

        Parameters
        ----------
        coarser
            State dict of the coarser net, with the same classes and channels.

        Raises
        ------
        UsageError
            It is not the state dict of a coarser paper-variant FCN with these classes and channels.
        """
        own = self.state_dict()
        # FCN-32s has no upscore2 to share, and the last deconvolution differs from net to net.
        needed = [name for name in own if name.startswith(("encoder.", "scores.score_fr."))]
        shared = {name: value for name, value in coarser.items() if name in own}
        unfit = [
            name for name in {*needed, *shared} if name not in shared or shared[name].shape != own[name].shape
        ]
        if unfit:
            raise UsageError(
                f"the state dict does not fit at '{min(unfit)}': pass that of a coarser FCN "
                f"(variant 'paper') with {self.num_classes} classes and {self.in_channels} channels"
            )
        self.load_state_dict(shared, strict=False)


class PaperFCN32s(PaperFCN):
    """FCN-32s as published; arguments as :class:`PaperFCN` without ``at_once``, which needs a skip."""

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        *,
        multilabel: bool = False,
        weights: str | None = None,
        learn_upsampling: bool = False,
        width: float = 1.0,
    ) -> None:
        super().__init__(
            num_classes,
            in_channels,
            multilabel=multilabel,
            weights=weights,
            learn_upsampling=learn_upsampling,
            width=width,
        )


class PaperFCN16s(PaperFCN):
    """FCN-16s as published; arguments as :class:`PaperFCN`."""

    skips = (_POOL4,)
    stride = 16
    offset = 27


class PaperFCN8s(PaperFCN):
    """FCN-8s as published; arguments as :class:`PaperFCN`."""

    skips = (_POOL4, _POOL3)
    stride = 8
    offset = 31


def _zero_score(in_channels: int, num_classes: int) -> nn.Conv2d:
    score = nn.Conv2d(in_channels, num_classes, 1)
    nn.init.zeros_(score.weight)
    assert score.bias is not None
    nn.init.zeros_(score.bias)
    return score


def convolutionalise(classifier: nn.Module) -> nn.Sequential:
    """The paper's opening move: a classifier's dense layers turned into convolutions.

    At the size it was made for the result gives the same logits, as a B×K×1×1 map; on a larger image it gives
    a coarse heat map of every class, in one pass.

    Parameters
    ----------
    classifier
        A network with ``features`` (convolutions) and ``classifier`` (dense layers), as AlexNet and the VGGs
        of torchvision have; it may have an ``avgpool`` between them. Its weights are copied.

    Raises
    ------
    UsageError
        The network is not made of these parts.

    Examples
    --------
    >>> import torch, torchvision
    >>> heat = convolutionalise(torchvision.models.alexnet(weights=None).eval())
    >>> heat(torch.zeros(1, 3, 224, 224)).shape, heat(torch.zeros(1, 3, 320, 288)).shape
    (torch.Size([1, 1000, 1, 1]), torch.Size([1, 1000, 4, 3]))
    """
    features, dense = getattr(classifier, "features", None), getattr(classifier, "classifier", None)
    layers = (
        [dense] if isinstance(dense, nn.Linear) else list(dense) if isinstance(dense, nn.Sequential) else []
    )
    if features is None or not any(isinstance(layer, nn.Linear) for layer in layers):
        raise UsageError(
            f"{type(classifier).__name__} has no 'features' and 'classifier' with dense layers to turn into "
            "convolutions: pass a network such as torchvision's vgg16 or alexnet"
        )
    channels = [m.out_channels for m in features.modules() if isinstance(m, nn.Conv2d)][-1]
    result: list[nn.Module] = [features]
    for layer in layers:
        if not isinstance(layer, nn.Linear):
            # Whole channels are dropped of a map, as single values are of a vector.
            result.append(nn.Dropout2d(layer.p) if isinstance(layer, nn.Dropout) else layer)
            continue
        side = math.isqrt(layer.in_features // channels)
        if side * side * channels != layer.in_features:
            raise UsageError(
                f"a dense layer of {layer.in_features} inputs sees no square map of {channels} channels"
            )
        convolution = nn.Conv2d(channels, layer.out_features, side, bias=layer.bias is not None)
        convolution.weight.data.copy_(layer.weight.detach().view_as(convolution.weight))
        if layer.bias is not None and convolution.bias is not None:
            convolution.bias.data.copy_(layer.bias.detach())
        result.append(convolution)
        channels = layer.out_features
    return nn.Sequential(*copy.deepcopy(result)).train(classifier.training)
