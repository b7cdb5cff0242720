"""From a trained network to a bundle: weights once as float16, a graph that points into them."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from pixelwise.bundles import Bundle, Manifest, WorkingScale, update_manifest, write_bundle
from pixelwise.bundles.bundle import WEIGHTS, save_weights, weight_offsets
from pixelwise.errors import PixelwiseError
from pixelwise.inference.engines import ENGINES, Engine, create_engine
from pixelwise.labels import LabelMap
from pixelwise.models import ARCHITECTURES
from pixelwise.models.network import SegmentationNetwork, out_of_place

_TOLERANCE = 1e-3
"""Largest difference between engines in fp32, relative to the largest logit."""


class ExportGraph(nn.Module):
    """What a bundle's graph computes: B×H×W×C uint8 pixels to ``logits`` and ``labels``.

    Normalisation and the argmax are inside, so that no engine can get them wrong and only one small
    plane has to leave it. Volumes are B×X×Y×Z×C float32, and their intensity window is inside, too.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        network: SegmentationNetwork,
        label_type: torch.dtype,
        window: tuple[float, float] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.label_type = label_type
        self.window = window
        mean, std = network.preprocessing
        shape = (1, -1, *(1 for _ in range(network.axes)))
        self.register_buffer(
            "pixel_mean", torch.tensor(mean, dtype=torch.float32).view(shape), persistent=False
        )
        self.register_buffer(
            "pixel_std", torch.tensor(std, dtype=torch.float32).view(shape), persistent=False
        )

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Logits B×K×H×W float32 and labels: B×H×W, or B×K×H×W of 0/1 when multilabel."""
        pixels = image.movedim(-1, 1).float()
        if self.window is not None:
            low, high = self.window
            pixels = ((pixels - low) * (255 / (high - low))).clamp(0, 255)
        logits = self.network((pixels - self.pixel_mean) / self.pixel_std)
        if self.network.multilabel:
            labels = logits > 0
        elif self.network.num_classes == 1:
            labels = logits[:, 0] > 0
        else:
            labels = logits.argmax(dim=1)
        return logits, labels.to(self.label_type)


def export_bundle(
    network: SegmentationNetwork,
    path: str | Path,
    *,
    name: str,
    labels: LabelMap,
    working: WorkingScale,
    window: tuple[float, float] | None = None,
    trained_on: dict[str, Any] | None = None,
    licence: str = "",
) -> Bundle:
    """Write a bundle and measure that every installed engine gives the same logits.

    The network's weights are rounded to float16 first (float32 is kept for tensors that float16 cannot
    hold), and the rounded values are what every engine, torch included, computes with. A network of your own,
    any subclass of :class:`SegmentationNetwork`, is exported as well; only the engine torch cannot run it.

    Raises
    ------
    PixelwiseError
        The network uses an operator that ONNX cannot express (it is named).
    """
    network = network.eval().cpu()
    weights = half_weights(network)
    network.load_state_dict(
        {key: torch.from_numpy(value.copy()) for key, value in weights.items()}, strict=False
    )
    label_type = torch.uint8 if labels.dtype is np.uint8 else torch.int32
    graph_module = ExportGraph(network, label_type, window).eval()
    model = _to_onnx(graph_module)
    graph = _point_into_weights(model, weights)
    mean, std = network.preprocessing
    manifest = Manifest(
        name=name,
        task="image" if network.axes == 2 else "volume",
        architecture=_architecture(network),
        arguments=network.arguments,
        labels=labels.to_dict(),
        head="multilabel" if network.multilabel else "binary" if network.num_classes == 1 else "softmax",
        in_channels=network.in_channels,
        mean=list(mean),
        std=list(std),
        window=window,
        working=working,
        parameters=sum(p.numel() for p in network.parameters()),
        trained_on=trained_on or {},
        licence=licence,
        pixelwise=version("pixelwise"),
    )
    bundle = write_bundle(path, manifest, graph, weights)
    parity = measure_parity(bundle, graph_module)
    worst = max(difference for engine, difference in parity.items() if engine in ENGINES)
    if worst > _TOLERANCE * max(1.0, parity["largest_logit"]):
        shutil.rmtree(bundle.path)
        raise PixelwiseError(
            f"no bundle was written to {bundle.path}: the engines disagree by {worst:.2g} on logits of "
            f"{parity['largest_logit']:.2g}, so the exported graph of {manifest.architecture} is wrong"
        )
    return update_manifest(bundle, parity=parity)


def measure_parity(bundle: Bundle, network: ExportGraph, seed: int = 0) -> dict[str, float]:
    """The largest difference of each engine's fp32 logits from the network's own, on noise of an odd size."""
    rng, channels = np.random.default_rng(seed), bundle.manifest.in_channels
    if bundle.manifest.task == "volume":
        low, high = bundle.manifest.window or (0.0, 255.0)
        image = rng.uniform(low - 1, high + 1, (1, 19, 27, 22, channels)).astype(np.float32)
    else:
        image = rng.integers(0, 256, (1, 97, 131, channels), np.uint8)
    with torch.inference_mode():
        reference = network(torch.from_numpy(image))[0].numpy()
    differences = {}
    for engine in ENGINES:
        if engine == "torch" and bundle.manifest.architecture not in ARCHITECTURES:
            continue
        found = create_engine(bundle, engine, precision="fp32", device="cpu").run(image, "logits")
        differences[engine] = float(np.abs(found - reference).max())
    differences["largest_logit"] = float(np.abs(reference).max())
    return differences


def record_metrics(bundle: Bundle, evaluation: dict[str, Any], engine: Engine) -> Bundle:
    """Put an evaluation's headline numbers into the bundle's card, with the engine that gave them."""
    metrics = {
        key: evaluation[key] for key in ("mean_iou", "pixel_accuracy", "frequency_weighted_iou", "mean_f1")
    }
    metrics |= {
        "per_class_iou": {name: row["iou"] for name, row in evaluation["per_class"].items()},
        "images": evaluation["images"],
        "data": evaluation["data"],
        "engine": engine.name,
        "precision": engine.precision,
    }
    return update_manifest(bundle, metrics=metrics)


def half_weights(network: nn.Module) -> dict[str, np.ndarray]:
    """The state dict as float16 arrays; tensors whose values float16 cannot hold stay float32."""
    weights = {}
    for name, tensor in network.state_dict().items():
        if not tensor.is_floating_point():
            continue  # num_batches_tracked: nothing at prediction time reads it
        full = tensor.detach().float().cpu().numpy()
        half = full.astype(np.float16)
        # Overflow to inf, and variances that would round to 0 or lose their digits as subnormals.
        tiny = (np.abs(full) < 6.1e-5) & (np.abs(half.astype(np.float32) - full) > 1e-2 * np.abs(full))
        holds = np.isfinite(half).all() and not (name.endswith("running_var") and tiny.any())
        weights[name] = half if holds else full
    return weights


def _architecture(network: SegmentationNetwork) -> str:
    """The name that :func:`pixelwise.models.create` knows; a network made otherwise has its class's."""
    return str(network.arguments.get("name", type(network).__name__))


