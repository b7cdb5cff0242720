"""Whole predictions beside the loops that people write: identical weights, files in, index PNGs out.

    python benchmarks/predict.py --data DIR [--weights DIR] [--images 200] [--rounds 4] [--networks NAME ...]

DIR has CamVid's SegNet layout. The networks are the peers' own, exported into bundles of ours, so that both
sides compute with the very same weights: DeepLab v3+ of segmentation_models_pytorch on tf_efficientnet_lite0
and on resnet50, and torchvision's DeepLab v3 on MobileNet v3. They are trained here first, for a few epochs
on images of 240x180, and kept in --weights.

Every side reads JPEG files of 480x360, labels them at that size and writes PNGs of class ids; its start-up,
and one image to warm up, are apart. The sides take turns, a part of the images each, and the medians over
the rounds count.

- ``smp loop`` (or ``torchvision loop``): OpenCV reads, numpy normalises, torch computes in float32, OpenCV
  writes; as in the peers' examples.
- ``onnxruntime``, ``OpenVINO``: the same loop around the bare engine, which gets the normalised image and
  returns logits (OpenVINO as it comes: in bfloat16 where the CPU has it).
- ``pixelwise``: ``predict_files`` with the OpenVINO engine in bfloat16, float32 and int8. The latter is
  calibrated on a part of the training images and accepted on another, as ``pixelwise export --int8`` does.

The second table has mIoU on the validation part and how many pixels agree with the first loop's; the third
what comes on top of the bare engine for one image in memory, at 480x360 and at 2048x1024.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort
import openvino as ov
import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn
from torchvision.models.segmentation import deeplabv3_mobilenet_v3_large

import pixelwise as pw
from pixelwise.augment import resize_sample
from pixelwise.bundles import Bundle, WorkingScale
from pixelwise.inference import predict_files
from pixelwise.inference.engines import available_cores
from pixelwise.labels import LabelMap
from pixelwise.metrics import ConfusionMatrix
from pixelwise.models.encoders.weights import timm_state_dict
from pixelwise.models.network import Preprocessing, SegmentationNetwork
from pixelwise.sample import Dataset, Sample
from pixelwise.training.export import export_bundle
from pixelwise.training.quantise import quantise

HEIGHT, WIDTH = 360, 480
LARGE = (1024, 2048)
EPOCHS, BATCH, TRAINING_SIZE = 6, 8, (180, 240)
MEAN, STD = np.array([0.5, 0.5, 0.5]), np.array([0.5, 0.5, 0.5])  # of pixels in 0..1
Label = Callable[[Path], np.ndarray]


class Peer(SegmentationNetwork):
    """A network of another library behind our interface, which pads to the sides that it wants."""

    def __init__(self, network: nn.Module, classes: int, name: str, divisor: int) -> None:
        super().__init__(classes)
        self.network, self.divisor, self.arguments = network, divisor, {"name": name}

    @property
    def preprocessing(self) -> Preprocessing:
        return Preprocessing((127.5,) * 3, (127.5,) * 3)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        x = nn.functional.pad(x, (0, -width % self.divisor, 0, -height % self.divisor))
        logits = self.network(x)
        return (logits["out"] if isinstance(logits, dict) else logits)[:, :, :height, :width]


def smp_deeplab(encoder: str) -> Callable[[int], Peer]:
    def make(classes: int) -> Peer:
        network = smp.DeepLabV3Plus(encoder, encoder_weights=None, classes=classes)
        if "lite0" in encoder:
            state, _ = timm_state_dict("tf_efficientnet_lite0", "imagenet")
            own = network.encoder.state_dict()
            for (name, tensor), weight in zip(own.items(), state.values(), strict=False):
                assert tensor.shape == weight.shape, name
                tensor.copy_(weight)
        return Peer(network, classes, f"smp {encoder}", 16)

    return make


def torchvision_deeplab(classes: int) -> Peer:
    network = deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=classes)
    return Peer(network, classes, "torchvision deeplabv3", 1)


NETWORKS: dict[str, Callable[[int], Peer]] = {
    "smp deeplabv3plus, lite0": smp_deeplab("timm-tf_efficientnet_lite0"),
    "smp deeplabv3plus, resnet50": smp_deeplab("resnet50"),
    "torchvision deeplabv3, mobilenetv3": torchvision_deeplab,
}


def trained(name: str, data: Dataset[Sample], weights: Path) -> Peer:
    """The network with the weights in the folder; they are trained when they are not there."""
    torch.manual_seed(0)
    network = NETWORKS[name](len(data.labels))
    file = weights / f"{name.replace(', ', '-').replace(' ', '-')}.pt"
    if file.exists():
        network.load_state_dict(torch.load(file, weights_only=True))
        return network.eval()
    small = [resize_sample(sample, TRAINING_SIZE) for sample in data]
    images = (torch.from_numpy(np.stack([s.image for s in small])).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
    masks = torch.from_numpy(np.stack([s.mask for s in small if s.mask is not None]).astype(np.int64))
    steps = EPOCHS * (len(images) // BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, steps, pct_start=0.1)
    for epoch in range(EPOCHS):
        for part in torch.randperm(len(images))[: len(images) // BATCH * BATCH].split(BATCH):
            flip = torch.rand(()) < 0.5
            x, y = (t[part].flip(-1) if flip else t[part] for t in (images, masks))
            loss = nn.functional.cross_entropy(network.train()(x), y, ignore_index=255)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"{name}: epoch {epoch + 1} of {EPOCHS}, loss {loss.item():.3f}", flush=True)
    weights.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), file)
    return network.eval()


def bundle_of(network: Peer, labels: LabelMap, folder: Path) -> Bundle:
    working = WorkingScale(height=HEIGHT, width=WIDTH)
    return export_bundle(network, folder, name=network.arguments["name"], labels=labels, working=working)


def prepared(path: Path) -> np.ndarray:
    """What the examples of the peers do with a file: 1×3×H×W float32."""
    image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    normalised = (image / 255.0 - MEAN) / STD
    return normalised.transpose(2, 0, 1)[None].astype(np.float32)


def plain_loop(network: Peer) -> Label:
    def label(path: Path) -> np.ndarray:
        with torch.no_grad():
            logits = network(torch.from_numpy(prepared(path)))
        return logits.argmax(dim=1)[0].numpy().astype(np.uint8)

    return label


def bare_graph(network: Peer, folder: Path) -> Path:
    """The peer's network as ONNX with its weights inside: normalised float32 in, logits out."""
    path = folder / "bare.onnx"
    torch.onnx.export(
        network, (torch.zeros(1, 3, HEIGHT, WIDTH),), str(path), dynamo=True, input_names=["image"],
        output_names=["logits"], external_data=False, verbose=False,
    )  # fmt: skip
    return path


