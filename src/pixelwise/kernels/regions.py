"""The regions of a class raster as polygons with holes, from strips of rows, so that no raster is too large.

A region is a set of pixels of one class that are connected along their sides. It is traced along the edges
between pixels, as :mod:`pixelwise.kernels.outline` does for a mask, and given out once no later strip can add
to it. Borders of strips cut nothing: an outline that leaves a strip is carried as an open chain, and goes on
where the next strip enters it. In memory are one strip and what is still open, so only a region with a very
long outline is large.

Chains are matched by the place where they cross the border between two strips: a vertical edge between two
pixels is walked downwards by the left pixel's region and upwards by the right one's, once each. Pixels that
touch at a corner only are not connected there; where they turn out to be connected around it, the ring that
passes the corner twice is cut in two, so that no ring touches itself, as OGC's Simple Features demand.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numba
import numpy as np


@dataclass(frozen=True)
class Region:
    """Connected pixels of one class.

    Attributes
    ----------
    class_id
        The class.
    pixels
        How many there are.
    rings
        N×2 int32 (x, y) corners of each ring, not closed: the outer one first, clockwise as seen; holes run
        the other way.
    """

    class_id: int
    pixels: int
    rings: list[np.ndarray]


def trace_regions(strips: Iterable[np.ndarray], width: int, ignore: int) -> Iterator[Region]:
    """Every region of a raster that comes in strips of rows from top to bottom.

    Parameters
    ----------
    strips
        Rows×width class ids, each with at least one row.
    width
        Columns of the raster.
    ignore
        The id of pixels that belong to no region.

    Examples
    --------
    >>> first, second = trace_regions([np.array([[1, 255]]), np.array([[1, 0]])], 2, 255)
    >>> first.class_id, first.pixels, first.rings[0].tolist()
    (1, 2, [[0, 0], [1, 0], [1, 2], [0, 2]])
    """
    tracer = _Tracer(width, ignore)
    for strip in strips:
        yield from tracer.add(strip)
    yield from tracer.add(np.full((1, width), ignore, np.int32))  # closes whatever is open


@dataclass(eq=False)
class _Chain:
    """A piece of an outline that both begins and ends on a border between strips."""

    pieces: deque[np.ndarray]
    head: tuple[str, int]  # the border and column that it comes from, upwards
    tail: tuple[str, int]  # the border and column that it goes to, downwards


class _Tracer:
    """What is open between two strips."""

    def __init__(self, width: int, ignore: int) -> None:
        self.ignore = ignore
        self.top = 0
        self.last_ids = np.full(width, ignore, np.int32)
        self.last_regions = np.full(width + 2, -1, np.int32)
        self.areas = np.zeros(0, np.int64)
        self.rings: dict[int, list[np.ndarray]] = {}
        self.chains: list[_Chain] = []

    def add(self, strip: np.ndarray) -> Iterator[Region]:
        """Take in the next rows and give out the regions that end above their last row."""
        ids = np.concatenate((self.last_ids[None], strip.astype(np.int32)))
        regions, moved, areas, classes = _number_regions(ids, self.ignore, self.last_regions, len(self.areas))
        open_before = moved >= 0
        np.add.at(areas, moved[open_before], self.areas[open_before])
        rings: defaultdict[int, list[np.ndarray]] = defaultdict(list)
        for number, known in self.rings.items():
            rings[int(moved[number])] += known
        vertices, ends, owners, crossings = _trace(regions, self.top)
        self._join(vertices, ends, owners, crossings, rings)
        still_open = np.zeros(len(areas), bool)
        still_open[regions[-1][regions[-1] >= 0]] = True
        for number in np.flatnonzero(~still_open).tolist():
            found = [part for ring in rings.pop(number) for part in _cut_at_touches(ring)]
            outer = next(position for position, ring in enumerate(found) if _signed_area(ring) > 0)
            found.insert(0, found.pop(outer))
            yield Region(int(classes[number]), int(areas[number]), found)
        self.rings, self.areas = dict(rings), areas
        self.last_ids, self.last_regions = ids[-1].copy(), regions[-1].copy()
        self.top += len(strip)

    def _join(
        self,
        vertices: np.ndarray,
        ends: np.ndarray,
        owners: np.ndarray,
        crossings: np.ndarray,
        rings: dict[int, list[np.ndarray]],
    ) -> None:
        """Add the strip's rings to ``rings``, and its chains to those that were open."""
        tails = {("above", chain.tail[1]): chain for chain in self.chains}
        heads = {("above", chain.head[1]): chain for chain in self.chains}
        for chain in self.chains:
            chain.head, chain.tail = ("above", chain.head[1]), ("above", chain.tail[1])
        start = 0
        for end, owner, (from_border, from_x, to_border, to_x) in zip(
            ends.tolist(), owners.tolist(), crossings.tolist(), strict=True
        ):
            piece = vertices[start:end].copy()
            start = end
            if from_border == _CLOSED:
                rings[owner].append(piece)
                continue
            pieces = deque([piece] if len(piece) else [])
            chain = _Chain(pieces, ("below", from_x), ("below", to_x))
            if from_border == _ABOVE:
                chain = tails.pop(("above", from_x))
                chain.pieces.extend(pieces)
                chain.tail = ("below", to_x)
            if to_border == _ABOVE:
                following = heads.pop(("above", to_x))
                if following is chain:
                    rings[owner].append(np.concatenate(chain.pieces))
                    continue
                chain.pieces = _joined(chain.pieces, following.pieces)
                chain.tail = following.tail
            heads[chain.head] = tails[chain.tail] = chain
        self.chains = list(tails.values())


