"""Collect what a run or an evaluation left behind and fill the page's template with it."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from pixelwise import draw
from pixelwise.data.geometry import to_polygon
from pixelwise.errors import DataError, UsageError
from pixelwise.evaluation import Evaluation
from pixelwise.io import write_text
from pixelwise.labels import LabelMap
from pixelwise.report.figures import GREY, ORANGE, curve_figure, picture_uri
from pixelwise.report.sections import check_section, details_section
from pixelwise.report.wording import card, chip, css, duration, percent, short

if TYPE_CHECKING:
    import jinja2

_MATRIX_CLASSES = 40  # more would be unreadable; the largest confusions are listed in any case
_CONFUSIONS = 8
_PACKAGES = ("pixelwise", "numpy", "torch", "timm", "openvino", "onnxruntime", "opencv-python-headless")

Example = Mapping[str, Any]


def write_run_report(run_dir: str | Path, examples: Sequence[Example] = ()) -> Path:
    """Write ``report.html`` for a training run: one file that needs nothing else.

    Reads ``config.yaml``, and as far as they are there ``plan.json``, ``data.json``, ``metrics.jsonl``,
    ``check.json``, ``evaluation.json`` and ``bundle/bundle.json``.

    Parameters
    ----------
    run_dir
        The run folder.
    examples
        Dictionaries with ``title``, ``image`` (H×W×3 uint8), ``target`` and ``prediction`` (H×W class ids),
        and perhaps ``group`` ("worst" or "best"), as :func:`pixelwise.evaluation.pick_examples` gives them.

    Returns
    -------
    The page's path.

    Raises
    ------
    UsageError
        The folder holds no run.
    DataError
        One of the files is damaged.
    """
    run_dir = Path(run_dir)
    if not (run_dir / "config.yaml").is_file():
        raise UsageError(f"{run_dir}: not a run folder (no config.yaml)")
    config = _read_yaml(run_dir / "config.yaml")
    bundle = _read_json(run_dir / "bundle" / "bundle.json")
    check = _read_json(run_dir / "check.json")
    history = _read_history(run_dir / "metrics.jsonl")
    evaluation_file = run_dir / "evaluation.json"
    evaluation = Evaluation.load(evaluation_file) if evaluation_file.is_file() else None
    labels = _labels_of_run(evaluation, [bundle, check], history, examples)
    architecture = " + ".join(str(config[key]) for key in ("arch", "encoder") if config.get(key))
    page = {
        "title": run_dir.resolve().name,
        "kind": "Training report",
        "subtitle": [architecture, evaluation.title if evaluation else ""],
        "cards": [*_score_cards(evaluation, history), *_run_cards(history, bundle)],
        "curves": _curves(history),
        "check": check_section(check),
        "tables": [
            ("Decided from the data", _rows(_read_json(run_dir / "plan.json"))),
            ("Settings", _rows(config)),
            ("Data", _rows(_read_json(run_dir / "data.json"))),
            ("Time and versions", [*_timings(history, evaluation), *versions()]),
        ],
    }
    path = run_dir / "report.html"
    write_page(path, page, evaluation, labels, examples)
    return path


def write_evaluation_report(
    evaluation: Evaluation, path: str | Path, examples: Sequence[Example] = (), title: str = ""
) -> Path:
    """Write the page of an evaluation: one HTML file that needs nothing else.

    Parameters
    ----------
    evaluation
        What was found.
    path
        The page to write.
    examples
        As in :func:`write_run_report`.
    title
        The page's heading, such as the model's name; the data set's when empty.

    Returns
    -------
    The page's path.
    """
    page = {
        "title": title or evaluation.title,
        "kind": "Evaluation report",
        "subtitle": [evaluation.title if title else "", f"{len(evaluation.images)} images"],
        "cards": _score_cards(evaluation, []),
        "curves": [],
        "check": None,
        "tables": [("Time and versions", [*_timings([], evaluation), *versions()])],
    }
    write_page(Path(path), page, evaluation, evaluation.labels, examples)
    return Path(path)


def _labels_over(image: np.ndarray, mask: np.ndarray, shapes: Any, labels: LabelMap) -> np.ndarray:
    """The class colours over the image, with the outlines that somebody drew."""
    known = np.where(mask < len(labels), mask, labels.ignore)
    painted = draw.overlay(image, known, labels, 0.45, 0 if shapes else max(1, image.shape[1] // 400))
    rings, colours = [], []
    for shape in shapes or ():
        if shape.label in labels.names and shape.kind not in ("polyline", "points"):
            outline = to_polygon(shape.geometry, *mask.shape)
            for ring in outline.rings:
                rings += [ring.exterior, *ring.holes]
                colours += [labels.colours[labels.index(shape.label)]] * (1 + len(ring.holes))
    return draw.outlines(painted, rings, colours, max(1, image.shape[1] // 400)) if rings else painted


def write_page(
    path: Path,
    page: dict[str, Any],
    evaluation: Evaluation | None,
    labels: LabelMap | None,
    examples: Sequence[Example],
) -> None:
    """Fill the template with what a page says and write it; what only evaluations have may be missing."""
    page |= {
        "made": datetime.now().strftime("%d %B %Y, %H:%M").lstrip("0"),
        "subtitle": [part for part in page["subtitle"] if part],
        "tables": [(heading, rows) for heading, rows in page["tables"] if rows],
        "classes": _class_rows(evaluation) if evaluation else [],
        "details": details_section(evaluation) if evaluation else None,
        "matrix": _matrix(evaluation) if evaluation else [],
        "confusions": _largest_confusions(evaluation) if evaluation else [],
        "remarks": evaluation.remarks() if evaluation else [],
        "examples": _example_groups(examples, labels) if labels else [],
        "legend": _legend(examples, labels) if labels else [],
        "numbers": _numbers(evaluation) if evaluation else None,
        "data_only": page.get("data_only", False),
    }
    write_text(path, template("template.html").render(page))


def _score_cards(evaluation: Evaluation | None, history: list[dict[str, Any]]) -> list[dict[str, str]]:
    if evaluation is None:
        scores = [
            line["mean_iou"] for line in history if line["kind"] == "val" and line["mean_iou"] is not None
        ]
        best = [score for score in scores if not math.isnan(score)]
        return [card("Mean IoU", percent(max(best)), "best validation")] if best else []
    matrix = evaluation.confusion
    low, high = evaluation.interval()
    return [
        card("Mean IoU", percent(matrix.mean_iou()), f"95 % interval {percent(low)} to {percent(high)}"),
        card("Pixel accuracy", percent(matrix.pixel_accuracy()), "of all labelled pixels"),
        card("Frequency-weighted IoU", percent(matrix.frequency_weighted_iou()), "large classes weigh more"),
        card("Mean F1", percent(matrix.mean_f1()), "the Dice coefficient"),
        card("Images", f"{len(evaluation.images):,}", f"{short(int(matrix.counts.sum()))} labelled pixels"),
    ]


def _run_cards(history: list[dict[str, Any]], bundle: dict[str, Any]) -> list[dict[str, str]]:
    cards = []
    if "parameters" in bundle:
        cards.append(card("Parameters", short(bundle["parameters"]), str(bundle.get("architecture", ""))))
    if history:
        last = history[-1]
        cards.append(card("Training time", duration(last["seconds"]), f"{last['step']:,} steps"))
    return cards


def _curves(history: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Title and SVG of each chart that has at least two points."""
    train = [line for line in history if line["kind"] == "train"]
    val = [line for line in history if line["kind"] == "val"]
    curves = []
    if len(train) > 1:
        steps = [line["step"] for line in train]
        loss = curve_figure("loss", steps, _column(train, "loss"), smooth=True)
        curves.append({"title": "Training loss", "svg": loss})
    if len(val) > 1:
        accuracy = ("pixel accuracy", GREY, _column(val, "pixel_accuracy"))
        steps = [line["step"] for line in val]
        scores = curve_figure("mean IoU", steps, _column(val, "mean_iou"), percent=True, second=accuracy)
        curves.append({"title": "Validation", "svg": scores})
    if len(train) > 1:
        steps = [line["step"] for line in train]
        rate = curve_figure("learning rate", steps, _column(train, "lr"), colour=ORANGE)
        curves.append({"title": "Learning rate", "svg": rate})
    return curves


