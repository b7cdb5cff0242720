"""The public functions. Each wires the rooms below and imports them only when it is called."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from pixelwise.errors import DataError, MissingExtraError, UsageError
from pixelwise.labels import LabelMap, as_label_map
from pixelwise.sample import Dataset, Sample, Volume

if TYPE_CHECKING:
    from pixelwise.data import CheckReport, WriteReport
    from pixelwise.evaluation import Evaluation
    from pixelwise.evaluation.benchmark import Benchmark
    from pixelwise.inference import Ensemble, Segmenter
    from pixelwise.training.loop import Trainer
    from pixelwise.training.run import Run
    from pixelwise.training.volumes import VolumeReport

Labels = LabelMap | Sequence[str] | Mapping[str, Any] | Path
Models = list[str] | list[Path] | list[str | Path] | tuple[str | Path, ...]
Progress = Callable[[dict[str, Any]], None]


@overload
def load(
    name: str | Path,
    engine: str = ...,
    precision: str = ...,
    device: str = ...,
    *,
    scale: Literal["working", "native"] = ...,
    tile: tuple[int, ...] | None = ...,
    tta: str = ...,
) -> Segmenter: ...
@overload
def load(
    name: Models,
    engine: str = ...,
    precision: str = ...,
    device: str = ...,
    *,
    scale: Literal["working", "native"] = ...,
    tile: tuple[int, ...] | None = ...,
    tta: str = ...,
) -> Ensemble: ...
def load(
    name: str | Path | Models,
    engine: str = "auto",
    precision: str = "auto",
    device: str = "auto",
    *,
    scale: Literal["working", "native"] = "working",
    tile: tuple[int, ...] | None = None,
    tta: str = "none",
) -> Segmenter | Ensemble:
    """Load a model: a bundled name, a bundle (folder or .zip), or a run folder. Needs no torch.

    Parameters
    ----------
    name
        What to load; a list of models of the same classes gives an :class:`~pixelwise.inference.Ensemble`,
        which averages their probabilities.
    engine
        ``auto``, ``openvino``, ``onnxruntime`` or ``torch``.
    precision
        ``auto`` (bf16 where engine and CPU have it), ``fp32``, ``bf16``, or ``int8`` if the bundle has it.
    device
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    scale
        ``working``: at the size it was trained for; ``native``: at each image's own size.
    tile
        (height, width) of tiles for large images, (depth, height, width) for volumes; None lets the model
        decide.
    tta
        Test-time augmentation: ``none``, ``flip`` (left and right), ``d4`` (flips and quarter turns),
        ``scales=0.75:1:1.25``, or two of them as in ``flip,scales=0.75:1``; the views' probabilities are
        averaged.

    Raises
    ------
    UsageError
        No such model, engine, precision, device or test-time augmentation; models of different classes.
    DataError
        The bundle is damaged.

    Examples
    --------
    >>> import pixelwise as pw
    >>> segmenter = pw.load("runs/street")                        # doctest: +SKIP
    >>> segmenter.predict("photo.jpg").save("photo_mask.png")     # doctest: +SKIP
    """
    from pixelwise.bundles import find_model
    from pixelwise.inference import Ensemble, Segmenter

    if isinstance(name, list | tuple):
        bundles = [find_model(one) for one in name]
        return Ensemble([Segmenter(one, engine, precision, device, scale, tile, tta) for one in bundles])
    return Segmenter(find_model(name), engine, precision, device, scale, tile, tta)


def read(
    path: str | Path,
    format: str = "auto",
    split: str | None = None,
    labels: Labels | None = None,
    mapping: Mapping[Any, Any] | None = None,
    **options: Any,
) -> Dataset[Any]:
    """Read a data set or an annotation file; the format is recognised. Opens no image.

    Parameters
    ----------
    path
        The data's root folder, an annotation file, or a ZIP of either.
    format
        ``auto``, or the name of a format (``pixelwise.data.FORMATS``).
    split
        Only this split.
    labels
        The classes, where the folder has no class file: a LabelMap, a list of names, or a class file.
    mapping
        From values in the masks to class ids, such as ``{255: 1}``, and from class names to new ones, such as
        ``{"lorry": "truck"}``; the new name ``ignore`` gives a class's pixels up.
    options
        What only some formats know: ``fill_rule`` of all annotation tools, ``label_key`` of VIA, ``classes``
        of public data sets, ...

    Raises
    ------
    DataError
        Nothing there can be read; the message says what was found and what to do.
    UsageError
        No such format, option or split.
    """
    from pixelwise.data import read as read_data

    return read_data(path, format=format, split=split, labels=labels, mapping=mapping, **options)


def write(
    dataset: Dataset[Sample] | str | Path,
    path: str | Path,
    format: str,
    *,
    images: Literal["copy", "link", "none"] = "copy",
    tolerance: float = 0.0,
) -> WriteReport:
    """Write a data set in the format of an annotation tool, and count what that format cannot hold.

    Parameters
    ----------
    dataset
        A data set or its folder.
    path
        A new folder.
    format
        ``labelme``, ``cvat``, ``via``, ``rectlabel``, ``labelbox``, ``coco``, ``voc``, ``yolo`` or ``masks``.
    images
        ``copy`` the image files, ``link`` to them, or ``none``.
    tolerance
        By how many pixels outlines made from masks may deviate to save corners; 0 keeps every pixel.

    Raises
    ------
    UsageError
        Unknown format.
    DataError
        The folder is not empty.
    """
    from pixelwise.data import write as write_data

    data = read(dataset) if isinstance(dataset, str | Path) else dataset
    return write_data(data, path, format, images=images, tolerance=tolerance)


def check(dataset: Dataset[Sample] | str | Path) -> CheckReport:
    """Examine a data set before training: counts, sizes, everything that is wrong and where.

    See :class:`~pixelwise.data.CheckReport`; nothing is raised for bad data, ``report.errors`` lists it.
    """
    from pixelwise.data import check as check_data

    return check_data(read(dataset) if isinstance(dataset, str | Path) else dataset)


def train(
    data: Dataset[Sample] | Dataset[Volume] | str | Path | None = None,
    arch: str = "deeplabv3plus",
    *,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    format: str = "auto",
    labels: Labels | None = None,
    mapping: Mapping[Any, Any] | None = None,
    transform: Callable[[Any], Any] | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> Run:
    """Check the data, plan, train, write the bundle, evaluate it, write the report.

    Parameters
    ----------
    data
        A data set or its folder. With ``resume`` it may be left out if the run was started from a folder.
        Volumes train the architectures whose task is "volume".
    arch
        An architecture of ``pw.models.list()``.
    out
        The new run folder; by default ``runs/<data>-<arch>``.
    resume
        An existing run folder to go on with; settings are its own.
    format, labels, mapping
        As in :func:`read`, when ``data`` is a folder.
    transform
        A callable ``sample -> sample`` (of volumes ``volume -> volume``) that runs after the augmentation and
        keeps the size.
    progress
        Called with every line of ``metrics.jsonl``, and with ``{"kind": "note", "text": ...}``.
    settings
        Fields of :class:`~pixelwise.training.config.TrainConfig`, such as ``size="480x360"``.

    Returns
    -------
    Run
        ``pw.load(run.path)`` gives the model.

    Raises
    ------
    DataError
        The data doctor found errors, or a checkpoint does not fit.
    UsageError
        An unknown setting, or a run folder that is in use.
    MissingExtraError
        torch is not installed: ``pip install 'pixelwise[train]'``.

    Examples
    --------
    >>> import pixelwise as pw
    >>> run = pw.train("data/street", size="240x180", epochs=10)    # doctest: +SKIP
    """
    from pixelwise.training.run import is_main_process

    say = progress if progress is not None and is_main_process() else lambda event: None
    source = _Source(data, format, labels, mapping)
    if resume is not None:
        if settings or out is not None:
            raise UsageError("a resumed run keeps its own settings; give only the run folder (and the data)")
        trainer = _resumed_trainer(Path(resume), source, say, transform)
    elif data is None:
        raise UsageError("nothing to train on; pass a data set or its folder")
    else:
        trainer = _new_trainer({"arch": arch, **settings}, out, source, say, transform)
    run: Run = trainer.fit()
    if run.finished and is_main_process():
        _finish(trainer, run, say)
    return run


def evaluate(
    segmenter: Segmenter | Ensemble | str | Path | Models,
    dataset: Dataset[Sample] | Dataset[Volume] | str | Path,
    split: str | None = None,
    *,
    details: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure a model on labelled images or volumes: what ``predict`` gives, against masks of any size.

    Parameters
    ----------
    segmenter
        A loaded model, or what :func:`load` takes.
    dataset
        A data set or its folder; classes are matched by name.
    split
        Only this split.
    details
        Also measure how outlines fit, IoU by size, calibration and the average precision of pixel scores
        (images only).
    progress
        Called with ``{"kind": "evaluate", "done": n, "total": n}``.

    Returns
    -------
    Evaluation
        Dataset-level numbers from integer counts, per class and per image.
    """
    from pixelwise.evaluation import evaluate as evaluate_images
    from pixelwise.evaluation import evaluate_volumes

    model: Any = load(segmenter) if isinstance(segmenter, str | Path | list | tuple) else segmenter
    data: Dataset[Any] = read(dataset) if isinstance(dataset, str | Path) else dataset
    takes_volumes = getattr(model, "task", "image") == "volume"
    if len(data) and isinstance(data[0], Volume) != takes_volumes:
        kind = "volumes" if takes_volumes else "images"
        raise UsageError(f"the model labels {kind}, but {data.name} holds something else")
    chosen = data.select(split) if split else data
    if takes_volumes:
        return evaluate_volumes(model, chosen, progress)
    return evaluate_images(model, chosen, progress, details)


