"""Procedural computed tomography: a belly with a liver, tumours in it, and organs that look alike.

Everything is an ellipsoid with a wavy surface, painted in Hounsfield units on a grid of millimetres that is
finer in the slices than between them. The labels are exact; the intensities are then blurred, as a scanner
mixes what shares a voxel, and get noise. Livers, spleens and bright tumours overlap in intensity, and so do
dark tumours and muscle, so thresholds do not solve it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

from pixelwise.errors import UsageError
from pixelwise.labels import LabelMap
from pixelwise.sample import Dataset, Volume

Sides = tuple[int, int, int]

CT_LABELS = LabelMap(("background", "liver", "tumour"), ((0, 0, 0), (190, 90, 60), (250, 220, 80)))
"""Names and colours of the synthetic volumes' classes."""

_LIVER, _TUMOUR = 1, 2
_EXTENT = (400.0, 320.0, 240.0)
"""Millimetres that a volume covers: left to right, back to front, feet to head."""


def ct_volume(seed: int, size: Sides = (64, 64, 48)) -> Volume:
    """One random scan.

    Parameters
    ----------
    seed
        The same seed and size give the same voxels.
    size
        Voxels along X (patient's left to right), Y (back to front) and Z (feet to head), each at least 16.

    Returns
    -------
    Volume
        ``array`` X×Y×Z int16 in Hounsfield units, ``mask`` X×Y×Z uint8, ``affine`` from voxels to
        millimetres around the middle of the body, ``meta["tumours"]``: how many were painted.

    Examples
    --------
    >>> volume = ct_volume(3, size=(32, 32, 24))
    >>> volume.array.shape, volume.array.dtype, volume.mask.dtype
    ((32, 32, 24), dtype('int16'), dtype('uint8'))
    """
    return _paint(np.random.default_rng([seed]), _checked(size))


def volume_dataset(
    count: int, *, seed: int = 0, size: Sides = (64, 64, 48), splits: Mapping[str, int] | None = None
) -> Dataset[Volume]:
    """A data set of ``count`` scans, each painted when it is opened.

    Parameters
    ----------
    count
        How many.
    seed
        Scan i depends on (seed, i) and the size only.
    size
        As for :func:`ct_volume`.
    splits
        The number of scans in each split, in order; by default one in five is for validation.

    Raises
    ------
    UsageError
        The splits do not add up to ``count``.

    Examples
    --------
    >>> data = volume_dataset(10, size=(32, 32, 24))
    >>> len(data.select("train")), len(data.select("val")), data.labels.names
    (8, 2, ('background', 'liver', 'tumour'))
    """
    held_out = round(count / 5)
    parts = splits or {"train": count - held_out, "val": held_out}
    names = [name for name, number in parts.items() for _ in range(number)]
    if len(names) != count:
        raise UsageError(f"the splits hold {len(names)} scans, but {count} were asked for; make them equal")
    opener = partial(_open, seed=seed, size=_checked(size))
    return Dataset(range(count), opener, CT_LABELS, name="ct", splits=names)


def _open(index: int, *, seed: int, size: Sides) -> Volume:
    volume = _paint(np.random.default_rng([seed, index]), size)
    volume.meta["name"] = f"ct_{index + 1:04d}"
    return volume


def _checked(size: Sides) -> Sides:
    if len(size) != 3 or min(size) < 16:
        raise UsageError(f"a synthetic scan needs three sides of at least 16 voxels, found {size}")
    return size


