"""Is a local copy of a public data set complete? What is missing is named, with the place it belongs to.

Folders, list files and the names of samples are compared with what the data set's module says; samples
that are incomplete come from its reader. Nothing is written and, without ``statistics``, no pixel is read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, Protocol

from pixelwise.data.check import CheckReport, check
from pixelwise.data.classes import Classes
from pixelwise.data.datasets.catalogue import PublicDataset
from pixelwise.data.datasets.listing import MISSING
from pixelwise.errors import DataError, Problem, UsageError
from pixelwise.sample import Dataset


class Source(Protocol):
    """What a module about a public data set must have.

    It may also have ``official(root)``: the files of a complete copy, relative to the root and in the
    layout that it has. A suffix may differ there.
    """

    INFO: PublicDataset

    def recognise(self, root: Path) -> bool:
        """Whether a folder holds the data set; looks at names only."""

    def read(
        self, root: Path, labels: Classes | None = None, mapping: Mapping[int, int] | None = None
    ) -> Dataset[Any]:
        """Its samples, unread."""


class Missing(NamedTuple):
    """A file or folder that is not where it was expected; the path is relative to the data's root."""

    path: str
    what: str


@dataclass(frozen=True)
class Verification:
    """What a local copy of a public data set has and lacks.

    Attributes
    ----------
    name, root
        The data set, and the folder that was looked at.
    found, official
        Samples by split: those that are complete here, and those of a complete copy.
    missing
        Every file and folder that is missing, each with the place where it was expected.
    problems
        What else is wrong: files that cannot be read, and the findings of the data check.
    shares, weights
        Of the classes, by split and of the training split, when statistics were asked for: the fraction of
        all pixels, and median-frequency weights.
    """

    name: str
    root: Path
    found: Mapping[str, int]
    official: Mapping[str, int]
    missing: tuple[Missing, ...] = ()
    problems: tuple[Problem, ...] = ()
    shares: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether nothing is missing and no split is short of samples."""
        return not self.missing and all(self.found.get(s, 0) >= count for s, count in self.official.items())

    @property
    def ok(self) -> bool:
        """Whether it is complete and nothing is an error."""
        return self.complete and not any(problem.level == "error" for problem in self.problems)

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {
            "name": self.name,
            "root": str(self.root),
            "ok": self.ok,
            "complete": self.complete,
            "found": dict(self.found),
            "official": dict(self.official),
            "missing": [{"path": path, "what": what} for path, what in self.missing],
            "problems": [vars(problem) | {"files": list(problem.files)} for problem in self.problems],
            "shares": {split: dict(shares) for split, shares in self.shares.items()},
            "weights": dict(self.weights),
        }

    def text(self) -> str:
        """Counts, what is missing and what is wrong, as plain text; every missing file has its line."""
        return "\n".join([*self._counts(), *self._lacks(), *self._wrong(), *self._classes()]) + "\n"

    def _counts(self) -> Iterator[str]:
        yield f"{self.name} in {self.root}: {'complete' if self.complete else 'NOT complete'}"
        for split in dict.fromkeys((*self.official, *self.found)):
            found = self.found.get(split, 0)
            expected = f" of {self.official[split]:,}" if split in self.official else " (not official)"
            yield f"  {split}: {found:,}{expected}"

    def _lacks(self) -> Iterator[str]:
        if self.missing:
            yield f"missing: {len(self.missing):,}"
        yield from (f"  {path}  ({what})" for path, what in self.missing)

    def _wrong(self, shown: int = 5) -> Iterator[str]:
        for problem in self.problems:
            yield f"{problem.level}: {problem.message}"
            if problem.fix:
                yield f"  fix: {problem.fix}"
            yield from (f"    {file}" for file in problem.files[:shown])
            if len(problem.files) > shown:
                yield f"    and {len(problem.files) - shown} more"

    def _classes(self) -> Iterator[str]:
        if not self.shares:
            return
        width = max(map(len, ("class", *self.weights)))
        yield f"{'class':<{width}}" + "".join(f"{split:>12}" for split in self.shares) + f"{'weight':>12}"
        for name, weight in self.weights.items():
            cells = "".join(f"{100 * shares[name]:>10.2f} %" for shares in self.shares.values())
            yield f"{name:<{width}}{cells}{weight:>12.4f}"


def verify_copy(
    source: Source,
    root: str | Path,
    statistics: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Verification:
    """Compare a folder with what a data set's module says; see :func:`pixelwise.data.datasets.verify`."""
    info, root = source.INFO, Path(root).expanduser()
    if statistics and info.task != "image":
        raise UsageError(f"{info.name} holds no images: pixels of classes are counted in images only")
    if not root.is_dir():
        return Verification(
            info.name, root, {}, dict(info.splits), (Missing(".", f"the folder {root} itself"),)
        )
    try:
        data = source.read(root)
    except DataError as error:
        missing = (*_missing_folders(info, root), *_missing_files(source, root))
        unreadable = Problem("error", "unreadable", str(error))
        return Verification(info.name, root, {}, dict(info.splits), _distinct(missing), (unreadable,))
    base = data.root or root
    missing = (*_missing_folders(info, base), *_incomplete(data), *_missing_files(source, base))
    problems = tuple(problem for problem in data.problems if problem.code not in MISSING)
    result = Verification(
        info.name,
        root,
        {split: len(data.select(split)) for split in data.splits} or {"all": len(data)},
        dict(info.splits),
        _distinct(missing),
        problems,
    )
    return _with_statistics(result, check(data, progress=progress)) if statistics else result