def _joined(first: deque[np.ndarray], second: deque[np.ndarray]) -> deque[np.ndarray]:
    """Both in order, at the cost of the shorter one."""
    if len(first) >= len(second):
        first.extend(second)
        return first
    second.extendleft(reversed(first))
    return second


_SHORTEST_TOUCHING = 8  # corners; two squares that touch


def _cut_at_touches(ring: np.ndarray) -> list[np.ndarray]:
    """A ring that passes a corner twice as several that do not."""
    if len(ring) < _SHORTEST_TOUCHING:
        return [ring]
    keys = ring[:, 1].astype(np.int64) << 32 | ring[:, 0]
    if len(np.unique(keys)) == len(keys):
        return [ring]
    parts: list[np.ndarray] = []
    path: list[int] = []  # corners that wait for the ring to come back, and where each stands in it
    places: dict[int, int] = {}
    corners = keys.tolist()
    for position, key in enumerate(corners):
        if (since := places.get(key)) is not None:
            parts.append(ring[path[since:]])
            for passed in path[since:]:
                del places[corners[passed]]
            del path[since:]
        places[key] = len(path)
        path.append(position)
    return [*parts, ring[path]]


_CLOSED, _ABOVE, _BELOW = 0, 1, 2


@numba.njit(cache=True, nogil=True)
def _root(parents, number):  # type: ignore[no-untyped-def]
    while parents[number] != number:
        parents[number] = parents[parents[number]]
        number = parents[number]
    return number


@numba.njit(cache=True, nogil=True)
def _number_regions(ids, ignore, above, count_above):  # type: ignore[no-untyped-def]
    """Number the regions of a strip whose row 0 is the last one of the strip before, with numbers already.

    Returns the numbers (with a column of -1 at each side), the new number of each old one, and of each new
    one the pixels in this strip without row 0 and the class.
    """
    height, width = ids.shape
    regions = np.full((height, width + 2), -1, np.int32)
    regions[0] = above
    parents = np.arange(count_above + (height - 1) * width, dtype=np.int32)
    count = count_above
    for row in range(1, height):
        for column in range(width):
            value = ids[row, column]
            if value == ignore:
                continue
            number = -1
            if column > 0 and ids[row, column - 1] == value:
                number = regions[row, column]
            if ids[row - 1, column] == value:
                upper = _root(parents, regions[row - 1, column + 1])
                if number < 0:
                    number = upper
                else:
                    number = _root(parents, number)
                    # The lower number wins: roots are found in rising order below.
                    parents[max(number, upper)] = min(number, upper)
                    number = min(number, upper)
            if number < 0:
                number = count
                count += 1
            regions[row, column + 1] = number
    # Old regions that do not touch row 0 any more are gone; the others and the new ones are counted on.
    dense = np.full(count, -1, np.int32)
    total = 0
    for row in range(height):
        for column in range(1, width + 1):
            if regions[row, column] >= 0:
                root = _root(parents, regions[row, column])
                if dense[root] < 0:
                    dense[root] = total
                    total += 1
                regions[row, column] = dense[root]
    moved = np.empty(count_above, np.int32)
    for number in range(count_above):
        moved[number] = dense[_root(parents, number)]
    areas = np.zeros(total, np.int64)
    classes = np.empty(total, np.int32)
    for row in range(height):
        for column in range(width):
            number = regions[row, column + 1]
            if number >= 0:
                classes[number] = ids[row, column]
                areas[number] += row > 0
    return regions, moved, areas, classes


