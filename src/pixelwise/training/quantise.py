"""Static 8-bit quantisation of a bundle's graph, accepted only if a labelled set says that it loses little.

Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference", CVPR 2018, arXiv 1712.05877: ranges of activations from example images; here with one scale per
output channel of each convolution. The tool is onnxruntime's quantiser, which writes plain ONNX
(QuantizeLinear and DequantizeLinear) that openvino runs as well. NNCF was tried beside it on DeepLab v3+:
about as fast in openvino, but its signed activations make onnxruntime slower than float, and it lost 0.6
points of mean IoU on EfficientNet lite0 where this one lost nothing.

The plain way comes first, then the usual remedies one after the other; the first that is accepted is kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime import quantization
from onnxruntime.quantization import qdq_loss_debug

from pixelwise.bundles import Bundle, with_int8
from pixelwise.errors import DataError, PixelwiseError, UsageError
from pixelwise.evaluation import evaluate
from pixelwise.inference import Segmenter
from pixelwise.inference.engines import Wanted, create_engine
from pixelwise.io import is_image, walk_files
from pixelwise.sample import Dataset, Sample

Progress = Callable[[dict[str, Any]], None]
Picture = Path | np.ndarray | Sample
"""An image file, H×W×C uint8 pixels, or a sample of a data set."""

MAX_DROP = 0.5
"""Points of mean IoU (0 to 100) that int8 may lose against fp32, unless told otherwise."""

MAX_IMAGES = 300
"""Images that the ranges are taken from; more change nothing."""

_MOST_BYTES = 512 << 20
"""Pixels that are held for calibration at once."""

# What becomes 8-bit. Resizing and what follows the last convolution stay in float: classes would tie there.
_OPERATORS = (
    "Conv",
    "ConvTranspose",
    "Add",
    "Concat",
    "Clip",
    "Relu",
    "MaxPool",
    "AveragePool",
    "GlobalAveragePool",
    "ReduceMean",
    "Pad",
)
_CONVOLUTIONS = ("Conv", "ConvTranspose")
_ROUNDS = 7


@dataclass(frozen=True)
class Attempt:
    """One way to quantise: which convolutions stay in float, and how ranges are set.

    ``averaged`` takes the mean over the images of each image's extremes, which outliers move less than they
    move the extremes of all images.
    """

    method: str
    float_layers: tuple[str, ...] = ()
    averaged: bool = False


@dataclass
class Quantised:
    """An accepted int8 bundle and how it compares.

    Attributes
    ----------
    bundle
        What was written.
    notes
        What else there is to say: images that were left out, that int8 is not worth it here.
    """

    bundle: Bundle
    notes: list[str] = field(default_factory=list)

    @property
    def worth_it(self) -> bool:
        """Whether int8 is faster here than every other precision."""
        rates = {name: row["images_per_second"] for name, row in self.to_dict()["table"].items()}
        return rates["int8"] > max(rate for name, rate in rates.items() if name != "int8")

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        assert self.bundle.manifest.int8 is not None
        return {"out": str(self.bundle.path), **self.bundle.manifest.int8.model_dump(), "notes": self.notes}

    def text(self) -> str:
        """The table of precisions and what was decided, for people."""
        card = self.bundle.manifest.int8
        assert card is not None
        lines = ["precision   mIoU %   images/s   MB"]
        for name, row in card.table.items():
            iou, rate, size = row["mean_iou"] * 100, row["images_per_second"], row["bytes"] / 1e6
            lines.append(f"{name:<9} {iou:>8.2f} {rate:>10.1f} {size:>6.1f}")
        floats = f"; in float: {', '.join(card.float_layers)}" if card.float_layers else ""
        change = f"falls by {card.drop:.2f}" if card.drop > 0 else f"rises by {-card.drop:.2f}"
        lines.append(
            f"accepted: mean IoU {change} points on {card.scored_on['images']} images, where it may fall by "
            f"{card.max_drop:g} ({card.method}{floats})"
        )
        return "\n".join([*lines, *self.notes])


def quantise(
    bundle: Bundle,
    out: str | Path,
    images: Sequence[Picture],
    data: Dataset[Sample],
    *,
    max_drop: float = MAX_DROP,
    calibrated_on: str = "",
    progress: Progress | None = None,
) -> Quantised:
    """Write a copy of a bundle with an int8 graph, if that is nearly as good as the float one.

    Parameters
    ----------
    bundle
        A model of images.
    out
        The new bundle's folder; nothing is written there before the graph is accepted.
    images
        What to take the ranges of activations from: image files, H×W×C uint8 arrays or samples; no labels
        needed.
    data
        Labelled images that decide. They should be others than ``images``.
    max_drop
        Points of mean IoU (0 to 100) that int8 may lose against fp32, in the default engine and in
        onnxruntime.
    calibrated_on
        What to call ``images`` in the bundle's card.
    progress
        Called with ``{"kind": ..., "done": n, "total": n}`` and with notes.

    Raises
    ------
    PixelwiseError
        No way of quantising is good enough; the sentence has the figures, and nothing is written.
    UsageError
        The model labels volumes, or ``max_drop`` is negative.
    DataError
        No image can be read, or ``data`` has no labels.
    """
    if bundle.manifest.task != "image":
        raise UsageError(f"'{bundle.manifest.name}' labels volumes; int8 is for models of images")
    if not max_drop >= 0:
        raise UsageError(f"the allowed drop must be 0 or more points of mean IoU, found {max_drop:g}")
    say = progress or (lambda event: None)
    pixels, notes = network_inputs(bundle, images)
    base = {name: _score(bundle, name, data, say) for name in _float_precisions(bundle)}
    tried: list[tuple[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "float.onnx"
        layers = write_float_graph(bundle, source)
        for attempt in _attempts(source, layers, pixels):
            say({"kind": "note", "text": f"int8: {attempt.method}"})
            graph = quantise_graph(source, attempt, pixels)
            card = _card(attempt, calibrated_on, len(images), data, max_drop)
            candidate = with_int8(bundle, Path(folder) / "candidate", graph, card)
            score = _score(candidate, "int8", data, say)
            drop = (base["fp32"] - score) * 100
            if drop <= max_drop:  # the other engine rounds elsewhere, and has to be as good
                other = _score(candidate, "int8", data, say, "onnxruntime")
                drop = max(drop, (base["fp32"] - other) * 100)
            tried.append((attempt.method, drop))
            if drop <= max_drop:
                card["drop"] = round(drop, 4)
                card["table"] = _table(candidate, base | {"int8": score}, pixels[0])
                card["agreement"] = _agreement(candidate, pixels[:8])
                result = Quantised(with_int8(bundle, out, graph, card), notes)
                return _with_verdict(result)
    best_method, best = min(tried, key=lambda pair: pair[1])
    raise PixelwiseError(
        f"no int8 graph was written: of {len(tried)} ways tried the best ({best_method}) loses {best:.2f} "
        f"points of mean IoU ({base['fp32'] * 100:.2f} to {base['fp32'] * 100 - best:.2f} on {len(data)} "
        f"images), more than the {max_drop:g} allowed; calibrate on more or other images, or raise --max-drop"
    )


def choose_images(
    calibration: Path, data: Dataset[Sample] | None, split: str | None, read: Callable[[Path], Dataset[Any]]
) -> tuple[list[Picture], Dataset[Sample], list[str]]:
    """What to calibrate on, what to judge on, and what there is to say about it.

    Parameters
    ----------
    calibration
        A folder of images, or of a data set.
    data
        The labelled data set; None takes ``calibration`` for both.
    split
        The split to judge on; None takes ``val``, or everything where there is none.
    read
        Opens a folder as a data set; raises DataError for a folder that is none.

    Raises
    ------
    UsageError
        Nothing has labels, or no such split.
    DataError
        There are no images.
    """
    if not calibration.exists():
        raise DataError(f"{calibration}: no such file or folder")
    own = _labelled(calibration, read)
    source = own if data is None else data
    if source is None:
        raise UsageError(f"{calibration} has no labels to judge int8 with; give labelled images as --data")
    scored = source.select(split or "val") if split or "val" in source.splits else source
    if own is None:
        pictures: list[Picture] = [*_image_files(calibration)]
    else:
        pictures = [*(own.select("train") if "train" in own.splits else own)]
    left = _others(pictures, scored)
    if pictures and not left:
        scored = scored.subset(range(0, len(scored), 2))
        left = _others(pictures, scored)
        half = "the same images were to calibrate and to judge: every second one judges, the others calibrate"
        return (left, scored, [half]) if left else (pictures, scored, [_FLATTERED])
    if len(left) < len(pictures):
        fewer = f"{len(pictures) - len(left)} images are among those that judge and were not calibrated on"
        return left, scored, [fewer]
    return left, scored, []


_FLATTERED = "the images calibrated on are those that judge, which flatters int8"


def _labelled(folder: Path, read: Callable[[Path], Dataset[Any]]) -> Dataset[Any] | None:
    """The data set there, if it is one that has labels."""
    try:
        data = read(folder)
    except DataError:
        return None
    return data if any(isinstance(sample, Sample) and sample.labelled for sample in data) else None


def _image_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return [p for folder, names in walk_files(path) for name in names if is_image(p := path / folder / name)]


def _others(pictures: Sequence[Picture], scored: Dataset[Sample]) -> list[Picture]:
    """The pictures that do not judge, told by path and, where the size in bytes is the same, by content."""
    judges = [sample.path for sample in scored if sample.path is not None and sample.path.is_file()]
    paths = {path.resolve() for path in judges}
    sizes = {path.stat().st_size for path in judges}
    contents: set[bytes] = set()

    def judging(picture: Picture) -> bool:
        path = picture.path if isinstance(picture, Sample) else picture
        if not isinstance(path, Path) or not path.is_file():
            return False
        if path.resolve() in paths:
            return True
        if path.stat().st_size not in sizes:
            return False
        if not contents:
            contents.update(_digest(judge) for judge in judges)
        return _digest(path) in contents

    return [picture for picture in pictures if not judging(picture)]


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def network_inputs(bundle: Bundle, images: Sequence[Picture]) -> tuple[list[np.ndarray], list[str]]:
    """The very arrays, 1×H×W×C uint8, that predicting ``images`` feeds to the network, and what was left out.

    At most ``MAX_IMAGES``, evenly spread over ``images``; of large images a few tiles each.
    """
    chosen = _spread(images, MAX_IMAGES)
    recorder = _Recorder(len(bundle.labels))
    segmenter = Segmenter(bundle, recorder)  # what it feeds decides: no rule is repeated here
    found: list[np.ndarray] = []
    unread: list[str] = []
    for image in chosen:
        try:
            pixels = image.image if isinstance(image, Sample) else image
            segmenter.predict(pixels, probabilities=True)
        except DataError as error:
            unread.append(str(error))
        seen, recorder.seen = recorder.seen, []
        found += _spread(seen, 4)
        if sum(array.nbytes for array in found) > _MOST_BYTES:
            break
    if not found:
        reason = f": {unread[0]}" if unread else ""
        raise DataError(f"no image to calibrate on{reason}; give a folder of images like those to predict")
    if not unread:
        return found, []
    return found, [f"{len(unread)} images could not be read for calibration, the first: {unread[0]}"]


def _spread(items: Sequence[Any], count: int) -> list[Any]:
    """At most ``count`` items, evenly spread."""
    last = len(items) - 1
    return [items[int(i)] for i in np.unique(np.linspace(0, last, min(count, last + 1)).astype(int))]


class _Recorder:
    """An engine that keeps what it is fed and says nothing about it."""

    name, precision, device = "recorder", "fp32", "cpu"

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.seen: list[np.ndarray] = []

    def run(self, images: np.ndarray, wanted: Wanted) -> np.ndarray:
        self.seen.append(images.copy())
        shape = (images.shape[0], self.classes, *images.shape[1:3])
        return np.zeros(shape if wanted == "logits" else (shape[0], *shape[2:]), np.float32)


def write_float_graph(bundle: Bundle, path: Path) -> list[str]:
    """Write the graph with its weights inside and batch norms folded; returns its convolutions, in order."""
    model = onnx.load(bundle.graph)
    for _ in range(2):  # the second pass folds what the first has made constant
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(path)
        options.log_severity_level = 3
        ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        model = onnx.load(path)
    used = {node.domain for node in model.graph.node}
    versions = [entry for entry in model.opset_import if entry.domain in used]
    model.ClearField("opset_import")
    model.opset_import.extend(versions)
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{number}"
    onnx.save(model, path)
    return [node.name for node in model.graph.node if node.op_type in _CONVOLUTIONS]


def quantise_graph(source: Path, attempt: Attempt, pixels: Sequence[np.ndarray]) -> bytes:
    """A serialised int8 ONNX model of the float one in ``source``.

    Weights are signed with one scale per output channel, activations unsigned with a zero point, which is
    what the integer instructions of x86 CPUs multiply.
    """
    model = onnx.load(source)
    with tempfile.TemporaryDirectory() as folder, _without_logging():
        target = Path(folder) / "int8.onnx"
        quantization.quantize_static(
            source,
            target,
            _Reader(pixels),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=list(_OPERATORS),
            per_channel=True,
            weight_type=quantization.QuantType.QInt8,
            activation_type=quantization.QuantType.QUInt8,
            nodes_to_exclude=[*attempt.float_layers, *_tail(model)],
            extra_options={"CalibMovingAverage": attempt.averaged},
        )
        return target.read_bytes()


class _Reader(quantization.CalibrationDataReader):
    def __init__(self, pixels: Iterable[np.ndarray]) -> None:
        self.pixels = iter(pixels)

    def get_next(self) -> dict[str, np.ndarray] | None:
        array = next(self.pixels, None)
        return None if array is None else {"image": array}


def _tail(model: onnx.ModelProto) -> list[str]:
    """The nodes with no convolution after them: they add up, resize and compare logits."""
    feeding: set[str] = set()  # tensors that reach a convolution
    names = []
    for node in reversed(model.graph.node):
        reaches = node.op_type in _CONVOLUTIONS or any(name in feeding for name in node.output)
        if reaches:
            feeding.update(node.input)
        else:
            names.append(node.name)
    return names


def _attempts(source: Path, layers: list[str], pixels: Sequence[np.ndarray]) -> Iterator[Attempt]:
    """From plain to careful. What is costly to find out is found out when it is asked for."""
    ends = tuple(dict.fromkeys((layers[0], layers[-1])))
    yield Attempt("all layers")
    yield Attempt("averaged ranges", averaged=True)
    yield Attempt("averaged ranges, first and last layer in float", ends, averaged=True)
    decoder = _decoder(source)
    if decoder:
        yield Attempt("averaged ranges, decoder in float", (layers[0], *decoder), averaged=True)
    noisy = _noisiest_first(source, layers, pixels)
    for share in (4, 2):
        worst = noisy[: max(1, len(noisy) // share)]
        kept = tuple(name for name in layers if name in {*ends, *worst})
        yield Attempt(f"averaged ranges, the noisiest 1/{share} of the layers in float", kept, averaged=True)


def _decoder(source: Path) -> tuple[str, ...]:
    """The convolutions whose weights are not the encoder's; empty when the network has no encoder."""
    nodes = [node for node in onnx.load(source).graph.node if node.op_type in _CONVOLUTIONS]
    outside = tuple(node.name for node in nodes if ".encoder." not in node.input[1])
    return outside if len(outside) < len(nodes) else ()


