"""Modified aligned Xception-65, the encoder of the DeepLab v3+ paper, with its taps.

Paper: Chen et al., ECCV 2018, arXiv 1802.02611; layers by timm (``xception65``: batch norm eps 1e-3, the
stride of a block on its third separable convolution, symmetric padding, which for a 3×3 kernel is the
reference code's explicit padding). Levels 1 and 2 are the second separable convolutions of strided blocks.

Departures: none known. timm's own features are taken one ReLU later than the reference code's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import timm
from torch import Tensor

from pixelwise.errors import UsageError
from pixelwise.models.encoders.base import Encoder, Features, Preprocessing, Stage
from pixelwise.models.encoders.weights import load_weights, timm_state_dict

_TAPPED = (1, 2)
"""Blocks of the entry flow with a tap: at stride 4 (256 channels) and 8 (728 channels)."""


class Xception65(Encoder):
    """Xception-65 with features at strides 4, 8 and ``output_stride``.

    Parameters
    ----------
    in_channels
        Number of image channels.
    output_stride
        8, 16 or 32, by exact dilation.
    multi_grid
        Factors on the dilation of the last block's three convolutions.
    weights
        None, or the path of a timm state dict of ``xception65``.

    Raises
    ------
    UsageError
        ``multi_grid`` has not three factors, or ``weights="imagenet"``: none are shipped.
    DataError
        The weights file cannot be read or does not fit.
    """

    def __init__(
        self,
        in_channels: int = 3,
        output_stride: int = 16,
        multi_grid: Sequence[int] = (1, 1, 1),
        weights: str | None = None,
    ) -> None:
        super().__init__()
        if len(multi_grid) != 3 or min(multi_grid) < 1:
            raise UsageError(f"multi_grid needs three factors of at least 1, not {tuple(multi_grid)}")
        self.net: Any = _create(in_channels, output_stride)
        if weights is not None:
            state, source = timm_state_dict("xception65", weights)
            load_weights(self.net, state, source, first_layer="stem.0.conv.weight")
        for index in _TAPPED:
            self.net.blocks[index].stack.act3.inplace = False  # it would overwrite the tap
        self._apply_multi_grid(multi_grid)
        self.channels = (256, 728, 2048)
        self.reductions = (4, 8, output_stride)
        self.preprocessing = Preprocessing((127.5,) * 3, (127.5,) * 3).for_channels(in_channels)

    def _apply_multi_grid(self, factors: Sequence[int]) -> None:
        last = self.net.blocks[-1].stack
        for separable, factor in zip((last.conv1, last.conv2, last.conv3), factors, strict=True):
            rate = separable.dilation * factor
            separable.conv_dw.dilation = separable.conv_dw.padding = (rate, rate)

    def stages(self) -> tuple[Stage, ...]:  # noqa: D102
        return (Stage("level1", self._level1), Stage("level2", self._level2), Stage("level3", self._level3))

    def _level1(self, features: Features) -> Features:
        x = self.net.blocks[0](self.net.stem(features["image"]))
        return {**features, "entry1": x, "level1": self._tap(1, x)}

    def _level2(self, features: Features) -> Features:
        x = self._finish(1, features["level1"], features["entry1"])
        return {**features, "entry2": x, "level2": self._tap(2, x)}

    def _level3(self, features: Features) -> Features:
        x = self._finish(2, features["level2"], features["entry2"])
        for block in self.net.blocks[3:]:
            x = block(x)
        return {**features, "level3": x}

    def _tap(self, index: int, x: Tensor) -> Tensor:
        """A strided block up to its second separable convolution."""
        stack = self.net.blocks[index].stack
        return stack.conv2(stack.act2(stack.conv1(stack.act1(x))))

    def _finish(self, index: int, tap: Tensor, x: Tensor) -> Tensor:
        """The rest of the block: its third, strided convolution plus the shortcut from its input ``x``."""
        block = self.net.blocks[index]
        return block.stack.conv3(block.stack.act3(tap)) + block.shortcut(x)


def _create(in_channels: int, output_stride: int) -> Any:
    """Timm's network without its classifier."""
    return timm.create_model(
        "xception65", pretrained=False, in_chans=in_channels, num_classes=0, output_stride=output_stride
    )
