"""A fully connected CRF with Gaussian edges: every pixel talks to every other one, and like colours agree.

Source: Krähenbühl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials",
NIPS 2011, arXiv 1210.5644; as DeepLab uses it: Chen et al. 2015, arXiv 1412.7062.

A labelling's energy is the sum of each pixel's ``-log`` probability and, for each pair of pixels i and j with
labels a and b, of ``mu(a, b) k(i, j)`` with positions p, colours I and

    k(i, j) = w_g exp(-|p_i - p_j|² / 2 s_g²) + w_b exp(-|p_i - p_j|² / 2 s_b² - |I_i - I_j|² / 2 s_c²)

Mean field inference finds a distribution per pixel:

1. ``Q_i = softmax(-unary_i)``
2. messages: ``m_i(b) = sum_j k(i, j) Q_j(b)`` for both kernels, by one filtering of Q
3. compatibility: ``E_i(a) = sum_b mu(a, b) m_i(b)``
4. ``Q_i = softmax(-unary_i - E_i)``, and again from 2

Where it departs from the paper, all as in the authors' published code: kernels are normalised symmetrically,
so that a weight means the same at an image's border and in its middle; they are filtered on a permutohedral
lattice; and a pixel's message to itself stays in its sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from pixelwise.errors import DataError, UsageError, shape_text

_CLIP = 1e-5  # the authors' least probability: a class that a network rules out can still come back
_BLOCK = 1 << 12  # pixels that change their layout at a time, so that they stay in the cache
_SUM_TOLERANCE = 1e-2  # float16 softmaxes over many classes are off by as much


@dataclass(frozen=True)
class CrfParameters:
    """All numbers of a dense CRF; see :func:`dense_crf` for what they mean.

    Raises
    ------
    UsageError
        A number of iterations or a weight below 0, or a kernel size that is not above 0.

    Examples
    --------
    >>> CrfParameters(bilateral_sxy=49, bilateral_srgb=5)
    CrfParameters(iterations=10, gaussian_sxy=1, gaussian_weight=3, bilateral_sxy=49, bilateral_srgb=5, \
bilateral_weight=4)
    """

    iterations: int = 10
    gaussian_sxy: float = 1
    gaussian_weight: float = 3
    bilateral_sxy: float = 67
    bilateral_srgb: float = 3
    bilateral_weight: float = 4

    def __post_init__(self) -> None:
        if self.iterations != int(self.iterations) or self.iterations < 0:
            raise UsageError(f"iterations must be a whole number of at least 0, not {self.iterations}")
        for name in ("gaussian_sxy", "bilateral_sxy", "bilateral_srgb"):
            if not 0 < getattr(self, name) < np.inf:
                raise UsageError(
                    f"{name} is a standard deviation and must be above 0, not {getattr(self, name)}"
                )
        for name in ("gaussian_weight", "bilateral_weight"):
            if not 0 <= getattr(self, name) < np.inf:
                raise UsageError(f"{name} must be at least 0, not {getattr(self, name)}")

    def apply(self, image: Any, probabilities: Any, **options: Any) -> np.ndarray:
        """:func:`dense_crf` with these numbers; ``options`` are its other keywords."""
        return dense_crf(image, probabilities, **asdict(self), **options)


DEEPLAB = CrfParameters()
"""DeepLab's values for VOC 2012, for images whose longer side is 500 pixels."""

KRAHENBUHL_KOLTUN = CrfParameters(
    iterations=5, gaussian_sxy=3, gaussian_weight=3, bilateral_sxy=80, bilateral_srgb=13, bilateral_weight=10
)
"""The values of the example in the authors' code, for 320×213 pixels; smoother, and several times faster."""


