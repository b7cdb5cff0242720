"""A user's models, engines and precisions on the user's images: speed, memory, and what they cost in quality.

Every combination takes its turns in a process of its own (:mod:`pixelwise.inference.measure`), one process
at a time: nothing else of ours computes or holds memory meanwhile, and a crash is a line in the table. A
first turn of each is not timed; it fills the caches and writes the masks that the quality is counted from.
The timed turns of the combinations alternate (A B C A B C), and what is reported are medians over the rounds,
so that a minute in which the machine is busy with something else does not fall on one combination alone.
"""

from __future__ import annotations

import importlib.util
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from pixelwise.bundles import Bundle, find_model
from pixelwise.errors import DataError, PixelwiseError, UsageError, unknown_name
from pixelwise.evaluation.benchmark_images import Data, Pictures, choose_images, open_images
from pixelwise.evaluation.evaluate import evaluate
from pixelwise.evaluation.evaluation import Evaluation
from pixelwise.evaluation.machine import load_average, machine, versions
from pixelwise.inference.engines import ENGINES, PRECISIONS, create_engine
from pixelwise.inference.measure import Turn, mask_name, take_turn
from pixelwise.io import read_mask
from pixelwise.labels import LabelMap

Progress = Callable[[dict[str, Any]], None]

_FEWEST_CALLS = 20  # a percentile of fewer says little
_REFERENCES = ("torch", "onnxruntime", "openvino")  # the first that ran in fp32 is what others agree with
_DIGITS = 4  # of a share: what the tables show, so that nothing invisible decides who is better


@dataclass(frozen=True)
class Measurement:
    """One model with one engine in one precision.

    Attributes
    ----------
    model, engine, precision, device
        What ran; the precision is the one that was really used.
    images_per_second
        From image files to mask files, reading and writing included: the median over the rounds.
    latency_p50_ms, latency_p95_ms
        Milliseconds from one image in memory to its mask: each round's percentile, their median.
    start_seconds
        From the start of the process to the first mask, with warm caches: the median over the rounds.
    peak_bytes
        The most memory that the process held in any round.
    mean_iou, mean_iou_interval
        On the labelled images, as ``evaluate`` counts it, with its bootstrap interval; None without labels.
    agreement
        The share of pixels that have the same class as with the same model's fp32; None if that did not run.
    pareto
        No other one is as good and faster, or as fast and better.
    rounds
        What each round measured.
    """

    model: str
    engine: str
    precision: str
    device: str
    images_per_second: float
    latency_p50_ms: float
    latency_p95_ms: float
    start_seconds: float
    peak_bytes: int
    mean_iou: float | None
    mean_iou_interval: tuple[float, float] | None
    agreement: float | None
    pareto: bool = False
    rounds: tuple[dict[str, float], ...] = ()

    @property
    def quality(self) -> float | None:
        """The mean IoU, or the agreement where there are no labels."""
        return self.agreement if self.mean_iou is None else self.mean_iou


@dataclass(frozen=True)
class LeftOut:
    """A combination that was not measured, and why."""

    model: str
    engine: str
    precision: str
    reason: str


