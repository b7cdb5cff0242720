"""Polygons to pixels, pixels to outlines, run lengths: against slow and plain definitions."""

from __future__ import annotations

import numpy as np
import pycocotools.mask as peer
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pixelwise.errors import DataError
from pixelwise.kernels.outline import trace_outlines
from pixelwise.kernels.raster import fill_rings
from pixelwise.kernels.runs import decode_runs, encode_runs, runs_to_text, text_to_runs

masks = st.tuples(st.integers(1, 20), st.integers(1, 20)).flatmap(
    lambda size: arrays(np.uint8, size, elements=st.integers(0, 1))
)
coordinates = st.integers(-80, 260).map(lambda n: n / 16)  # sixteenths, also on centres and edges
rings = st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=9).map(np.array)


def fill(ring, size):
    canvas = np.zeros(size, np.uint8)
    fill_rings(canvas, np.asarray(ring, float), np.array([len(ring)]), np.array([1]))
    return canvas


def even_odd(ring, size):
    """Crossings of the half line from each pixel's centre to the left, one edge at a time."""
    inside = np.zeros(size, np.uint8)
    for row in range(size[0]):
        y = row + 0.5
        for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, 0), strict=True):
            (x0, y0), (x1, y1) = sorted([(x0, y0), (x1, y1)], key=lambda p: p[1])
            if y0 <= y < y1:
                crossing = x0 + (y - y0) * (x1 - x0) / (y1 - y0)
                inside[row] ^= (np.arange(size[1]) + 0.5 >= crossing).astype(np.uint8)
    return inside


class TestFill:
    @settings(max_examples=200, deadline=None)
    @given(rings)
    def test_even_odd_at_the_centres(self, ring):
        np.testing.assert_array_equal(fill(ring, (12, 14)), even_odd(ring, (12, 14)))

    @settings(max_examples=100, deadline=None)
    @given(rings)
    def test_direction_and_start_do_not_matter(self, ring):
        whole = fill(ring, (12, 14))
        np.testing.assert_array_equal(fill(ring[::-1], (12, 14)), whole)
        np.testing.assert_array_equal(fill(np.roll(ring, 2, 0), (12, 14)), whole)

    @settings(max_examples=100, deadline=None)
    @given(coordinates, st.integers(0, 160).map(lambda n: n / 16), coordinates)
    def test_neighbours_leave_no_gap_and_no_overlap(self, left, middle, right):
        """Two triangles on either side of a common edge."""
        edge = [(middle, 0), (5.3, 12)]
        first, second = (
            fill([*edge, (-30 - left, 6)], (12, 14)),
            fill([*edge[::-1], (40 + right, 6)], (12, 14)),
        )
        assert not (first & second).any()
        rows = (first | second)[1:-1]
        assert all(np.ptp(np.flatnonzero(row)) + 1 == row.sum() for row in rows if row.any())

    def test_later_rings_lie_on_top(self):
        canvas = np.zeros((1, 4), np.uint16)
        square = np.array([(0, 0), (3, 0), (3, 1), (0, 1)], float)
        fill_rings(canvas, np.concatenate([square, square + (1, 0)]), np.array([4, 8]), np.array([300, 7]))
        assert canvas.tolist() == [[300, 7, 7, 7]]

    @pytest.mark.parametrize("ring", [[(5, 5)], [(1, 1), (9, 9)], [(np.nan, 0), (3, 0), (3, 3)], []])
    def test_what_has_no_area_paints_nothing_and_harms_nothing(self, ring):
        fill(np.array(ring, float).reshape(-1, 2), (6, 6))

    def test_far_outside(self):
        huge = np.array([(-1e6, -1e6), (1e6, -1e6), (1e6, 1e6), (-1e6, 1e6)])
        assert fill(huge, (5, 7)).all()


class TestOutlines:
    @settings(max_examples=200, deadline=None)
    @given(masks)
    def test_filling_the_rings_gives_the_pixels(self, mask):
        outlines, filled, begin = trace_outlines(mask), np.zeros_like(mask), 0
        for end in outlines.ends:
            filled ^= fill(outlines.vertices[begin:end], mask.shape)
            begin = end
        np.testing.assert_array_equal(filled, mask)

    def test_pixels_that_touch_at_a_corner_are_two(self):
        assert len(trace_outlines(np.eye(2, dtype=np.uint8)).ends) == 2


class TestRuns:
    @settings(max_examples=200, deadline=None)
    @given(masks)
    def test_as_pycocotools(self, mask):
        runs, theirs = encode_runs(mask), peer.encode(np.asfortranarray(mask))["counts"]
        assert runs_to_text(runs).encode() == theirs
        np.testing.assert_array_equal(text_to_runs(theirs), runs)
        np.testing.assert_array_equal(decode_runs(runs, *mask.shape), mask)

    @pytest.mark.parametrize("order", ["C", "F"])
    def test_any_memory_order_and_truth_values(self, order):
        mask = np.random.default_rng(0).random((30, 40)) < 0.3
        np.testing.assert_array_equal(
            encode_runs(np.array(mask, order=order)), encode_runs(mask.astype(np.uint8))
        )

    def test_lengths_up_to_a_whole_image(self):
        runs = np.array([0, 2**30, 5, 123456789])
        np.testing.assert_array_equal(text_to_runs(runs_to_text(runs)), runs)

    def test_short_runs_end_in_off(self):
        assert decode_runs(np.array([1, 1]), 2, 3).sum() == 1

    @pytest.mark.parametrize("text", ["\x00", "zzz", "1€", "o", "1" + "o" * 20, "0M"])
    def test_damaged_text(self, text):
        with pytest.raises(DataError, match="damaged at character"):
            text_to_runs(text)

    def test_runs_beyond_the_window(self):
        with pytest.raises(DataError, match="run lengths of 7 pixels do not fit a window of 3x2"):
            decode_runs(np.array([3, 4]), 2, 3)