def dense_crf(
    image: Any,
    probabilities: Any,
    *,
    iterations: int = 10,
    gaussian_sxy: float = 1,
    gaussian_weight: float = 3,
    bilateral_sxy: float = 67,
    bilateral_srgb: float = 3,
    bilateral_weight: float = 4,
    compatibility: Any = None,
    multilabel: bool = False,
    features: Any = None,
    spacing: Sequence[float] | None = None,
    reference_size: float | None = None,
) -> np.ndarray:
    """Probabilities that follow the edges of the image.

    Parameters
    ----------
    image
        H×W×3 uint8. For volumes Z×Y×X or Z×Y×X×C of any real type. May be None when ``features`` are given
        or ``bilateral_weight`` is 0.
    probabilities
        K×H×W or K×Z×Y×X floats that add up to 1 over the classes (to one in a hundred). K = 1 is binary,
        the probability of the foreground: solved as two classes, returned as one. Below 1e-5 they count as
        1e-5.
    iterations
        Mean field updates. 0 returns the probabilities.
    gaussian_sxy, gaussian_weight
        Standard deviation in pixels and weight of the kernel that smooths regardless of the image.
    bilateral_sxy, bilateral_srgb, bilateral_weight
        Of the kernel that smooths among similar colours: standard deviations in pixels and in units of a
        colour channel (or of ``features``), and weight.
    compatibility
        What neighbours' labels cost. None or a number: Potts, the reward for the same label. K numbers: that
        reward for each class. K×K: the paper's mu(a, b), the energy of label a beside label b. (The energy is
        scaled by the kernels' weights.)
    multilabel
        K classes of which several may be true in a pixel: each is solved by itself against its complement,
        and probabilities need not add up to 1.
    features
        H×W, H×W×F or their like for volumes: take these channels in place of the colours.
    spacing
        The side lengths of a pixel or voxel, one number per axis (Z, Y, X); the ``sxy`` are then in their
        unit. 1 when None.
    reference_size
        The longer side, in pixels, of the images that the ``sxy`` are meant for: they are multiplied by this
        image's longer side and divided by it. 500 for :data:`DEEPLAB`.

    Returns
    -------
    float32 of the shape of the probabilities: 1 over the classes in every pixel, unless ``multilabel``.

    Raises
    ------
    DataError
        The shapes do not fit, the type is not floating, or values are no probabilities.
    UsageError
        A parameter is out of range, or there are not as many compatibilities or spacings as it takes.

    Notes
    -----
    Results are the same up to a float32's rounding for another number of threads.

    Examples
    --------
    A pixel that stands alone in a plain image comes over to its neighbours:

    >>> image = np.full((20, 20, 3), 90, np.uint8)
    >>> probabilities = np.full((2, 20, 20), 0.5, np.float32) + [[[0.3]], [[-0.3]]]
    >>> probabilities[:, 9, 9] = 0.1, 0.9
    >>> dense_crf(image, probabilities).argmax(axis=0).any()
    np.False_
    """
    parameters = CrfParameters(
        iterations, gaussian_sxy, gaussian_weight, bilateral_sxy, bilateral_srgb, bilateral_weight
    )
    planes = _as_probabilities(probabilities, add_up=not multilabel)
    size = planes.shape[1:]
    each_alone = multilabel or len(planes) == 1
    rewards = _as_compatibility(compatibility, 2 if each_alone else len(planes))
    sides = _as_spacing(spacing, size)
    if reference_size is not None:
        parameters = _scaled(parameters, max(size), reference_size)
    channels = _as_channels(image, features, size) if parameters.bilateral_weight > 0 else None

    # Imports numba, which takes a moment.
    from pixelwise.kernels.lattice import Lattice

    kernels = kernel_features(parameters, size, sides, channels)
    if not kernels:  # without messages no update changes anything
        kernels, iterations = [(np.zeros((planes[0].size, 1), np.float32), 0.0)], 0
    lattice = Lattice([positions for positions, _ in kernels], [weight for _, weight in kernels])
    del kernels, channels

    flat = planes.reshape(len(planes), -1)
    if not each_alone:
        return _infer(lattice, flat, rewards, iterations).reshape(planes.shape)
    refined = np.empty(flat.shape, np.float32)
    for plane, out in zip(flat, refined, strict=True):
        out[:] = _infer(lattice, np.stack([1 - plane, plane]), rewards, iterations)[1]
    return refined.reshape(planes.shape)


def _infer(lattice: Any, probabilities: np.ndarray, compatibility: np.ndarray, iterations: int) -> np.ndarray:
    """K×N float32 distributions from K×N probabilities."""
    from pixelwise.kernels.mean_field import EXCLUDED, mean_field
    from pixelwise.kernels.vectors import padded

    classes, pixels = probabilities.shape
    # The inference goes pixel by pixel: all classes of one stand together, in whole vectors.
    rows = np.empty((pixels, padded(classes)), np.float32)

    def enter(start: int, stop: int) -> None:
        for i in range(start, stop, _BLOCK):
            block = slice(i, min(i + _BLOCK, stop))
            rows[block, :classes] = np.log(np.maximum(probabilities[:, block], np.float32(_CLIP))).T
            rows[block, classes:] = EXCLUDED

    lattice.each_band(enter)
    width = rows.shape[1]
    padding = [(0, width - classes)] * compatibility.ndim
    mean_field(lattice, rows, np.pad(compatibility, padding).astype(np.float32), iterations)

    refined = np.empty((classes, pixels), np.float32)

    def leave(start: int, stop: int) -> None:
        for i in range(start, stop, _BLOCK):
            block = slice(i, min(i + _BLOCK, stop))
            refined[:, block] = rows[block, :classes].T

    lattice.each_band(leave)
    return refined


def kernel_features(
    parameters: CrfParameters, size: tuple[int, ...], spacing: Sequence[float], channels: np.ndarray | None
) -> list[tuple[np.ndarray, float]]:
    """For each kernel with a weight its features (N×d float32, in standard deviations) and that weight."""
    kernels = []
    if parameters.gaussian_weight > 0:
        kernels.append((_positions(size, spacing, parameters.gaussian_sxy, 0), parameters.gaussian_weight))
    if channels is not None:
        features = _positions(size, spacing, parameters.bilateral_sxy, channels.shape[1])
        np.divide(channels, np.float32(parameters.bilateral_srgb), out=features[:, len(size) :])
        kernels.append((features, parameters.bilateral_weight))
    return kernels