def _missing_folders(info: PublicDataset, root: Path) -> Iterator[Missing]:
    for first, *others in info.folders:
        if not any((root / place).exists() for place in (first, *others)):
            more = f" and {len(others) - 2} more places" if len(others) > 2 else ""
            hint = f", or {', '.join(others[:2])}{more}" if others else ""
            kind = "list" if first.endswith(".txt") else "folder"
            yield Missing(first, kind + hint)


def _incomplete(data: Dataset[Any]) -> Iterator[Missing]:
    """The other halves of samples that the reader had to leave out."""
    for problem in data.problems:
        if problem.code in MISSING:
            yield from (Missing(file, MISSING[problem.code]) for file in problem.files)


def _missing_files(source: Source, root: Path) -> Iterator[Missing]:
    """Files of a complete copy that are not there under any suffix."""
    names: Callable[[Path], Iterable[str]] = getattr(source, "official", lambda root: ())
    present: dict[str, set[str]] = {}
    for path in names(root):
        folder, name = os.path.split(path)
        if folder not in present:
            there = os.listdir(root / folder) if (root / folder).is_dir() else []
            present[folder] = {os.path.splitext(file)[0] for file in there}
        if os.path.splitext(name)[0] not in present[folder]:
            yield Missing(path, "file of the complete data set")


def _distinct(missing: Iterable[Missing]) -> tuple[Missing, ...]:
    """Each place once, and nothing below a folder that is missing as a whole."""
    kept: dict[str, Missing] = {}
    folders: set[str] = set()
    for entry in missing:
        above = {parent.as_posix() for parent in PurePosixPath(entry.path).parents}
        if not above & folders:
            kept.setdefault(os.path.splitext(entry.path)[0], entry)
        if entry.what.startswith("folder"):
            folders.add(entry.path)
    return tuple(kept.values())


def _with_statistics(result: Verification, report: CheckReport) -> Verification:
    names = report.labels.names
    # What the reader said is there already, and images without a mask are those whose labels are held back.
    known = {*MISSING, "unlabelled", *(problem.code for problem in result.problems)}
    return replace(
        result,
        problems=(*result.problems, *(problem for problem in report.problems if problem.code not in known)),
        shares={
            split: dict(zip(names, map(float, summary.shares), strict=True))
            for split, summary in report.splits.items()
        },
        weights=dict(zip(names, map(float, report.class_weights()), strict=True)),
    )
