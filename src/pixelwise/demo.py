"""The main job from end to end on generated streets: what ``pixelwise demo`` runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pixelwise.api import check, evaluate, load, read, train
from pixelwise.errors import PixelwiseError, UsageError

if TYPE_CHECKING:
    from pixelwise.inference import Segmenter
    from pixelwise.sample import Dataset, Sample

_MARK = ".pixelwise-demo"
_STILLS = 8
_CLIP_SEED, _CLIP_FRAMES, _CLIP_RATE = 1, 45, 15.0

# Chosen on the demo's validation images: so short a training wants high rates and mild augmentation.
_SETTINGS: dict[str, Any] = {
    "size": "240x180",
    "epochs": 40,
    "lr": 2e-3,
    "ema": 0.98,
    "class_weights": "sqrt-median",
    "scale_range": (0.7, 1.5),
    "rotate": 2.0,
    "colour": 0.7,
}


def demo(
    out: str | Path = "demo",
    *,
    minutes: float = 2.75,
    progress: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Make data, check it, train, evaluate on the test split, predict stills and a clip, write the report.

    Parameters
    ----------
    out
        The folder for the data, the run and the pictures; an earlier demo in it is replaced.
    minutes
        Longest training time.
    progress
        As in :func:`pixelwise.api.train`.

    Returns
    -------
    dict
        Paths of the report, the model, the stills and the clip; ``mean_iou`` and ``pixel_accuracy`` on the
        demo's test split, and the table as text under ``table``.

    Raises
    ------
    UsageError
        ``out`` holds something that is not an earlier demo.
    PixelwiseError
        The training was stopped.
    """
    from pixelwise.data.synthetic import demo_dataset, write_street
    from pixelwise.evaluation import pick_examples
    from pixelwise.io import write_json
    from pixelwise.report import write_run_report

    if minutes <= 0:
        raise UsageError(f"minutes must be above 0, found {minutes:g}")
    out, say = Path(out), progress or (lambda event: None)
    _clear(out)
    write_json(out / _MARK, {"made_by": "pixelwise demo"})

    streets = demo_dataset()
    say({"kind": "note", "text": f"drawing {len(streets)} streets into {out / 'data'}"})
    write_street(out / "data", streets, lambda n: say({"kind": "drawing", "done": n, "total": len(streets)}))
    data = read(out / "data")
    check(data).raise_for_errors()
    run = train(data, out=out / "run", max_minutes=minutes, progress=progress, **_SETTINGS)
    if not run.finished:
        raise PixelwiseError(f"the demo was {run.reason}; start it again: pixelwise demo --out {out}")

    segmenter, test = load(run.path), data.select("test")
    evaluation = evaluate(segmenter, test, progress=progress)
    evaluation.save(run.path / "evaluation.json")
    report = write_run_report(run.path, pick_examples(evaluation, test, segmenter))
    _predict_stills(segmenter, test[:_STILLS], out / "stills")
    _predict_clip(segmenter, out / "clip_overlay.mp4")
    result = {
        "report": str(report),
        "model": str(run.path),
        "stills": str(out / "stills"),
        "clip": str(out / "clip_overlay.mp4"),
        "mean_iou": evaluation.confusion.mean_iou(),
        "pixel_accuracy": evaluation.confusion.pixel_accuracy(),
        "training_minutes": round(run.seconds / 60, 2),
    }
    write_json(out / "demo.json", result)
    return result | {"table": evaluation.text()}


def _predict_stills(segmenter: Segmenter, samples: Dataset[Sample], folder: Path) -> None:
    from pixelwise.io import write_image

    for sample in samples:
        segmentation = segmenter.predict(sample.image)
        segmentation.save(folder / f"{sample.name}.png")
        write_image(folder / f"{sample.name}_overlay.jpg", segmentation.overlay())


def _predict_clip(segmenter: Segmenter, path: Path) -> None:
    from pixelwise.data.synthetic import street_clip
    from pixelwise.io.video import write_video

    clip = street_clip(_CLIP_SEED, frames=_CLIP_FRAMES, rate=_CLIP_RATE)
    frames = (clip.frame(number).image for number in range(len(clip)))
    write_video(path, (s.overlay() for s in segmenter.predict_video(frames)), _CLIP_RATE)


def _clear(out: Path) -> None:
    """Remove what an earlier demo wrote, and nothing else."""
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / _MARK).is_file()):
        raise UsageError(f"{out} is not empty and not an earlier demo; choose another --out")
    for name in ("data", "run", "stills"):
        shutil.rmtree(out / name, ignore_errors=True)
    for name in ("clip_overlay.mp4", "demo.json"):
        (out / name).unlink(missing_ok=True)
