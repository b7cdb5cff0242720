"""Patches of volumes, their intensities brought to 0..255, mirrored and changed a little at random.

A volume's array is taken as it is: its axes X, Y, Z are what networks call depth, height and width. Nothing
is resampled, so a patch covers as many millimetres as its voxels do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pixelwise.augment.patches import draw_centre
from pixelwise.errors import DataError, UsageError
from pixelwise.sample import Volume

Sides = tuple[int, int, int]


def apply_window(array: np.ndarray, window: Sequence[float]) -> np.ndarray:
    """Intensities from ``window`` (low, high) to float32 in 0..255; what lies outside is clipped.

    >>> apply_window(np.array([-1000, -100, 50, 200, 3000], np.int16), (-100, 200))
    array([  0. ,   0. , 127.5, 255. , 255. ], dtype=float32)
    """
    low, high = window
    scaled = (array.astype(np.float32) - np.float32(low)) * np.float32(255 / (high - low))
    return np.clip(scaled, 0, 255, out=scaled)


@dataclass(frozen=True)
class VolumePatchSampler:
    """Random boxes of volumes, a share of them centred on a voxel of a rarer class (as nnU-Net does).

    The rules are those of :class:`~pixelwise.augment.PatchSampler`: rarer are all classes present but the
    commonest; a box lies inside the volume as far as it fits, and where it overhangs, intensities are
    mirrored and the mask is ignored. Only the box is read of a memory-mapped array.

    Parameters
    ----------
    size
        Voxels of the box along the array's axes.
    foreground
        The probability of centring on a rarer class; otherwise every position is equally likely.
    ignore
        The mask's id for "no label", never centred on, and the mask's value outside the volume.

    Examples
    --------
    >>> volume = Volume(np.zeros((40, 50, 60), np.int16), mask=np.zeros((40, 50, 60), np.uint8))
    >>> patch = VolumePatchSampler((16, 16, 8))(volume, np.random.default_rng(0))
    >>> patch.array.shape, patch.mask.shape
    ((16, 16, 8), (16, 16, 8))
    """

    size: Sides
    foreground: float = 0.33
    ignore: int = 255

    def __post_init__(self) -> None:
        if len(self.size) != 3 or min(self.size) < 1:
            raise UsageError(f"a patch of a volume has three sides of at least 1 voxel, found {self.size}")
        if not 0 <= self.foreground <= 1:
            raise UsageError(f"foreground is a probability from 0 to 1, found {self.foreground}")

    def __call__(self, volume: Volume, rng: np.random.Generator) -> Volume:
        """Cut a box out of a volume; its affine says where it was."""
        check_volume(volume)
        sides = volume.array.shape[:3]
        centre = draw_centre(sides, self.size, self.foreground, self.ignore, rng, volume.mask)
        corner = [round(c - side / 2) for c, side in zip(centre, self.size, strict=True)]
        mask = volume.mask
        if mask is not None:
            if self.ignore > np.iinfo(mask.dtype).max:
                mask = mask.astype(np.uint16)
            mask = _cut(mask, corner, self.size, mode="constant", constant_values=self.ignore)
        return replace(
            volume,
            array=_cut(volume.array, corner, self.size, mode="reflect"),
            mask=mask,
            affine=volume.affine @ _moved(np.ones(3), corner),
        )


@dataclass(frozen=True)
class VolumeAugment:
    """A random patch of a volume, its intensities windowed, mirrored and changed a little.

    Parameters
    ----------
    size
        Voxels of the patch along the array's axes.
    window
        Intensities that become 0 and 255 (for CT in Hounsfield units); the result is float32.
    foreground
        As for :class:`VolumePatchSampler`.
    flip
        Probability of mirroring along each axis. Set an axis to 0 where its two sides mean something.
    gain, gamma
        Largest change of a factor: 0.1 draws from 1/1.1 to 1.1, either side equally likely.
    shift
        Largest change of all intensities, as a share of the window.
    noise
        Largest standard deviation of Gaussian noise, as a share of the window.
    ignore
        The mask's id for "no label".
    then
        Callables ``volume -> volume`` that run afterwards, in order; they must keep the size.

    Examples
    --------
    >>> volume = Volume(np.zeros((40, 50, 60), np.int16), mask=np.zeros((40, 50, 60), np.uint8))
    >>> patch = VolumeAugment((32, 32, 16), window=(-100, 200))(volume, np.random.default_rng(0))
    >>> patch.array.shape, patch.array.dtype
    ((32, 32, 16), dtype('float32'))
    """

    size: Sides
    window: tuple[float, float] = (0.0, 255.0)
    foreground: float = 0.33
    flip: tuple[float, float, float] = (0.5, 0.5, 0.5)
    gain: float = 0.1
    gamma: float = 0.1
    shift: float = 0.05
    noise: float = 0.03
    ignore: int = 255
    then: tuple[Callable[[Volume], Volume], ...] = ()

    def __post_init__(self) -> None:
        if not self.window[0] < self.window[1]:
            raise UsageError(f"window is a range of intensities, low before high, found {self.window}")
        if len(self.flip) != 3 or not all(0 <= chance <= 1 for chance in self.flip):
            raise UsageError(f"flip holds three probabilities from 0 to 1, found {self.flip}")
        for name in ("gain", "gamma", "shift", "noise"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UsageError(f"{name} is the largest change, 0 for none, found {getattr(self, name)}")

    def __call__(self, volume: Volume, rng: np.random.Generator) -> Volume:
        """A changed patch; equal settings, volumes and generator states give equal results."""
        patch = VolumePatchSampler(self.size, self.foreground, self.ignore)(volume, rng)
        array = self._change(apply_window(patch.array, self.window), rng)
        axes = tuple(axis for axis in range(3) if rng.random() < self.flip[axis])
        patch = flip_volume(replace(patch, array=array), axes)
        for function in self.then:
            patch = function(patch)
            if patch.array.shape[:3] != self.size:
                raise UsageError(
                    f"a callable in 'then' made {patch.array.shape[:3]} voxels of {self.size}; keep the size"
                )
        return patch

    def _change(self, array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """In place: gamma, gain, shift, noise; clipped to 0..255."""
        gain, gamma = (math.exp(rng.uniform(-1, 1) * math.log1p(most)) for most in (self.gain, self.gamma))
        shift, noise = rng.uniform(-1, 1) * self.shift, rng.uniform() * self.noise
        if self.gamma:
            np.power(array / np.float32(255), np.float32(gamma), out=array)
            array *= np.float32(255)
        array *= np.float32(gain)
        array += np.float32(255 * shift)
        if self.noise:
            array += rng.standard_normal(array.shape, np.float32) * np.float32(255 * noise)
        return np.clip(array, 0, 255, out=array)


def flip_volume(volume: Volume, axes: tuple[int, ...]) -> Volume:
    """Mirror array and mask along some axes; the affine still tells where every voxel is."""
    if not axes:
        return volume
    flipped = np.isin(range(3), axes)
    last = np.array(volume.array.shape[:3]) - 1
    return replace(
        volume,
        array=np.flip(volume.array, axes),
        mask=None if volume.mask is None else np.flip(volume.mask, axes),
        affine=volume.affine @ _moved(np.where(flipped, -1, 1), np.where(flipped, last, 0)),
    )


def check_volume(volume: Volume) -> None:
    """Raise DataError unless the array has three axes (or a fourth of channels) and the mask fits it."""
    where, shape, mask = volume.path or volume.meta.get("name", "volume"), volume.array.shape, volume.mask
    if len(shape) not in (3, 4):
        raise DataError(f"{where}: expected X×Y×Z or X×Y×Z×C voxels, found an array of shape {shape}")
    if mask is None:
        return
    if mask.shape != shape[:3]:
        raise DataError(
            f"{where}: the volume has {shape[:3]} voxels but its mask {mask.shape}; export both on one grid"
        )
    if mask.dtype not in (np.uint8, np.uint16):
        raise DataError(
            f"{where}: a mask holds class ids as uint8 or uint16, found {mask.dtype}; "
            "convert it with mask.astype(numpy.uint8)"
        )


def _cut(array: np.ndarray, corner: Sequence[int], size: Sides, **padding: object) -> np.ndarray:
    """The box at ``corner``, padded (see ``numpy.pad``) where it overhangs."""
    spans = [(start, start + side) for start, side in zip(corner, size, strict=True)]
    sides = array.shape[:3]
    box = array[tuple(slice(max(0, a), min(b, n)) for (a, b), n in zip(spans, sides, strict=True))]
    overhang = [(max(0, -a), max(0, b - n)) for (a, b), n in zip(spans, sides, strict=True)]
    if not np.any(overhang):
        return box
    overhang += [(0, 0)] * (array.ndim - 3)
    return np.pad(box, overhang, **padding)  # type: ignore[call-overload]


def _moved(scale: np.ndarray, offset: Sequence[int] | np.ndarray) -> np.ndarray:
    """The 4×4 map from voxels of a result to voxels of its source."""
    matrix = np.diag([*scale, 1.0])
    matrix[:3, 3] = offset
    return matrix
