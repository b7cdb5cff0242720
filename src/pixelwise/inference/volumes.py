"""Volumes from file to file: a NIfTI file or a DICOM series in, class ids on exactly its grid out.

Models of volumes look at overlapping patches. Models of images look at slices, made the way their training
slices were: the bundle remembers axis, window, neighbours and orientation. Slices across several axes can be
averaged as probabilities; across other axes than the trained one they are stretched until pixels are square,
because the network knows no other proportions. In the trained direction pixels are taken as they are.

Source of averaging over three axes: Roth and others, "A new 2.5D representation for lymph node detection
using random sets of deep convolutional neural network observations", MICCAI 2014 (arXiv:1406.2639), in the
form that QuickNAT (arXiv:1801.04161) uses, with equal weights.

Memory holds the source's voxels (mapped, where a file is not compressed), the mask and a few planes.
Probabilities of a whole volume lie in a temporary file beside the result.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pixelwise.augment import resize_image
from pixelwise.bundles import Manifest
from pixelwise.bundles.manifest import VolumeReading
from pixelwise.errors import DataError, UsageError, shape_text
from pixelwise.inference.ensemble import Ensemble
from pixelwise.inference.probabilities import probabilities_of
from pixelwise.inference.segmenter import Predictor, Segmenter
from pixelwise.inference.tiling import blend_tiles, padded_logits
from pixelwise.io import explained
from pixelwise.io.dicom import Series, read_series
from pixelwise.io.volumes import (
    Slicing,
    Window,
    canonical_order,
    canonical_view,
    from_picture,
    is_volume,
    read_volume,
    slice_image,
)
from pixelwise.io.volumes_write import check_suffix, write_labels, write_probabilities
from pixelwise.kernels.upsample import upsample_logits
from pixelwise.labels import LabelMap
from pixelwise.sample import Volume

Progress = Callable[[int, int], None]

_AXES = "xyz"
_SQUARE = 0.05  # pixels whose sides differ by less are taken for square
_CHUNK_BYTES = 128 << 20  # of float32 planes that are added to the temporary file at once
_MILLIMETRES = {"meter": 1e3, "micron": 1e-3}


@dataclass(frozen=True)
class VolumeReport:
    """What was found in a volume.

    Attributes
    ----------
    shape
        (X, Y, Z) voxels, as they are stored.
    spacing
        Millimetres between them.
    voxels, millilitres
        By the name of the class.
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    voxels: dict[str, int]
    millilitres: dict[str, float]

    def text(self) -> str:
        """For people: the grid, then a line for each class that was found."""
        spacing = "x".join(f"{side:.3g}" for side in self.spacing)
        lines = [f"{shape_text(self.shape)} voxels of {spacing} mm"]
        for name, count in self.voxels.items():
            if count:
                volume = self.millilitres[name]
                shown = f"{volume:,.1f}" if volume >= 1 else f"{volume:.2g}"
                lines.append(f"  {name}: {shown} ml ({count:,} voxels)")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, for JSON."""
        return asdict(self) | {"shape": list(self.shape), "spacing": list(self.spacing)}


def label_volume(
    segmenter: Predictor,
    source: str | Path | Series,
    target: str | Path,
    *,
    axes: str | None = None,
    window: Window | None = None,
    probabilities: str | Path | None = None,
    progress: Progress | None = None,
) -> VolumeReport:
    """Label every voxel of a file or series, and write the class ids on its grid.

    Parameters
    ----------
    segmenter
        A model of volumes or of images.
    source
        A ``.nii`` or ``.nii.gz`` file, a folder that holds one DICOM series, or one that
        :func:`pixelwise.io.dicom.find_series` found.
    target
        The ``.nii.gz`` or ``.nii`` file to write: integers with the source's affine, codes and units, and the
        classes' names. Multilabel models give 0 and 1 with the classes along a fourth axis.
    axes
        Models of images only: the axes to cut slices across, such as ``"z"``, or ``"xyz"`` to average three.
        They are those of the patient (right, front, head) if the model was trained so. None takes the trained
        one, z if the bundle says none.
    window
        Models of images only: intensities that become 0 and 255, in the place of the bundle's.
    probabilities
        Also write this ``.nii.gz`` or ``.nii`` file: X×Y×Z×classes (one plane of a binary model), 0 to 1.
    progress
        Called with slices (or rows of patches) done and their total.

    Returns
    -------
    VolumeReport
        Voxels and millilitres of each class.

    Raises
    ------
    DataError
        The source cannot be read, holds nothing or voxels that are no numbers, or has other channels than
        the model takes. Nothing is written then.
    UsageError
        A window is needed and nobody says one; ``axes`` or ``window`` make no sense; ``target`` is no NIfTI
        file, or the source itself.
    PixelwiseError
        The result cannot be written.

    Examples
    --------
    >>> import pixelwise as pw
    >>> from pixelwise.inference.volumes import label_volume
    >>> report = label_volume(pw.load("runs/liver"), "ct.nii.gz", "out/ct.nii.gz")    # doctest: +SKIP
    >>> report.millilitres["liver"]                                                    # doctest: +SKIP
    1523.4
    """
    target = Path(target)
    chances = None if probabilities is None else Path(probabilities)
    _check_targets(source, target, chances)
    manifest = _manifest_of(segmenter)
    if axes is not None or window is not None:
        _check_options(manifest, axes, window)
    volume = _open(source)
    voxels = _checked_voxels(volume)
    job = _Job(segmenter, manifest, volume, voxels, progress or (lambda done, total: None))
    with ExitStack() as stack:
        averaging = axes is not None and len(axes) > 1
        store = stack.enter_context(_scratch(target, job.store_shape)) if chances or averaging else None
        if manifest.task == "volume":
            job.label_patches(store)
        else:
            job.label_slices(axes, window, store)
        if chances is not None:
            assert store is not None
            write_probabilities(chances, volume, store)
        labelled = replace(volume, mask=job.mask)
        report = _report(labelled, segmenter.labels)
        write_labels(target, labelled, segmenter.labels)
    return report


def volume_bands(segmenter: Segmenter, voxels: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Blended logits of X×Y×Z×C voxels: the first row of each band along X, and K×rows×Y×Z float32."""

    def logits_of(part: np.ndarray) -> np.ndarray:
        return padded_logits(
            part.astype(np.float32), lambda padded: segmenter.engine.run(padded[None], "logits")[0]
        )

    return blend_tiles(voxels, segmenter.tile or segmenter.bundle.manifest.working.tile, logits_of)