def _noisiest_first(source: Path, layers: list[str], pixels: Sequence[np.ndarray]) -> list[str]:
    """Convolutions by how much noise 8 bits put into their input, the most first."""
    with tempfile.TemporaryDirectory() as folder, _without_logging():
        plain, open_ = Path(folder) / "plain.onnx", Path(folder) / "open.onnx"
        plain.write_bytes(quantise_graph(source, Attempt("", averaged=True), pixels))
        qdq_loss_debug.modify_model_output_intermediate_tensors(plain, open_)
        seen = qdq_loss_debug.collect_activations(str(open_), _Reader(pixels[:1]))
        pairs = qdq_loss_debug.create_activation_matching(seen)
        ratio = qdq_loss_debug.compute_signal_to_quantization_noice_ratio
        quality = {name: ratio(pair["pre_qdq"], pair["post_qdq"]) for name, pair in pairs.items()}
    inputs = {node.name: node.input[0] for node in onnx.load(source).graph.node}
    return sorted(layers, key=lambda name: quality.get(inputs[name], np.inf))


def _float_precisions(bundle: Bundle) -> list[str]:
    """fp32, and bf16 where the default engine has it."""
    return list(dict.fromkeys(["fp32", create_engine(bundle, device="cpu").precision]))


def _score(
    bundle: Bundle, precision: str, data: Dataset[Sample], say: Progress, engine: str = "auto"
) -> float:
    """Mean IoU, 0 to 1, of what ``predict`` gives with this precision."""

    def renamed(event: dict[str, Any]) -> None:
        say({**event, "kind": f"scoring {precision}"})

    segmenter = Segmenter(bundle, engine, precision, "cpu")
    score = evaluate(segmenter, data, renamed).to_dict()["mean_iou"]
    if score is None:
        raise DataError(f"{data.name}: no pixel of it has a class of this model, so int8 cannot be judged")
    return float(score)


