"""Facts of the DeepLab v1 paper and its published net."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from pixelwise import models
from pixelwise.models.encoders.vgg import DeepLabVGG16
from pixelwise.models.image.blocks import FieldOfView
from pixelwise.models.layers import interpolate_grid


@pytest.mark.parametrize(
    ("field_of_view", "parameters"), [("large", 20_505_429), ("7x7", 134_346_581), ("4x4", 65_140_565)]
)
def test_parameter_counts(field_of_view: str, parameters: int) -> None:
    with torch.device("meta"):
        network = models.create("deeplabv1", 21, variant="paper", field_of_view=field_of_view).eval()
        assert network(torch.empty(1, 3, 65, 97)).shape == (1, 21, 65, 97)
    assert sum(p.numel() for p in network.parameters()) == parameters


def test_the_published_map_sizes() -> None:
    with torch.device("meta"):
        levels = DeepLabVGG16()(torch.empty(1, 3, 321, 321))
    assert [level.shape[-1] for level in levels] == [161, 81, 41, 41, 41]


def test_the_published_layers() -> None:
    with torch.device("meta"):
        network = models.create("deeplabv1", 21, variant="paper")
    pools = [m for m in network.encoder.modules() if isinstance(m, nn.MaxPool2d)]
    assert [(p.kernel_size, p.stride, p.padding) for p in pools] == [(3, 2, 1)] * 3 + [(3, 1, 1)] * 2
    dilations = [m.dilation[0] for m in network.encoder.modules() if isinstance(m, nn.Conv2d)]
    assert dilations == [1] * 10 + [2] * 3
    fc6, fc7, fc8 = (m for m in network.classifier if isinstance(m, nn.Conv2d))
    assert (fc6.kernel_size, fc6.dilation, fc6.out_channels) == ((3, 3), (12, 12), 1024)
    assert (fc7.kernel_size, fc8.kernel_size, fc8.out_channels) == ((1, 1), (1, 1), 21)
    assert [m.p for m in network.classifier if isinstance(m, nn.Dropout)] == [0.5, 0.5]
    assert network.loss_stride == 8


@pytest.mark.parametrize("size", [33, 65, 321])
def test_grid_sizes_round_trip_through_interp(size: int) -> None:
    grid = torch.randn(1, 2, (size - 1) // 8 + 1, (size - 1) // 8 + 1)
    full = interpolate_grid(grid, 8, (size, size))
    assert full.shape[-2:] == (size, size)
    torch.testing.assert_close(full[..., ::8, ::8], grid)


@pytest.mark.parametrize("size", [(32, 40), (33, 47), (70, 35)])
@torch.no_grad()
def test_logits_at_every_eighth_pixel_are_those_of_the_map(size: tuple[int, int]) -> None:
    """What loss_stride relies on, for images of any size."""
    network = models.create("deeplabv1", 3, variant="paper", width=0.125).eval()
    features = {"image": torch.randn(1, 3, *size)}
    for stage in network.stages():
        features = stage.run(features)
    scores = network.classifier(network.average(features["level5"]))
    sampled = features["logits"][..., ::8, ::8]
    torch.testing.assert_close(sampled, scores[..., : sampled.shape[2], : sampled.shape[3]])


def test_fully_connected_layers_are_thinned_out(tmp_path: Path) -> None:
    fc6, fc7 = torch.randn(64, 8 * 49), torch.randn(64, 64)
    bias = torch.arange(64.0)
    save_file(
        {
            "classifier.0.weight": fc6,
            "classifier.0.bias": bias,
            "classifier.3.weight": fc7,
            "classifier.3.bias": bias.clone(),
        },
        tmp_path / "vgg.safetensors",
    )
    head = FieldOfView(8, 16, 3)
    head.load(str(tmp_path / "vgg.safetensors"))
    kernel = fc6.view(64, 8, 7, 7)
    assert torch.equal(head[0].weight[0], kernel[0][:, [0, 3, 6]][:, :, [0, 3, 6]])
    assert torch.equal(head[0].weight[-1], kernel[-1][:, [0, 3, 6]][:, :, [0, 3, 6]])
    assert torch.equal(head[3].weight[0, [0, -1], 0, 0], fc7[0, [0, -1]])
    assert head[0].bias[-1] == 63
