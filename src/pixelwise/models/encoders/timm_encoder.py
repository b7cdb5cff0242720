"""Encoders from timm: any convolutional model with ``features_only``, with exact dilation.

Source: https://github.com/huggingface/pytorch-image-models (Apache-2.0), used through its public interface.
With a smaller output stride the features are those of stride 32 computed densely:
OS-8 ``features[..., ::4, ::4]`` equal the OS-32 features.

Departures from timm: TensorFlow-style SAME convolutions are exchanged for an equal layer that exports
with symbolic sizes; plain chains (EfficientNets, MobileNets, ResNets and the like) run level by level.
"""

from __future__ import annotations

from typing import Any

import timm
from timm.models import FeatureListNet
from timm.models.efficientnet import EfficientNetFeatures
from timm.models.mobilenetv3 import MobileNetV3Features
from torch import Tensor, nn

from pixelwise.errors import UsageError, unknown_name
from pixelwise.models.encoders.base import Encoder, Features, Preprocessing, Stage
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
        self.reductions = tuple(self.net.feature_info.reduction())
        scale = Preprocessing(
            tuple(255.0 * value for value in config["mean"]), tuple(255.0 * value for value in config["std"])
        )
        self.preprocessing = scale.for_channels(in_channels)

    def stages(self) -> tuple[Stage, ...]:  # noqa: D102
        sections = _sections(self.net)
        if sections is None:
            return (Stage("encoder", self._run_whole),)
        return tuple(_section_stage(index, section) for index, section in enumerate(sections))

    def _run_whole(self, features: Features) -> Features:
        levels = self.net(features["image"])
        return {**features, **{f"level{i + 1}": level for i, level in enumerate(levels)}}


def _create(name: str, in_channels: int, output_stride: int, depth: int | None) -> Any:
    if not timm.is_model(name):
        raise unknown_name("encoder", name, timm.list_models())
    options: dict[str, Any] = {} if depth is None else {"out_indices": tuple(range(depth))}
    if output_stride != 32:
        options["output_stride"] = output_stride
    try:
        return timm.create_model(name, features_only=True, pretrained=False, in_chans=in_channels, **options)
    except (AssertionError, NotImplementedError, RuntimeError, TypeError, IndexError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(
            f"encoder '{name}' cannot give {depth or 'all'} features at output stride {output_stride} "
            f"({reason}): choose another encoder or stride"
        ) from None


def _section_stage(index: int, section: list[nn.Module]) -> Stage:
    """The stage that computes level ``index + 1`` from the one before by a chain of modules."""
    source, target = f"level{index}" if index else "image", f"level{index + 1}"

    def run(features: Features) -> Features:
        x: Tensor = features[source]
        for module in section:
            x = module(x)
        return {**features, target: x}

    return Stage(target, run)


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
