"""Encoders from timm: any convolutional model with ``features_only``, with exact dilation.

Source: https://github.com/huggingface/pytorch-image-models (Apache-2.0), used through its public interface.
With a smaller output stride the features are those of stride 32 computed densely:
OS-8 ``features[..., ::4, ::4]`` equal the OS-32 features.

Departures from timm: TensorFlow-style SAME convolutions are exchanged for an equal layer that exports with
symbolic sizes; plain chains (EfficientNets, MobileNets, ResNets and the like) run level by level; the VGGs
and the first Xception can be dilated too; windowed transformers (Swin) take any size.
"""

from __future__ import annotations

from typing import Any

import timm
import torch
import torch.nn.functional as F
from timm.models import FeatureListNet
from timm.models.efficientnet import EfficientNetFeatures
from timm.models.mobilenetv3 import MobileNetV3Features
from torch import nn

from pixelwise.errors import UsageError, unknown_name
from pixelwise.models.encoders.base import Encoder, Features, Preprocessing, Stage, chain_stage
from pixelwise.models.encoders.dilation import dilate
from pixelwise.models.encoders.weights import load_weights, timm_state_dict
from pixelwise.models.layers import replace_same_convolutions


class TimmEncoder(Encoder):
    """A timm model as encoder; see :func:`pixelwise.models.encoders.create_encoder`."""

    def __init__(
        self,
        name: str,
        in_channels: int = 3,
        output_stride: int = 32,
        weights: str | None = None,
        depth: int | None = None,
    ) -> None:
        super().__init__()
        self.net: Any = _create(name, in_channels, output_stride, depth)
        config = self.net.pretrained_cfg
        if weights is not None:
            state, source = timm_state_dict(name, weights)
            load_weights(self.net, state, source, first_layer=f"{config['first_conv']}.weight")
        replace_same_convolutions(self.net)
        self.channels = tuple(self.net.feature_info.channels())
        self.reductions = tuple(min(r, output_stride) for r in self.net.feature_info.reduction())
        self._channels_last = str(getattr(self.net, "output_fmt", "NCHW")).endswith("NHWC")
        # Windowed transformers cut the image into whole patches; the rest of the last one is padding.
        self._multiple = self.reductions[0] if config.get("fixed_input_size") else 1
        scale = Preprocessing(
            tuple(255.0 * value for value in config["mean"]), tuple(255.0 * value for value in config["std"])
        )
        self.preprocessing = scale.for_channels(in_channels)

    def stages(self) -> tuple[Stage, ...]:  # noqa: D102
        sections = None if self._channels_last or self._multiple > 1 else _sections(self.net)
        if sections is None:
            return (Stage("encoder", self._run_whole),)
        return tuple(chain_stage(index, section) for index, section in enumerate(sections))

    def _run_whole(self, features: Features) -> Features:
        x = features["image"]
        if self._multiple > 1:
            x = F.pad(x, (0, -x.shape[-1] % self._multiple, 0, -x.shape[-2] % self._multiple))
        levels = self.net(x)
        if self._channels_last:
            levels = [level.permute(0, 3, 1, 2).contiguous() for level in levels]
        return {**features, **{f"level{i + 1}": level for i, level in enumerate(levels)}}


def _create(name: str, in_channels: int, output_stride: int, depth: int | None) -> Any:
    if not timm.is_model(name):
        raise unknown_name("encoder", name, timm.list_models())
    options: dict[str, Any] = {} if depth is None else {"out_indices": tuple(range(depth))}
    ours = output_stride != 32 and name.startswith(_DILATED_HERE)
    if output_stride != 32 and not ours:
        options["output_stride"] = output_stride
    try:
        net = _any_size(name, features_only=True, pretrained=False, in_chans=in_channels, **options)
    except (AssertionError, NotImplementedError, RuntimeError, TypeError, IndexError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(
            f"encoder '{name}' cannot give {depth or 'all'} features at output stride {output_stride} "
            f"({reason}): choose another encoder or stride"
        ) from None
    if ours:
        _dilate(net, output_stride)
    return net


_DILATED_HERE = ("vgg", "legacy_xception")
"""Families that timm cannot dilate, because they shrink by pooling."""


def _dilate(net: Any, output_stride: int) -> None:
    chain = net if isinstance(net, FeatureListNet) else net.body  # hooks keep the network in one piece
    units = dict(chain.named_children())
    for name, unit in zip(units, dilate(units.values(), output_stride), strict=True):
        setattr(chain, name, unit)


def _any_size(name: str, **options: Any) -> Any:
    """Create a timm model that takes images of every size, or raise ValueError."""
    config = timm.models.get_pretrained_cfg(name)
    if config is None or not config.fixed_input_size:
        return timm.create_model(name, **options)
    try:
        with torch.device("meta"):
            probe = timm.create_model(name, **options, strict_img_size=False)
            probe(torch.empty(1, options["in_chans"], 72, 96))
    except Exception as error:  # whatever a model does with a size that it was not made for
        raise ValueError(f"it takes images of {'x'.join(map(str, config.input_size[1:]))} only") from error
    return timm.create_model(name, **options, strict_img_size=False)


def _sections(net: Any) -> list[list[nn.Module]] | None:
    """The modules from one feature to the next, or None when timm's wrapper is no plain chain."""
    if isinstance(net, EfficientNetFeatures | MobileNetV3Features) and net.feature_hooks is None:
        chain = [net.conv_stem, net.bn1, *net.blocks]
        ends = {stage + 1 for stage in net._stage_out_idx}  # stage 0 is the stem: conv_stem, bn1
    elif type(net) is FeatureListNet and not net.concat:
        chain = list(net.values())
        ends = {index for index, name in enumerate(net) if name in net.return_layers}
    else:
        return None
    sections: list[list[nn.Module]] = [[]]
    for index, module in enumerate(chain):
        sections[-1].append(module)
        if index in ends:
            sections.append([])
    return sections[:-1]  # modules after the last feature are not needed