@numba.njit(cache=True, nogil=True)
def _trace(regions, top):  # type: ignore[no-untyped-def]
    """All rings and chains of a strip; row 0 of ``regions`` is image row ``top - 1``.

    Corners lie on the lines above rows 1 to the last; vertical edges of row 0 and of the last row lead out.
    Returns corners, where each ring or chain ends in them, its region, and (border, x) where it comes from
    and where it goes to.
    """
    height, columns = regions.shape
    seen = np.zeros((height, columns), np.uint8)  # upper edges that have been walked along
    vertices = np.empty((1024, 2), np.int32)
    ends = np.empty(256, np.int64)
    owners = np.empty(256, np.int32)
    crossings = np.zeros((256, 4), np.int32)
    corners, count = 0, 0
    for stage in range(3):  # chains from above, chains from below, rings
        if stage == 0:
            first, last = 0, 1
        elif stage == 1:
            first, last = height - 1, height
        else:
            first, last = 1, height
        for row in range(first, last):
            for column in range(columns):
                owner = regions[row, column]
                if owner < 0:
                    continue
                # x counts in padded columns: vertex x lies left of column x.
                if stage == 0:
                    if regions[row, column + 1] == owner:
                        continue
                    x, y, dx, dy = column + 1, 0, 0, 1
                elif stage == 1:
                    if regions[row, column - 1] == owner:
                        continue
                    x, y, dx, dy = column, height, 0, -1
                else:
                    if regions[row - 1, column] == owner or seen[row, column]:
                        continue
                    x, y, dx, dy = column, row, 1, 0
                if count == len(ends):
                    ends = np.concatenate((ends, np.empty_like(ends)))
                    owners = np.concatenate((owners, np.empty_like(owners)))
                    crossings = np.concatenate((crossings, np.zeros_like(crossings)))
                crossings[count] = 0
                if stage < 2:
                    crossings[count, 0] = _ABOVE if stage == 0 else _BELOW
                    crossings[count, 1] = x
                # y is the line above row y; lines 1 to height - 1 have corners.
                while True:
                    if dx == 1:
                        if seen[y, x]:
                            break
                        seen[y, x] = 1
                    x += dx
                    y += dy
                    if y == 0 or y == height:
                        crossings[count, 2] = _ABOVE if y == 0 else _BELOW
                        crossings[count, 3] = x
                        break
                    # The pixels ahead at the right and at the left hand.
                    right = regions[y + (dy + dx - 1) // 2, x + (dx - dy - 1) // 2] == owner
                    left = regions[y + (dy - dx - 1) // 2, x + (dx + dy - 1) // 2] == owner
                    if right and not left:
                        continue
                    if corners == len(vertices):
                        vertices = np.concatenate((vertices, np.empty_like(vertices)))
                    vertices[corners, 0] = x - 1
                    vertices[corners, 1] = top + y - 1
                    corners += 1
                    if right:
                        dx, dy = dy, -dx
                    else:
                        dx, dy = -dy, dx
                ends[count] = corners
                owners[count] = owner
                count += 1
    return vertices[:corners], ends[:count], owners[:count], crossings[:count]


@numba.njit(cache=True, nogil=True)
def _signed_area(ring):  # type: ignore[no-untyped-def]
    """Twice the area of N×2 corners; positive if they run clockwise as seen, y downwards."""
    total = 0
    previous = len(ring) - 1
    for current in range(len(ring)):
        total += int(ring[previous, 0]) * int(ring[current, 1])
        total -= int(ring[current, 0]) * int(ring[previous, 1])
        previous = current
    return total
