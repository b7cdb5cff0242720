import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from pixelwise.kernels.regions import Region, trace_regions


def trace(ids: np.ndarray, rows: int) -> list[Region]:
    strips = [ids[top : top + rows] for top in range(0, len(ids), rows)]
    return list(trace_regions(strips, ids.shape[1], 255))


def inside(rings: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Pixels inside, by counting the vertical edges to the left of each: even and odd."""
    crossings = np.zeros((shape[0], shape[1] + 1), int)
    for ring in rings:
        for (x, y), (next_x, next_y) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            assert (x == next_x) != (y == next_y)
            if x == next_x:
                crossings[min(y, next_y) : max(y, next_y), x] += 1
    return crossings.cumsum(axis=1)[:, :-1] % 2 == 1


def area(ring: np.ndarray) -> int:
    x, y = ring.T.astype(int)
    return int(x @ np.roll(y, -1) - y @ np.roll(x, -1)) // 2


def check(ids: np.ndarray, rows: int) -> list[Region]:
    """Every connected component is one region; its rings enclose its pixels and never touch themselves."""
    regions = trace(ids, rows)
    drawn = np.full(ids.shape, 255)
    for region in regions:
        pixels = inside(region.rings, ids.shape)
        assert (drawn[pixels] == 255).all()
        drawn[pixels] = region.class_id
        assert pixels.sum() == region.pixels == sum(area(ring) for ring in region.rings)
        assert area(region.rings[0]) > 0
        assert all(area(hole) < 0 for hole in region.rings[1:])
        assert ndimage.label(pixels)[1] == 1
        for ring in region.rings:
            turns = np.diff(np.vstack((ring, ring[:2])), axis=0)
            assert (turns[:-1] * turns[1:]).sum() == 0, "a corner between two edges of one direction"
            assert len(np.unique(ring, axis=0)) == len(ring)
    np.testing.assert_array_equal(drawn, ids)
    assert len(regions) == sum(ndimage.label(ids == number)[1] for number in np.unique(ids) if number != 255)
    return regions


@given(
    seed=st.integers(0, 10**6),
    height=st.integers(1, 14),
    width=st.integers(1, 14),
    classes=st.integers(1, 4),
    rows=st.integers(1, 15),
)
@settings(max_examples=300, deadline=None)
def test_any_picture_in_strips_of_any_height(seed, height, width, classes, rows):
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, classes, (height, width)).astype(np.uint8)
    ids[rng.random((height, width)) < 0.2] = 255
    check(ids, rows)


def test_strips_change_nothing():
    rng = np.random.default_rng(1)
    ids = (ndimage.gaussian_filter(rng.normal(size=(90, 70)), 3) * 40).round().clip(-2, 2).astype(int) + 2

    def shapes(rows: int) -> set[tuple]:
        found = check(ids, rows)
        rolled = [[np.roll(r, -np.lexsort(r.T)[0], axis=0).tobytes() for r in f.rings] for f in found]
        return {(f.class_id, f.pixels, r[0], *sorted(r[1:])) for f, r in zip(found, rolled, strict=True)}

    whole = shapes(90)
    assert all(shapes(rows) == whole for rows in (1, 2, 7, 64))


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 40])
def test_spirals_and_rings_in_rings(rows):
    y, x = np.indices((41, 41)) - 20
    found = check((np.maximum(abs(y), abs(x)) // 3 % 2).astype(np.uint8), rows)
    assert sorted(len(region.rings) for region in found) == [1] + [2] * (len(found) - 1)
    spiral = np.zeros((41, 41), np.uint8)
    y, x, dy, dx = 1, -1, 0, 1
    for side in [41, *(n for n in range(38, 0, -2) for _ in (0, 1))]:
        for _ in range(side):
            if 0 <= y + dy < 41 and 0 <= x + dx < 41:
                y, x = y + dy, x + dx
            spiral[y, x] = 1
        dy, dx = dx, -dy
    check(spiral, rows)


def test_regions_come_as_soon_as_they_end():
    tracer = trace_regions(iter([np.array([[1, 2]]), np.array([[2, 2]]), np.array([[3, 3]])]), 2, 255)
    assert [region.class_id for region in tracer] == [1, 2, 3]
    given_out = []
    strips = ([[number % 2] * 5] for number in range(6))

    def counted():
        for strip in strips:
            given_out.append("strip")
            yield np.array(strip)

    for _ in trace_regions(counted(), 5, 255):
        given_out.append("region")
    assert given_out == ["strip"] + ["strip", "region"] * 5 + ["region"]