def _column(lines: list[dict[str, Any]], key: str) -> list[float]:
    return [math.nan if line.get(key) is None else float(line[key]) for line in lines]


def _class_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    matrix = evaluation.confusion
    shares = matrix.counts.sum(axis=1) / max(int(matrix.counts.sum()), 1)
    columns = matrix.iou(), matrix.f1(), matrix.precision(), matrix.recall(), shares
    return [
        {
            "name": name,
            "colour": css(colour),
            "width": 0.0 if math.isnan(iou) else round(100 * float(iou), 2),
            "iou": percent(iou),
            "cells": [percent(f1), percent(precision), percent(recall), percent(share)],
        }
        for name, colour, iou, f1, precision, recall, share in zip(
            evaluation.labels.names, evaluation.labels.colours, *columns, strict=True
        )
    ]


def _matrix(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Rows of the confusion matrix as percentages of each true class; empty when there are too many."""
    names = evaluation.labels.names
    if len(names) > _MATRIX_CLASSES:
        return []
    return [
        {
            "name": name,
            "colour": css(colour),
            "cells": [
                {
                    "text": "" if share < 0.005 else f"{100 * share:.0f}",
                    "strength": round(float(share), 3),
                    "tip": f"{name} taken for {other}: {percent(share)}"
                    if other != name
                    else f"{name}: {percent(share)}",
                }
                for other, share in zip(names, row, strict=True)
            ],
        }
        for name, colour, row in zip(
            names, evaluation.labels.colours, _shares_of_true(evaluation), strict=True
        )
    ]


def _largest_confusions(evaluation: Evaluation) -> list[dict[str, Any]]:
    """The most frequent mistakes, by the share of all labelled pixels."""
    counts = evaluation.confusion.counts * (1 - np.eye(len(evaluation.labels), dtype=np.int64))
    shares = _shares_of_true(evaluation)
    total = max(int(evaluation.confusion.counts.sum()), 1)
    rows = []
    for position in np.argsort(counts, axis=None)[::-1][:_CONFUSIONS]:
        true, predicted = np.unravel_index(position, counts.shape)
        if counts[true, predicted] == 0:
            break
        rows.append(
            {
                "true": chip(evaluation.labels, int(true)),
                "predicted": chip(evaluation.labels, int(predicted)),
                "of_class": percent(float(shares[true, predicted])),
                "of_all": percent(float(counts[true, predicted]) / total, digits=2),
            }
        )
    return rows


def _shares_of_true(evaluation: Evaluation) -> np.ndarray:
    counts = evaluation.confusion.counts
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def _example_groups(examples: Sequence[Example], labels: LabelMap) -> list[dict[str, Any]]:
    """Examples by group, in the order in which the groups appear."""
    headings = {"worst": "Where it fails most", "best": "Where it does best", "": "Examples"}
    groups: dict[str, list[dict[str, Any]]] = {}
    for example in examples:
        group = str(example.get("group", ""))
        shown = {"title": str(example["title"]), "pictures": _pictures(example, labels)}
        groups.setdefault(headings.get(group, group), []).append(shown)
    return [{"heading": heading, "examples": shown} for heading, shown in groups.items()]


def _pictures(example: Example, labels: LabelMap) -> list[dict[str, str]]:
    image, target = (np.asarray(example[key]) for key in ("image", "target"))
    lines = max(1, image.shape[1] // 400)
    if "prediction" not in example:
        labelled = _labels_over(image, target, example.get("shapes"), labels)
        pictures = {"image": image, "labels": labelled}
    else:
        prediction = np.asarray(example["prediction"])
        pictures = {
            "image": image,
            "truth": draw.overlay(image, target, labels, 0.7, lines),
            "prediction": draw.overlay(image, prediction, labels, 0.7, lines),
            "errors": draw.error_picture(image, prediction, target, labels.ignore),
        }
    return [{"name": name, "uri": picture_uri(picture)} for name, picture in pictures.items()]


def _legend(examples: Sequence[Example], labels: LabelMap) -> list[dict[str, str]]:
    """The classes that occur in the examples."""
    seen = {
        int(i)
        for example in examples
        for key in ("target", "prediction")
        if key in example
        for i in np.unique(np.asarray(example[key]))
    }
    return [chip(labels, position) for position in sorted(seen) if position < len(labels)]


def _numbers(evaluation: Evaluation) -> dict[str, Any]:
    """The evaluation for programs that read the page; the scores of every image stay in its own file."""
    return {key: value for key, value in evaluation.to_dict().items() if key != "per_image"}


def _timings(history: list[dict[str, Any]], evaluation: Evaluation | None) -> list[tuple[str, str]]:
    rows = []
    speeds = [line["images_per_second"] for line in history if line.get("images_per_second")]
    if history:
        rows.append(("Training", duration(history[-1]["seconds"])))
    if speeds:
        rows.append(("Training speed", f"{float(np.median(speeds)):.1f} images a second (median)"))
    if evaluation and evaluation.images and evaluation.seconds:
        each = 1000 * evaluation.seconds / len(evaluation.images)
        rows.append(
            ("Evaluation", f"{duration(evaluation.seconds)}, {each:.0f} ms an image, reading included")
        )
    return rows


def versions() -> list[tuple[str, str]]:
    """Rows of what this ran on, with the packages that matter."""
    rows = [("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")]
    for package in _PACKAGES:
        try:
            rows.append((package, metadata.version(package)))
        except metadata.PackageNotFoundError:
            continue
    return rows


def _labels_of_run(
    evaluation: Evaluation | None,
    files: Iterable[dict[str, Any]],
    history: list[dict[str, Any]],
    examples: Sequence[Example],
) -> LabelMap | None:
    """The classes from whichever file knows them."""
    if evaluation:
        return evaluation.labels
    for file in files:
        if "labels" in file:
            return LabelMap.from_dict(file["labels"])
    names = next((tuple(line["per_class_iou"]) for line in history if line.get("per_class_iou")), ())
    if not names and examples:
        raise UsageError("examples need class names: the run has neither evaluation.json nor a bundle yet")
    return LabelMap(names) if names else None


def _read_json(path: Path) -> dict[str, Any]:
    """A JSON object; an empty one when there is no such file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise DataError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not valid YAML ({str(error).splitlines()[0]})") from None
    if not isinstance(value, dict):
        raise DataError(f"{path}: expected 'setting: value' lines")
    return value


def _read_history(path: Path) -> list[dict[str, Any]]:
    """The lines of ``metrics.jsonl``; a last line that a crash cut off is dropped."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    history = []
    for number, line in enumerate(lines, 1):
        try:
            history.append(json.loads(line))
        except ValueError as error:
            if number == len(lines):
                break
            raise DataError(f"{path}: line {number} is not valid JSON ({error})") from None
    return history


def _rows(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(str(key).replace("_", " "), _plain(value)) for key, value in values.items()]


def _plain(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_plain(v)}" for key, v in value.items()) or "-"
    if isinstance(value, Iterable) and not isinstance(value, str):
        return ", ".join(_plain(v) for v in value) or "-"
    return str(value)


def template(name: str) -> jinja2.Template:
    """One of the pages of this package, which share their style."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pixelwise.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(name)
