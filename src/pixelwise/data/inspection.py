"""Looking at one sample after another for the data doctor, and remembering what was seen.

Every image is decoded to its last byte and every mask is counted, by several threads, each sample leaving
a few numbers behind: memory does not grow with the pictures. What was seen is kept in the user's cache
folder by file size and time; the data folder is never written to.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pixelwise.data.suspicion import find_suspects
from pixelwise.errors import PixelwiseError, UsageError
from pixelwise.io import UnknownValuesError, is_image, verify_image, write_text
from pixelwise.sample import Dataset, Sample

_CACHE_VERSION = 3  # of the facts: another one forgets all
_PER_TASK = 32
_TASKS_AHEAD = 64
_COUNTED_AT_ONCE = 1 << 20


@dataclass
class Facts:
    """What one sample is like: small enough to keep for every sample of a large data set.

    Attributes
    ----------
    size, mask_size
        (height, width) in pixels, None where there is nothing or it cannot be read.
    digest
        Equal for images with the same bytes; empty without a file.
    counts
        Pixels by mask value.
    unlisted
        Mask values that the class file does not list.
    image_error, mask_error
        Why it cannot be read, or empty.
    shapes
        Shapes by class name, where the labels were drawn.
    suspects
        Shapes that look wrong: (kind, number in the list, label).
    """

    size: tuple[int, int] | None = None
    digest: str = ""
    image_error: str = ""
    mask_size: tuple[int, int] | None = None
    counts: dict[int, int] = field(default_factory=dict)
    unlisted: tuple[int, ...] = ()
    mask_error: str = ""
    shapes: dict[str, int] = field(default_factory=dict)
    suspects: tuple[tuple[str, int, str], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """What there is to say: empty fields are left away, as most are."""
        return {name: value for name, value in vars(self).items() if value}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Facts:
        """Read what :meth:`to_json` gave, after its way through JSON."""
        facts = cls(**values)
        facts.counts = {int(value): count for value, count in facts.counts.items()}
        facts.size = None if facts.size is None else (facts.size[0], facts.size[1])
        facts.mask_size = None if facts.mask_size is None else (facts.mask_size[0], facts.mask_size[1])
        facts.unlisted = tuple(facts.unlisted)
        facts.suspects = tuple((kind, number, label) for kind, number, label in facts.suspects)
        return facts


class Seen(NamedTuple):
    """A sample's facts with its files, which are empty for samples that have none."""

    image: str
    mask: str
    facts: Facts


