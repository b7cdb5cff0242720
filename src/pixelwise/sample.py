"""What flows through the house: Sample, Clip, Cloud, Volume, and the Dataset that holds them.

Pixels are lazy everywhere: a field may be given as an array or as a callable without arguments that
makes the array when it is first touched. Opening a data set of 100,000 images therefore reads none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

import numpy as np

from pixelwise.errors import Problem, unknown_name
from pixelwise.labels import LabelMap
from pixelwise.shapes import Shape

Lazy = np.ndarray | Callable[[], np.ndarray]
"""An array, or a callable without arguments that makes it."""


class Sample:
    """One image with whatever is known about its pixels.

    Parameters
    ----------
    image
        H×W×3 uint8 RGB (H×W×C of any dtype for rasters), or a callable that reads it. Only touching
        ``.image`` reads it, so labels and geometry are there even when the image file is missing.
    mask
        H×W uint8 or uint16 class ids, the ignored id where there is no label.
    instances
        H×W int32 instance ids, 0 where there is none.
    weights
        Named H×W float32 maps, such as U-Net's border weights under ``"border"``.
    shapes
        What somebody drew on the image, when the labels come from an annotation tool.
    path
        Where the image came from.
    meta
        Anything else: ``split``, ``mask_path``, ``lanes``, ...

    Examples
    --------
    >>> sample = Sample(np.zeros((4, 6, 3), np.uint8), mask=lambda: np.ones((4, 6), np.uint8))
    >>> sample.mask.sum(), sample.size
    (np.uint64(24), (4, 6))
    """

    def __init__(
        self,
        image: Lazy,
        mask: Lazy | None = None,
        *,
        instances: Lazy | None = None,
        weights: Mapping[str, Lazy] | None = None,
        shapes: Sequence[Shape] | None = None,
        path: str | Path | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        self._image = image
        self._mask = mask
        self._instances = instances
        self._weights = dict(weights or {})
        self.shapes = None if shapes is None else tuple(shapes)
        self.path = None if path is None else Path(path)
        self.meta = dict(meta or {})

    @property
    def image(self) -> np.ndarray:
        """H×W×3 uint8 RGB, or H×W×C for rasters."""
        self._image = image = _realise(self._image)
        return image

    @property
    def mask(self) -> np.ndarray | None:
        """H×W class ids, or None when the sample has no labels."""
        if self._mask is None:
            return None
        self._mask = mask = _realise(self._mask)
        return mask

    @property
    def instances(self) -> np.ndarray | None:
        """H×W int32 instance ids (0: none), or None."""
        if self._instances is None:
            return None
        self._instances = instances = _realise(self._instances)
        return instances

    @property
    def weights(self) -> dict[str, np.ndarray]:
        """Named H×W float32 weight maps."""
        realised = {name: _realise(value) for name, value in self._weights.items()}
        self._weights.update(realised)
        return realised

    @property
    def labelled(self) -> bool:
        """Whether there is a mask (without reading it)."""
        return self._mask is not None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels; reads the image."""
        return self.image.shape[0], self.image.shape[1]

    @property
    def name(self) -> str:
        """The image's file stem, or an empty string."""
        return self.path.stem if self.path else str(self.meta.get("name", ""))

    def replace(self, **changes: Any) -> Sample:
        """A copy with some fields changed; the others stay lazy.

        Shapes are what was drawn on this very picture, so a copy with other pixels or another mask has none.
        """
        if changes.keys() & {"image", "mask"}:
            changes.setdefault("shapes", None)
        fields: dict[str, Any] = {
            "image": self._image,
            "mask": self._mask,
            "instances": self._instances,
            "weights": self._weights,
            "shapes": self.shapes,
            "path": self.path,
            "meta": self.meta,
        }
        return Sample(**(fields | changes))


@dataclass
class Clip:
    """Frames with times, and masks for some of them.

    Attributes
    ----------
    frames
        T lazy frames, each H×W×3 uint8 RGB; read one through :meth:`frame`.
    times
        T seconds since the start.
    masks
        Sparse class ids H×W by frame number.
    instances
        Sparse instance ids H×W int32 by frame number.
    flow
        Sparse optical flow H×W×2 float32 (dx, dy) in pixels by frame number t, from frame t to t-1.
    """

    frames: Sequence[Lazy]
    times: Sequence[float]
    masks: Mapping[int, Lazy] = field(default_factory=dict)
    instances: Mapping[int, Lazy] = field(default_factory=dict)
    flow: Mapping[int, Lazy] = field(default_factory=dict)
    path: Path | None = None
    meta: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.frames)

    def frame(self, number: int) -> Sample:
        """One frame as a Sample, with its mask and instances when it has them."""
        meta = {"frame": number, "time": self.times[number]}
        return Sample(
            self.frames[number],
            self.masks.get(number),
            instances=self.instances.get(number),
            path=self.path,
            meta=self.meta | meta,
        )


@dataclass
class Cloud:
    """Points with named feature columns.

    Attributes
    ----------
    xyz
        N×3 float64 world coordinates; networks get :meth:`local` ones.
    features
        Named columns of N (or N×C) values, such as ``intensity`` or ``rgb``.
    labels
        N class ids, or None.
    """

    xyz: np.ndarray
    features: dict[str, np.ndarray] = field(default_factory=dict)
    labels: np.ndarray | None = None
    path: Path | None = None
    meta: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.xyz)

    def local(self) -> tuple[np.ndarray, np.ndarray]:
        """N×3 float32 coordinates relative to an offset, and that offset (3 float64).

        World coordinates of a survey need more digits than float32 has, so the subtraction comes first.
        """
        offset = np.floor(self.xyz.min(axis=0)) if len(self.xyz) else np.zeros(3)
        return (self.xyz - offset).astype(np.float32), offset