def _table(candidate: Bundle, scores: dict[str, float], pixels: np.ndarray) -> dict[str, dict[str, float]]:
    """Score, speed and size per precision; the precisions take turns, and the median counts."""
    engines = {name: create_engine(candidate, precision=name, device="cpu") for name in scores}
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    for engine in engines.values():
        engine.run(pixels, "logits")
    for _ in range(_ROUNDS):
        for name, engine in engines.items():
            engine.run(pixels, "logits")  # the turn before has emptied the processor's caches
            start = time.perf_counter()
            engine.run(pixels, "logits")
            seconds[name].append(time.perf_counter() - start)
    assert candidate.int8_graph is not None
    floats = candidate.graph.stat().st_size + candidate.weights.stat().st_size
    return {
        name: {
            "mean_iou": scores[name],
            "images_per_second": round(1 / statistics.median(seconds[name]), 2),
            "bytes": candidate.int8_graph.stat().st_size if name == "int8" else floats,
        }
        for name in scores
    }


def _agreement(candidate: Bundle, pixels: Sequence[np.ndarray]) -> dict[str, float]:
    """The share of pixels that int8 labels as fp32 does, and onnxruntime's int8 as the default engine's."""
    int8 = create_engine(candidate, precision="int8", device="cpu")
    others = {
        "fp32": create_engine(candidate, precision="fp32", device="cpu"),
        "onnxruntime": create_engine(candidate, "onnxruntime", "int8"),
    }
    same: dict[str, list[float]] = {name: [] for name in others}
    for array in pixels:
        labels = int8.run(array, "labels")
        for name, engine in others.items():
            same[name].append(float((engine.run(array, "labels") == labels).mean()))
    return {name: round(statistics.mean(shares), 5) for name, shares in same.items()}


def _card(
    attempt: Attempt, calibrated_on: str, images: int, data: Dataset[Sample], max_drop: float
) -> dict[str, Any]:
    return {
        "method": attempt.method,
        "float_layers": list(attempt.float_layers),
        "calibrated_on": {"data": calibrated_on, "images": min(images, MAX_IMAGES)},
        "scored_on": {"data": data.name, "split": data.split, "images": len(data)},
        "max_drop": max_drop,
        "drop": 0.0,
        "table": {},
    }


def _with_verdict(result: Quantised) -> Quantised:
    """Say it plainly when int8 is not worth having on this machine."""
    if not result.worth_it:
        rates = {name: row["images_per_second"] for name, row in result.to_dict()["table"].items()}
        other = max((name for name in rates if name != "int8"), key=rates.__getitem__)
        result.notes.append(
            f"not worth it: int8 makes {rates['int8']:.1f} images/s here, {other} makes {rates[other]:.1f}"
        )
    return result


@contextlib.contextmanager
def _without_logging() -> Iterator[None]:
    """The quantiser warns about steps that have been taken already."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(level)
