"""Facts of the DeepLab v2 paper and its published nets."""

from __future__ import annotations

import pytest
import torch

from pixelwise import models
from pixelwise.models.encoders.resnet import PaperResNet
from pixelwise.models.network import TrainingOutput


@pytest.mark.parametrize(("encoder", "parameters"), [("resnet101", 44_048_532), ("vgg16", 37_877_652)])
def test_parameter_counts(encoder: str, parameters: int) -> None:
    with torch.device("meta"):
        network = models.create("deeplabv2", 21, variant="paper", encoder=encoder)
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert network.loss_stride == 8


def _thin(**options: object) -> torch.nn.Module:
    torch.manual_seed(0)
    options = {"encoder": "vgg16", "width": 0.125, **options}
    return models.create("deeplabv2", 3, variant="paper", **options).eval()


@torch.no_grad()
def test_logits_are_the_sum_of_independent_branches() -> None:
    network = _thin(scales=[1])
    deep = network.encoder(torch.randn(1, 3, 65, 65))[-1]
    expected = sum(branch(deep) for branch in network.aspp.branches)
    torch.testing.assert_close(network.aspp(deep), expected)
    rates = [branch[0].dilation[0] for branch in network.aspp.branches]
    assert rates == [6, 12, 18, 24]


@torch.no_grad()
def test_the_resnets_branches_are_plain_convolutions_with_bias() -> None:
    with torch.device("meta"):
        network = models.create("deeplabv2", 21, variant="paper")
    for branch, rate in zip(network.aspp.branches, (6, 12, 18, 24), strict=True):
        assert (branch.in_channels, branch.out_channels, branch.kernel_size) == (2048, 21, (3, 3))
        assert branch.dilation == branch.padding == (rate, rate)
        assert branch.bias is not None


@torch.no_grad()
def test_scales_are_fused_by_the_maximum() -> None:
    network = _thin()
    image = torch.randn(1, 3, 97, 129)
    features = {"image": image}
    for stage in network.stages():
        features = stage.run(features)
    assert [tuple(features[f"grid@{i}"].shape[-2:]) for i in range(3)] == [(97, 129), (73, 97), (49, 65)]
    single = _thin(scales=[1])
    scores = []
    for index in range(3):
        alone = single.aspp(single.encoder(features[f"grid@{index}"])[-1])
        torch.testing.assert_close(features[f"scores@{index}"], alone)
        size = features["scores@0"].shape[-2:]
        scores.append(torch.nn.functional.interpolate(alone, size, mode="bilinear", align_corners=True))
    fused = torch.stack(scores).max(dim=0).values
    torch.testing.assert_close(features["logits"][..., ::8, ::8], fused)


def test_the_published_scales_of_a_321_crop() -> None:
    with torch.device("meta"):
        network = models.create("deeplabv2", 2, variant="paper", encoder="vgg16")
        features = network.stages()[0].run({"image": torch.empty(1, 3, 321, 321)})
    assert [features[f"grid@{i}"].shape[-1] for i in range(3)] == [321, 241, 161]


def test_every_scale_has_a_loss_in_training() -> None:
    network = _thin().train()
    output = network(torch.randn(1, 3, 65, 65))
    assert isinstance(output, TrainingOutput)
    assert len(output.auxiliary) == 3
    assert network.auxiliary_weight == 1.0
    assert isinstance(_thin(scales=[1]).train()(torch.randn(1, 3, 65, 65)), torch.Tensor)


def test_every_unit_is_dilated_unless_told_otherwise() -> None:
    def rates(encoder: PaperResNet) -> list[list[int]]:
        return [[unit.conv2.dilation[0] for unit in encoder.net[block]] for block in ("layer3", "layer4")]

    with torch.device("meta"):
        caffe = PaperResNet("resnet50", output_stride=8, caffe=True)
        exact = PaperResNet("resnet50", output_stride=8)
    assert rates(caffe) == [[2] * 6, [4] * 3]
    assert rates(exact) == [[1, *[2] * 5], [2, 4, 4]]
    first = caffe.net["layer2"][0]
    assert (first.conv1.stride, first.conv2.stride) == ((2, 2), (1, 1))
