"""Round trips of real annotations through every format, and conversions that other tools made.

Every export below DIR is read, written in every format and read again; the table has the lowest IoU of any
class of any image, and what the format could not hold. With LabelMe's own conversions beside its samples,
their class masks are compared too.

Run: python benchmarks/formats.py --data DIR
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

import pixelwise as pw
from pixelwise.data.annotations import AnnotatedImage
from pixelwise.data.formats import TARGETS
from pixelwise.errors import PixelwiseError
from pixelwise.io import read_mask


def exports(root: Path) -> dict[str, pw.Dataset]:
    """Every file or folder that reads as shapes and has any, on images that are there."""
    found: dict[str, pw.Dataset] = {}
    for path in sorted(p for p in root.rglob("*") if p.is_dir() or p.suffix in (".json", ".xml", ".csv")):
        if any(parent in found for parent in map(str, path.parents)):
            continue
        try:
            data = pw.read(path)
            drawn = [
                i for i, sample in enumerate(data) if getattr(sample, "shapes", None) and _is_there(sample)
            ]
        except PixelwiseError:
            continue
        if drawn:
            found[str(path)] = data.subset(drawn)
    return found


def _is_there(sample: pw.Sample) -> bool:
    try:
        return sample.image.shape[:2] == sample.mask.shape
    except PixelwiseError:
        return False


def lowest_iou(before: pw.Dataset, after: pw.Dataset) -> float:
    """Of any class of any image; images are matched by their pixels, equal ones by what fits best."""
    table, _ = after.labels.lookup_from(before.labels)
    twins: dict[tuple[tuple[int, ...], bytes], list[np.ndarray]] = {}
    for sample in after:
        twins.setdefault((sample.image.shape, sample.image.tobytes()), []).append(sample.mask)
    return min(
        max(_iou(table[sample.mask], mask) for mask in twins[sample.image.shape, sample.image.tobytes()])
        for sample in before
    )


def _iou(first: np.ndarray, second: np.ndarray) -> float:
    values = []
    for class_id in np.unique(first):
        a, b = first == class_id, second == class_id
        values.append(float((a & b).sum() / (a | b).sum()))
    return min(values)


def round_trips(root: Path) -> None:
    totals: dict[str, list[float]] = {name: [] for name in TARGETS}
    losses: dict[str, Counter[str]] = {name: Counter() for name in TARGETS}
    sources = exports(root)
    for place, data in sources.items():
        for name in TARGETS:
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder) / "out"
                losses[name] += pw.write(data, out, name, images="link").losses
            held = holdable(data, TARGETS[name].HOLDS.kinds)
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder) / "out"
                pw.write(held, out, name, images="link")
                after = [pw.read(split if split.is_dir() else out, name) for split in _parts(out, held, name)]
                score = min(lowest_iou(part, again) for part, again in _pairs(held, after))
                totals[name].append(score)
                if score < 0.999:
                    print(f"{Path(place).relative_to(root)} as {name}: {score:.4f}")
    print(f"\n{len(sources)} exports, {sum(map(len, sources.values()))} images with shapes\n")
    print("| format | lowest IoU | what it cannot hold (how often) |")
    print("| --- | ---: | --- |")
    for name, scores in totals.items():
        lost = "; ".join(f"{reason} ({count})" for reason, count in losses[name].most_common())
        print(f"| {name} | {min(scores):.5f} | {lost or 'nothing'} |")


def holdable(data: pw.Dataset, kinds: frozenset[str]) -> pw.Dataset:
    """Without the lines and points that a format of areas leaves out."""

    def keep(record: AnnotatedImage) -> AnnotatedImage:
        areas = [s for s in record.shapes if s.kind in kinds or s.kind not in ("polyline", "points")]
        return replace(record, shapes=areas)

    records = [keep(record) for record in data.records]
    return pw.Dataset(records, data.open_record, data.labels, splits=data.split_of_each, root=data.root)


def _parts(out: Path, data: pw.Dataset, name: str) -> list[Path]:
    if TARGETS[name].HOLDS.splits or not data.splits:
        return [out]
    return [out / split for split in data.splits]


def _pairs(data: pw.Dataset, after: list[pw.Dataset]) -> list[tuple[pw.Dataset, pw.Dataset]]:
    if len(after) == 1:
        return [(data, after[0])]
    return list(zip((data.select(split) for split in data.splits), after, strict=True))


def labelme_conversions(root: Path) -> None:
    """Class masks that LabelMe wrote itself, beside its samples."""
    annotated = root / "labelme" / "semantic_segmentation"
    if not annotated.is_dir():
        return
    names = (annotated / "data_dataset_voc" / "class_names.txt").read_text().splitlines()
    print("\n| image | fill rule | pixels that agree | further than 1 px from an edge |")
    print("| --- | --- | ---: | ---: |")
    for rule in ("labelme", "centre"):
        for sample in pw.read(annotated / "data_annotated", labels=names, fill_rule=rule):
            golden = read_mask(annotated / "data_dataset_voc" / "SegmentationClass" / f"{sample.name}.png")
            wrong = (golden != sample.mask).astype(np.uint8)
            far = int((wrong.astype(bool) & ~(_edges(golden) | _edges(sample.mask))).sum())
            print(f"| {sample.name} | {rule} | {100 * (1 - wrong.mean()):.3f} % | {far} |")


def _edges(mask: np.ndarray) -> np.ndarray:
    """Pixels with another class among their eight neighbours."""
    kernel = np.ones((3, 3), np.uint8)
    return cv2.dilate(mask, kernel) != cv2.erode(mask, kernel)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="a folder of annotation exports")
    root = parser.parse_args().data
    round_trips(root)
    labelme_conversions(root)


if __name__ == "__main__":
    main()
