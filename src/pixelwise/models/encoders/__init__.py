"""Encoders: what turns an image into features at several strides."""

from __future__ import annotations

from pixelwise.models.encoders.base import Encoder, Features, Preprocessing, Stage
from pixelwise.models.encoders.timm_encoder import TimmEncoder

DEFAULT_ENCODER = "tf_efficientnet_lite0"
"""The encoder of the practical variants: light on a CPU, with ImageNet weights in an installed package."""

__all__ = ["DEFAULT_ENCODER", "Encoder", "Features", "Preprocessing", "Stage", "create_encoder"]


def create_encoder(
    name: str,
    in_channels: int = 3,
    output_stride: int = 32,
    weights: str | None = None,
    depth: int | None = None,
) -> Encoder:
    """Create an encoder by its timm name; its ``forward`` returns a list of features, shallow to deep.

    Parameters
    ----------
    name
        Any convolutional timm model with ``features_only``.
    in_channels
        Number of input channels; pretrained first layers are adapted (one channel gets the sum of the
        weights, n get a cyclic copy times 3 / n).
    output_stride
        8, 16 or 32: the stride of the deepest feature. Removed strides become dilation, exactly:
        OS-8 ``features[..., ::4, ::4]`` equal the OS-32 features.
    weights
        None for random weights, ``"imagenet"`` for those in an installed package
        (``tf_efficientnet_lite0``), or the path of a timm state dict (.safetensors, .pth).
    depth
        Keep only this many levels; None keeps all.

    Raises
    ------
    UsageError
        The name is unknown, the encoder cannot be dilated, or has no packaged weights.
    DataError
        The weights file cannot be read or does not fit.

    Examples
    --------
    >>> encoder = create_encoder("tf_efficientnet_lite0", output_stride=16)
    >>> encoder.channels, encoder.reductions
    ((16, 24, 40, 112, 320), (2, 4, 8, 16, 16))
    """
    return TimmEncoder(name, in_channels, output_stride, weights, depth)
