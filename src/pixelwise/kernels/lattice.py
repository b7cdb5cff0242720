"""Gaussian filtering over any features: position, position and colour, or whatever else tells points apart.

Source: Adams, Baek and Davis, "Fast High-Dimensional Filtering Using the Permutohedral Lattice", Eurographics
2010. The points are lifted onto the hyperplane of d + 1 coordinates that add up to zero, where the lattice's
simplices have d + 1 corners. Each point adds its values to the corners around it (splat), each corner is
mixed with its neighbours along d + 1 axes (blur), and each point reads its corners again (slice).

What is done here in its own way, for speed and memory; the result is the same:

- A corner's key is one integer, linear in its coordinates: a neighbour's key is the key plus a constant.
- The points are cut into bands, one for each thread, and every band has table rows of its own. A corner that
  several bands touch has its home in the first of them; the others' rows are copies, added to the home
  before the blur and filled from it afterwards. No thread ever writes where another one does.
- Rows stand in the order in which points first touch them, and that first touch is marked in the list of
  rows: a row is cleared there, when it is about to be in the cache anyway.
- The blur walks chains of corners that are neighbours along an axis and works in place. Among sharp colours
  many corners have no neighbour along an axis; they are in no chain and cost nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import cv2
import numpy as np
from numba import njit

from pixelwise.errors import UsageError
from pixelwise.kernels.vectors import (
    add,
    broadcast,
    item,
    less,
    load,
    multiply,
    multiply_add,
    padded,
    prefetch,
    rounded,
    store,
    subtract,
)

_POINTS_WORTH_A_THREAD = 1 << 13
_ROWS_WORTH_A_THREAD = 1 << 15  # to wake a thread takes as long as to blur a thousand
_FREE = np.uint64(1 << 63)  # the key of an empty slot
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_TOGETHER = 16  # points whose corners are found together, a multiple of 8
_AHEAD = 12  # rows and slots to ask for before they are needed
_MOST_DIMENSIONS = 32
_FARTHEST = 1e6  # features in standard deviations: float32 still tells corners apart


class Lattice:
    """A sum of Gaussian kernels between N points, each kernel over features of its own.

    The filtered value of point i is ``sum_k weight_k sum_j K_k(i, j) value_j`` with
    ``K(i, j) = n_i exp(-|f_i - f_j|² / 2) n_j``, the point itself included. ``n_i`` is one over the root of
    the kernel's sum at i (symmetric normalisation), which keeps the filter symmetric.

    Parameters
    ----------
    features
        For each kernel an N×d float32 array, already divided by the standard deviations.
    kernel_weights
        For each kernel a number of at least 0; all 1 when None.
    normalise
        Whether to normalise; without it the table holds plain sums, and ``n_i`` is constant but unspecified.
    bands
        Into how many bands the points are cut; one for each thread when None. With one band, the table holds
        each corner exactly once.

    Raises
    ------
    UsageError
        There are no points or more than 32 dimensions, the kernels' points differ in number, or a feature is
        not finite or beyond a million standard deviations.

    Notes
    -----
    A lattice is an approximation: its kernel is piecewise and varies with the position. Averages of random
    values between 0 and 1 deviate from those of the exact Gaussian by 0.002 (root mean square) in one
    dimension, 0.005 in two, 0.007 in three, and 0.025 in five with few points.

    Sums run in another order for another number of threads, which moves results by a float32's rounding.
    """

    rows: np.ndarray  # N×V int32: the table rows around each point, for all kernels; ~row at its first touch
    weights: np.ndarray  # N×V float32: barycentric weights, normalisation and kernel weights included
    length: int  # rows of the table
    bands: list[tuple[int, int]]  # the first point of each band and the one after its last

    def __init__(
        self,
        features: Sequence[np.ndarray],
        kernel_weights: Sequence[float] | None = None,
        *,
        normalise: bool = True,
        bands: int | None = None,
    ) -> None:
        features = [_checked(kernel) for kernel in features]
        points = len(features[0])
        if len({len(kernel) for kernel in features}) > 1:
            found = ", ".join(str(len(kernel)) for kernel in features)
            raise UsageError(f"all kernels need the same points, found {found}")
        # As many threads as OpenCV may use: it heeds affinity, container limits and cv2.setNumThreads.
        self.threads = max(1, min(cv2.getNumThreads(), points // _POINTS_WORTH_A_THREAD))
        edges = np.linspace(0, points, (self.threads if bands is None else bands) + 1).astype(int)
        self.bands = list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
        self._pool = ThreadPoolExecutor(max(1, self.threads - 1))

        corners = [kernel.shape[1] + 1 for kernel in features]
        self.rows = np.empty((points, sum(corners)), np.int32)
        self.weights = np.empty((points, sum(corners)), np.float32)
        self.length, first = 0, 0
        chains: list[list[np.ndarray]] = []
        copies: list[list[tuple[np.ndarray, np.ndarray]]] = []
        for kernel in features:
            built = self._build(kernel, first)
            chains.append(built.chains)
            copies.append(built.copies)
            first += kernel.shape[1] + 1
        # Axis by axis, all kernels at once: they share no row.
        axes = [
            np.concatenate([kernel[axis] for kernel in chains if axis < len(kernel)])
            for axis in range(max(corners))
        ]
        self._chains = [(axis, self._cuts(axis)) for axis in axes]
        self._copies = [
            (np.concatenate([own for own, _ in band]), np.concatenate([home for _, home in band]))
            for band in zip(*copies, strict=True)
        ]
        self._scale(corners, [1.0] * len(corners) if kernel_weights is None else kernel_weights, normalise)

    def filter(self, values: np.ndarray, *, transpose: bool = False) -> np.ndarray:
        """Filtered values: N×C float32 from N×C (other floats are converted); UsageError for another N.

        Blurring axis after axis makes a difference at the lattice's rim, so that the filter is symmetric only
        nearly; ``transpose`` gives the exact transpose, which a gradient needs.
        """
        if values.ndim != 2 or len(values) != len(self.rows):
            found = "x".join(map(str, values.shape))
            raise UsageError(f"values must be {len(self.rows)} points by channels, found {found}")
        channels = values.shape[1]
        width = padded(channels)
        rows = np.zeros((len(values), width), np.float32)
        rows[:, :channels] = values
        table = self.splat(rows.ravel(), width)
        self.blur(table, width, reverse=transpose)
        return self.slice(table, width).reshape(rows.shape)[:, :channels]

    def splat(self, values: np.ndarray, width: int) -> np.ndarray:
        """The table (rows of ``width``, a multiple of 8) that N such rows of values leave; flat arrays."""
        table = np.empty(self.length * width, np.float32)
        self.each_band(
            lambda start, stop: _splat(values, width, self.rows, self.weights, start, stop, table, width)
        )
        return table

    def blur(self, table: np.ndarray, width: int, *, reverse: bool = False) -> None:
        """Mix every corner with its neighbours, in place; ``reverse`` takes the axes from the last on."""
        self._copy(_give, table, width)
        for chain, cuts in reversed(self._chains) if reverse else self._chains:
            self._run([(_blur, (table, width, chain, i, j)) for i, j in cuts])
        self._copy(_take, table, width)

    def slice(self, table: np.ndarray, width: int) -> np.ndarray:
        """N rows of values read from the table, a flat array."""
        values = np.empty(len(self.rows) * width, np.float32)
        self.each_band(lambda start, stop: _slice(table, width, self.rows, self.weights, start, stop, values))
        return values

    def each_band(self, work: Callable[[int, int], Any]) -> list[Any]:
        """Call ``work(start, stop)`` for every band of points, each on a thread of its own."""
        return self._run([(work, band) for band in self.bands])

    def _build(self, features: np.ndarray, column: int) -> _Kernel:
        """Enter the points into a lattice for one kernel, its corners in the columns from ``column`` on."""
        dimensions = features.shape[1]
        start = self.length
        scale, strides = _lifting(features)
        entered = self.each_band(
            lambda i, j: _enter(features, scale, strides, column, i, j, start, self.rows, self.weights)
        )
        keys = [band[0] for band in entered]
        firsts = start + np.concatenate([[0], np.cumsum([len(band) for band in keys])])
        self.length = int(firsts[-1])
        # Every band counted from ``start``.
        self._run(
            [
                (_shift, (self.rows, column, dimensions + 1, *band, first - start))
                for band, first in zip(self.bands, firsts[:-1], strict=True)
            ]
        )

        slot_keys, slot_rows = entered[0][1:]
        homes = [np.arange(start, firsts[1], dtype=np.int32)]
        copies = []
        for band in range(1, len(keys)):
            used = sum(map(len, homes))
            slot_keys, slot_rows, new, own, home = _merge(
                slot_keys, slot_rows, used, keys[band], firsts[band]
            )
            keys[band] = keys[band][new]
            homes.append((firsts[band] + new).astype(np.int32))
            copies.append((own, home))

        all_keys, all_homes = np.concatenate(keys), np.concatenate(homes)
        # One step along axis j: 1 on every coordinate, -d on the j-th. The last one is not part of the key.
        everywhere = strides.sum(dtype=np.uint64)
        steps = [*(everywhere - np.uint64(dimensions + 1) * strides), everywhere]
        chains = self._run(
            [
                (_chain, (slot_keys, slot_rows, all_keys, all_homes, step, start, self.length))
                for step in steps
            ]
        )
        return _Kernel(chains, copies)

    def _scale(self, corners: list[int], kernel_weights: Sequence[float], normalise: bool) -> None:
        """Fold each kernel's weight and normalisation into the barycentric weights, half on either side."""
        roots = np.sqrt(np.asarray(kernel_weights, np.float32))
        edges = np.concatenate([[0], np.cumsum(corners)])
        if not normalise:
            for root, start, stop in zip(roots, edges[:-1], edges[1:], strict=True):
                self.weights[:, start:stop] *= root
            return
        width = padded(1)
        table = np.empty(self.length * width, np.float32)
        one = np.ones(width, np.float32)
        self.each_band(lambda start, stop: _splat(one, 0, self.rows, self.weights, start, stop, table, width))
        self.blur(table, width)
        self.each_band(
            lambda start, stop: _normalise(table, width, self.rows, self.weights, edges, roots, start, stop)
        )

    def _cuts(self, chain: np.ndarray) -> list[tuple[int, int]]:
        """Parts of nearly the same length, as many as are worth a thread, that end where a chain ends."""
        parts = max(1, min(self.threads, len(chain) // _ROWS_WORTH_A_THREAD))
        cuts = [0]
        for part in range(1, parts):
            cut = max(cuts[-1], len(chain) * part // parts)
            while 0 < cut < len(chain) and chain[cut - 1] >= 0:
                cut += 1
            cuts.append(cut)
        return list(zip(cuts, [*cuts[1:], len(chain)], strict=True))

    def _copy(self, work: Callable[..., None], table: np.ndarray, width: int) -> None:
        """Between the copies and their homes. Band by band: two of them may have copies of one home."""
        for own, home in self._copies:
            parts = max(1, min(self.threads, len(own) // _ROWS_WORTH_A_THREAD))
            edges = [len(own) * part // parts for part in range(parts + 1)]
            self._run(
                [(work, (table, width, own, home, i, j)) for i, j in zip(edges[:-1], edges[1:], strict=True)]
            )

    def _run(self, tasks: Sequence[tuple[Callable[..., Any], tuple[Any, ...]]]) -> list[Any]:
        """All tasks' results, in order; the calling thread does its share of them."""

        def share(first: int) -> list[Any]:
            return [work(*arguments) for work, arguments in tasks[first :: self.threads]]

        others = [self._pool.submit(share, first) for first in range(1, min(self.threads, len(tasks)))]
        results: list[Any] = [None] * len(tasks)
        results[:: self.threads] = share(0)
        for first, other in enumerate(others, start=1):
            results[first :: self.threads] = other.result()
        return results


class _Kernel(NamedTuple):
    """What one kernel's lattice consists of, beside its columns of rows and weights."""

    chains: list[np.ndarray]  # for each axis: rows in the order of the chains, ~row at the end of each
    copies: list[tuple[np.ndarray, np.ndarray]]  # for each band but the first: rows of copies, their homes


def _checked(features: np.ndarray) -> np.ndarray:
    features = np.ascontiguousarray(features, np.float32)
    if features.ndim != 2 or not features.size or features.shape[1] > _MOST_DIMENSIONS:
        raise UsageError(
            f"lattice features must be N points by 1 to {_MOST_DIMENSIONS} dimensions, found "
            f"{'x'.join(map(str, features.shape))}"
        )
    return features


def _lifting(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale factors of the lift (float32) and what each coordinate counts in a corner's key (uint64).

    Keys are numbers in mixed radix wherever 63 bits hold them. Otherwise each coordinate counts a random
    odd number: a million corners then have a chance of 1 in 40 million that two share a key.
    """
    dimensions = features.shape[1]
    axis = np.arange(dimensions)
    # A unit of standard deviation is this long, because splat, blur and slice together are that wide.
    scale = (math.sqrt(2 / 3) * (dimensions + 1) / np.sqrt((axis + 1) * (axis + 2))).astype(np.float32)
    least, most = _range(features)
    low, high = least * scale, most * scale
    if not np.all(np.abs([low, high]) < _FARTHEST):  # also when not finite
        raise UsageError(
            f"lattice features reach from {least.min():g} to {most.max():g} standard deviations: "
            "give finite ones within a million"
        )
    lift = np.triu(np.ones((dimensions + 1, dimensions)))
    lift[axis + 1, axis] = -(axis + 1)
    reach = np.abs(lift) @ (high.astype(np.float64) - low)
    # Rounding to a corner and one step to a neighbour leave that range by less than 2 (d + 1) on either side.
    sizes = [math.ceil(one) + 4 * (dimensions + 1) + 1 for one in reach[:dimensions]]
    if math.prod(sizes) < 1 << 63:
        return scale, np.array([math.prod(sizes[:i]) for i in range(dimensions)], np.uint64)
    drawn = np.random.default_rng(0).integers(1 << 63, size=(dimensions,), dtype=np.uint64)
    return scale, drawn * np.uint64(2) + np.uint64(1)


@njit(cache=True, nogil=True)
def _range(features):  # type: ignore[no-untyped-def]
    """The least and the largest of each column, nan where not all are finite; numpy is slow on short rows."""
    least, most = features[0].copy(), features[0].copy()
    odd = np.zeros_like(least)
    for point in range(len(features)):
        for j in range(features.shape[1]):
            value = features[point, j]
            least[j], most[j] = min(least[j], value), max(most[j], value)
            odd[j] += value - value  # nan from the first value on that is not finite
    return least + odd, most + odd


@njit(cache=True, nogil=True, forceinline=True)
def _home_slot(slot_keys, key):  # type: ignore[no-untyped-def]
    return ((key * _GOLDEN) >> np.uint64(32)) & np.uint64(len(slot_keys) - 1)


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _slot(slot_keys, key):  # type: ignore[no-untyped-def]
    """The slot that holds the key, or the free one where it belongs."""
    mask = np.uint64(len(slot_keys) - 1)
    slot = _home_slot(slot_keys, key)
    while slot_keys[slot] != key and slot_keys[slot] != _FREE:
        slot = (slot + np.uint64(1)) & mask
    return slot


@njit(cache=True, nogil=True, error_model="numpy")
def _twice(slot_keys, slot_rows):  # type: ignore[no-untyped-def]
    """The same table with twice the slots."""
    larger_keys = np.full(2 * len(slot_keys), _FREE, np.uint64)
    larger_rows = np.empty(2 * len(slot_rows), np.int32)
    for old in range(len(slot_keys)):
        if slot_keys[old] != _FREE:
            slot = _slot(larger_keys, slot_keys[old])
            larger_keys[slot] = slot_keys[old]
            larger_rows[slot] = slot_rows[old]
    return larger_keys, larger_rows


@njit(cache=True, nogil=True, error_model="numpy")
def _enter(features, scale, strides, column, start, stop, first, rows, weights):  # type: ignore[no-untyped-def]
    """The corners around the points of a band, numbered from ``first`` on as they come.

    Writes each point's rows and barycentric weights; gives the corners' keys and the table that finds them.
    """
    corners = features.shape[1] + 1
    slots = 1 << 10
    while 4 * slots < stop - start:
        slots *= 2
    slot_keys, slot_rows = np.full(slots, _FREE, np.uint64), np.empty(slots, np.int32)
    keys, count = np.empty(slots, np.uint64), 0
    last_key, last_row = np.full(corners, _FREE, np.uint64), np.empty(corners, np.int32)
    wanted = np.empty((_TOGETHER, corners), np.uint64)
    offset, corner, rank = np.zeros((3, corners * _TOGETHER), np.float32)
    at_rank = np.empty(corners, np.int64)
    everywhere, share = strides.sum(), np.float32(1) / np.float32(corners)
    for some in range(start, stop, _TOGETHER):
        together = min(_TOGETHER, stop - some)
        _find_simplices(features, some, together, scale, offset, corner, rank)
        # The slots of all these points are asked for before the first of them is looked at.
        for i in range(together):
            key = np.uint64(0)
            for j in range(corners):
                at_rank[np.int64(rank[j * _TOGETHER + i])] = j
                if j < corners - 1:
                    key += strides[j] * np.uint64(np.int64(corner[j * _TOGETHER + i]))
            # The corners of remainder 0, 1, ..., d: each is one more on every coordinate, except that the
            # one whose turn it is falls back by d + 1.
            before = offset[at_rank[0] * _TOGETHER + i] - np.float32(corners)
            for remainder in range(corners):
                j = at_rank[corners - 1 - remainder]
                here = offset[j * _TOGETHER + i]
                weights[some + i, column + remainder] = (here - before) * share
                before = here
                wanted[i, remainder] = key
                if key != last_key[remainder]:
                    prefetch(slot_keys, _home_slot(slot_keys, key))
                key += everywhere
                if j < corners - 1:
                    key -= strides[j] * np.uint64(corners)
        for i in range(together):
            for remainder in range(corners):
                key = wanted[i, remainder]
                if key == last_key[remainder]:
                    rows[some + i, column + remainder] = last_row[remainder]
                    continue
                slot = _slot(slot_keys, key)
                row = first + count
                if slot_keys[slot] == key:
                    row = slot_rows[slot]
                    rows[some + i, column + remainder] = row
                else:
                    slot_keys[slot], slot_rows[slot] = key, row
                    rows[some + i, column + remainder] = ~row
                    keys[count] = key
                    count += 1
                    if 2 * count > len(slot_keys):
                        slot_keys, slot_rows = _twice(slot_keys, slot_rows)
                        longer = np.empty(len(slot_keys), np.uint64)
                        longer[:count] = keys[:count]
                        keys = longer
                last_key[remainder], last_row[remainder] = key, row
    return keys[:count].copy(), slot_keys, slot_rows


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _find_simplices(features, some, together, scale, offset, corner, rank):  # type: ignore[no-untyped-def]
    """For some points: the corner of remainder 0, the point's offset from it, and the ranks of the offsets.

    Coordinate j of the i-th point stands at ``j * _TOGETHER + i``, so that one instruction does eight points.
    Rank 0 has the largest offset.
    """
    d = features.shape[1]
    for i in range(together):
        for j in range(d):
            offset[(j + 1) * _TOGETHER + i] = features[some + i, j]
    step, share = broadcast(np.float32(d + 1)), broadcast(np.float32(1) / np.float32(d + 1))
    nothing, one, highest = broadcast(np.float32(0)), broadcast(np.float32(1)), broadcast(np.float32(d + 0.5))
    for i in range(0, _TOGETHER, 8):
        # Lift onto the hyperplane.
        behind = nothing
        for j in range(d, 0, -1):
            part = multiply(load(offset, j * _TOGETHER + i), broadcast(scale[j - 1]))
            store(offset, j * _TOGETHER + i, multiply_add(broadcast(np.float32(-j)), part, behind))
            behind = add(behind, part)
        store(offset, i, behind)
        # The nearest multiples of d + 1; their sum is off the hyperplane by so many of them.
        excess = nothing
        for j in range(d + 1):
            at = j * _TOGETHER + i
            nearest = rounded(multiply(load(offset, at), share))
            excess = add(excess, nearest)
            store(corner, at, multiply(nearest, step))
            store(offset, at, subtract(load(offset, at), multiply(nearest, step)))
        # The order of the offsets, one more for each that the sum has too many.
        for j in range(d + 1):
            store(rank, j * _TOGETHER + i, excess)
        for j in range(d):
            at = j * _TOGETHER + i
            for k in range(j + 1, d + 1):
                other = k * _TOGETHER + i
                smaller = less(load(offset, at), load(offset, other))
                store(rank, at, add(load(rank, at), smaller))
                store(rank, other, add(load(rank, other), subtract(one, smaller)))
        # Back onto the hyperplane: those whose rank is now beyond the others move by d + 1.
        for j in range(d + 1):
            at = j * _TOGETHER + i
            place = load(rank, at)
            moved = multiply(step, subtract(less(place, nothing), less(highest, place)))
            store(rank, at, add(place, moved))
            store(corner, at, add(load(corner, at), moved))
            store(offset, at, subtract(load(offset, at), moved))


@njit(cache=True, nogil=True)
def _shift(rows, column, count, start, stop, by):  # type: ignore[no-untyped-def]
    if by == 0:
        return
    for point in range(start, stop):
        for v in range(column, column + count):
            rows[point, v] += by if rows[point, v] >= 0 else -by  # ~(row + by) == ~row - by


@njit(cache=True, nogil=True)
def _merge(slot_keys, slot_rows, used, keys, first):  # type: ignore[no-untyped-def]
    """Enter a band's corners, numbered from ``first`` on, into the table of those before it.

    Gives the table, the numbers in the band of the corners that are new, and for the others their rows and
    the rows of their homes.
    """
    new, known = 0, 0
    is_new = np.empty(len(keys), np.int32)
    own, home = np.empty(len(keys), np.int32), np.empty(len(keys), np.int32)
    for number in range(len(keys)):
        if number + _AHEAD < len(keys):
            prefetch(slot_keys, _home_slot(slot_keys, keys[number + _AHEAD]))
        key = keys[number]
        slot = _slot(slot_keys, key)
        if slot_keys[slot] == key:
            own[known], home[known] = first + number, slot_rows[slot]
            known += 1
            continue
        slot_keys[slot], slot_rows[slot] = key, first + number
        is_new[new] = number
        new += 1
        if 2 * (used + new) > len(slot_keys):
            slot_keys, slot_rows = _twice(slot_keys, slot_rows)
    return slot_keys, slot_rows, is_new[:new].copy(), own[:known].copy(), home[:known].copy()


@njit(cache=True, nogil=True)
def _chain(slot_keys, slot_rows, keys, homes, step, start, stop):  # type: ignore[no-untyped-def]
    """Rows of corners, each after its neighbour along an axis; ~row where a chain ends."""
    following = np.full(stop - start, -1, np.int32)
    follows = np.zeros(stop - start, np.bool_)
    for number in range(len(keys)):
        if number + _AHEAD < len(keys):
            prefetch(slot_keys, _home_slot(slot_keys, keys[number + _AHEAD] + step))
        slot = _slot(slot_keys, keys[number] + step)
        if slot_keys[slot] != _FREE:
            following[homes[number] - start] = slot_rows[slot]
            follows[slot_rows[slot] - start] = True
    chain, length = np.empty(len(keys), np.int32), 0
    for head in homes:
        if follows[head - start] or following[head - start] < 0:
            continue
        row = head
        while following[row - start] >= 0:
            chain[length] = row
            length += 1
            row = following[row - start]
        chain[length] = ~row
        length += 1
    return chain[:length].copy()


@njit(cache=True, nogil=True, forceinline=True)
def add_to_rows(values, at, width, rows, weights, first, stop, table):  # type: ignore[no-untyped-def]
    """Add values, from ``values[at]`` on, by weight to the rows that entries ``first`` to ``stop`` name."""
    nothing = broadcast(np.float32(0))
    for v in range(first, stop):
        if item(rows, v) < 0:
            for c in range(0, width, 8):
                store(table, ~np.int64(item(rows, v)) * width + c, nothing)
    c = 0
    # Three vectors at a time share the work of finding a row. 19 and 21 classes are three vectors.
    while c + 24 <= width:
        one, two, three = load(values, at + c), load(values, at + c + 8), load(values, at + c + 16)
        for v in range(first, stop):
            place, weight = _place(item(rows, v), width) + c, broadcast(item(weights, v))
            a = multiply_add(weight, one, load(table, place))
            b = multiply_add(weight, two, load(table, place + 8))
            store(table, place + 16, multiply_add(weight, three, load(table, place + 16)))
            store(table, place, a)
            store(table, place + 8, b)
        c += 24
    while c < width:
        value = load(values, at + c)
        for v in range(first, stop):
            place = _place(item(rows, v), width) + c
            store(table, place, multiply_add(broadcast(item(weights, v)), value, load(table, place)))
        c += 8


@njit(cache=True, nogil=True, forceinline=True)
def read_rows(table, width, rows, weights, first, stop, values, at):  # type: ignore[no-untyped-def]
    """Write the sum of the rows that entries ``first`` to ``stop`` name, by weight, to ``values[at]`` on."""
    nothing = broadcast(np.float32(0))
    c = 0
    while c + 24 <= width:
        one, two, three = nothing, nothing, nothing
        for v in range(first, stop):
            place, weight = _place(item(rows, v), width) + c, broadcast(item(weights, v))
            one = multiply_add(weight, load(table, place), one)
            two = multiply_add(weight, load(table, place + 8), two)
            three = multiply_add(weight, load(table, place + 16), three)
        store(values, at + c, one)
        store(values, at + c + 8, two)
        store(values, at + c + 16, three)
        c += 24
    while c < width:
        value = nothing
        for v in range(first, stop):
            value = multiply_add(
                broadcast(item(weights, v)), load(table, _place(item(rows, v), width) + c), value
            )
        store(values, at + c, value)
        c += 8


@njit(cache=True, nogil=True, forceinline=True)
def _place(row, width):  # type: ignore[no-untyped-def]
    """Where a row begins, whether it is marked or not."""
    row = np.int64(row)
    return (row ^ (row >> 63)) * width


@njit(cache=True, nogil=True)
def _splat(values, step, rows, weights, start, stop, table, width):  # type: ignore[no-untyped-def]
    """Add each point's values, ``step`` numbers after those of the point before, to the table."""
    corners, rows, weights = rows.shape[1], rows.ravel(), weights.ravel()
    for point in range(start, stop):
        entry = point * corners
        add_to_rows(values, point * step, width, rows, weights, entry, entry + corners, table)


@njit(cache=True, nogil=True)
def _slice(table, width, rows, weights, start, stop, values):  # type: ignore[no-untyped-def]
    corners, rows, weights = rows.shape[1], rows.ravel(), weights.ravel()
    for point in range(start, stop):
        entry = point * corners
        read_rows(table, width, rows, weights, entry, entry + corners, values, point * width)


@njit(cache=True, nogil=True)
def _blur(table, width, chain, start, stop):  # type: ignore[no-untyped-def]
    """Each row of a chain plus half of those before and after it."""
    half, nothing = broadcast(np.float32(0.5)), broadcast(np.float32(0))
    first = start
    while first < stop:
        last = first
        while True:
            if last + _AHEAD < stop:
                place = _place(item(chain, last + _AHEAD), width)
                prefetch(table, place)
                prefetch(table, place + width - 1)
            if item(chain, last) < 0:
                break
            last += 1
        for c in range(0, width, 8):
            before, here = nothing, load(table, np.int64(item(chain, first)) * width + c)
            for i in range(first, last):
                after = load(table, _place(item(chain, i + 1), width) + c)
                place = np.int64(item(chain, i)) * width + c
                store(table, place, multiply_add(half, add(before, after), here))
                before, here = here, after
            store(table, ~np.int64(item(chain, last)) * width + c, multiply_add(half, before, here))
        first = last + 1


@njit(cache=True, nogil=True)
def _give(table, width, own, home, start, stop):  # type: ignore[no-untyped-def]
    """Add copies to their homes."""
    for i in range(start, stop):
        for c in range(0, width, 8):
            place = np.int64(home[i]) * width + c
            store(table, place, add(load(table, place), load(table, np.int64(own[i]) * width + c)))


@njit(cache=True, nogil=True)
def _take(table, width, own, home, start, stop):  # type: ignore[no-untyped-def]
    """Fill copies from their homes."""
    for i in range(start, stop):
        for c in range(0, width, 8):
            store(table, np.int64(own[i]) * width + c, load(table, np.int64(home[i]) * width + c))


@njit(cache=True, nogil=True, error_model="numpy")
def _normalise(table, width, rows, weights, edges, roots, start, stop):  # type: ignore[no-untyped-def]
    """Scale each kernel's weights around a point by root / sqrt(its blurred ones at that point)."""
    for point in range(start, stop):
        for kernel in range(len(roots)):
            ones = np.float32(0)
            for v in range(edges[kernel], edges[kernel + 1]):
                ones += weights[point, v] * table[_place(rows[point, v], width)]
            scale = roots[kernel] / np.sqrt(ones + np.float32(1e-20))
            for v in range(edges[kernel], edges[kernel + 1]):
                weights[point, v] *= scale
