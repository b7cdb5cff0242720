"""Parts of pages that stand for themselves: what a data check found, what a detailed evaluation adds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pixelwise.evaluation import Evaluation
from pixelwise.labels import LabelMap
from pixelwise.report.figures import GREY, curve_figure
from pixelwise.report.wording import card, css, or_nan, percent, size_text


def check_section(check: dict[str, Any]) -> dict[str, Any] | None:
    """Images and class shares by split, and the problems, from what ``CheckReport.to_dict`` wrote."""
    if not check:
        return None
    splits, labels = check["splits"], LabelMap.from_dict(check["labels"])

    def row(name: str, cells: Iterable[str], colour: str = "") -> dict[str, Any]:
        return {"name": name, "colour": colour, "cells": list(cells)}

    shares = [
        row(
            name,
            (percent(split["classes"][name]["share"], digits=2) for split in splits.values()),
            css(colour),
        )
        for name, colour in zip(labels.names, labels.colours, strict=True)
    ]
    rows = [
        row("images", (f"{split['images']:,}" for split in splits.values())),
        row("with a mask", (f"{split['labelled']:,}" for split in splits.values())),
        row("median size", (size_text(split["sizes"].get("median")) for split in splits.values())),
        *shares,
        row("no label", (percent(split["ignored_share"], digits=2) for split in splits.values())),
    ]
    return {"splits": list(splits), "rows": rows, "problems": check["problems"]}


def details_section(evaluation: Evaluation) -> dict[str, Any] | None:
    """Outlines, sizes and confidence: cards, two charts and a row for each class."""
    found = evaluation.details
    if found is None:
        return None
    bands, calibration = found["bands"], found["calibration"]

    def measured(label: str, value: float | None, note: str) -> dict[str, str]:
        return card(label, percent(or_nan(value)), note)

    accuracy = ("pixel accuracy", GREY, list(map(or_nan, bands["accuracy"])))
    ious, confidence = list(map(or_nan, bands["mean_iou"])), list(map(or_nan, calibration["confidence"]))
    right = list(map(or_nan, calibration["accuracy"]))
    columns = ("boundary_f1", "boundary_iou", "average_precision", "small", "medium", "large")
    return {
        "cards": [
            measured("Boundary F1", found["boundary_f1"], "outlines within 0.75 % of the diagonal"),
            measured("Boundary IoU", found["boundary_iou"], "bands of 2 % of the diagonal"),
            measured("Mean average precision", found["mean_average_precision"], "of the pixel scores"),
            measured("Calibration error", calibration["expected_error"], "confidence against accuracy"),
        ],
        "curves": [
            {
                "title": "Near outlines",
                "svg": curve_figure(
                    "mean IoU",
                    bands["pixels"],
                    ious,
                    percent=True,
                    second=accuracy,
                    along="pixels from an outline",
                ),
            },
            {
                "title": "Reliability",
                "svg": curve_figure(
                    "share that is right",
                    confidence,
                    right,
                    second=("if confidence were true", GREY, confidence),
                    along="confidence",
                ),
            },
        ],
        "columns": ["Boundary F1", "Boundary IoU", "Average precision", "IoU small", "Medium", "Large"],
        "rows": [
            {
                "name": name,
                "colour": css(colour),
                "cells": [percent(or_nan(found["per_class"][name][column])) for column in columns],
            }
            for name, colour in zip(evaluation.labels.names, evaluation.labels.colours, strict=True)
        ],
    }
