"""Facts of the FCN paper and its reference code."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from pixelwise import models
from pixelwise.errors import UsageError
from pixelwise.models.image.fcn import PaperFCN, convolutionalise
from pixelwise.models.layers import BilinearDeconvolution

NETS = ["fcn32s", "fcn16s", "fcn8s"]


def _paper(name: str, num_classes: int = 3, **options: object) -> PaperFCN:
    network = models.create(name, num_classes, variant="paper", **{"width": 0.125, **options})
    assert isinstance(network, PaperFCN)
    return network.eval()


def _count(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("name", "fixed", "learned"),
    [
        ("fcn32s", 134_346_581, 136_152_917),
        ("fcn16s", 134_357_354, 134_815_994),
        ("fcn8s", 134_362_751, 134_489_759),
    ],
)
def test_parameter_counts(name: str, fixed: int, learned: int) -> None:
    with torch.device("meta"):
        assert _count(_paper(name, 21, width=1)) == fixed
        assert _count(_paper(name, 21, width=1, learn_upsampling=True)) == learned


@pytest.mark.parametrize("name", NETS)
def test_scores_start_at_zero_and_preprocessing_is_caffes(name: str) -> None:
    network = _paper(name)
    assert all(not parameter.any() for parameter in network.scores.parameters())
    assert network.preprocessing.mean == (122.67892, 116.66877, 104.00699)
    assert network.preprocessing.std == (1.0, 1.0, 1.0)


def test_the_published_offsets() -> None:
    nets = [_paper(name) for name in NETS]
    assert [net.offset for net in nets] == [19, 27, 31]
    assert [skip.offset for skip in nets[2].skips] == [5, 9]
    assert [skip.scale for skip in nets[2].skips] == [0.01, 0.0001]


@pytest.mark.parametrize("name", NETS)
def test_the_offsets_align_the_centres_of_pixels(name: str) -> None:
    """Follow where the centre of pixel 0 lies in the image, and how far apart pixels are, layer by layer."""
    network = _paper(name)
    start, step, levels = 0.0, 1, {}
    for level, block in enumerate(network.encoder.blocks, start=1):
        for layer in block:
            if isinstance(layer, nn.Conv2d):
                start += step * ((layer.kernel_size[0] - 1) / 2 - layer.padding[0])
        start, step = start + step / 2, 2 * step  # a pool
        levels[level] = start, step
    start += step * (network.encoder.fc6.kernel_size[0] - 1) / 2
    for skip in network.skips:
        start, step = start - step / 2 * 1.5, step // 2  # a deconvolution with kernel 4, stride 2
        skip_start, skip_step = levels[skip.level]
        assert skip_step == step
        assert skip_start + skip_step * skip.offset == start
    kernel = 2 * network.stride
    assert step == network.stride
    assert start - (kernel - 1) / 2 + network.offset == 0


@pytest.mark.parametrize("name", NETS)
def test_every_size_fits_its_crops(name: str) -> None:
    with torch.device("meta"):
        network = _paper(name, width=0.02)
        for size in range(32, 100):
            assert network(torch.empty(1, 3, size, 131 - size)).shape[-2:] == (size, 131 - size)


@pytest.mark.parametrize(("kernel", "stride"), [(4, 2), (16, 8), (32, 16), (64, 32)])
def test_deconvolution_starts_bilinear_on_the_diagonal(kernel: int, stride: int) -> None:
    learned = BilinearDeconvolution(3, kernel, stride, learned=True)
    off_diagonal = ~torch.eye(3, dtype=torch.bool)
    assert not learned.weight[off_diagonal].any()
    assert learned.weight[~off_diagonal].min() > 0
    fixed = BilinearDeconvolution(3, kernel, stride, learned=False)
    assert list(fixed.parameters()) == []
    x = torch.randn(1, 3, 5, 6)
    torch.testing.assert_close(fixed(x), learned(x))
    constant = fixed(torch.ones(1, 3, 5, 5))
    inner = constant[..., kernel // 2 : -kernel // 2, kernel // 2 : -kernel // 2]
    torch.testing.assert_close(inner, torch.ones_like(inner))


@torch.no_grad()
def test_scaling_exists_only_at_once() -> None:
    torch.manual_seed(0)
    staged, at_once = _paper("fcn16s"), _paper("fcn16s", at_once=True)
    torch.nn.init.normal_(staged.scores["score_pool4"].weight)
    at_once.load_state_dict(staged.state_dict())
    image = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(at_once(image), staged(image) * 0.01)


@torch.no_grad()
def test_stages_continue_from_the_coarser_net() -> None:
    torch.manual_seed(0)
    coarse, middle, fine = (_paper(name, learn_upsampling=True) for name in NETS)
    torch.nn.init.normal_(coarse.scores["score_fr"].weight)
    middle.load_stage(coarse.state_dict())
    assert torch.equal(middle.scores["score_fr"].weight, coarse.scores["score_fr"].weight)
    assert torch.equal(middle.encoder.fc6.weight, coarse.encoder.fc6.weight)
    assert not middle.scores["score_pool4"].weight.any()
    torch.nn.init.normal_(middle.scores["score_pool4"].weight)
    torch.nn.init.normal_(middle.upscores["upscore2"].weight)
    fine.load_stage(middle.state_dict())
    assert torch.equal(fine.scores["score_pool4"].weight, middle.scores["score_pool4"].weight)
    assert torch.equal(fine.upscores["upscore2"].weight, middle.upscores["upscore2"].weight)
    assert not fine.scores["score_pool3"].weight.any()


def test_another_networks_weights_are_no_stage() -> None:
    with pytest.raises(UsageError, match="pass that of a coarser FCN"):
        _paper("fcn8s").load_stage(_paper("fcn16s", num_classes=4).state_dict())
    with pytest.raises(UsageError, match="pass that of a coarser FCN"):
        _paper("fcn8s").load_stage({})


@torch.no_grad()
def test_default_variant_sums_the_scores_of_its_strides() -> None:
    network = models.create("fcn8s", 2, encoder="test_efficientnet").eval()
    image = torch.randn(1, 3, 64, 64)
    features = network.encoder(image)
    deep, middle, shallow = (
        score(features[network.encoder.level(stride)])
        for score, stride in zip(network.scores, (32, 16, 8), strict=True)
    )
    up = torch.nn.functional.interpolate
    total = up(deep, size=middle.shape[-2:], mode="bilinear") + middle
    total = up(total, size=shallow.shape[-2:], mode="bilinear") + shallow
    torch.testing.assert_close(network(image), up(total, size=(64, 64), mode="bilinear"))


@torch.no_grad()
def test_a_classifier_turned_convolutional_gives_its_logits_and_a_heat_map() -> None:
    torch.manual_seed(0)
    classifier = torchvision.models.vgg11(weights=None, num_classes=10).eval()
    heat = convolutionalise(classifier)
    image = torch.randn(1, 3, 224, 224)
    expected = classifier(image)
    torch.testing.assert_close(heat(image)[..., 0, 0], expected, rtol=1e-4, atol=1e-5)
    larger = torch.zeros(1, 3, 256, 320)
    larger[..., :224, 96:] = image  # three strides to the right
    found = heat(larger)
    assert found.shape == (1, 10, 2, 4)
    torch.testing.assert_close(
        heat(larger[..., 32:256, 64:288])[..., 0, 0],
        classifier(larger[..., 32:256, 64:288]),
        rtol=1e-4,
        atol=1e-5,
    )


def test_only_classifiers_with_dense_layers_turn_convolutional() -> None:
    with pytest.raises(UsageError, match="ResNet has no 'features' and 'classifier'"):
        convolutionalise(torchvision.models.resnet18(weights=None))