def _positions(size: tuple[int, ...], spacing: Sequence[float], deviation: float, room: int) -> np.ndarray:
    """Positions x, y (, z) of all pixels in standard deviations, with room for more columns: N×d float32."""
    axes = len(size)
    features = np.empty((*size, axes + room), np.float32)
    for axis, (length, side) in enumerate(zip(size, spacing, strict=True)):
        place = np.arange(length, dtype=np.float32) * np.float32(side) / np.float32(deviation)
        features[..., axes - 1 - axis] = place.reshape([-1 if i == axis else 1 for i in range(axes)])
    return features.reshape(-1, axes + room)


def _scaled(parameters: CrfParameters, longer_side: int, reference_size: float) -> CrfParameters:
    if not 0 < reference_size < np.inf:
        raise UsageError(f"reference_size is a number of pixels and must be above 0, not {reference_size}")
    factor = longer_side / reference_size
    return replace(
        parameters,
        gaussian_sxy=parameters.gaussian_sxy * factor,
        bilateral_sxy=parameters.bilateral_sxy * factor,
    )


def _as_probabilities(probabilities: Any, add_up: bool) -> np.ndarray:
    planes = np.asarray(probabilities)
    if planes.ndim not in (3, 4) or not planes.size:
        raise DataError(
            f"probabilities must be KxHxW, or KxZxYxX for a volume, found {shape_text(planes.shape)}"
        )
    if planes.dtype.kind != "f":
        raise DataError(
            f"probabilities must be floats, found {planes.dtype}: give softmax outputs, no labels"
        )
    low, high = planes.min(), planes.max()
    if not (low >= -_SUM_TOLERANCE and high <= 1 + _SUM_TOLERANCE):  # also when one is nan
        raise DataError(
            f"probabilities must lie between 0 and 1, found {low:g} to {high:g}: give a softmax, no logits"
        )
    if add_up and len(planes) > 1:
        sums = planes.sum(axis=0, dtype=np.float32)
        low, high = sums.min(), sums.max()
        if low < 1 - _SUM_TOLERANCE or high > 1 + _SUM_TOLERANCE:
            raise DataError(
                f"the probabilities of a pixel must add up to 1, found sums from {low:.3g} to {high:.3g}: "
                "give softmax outputs, or multilabel=True when several classes may be true at once"
            )
    return planes


def _as_channels(image: Any, features: Any, size: tuple[int, ...]) -> np.ndarray:
    """N×C values of what the bilateral kernel compares."""
    name, array = ("image", image) if features is None else ("features", features)
    if array is None:
        raise UsageError("the bilateral kernel needs an image or features: bilateral_weight=0 leaves it out")
    array = np.asarray(array)
    if array.ndim == len(size):
        array = array[..., None]
    if array.shape[:-1] != size:
        raise DataError(
            f"the {name} is {shape_text(array.shape[:-1])} but the probabilities are "
            f"{'x'.join(map(str, size))}: give both one size"
        )
    if name == "image" and len(size) == 2 and (array.dtype != np.uint8 or array.shape[-1] != 3):
        raise DataError(
            f"the image must be HxWx3 uint8, found {shape_text(array.shape)} {array.dtype}: "
            "pass other channels as features"
        )
    if array.dtype.kind not in "uif":
        raise DataError(f"the {name} must be numbers, found {array.dtype}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DataError(f"the {name} must be finite, found nan or infinite values")
    return array.reshape(-1, array.shape[-1])


def _as_spacing(spacing: Sequence[float] | None, size: tuple[int, ...]) -> tuple[float, ...]:
    if spacing is None:
        return (1.0,) * len(size)
    sides = tuple(float(side) for side in spacing)
    if len(sides) != len(size):
        raise UsageError(f"spacing needs one number for each of {len(size)} axes, found {len(sides)}")
    if not all(0 < side < np.inf for side in sides):
        raise UsageError(f"spacing must be above 0 on every axis, not {sides}")
    return sides


def _as_compatibility(compatibility: Any, classes: int) -> np.ndarray:
    """K rewards for agreeing; or K×K, where [b, a] is what a neighbour of class b adds to the logit of a."""
    values = np.asarray(1.0 if compatibility is None else compatibility, np.float64)
    if values.shape not in ((), (classes,), (classes, classes)) or not np.isfinite(values).all():
        raise UsageError(
            f"compatibility must be a number, {classes} numbers or {classes}x{classes} finite numbers for "
            f"{classes} classes, found {shape_text(values.shape)}"
        )
    return -values.T if values.ndim == 2 else np.broadcast_to(values, (classes,))
