"""Facts of the DeepLab v3 paper, and torchvision's network with its own weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from pixelwise import models
from pixelwise.errors import DataError


def _count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_papers_head_has_no_further_convolution() -> None:
    with torch.device("meta"):
        paper = models.create("deeplabv3", 21, variant="paper", encoder="resnet50")
        theirs = models.create(
            "deeplabv3", 21, variant="torchvision", encoder="resnet50", auxiliary_head=False
        )
    assert _count(paper) == 39_048_533
    assert _count(theirs) - _count(paper) == 589_824 + 2 * 256
    assert paper.aspp.dropout.p == 0.1


@pytest.mark.parametrize(
    ("encoder", "with_head", "without"),
    [
        ("resnet50", 42_004_074, 39_638_869),
        ("resnet101", 60_996_202, 58_630_997),
        ("mobilenet_v3_large", 11_029_328, 11_025_477),
    ],
)
def test_torchvisions_counts(encoder: str, with_head: int, without: int) -> None:
    for auxiliary_head, expected in ((True, with_head), (False, without)):
        with torch.device("meta"):
            network = models.create(
                "deeplabv3", 21, variant="torchvision", encoder=encoder, auxiliary_head=auxiliary_head
            )
        assert _count(network) == expected


@pytest.mark.parametrize(
    ("output_stride", "stage", "rates"), [(16, [2, 4, 8], [6, 12, 18]), (8, [4, 8, 16], [12, 24, 36])]
)
def test_multi_grid_and_rates_follow_the_output_stride(
    output_stride: int, stage: list[int], rates: list[int]
) -> None:
    with torch.device("meta"):
        network = models.create(
            "deeplabv3", 21, variant="paper", encoder="resnet50", output_stride=output_stride
        ).eval()
        deep = network.encoder(torch.empty(1, 3, 513, 513))[-1]
    assert deep.shape[-1] == 512 // output_stride + 1
    assert [unit.conv2.dilation[0] for unit in network.encoder.net["layer4"]] == stage
    convolutions = [m for m in network.aspp.branches.modules() if isinstance(m, nn.Conv2d)]
    assert [c.dilation[0] for c in convolutions if c.kernel_size == (3, 3)] == rates
    assert network.aspp.project[0].in_channels == 1280


TORCHVISION = [
    ("fcn_resnet50", "fcn", "resnet50"),
    ("fcn_resnet101", "fcn", "resnet101"),
    ("deeplabv3_resnet50", "deeplabv3", "resnet50"),
    ("deeplabv3_resnet101", "deeplabv3", "resnet101"),
    ("deeplabv3_mobilenet_v3_large", "deeplabv3", "mobilenet_v3_large"),
]


def _reference(name: str, num_classes: int = 21) -> nn.Module:
    """torchvision's network with random weights and statistics that keep deep activations in range."""
    torch.manual_seed(0)
    build = getattr(torchvision.models.segmentation, name)
    network = build(weights=None, weights_backbone=None, aux_loss=True, num_classes=num_classes)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(1.0, 2.0)
            module.weight.data.uniform_(0.2, 0.6)
            module.bias.data.normal_(0, 0.1)
    return network.eval()


@pytest.mark.parametrize(("name", "arch", "encoder"), TORCHVISION)
@torch.no_grad()
def test_torchvisions_weights_give_torchvisions_logits(
    name: str, arch: str, encoder: str, tmp_path: Path
) -> None:
    reference = _reference(name)
    save_file(reference.state_dict(), tmp_path / "weights.safetensors")
    network = models.create(
        arch, 21, variant="torchvision", encoder=encoder, weights=str(tmp_path / "weights.safetensors")
    ).eval()
    image = torch.randn(1, 3, 65, 97)
    expected = reference(image)
    features = {"image": image}
    for stage in network.stages():
        features = stage.run(features)
    torch.testing.assert_close(features["logits"], expected["out"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(network.auxiliary(features)[0], expected["aux"], rtol=1e-5, atol=1e-5)


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(_reference("deeplabv3_mobilenet_v3_large").state_dict(), path)
    options = {"variant": "torchvision", "weights": str(path)}
    with pytest.raises(
        DataError, match=r"'classifier.4.weight' has shape \(21, 256, 1, 1\) where .* \(5, 256, 1, 1\)"
    ):
        models.create("deeplabv3", 5, encoder="mobilenet_v3_large", **options)
    with pytest.raises(DataError, match="has no tensor 'backbone.conv1.weight'"):
        models.create("deeplabv3", 21, encoder="resnet50", **options)
    without = {k: v for k, v in torch.load(path).items() if not k.startswith("aux_classifier.")}
    torch.save(without, path)
    with pytest.raises(DataError, match="'aux_classifier.0.weight'.*auxiliary_head=False"):
        models.create("deeplabv3", 21, encoder="mobilenet_v3_large", **options)
    models.create("deeplabv3", 21, encoder="mobilenet_v3_large", auxiliary_head=False, **options)


def test_an_imagenet_encoder_of_torchvision_loads(tmp_path: Path) -> None:
    path = tmp_path / "encoder.safetensors"
    source = torchvision.models.mobilenet_v3_large(weights=None)
    save_file(source.state_dict(), path)
    network = models.create(
        "deeplabv3", 2, variant="torchvision", encoder="mobilenet_v3_large", weights=str(path)
    )
    assert torch.equal(network.encoder.net["0"][0].weight, source.features[0][0].weight)
