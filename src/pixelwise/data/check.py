"""The data doctor: looks at every image and mask once and says what would spoil a training.

The questions it answers are the ones that users of segmentation libraries ask most: masks of 0 and 255,
ids out of range, sizes that differ, classes that never occur, the same image in train and val. How files
are looked at is in :mod:`pixelwise.data.inspection`, what comes out in :mod:`pixelwise.data.check_report`,
and how that is remembered in :mod:`pixelwise.data.check_memory`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pixelwise.data.check_memory import ReportMemory
from pixelwise.data.check_report import CheckReport, SplitSummary, plural
from pixelwise.data.inspection import Facts, Memory, inspect_all
from pixelwise.data.suspicion import KINDS
from pixelwise.errors import Problem
from pixelwise.labels import LabelMap
from pixelwise.sample import Dataset, Sample

__all__ = ["CheckReport", "SplitSummary", "check"]


def check(
    dataset: Dataset[Sample],
    *,
    cache: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> CheckReport:
    """Look at every image and mask of a data set and report what is there and what is wrong.

    Parameters
    ----------
    dataset
        Samples; for those without files there are counts, but no duplicates to find.
    cache
        Remember what was seen, under ``$XDG_CACHE_HOME/pixelwise`` (``~/.cache/pixelwise``), so that a
        second check looks only at files that have changed.
    progress
        Called with (samples done, samples in all) after each; once when no file has changed.

    Returns
    -------
    CheckReport
        Counts by split and class, and the problems.

    Raises
    ------
    UsageError
        The data set holds something else than samples.

    Examples
    --------
    >>> import numpy as np
    >>> mask = np.array([[0, 1], [1, 255]], np.uint8)
    >>> sample = Sample(np.zeros((2, 2, 3), np.uint8), mask)
    >>> report = check(Dataset([sample], lambda s: s, LabelMap(("road", "car"))))
    >>> report.ok, report.splits["all"].pixels.tolist(), report.splits["all"].ignored
    (True, [1, 2], 1)
    """
    memory = ReportMemory.of(dataset) if cache else None
    found = memory.recall() if memory is not None else None
    if found is None:
        found = _look_at_all(dataset, cache, progress)
        if memory is not None:
            memory.keep(*found)
    elif progress is not None:
        progress(len(dataset), len(dataset))
    splits, problems = found
    problems = sorted((*dataset.problems, *problems), key=lambda problem: problem.level != "error")
    return CheckReport(dataset.name, dataset.root, dataset.labels, splits, tuple(problems))


def _look_at_all(
    dataset: Dataset[Sample], cache: bool, progress: Callable[[int, int], None] | None
) -> tuple[dict[str, SplitSummary], list[Problem]]:
    parts = {name: dataset.select(name) for name in dataset.splits} or {"all": dataset}
    memory = Memory.of(dataset) if cache else None
    findings = _Findings(dataset.labels, dataset.root, parts)
    done = 0
    try:
        for split, part in parts.items():
            for image, mask, facts in inspect_all(part, memory):
                findings.add(split, image, mask, facts)
                done += 1
                if progress is not None:
                    progress(done, len(dataset))
    finally:  # a long check that is interrupted goes on where it stopped
        if memory is not None:
            memory.save()
    return findings.splits, list(findings.problems())


class _Findings:
    """Adds up the facts of all samples, and draws the conclusions at the end."""

    def __init__(self, labels: LabelMap, root: Path | None, splits: Iterable[str]) -> None:
        self.labels = labels
        self.above = f"{root}/" if root is not None else ""
        self.splits = {name: SplitSummary.empty(len(labels)) for name in splits}
        self.values: set[int] = set()
        self.files_by_value: dict[int, list[str]] = defaultdict(list)
        self.copies: dict[str, list[tuple[str, str]]] = defaultdict(list)  # digest: (split, file)
        self.bad_images: dict[str, str] = {}  # file: why
        self.bad_masks: dict[str, str] = {}
        self.mismatches: dict[str, Facts] = {}
        self.unlabelled: list[str] = []
        self.all_ignored: list[str] = []
        self.lossy: list[str] = []
        self.suspects: dict[str, list[str]] = defaultdict(list)  # kind: places

    def add(self, split: str, image: str, mask: str, facts: Facts) -> None:
        """Count one sample."""
        summary = self.splits[split]
        image, mask = self._short(image), self._short(mask)
        label_file = mask or image or f"sample {summary.images} of {split}"
        summary.images += 1
        summary.shapes.update(facts.shapes)
        for kind, number, label in facts.suspects:
            self.suspects[kind].append(f"{image or label_file}: shape {number} ({label})")
        if facts.size is not None:
            summary.sizes[facts.size] += 1
        if facts.image_error:
            self.bad_images[image or label_file] = self._short(facts.image_error)
        if facts.digest:
            self.copies[facts.digest].append((split, image))
        if facts.mask_error:
            self.bad_masks[label_file] = self._short(facts.mask_error)
        for value in facts.unlisted:
            self.files_by_value[value].append(label_file)
        if facts.mask_size is not None:
            self._add_mask(summary, label_file, facts)
        elif not facts.mask_error and not facts.unlisted:
            self.unlabelled.append(label_file)

    def _add_mask(self, summary: SplitSummary, file: str, facts: Facts) -> None:
        count = len(self.labels)
        summary.labelled += 1
        summary.ignored += facts.counts.get(self.labels.ignore, 0)
        known = {value: pixels for value, pixels in facts.counts.items() if value < count}
        labelled = sum(known.values())
        for class_id, pixels in known.items():
            summary.pixels[class_id] += pixels
            summary.images_with[class_id] += 1
            summary.pixels_around[class_id] += labelled
        for value in facts.counts.keys() - known.keys() - {self.labels.ignore}:
            self.files_by_value[value].append(file)
        self.values |= facts.counts.keys()
        if facts.counts.keys() == {self.labels.ignore}:
            self.all_ignored.append(file)
        if facts.size and facts.size != facts.mask_size:
            self.mismatches[file] = facts
        if file.lower().endswith((".jpg", ".jpeg")):
            self.lossy.append(file)

    def _short(self, text: str) -> str:
        """File names as seen from the data folder."""
        return text.replace(self.above, "", 1)

    def problems(self) -> Iterator[Problem]:
        """What is wrong, by kind."""
        yield from self._files()
        yield from self._values()
        yield from self._classes()
        yield from self._shapes()
        yield from self._duplicates()

    def _files(self) -> Iterator[Problem]:
        yield from _unreadable("image", self.bad_images)
        yield from _unreadable("mask", self.bad_masks)
        if self.mismatches:
            facts = next(iter(self.mismatches.values()))
            sizes = f"{_size(facts.mask_size)} for an image of {_size(facts.size)}"
            turned = all(f.size and f.mask_size == f.size[::-1] for f in self.mismatches.values())
            hint = (
                "rotate the masks as the EXIF tag of their images says"
                if turned
                else "export the masks again"
            )
            message = f"{plural(len(self.mismatches), 'mask')} of another size than the image, first {sizes}"
            yield Problem(
                "error", "size_mismatch", message, f"{hint}, at the size of the image", tuple(self.mismatches)
            )
        if self.lossy:
            message = f"{plural(len(self.lossy), 'mask')} stored as JPEG, which changes values"
            yield Problem("warning", "lossy_mask", message, "export the masks as PNG", tuple(self.lossy))
        if self.unlabelled:
            message = f"{plural(len(self.unlabelled), 'image')} without a mask"
            fix = "label them, or leave them out of training"
            yield Problem("warning", "unlabelled", message, fix, tuple(self.unlabelled))
        if self.all_ignored:
            message = f"{plural(len(self.all_ignored), 'mask')} in which every pixel is ignored"
            fix = "check their colours against the class file, or remove them"
            yield Problem("warning", "all_ignored", message, fix, tuple(self.all_ignored))

    def _values(self) -> Iterator[Problem]:
        if not self.files_by_value:
            return
        values = sorted(self.files_by_value)
        shown = ", ".join(f"{v} (in {plural(len(self.files_by_value[v]), 'mask')})" for v in values[:8])
        more = f" and {len(values) - 8} more" if len(values) > 8 else ""
        files = dict.fromkeys(file for value in values for file in self.files_by_value[value])
        if len(self.labels) == 2 and len(values) > 8:
            fix = "make the masks hard, 0 or 1, without soft edges (threshold at half), and store them as PNG"
        else:
            fix = (
                f"name them in the class file, or translate: --map {values[0]}={self.labels.ignore} "
                f"ignores the value, --map {values[0]}=ID makes it the class of that id"
            )
        ids = f"the classes have ids 0 to {len(self.labels) - 1}, {self.labels.ignore} is ignored"
        yield Problem(
            "error",
            "unknown_values",
            f"mask values that are no class: {shown}{more}; {ids}",
            fix,
            tuple(files),
        )

    def _classes(self) -> Iterator[Problem]:
        occurring = {name: set(s.pixels.nonzero()[0].tolist()) for name, s in self.splits.items()}
        present: set[int] = set().union(*occurring.values())
        if self.labels.ignore == 255 and self.values == {0, 255} and len(self.labels) > 1:
            name = self.labels.names[1]
            message = "the masks hold only 0 and 255, and 255 means ignored: nothing but one class is left"
            yield Problem("error", "binary_0_255", message, f"if 255 is '{name}', say so: --map 255=1")
        elif self.values and not self.files_by_value and len(present) < 2:
            names = ", ".join(self._names(present)) or "none"
            message = f"there is nothing to tell apart: the only class in the masks is {names}"
            yield Problem("error", "one_class", message, "check the class file and the values in the masks")
        elif absent := set(range(len(self.labels))) - present:
            message = f"{plural(len(absent), 'class')} without a pixel: {', '.join(self._names(absent))}"
            yield Problem(
                "warning", "absent_class", message, "they cannot be learnt; remove them, or label some"
            )
        for name, held_out in occurring.items():
            unseen = held_out - occurring.get("train", held_out)
            if unseen:
                names = ", ".join(self._names(unseen))
                message = f"{plural(len(unseen), 'class')} in {name} but not in train: {names}"
                yield Problem("warning", "unseen_class", message, "move some of their images to train")

    def _names(self, ids: set[int]) -> list[str]:
        return [self.labels.names[class_id] for class_id in sorted(ids)]

    def _shapes(self) -> Iterator[Problem]:
        for kind, (message, fix) in KINDS.items():
            if places := self.suspects.get(kind):
                yield Problem("warning", kind, f"{message}: {len(places)}", fix, tuple(places))

    def _duplicates(self) -> Iterator[Problem]:
        leaked: dict[tuple[str, ...], list[str]] = defaultdict(list)
        repeated: dict[str, list[str]] = defaultdict(list)
        for places in self.copies.values():
            splits = dict.fromkeys(split for split, _ in places)
            if len(splits) > 1:
                leaked[tuple(splits)] += dict.fromkeys(file for _, file in places)
            for split in splits:
                files = dict.fromkeys(file for where, file in places if where == split)
                if len(files) > 1:
                    repeated[split] += files
        for splits_of, files_of in leaked.items():
            in_train = "train" in splits_of
            message = f"the same images are in {', '.join(splits_of)}: {plural(len(files_of), 'file')}"
            fix = "keep each image in one split" + (", or the score measures memory" if in_train else "")
            yield Problem("error" if in_train else "warning", "leak", message, fix, tuple(files_of))
        for split, files_in in repeated.items():
            where = "" if split == "all" else f" in {split}"
            message = f"the same image under several names{where}: {plural(len(files_in), 'file')}"
            yield Problem("warning", "duplicates", message, "keep one of each", tuple(files_in))


def _unreadable(noun: str, bad: dict[str, str]) -> Iterator[Problem]:
    """One problem for each kind of reason; reasons differ in the details that they give in brackets."""
    kinds: dict[str, list[str]] = defaultdict(list)
    for file, reason in bad.items():
        kinds[re.sub(r"\(.*\)", "", reason.removeprefix(f"{file}: "))].append(file)
    for files in kinds.values():
        what, _, fix = bad[files[0]].removeprefix(f"{files[0]}: ").partition("; ")
        message = f"{plural(len(files), noun)} cannot be read: {what}"
        fix = fix or "replace the files, or remove them"
        yield Problem("error", f"unreadable_{noun}", message, fix, tuple(files))


def _size(size: tuple[int, int] | None) -> str:
    return f"{size[1]}x{size[0]}" if size else "unknown size"
