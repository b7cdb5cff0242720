"""From files to files: every input labelled once, whatever it is, and a run that can go on after a stop."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pixelwise.bundles.bundle import cache_folder
from pixelwise.errors import DataError, UsageError, unknown_name
from pixelwise.inference.inputs import RESULT_SUFFIX, Input, Kind, find_inputs
from pixelwise.inference.journal import Journal, remove_leftovers
from pixelwise.inference.pipeline import Outcome, predict_files
from pixelwise.inference.results import image_results, write_image_results
from pixelwise.inference.segmenter import Predictor, Segmentation
from pixelwise.io import read_image, read_mask
from pixelwise.io.remote import is_uri
from pixelwise.io.video import frame_rate, write_video
from pixelwise.sample import Dataset, Sample

if TYPE_CHECKING:
    from pixelwise.data import WriteReport

# What only some inputs and options need is imported where it is used: one photo should not wait for it.

Progress = Callable[[dict[str, Any]], None]

COCO_FILE = "predictions.coco.json"
"""Where the polygons of images go, below the output folder."""

POLYGON_FORMATS = ("gpkg", "geojson")
"""Suffixes of the polygons of rasters."""

_NOUNS: dict[Kind, str] = {
    "image": "images",
    "video": "video frames",
    "raster": "rasters",
    "volume": "volumes",
}


@dataclass(kw_only=True)
class Labelling:
    """How files are labelled, and what is written beside the masks.

    Attributes
    ----------
    segmenter
        The model.
    out
        The output folder; results keep their paths below their source. On Ray it may be a URI.
    overlay
        Also write ``OUT/overlay/...``: images and videos with the classes' colours over them.
    probabilities
        Also write K×H×W float16 as ``STEM.npz``; of volumes ``STEM.probabilities.nii.gz``.
    polygons
        Also write the regions' outlines: of images as ``OUT/predictions.coco.json``, of rasters beside the
        mask as ``gpkg`` (GeoPackage) or ``geojson``.
    annotations
        Also write ``OUT/FORMAT/`` in the format of this annotation tool, for correction.
    tolerance
        How many pixels outlines may deviate to save corners.
    bands
        The bands of rasters that are the model's channels, counted from 1; None takes the first ones.
    window
        Values that become 0 and 255: of volumes for a model of images (None as it was trained), of rasters
        that are not 8 bits deep.
    axes
        Across which axes volumes are cut into slices for a model of images; None as it was trained.
    ray
        Label images on a Ray cluster: ``local``, ``auto`` or ``HOST:PORT``; None does without.
    workers
        How many processes on the cluster; None takes as many as there are cores for.
    resume
        Go on with a stopped run: what ``OUT/manifest.jsonl`` lists is done.
    progress
        Called with an event for every finished image, frame, tile or slice.
    """

    segmenter: Predictor
    out: str | Path
    overlay: bool = False
    probabilities: bool = False
    polygons: str | None = None
    annotations: str | None = None
    tolerance: float = 1.0
    bands: Sequence[int] | None = None
    axes: str | None = None
    window: tuple[float, float] | None = None
    ray: str | None = None
    workers: int | None = None
    resume: bool = False
    progress: Progress = field(default=lambda event: None)

    def run(self, sources: Sequence[str | Path]) -> LabellingReport:
        """Label everything that the sources name; one bad file stops nothing.

        Raises
        ------
        DataError
            A source is not there, or has nothing to label.
        UsageError
            See :func:`find_inputs` and :class:`Journal`; or an option is for other kinds of input.
        """
        inputs, others = find_inputs(sources, self.out)
        self._check(inputs)
        settings = {**self.segmenter.settings, "overlay": self.overlay, "probabilities": self.probabilities}
        settings |= {"bands": self.bands, "axes": self.axes, "window": self.window}
        if any(found.kind == "raster" for found in inputs):  # those of images come from the masks, at the end
            settings["polygons"] = self.polygons
        given = {name: value for name, value in settings.items() if value is not None}
        remote = is_uri(self.out)
        # An object store can neither append to a file nor lock it: the manifest stays on this machine.
        name = hashlib.sha256(str(self.out).encode()).hexdigest()[:32]
        home = cache_folder("manifests", name) if remote else Path(self.out)
        with Journal(home, self.segmenter.identity, given, self.resume, elsewhere=remote) as journal:
            return _Run(self, journal, inputs).report(others)

    def _check(self, inputs: list[Input]) -> None:
        """Refuse what cannot be before anything is predicted."""
        kinds = {found.kind for found in inputs}
        remote = next((f.root for f in inputs if f.is_remote), str(self.out) if is_uri(self.out) else None)
        if remote and self.ray is None:
            raise UsageError(f"{remote} is an object store, which is read and written on Ray; add --ray")
        if self.ray is not None and kinds != {"image"}:
            others = ", ".join(sorted(kinds - {"image"}))
            raise UsageError(f"--ray labels images, but among the inputs is: {others}; predict them apart")
        if remote and (self.polygons or self.annotations):
            raise UsageError(f"--polygons and --annotations need a folder, but {remote} is an object store")
        if "video" in kinds and self.probabilities:
            raise UsageError("--probabilities is not for videos; they would give one large file per frame")
        if "raster" in kinds and self.probabilities:
            raise UsageError("--probabilities is not for rasters; K planes of floats of one would fill disks")
        for kind in ("raster", "volume"):
            if kind in kinds and self.overlay:
                raise UsageError(f"--overlay is for images and videos, not for {kind}s; leave it out")
        if self.polygons is not None and self.polygons not in POLYGON_FORMATS:
            raise unknown_name("polygon format", self.polygons, POLYGON_FORMATS)
        if kinds == {"volume"} and self.polygons:
            raise UsageError("--polygons is for images and rasters; leave it out for volumes")
        if self.annotations is not None:
            from pixelwise.data.formats import TARGETS

            if self.annotations not in TARGETS:
                raise unknown_name("format", self.annotations, TARGETS)
            if (folder := Path(self.out, self.annotations)).exists():
                raise UsageError(f"{folder} is there already; remove it, or choose another --out")


@dataclass(frozen=True)
class LabellingReport:
    """What became of the inputs.

    Attributes
    ----------
    done
        How many images, video frames, rasters and volumes have results now, earlier ones counted.
    files
        The number of inputs.
    skipped
        How many of them an earlier run had finished.
    failures
        Why inputs have no result, by path.
    others
        Files in the sources' folders that cannot be labelled.
    notes
        What is to be said about single rasters and volumes.
    written
        About the annotations; None when there are none.
    polygons
        How many went to ``predictions.coco.json``; None when it was not asked for.
    """

    done: dict[Kind, int]
    files: int
    skipped: int
    failures: dict[str, str]
    others: list[str]
    notes: list[str]
    written: WriteReport | None
    polygons: int | None

    def counts(self) -> str:
        """Such as ``12 images and 3 rasters``."""
        return " and ".join(f"{count} {_NOUNS[kind]}" for kind, count in self.done.items())

    def lines(self) -> list[str]:
        """What there is to say beyond the counts, a line each."""
        lines = [*self.notes]
        if self.skipped:
            lines.append(f"done before and left as they are: {self.skipped} of {self.files} files")
        lines += [f"failed: {error}" for error in self.failures.values()]
        if self.polygons is not None:
            lines.append(f"{self.polygons} polygons in {COCO_FILE}")
        if self.written is not None:
            lines.append(self.written.text())
        if self.others:
            more = ", ..." * (len(self.others) > 5)
            lines.append(f"left out: {len(self.others)} files ({', '.join(self.others[:5])}{more})")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        document: dict[str, Any] = {
            "images": self.done.get("image", 0),
            "frames": self.done.get("video", 0),
            "rasters": self.done.get("raster", 0),
            "volumes": self.done.get("volume", 0),
            "skipped": self.skipped,
            "failed": self.failures,
            "left_out": self.others,
            "notes": self.notes,
        }
        if self.polygons is not None:
            document["polygons"] = self.polygons
        if self.written is not None:
            document["annotations"] = self.written.to_dict()
        return document


class _Run:
    """One call's work."""

    def __init__(self, job: Labelling, journal: Journal, inputs: list[Input]) -> None:
        self.job = job
        self.out = Path(job.out)
        self.journal = journal
        self.inputs = inputs
        self.skipped = 0
        self.failures: dict[str, str] = {}
        self.notes: list[str] = []

    def report(self, others: list[str]) -> LabellingReport:
        """Label all inputs and say what became of them."""
        label: dict[Kind, Callable[[Input], int]] = {
            "video": self._label_video,
            "raster": self._label_raster,
            "volume": self._label_volume,
        }
        done: dict[Kind, int] = {}
        if images := [found for found in self.inputs if found.kind == "image"]:
            done["image"] = self._label_images(images)
        for kind, function in label.items():
            if files := [found for found in self.inputs if found.kind == kind]:
                done[kind] = sum(self._label(found, function) for found in files)
        labelled = [found for found in images if str(found) not in self.failures]
        return LabellingReport(
            done=done,
            files=len(self.inputs),
            skipped=self.skipped,
            failures=self.failures,
            others=others,
            notes=self.notes,
            written=_write_annotations(labelled, self.job) if self.job.annotations else None,
            polygons=_write_polygons(labelled, self.job) if self.job.polygons and images else None,
        )

    def _outputs(self, found: Input) -> list[str]:
        """The files that come from one input, relative to the output folder."""
        job, stem = self.job, found.target
        if found.kind == "image":
            return image_results(stem, job.overlay, job.probabilities)
        outputs = [f"{stem}{RESULT_SUFFIX[found.kind]}"]
        if job.overlay:
            outputs.append(f"overlay/{stem}.mp4")
        if job.probabilities:
            outputs.append(f"{stem}.probabilities.nii.gz")
        if job.polygons and found.kind == "raster":
            outputs.append(f"{stem}.{job.polygons}")
        return outputs

    def _label_images(self, images: list[Input]) -> int:
        """Label image files, several at a time; returns how many have masks."""
        left = [found for found in images if not self._is_finished(found)]
        outcomes = self._here(left) if self.job.ray is None else self._on_ray(left)
        for count, outcome in enumerate(outcomes, len(images) - len(left) + 1):
            self.job.progress({"kind": "predict", "done": count, "total": len(images)})
            if outcome.error:
                self.failures[str(outcome.path)] = outcome.error
        return sum(str(found) not in self.failures for found in images)

    def _here(self, images: list[Input]) -> Iterator[Outcome[Input]]:
        remove_leftovers(self.out / name for found in images for name in self._outputs(found))

        def write(found: Input, segmentation: Segmentation) -> None:
            outputs = self._outputs(found)
            write_image_results(segmentation, [self.out / name for name in outputs], self.job.overlay)
            self.journal.add(found.name, outputs)

        return predict_files(self.job.segmenter, images, write, self.job.probabilities)

    def _on_ray(self, images: list[Input]) -> Iterator[Outcome[Input]]:
        from pixelwise.inference.ray_data import predict_on_ray

        job = self.job
        for outcome in predict_on_ray(
            job.segmenter,
            images,
            job.out,
            address=None if job.ray == "local" else job.ray,
            workers=job.workers,
            overlay=job.overlay,
            probabilities=job.probabilities,
        ):
            if outcome.error is None:
                self.journal.add(outcome.path.name, self._outputs(outcome.path))
            yield outcome

    def _label(self, found: Input, function: Callable[[Input], int]) -> int:
        """Label one large input, unless it is finished; returns how many units are done."""
        if (entry := self._is_finished(found)) is not None:
            return 1 if entry.frames is None else entry.frames
        remove_leftovers(self.out / name for name in self._outputs(found))
        try:
            return function(found)
        except (DataError, UsageError) as error:
            if len(self.inputs) == 1:
                raise
            self.failures[str(found)] = str(error)
            return 0

    def _label_raster(self, found: Input) -> int:
        from pixelwise.inference.rasters import label_raster

        mask, *beside = (self.out / name for name in self._outputs(found))
        report = label_raster(
            self.job.segmenter,
            found.path,
            mask,
            bands=self.job.bands,
            value_range=self.job.window,
            polygons=beside[0] if self.job.polygons else None,
            progress=self._progress(found),
        )
        self.notes.append(f"{found.name}: {report.text()}")
        self.journal.add(found.name, self._outputs(found))
        return 1

    def _label_volume(self, found: Input) -> int:
        from pixelwise.inference.volumes import label_volume

        mask, *beside = (self.out / name for name in self._outputs(found))
        report = label_volume(
            self.job.segmenter,
            found.series or found.path,
            mask,
            axes=self.job.axes,
            window=self.job.window,
            probabilities=beside[0] if beside else None,
            progress=self._progress(found),
        )
        self.notes.append(f"{found.name}: {report.text()}")
        self.journal.add(found.name, self._outputs(found))
        return 1

    def _label_video(self, found: Input) -> int:
        """Every frame's mask as OUT/<target>/<frame>.png; returns how many there are."""
        folder, *film = (self.out / name for name in self._outputs(found))
        there = sum(1 for _ in folder.glob("[0-9]*.png"))
        remove_leftovers(folder / f"{number:06d}.png" for number in range(there + 1))

        def label() -> Iterator[Any]:
            for number, segmentation in enumerate(self.job.segmenter.predict_video(found.path)):
                segmentation.save(folder / f"{number:06d}.png")
                self._progress(found)(number + 1, number + 1)
                yield segmentation.overlay() if film else None

        count = write_video(film[0], label(), frame_rate(found.path)) if film else sum(1 for _ in label())
        last = f"{found.target}/{count - 1:06d}.png"
        self.journal.add(found.name, [last, *self._outputs(found)[1:]], count)
        return count

    def _is_finished(self, found: Input) -> Any:
        entry = self.journal.finished(found.name, None if found.is_remote else found.path)
        self.skipped += entry is not None
        return entry

    def _progress(self, found: Input) -> Callable[[int, int], None]:
        def report(done: int, total: int) -> None:
            self.job.progress({"kind": found.name, "done": done, "total": total})

        return report


def _write_annotations(images: list[Input], job: Labelling) -> WriteReport:
    """The masks that were just written, as shapes for an annotation tool."""
    from pixelwise.data import write

    def open_result(found: Input) -> Sample:
        image, mask = partial(read_image, found.path), partial(read_mask, _mask(found, job), labels)
        return Sample(image, mask, path=found.path)

    labels = job.segmenter.labels
    assert job.annotations is not None
    dataset = Dataset(images, open_result, labels)
    return write(dataset, Path(job.out, job.annotations), job.annotations, tolerance=job.tolerance)


def _write_polygons(images: list[Input], job: Labelling) -> int:
    """The regions of the masks that are in the output folder, earlier ones too, in one COCO file."""
    from pixelwise.inference.polygons import write_coco_predictions

    masks = {found.path: _mask(found, job) for found in images}
    return write_coco_predictions(masks, job.segmenter.labels, Path(job.out, COCO_FILE), job.tolerance)


def _mask(found: Input, job: Labelling) -> Path:
    return Path(job.out) / f"{found.target}{RESULT_SUFFIX[found.kind]}"