def benchmark(
    models: str | Path | Models,
    data: Dataset[Sample] | str | Path | Models,
    *,
    engines: Sequence[str] | None = None,
    precisions: Sequence[str] | None = None,
    device: str = "auto",
    images: int = 50,
    repeat: int = 3,
    split: str | None = None,
    progress: Progress | None = None,
) -> Benchmark:
    """Measure models, engines and precisions side by side on your own images, each in a process of its own.

    Parameters
    ----------
    models
        What :func:`load` takes; several are compared, not averaged.
    data
        A data set or its folder, for speed and mean IoU; a folder, a pattern or a list of plain images, for
        speed and agreement with the same model's fp32.
    engines
        Some of ``openvino``, ``onnxruntime`` and ``torch``; all that are installed by default.
    precisions
        Some of ``fp32``, ``bf16``, ...; by default all that engine, processor and bundle have.
    device
        As in :func:`load`.
    images
        How many images to use, spread evenly over the data.
    repeat
        How many timed rounds; the medians over them are reported.
    split
        Only this split of the data.
    progress
        Called with ``{"kind": "benchmark", "done": n, "total": n}``.

    Returns
    -------
    Benchmark
        Latency, images a second, start-up and peak memory by combination; what cannot run, with the reason.

    Raises
    ------
    UsageError
        An unknown model, engine, precision or split; a model that does not label images; nothing can run.
    DataError
        No images, a damaged bundle, or classes of the data that match none of the model.
    MissingExtraError
        An engine that was asked for is not installed.
    """
    from pixelwise.evaluation.benchmark import benchmark as measure

    return measure(
        models,
        data,
        engines=engines,
        precisions=precisions,
        device=device,
        images=images,
        repeat=repeat,
        split=split,
        progress=progress,
    )


