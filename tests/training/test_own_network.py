"""A network that is none of ours becomes a bundle, too."""

import numpy as np
import pytest
import torch
from torch import nn

import pixelwise as pw
from pixelwise.bundles import WorkingScale
from pixelwise.labels import LabelMap
from pixelwise.models.network import SegmentationNetwork
from pixelwise.training.export import export_bundle


class Brightness(SegmentationNetwork):
    """Dark, middle, bright: one convolution that a reader can check by hand."""

    def __init__(self) -> None:
        super().__init__(num_classes=3)
        self.classifier = nn.Conv2d(3, 3, 1)
        with torch.no_grad():
            self.classifier.weight.copy_(torch.tensor([-1.0, 0.0, 1.0]).view(3, 1, 1, 1).expand(3, 3, 1, 1))
            self.classifier.bias.copy_(torch.tensor([-1.0, 0.0, -1.0]))

    def forward(self, x):
        return self.classifier(x)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return export_bundle(
        Brightness(),
        tmp_path_factory.mktemp("own") / "bundle",
        name="brightness",
        labels=LabelMap(["dark", "middle", "bright"]),
        working=WorkingScale(height=40, width=48),
    )


def test_it_predicts_what_the_network_says(bundle):
    assert bundle.manifest.architecture == "Brightness"
    image = np.full((40, 48, 3), 20, np.uint8)
    image[10:20], image[20:] = 120, 240
    for engine in ("openvino", "onnxruntime"):
        mask = pw.load(bundle.path, engine=engine, precision="fp32").predict(image).mask
        assert [np.unique(part).tolist() for part in (mask[:10], mask[10:20], mask[20:])] == [[0], [1], [2]]


def test_its_parity_is_measured_against_itself(bundle):
    assert bundle.manifest.parity.keys() == {"openvino", "onnxruntime", "largest_logit"}
    assert bundle.manifest.parity["openvino"] < 1e-4


def test_torch_cannot_rebuild_it(bundle):
    with pytest.raises(pw.UsageError, match="Brightness"):
        pw.load(bundle.path, engine="torch")
