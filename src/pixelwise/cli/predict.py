"""``pixelwise predict``: masks for images, folders, globs and videos."""

from __future__ import annotations

import glob as globbing
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pixelwise.cli.display import Display
from pixelwise.cli.options import (
    Device,
    Engine,
    Json,
    Model,
    Precision,
    Quiet,
    Scale,
    Tile,
    Tta,
    load_model,
    parse_size,
)
from pixelwise.errors import DataError, UsageError

if TYPE_CHECKING:
    from pixelwise.data import WriteReport
    from pixelwise.inference import Journal, Predictor, Segmentation
    from pixelwise.labels import LabelMap


def command(
    sources: Annotated[
        list[str], typer.Argument(metavar="SOURCE...", help="Images, folders, globs or videos.")
    ],
    model: Model,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder for the results.")],
    overlay: Annotated[bool, typer.Option("--overlay", help="Also write OUT/overlay/....")] = False,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also write STEM.npz (float16).")
    ] = False,
    annotations: Annotated[
        str | None,
        typer.Option(
            "--annotations",
            metavar="FORMAT",
            help="Also write OUT/FORMAT/ for correction in labelme, cvat, via, rectlabel, labelbox, ...",
        ),
    ] = None,
    tolerance: Annotated[
        float, typer.Option("--tolerance", help="Pixels that its outlines may deviate to save corners.")
    ] = 1.0,
    engine: Engine = "auto",
    precision: Precision = "auto",
    device: Device = "auto",
    scale: Scale = "working",
    tile: Tile = None,
    tta: Tta = "none",
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with a stopped run: what OUT/manifest.jsonl lists is done."),
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Label images: OUT/<relative>/<stem>.png holds class ids with a palette, at the image's size.

    A video gives OUT/<stem>/<frame>.png, and OUT/overlay/<stem>.mp4 with --overlay.

    Example: pixelwise predict photos/ --model runs/street --out predictions --overlay
    """
    from pixelwise.inference import Journal
    from pixelwise.inference.tta import parse_tta
    from pixelwise.io.video import VIDEO_SUFFIXES

    targets, left_out = _targets(sources, out)
    if annotations is not None:
        _check_annotations(annotations, out)
    segmenter = load_model(model, engine, precision, device, scale, tile, tta)
    videos = {path: to for path, to in targets.items() if path.suffix.lower() in VIDEO_SUFFIXES}
    images = {path: to for path, to in targets.items() if path not in videos}
    if videos and probabilities:
        raise UsageError("--probabilities is for images; a video would give one large file per frame")
    settings = {
        "engine": segmenter.engine.name,
        "precision": segmenter.engine.precision,
        "scale": scale,
        "tile": parse_size(tile, "--tile"),
        "tta": parse_tta(tta).text,
        "overlay": overlay,
        "probabilities": probabilities,
    }
    display = Display(quiet, json)
    with Journal(out, segmenter.identity, settings, resume) as journal, display:
        job = _Job(segmenter, out, overlay, probabilities, journal, display)
        job.label_images(images)
        job.label_videos(videos)
        written = None
        if annotations is not None:
            done = {path: to for path, to in images.items() if str(path) not in job.failures}
            written = _write_annotations(done, segmenter.labels, out, annotations, tolerance)
    document: dict[str, Any] = {
        "out": str(out),
        "images": sum(str(path) not in job.failures for path in images),
        "frames": job.frames,
        "skipped": job.skipped,
        "failed": job.failures,
        "not_images": left_out,
        "engine": segmenter.engine.name,
        "precision": segmenter.engine.precision,
    }
    parts = [f"{document['images']} images"] * bool(images) + [f"{job.frames} video frames"] * bool(videos)
    lines = [
        f"{' and '.join(parts)} labelled in {out} ({segmenter.engine.name}, {segmenter.engine.precision})"
    ]
    if job.skipped:
        lines.append(f"done before and left as they are: {job.skipped} of {len(targets)} files")
    lines += [f"failed: {error}" for error in job.failures.values()]
    if written is not None:
        lines.append(written.text())
        document["annotations"] = written.to_dict()
    if left_out:
        lines.append(f"left out, not images: {len(left_out)} ({', '.join(left_out[:5])}, ...)")
    display.result("\n".join(lines), document)
    if job.failures:
        raise typer.Exit(3)


@dataclass
class _Job:
    """One call's work: labels what the journal does not know as finished, and counts."""

    segmenter: Predictor
    out: Path
    overlay: bool
    probabilities: bool
    journal: Journal
    display: Display
    failures: dict[str, str] = field(default_factory=dict)
    frames: int = 0
    skipped: int = 0

    def label_images(self, images: dict[Path, Path]) -> None:
        """Label image files; the values are the results' paths below OUT, without suffix."""
        from pixelwise.inference import predict_files, remove_leftovers

        names = {path: _name(path, target) for path, target in images.items()}
        left = [path for path in images if self.journal.finished(names[path], path) is None]
        self.skipped += len(images) - len(left)
        remove_leftovers(self.out / output for path in left for output in self._outputs(images[path]))

        def write(path: Path, segmentation: Segmentation) -> None:
            outputs = self._outputs(images[path])
            _write(segmentation, [self.out / output for output in outputs], self.overlay)
            self.journal.add(names[path], outputs)

        outcomes = predict_files(self.segmenter, left, write, self.probabilities)
        for done, outcome in enumerate(outcomes, len(images) - len(left) + 1):
            self.display({"kind": "predict", "done": done, "total": len(images)})
            if outcome.error:
                self.failures[str(outcome.path)] = outcome.error

    def label_videos(self, videos: dict[Path, Path]) -> None:
        """Label video files; the values are their folders of frames below OUT."""
        for path, target in videos.items():
            name = _name(path, target)
            if (entry := self.journal.finished(name, path)) is not None:
                self.frames += entry.frames or 0
                self.skipped += 1
                continue
            try:
                count = self._label_video(path, target)
            except DataError as error:
                self.failures[str(path)] = str(error)
                continue
            self.frames += count
            outputs = [(target / f"{count - 1:06d}.png").as_posix()] * (count > 0)
            self.journal.add(name, outputs + [f"overlay/{target.as_posix()}.mp4"] * self.overlay, count)

    def _outputs(self, target: Path) -> list[str]:
        """The files that come from one image, relative to OUT."""
        stem = target.as_posix()
        return [f"{stem}.png"] + [f"overlay/{stem}.png"] * self.overlay + [f"{stem}.npz"] * self.probabilities

    def _label_video(self, path: Path, target: Path) -> int:
        from pixelwise.inference import remove_leftovers
        from pixelwise.io.video import frame_rate, write_video

        folder, film = self.out / target, self.out / "overlay" / f"{target}.mp4"
        there = sum(1 for _ in folder.glob("[0-9]*.png"))
        remove_leftovers([film, *(folder / f"{number:06d}.png" for number in range(there + 1))])

        def label() -> Iterator[Any]:
            for number, segmentation in enumerate(self.segmenter.predict_video(path)):
                segmentation.save(folder / f"{number:06d}.png")
                self.display({"kind": path.name, "done": number + 1, "total": number + 1})
                yield segmentation.overlay() if self.overlay else None

        if self.overlay:
            return write_video(film, label(), frame_rate(path))
        return sum(1 for _ in label())