@dataclass
class Benchmark:
    """What a benchmark found.

    Attributes
    ----------
    data, split
        The data's name, and its split (None when it has none).
    images
        How many images were used.
    labelled
        Whether they have masks, so that there is a mean IoU.
    calls, repeat
        Timed images in each round, and rounds.
    measurements
        By model in the order they were given, the fastest first.
    left_out
        What could not run, with the reason.
    remarks
        Sentences that a reader of the numbers must know.
    machine, versions
        What it ran on.
    load_at_start, load_at_end
        The machine's load average over a minute; None where there is none.
    seconds
        How long all of it took.
    """

    data: str
    split: str | None
    images: int
    labelled: bool
    calls: int
    repeat: int
    measurements: list[Measurement]
    left_out: list[LeftOut] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    machine: dict[str, Any] = field(default_factory=machine)
    versions: dict[str, str] = field(default_factory=versions)
    load_at_start: float | None = None
    load_at_end: float | None = None
    seconds: float = 0.0

    @property
    def title(self) -> str:
        """The data's name, with its split when it has one."""
        return f"{self.data} ({self.split})" if self.split else self.data

    @property
    def models(self) -> list[str]:
        """The names of the models that were measured, in order."""
        return list(dict.fromkeys(m.model for m in self.measurements))

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready description."""
        return asdict(self) | {"quality": "mean_iou" if self.labelled else "agreement"}


def benchmark(
    models: Sequence[str | Path] | str | Path,
    data: Data,
    *,
    engines: Sequence[str] | None = None,
    precisions: Sequence[str] | None = None,
    device: str = "auto",
    images: int = 50,
    repeat: int = 3,
    split: str | None = None,
    progress: Progress | None = None,
) -> Benchmark:
    """Measure models, engines and precisions on the same images, side by side.

    Parameters
    ----------
    models
        Bundled names, bundles or run folders of models for images.
    data
        A data set or its folder, for speed and mean IoU; a folder, a pattern or a list of plain images, for
        speed and agreement with fp32.
    engines
        Some of ``openvino``, ``onnxruntime`` and ``torch``; all that are installed by default.
    precisions
        Some of ``fp32``, ``bf16``, ...; by default all that engine, processor and bundle have.
    device
        As in :func:`pixelwise.api.load`.
    images
        How many images to use, spread evenly over the data.
    repeat
        How many timed rounds.
    split
        Only this split of the data.
    progress
        Called with ``{"kind": "benchmark", "done": n, "total": n}`` after every turn.

    Returns
    -------
    Benchmark
        Combinations that cannot run are in ``left_out`` with the reason.

    Raises
    ------
    UsageError
        An unknown model, engine, precision or split; a model that does not label images; nothing can run.
    DataError
        No images, a damaged bundle, or classes of the data that match none of the model.
    MissingExtraError
        An engine that was asked for is not installed.
    """
    if images < 1 or repeat < 1:
        raise UsageError(f"at least one image and one round are needed, found {images} and {repeat}")
    chosen = _engines(engines)
    combinations = [
        (engine, precision)
        for engine in chosen
        for precision in _known("precision", precisions, [name for name in PRECISIONS if name != "auto"])
    ]
    named = _open_models([models] if isinstance(models, str | Path) else list(models))
    for engine in chosen:
        if not _installed(engine):
            create_engine(next(iter(named.values())), engine)  # raises, and says what to install
    dataset, remarks = open_images(data, split)
    with tempfile.TemporaryDirectory(prefix="pixelwise-benchmark-") as scratch:
        pictures = choose_images(dataset, images, Path(scratch) / "images", remarks)
        job = _Job(pictures, device, repeat, Path(scratch), progress or (lambda event: None))
        found = job.run(named, combinations)
    if engines is None:
        missing = [name for name in ENGINES if not _installed(name)]
        found.left_out += [LeftOut("all", name, "all", "not installed") for name in missing]
    return found


@dataclass
class _Entry:
    """A combination on its way through a benchmark."""

    model: str
    bundle: Bundle
    engine: str
    precision: str
    masks: Path
    evaluation: Evaluation | None = None
    rounds: list[dict[str, Any]] = field(default_factory=list)
    failure: PixelwiseError | None = None

    def left_out(self) -> LeftOut:
        return LeftOut(self.model, self.engine, self.precision, str(self.failure))


@dataclass
class _Job:
    """Takes the turns of all combinations and counts what came out."""

    pictures: Pictures
    device: str
    repeat: int
    scratch: Path
    progress: Progress

    def run(self, models: dict[str, Bundle], combinations: Sequence[tuple[str, str]]) -> Benchmark:
        start, load = time.perf_counter(), load_average()
        entries = [
            _Entry(model, bundle, engine, precision, self.scratch / f"{number}-{engine}-{precision}")
            for number, (model, bundle) in enumerate(models.items())
            for engine, precision in combinations
        ]
        total, done = len(entries) * (1 + self.repeat), 0
        for round_number in range(1 + self.repeat):
            for entry in entries:
                if entry.failure is None:
                    self._turn(entry, timed=round_number > 0)
                done += 1
                self.progress({"kind": "benchmark", "done": done, "total": total})
        measured = [entry for entry in entries if entry.failure is None]
        if not measured:
            raise _nothing_ran(entries)
        agreements = self._agreements(measured)
        rows = [_summary(entry, agreements[id(entry)]) for entry in measured]
        order = list(models)
        rows.sort(key=lambda row: (order.index(row.model), -row.images_per_second))
        found = Benchmark(
            data=self.pictures.dataset.name,
            split=self.pictures.dataset.split,
            images=len(self.pictures.files),
            labelled=self.pictures.labelled,
            calls=self._calls,
            repeat=self.repeat,
            measurements=mark_pareto(rows, across_models=self.pictures.labelled),
            left_out=[entry.left_out() for entry in entries if entry.failure is not None],
            remarks=list(self.pictures.remarks),
            load_at_start=load,
            load_at_end=load_average(),
            seconds=time.perf_counter() - start,
        )
        if load is not None and load > found.machine["cores"] / 2:
            found.remarks.append(
                f"the machine was busy before the start (load {load:.1f} on {found.machine['cores']} cores): "
                "speeds are too low and uncertain; measure again when it is idle"
            )
        return found

    @property
    def _calls(self) -> int:
        return max(len(self.pictures.files), _FEWEST_CALLS)

    def _turn(self, entry: _Entry, timed: bool) -> None:
        """One process; the first one of an entry is not timed and gives the masks."""
        turn = Turn(
            bundle=str(entry.bundle.path),
            engine=entry.engine,
            precision=entry.precision,
            device=self.device,
            images=self.pictures.files,
            warm_up=self.pictures.warm_up,
            calls=self._calls if timed else 0,
            out=str(self.scratch / "written" if timed else entry.masks),
        )
        try:
            answer = take_turn(turn)
        except PixelwiseError as failure:
            entry.failure = failure
            return
        if timed:
            entry.rounds.append(answer)
        elif self.pictures.labelled:
            written = _Written(entry.bundle.labels, _masks(entry, len(self.pictures.files)))
            entry.evaluation = evaluate(written, self.pictures.dataset)
            if not entry.evaluation.confusion.counts.any():
                raise DataError(
                    f"{self.pictures.dataset.name}: no pixel of {len(self.pictures.files)} images has a "
                    f"class of '{entry.model}'; use more images, or plain images without labels"
                )

    def _agreements(self, entries: Sequence[_Entry]) -> dict[int, float | None]:
        """Shares of equal pixels with the same model's fp32, by the identity of the entry."""
        found: dict[int, float | None] = {}
        for model in dict.fromkeys(entry.model for entry in entries):
            own = [entry for entry in entries if entry.model == model]
            reference = self._reference(own)
            for entry in own:
                found[id(entry)] = (
                    _equal_share(entry, reference, len(self.pictures.files)) if reference else None
                )
        return found

    def _reference(self, own: Sequence[_Entry]) -> _Entry | None:
        """A model's fp32 result: one that was measured, or else one that is made for this."""
        exact = {entry.engine: entry for entry in own if entry.precision == "fp32"}
        for engine in _REFERENCES:
            if engine in exact:
                return exact[engine]
        model, bundle = own[0].model, own[0].bundle
        for engine in filter(_installed, _REFERENCES[::-1]):
            entry = _Entry(
                model,
                bundle,
                engine,
                "fp32",
                own[0].masks.with_name(f"{own[0].masks.name}-reference-{engine}"),
            )
            self._turn(entry, timed=False)
            if entry.failure is None:
                return entry
        return None