class _Body:
    """The grid of a scan in millimetres, on which shapes are drawn."""

    def __init__(self, rng: np.random.Generator, size: Sides) -> None:
        self.rng = rng
        extent = np.array(_EXTENT) * rng.uniform(0.9, 1.1, 3)
        self.spacing = extent / size
        axes = [
            (np.arange(n) + 0.5) * step - n * step / 2 for n, step in zip(size, self.spacing, strict=True)
        ]
        self.place = np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32)

    @property
    def affine(self) -> np.ndarray:
        """4×4, from voxels to the grid's millimetres."""
        affine = np.diag([*self.spacing, 1.0])
        affine[:3, 3] = self.place[:, 0, 0, 0]
        return affine

    def blob(
        self, centre: ArrayLike, radii: ArrayLike, waviness: float = 0.12, jitter: float = 6.0
    ) -> np.ndarray:
        """Where a wavy ellipsoid is; its centre moves by ``jitter`` mm and its radii change by a tenth."""
        centre = np.asarray(centre) + self.rng.normal(0, jitter, 3)
        radii = np.asarray(radii) * self.rng.uniform(0.9, 1.1, 3)
        centre, radii = (v.astype(np.float32)[:, None, None, None] for v in (centre, radii))
        offset = (self.place - centre) / radii
        squared = (offset**2).sum(axis=0)
        inside: np.ndarray = squared < 1 + 4 * waviness
        near = offset[:, inside]  # the waves cannot reach further
        surface = np.ones(near.shape[1], np.float32)
        for _ in range(4):  # plane waves of up to about a period over the shape
            wave, phase = self.rng.normal(0, 1.5, 3), self.rng.uniform(0, 2 * np.pi)
            surface += np.float32(waviness) * np.sin(wave.astype(np.float32) @ near + np.float32(phase))
        inside[inside] = squared[inside] < surface
        return inside


def _paint(rng: np.random.Generator, size: Sides) -> Volume:
    body = _Body(rng, size)
    units = np.full(size, -1000.0, np.float32)

    def fill(where: np.ndarray, low: float, high: float) -> None:
        units[where] = rng.uniform(low, high)

    # x grows to the patient's right, y to the front, z to the head; a trunk has no end in z.
    trunk = body.blob((0, 0, 0), (175, 125, 900), waviness=0.03)
    fill(trunk, -110, -80)  # fat
    inner = body.blob((0, 0, 0), (150, 100, 900), waviness=0.05) & trunk
    fill(inner, 35, 65)  # muscle and bowel
    fill(inner & body.blob((-70, 40, 50), (45, 40, 45)), -20, 30)  # stomach
    fill(inner & body.blob((-70, 60, 55), (22, 14, 25)), -900, -700)  # its air
    liver_units = rng.uniform(90, 125)
    spleen = inner & body.blob((-105, -35, 40), (35, 45, 50))
    fill(spleen, liver_units - 10, liver_units + 15)
    for side in (-1, 1):
        fill(inner & body.blob((side * 75, -50, -45), (27, 30, 50)), 130, 200)  # kidneys
    fill(inner & body.blob((-5, -45, 0), (11, 11, 900), jitter=3), 150, 230)  # aorta
    fill(inner & body.blob((0, -82, 0), (22, 22, 900), jitter=3), 250, 600)  # spine
    liver = inner & (
        body.blob((75, 15, 35), (70, 65, 75)) | body.blob((0, 45, 50), (60, 35, 35))  # right and left lobe
    )
    units[liver] = liver_units

    mask = liver.astype(np.uint8) * _LIVER
    tumours, spots = int(rng.integers(0, 5)), np.argwhere(liver)
    for _ in range(tumours):
        centre = body.place[(slice(None), *rng.choice(spots))]
        tumour = liver & body.blob(centre, rng.uniform(14, 34, 3), waviness=0.15, jitter=0)
        darker = rng.random() < 0.7
        units[tumour] = liver_units + (-rng.uniform(35, 60) if darker else rng.uniform(40, 70))
        mask[tumour] = _TUMOUR

    blurred = ndimage.gaussian_filter(units, 2.5 / body.spacing)
    noise = ndimage.gaussian_filter(rng.standard_normal(size, np.float32), (0.5, 0.5, 0))
    blurred += noise * (rng.uniform(8, 16) / noise.std())
    return Volume(
        np.clip(np.rint(blurred), -1024, 3071).astype(np.int16),
        body.affine,
        mask,
        meta={"name": "ct", "tumours": tumours},
    )
