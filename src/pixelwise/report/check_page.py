"""The page of a data check: class balance, problems, and samples with their labels to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pixelwise.data import CheckReport
from pixelwise.data.suspicion import KINDS as SUSPICIOUS
from pixelwise.errors import PixelwiseError
from pixelwise.report.pages import versions, write_page
from pixelwise.report.sections import check_section
from pixelwise.report.wording import card
from pixelwise.sample import Dataset, Sample


def write_check_report(
    report: CheckReport, dataset: Dataset[Sample], path: str | Path, samples: int = 12
) -> Path:
    """Write the page of a data check: one HTML file that needs nothing else.

    Parameters
    ----------
    report
        What :func:`pixelwise.data.check` found.
    dataset
        The data set that was checked.
    path
        The page to write.
    samples
        How many images to show with their labels: those with suspicious shapes first, then others spread
        evenly over the splits.

    Returns
    -------
    The page's path.
    """
    page = {
        "title": report.name,
        "kind": "Data check",
        "data_only": True,
        "subtitle": [str(report.root or "")],
        "cards": _check_cards(report),
        "curves": [],
        "check": check_section(report.to_dict()),
        "tables": [("Versions", versions())],
    }
    write_page(Path(path), page, None, report.labels, _labelled_examples(report, dataset, samples))
    return Path(path)


def _check_cards(report: CheckReport) -> list[dict[str, str]]:
    splits = report.splits
    images, shapes = sum(s.images for s in splits.values()), sum(s.shapes.total() for s in splits.values())
    by_split = ", ".join(f"{name} {split.images:,}" for name, split in splits.items() if name != "all")
    cards = [
        card("Images", f"{images:,}", by_split or "not split"),
        card("Classes", str(len(report.labels)), f"{report.labels.ignore} is ignored"),
    ]
    if shapes:
        cards.append(card("Shapes", f"{shapes:,}", f"{shapes / max(images, 1):.1f} an image"))
    found = f"{len(report.errors)} errors, {len(report.warnings)} warnings"
    return [*cards, card("Problems", str(len(report.problems)), found)]


def _labelled_examples(report: CheckReport, dataset: Dataset[Sample], count: int) -> list[dict[str, Any]]:
    """Samples worth looking at, with the shapes or the mask over the image."""
    suspects = {place.split(": ")[0] for p in report.problems if p.code in SUSPICIOUS for place in p.files}
    chosen: list[dict[str, Any]] = []
    spread = np.linspace(0, len(dataset) - 1, min(4 * count, len(dataset))).astype(int).tolist()
    doubtful = [i for i in range(len(dataset)) if _place(dataset, i) in suspects] if suspects else []
    for index in dict.fromkeys([*doubtful[: count // 2], *spread]):
        if len(chosen) == count:
            break
        sample = dataset[index]
        try:
            image, mask = sample.image, sample.mask
        except PixelwiseError:
            continue  # the list of problems says why
        if mask is None or image.dtype != np.uint8 or image.shape != (*mask.shape, 3):
            continue
        group = "Suspicious shapes" if index in doubtful else "Samples"
        title = ": ".join(filter(None, (sample.meta.get("split"), _place(dataset, index))))
        example = {"title": title, "group": group, "image": image, "target": mask, "shapes": sample.shapes}
        chosen.append(example)
    return chosen


def _place(dataset: Dataset[Sample], index: int) -> str:
    """The sample's file as the check names it."""
    sample = dataset[index]
    file = str(sample.path or sample.meta.get("mask_path") or sample.name)
    return file.replace(f"{dataset.root}/", "", 1) if dataset.root is not None else file
