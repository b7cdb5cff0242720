"""What every network must do: one class of tests, inherited in three lines per network and variant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pixelwise import models
from pixelwise.errors import UsageError
from pixelwise.models.network import SegmentationNetwork, TrainingOutput, out_of_place

# By number of axes: images and volumes.
SIZES = {2: [(32, 32), (33, 47), (64, 96)], 3: [(8, 8, 8), (9, 14, 11), (16, 24, 16)]}
SIZE = {2: (40, 72), 3: (10, 16, 18)}
LARGE = {2: (64, 96), 3: (16, 24, 32)}
ONNX_SIZES = {
    2: [(1, (32, 32)), (2, (33, 47)), (1, (71, 64))],
    3: [(1, (8, 8, 8)), (2, (9, 14, 11)), (1, (17, 16, 9))],
}
TOO_SMALL = {2: ((31, 40), "32x32 pixels, not 40x31"), 3: ((8, 7, 9), "8x8x8 voxels, not 8x7x9")}


class NetworkTests:
    """Inherit, set ``name`` and, where they differ, the rest."""

    name: ClassVar[str]
    variant: ClassVar[str] = "default"
    options: ClassVar[dict[str, Any]] = {}
    axes: ClassVar[int] = 2
    """2 for networks that take images, 3 for those that take volumes."""
    starts_at_zero: ClassVar[tuple[str, ...]] = ()
    """Prefixes of parameters that the paper starts at zero: made random where their effect is tested."""

    def create(self, num_classes: int = 3, in_channels: int = 3, **options: Any) -> SegmentationNetwork:
        return models.create(
            self.name, num_classes, in_channels, variant=self.variant, **{**self.options, **options}
        )

    def build(self) -> SegmentationNetwork:
        """The network that the tests of a class share, in eval mode; a test that changes it restores it."""
        torch.manual_seed(0)
        network = self.create()
        for name, parameter in network.named_parameters():
            if name.startswith(self.starts_at_zero):
                assert not parameter.any()
                nn.init.normal_(parameter, std=0.01)
        return network.eval()

    @torch.no_grad()
    def test_logits_have_the_size_of_the_image(self, network: SegmentationNetwork) -> None:
        assert network.axes == self.axes
        for size in SIZES[self.axes]:
            logits = network(_images(2, *size))
            assert type(logits) is Tensor
            assert logits.shape == (2, 3, *size)
            assert logits.isfinite().all()

    @pytest.mark.parametrize(("num_classes", "in_channels"), [(1, 1), (2, 3), (21, 5)])
    def test_any_number_of_classes_and_channels(self, num_classes: int, in_channels: int) -> None:
        with torch.device("meta"):
            network = self.create(num_classes, in_channels, multilabel=num_classes == 2).eval()
            size = SIZE[self.axes]
            assert network(torch.empty(1, in_channels, *size)).shape == (1, num_classes, *size)
        assert network.num_classes == num_classes
        assert network.in_channels == in_channels
        assert network.multilabel == (num_classes == 2)
        assert len(network.preprocessing.mean) == len(network.preprocessing.std) == in_channels

    def test_smaller_images_are_refused(self, network: SegmentationNetwork) -> None:
        size, message = TOO_SMALL[self.axes]
        with pytest.raises(UsageError, match=f"at least {message}"):
            network(torch.zeros(1, 3, *size))

    def test_trains_on_a_batch_of_one(self, network: SegmentationNetwork) -> None:
        state = {name: value.clone() for name, value in network.state_dict().items()}
        network.train()
        try:
            heads = _heads(network(_images(1, *LARGE[self.axes])))
            assert all(head.isfinite().all() for head in heads)
        finally:
            network.load_state_dict(state)
            network.eval()

    def test_gradient_reaches_every_parameter(self, network: SegmentationNetwork) -> None:
        state = {name: value.clone() for name, value in network.state_dict().items()}
        network.train()
        try:
            heads = _heads(network(_images(3, *SIZE[self.axes])))
            torch.stack([head.square().mean() for head in heads]).sum().backward()
            without = [
                name
                for name, parameter in network.named_parameters()
                if parameter.grad is None or not parameter.grad.any()
            ]
            assert without == []
        finally:
            network.zero_grad(set_to_none=True)
            network.load_state_dict(state)
            network.eval()

    def test_parameters_are_of_encoder_or_head(self, network: SegmentationNetwork) -> None:
        encoder, head = list(network.encoder_parameters()), list(network.head_parameters())
        assert {id(p) for p in encoder} | {id(p) for p in head} == {id(p) for p in network.parameters()}
        assert len(encoder) + len(head) == len(list(network.parameters()))

    @torch.no_grad()
    def test_stages_make_the_forward_pass_and_change_nothing_in_place(
        self, network: SegmentationNetwork
    ) -> None:
        image = _images(2, *SIZE[self.axes])
        features, copies = {"image": image}, {"image": image.clone()}
        stages = network.stages()
        assert len({stage.name for stage in stages}) == len(stages)
        for stage in stages:
            given = dict(features)
            features = stage.run(features)
            assert all(features[name] is value for name, value in given.items())
            copies |= {name: value.clone() for name, value in features.items() if name not in copies}
        assert torch.equal(features["logits"], network(image))
        assert all(torch.equal(features[name], copy) for name, copy in copies.items())

    @torch.no_grad()
    def test_deep_features_may_be_those_of_an_earlier_frame(self, network: SegmentationNetwork) -> None:
        first, second = _images(1, *SIZE[self.axes]), _images(1, *SIZE[self.axes]).flip(-1)
        old = {"image": first}
        for stage in network.stages():
            old = stage.run(old)
        shallow, *_, last = network.stages()
        mixed = last.run(shallow.run({**old, "image": second}))
        assert mixed["logits"].shape == old["logits"].shape
        assert torch.equal(old["logits"], network(first))

    @torch.no_grad()
    def test_channels_last_gives_the_same(self, network: SegmentationNetwork) -> None:
        image = _images(2, *SIZE[self.axes])
        expected = network(image)
        last = {2: torch.channels_last, 3: torch.channels_last_3d}[self.axes]
        network.to(memory_format=last)
        try:
            found = network(image.to(memory_format=last))
        finally:
            network.to(memory_format=torch.contiguous_format)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())

    @torch.no_grad()
    def test_repeats_itself(self, network: SegmentationNetwork) -> None:
        image = _images(2, *SIZE[self.axes])
        assert torch.equal(network(image), network(image))

    @torch.no_grad()
    def test_arguments_and_weights_rebuild_it(self, network: SegmentationNetwork, tmp_path: Path) -> None:
        save_file(network.state_dict(), tmp_path / "model.safetensors")
        rebuilt = models.create(**json.loads(json.dumps(network.arguments))).eval()
        rebuilt.load_state_dict(load_file(tmp_path / "model.safetensors"))
        image = _images(1, *SIZE[self.axes])
        assert torch.equal(rebuilt(image), network(image))
        assert rebuilt.arguments == network.arguments
        assert "weights" not in rebuilt.arguments

    @torch.no_grad()
    def test_onnx_gives_the_same_at_every_size(self, network: SegmentationNetwork, tmp_path: Path) -> None:
        run = export(network, tmp_path / "graph.onnx")
        for batch, size in ONNX_SIZES[self.axes]:
            image = _images(batch, *size)
            expected = network(image).numpy()
            np.testing.assert_allclose(run(image), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def _heads(output: Tensor | TrainingOutput) -> list[Tensor]:
    """The logits of a network in training, and those of its auxiliary heads."""
    return [output] if isinstance(output, Tensor) else [output.logits, *output.auxiliary]


def _images(batch: int, *size: int) -> Tensor:
    generator = torch.Generator().manual_seed(size[-2] * size[-1])
    return torch.randn(batch, 3, *size, generator=generator)


def export(network: SegmentationNetwork, path: Path) -> Any:
    """Export with free batch and sides; return what runs the graph on a tensor."""
    sides = ("depth", "height", "width")[-network.axes :]
    # One more than the smallest, whose deepest map may be one pixel, of which torch makes a special case.
    dimensions = {
        0: torch.export.Dim("batch", min=1),
        **{i: torch.export.Dim(side, min=network.min_size + 1) for i, side in enumerate(sides, start=2)},
    }
    example = _images(2, *{2: (64, 80), 3: (16, 20, 24)}[network.axes])
    with out_of_place(network):
        program = torch.export.export(network, (example,), dynamic_shapes=(dimensions,))
        graph = torch.onnx.export(program, (example,), dynamo=True, optimize=False, verbose=False)
    assert graph is not None
    graph.save(path, external_data=True)
    session = onnxruntime.InferenceSession(path)
    name = session.get_inputs()[0].name
    return lambda image: session.run(None, {name: image.numpy()})[0]