@dataclass(frozen=True)
class _Source:
    """Where training data comes from, as the caller said it and as ``data.json`` remembers it."""

    data: Dataset[Sample] | Dataset[Volume] | str | Path | None
    format: str = "auto"
    labels: Labels | None = None
    mapping: Mapping[Any, Any] | None = None

    def dataset(self) -> Dataset[Any]:
        """Read it; options of reading make no sense for a data set that is read already."""
        if isinstance(self.data, str | Path):
            return read(self.data, self.format, labels=self.labels, mapping=self.mapping)
        if self.labels is not None or self.mapping or self.format != "auto":
            raise UsageError(
                "format, labels and mapping are for reading a folder; the data set has been read"
            )
        assert self.data is not None
        return self.data

    def to_dict(self) -> dict[str, Any]:
        """What a resume needs. Classes of the folder itself are read there again."""
        labels: Any = self.labels
        if isinstance(labels, str | Path):
            labels = str(Path(labels).resolve())
        elif labels is not None:
            labels = as_label_map(labels).to_dict()
        return {
            "path": str(Path(self.data).resolve()) if isinstance(self.data, str | Path) else None,
            "format": self.format,
            "labels": labels,
            "mapping": {str(value): to for value, to in (self.mapping or {}).items()},
        }

    def or_else(self, stored: _Source) -> _Source:
        """What the caller says now, and what was said at the start for the rest."""
        if self.data is not None and not isinstance(self.data, str | Path):
            return self
        return _Source(
            self.data or stored.data,
            self.format if self.format != "auto" else stored.format,
            self.labels if self.labels is not None else stored.labels,
            self.mapping or stored.mapping,
        )

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> _Source:
        """The inverse of :meth:`to_dict`."""
        labels = Path(stored["labels"]) if isinstance(stored["labels"], str) else stored["labels"]
        mapping = {int(value) if value.isdigit() else value: to for value, to in stored["mapping"].items()}
        return cls(stored["path"], stored["format"], labels, mapping)