def _name(path: Path, target: Path) -> str:
    """An input's path below its SOURCE, with forward slashes."""
    return f"{target.as_posix()}{path.suffix}"


def _check_annotations(format: str, out: Path) -> None:
    """Before anything is predicted: the format exists and its folder is free."""
    from pixelwise.data.formats import TARGETS
    from pixelwise.errors import unknown_name

    if format not in TARGETS:
        raise unknown_name("format", format, TARGETS)
    if (folder := out / format).exists():
        raise UsageError(f"{folder} is there already; remove it, or choose another --out")


def _write_annotations(
    images: dict[Path, Path], labels: LabelMap, out: Path, format: str, tolerance: float
) -> WriteReport:
    """The masks that were just written, as shapes for an annotation tool."""
    from functools import partial

    from pixelwise.data import write
    from pixelwise.io import read_image, read_mask
    from pixelwise.sample import Dataset, Sample

    def open_result(image: Path) -> Sample:
        mask = out / f"{images[image]}.png"
        return Sample(partial(read_image, image), partial(read_mask, mask, labels), path=image)

    return write(Dataset(list(images), open_result, labels), out / format, format, tolerance=tolerance)


def _targets(sources: list[str], out: Path) -> tuple[dict[Path, Path], list[str]]:
    """Every input file with its result's path below OUT, without suffix; and files that are no images."""
    targets: dict[Path, Path] = {}
    taken: dict[Path, Path] = {}
    left_out: list[str] = []
    for source in sources:
        for file, target in _files(source, out, left_out):
            if taken.setdefault(target, file) != file:
                raise UsageError(
                    f"{taken[target]} and {file} would both become {target}.png; "
                    "predict them into different folders"
                )
            targets[file] = target
    inputs = {file.resolve() for file in targets}
    for file, target in targets.items():
        if (out / f"{target}.png").resolve() in inputs:
            raise UsageError(f"the result of {file} would overwrite an input in {out}; choose another --out")
    return targets, left_out


def _files(source: str, out: Path, left_out: list[str]) -> list[tuple[Path, Path]]:
    """The files that one SOURCE names, each with its path below OUT."""
    from pixelwise.io import is_image, walk_files
    from pixelwise.io.video import VIDEO_SUFFIXES

    path = Path(source)
    if path.is_dir():
        if out.resolve().is_relative_to(path.resolve()):
            raise UsageError(f"--out {out} lies inside the input folder {path}; choose one outside of it")
        found = [Path(folder) / name for folder, names in walk_files(path) for name in names]
        images = [file for file in found if is_image(file) or file.suffix.lower() in VIDEO_SUFFIXES]
        if not images:
            raise DataError(
                f"{path}: no images in this folder; expected JPEG, PNG, TIFF, BMP, WebP or video files"
            )
        left_out += [str(path / file) for file in sorted(set(found) - set(images))]
        return [(path / file, file.with_suffix("")) for file in sorted(images)]
    if path.exists():
        return [(path, Path(path.stem))]
    matches = [Path(match) for match in sorted(globbing.glob(source, recursive=True))]
    if not matches:
        raise DataError(f"{source}: no such file or folder, and no match as a pattern")
    fixed = Path(*takewhile(lambda part: not globbing.has_magic(part), path.parts))
    return [(match, match.relative_to(fixed).with_suffix("")) for match in matches]


def _write(segmentation: Segmentation, files: list[Path], overlay: bool) -> None:
    """Write the mask, the overlay and the probabilities: what of them ``files`` names, in this order."""
    import numpy as np

    from pixelwise.io import atomic_write, write_image

    segmentation.save(files[0])
    if overlay:
        write_image(files[1], segmentation.overlay())
    if segmentation.probabilities is not None:
        with atomic_write(files[-1]) as temporary:
            np.savez_compressed(temporary, probabilities=segmentation.probabilities.astype(np.float16))
