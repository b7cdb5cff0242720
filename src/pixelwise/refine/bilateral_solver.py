"""The fast bilateral solver: a smooth map that stays near a noisy one where that is to be trusted.

Source: Barron and Poole, "The Fast Bilateral Solver", ECCV 2016, arXiv 1511.03296. It minimises

    smoothness / 2 · sum_ij W(i, j) (x_i - x_j)² + sum_i c_i (x_i - t_i)²

over x, for targets t of confidence c, with bilateral weights W that add up to 1 in every row and column. In
the bilateral space of the guide that is a small linear system, solved by preconditioned conjugate gradients.

Where it departs from the paper: the space is a permutohedral lattice (which the paper names as the other
choice) rather than a grid of hard cells, so that the result has no blocks, and the matrices that would be
diagonal on a grid are taken to be diagonal. The blur is averaged with its transpose to be exactly symmetric.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from pixelwise.errors import DataError, UsageError, shape_text

_BISTOCHASTIC_STEPS = 10
_LEAST = 1e-5  # the paper's least diagonal: corners that no confidence reaches still have an equation
_TOLERANCE = 1e-5


def bilateral_solver(
    guide: Any,
    target: Any,
    confidence: Any = None,
    *,
    sxy: float = 8,
    sluma: float = 8,
    schroma: float = 8,
    smoothness: float = 128,
    iterations: int = 25,
) -> np.ndarray:
    """Fit a map that is smooth where the guide is, for example a matte or a depth map.

    Parameters
    ----------
    guide
        H×W×3 uint8 RGB.
    target
        H×W floats of any range.
    confidence
        H×W floats of at least 0, how much the target counts; 1 everywhere when None. Where it is 0, values
        come from elsewhere.
    sxy, sluma, schroma
        Standard deviations of W in pixels, and in units of brightness and of colour (of 255).
    smoothness
        The paper's lambda: larger values smooth more.
    iterations
        At most so many steps of conjugate gradients; fewer when the residual has shrunk to 1e-5.

    Returns
    -------
    H×W float32.

    Raises
    ------
    DataError
        The shapes do not fit, the types are not as above, values are not finite, a confidence is negative or
        all are 0.
    UsageError
        A parameter is out of range.

    Examples
    --------
    Only the left column and the right one are known; the guide has an edge in between:

    >>> guide = np.zeros((8, 8, 3), np.uint8)
    >>> guide[:, 4:] = 255
    >>> known = np.zeros((8, 8))
    >>> known[:, [0, 7]] = 1
    >>> target = known * [1, 0, 0, 0, 0, 0, 0, 5]
    >>> bilateral_solver(guide, target, known)[3].round(2)
    array([1., 1., 1., 1., 5., 5., 5., 5.], dtype=float32)
    """
    guide, target = np.asarray(guide), np.asarray(target)
    if guide.ndim != 3 or guide.shape[2] != 3 or guide.dtype != np.uint8 or not guide.size:
        raise DataError(f"the guide must be HxWx3 uint8, found {shape_text(guide.shape)} {guide.dtype}")
    weight = np.ones(target.shape, np.float32) if confidence is None else np.asarray(confidence)
    for name, plane in (("target", target), ("confidence", weight)):
        if plane.shape != guide.shape[:2]:
            raise DataError(
                f"the guide is {shape_text(guide.shape[:2])} but the {name} is {shape_text(plane.shape)}: "
                "give both one size"
            )
        if plane.dtype.kind != "f" or not np.isfinite(plane).all():
            raise DataError(f"the {name} must be finite floats, found {plane.dtype}")
    if weight.min() < 0 or weight.max() <= 0:
        raise DataError("the confidence must be at least 0 everywhere and above 0 somewhere")
    for name, value in (("sxy", sxy), ("sluma", sluma), ("schroma", schroma)):
        if not 0 < value < np.inf:
            raise UsageError(f"{name} is a standard deviation and must be above 0, not {value}")
    if not 0 <= smoothness < np.inf or iterations < 1:
        raise UsageError(
            f"smoothness must be at least 0 and iterations at least 1, not {smoothness} and {iterations}"
        )

    # Imports numba, which takes a moment.
    from pixelwise.kernels.lattice import Lattice
    from pixelwise.kernels.vectors import WIDTH

    lattice = Lattice([_features(guide, sxy, sluma, schroma)], normalise=False, bands=1)
    rows = np.zeros((target.size, WIDTH), np.float32)
    rows[:, 0], rows[:, 1], rows[:, 2] = 1, weight.ravel(), (weight * target).ravel()
    mass, trust, pull = lattice.splat(rows.ravel(), WIDTH).reshape(-1, WIDTH)[:, :3].astype(np.float64).T

    def blur(corners: np.ndarray) -> np.ndarray:
        there = np.zeros((len(corners), WIDTH), np.float32)
        there[:, 0] = corners
        back = there.copy()
        lattice.blur(there.reshape(-1), WIDTH)
        lattice.blur(back.reshape(-1), WIDTH, reverse=True)
        return (there[:, 0].astype(np.float64) + back[:, 0]) / 2

    # Bistochastic: scale · blur · scale then has the corners' masses as its sums over rows and columns.
    scale = np.ones(len(mass))
    for _ in range(_BISTOCHASTIC_STEPS):
        scale = np.sqrt(scale * mass / np.maximum(blur(scale), _LEAST))
    mass = scale * blur(scale)

    def system(corners: np.ndarray) -> np.ndarray:
        return smoothness * (mass * corners - scale * blur(scale * corners)) + trust * corners

    corners = _conjugate_gradients(
        system,
        pull,
        start=pull / np.maximum(trust, _LEAST),
        diagonal=np.maximum(smoothness * mass + trust, _LEAST),
        iterations=iterations,
    )
    table = np.zeros((len(corners), WIDTH), np.float32)
    table[:, 0] = corners
    return lattice.slice(table.reshape(-1), WIDTH).reshape(-1, WIDTH)[:, 0].reshape(target.shape)


def _conjugate_gradients(
    system: Callable[[np.ndarray], np.ndarray],
    right: np.ndarray,
    start: np.ndarray,
    diagonal: np.ndarray,
    iterations: int,
) -> np.ndarray:
    """Solve ``system(x) = right`` for a symmetric positive system, preconditioned by a diagonal."""
    solution = start.copy()
    residual = right - system(solution)
    direction = np.zeros_like(residual)
    before = 1.0
    for _ in range(iterations):
        if np.linalg.norm(residual) <= _TOLERANCE * np.linalg.norm(right):
            break
        scaled = residual / diagonal
        now = float(residual @ scaled)
        direction = scaled + now / before * direction
        ahead = system(direction)
        length = now / float(direction @ ahead)
        solution += length * direction
        residual -= length * ahead
        before = now
    return solution


def _features(guide: np.ndarray, sxy: float, sluma: float, schroma: float) -> np.ndarray:
    """N×5: x, y, brightness and two colour differences (BT.601), in standard deviations."""
    height, width = guide.shape[:2]
    features = np.empty((height, width, 5), np.float32)
    features[..., 0] = np.arange(width) / sxy
    features[..., 1] = np.arange(height)[:, None] / sxy
    deviations = np.array([sluma, schroma, schroma], np.float32)
    features[..., 2:] = cv2.cvtColor(guide, cv2.COLOR_RGB2YUV) / deviations
    return features.reshape(-1, 5)