def onnxruntime_loop(graph: Path) -> Label:
    session = ort.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    return lambda path: session.run(None, {"image": prepared(path)})[0].argmax(axis=1)[0].astype(np.uint8)


def openvino_loop(graph: Path) -> Label:
    model = ov.Core().compile_model(str(graph), "CPU")
    return lambda path: model(prepared(path))[0].argmax(axis=1)[0].astype(np.uint8)


def with_int8_graph(bundle: Bundle, train_set: Dataset[Sample], folder: Path) -> Bundle | None:
    """The bundle with an int8 graph, neither calibrated nor accepted on images that are reported on."""
    half = len(train_set) // 2
    images = [Path(sample.path) for sample in train_set.subset(list(range(0, half, 2))) if sample.path]
    try:
        return quantise(bundle, folder, images, train_set.subset(list(range(half, len(train_set), 2)))).bundle
    except pw.PixelwiseError as error:
        print(f"\nno int8: {error}")
        return None


def write_all(label: Label, files: list[Path], out: Path) -> None:
    for file in files:
        cv2.imwrite(str(out / f"{file.stem}.png"), label(file))


def ours(bundle: Bundle, precision: str) -> Callable[[list[Path], Path], None]:
    segmenter = pw.load(bundle.path, engine="openvino", precision=precision)

    def run(files: list[Path], out: Path) -> None:
        outcomes = predict_files(segmenter, files, lambda path, found: found.save(out / f"{path.stem}.png"))
        assert not [outcome.error for outcome in outcomes if outcome.error]

    return run