Held = TypeVar("Held")


class _LazyField(Generic[Held]):
    """A dataclass field that may be given as a callable, which is called when the field is first touched."""

    def __init__(self, *default: Held) -> None:
        self._default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = f"_{name}"

    def __get__(self, holder: object, owner: type) -> Held:
        if holder is None:  # the dataclass asks for the default
            if not self._default:
                raise AttributeError(self._name)
            return self._default[0]
        held = vars(holder)
        if callable(held[self._name]):
            held[self._name] = held[self._name]()
        value: Held = held[self._name]
        return value

    def __set__(self, holder: object, value: Held | Callable[[], np.ndarray]) -> None:
        vars(holder)[self._name] = value


@dataclass(repr=False)
class Volume:
    """A voxel grid with its place in space.

    Attributes
    ----------
    array
        X×Y×Z (or X×Y×Z×C) voxels of any dtype, or a callable that reads them when they are touched.
    affine
        4×4 voxel-to-world matrix in millimetres.
    mask
        X×Y×Z class ids, or a callable that reads them, or None.
    meta
        Anything else: ``split``, ``mask_path``, ``header`` (what a file says beside its voxels), ...

    Examples
    --------
    >>> volume = Volume(lambda: np.zeros((4, 5, 6), np.int16), np.diag([0.5, 0.5, 2, 1]))
    >>> volume.spacing, volume.array.shape, volume.mask
    ((0.5, 0.5, 2.0), (4, 5, 6), None)
    """

    array: _LazyField[np.ndarray] = _LazyField()
    affine: np.ndarray = field(default_factory=lambda: np.eye(4))
    mask: _LazyField[np.ndarray | None] = _LazyField(None)
    path: Path | None = None
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel edge lengths in millimetres, from the affine's columns."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def labelled(self) -> bool:
        """Whether there is a mask (without reading it)."""
        return vars(self)["_mask"] is not None

    def __repr__(self) -> str:
        spacing = "x".join(f"{side:g}" for side in self.spacing)
        return f"Volume({str(self.path or self.meta.get('name', 'in memory'))!r}, {spacing} mm)"


T = TypeVar("T")


class Dataset(Sequence[T], Generic[T]):
    """A sequence of samples (clips, clouds, volumes) that share one label map.

    It holds light records (mostly paths) and opens one only when it is indexed.

    Parameters
    ----------
    records
        One light description per sample.
    open_record
        Makes the sample of a record.
    labels
        The classes.
    name
        What to call it in tables and reports.
    splits
        The split of every record (``"train"``, ``"val"``, ...), or None when there is only one.
    root
        The folder it was read from.
    problems
        What listing the files found wrong, such as images without a mask.
    files_of
        Names the files that the sample of a record is made from, the image and the mask, without opening
        it. Records with the same files must give the same sample: a check that finds all files as they
        were looks at none of them again.

    Examples
    --------
    >>> records = [1, 2, 3]
    >>> data = Dataset(records, lambda r: Sample(np.full((2, 2, 3), r, np.uint8)), LabelMap(("a",)))
    >>> len(data), int(data[1].image[0, 0, 0]), len(data[1:])
    (3, 2, 2)
    """

    def __init__(
        self,
        records: Sequence[Any],
        open_record: Callable[[Any], T],
        labels: LabelMap,
        *,
        name: str = "data",
        splits: Sequence[str] | None = None,
        root: Path | None = None,
        problems: Sequence[Problem] = (),
        files_of: Callable[[Any], tuple[str, str]] | None = None,
    ) -> None:
        self.records = records
        self.open_record = open_record
        self.labels = labels
        self.name = name
        self.root = root
        self.problems = tuple(problems)
        self.files_of = files_of
        self._splits = splits

    def __len__(self) -> int:
        return len(self.records)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Dataset[T]: ...
    def __getitem__(self, index: int | slice) -> T | Dataset[T]:
        if isinstance(index, slice):
            return self.subset(range(len(self))[index])
        return self.open_record(self.records[index])

    def __iter__(self) -> Iterator[T]:
        return (self.open_record(record) for record in self.records)

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the splits it holds, in the order they appear; empty when it is not split."""
        return tuple(dict.fromkeys(self._splits or ()))

    @property
    def split_of_each(self) -> Sequence[str] | None:
        """The split of every sample, or None when it is not split."""
        return self._splits

    @property
    def split(self) -> str | None:
        """The one split that it holds, or None."""
        return self.splits[0] if len(self.splits) == 1 else None

    def select(self, split: str) -> Dataset[T]:
        """Only the samples of one split; an unknown name raises UsageError."""
        if split not in self.splits:
            raise unknown_name("split", split, self.splits)
        return self.subset([i for i, s in enumerate(self._splits or ()) if s == split])

    def subset(self, indices: Sequence[int]) -> Dataset[T]:
        """The samples at ``indices``, in that order; reads nothing."""
        return Dataset(
            [self.records[i] for i in indices],
            self.open_record,
            self.labels,
            name=self.name,
            splits=None if self._splits is None else [self._splits[i] for i in indices],
            root=self.root,
            problems=self.problems,
            files_of=self.files_of,
        )

    def __repr__(self) -> str:
        splits = f", splits={'/'.join(self.splits)}" if self.splits else ""
        return f"Dataset({self.name!r}, {len(self)} samples, {len(self.labels)} classes{splits})"


def _realise(value: Lazy) -> np.ndarray:
    return value() if callable(value) else value