def label_voxels(segmenter: Segmenter, voxels: np.ndarray) -> np.ndarray:
    """The mask of X×Y×Z×C voxels in memory: X×Y×Z class ids, or K×X×Y×Z of 0 and 1 when multilabel."""
    head, dtype = segmenter.bundle.manifest.head, segmenter.labels.dtype
    bands = [_decide_logits(band, head).astype(dtype) for _, band in volume_bands(segmenter, voxels)]
    return np.concatenate(bands, axis=-3)


class _Job:
    """One volume being labelled.

    ``view`` is the voxels as the model was trained to see them, ``mask_view`` the mask in the same order.
    """

    def __init__(
        self, segmenter: Predictor, manifest: Manifest, volume: Volume, voxels: np.ndarray, progress: Progress
    ) -> None:
        self.segmenter = segmenter
        self.manifest = manifest
        self.volume = volume
        self.name = str(volume.path)
        self.progress = progress
        # Bundles of volumes that do not say how they were read have always been given voxels as stored.
        unknown = VolumeReading(canonical=manifest.task == "image")
        self.reading = manifest.volumes or unknown
        self.view = self._seen(voxels)
        several = (len(segmenter.labels),) if manifest.head == "multilabel" else ()
        self.mask = np.zeros((*several, *voxels.shape[:3]), segmenter.labels.dtype)
        self.mask_view = self._seen_planes(self.mask) if several else self._seen(self.mask)
        order = canonical_order(volume.affine, self.name) if self.reading.canonical else (0, 1, 2)
        self.spacing = tuple(volume.spacing[axis] for axis in order)

    @property
    def store_shape(self) -> tuple[int, ...]:
        """Classes × X × Y × Z; a binary model has one plane."""
        planes = 1 if self.manifest.head == "binary" else len(self.segmenter.labels)
        return (planes, *self.mask.shape[-3:])

    def label_patches(self, store: np.ndarray | None) -> None:
        """With a model of volumes."""
        assert isinstance(self.segmenter, Segmenter)
        if self.view.shape[3] != self.manifest.in_channels:
            raise self._wrong_channels(self.view.shape[3])
        chances = None if store is None else self._seen_planes(store)
        total = self.view.shape[0]
        for start, band in volume_bands(self.segmenter, self.view):
            stop = start + band.shape[1]
            self.mask_view[..., start:stop, :, :] = _decide_logits(band, self.manifest.head)
            if chances is not None:
                chances[:, start:stop] = probabilities_of(band, self.manifest.head)
            self.progress(stop, total)

    def label_slices(self, axes: str | None, window: Window | None, store: np.ndarray | None) -> None:
        """With a model of images, across one axis or several."""
        trained = 2 if self.reading.axis is None else self.reading.axis
        order = [trained] if axes is None else [_AXES.index(axis) for axis in axes]
        look = _Look(self, window or self.reading.window, trained)
        total = sum(self.view.shape[axis] for axis in order)
        if store is None:
            self._decide_planes(look, order[0], total)
        else:
            self._average(look, order, self._seen_planes(store), total)

    def _decide_planes(self, look: _Look, axis: int, total: int) -> None:
        """The quick way: no probability is needed."""
        mask = np.moveaxis(self.mask_view, axis - 3, 0)
        for index in range(total):
            mask[index] = look.mask(axis, index)
            self.progress(index + 1, total)

    def _average(self, look: _Look, order: list[int], sums: np.ndarray, total: int) -> None:
        """Add up probabilities in ``sums``, and decide while the last axis is added."""
        done = 0
        for axis in order:
            count = self.view.shape[axis]
            here = np.moveaxis(sums, axis + 1, 1)
            mask = np.moveaxis(self.mask_view, axis - 3, -3)
            chunk = max(1, _CHUNK_BYTES // max(1, here[:, 0].size * 4))
            for start in range(0, count, chunk):
                stop = min(start + chunk, count)
                planes = np.empty((len(here), stop - start, *here.shape[2:]), np.float32)
                for index in range(start, stop):
                    planes[:, index - start] = look.probabilities(axis, index)
                    done += 1
                    self.progress(done, total)
                planes /= len(order)
                if axis != order[0]:
                    planes += here[:, start:stop]
                here[:, start:stop] = planes
                if axis == order[-1]:
                    mask[..., start:stop, :, :] = _decide_probabilities(planes, self.manifest.head)

    def _seen(self, array: np.ndarray) -> np.ndarray:
        """A view of X×Y×Z (×C) in the order that the model knows."""
        if not self.reading.canonical:
            return array
        return canonical_view(array, self.volume.affine, self.name)

    def _seen_planes(self, array: np.ndarray) -> np.ndarray:
        """The same of K×X×Y×Z."""
        return np.moveaxis(self._seen(np.moveaxis(array, 0, -1)), -1, 0)

    def _wrong_channels(self, found: int) -> DataError:
        return DataError(
            f"{self.name}: {found} channel(s) a voxel, which makes no input of {self.manifest.in_channels} "
            f"channel(s), as '{self.manifest.name}' takes; split the file, or join the channels it was "
            "trained on"
        )


class _Look:
    """How a model of images looks at slices of a volume."""

    def __init__(self, job: _Job, window: Window | None, trained: int) -> None:
        dtype = job.view.dtype
        if window is None and dtype != np.uint8:
            raise UsageError(
                f"{job.name}: voxels of type {dtype}, and '{job.manifest.name}' does not say which "
                "intensities become black and white; pass a window (--window LOW:HIGH), such as -200:250 for "
                "soft tissue in CT"
            )
        self.job = job
        self.window = window
        self.trained = trained
        self.neighbours = job.reading.neighbours
        channels = job.view.shape[3]
        self.grey = channels == 1 and not self.neighbours and job.manifest.in_channels in (1, 3)
        if not self.grey and channels * (2 * self.neighbours + 1) != job.manifest.in_channels:
            raise job._wrong_channels(channels)

    def mask(self, axis: int, index: int) -> np.ndarray:
        """Class ids of a plane, in the order of the two other axes."""
        image, square = self._image(axis, index)
        if square.shape == image.shape:
            mask = self.job.segmenter.predict(image).mask
            return _from_pictures(mask) if mask.ndim == 3 else from_picture(mask)
        return _decide_probabilities(self.probabilities(axis, index), self.job.manifest.head)

    def probabilities(self, axis: int, index: int) -> np.ndarray:
        """K×A×B float32 of a plane."""
        image, square = self._image(axis, index)
        found = self.job.segmenter.predict(square, probabilities=True).probabilities
        assert found is not None
        if square.shape != image.shape:
            found = upsample_logits(found, image.shape[:2])
        return _from_pictures(found)

    def _image(self, axis: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        """A slice as an image, and the same with square pixels if it lies across an unknown axis."""
        planes = np.moveaxis(self.job.view, axis, 0)
        slicing = Slicing(axis, self.window, self.neighbours)
        image = slice_image(lambda number: planes[number], index, len(planes), slicing)
        if self.grey:
            image = np.repeat(image[..., :1], self.job.manifest.in_channels, axis=2)
        if axis == self.trained:
            return image, image
        columns, rows = (side for other, side in enumerate(self.job.spacing) if other != axis)
        if abs(rows / columns - 1) < _SQUARE:
            return image, image
        finest = min(rows, columns)
        size = round(image.shape[0] * rows / finest), round(image.shape[1] * columns / finest)
        return image, resize_image(image, size)


def _from_pictures(planes: np.ndarray) -> np.ndarray:
    return np.swapaxes(planes[:, ::-1], 1, 2)


def _decide_logits(logits: np.ndarray, head: str) -> np.ndarray:
    if head == "softmax":
        return logits.argmax(axis=0)
    return (logits if head == "multilabel" else logits[0]) > 0


def _decide_probabilities(chances: np.ndarray, head: str) -> np.ndarray:
    if head == "softmax":
        return chances.argmax(axis=0)
    return (chances if head == "multilabel" else chances[0]) > 0.5


def _manifest_of(segmenter: Predictor) -> Manifest:
    if isinstance(segmenter, Segmenter):
        return segmenter.bundle.manifest
    assert isinstance(segmenter, Ensemble)
    first, *others = (member.bundle.manifest for member in segmenter.members)
    for other in others:
        if other.volumes != first.volumes:
            raise UsageError(
                f"'{first.name}' and '{other.name}' were trained on slices of volumes that were made in "
                "different ways; label with each alone"
            )
    return first


def _check_options(manifest: Manifest, axes: str | None, window: Window | None) -> None:
    if manifest.task == "volume":
        raise UsageError(
            f"axes and window are for models of slices; '{manifest.name}' sees whole volumes and has its "
            "window, leave them out"
        )
    if axes is not None and (not axes or len(set(axes)) != len(axes) or not set(axes) <= set(_AXES)):
        raise UsageError(f"axes are one or several of x, y and z, such as z or xyz, found '{axes}'")
    if window is not None and (len(window) != 2 or not window[0] < window[1]):
        raise UsageError(f"window is a range of intensities, low before high, found {tuple(window)}")


def _check_targets(source: str | Path | Series, target: Path, probabilities: Path | None) -> None:
    taken = set() if isinstance(source, Series) else {Path(source).resolve()}
    for path in (target, probabilities):
        if path is None:
            continue
        check_suffix(path)
        if path.resolve() in taken:
            raise UsageError(
                f"{path}: the result would overwrite its source or another result; choose another name"
            )
        taken.add(path.resolve())


def _open(source: str | Path | Series) -> Volume:
    if isinstance(source, Series):
        return read_series(source)
    path = Path(source)
    if path.is_dir():
        return read_series(path)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    if not is_volume(path):
        raise DataError(f"{path}: expected a .nii or .nii.gz file, or the folder of a DICOM series")
    return read_volume(path, channels=True)


def _checked_voxels(volume: Volume) -> np.ndarray:
    """X×Y×Z×C; DataError if there are none, or some that are no numbers."""
    voxels = volume.array
    if voxels.size == 0:
        raise DataError(f"{volume.path}: no voxels ({shape_text(voxels.shape)}); export the volume again")
    if voxels.dtype.kind == "f":
        # Plane by plane, so that a mapped file stays on the disk.
        bad = sum(int(np.count_nonzero(~np.isfinite(voxels[:, :, z]))) for z in range(voxels.shape[2]))
        if bad:
            raise DataError(
                f"{volume.path}: {bad:,} of {voxels.size:,} voxels are NaN or infinite; replace them first, "
                "for example by the value of air"
            )
    return voxels if voxels.ndim == 4 else voxels[..., None]


@contextmanager
def _scratch(target: Path, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """A float16 array of zeros in a nameless file beside ``target``, gone when it is left."""
    size = int(np.prod(shape)) * 2
    with explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        file = tempfile.TemporaryFile(dir=target.parent)  # noqa: SIM115 - closed below
    with file:
        with explained(target):
            # Taken at once: a disk that fills up under a mapped file kills the process.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                for start in range(0, size, 1 << 24):
                    file.write(bytes(min(1 << 24, size - start)))
                file.flush()
        yield np.memmap(file, np.float16, "r+", shape=shape)


def _report(labelled: Volume, labels: LabelMap) -> VolumeReport:
    mask = labelled.mask
    assert mask is not None
    if mask.ndim == 4:
        counts = mask.reshape(len(mask), -1).sum(axis=1, dtype=np.int64)
    else:
        counts = sum(np.bincount(plane.ravel(), minlength=len(labels)) for plane in mask)
    header = labelled.meta.get("header")
    factor = 1.0 if header is None else _MILLIMETRES.get(header.get_xyzt_units()[0], 1.0)
    each = abs(float(np.linalg.det(labelled.affine[:3, :3]))) * factor**3 / 1000
    x, y, z = (int(side) for side in mask.shape[-3:])
    first, second, third = (side * factor for side in labelled.spacing)
    voxels = {name: int(count) for name, count in zip(labels.names, counts, strict=True)}
    millilitres = {name: count * each for name, count in voxels.items()}
    return VolumeReport((x, y, z), (first, second, third), voxels, millilitres)
