"""Surfaces of masks, and the exact distance of each of their points to the nearest point of the other's.

No distance field is computed. One pass lists the few points that matter. The other surface is written down
twice: as rows of bits, 64 pixels to a word, and as points sorted into cells of a coarse grid, each with its
tight box.

*Near.* Around a point the rows are visited in the order of their distance, nearest first; two shifts and a
count of zeros find the nearest point of a row within 32 pixels. The search ends when the next row is farther
than the best point so far, which for masks that overlap is soon.

*Far.* When the rows within reach decide nothing, the cells do: those that some nearer cell does not rule out
for the whole cell of the point are searched in the order of their distance. The distance can only change by
the step from one point to the next, so each search starts with the bound that the last one left.

Both are exact for any spacing of the axes, and neither builds a tree.

The areas of surface elements are those of marching cubes whose vertices lie in the middle of the grid's
edges (Lorensen and Cline, SIGGRAPH 1987), as https://github.com/google-deepmind/surface-distance uses them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import Any, NamedTuple

import cv2
import numpy as np
from numba import njit, types
from numba.extending import intrinsic

OUTSIDE, INSIDE, IGNORED = 0, 1, 2
"""What a pixel of a mask is, as uint8."""

_ROWS = {2: 63, 3: 150}  # so many rows around a point are visited before the cells are asked
_WINDOW = 32  # pixels to the left and to the right that one look at a row covers
_CELL = {2: 24, 3: 8}  # edge of a cell in pixels when they are square: a few dozen points of a surface
_POINTS_WORTH_THREADS = 4000
_PIXELS_WORTH_THREADS = 1 << 21
_PIXELS_AT_A_TIME = 1 << 13

# One code of each of the 14 classes of marching cubes, as set corners zyx, and the normals of its triangles:
# their length is the triangle's area, their components (unsigned) its projections on the three planes.
_TRIANGLES: dict[tuple[str, ...], list[tuple[int, int, int]]] = {
    (): [],
    ("000",): [(1, 1, 1)],
    ("000", "001"): [(2, 2, 0)] * 2,
    ("000", "011"): [(1, 1, 1)] * 2,
    ("000", "111"): [(1, 1, 1)] * 2,
    ("000", "001", "010"): [(1, 1, 1), (2, 2, 2), (4, 0, 0)],
    ("000", "001", "110"): [(2, 2, 0)] * 2 + [(1, 1, 1)],
    ("001", "010", "100"): [(1, 1, 1)] * 3,
    ("000", "001", "010", "011"): [(4, 0, 0)] * 2,
    ("000", "001", "010", "100"): [(1, 1, 1)] * 2 + [(2, 2, 2)] * 2,
    ("000", "001", "011", "111"): [(1, 1, 1), (3, 3, 3), (2, 2, 0), (0, 2, 2)],
    ("000", "001", "010", "111"): [(1, 1, 1)] * 2 + [(2, 2, 2), (4, 0, 0)],
    ("000", "001", "110", "111"): [(2, 2, 0)] * 4,
    ("000", "011", "101", "110"): [(1, 1, 1)] * 4,
}
_UNIT = 1 / 8  # of the numbers above, in faces of a voxel


class Elements(NamedTuple):
    """Points of a surface, in rows from left to right.

    ``points`` are N×3 int32, plane, row and column, the plane 0 in images; ``codes`` N uint8.
    """

    points: np.ndarray
    codes: np.ndarray


def edge_points(mask: np.ndarray, border: bool = True) -> Elements:
    """The pixels of a mask that have a neighbour outside: the 4 of an image, the 6 of a volume.

    Parameters
    ----------
    mask
        H×W or D×H×W uint8 in C order: OUTSIDE, INSIDE, or IGNORED, which is no neighbour of anything.
    border
        Whether the mask ends where the image ends; else what lies beyond counts as ignored.

    Returns
    -------
    Elements, all with the code 0.

    Examples
    --------
    >>> edge_points(np.ones((3, 3), np.uint8)).points[:4].tolist()
    [[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 1, 0]]
    >>> len(edge_points(np.ones((3, 3), np.uint8), border=False).points)
    0
    """
    beyond = OUTSIDE if border else IGNORED
    if not mask.size:
        return Elements(np.empty((0, 3), np.int32), np.empty(0, np.uint8))
    planes = _as_volume(mask)
    across = IGNORED if mask.ndim == 2 else beyond
    points = _list_edges(planes.reshape(len(planes), -1), mask.shape[-1], beyond, across)
    return Elements(points, np.zeros(len(points), np.uint8))


def surface_elements(mask: np.ndarray) -> Elements:
    """The corners of pixels at which a mask's surface passes, and how.

    Parameters
    ----------
    mask
        As :func:`edge_points` takes it; beyond the image everything is outside.

    Returns
    -------
    Elements: corner (y, x) lies between rows y-1 and y, columns x-1 and x. The codes tell which of the 4
    (8 in a volume) pixels around it are inside, the bit of the last pixel being the lowest. Corners with an
    ignored pixel are left out.

    Examples
    --------
    >>> elements = surface_elements(np.ones((1, 1), np.uint8))
    >>> elements.points[:, 1:].tolist(), elements.codes.tolist()
    ([[0, 0], [0, 1], [1, 0], [1, 1]], [1, 2, 4, 8])
    """
    flat = mask.ndim == 2
    planes = np.pad(mask, 1)
    points, codes = _list_elements(planes.reshape(1 if flat else len(planes), -1), planes.shape[-1], flat)
    if flat:
        points[:, 0] = 0
    return Elements(points, codes)


@lru_cache(maxsize=32)
def element_areas(spacing: tuple[float, ...]) -> np.ndarray:
    """The length (16 codes) or area (256 codes) of surface elements for 2 or 3 side lengths of a pixel.

    >>> element_areas((1.0, 1.0))[[0b0001, 0b0011, 0b1001]].round(3).tolist()
    [0.707, 1.0, 1.414]
    """
    if len(spacing) == 2:
        along_y, along_x = spacing
        corner = math.hypot(*spacing) / 2
        lengths = {0: 0.0, 0b0011: along_x, 0b0101: along_y, 0b0110: 2 * corner}
        lengths |= {0b0001: corner, 0b0010: corner, 0b0100: corner, 0b1000: corner}
        lengths |= {15 - code: length for code, length in lengths.items()}
        return np.array([lengths[code] for code in range(16)])
    faces = np.array([spacing[1] * spacing[2], spacing[0] * spacing[2], spacing[0] * spacing[1]]) * _UNIT
    areas = np.zeros(256)
    for code, normals in _cube_normals().items():
        areas[code] = sum(math.hypot(*(faces * normal)) for normal in normals)
    return areas


class Distances(NamedTuple):
    """Distances of N and M points of two surfaces, float64, with the codes of the points, N and M uint8."""

    a_to_b: np.ndarray
    b_to_a: np.ndarray
    a_codes: np.ndarray
    b_codes: np.ndarray


def mask_distances(
    a: np.ndarray,
    b: np.ndarray,
    spacing: Sequence[float],
    list_points: Callable[[np.ndarray], Elements] = edge_points,
    reach: float = math.inf,
) -> Distances:
    """Like :func:`nearest_distances`, of two masks of one shape whose points are still to be listed."""
    lists = _run([lambda: list_points(a), lambda: list_points(b)], a.size >= _PIXELS_WORTH_THREADS)
    return nearest_distances(lists[0], lists[1], spacing, reach)


def nearest_distances(
    a: Elements, b: Elements, spacing: Sequence[float], reach: float = math.inf
) -> Distances:
    """The distance of every point of ``a`` to the nearest one of ``b``, and of ``b`` to ``a``.

    Parameters
    ----------
    a, b
        Points of two surfaces in one frame.
    spacing
        Side lengths of a pixel, 2 for images and 3 for volumes.
    reach
        Distances beyond it may be given as infinite, which saves time.

    Returns
    -------
    Distances, in an order of their own; infinite when the other surface has no point.

    Examples
    --------
    >>> a = edge_points(np.array([[1, 0, 0, 0]], np.uint8))
    >>> b = edge_points(np.array([[0, 0, 1, 1]], np.uint8))
    >>> [d.tolist() for d in nearest_distances(a, b, (1, 0.5))[:2]]
    [[1.0], [1.0, 1.5]]
    """
    if not len(a.points) or not len(b.points):
        return Distances(np.full(len(a.points), np.inf), np.full(len(b.points), np.inf), a.codes, b.codes)
    a, b, spacing = _finest_axis_last(a, b, tuple(spacing))
    frame = _frame(a, b, spacing)
    first, second = frame.write_down(a), frame.write_down(b)
    a_to_b, b_to_a = np.empty(len(a.points)), np.empty(len(b.points))
    total = len(a_to_b) + len(b_to_a)
    threads = cv2.getNumThreads() if total >= _POINTS_WORTH_THREADS else 1
    tasks: list[Callable[[], Any]] = []
    for own, other, out in ((first, second, a_to_b), (second, first, b_to_a)):
        parts = math.ceil(2 * threads * len(out) / total) if threads > 1 else 1
        tasks += [
            partial(
                _search,
                own.points, own.starts, own.boxes, start, stop,
                other.points, other.starts, other.boxes, other.bits,
                frame.grid, frame.padding, frame.squares, frame.rows, frame.row_squares,
                frame.limit, reach * reach, out,
            )
            for start, stop in _shares(own.starts, parts)
        ]  # fmt: skip
    _run(tasks, threads > 1)
    return Distances(a_to_b, b_to_a, first.codes, second.codes)


def _finest_axis_last(
    a: Elements, b: Elements, spacing: tuple[float, ...]
) -> tuple[Elements, Elements, tuple[float, ...]]:
    """Turn both, so that rows run along the finest axis: a look at a row then covers the most.

    >>> a = Elements(np.array([[0, 1, 2]], np.int32), np.zeros(1, np.uint8))
    >>> turned = _finest_axis_last(a, a, (1.0, 1.0, 4.0))
    >>> turned[0].points.tolist(), turned[2]
    ([[2, 0, 1]], (4.0, 1.0, 1.0))
    """
    order = sorted(range(len(spacing)), key=lambda axis: -spacing[axis])  # keeps the order of equal ones
    if order == list(range(len(spacing))):
        return a, b, spacing
    columns = [0, *(1 + axis for axis in order)] if len(spacing) == 2 else order
    turned = [Elements(np.ascontiguousarray(side.points[:, columns]), side.codes) for side in (a, b)]
    return turned[0], turned[1], tuple(spacing[axis] for axis in order)


class _Written(NamedTuple):
    """A surface as the search reads it."""

    points: np.ndarray  # 3×N int32 from the low corner of the frame, by cell
    codes: np.ndarray  # N uint8
    starts: np.ndarray  # C+1 int64: where each cell's points start
    boxes: np.ndarray  # C×6 float64: the lowest and the highest coordinates in each cell
    bits: np.ndarray  # uint64, rows of points


class _Frame(NamedTuple):
    """What two surfaces have in common: where, how large, and how they are written down."""

    low: np.ndarray  # 3: the lowest coordinates of any point
    edges: np.ndarray  # 3: pixels along each side of a cell
    cells: np.ndarray  # 3: cells along each axis
    grid: np.ndarray  # 3: planes and rows of bits, with padding, and words in a row
    padding: np.ndarray  # 2: planes and rows without points on each side
    squares: np.ndarray  # 3: squared spacing
    rows: np.ndarray  # R: words from a row to those around it, the nearest first
    row_squares: np.ndarray  # R: their squared distances
    limit: float  # squared distance up to which these rows suffice

    def write_down(self, elements: Elements) -> _Written:
        bits = np.zeros(int(self.grid.prod()), np.uint64)
        points, codes, starts, boxes = _sort_into_cells(
            *elements, self.low, self.edges, self.cells, bits, self.grid, self.padding
        )
        return _Written(points, codes, starts, boxes, bits)


def _frame(a: Elements, b: Elements, spacing: tuple[float, ...]) -> _Frame:
    dims = len(spacing)
    bounds = _bounds(a.points), _bounds(b.points)  # numpy takes longer over three columns than the search
    low = np.minimum(bounds[0][0], bounds[1][0])
    size = np.maximum(bounds[0][1], bounds[1][1]) - low + 1
    sides = np.array((1.0, *spacing) if dims == 2 else spacing, np.float64)
    edge = _CELL[dims] * float(np.prod(sides)) ** (1 / dims)  # cells are cubes in space
    edges = np.maximum(1, np.rint(edge / sides)).astype(np.int64)
    around, limit = _rows_around(spacing)
    padding = np.abs(around[:, :2]).max(axis=0).astype(np.int64)
    # A window starts 32 pixels to the left and is read from two words: one word before, two after.
    grid = np.array([*(size[:2] + 2 * padding), (size[2] + 63) // 64 + 3])
    rows = ((around[:, 0] * grid[1] + around[:, 1]) * grid[2]).astype(np.int64)
    row_squares = np.ascontiguousarray(around[:, 2])
    return _Frame(low, edges, -(-size // edges), grid, padding, sides**2, rows, row_squares, limit)


def _as_volume(mask: np.ndarray) -> np.ndarray:
    return mask[None] if mask.ndim == 2 else mask


def _run(tasks: Sequence[Callable[[], Any]], threads: bool) -> list[Any]:
    """The results of all tasks, from several threads where that pays."""
    if not threads or cv2.getNumThreads() < 2:
        return [task() for task in tasks]
    with ThreadPoolExecutor(cv2.getNumThreads()) as pool:
        return list(pool.map(lambda task: task(), tasks))


def _shares(starts: np.ndarray, parts: int) -> list[tuple[int, int]]:
    """All cells as (start, stop), in parts of about equally many points."""
    edges = np.searchsorted(starts, np.linspace(0, int(starts[-1]), parts + 1)).tolist()
    return [(i, j) for i, j in itertools.pairwise(edges) if j > i]


@lru_cache(maxsize=32)
def _rows_around(spacing: tuple[float, ...]) -> tuple[np.ndarray, float]:
    """The nearest rows, R×3 float64: planes and rows away, squared distance; and how far they suffice.

    The last is squared, too: whatever lies nearer is in these rows and in the window of each.
    """
    count = _ROWS[len(spacing)]
    steps = np.arange(-(count // 2) - 1, count // 2 + 2)
    planes = steps if len(spacing) == 3 else np.zeros(1, int)
    depth = spacing[0] if len(spacing) == 3 else 1.0
    pairs = np.stack(np.meshgrid(planes, steps, indexing="ij"), axis=-1).reshape(-1, 2)
    squares = (pairs[:, 0] * depth) ** 2 + (pairs[:, 1] * spacing[-2]) ** 2
    order = np.argsort(squares, kind="stable")
    rows = np.column_stack([pairs, squares])[order[:count]]
    return rows, min(float(squares[order[count]]), (_WINDOW * spacing[-1]) ** 2)


@lru_cache(maxsize=1)
def _cube_normals() -> dict[int, np.ndarray]:
    """The normals of every code of 8 corners, by rotating, mirroring and inverting the 14 classes."""
    normals: dict[int, np.ndarray] = {}
    for corners, triangles in _TRIANGLES.items():
        places = np.array([[int(i) for i in corner] for corner in corners], int).reshape(-1, 3)
        for axes in itertools.permutations(range(3)):
            for flips in itertools.product((0, 1), repeat=3):
                turned = places[:, axes] ^ np.array(flips)
                code = sum(1 << int(7 - place @ (4, 2, 1)) for place in turned)
                vectors = np.array(triangles, np.float64).reshape(-1, 3)[:, axes]
                normals[code] = normals[255 - code] = vectors
    return normals


@njit(cache=True, nogil=True)
def _list_edges(mask, width, beyond, across):  # type: ignore[no-untyped-def]  # numba infers the types
    """Points inside with a neighbour outside, of planes of flattened rows.

    ``beyond`` is what lies beyond the rows' ends, ``across`` beyond the first and the last plane. The first
    and the last row of a plane are looked at alone, those between them many at a time.
    """
    depth, pixels = mask.shape
    height = pixels // width
    many = max(1, _PIXELS_AT_A_TIME // width)
    beyond_row = np.full(width, beyond, np.uint8)
    across_rows = np.full(many * width, across, np.uint8)
    flags = np.zeros((many * width + 7) // 8 * 8, np.uint8)
    words = flags.view(np.uint64)
    points = np.empty((1024, 3), np.int32)
    count = 0
    for z in range(depth):
        y = 0
        while y < height:
            rows = 1 if y == 0 or y == height - 1 else min(many, height - 1 - y)
            start, stop = y * width, (y + rows) * width
            run = mask[z, start:stop]
            above = mask[z, start - width : stop - width] if y > 0 else beyond_row
            below = mask[z, start + width : stop + width] if y + rows < height else beyond_row
            before = mask[z - 1, start:stop] if z > 0 else across_rows[: stop - start]
            behind = mask[z + 1, start:stop] if z < depth - 1 else across_rows[: stop - start]
            found = _flag_rows(run, above, below, before, behind, flags, width, beyond)
            if count + found > len(points):
                larger = np.empty((2 * len(points) + found, 3), np.int32)
                larger[:count] = points[:count]
                points = larger
            for word in range((run.size + 7) // 8 if found else 0):
                if words[word]:
                    for i in range(8 * word, min(8 * word + 8, run.size)):
                        if flags[i]:
                            points[count, 0], points[count, 1], points[count, 2] = (
                                z,
                                y + i // width,
                                i % width,
                            )
                            count += 1
            y += rows
    return points[:count]


@njit(cache=True, nogil=True)
def _flag_rows(run, above, below, before, behind, flags, width, beyond):  # type: ignore[no-untyped-def]
    """Flag the edge points of a run of rows; how many there are.

    The first loop has no branch, so that it becomes vector instructions.
    """
    found = 0
    for i in range(1, run.size - 1):
        flag = (run[i] == INSIDE) & (
            (above[i] == 0) | (below[i] == 0) | (before[i] == 0) | (behind[i] == 0)
            | (run[i - 1] == 0) | (run[i + 1] == 0)
        )  # fmt: skip
        flags[i] = flag
    for start in range(0, run.size, width):  # the ends of rows have no neighbour in the row before or after
        for i in (start, start + width - 1):
            left = run[i - 1] if i > start else beyond
            right = run[i + 1] if i < start + width - 1 else beyond
            flags[i] = (run[i] == INSIDE) & (
                (above[i] == 0) | (below[i] == 0) | (before[i] == 0) | (behind[i] == 0)
                | (left == 0) | (right == 0)
            )  # fmt: skip
    for i in range(run.size):
        found += flags[i]
    return found


@njit(cache=True, nogil=True)
def _list_elements(planes, width, flat):  # type: ignore[no-untyped-def]
    """Corners and their codes; see :func:`surface_elements`.

    ``planes`` are flattened rows with a margin of pixels outside on every side, so that no corner needs a
    case of its own: pixel i is the last one around corner i, and rows run into one another in the margin.
    """
    pixels = planes.shape[1]
    flags = np.zeros(_PIXELS_AT_A_TIME, np.uint8)
    words = flags.view(np.uint64)
    points, codes = np.empty((1024, 3), np.int32), np.empty(1024, np.uint8)
    count = 0
    for z in range(0 if flat else 1, len(planes)):
        behind = planes[z]
        before = behind if flat else planes[z - 1]
        for start in range(width + 1, pixels, _PIXELS_AT_A_TIME):
            length = min(_PIXELS_AT_A_TIME, pixels - start)
            found = _flag_corners(before, behind, start, length, width, flags)
            if count + found > len(points):
                larger = np.empty((2 * len(points) + found, 3), np.int32)
                larger_codes = np.empty(len(larger), np.uint8)
                larger[:count], larger_codes[:count] = points[:count], codes[:count]
                points, codes = larger, larger_codes
            for word in range((length + 7) // 8 if found else 0):
                if words[word]:
                    for i in range(start + 8 * word, min(start + 8 * word + 8, start + length)):
                        code = 0
                        if flags[i - start]:
                            code = _code(behind, i, width) if flat else (
                                _code(before, i, width) << 4 | _code(behind, i, width)
                            )  # fmt: skip
                        if code > 0:
                            points[count, 0], points[count, 1], points[count, 2] = (
                                z - 1, i // width - 1, i % width - 1
                            )  # fmt: skip
                            codes[count] = code
                            count += 1
    return points[:count], codes[:count]


@njit(cache=True, nogil=True)
def _flag_corners(before, behind, start, length, width, flags):  # type: ignore[no-untyped-def]
    """Flag the corners whose pixels are not all alike and none ignored; how many there are."""
    above = start - width
    a, b, c, d = before[above - 1 :], before[above:], before[start - 1 :], before[start:]
    e, f, g, h = behind[above - 1 :], behind[above:], behind[start - 1 :], behind[start:]
    found = 0
    for i in range(length):
        some = a[i] | b[i] | c[i] | d[i] | e[i] | f[i] | g[i] | h[i]
        all_of_them = a[i] & b[i] & c[i] & d[i] & e[i] & f[i] & g[i] & h[i]
        flags[i] = (some == INSIDE) & (all_of_them == OUTSIDE)
    for i in range(length):
        found += flags[i]
    return found


@njit(cache=True, nogil=True)
def _code(plane, i, width):  # type: ignore[no-untyped-def]
    """Four bits of the pixels around corner ``i``, none of which is ignored."""
    above = i - width
    return plane[above - 1] << 3 | plane[above] << 2 | plane[i - 1] << 1 | plane[i]


@njit(cache=True, nogil=True)
def _sort_into_cells(  # type: ignore[no-untyped-def]
    points, codes, low, edges, cells, bits, grid, padding
):
    """Set the bits; points by cell (3×N, from the low corner), codes, starts and boxes of the used cells."""
    count = len(points)
    cell_of = np.empty(count, np.int32)
    ends = np.zeros(cells[0] * cells[1] * cells[2] + 1, np.int32)
    for i in range(count):
        z, y, x = points[i, 0] - low[0], points[i, 1] - low[1], points[i, 2] - low[2]
        cell = ((z // edges[0]) * cells[1] + y // edges[1]) * cells[2] + x // edges[2]
        cell_of[i] = cell
        ends[cell + 1] += 1
        word = ((z + padding[0]) * grid[1] + y + padding[1]) * grid[2] + 1 + (x >> 6)
        bits[word] |= np.uint64(1) << np.uint64(x & 63)
    used = 0
    for cell in range(len(ends) - 1):
        used += ends[cell + 1] > 0
        ends[cell + 1] += ends[cell]
    starts = np.zeros(used + 1, np.int64)
    used = 0
    for cell in range(len(ends) - 1):
        if ends[cell + 1] > ends[cell]:
            used += 1
            starts[used] = ends[cell + 1]
    by_cell, codes_by_cell = np.empty((3, count), np.int32), np.empty(count, np.uint8)
    for i in range(count):
        place = ends[cell_of[i]]
        ends[cell_of[i]] += 1
        for axis in range(3):
            by_cell[axis, place] = points[i, axis] - low[axis]
        codes_by_cell[place] = codes[i]
    boxes = np.empty((used, 6))
    for cell in range(used):
        for axis in range(3):
            inside = by_cell[axis, starts[cell] : starts[cell + 1]]
            boxes[cell, axis], boxes[cell, 3 + axis] = inside.min(), inside.max()
    return by_cell, codes_by_cell, starts, boxes


@njit(cache=True, nogil=True)
def _search(  # type: ignore[no-untyped-def]
    points, starts, boxes, first_cell, last_cell, others, other_starts, other_boxes, bits,
    grid, padding, squares, offsets, row_squares, limit, reach, out,
):  # fmt: skip
    """Fill ``out`` with the distances of the points in some cells; ``limit`` and ``reach`` are squared."""
    for cell in range(first_cell, last_cell):
        candidates = np.empty(0, np.int64)
        bounds = np.empty(0)
        rows_help = True
        last = -1  # the point before, when its distance came from the cells
        for i in range(starts[cell], starts[cell + 1]):
            best = np.inf
            if rows_help:
                z, y, x = points[0, i], points[1, i], points[2, i]
                word = ((z + padding[0]) * grid[1] + y + padding[1]) * grid[2]
                best = _look_at_rows(bits, word, np.int64(x) + 32, offsets, row_squares, squares[2])
            if best > limit:
                if limit >= reach:
                    out[i] = np.inf
                    continue
                if candidates.size == 0:
                    candidates, bounds = _possible_cells(boxes[cell], other_boxes, squares)
                    rows_help = bounds[0] <= limit
                if last >= 0:
                    best = min(best, _bound_from(points, last, i, out[last], squares))
                best = _look_at_cells(
                    points, i, others, other_starts, other_boxes, candidates, bounds, squares, best
                )
                last = i
            out[i] = math.sqrt(best)


@njit(cache=True, nogil=True)
def _look_at_rows(bits, word, x, offsets, row_squares, square):  # type: ignore[no-untyped-def]
    """The least squared distance to a point in the windows of the rows around; infinite if there is none.

    ``word`` is where the point's own row starts, ``x`` the bit of its window's start.
    """
    word += x >> 6
    shift = np.uint64(x & 63)
    back = np.uint64(63) - shift
    best = np.inf
    for i in range(offsets.size):
        if row_squares[i] >= best:
            break
        at = word + offsets[i]
        window = bits[at] >> shift | bits[at + 1] << np.uint64(1) << back
        if window:
            # A bit that is out of reach is set, so that there is always one to find.
            right: Any = _trailing_zeros(window >> np.uint64(32) | np.uint64(1 << 33))  # type: ignore[call-arg]
            left: Any = _leading_zeros(window << np.uint64(32) | np.uint64(1 << 30))
            step = min(right, left + np.uint64(1))
            if step <= np.uint64(_WINDOW):
                aside = np.float64(np.int64(step))
                best = min(best, row_squares[i] + aside * aside * square)
    return best


@njit(cache=True, nogil=True)
def _possible_cells(box, others, squares):  # type: ignore[no-untyped-def]
    """Cells that may hold the nearest point of some point in the box, and their squared distances to it."""
    nearest, farthest = np.empty(len(others)), np.inf
    for i in range(len(others)):
        near = far = 0.0
        for axis in range(3):
            gap = max(0.0, others[i, axis] - box[3 + axis], box[axis] - others[i, 3 + axis])
            span = max(others[i, 3 + axis] - box[axis], box[3 + axis] - others[i, axis])
            near += gap * gap * squares[axis]
            far += span * span * squares[axis]
        nearest[i] = near
        farthest = min(farthest, far)
    possible = np.flatnonzero(nearest <= farthest)
    order = np.argsort(nearest[possible])
    return possible[order], nearest[possible][order]


@njit(cache=True, nogil=True)
def _bound_from(points, last, i, distance, squares):  # type: ignore[no-untyped-def]
    """The largest squared distance that point ``i`` can have after point ``last`` had that distance."""
    step = 0.0
    for axis in range(3):
        step += (points[axis, i] - points[axis, last]) ** 2 * squares[axis]
    bound = (distance + math.sqrt(step)) * (1 + 1e-9)  # never below it for rounding
    return bound * bound


@njit(cache=True, nogil=True)
def _look_at_cells(  # type: ignore[no-untyped-def]
    points, i, others, other_starts, other_boxes, candidates, bounds, squares, best
):
    """The squared distance to the nearest point in the candidates, given that it is at most ``best``."""
    z, y, x = np.float64(points[0, i]), np.float64(points[1, i]), np.float64(points[2, i])
    for k in range(candidates.size):
        if bounds[k] > best:
            break
        cell = candidates[k]
        box = other_boxes[cell]
        dz, dy, dx = (
            max(0.0, box[0] - z, z - box[3]),
            max(0.0, box[1] - y, y - box[4]),
            max(0.0, box[2] - x, x - box[5]),
        )
        if dz * dz * squares[0] + dy * dy * squares[1] + dx * dx * squares[2] <= best:
            best = _least(others, other_starts[cell], other_starts[cell + 1], z, y, x, squares, best)
    return best


@njit(cache=True, nogil=True)
def _least(others, start, stop, z, y, x, squares, best):  # type: ignore[no-untyped-def]
    """The least squared distance of some points, or ``best``.

    Floats that are not negative are in the order of their bits, and a minimum of integers becomes vector
    instructions where one of floats does not.
    """
    a, b, c = squares[0], squares[1], squares[2]
    planes, rows, columns = others[0, start:stop], others[1, start:stop], others[2, start:stop]
    least: Any = _bits_of_float(best)  # type: ignore[call-arg]
    for j in range(planes.size):
        dz, dy, dx = planes[j] - z, rows[j] - y, columns[j] - x
        least = min(least, _bits_of_float(dz * dz * a + dy * dy * b + dx * dx * c))
    return _float_of_bits(least)


@njit(cache=True, nogil=True)
def _bounds(points):  # type: ignore[no-untyped-def]
    """The lowest and the highest coordinates, 2×3."""
    bounds = np.empty((2, 3), np.int64)
    for axis in range(3):
        low = high = points[0, axis]
        for i in range(len(points)):
            low, high = min(low, points[i, axis]), max(high, points[i, axis])
        bounds[0, axis], bounds[1, axis] = low, high
    return bounds


@intrinsic
def _trailing_zeros(typing_context, word):  # type: ignore[no-untyped-def]
    """Zeros below the lowest set bit of a uint64 that is not 0."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.cttz(arguments[0], context.get_constant(types.boolean, True))

    return types.uint64(types.uint64), generate


@intrinsic
def _leading_zeros(typing_context, word):  # type: ignore[no-untyped-def]
    """Zeros above the highest set bit of a uint64 that is not 0."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.ctlz(arguments[0], context.get_constant(types.boolean, True))

    return types.uint64(types.uint64), generate


@intrinsic
def _bits_of_float(typing_context, number):  # type: ignore[no-untyped-def]
    """The bits of a float64 as int64."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.bitcast(arguments[0], context.get_value_type(types.int64))

    return types.int64(types.float64), generate


@intrinsic
def _float_of_bits(typing_context, bits):  # type: ignore[no-untyped-def]
    """The float64 that an int64 holds the bits of."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.bitcast(arguments[0], context.get_value_type(types.float64))

    return types.float64(types.int64), generate
