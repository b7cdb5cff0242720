"""``pixelwise predict``: masks for images, folders, globs and videos."""

from __future__ import annotations

import glob as globbing
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pixelwise.cli.display import Display
from pixelwise.cli.options import Device, Engine, Json, Precision, Quiet, Scale, Tile, parse_size
from pixelwise.errors import DataError, UsageError

if TYPE_CHECKING:
    from pixelwise.data import WriteReport
    from pixelwise.inference import Segmentation, Segmenter
    from pixelwise.labels import LabelMap


def command(
    sources: Annotated[
        list[str], typer.Argument(metavar="SOURCE...", help="Images, folders, globs or videos.")
    ],
    model: Annotated[str, typer.Option("--model", "-m", help="A bundled name, a bundle or a run folder.")],
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
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Label images: OUT/<relative>/<stem>.png holds class ids with a palette, at the image's size.

    A video gives OUT/<stem>/<frame>.png, and OUT/overlay/<stem>.mp4 with --overlay.

    Example: pixelwise predict photos/ --model runs/street --out predictions --overlay
    """
    from pixelwise.api import load
    from pixelwise.inference import predict_files
    from pixelwise.io.video import VIDEO_SUFFIXES

    targets, left_out = _targets(sources, out)
    if annotations is not None:
        _check_annotations(annotations, out)
    segmenter = load(model, engine, precision, device, scale=scale, tile=parse_size(tile, "--tile"))  # type: ignore[arg-type]
    videos = [path for path in targets if path.suffix.lower() in VIDEO_SUFFIXES]
    images = [path for path in targets if path.suffix.lower() not in VIDEO_SUFFIXES]

    if videos and probabilities:
        raise UsageError("--probabilities is for images; a video would give one large file per frame")

    def write(path: Path, segmentation: Segmentation) -> None:
        _write(segmentation, out, targets[path], overlay)

    failures: dict[str, str] = {}
    with Display(quiet, json) as display:
        for done, outcome in enumerate(predict_files(segmenter, images, write, probabilities), 1):
            display({"kind": "predict", "done": done, "total": len(images)})
            if outcome.error:
                failures[str(outcome.path)] = outcome.error
        frames = 0
        for path in videos:
            try:
                frames += _predict_video(segmenter, path, out, targets[path], overlay, display)
            except DataError as error:
                failures[str(path)] = str(error)
        written = None
        if annotations is not None:
            done_images = {path: targets[path] for path in images if str(path) not in failures}
            written = _write_annotations(done_images, segmenter.labels, out, annotations, tolerance)
    document: dict[str, Any] = {
        "out": str(out),
        "images": sum(str(path) not in failures for path in images),
        "frames": frames,
        "failed": failures,
        "not_images": left_out,
        "engine": segmenter.engine.name,
        "precision": segmenter.engine.precision,
    }
    parts = [f"{document['images']} images"] * bool(images) + [f"{frames} video frames"] * bool(videos)
    lines = [
        f"{' and '.join(parts)} labelled in {out} ({segmenter.engine.name}, {segmenter.engine.precision})"
    ]
    lines += [f"failed: {error}" for error in failures.values()]
    if written is not None:
        lines.append(written.text())
        document["annotations"] = written.to_dict()
    if left_out:
        lines.append(f"left out, not images: {len(left_out)} ({', '.join(left_out[:5])}, ...)")
    display.result("\n".join(lines), document)
    if failures:
        raise typer.Exit(3)


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


def _write(segmentation: Segmentation, out: Path, target: Path, overlay: bool) -> None:
    import numpy as np

    from pixelwise.io import atomic_write, write_image

    segmentation.save(out / target.parent / f"{target.name}.png")
    if overlay:
        write_image(out / "overlay" / target.parent / f"{target.name}.png", segmentation.overlay())
    if segmentation.probabilities is not None:
        with atomic_write(out / target.parent / f"{target.name}.npz") as temporary:
            np.savez_compressed(temporary, probabilities=segmentation.probabilities.astype(np.float16))


def _predict_video(
    segmenter: Segmenter, path: Path, out: Path, target: Path, overlay: bool, display: Display
) -> int:
    from pixelwise.io.video import frame_rate, write_video

    def label() -> Iterator[Any]:
        for number, segmentation in enumerate(segmenter.predict_video(path)):
            segmentation.save(out / target / f"{number:06d}.png")
            display({"kind": path.name, "done": number + 1, "total": number + 1})
            yield segmentation.overlay() if overlay else None

    if overlay:
        return write_video(out / "overlay" / f"{target}.mp4", label(), frame_rate(path))
    return sum(1 for _ in label())
