"""A network whose graph ONNX cannot express is refused by the operator's name."""

import pytest
import torch
from torch import nn

import pixelwise as pw
from pixelwise.bundles import WorkingScale
from pixelwise.labels import LabelMap
from pixelwise.models.network import SegmentationNetwork
from pixelwise.training.export import export_bundle


class Odd(SegmentationNetwork):
    """One step of somebody's own, and a convolution."""

    def __init__(self, step) -> None:
        super().__init__(num_classes=2)
        self.step = step
        self.classifier = nn.Conv2d(3, 2, 1)

    def forward(self, x):
        return self.classifier(self.step(x))


@torch.library.custom_op("pixelwise_tests::twice", mutates_args=())
def twice(x: torch.Tensor) -> torch.Tensor:
    return x * 2


@twice.register_fake
def _(x):
    return torch.empty_like(x)


@pytest.mark.parametrize(
    ("step", "operator"),
    [
        (lambda x: x * torch.linalg.svdvals(x[:, :, :8, :8]).sum(), "aten._linalg_svd"),
        (twice, "pixelwise_tests.twice"),
    ],
)
def test_an_operator_that_onnx_lacks_is_named(tmp_path, step, operator):
    with pytest.raises(pw.PixelwiseError) as error:
        export_bundle(
            Odd(step),
            tmp_path / "bundle",
            name="odd",
            labels=LabelMap(("a", "b")),
            working=WorkingScale(height=40, width=48),
        )
    assert str(error.value) == (
        f"Odd cannot be exported to ONNX: it uses the operator {operator}, which ONNX does not have; "
        "write that step with other ones"
    )
    assert not list(tmp_path.iterdir())


def test_a_step_that_depends_on_the_pixels_is_one_sentence(tmp_path):
    network = Odd(lambda x: x + 1 if x.sum() > 0 else x)
    with pytest.raises(pw.PixelwiseError, match="Odd cannot be exported to ONNX: .*data-dependent") as error:
        export_bundle(
            network,
            tmp_path / "bundle",
            name="odd",
            labels=LabelMap(("a", "b")),
            working=WorkingScale(height=40, width=48),
        )
    assert "\n" not in str(error.value)