def _new_trainer(
    settings: dict[str, Any],
    out: str | Path | None,
    source: _Source,
    say: Progress,
    transform: Callable[[Any], Any] | None,
) -> Trainer:
    """Check, plan and build; the run folder is made last, when nothing can be wrong any more."""
    from pixelwise.training.config import make_config
    from pixelwise.training.run import RunFolder

    config = make_config(settings)
    trainer_class, choose_precision = _import_training()
    from pixelwise.training.plan import class_weights, make_plan, split_data
    from pixelwise.training.setup import check_kind

    dataset = source.dataset()
    check_kind(config, dataset)
    folder = RunFolder(Path(out) if out is not None else Path("runs") / f"{dataset.name}-{config.arch}")
    folder.must_be_new()
    train_set, val_set, val_from = split_data(dataset, config.val_fraction, config.seed, config.hold_out)
    report = _checked(dataset, train_set, say)
    plan = make_plan(config, train_set, report)
    config, reasons = plan.config, plan.to_dict() | {"validation": val_from}
    if config.precision == "auto":
        precision, why = choose_precision(config.device)
        config = config.model_copy(update={"precision": precision})
        reasons["precision"] = f"{precision} ({why})"
    weights = class_weights(config.class_weights, train_set, report)
    trainer = trainer_class(
        config, train_set, val_set, folder, class_weights=weights, progress=say, transform=transform
    )
    stored = source.to_dict() | {"name": dataset.name, "identity": _identity(train_set, val_set)}
    described = report.to_dict()
    if len(config.size or ()) == 3:  # of volumes there is no page of the data doctor
        stored, described = stored | {"training volumes": described}, {}
    folder.create(config, reasons, stored, described)
    for key, line in reasons.items():
        say({"kind": "note", "text": f"{key}: {line}"})
    return trainer