class _Written:
    """Masks that were predicted before, handed out in the order in which they are asked for."""

    def __init__(self, labels: LabelMap, masks: Iterator[np.ndarray]) -> None:
        self.labels = labels
        self.masks = masks

    def predict(self, image: np.ndarray) -> _Mask:
        """The next mask; whose ``image`` it is, the order says."""
        return _Mask(next(self.masks))


@dataclass
class _Mask:
    mask: np.ndarray


def _nothing_ran(entries: Sequence[_Entry]) -> PixelwiseError:
    """One sentence for a benchmark without a single result."""
    refused = all(isinstance(entry.failure, UsageError) for entry in entries)
    kind = UsageError if refused else PixelwiseError
    if len({str(entry.failure) for entry in entries}) == 1:
        return kind(f"nothing could be measured: {entries[0].failure}")
    reasons = dict.fromkeys(f"{entry.engine} {entry.precision}: {entry.failure}" for entry in entries)
    return kind(f"nothing could be measured ({'; '.join(reasons)})")


def _summary(entry: _Entry, agreement: float | None) -> Measurement:
    rounds = [
        {
            "images_per_second": answer["images_per_second"],
            "latency_p50_ms": 1000 * float(np.quantile(answer["latencies"], 0.5)),
            "latency_p95_ms": 1000 * float(np.quantile(answer["latencies"], 0.95)),
            "start_seconds": answer["start_seconds"],
            "peak_bytes": answer["peak_bytes"],
        }
        for answer in entry.rounds
    ]
    last, evaluation = entry.rounds[-1], entry.evaluation
    return Measurement(
        model=entry.model,
        engine=last["engine"],
        precision=last["precision"],
        device=last["device"],
        images_per_second=median(one["images_per_second"] for one in rounds),
        latency_p50_ms=median(one["latency_p50_ms"] for one in rounds),
        latency_p95_ms=median(one["latency_p95_ms"] for one in rounds),
        start_seconds=median(one["start_seconds"] for one in rounds),
        peak_bytes=max(one["peak_bytes"] for one in rounds),
        mean_iou=evaluation.confusion.mean_iou() if evaluation else None,
        mean_iou_interval=evaluation.interval() if evaluation else None,
        agreement=agreement,
        rounds=tuple(rounds),
    )