def _to_onnx(graph: ExportGraph) -> onnx.ModelProto:
    network = graph.network
    if network.axes == 2:
        example = torch.zeros(2, 96, 128, network.in_channels, dtype=torch.uint8)
    else:
        example = torch.zeros(2, 16, 24, 20, network.in_channels)
    sides = ("depth", "height", "width")[-network.axes :]
    # One more than the smallest, see MIN_TRACED_SIZE.
    dimensions = {
        0: torch.export.Dim("batch", min=1, max=4096),
        **{
            axis: torch.export.Dim(side, min=network.min_size + 1, max=32768)
            for axis, side in enumerate(sides, start=1)
        },
    }
    dynamic = {"image": dimensions}
    try:
        with _quiet(), out_of_place(graph.network):
            program = torch.onnx.export(
                graph,
                (example,),
                dynamo=True,
                dynamic_shapes=dynamic,
                input_names=["image"],
                output_names=["logits", "labels"],
                external_data=False,
                optimize=False,
                verbose=False,
            )
    except Exception as error:
        raise PixelwiseError(
            f"{_architecture(graph.network)} cannot be exported to ONNX: {_why_not(error)}"
        ) from error
    assert program is not None
    return program.model_proto


def _why_not(error: BaseException) -> str:
    """One sentence about a failed export: the operator that ONNX lacks, or what else torch says."""
    cause: BaseException | None = error
    while cause is not None:
        if found := re.search(r"No ONNX function found for <OpOverload\(op='([^']+)'", str(cause)):
            return (
                f"it uses the operator {found[1]}, which ONNX does not have; write that step with other ones"
            )
        cause = cause.__cause__
    return str(error.__cause__ or error).strip().splitlines()[0]


def _point_into_weights(model: onnx.ModelProto, weights: dict[str, np.ndarray]) -> bytes:
    """Replace every weight by a reference into the safetensors file, plus a Cast if it is float16."""
    with tempfile.TemporaryDirectory() as folder:
        save_weights(Path(folder) / WEIGHTS, weights)
        offsets = weight_offsets(Path(folder) / WEIGHTS)
    casts = []
    for initializer in model.graph.initializer:
        name = initializer.name.removeprefix("network.")
        if name not in weights:
            continue  # a constant of the graph, a few numbers
        if weights[name].dtype == np.float16:
            casts.append(
                onnx.helper.make_node(
                    "Cast", [f"{initializer.name}:half"], [initializer.name], to=onnx.TensorProto.FLOAT
                )
            )
            initializer.name += ":half"
            initializer.data_type = onnx.TensorProto.FLOAT16
        offset, length = offsets[name]
        initializer.ClearField("raw_data")
        initializer.ClearField("float_data")
        initializer.data_location = onnx.TensorProto.EXTERNAL
        initializer.ClearField("external_data")
        for key, value in (("location", WEIGHTS), ("offset", str(offset)), ("length", str(length))):
            entry = initializer.external_data.add()
            entry.key, entry.value = key, value
    nodes = [*casts, *model.graph.node]
    model.graph.ClearField("node")
    model.graph.node.extend(nodes)
    _strip(model)
    return model.SerializeToString()


def _strip(model: onnx.ModelProto) -> None:
    """Drop what only debuggers read: source locations (with machine paths), value types, metadata."""
    model.graph.ClearField("value_info")
    model.ClearField("metadata_props")
    model.graph.ClearField("metadata_props")
    for value in [*model.graph.input, *model.graph.output]:
        value.ClearField("metadata_props")
    for node in model.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    for function in model.functions:
        function.ClearField("metadata_props")
        for node in function.node:
            node.ClearField("metadata_props")
            node.ClearField("doc_string")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter reports progress on stdout and through warnings; none of it helps a user."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