def _resumed_trainer(
    path: Path, source: _Source, say: Progress, transform: Callable[[Any], Any] | None
) -> Trainer:
    """Build the trainer that a run folder describes and take up its last checkpoint."""
    from pixelwise.training.run import RunFolder

    folder, config, stored = RunFolder.open(path)
    source = source.or_else(_Source.from_dict(stored))
    if source.data is None:
        raise UsageError(f"{path} was started from a data set in memory; pass its folder again with --data")
    trainer_class, _ = _import_training()
    from pixelwise.training.plan import class_weights, split_data

    dataset = source.dataset()
    train_set, val_set, _ = split_data(dataset, config.val_fraction, config.seed, config.hold_out)
    if _identity(train_set, val_set) != stored["identity"]:
        raise DataError(
            f"{source.data}: not the data that {path} was started on (other classes or other images); "
            "go on with the same data, or start a new run"
        )
    weights = class_weights(config.class_weights, train_set, _checked(dataset, train_set, say))
    trainer = trainer_class(
        config, train_set, val_set, folder, class_weights=weights, progress=say, transform=transform
    )
    trainer.resume()
    say({"kind": "note", "text": f"going on at step {trainer.step} of {trainer.total_steps}"})
    return trainer


def _identity(train_set: Dataset[Any], val_set: Dataset[Any]) -> dict[str, Any]:
    """What must be the same when a run goes on: the classes, and which images are in which part."""
    # Records of a folder are paths; those of a data set in memory may be anything, so they are counted.
    parts = [part.records if part.root is not None else len(part) for part in (train_set, val_set)]
    digest = hashlib.sha256(repr(parts).encode()).hexdigest()
    return {"classes": list(train_set.labels.names), "images": digest}


def _checked(dataset: Dataset[Any], train_set: Dataset[Any], say: Progress) -> CheckReport | VolumeReport:
    from pixelwise.data import check as check_data

    if isinstance(train_set[0], Volume):
        from pixelwise.training.volumes import inspect_volumes

        return inspect_volumes(train_set)
    report = check_data(dataset, progress=lambda n, total: say({"kind": "check", "done": n, "total": total}))
    report.raise_for_errors()
    return report


def _finish(trainer: Trainer, run: Run, say: Progress) -> None:
    """From the best checkpoint to a bundle that is measured by the engine that users will run."""
    from pixelwise.bundles import update_manifest
    from pixelwise.bundles.manifest import VolumeReading
    from pixelwise.evaluation import pick_examples, pick_slices
    from pixelwise.report import write_run_report
    from pixelwise.training.export import export_bundle, record_metrics
    from pixelwise.training.setup import working_scale

    folder, val_set = trainer.folder, trainer.val_cache.dataset
    say({"kind": "note", "text": "writing the bundle and comparing the engines"})
    bundle = export_bundle(
        trainer.best_network(),
        folder.bundle,
        name=folder.path.name,
        labels=trainer.labels,
        working=working_scale(trainer.config),
        window=trainer.config.window,
        licence=trainer.config.licence,
        trained_on={
            "data": val_set.name,
            "images": len(trainer.train_cache.dataset),
            "validation_images": len(val_set),
            "steps": run.steps,
            "minutes": round(run.seconds / 60, 1),
            "settings": trainer.config.model_dump(mode="json"),
        },
    )
    if (reading := trainer.train_cache.dataset[0].meta.get("reading")) is not None:
        bundle = update_manifest(bundle, volumes=VolumeReading(**reading))
    say({"kind": "note", "text": "evaluating the bundle on the validation images"})
    segmenter = load(folder.path)
    evaluation = evaluate(segmenter, val_set, progress=say)
    evaluation.save(folder.path / "evaluation.json")
    record_metrics(bundle, evaluation.to_dict(), segmenter.engine)
    if trainer.config.window is not None:
        examples = pick_slices(evaluation, val_set, segmenter, trainer.config.window)
    else:
        examples = pick_examples(evaluation, val_set, segmenter)
    write_run_report(folder.path, examples)
    say({"kind": "note", "text": f"report: {folder.report}"})


def _import_training() -> tuple[type[Trainer], Callable[[str], tuple[str, str]]]:
    try:
        from pixelwise.training.loop import Trainer
        from pixelwise.training.setup import choose_precision
    except ModuleNotFoundError as error:
        if error.name and not error.name.startswith("pixelwise"):
            raise MissingExtraError("training", "train") from None
        raise
    return Trainer, choose_precision
