"""Every engine gives the same classes, on every network.

That the logits of an exported network are torch's at every size and batch is tested with the networks
(``tests/models/base.py``); here it is whole bundles: float16 weights, normalisation, the argmax inside.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from pixelwise import models
from pixelwise.bundles import Bundle, WorkingScale
from pixelwise.errors import UsageError
from pixelwise.inference.engines import create_engine
from pixelwise.labels import LabelMap
from pixelwise.models.network import SegmentationNetwork
from pixelwise.training.export import export_bundle
from tests.conftest import draw_shapes
from tests.models import test_networks
from tests.models.base import NetworkTests

LABELS = LabelMap(("sky", "road", "car", "tree"))
ENGINES = ("torch", "onnxruntime", "openvino")
SIZES = {2: [(64, 80), (67, 93)], 3: [(16, 20, 24), (19, 17, 21)]}
# Sums of n products in float32 are off by up to n * 2**-24 of what was added; n is a few hundred to a few
# thousand here, and rounding that goes both ways makes less of it. Engines add in different orders.
ROUNDING = 1e-4
"""The largest difference between two engines' logits, relative to the largest logit."""


def network_tests(task: str) -> list[type[NetworkTests]]:
    """One entry for each architecture: its practical variant, as small as the tests of networks make it."""
    chosen: dict[str, type[NetworkTests]] = {}
    for tests in NetworkTests.__subclasses__():
        if tests.__module__ == test_networks.__name__ and (tests.axes == 2) == (task == "image"):
            chosen.setdefault(tests.name, tests)  # the default variant comes first
    return list(chosen.values())


def pictures(axes: int, size: tuple[int, ...]) -> np.ndarray:
    """Two images with shapes, or two volumes of smooth noise."""
    if axes == 2:
        return np.stack([draw_shapes(seed, size)[0] for seed in (3, 4)])
    coarse = np.random.default_rng(0).uniform(0, 255, (2, 3, *(side // 4 + 1 for side in size)))
    fine = torch.nn.functional.interpolate(torch.from_numpy(coarse), size=size, mode="trilinear")
    return np.ascontiguousarray(fine.movedim(1, -1).numpy(), np.float32)


def small(tests: type[NetworkTests]) -> SegmentationNetwork:
    """The network of its tests, with four classes and the smallest encoder."""

    class Small(tests):  # type: ignore[misc, valid-type]
        options = tests.options or test_networks.TINY

        def create(self, num_classes: int = len(LABELS), **options: object) -> SegmentationNetwork:
            return super().create(num_classes, **options)

    return Small().build()


@torch.no_grad()
def calibrate(network: SegmentationNetwork) -> None:
    """Make random weights speak: statistics that fit what they see, and no class that always wins."""
    mean, std = (torch.tensor(value).view(1, -1, *[1] * network.axes) for value in network.preprocessing)
    seen = torch.from_numpy(pictures(network.axes, SIZES[network.axes][0])).movedim(-1, 1).float()
    seen = (seen - mean) / std
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean of what was seen
        norm.train()
    network(seen)
    network.eval()
    for norm in norms:  # what hardly varied (an image pooled to one pixel) would be blown up to noise
        norm.running_var.copy_(torch.maximum(norm.running_var, 0.01 * norm.running_mean**2 + 1e-3))
    logits = network(seen)
    last = [
        m for m in network.modules() if getattr(m, "out_channels", 0) == len(LABELS) and m.bias is not None
    ]
    if last:
        last[-1].bias -= logits.mean(dim=[0, *range(2, logits.ndim)])


@pytest.fixture(
    scope="module", params=[*network_tests("image"), *network_tests("volume")], ids=lambda t: t.name
)
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of one architecture, exported once for all tests of it."""

    network = small(request.param)
    calibrate(network)
    sides = (64, 80) if network.axes == 2 else (16, 20)
    return export_bundle(
        network,
        tmp_path_factory.mktemp("engines") / "bundle",
        name=request.param.name,
        labels=LABELS,
        working=WorkingScale(height=sides[0], width=sides[1]),
    )


def answers(bundle: Bundle, engine: str, precision: str = "fp32") -> list[tuple[np.ndarray, np.ndarray]]:
    """(labels, logits) at every size."""
    runner = create_engine(bundle, engine, precision, "cpu")
    axes = 2 if bundle.manifest.task == "image" else 3
    images = [pictures(axes, size) for size in SIZES[axes]]
    return [(runner.run(image, "labels"), runner.run(image, "logits")) for image in images]


def gaps(logits: np.ndarray) -> np.ndarray:
    """How far the best class is ahead of the second, at each pixel."""
    second, first = np.sort(logits, axis=1)[:, -2:].swapaxes(0, 1)
    return first - second


def test_every_architecture_is_here() -> None:
    listed = {row["name"] for row in models.list() if row["task"] in ("image", "volume")}
    assert {tests.name for task in ("image", "volume") for tests in network_tests(task)} >= listed


def test_every_engine_gives_the_same_classes(bundle: Bundle) -> None:
    reference = answers(bundle, "torch")
    for engine in ENGINES:
        for (labels, logits), (expected, exact) in zip(answers(bundle, engine), reference, strict=True):
            rounding = ROUNDING * np.abs(exact).max()
            np.testing.assert_allclose(logits, exact, rtol=0, atol=rounding, err_msg=engine)
            # Two classes change places only if both are off by up to the rounding, towards each other.
            clear = gaps(exact) > 2 * rounding
            np.testing.assert_array_equal(labels[clear], expected[clear], err_msg=engine)
            assert clear.mean() > 0.98, "a network that says nothing tests nothing"
            assert len(np.unique(expected)) > 1
            # Whoever gets a tie, an engine's labels are those of its own logits.
            np.testing.assert_array_equal(labels, logits.argmax(axis=1), err_msg=engine)


def test_bfloat16_changes_few_classes(bundle: Bundle) -> None:
    """Random weights leave small gaps: 92 to 99.8 % of the pixels were the same when this was written."""
    try:
        found = answers(bundle, "openvino", "bf16")
    except UsageError as error:
        assert "this CPU has no bfloat16" in str(error)
        return
    for (labels, logits), (expected, _) in zip(found, answers(bundle, "openvino"), strict=True):
        np.testing.assert_array_equal(labels, logits.argmax(axis=1))
        assert (labels == expected).mean() > 0.9