def mark_pareto(rows: Sequence[Measurement], across_models: bool) -> list[Measurement]:
    """Mark those that no other one beats in images a second and quality together.

    Parameters
    ----------
    rows
        What was measured.
    across_models
        False when the quality is agreement with a model's own fp32, which compares within a model only.
    """

    def beats(one: Measurement, other: Measurement) -> bool:
        if one.quality is None or other.quality is None or not (across_models or one.model == other.model):
            return False
        better = round(one.quality, _DIGITS) - round(other.quality, _DIGITS)
        faster = one.images_per_second - other.images_per_second
        return better >= 0 and faster >= 0 and (better > 0 or faster > 0)

    return [
        replace(row, pareto=row.quality is not None and not any(beats(other, row) for other in rows))
        for row in rows
    ]


def _masks(entry: _Entry, count: int) -> Iterator[np.ndarray]:
    return (read_mask(entry.masks / mask_name(position)) for position in range(count))


def _equal_share(entry: _Entry, reference: _Entry, count: int) -> float:
    equal = pixels = 0
    for ours, theirs in zip(_masks(entry, count), _masks(reference, count), strict=True):
        equal += int((ours == theirs).sum())
        pixels += ours.size
    return equal / pixels


def _engines(wanted: Sequence[str] | None) -> list[str]:
    return _known("engine", wanted, [name for name in ENGINES if _installed(name)], ENGINES)


def _installed(engine: str) -> bool:
    return importlib.util.find_spec(ENGINES[engine][2]) is not None


def _known(kind: str, wanted: Sequence[str] | None, default: Sequence[str], known: Any = None) -> list[str]:
    """``wanted`` once each, or the default; a name that is not known raises UsageError."""
    names = list(dict.fromkeys(default if wanted is None else wanted))
    for name in names:
        if name not in (known or default):
            raise unknown_name(kind, name, known or default)
    if not names:
        raise UsageError(f"no {kind} was given; leave the choice away to measure all of them")
    return names


def _open_models(names: Sequence[str | Path]) -> dict[str, Bundle]:
    """Bundles by what to call them: their own name, or how they were given where names are equal."""
    if not names:
        raise UsageError("no model was given; name at least one")
    bundles = {str(name): find_model(name) for name in names}
    own = [bundle.manifest.name for bundle in bundles.values()]
    for name, bundle in bundles.items():
        if bundle.manifest.task != "image":
            raise UsageError(f"'{name}' labels {bundle.manifest.task}s; benchmark measures models of images")
        if bundle.manifest.head == "multilabel":
            raise UsageError(
                f"'{name}' is multilabel (several classes a pixel); benchmark compares masks with one"
            )
    return {
        bundle.manifest.name if own.count(bundle.manifest.name) == 1 else name: bundle
        for name, bundle in bundles.items()
    }