def compare(
    name: str,
    network: Peer,
    train_set: Dataset[Sample],
    data: Dataset[Sample],
    files: list[Path],
    rounds: int,
) -> None:
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        bundle = bundle_of(network, data.labels, folder / "bundle")
        graph = bare_graph(network, folder)
        loops = {
            f"{name.split()[0]} loop": plain_loop(network),
            "onnxruntime loop": onnxruntime_loop(graph),
            "OpenVINO loop": openvino_loop(graph),
        }
        sides: dict[str, Callable[[list[Path], Path], None]] = {
            side: lambda files, out, label=label: write_all(label, files, out)
            for side, label in loops.items()
        }
        sides |= {f"pixelwise {precision}": ours(bundle, precision) for precision in ("bf16", "fp32")}
        if (quantised := with_int8_graph(bundle, train_set, folder / "int8")) is not None:
            sides["pixelwise int8"] = ours(quantised, "int8")
        seconds: dict[str, list[float]] = {side: [] for side in sides}
        for side, run in sides.items():
            (folder / side).mkdir()
            run(files[:1], folder / side)
        for part in np.array_split(np.array(files, dtype=object), rounds):
            for side, run in sides.items():
                start = time.perf_counter()
                run(list(part), folder / side)
                seconds[side].append((time.perf_counter() - start) / len(part))
        report_speed(name, len(files), seconds)
        report_answers(data, files, folder, list(sides))
        report_overhead(bundle)


def report_speed(name: str, images: int, seconds: dict[str, list[float]]) -> None:
    first = statistics.median(next(iter(seconds.values())))
    load = os.getloadavg()[0]
    print(f"\n### {name}: {images} images, {available_cores()} cores, load {load:.1f}\n")
    print("| side | ms an image, median | images/s | times the first |\n|---|---|---|---|")
    for side, times in seconds.items():
        own = statistics.median(times)
        print(f"| {side} | {1e3 * own:.1f} | {1 / own:.1f} | {first / own:.2f} |", flush=True)


def report_answers(data: Dataset[Sample], files: list[Path], folder: Path, sides: list[str]) -> None:
    truth = {Path(sample.path).stem: sample.mask for sample in data if sample.path}
    print("\n| side | mIoU | pixels as the first's |\n|---|---|---|")
    for side in sides:
        matrix, same, total = ConfusionMatrix(len(data.labels), data.labels.ignore), 0, 0
        for file in files:
            own, reference = (cv2.imread(str(folder / s / f"{file.stem}.png"), -1) for s in (side, sides[0]))
            if own.ndim == 3:
                own = np.asarray(read_ids(folder / side / f"{file.stem}.png"))
            same, total = same + int((own == reference).sum()), total + own.size
            if (mask := truth.get(file.stem)) is not None:
                matrix.update(own, mask)
        print(f"| {side} | {matrix.mean_iou():.4f} | {same / total:.5f} |", flush=True)


def read_ids(path: Path) -> np.ndarray:
    """Class ids of a palette PNG, which OpenCV would turn into colours."""
    from PIL import Image

    return np.array(Image.open(path))


def report_overhead(bundle: Bundle) -> None:
    segmenter = pw.load(bundle.path, engine="openvino", precision="bf16", scale="native")
    print("\n| one image in memory | bare engine, ms | predict and palette, ms | on top |\n|---|---|---|---|")
    for height, width in ((HEIGHT, WIDTH), LARGE):
        image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        calls: list[Callable[[], object]] = [
            partial(segmenter.engine.run, image[None], "labels"),
            partial(segmenter.predict, image),
        ]
        times: list[list[float]] = [[], []]
        for _ in range(12):
            for call, taken in zip(calls, times, strict=True):
                start = time.perf_counter()
                call()
                taken.append(1e3 * (time.perf_counter() - start))
        bare, whole = (statistics.median(taken[2:]) for taken in times)
        print(f"| {width}x{height} | {bare:.1f} | {whole:.1f} | {whole / bare - 1:.1%} |", flush=True)


def image_files(data: Path, count: int) -> Iterator[Path]:
    """Validation images first, then those of training."""
    for split in ("val", "train"):
        for sample in pw.read(data, split=split):
            if count > 0 and sample.path:
                count -= 1
                yield Path(sample.path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, default=Path("runs/predict"))
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), metavar="NAME")
    parser.add_argument("--train-only", action="store_true")
    arguments = parser.parse_args()
    train_set, val_set = pw.read(arguments.data, split="train"), pw.read(arguments.data, split="val")
    files = list(image_files(arguments.data, arguments.images))
    for name in arguments.networks:
        network = trained(name, train_set, arguments.weights)
        if not arguments.train_only:
            compare(name, network, train_set, val_set, files, arguments.rounds)


if __name__ == "__main__":
    main()