class Memory:
    """Facts by record, valid as long as the sample's files keep their size and time.

    Only samples whose labels come from a file that ``meta["mask_path"]`` names are remembered: for others
    a change could not be noticed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._new = False
        self._known: dict[str, list[Any]] = {}
        with suppress(OSError, ValueError, TypeError):  # none yet, or damaged: look again
            self._known = dict(json.loads(path.read_text(encoding="utf-8")))

    @classmethod
    def of(cls, dataset: Dataset[Any]) -> Memory | None:
        """The memory of a data set; None if nobody can tell how its samples are made."""
        path = memory_file(dataset)
        return None if path is None else cls(path)

    def recall(self, record: Any, stamp: list[int]) -> Facts | None:
        """What was seen of a record, unless its files have changed since."""
        known = self._known.get(_key(record))
        return Facts.from_json(dict(known[1])) if known is not None and known[0] == stamp else None

    def keep(self, record: Any, stamp: list[int], facts: Facts) -> None:
        """Remember what was seen of a record."""
        self._known[_key(record)] = [stamp, facts.to_json()]
        self._new = True

    def save(self) -> None:
        """Write it down, if there is anything new."""
        if not self._new:
            return
        with suppress(PixelwiseError):  # a cache that cannot be written costs time next time, nothing else
            write_text(self.path, json.dumps(self._known, separators=(",", ":")))


def memory_file(dataset: Dataset[Any]) -> Path | None:
    """Where the facts are kept, a file for each way of making samples (classes, values); None if unclear."""
    try:
        making = pickle.dumps((_CACHE_VERSION, dataset.open_record, dataset.labels.to_dict()))
    except (pickle.PicklingError, AttributeError, TypeError):
        return None
    return cache_folder() / "check" / f"{hashlib.blake2b(making, digest_size=12).hexdigest()}.json"


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/pixelwise``, by default ``~/.cache/pixelwise``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pixelwise"


def inspect_all(dataset: Dataset[Sample], memory: Memory | None) -> Iterator[Seen]:
    """Look at every sample, in order; a bounded number of results waits to be fetched.

    Raises
    ------
    UsageError
        The data set holds something else than samples.
    """
    tasks = [
        range(start, min(start + _PER_TASK, len(dataset))) for start in range(0, len(dataset), _PER_TASK)
    ]
    with ThreadPoolExecutor(min(_processors(), 16)) as pool:
        for start in range(0, len(tasks), _TASKS_AHEAD):
            results = pool.map(
                lambda task: _inspect(dataset, task, memory), tasks[start : start + _TASKS_AHEAD]
            )
            yield from chain.from_iterable(results)


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _inspect(dataset: Dataset[Sample], indices: Sequence[int], memory: Memory | None) -> list[Seen]:
    return [_inspect_one(dataset, index, memory) for index in indices]


def _inspect_one(dataset: Dataset[Sample], index: int, memory: Memory | None) -> Seen:
    record = dataset.records[index]
    sample: Sample | None = None
    files: tuple[str | Path | None, ...]
    if dataset.files_of is not None:  # what is remembered need not be opened at all
        files = dataset.files_of(record)
    else:
        sample = _open(dataset, index)
        files = sample.path, sample.meta.get("mask_path")
    stamp = file_stamp(*files) if memory is not None else None
    facts = memory.recall(record, stamp) if memory is not None and stamp is not None else None
    if facts is None:
        facts = _look(sample or _open(dataset, index))
        if memory is not None and stamp is not None:
            memory.keep(record, stamp, facts)
    image, mask = (str(file or "") for file in files)
    return Seen(image, mask, facts)


def _open(dataset: Dataset[Sample], index: int) -> Sample:
    sample = dataset[index]
    if not isinstance(sample, Sample):
        raise UsageError(
            f"check looks at images with masks, and {dataset.name} holds {type(sample).__name__}s"
        )
    return sample


def _key(record: Any) -> str:
    return hashlib.blake2b(pickle.dumps(record), digest_size=12).hexdigest()


def file_stamp(*paths: str | Path | None) -> list[int] | None:
    """Size and times of files, or None when one is missing.

    The time of the last change of any kind is among them: an older version that is copied back may well
    have the size and the time of the newer one.
    """
    try:
        stats = [os.stat(path) for path in paths if path is not None]
    except OSError:
        return None
    if len(stats) != len(paths):
        return None
    return [number for s in stats for number in (s.st_size, s.st_mtime_ns, s.st_ctime_ns)]


def _look(sample: Sample) -> Facts:
    facts = Facts()
    try:
        facts.size = _image_size(sample)
        facts.digest = _digest(sample.path)
    except PixelwiseError as error:
        facts.image_error = str(error)
    try:
        mask = sample.mask
    except UnknownValuesError as error:
        facts.unlisted = error.values
    except PixelwiseError as error:
        facts.mask_error = str(error)
    else:
        if mask is not None:
            facts.mask_size = (mask.shape[0], mask.shape[1])
            facts.counts = _count(mask)
    if facts.size and facts.mask_size and facts.size != facts.mask_size:
        facts.size = sample.size  # a sample may be a part of its file
    if sample.shapes is not None:
        facts.shapes = dict(Counter(shape.label for shape in sample.shapes))
        height, width = facts.mask_size or facts.size or (0, 0)
        facts.suspects = tuple(find_suspects(sample.shapes, height, width))
    return facts


def _image_size(sample: Sample) -> tuple[int, int]:
    if sample.path is not None and sample.path.suffix.lower() in (".jpg", ".jpeg"):
        return verify_image(sample.path)  # the whole file is read, at a third of the time
    return sample.size


def _digest(path: Path | None) -> str:
    if path is None or not is_image(path) or not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _count(mask: np.ndarray) -> dict[int, int]:
    """Pixels by value, in pieces: ``bincount`` makes 8 bytes of every pixel."""
    flat = mask.ravel()
    counts = np.zeros(int(flat.max(initial=0)) + 1, np.int64)
    for start in range(0, len(flat), _COUNTED_AT_ONCE):
        counts += np.bincount(flat[start : start + _COUNTED_AT_ONCE], minlength=len(counts))
    return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
