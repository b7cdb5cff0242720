"""Shapes to pixels and to other shapes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pixelwise.data.geometry import (
    as_pixels,
    crosses_itself,
    keyhole,
    signed_area,
    simplify,
    to_polygon,
    trace,
)
from pixelwise.data.raster import (
    FILL_RULES,
    bounds,
    box_corners,
    ellipse_outline,
    paint,
    rasterise,
    to_bitmap,
)
from pixelwise.data.suspicion import find_suspects
from pixelwise.errors import UsageError
from pixelwise.shapes import Bitmap, Box, Ellipse, Points, Polygon, Polyline, Ring, Shape

SIZE = (40, 50)
masks = st.tuples(st.integers(1, 16), st.integers(1, 16)).flatmap(
    lambda size: arrays(np.uint8, size, elements=st.integers(0, 1))
)
LINE = np.array([(5.0, 5), (30, 20), (45, 8)])
EACH = [
    Polygon((Ring(np.array([(2.0, 2), (30, 4), (20, 30)]), (np.array([(15.0, 8), (20, 8), (18, 14)]),)),)),
    to_bitmap(np.pad(np.ones((5, 7), bool), ((10, 25), (12, 31)))),
    Box(3.2, 4.8, 30, 20),
    Box(10, 10, 30, 20, angle=33),
    Ellipse(25, 20, 15, 6, angle=-40),
    Polyline(LINE, 4),
    Points(LINE, 3),
]


class TestRasterise:
    @pytest.mark.parametrize("geometry", EACH, ids=lambda g: type(g).__name__)
    def test_cut_at_the_border_as_if_the_image_went_on(self, geometry):
        """A window of the picture is the picture of a window."""
        whole = rasterise(geometry, *SIZE)
        assert whole.any()
        np.testing.assert_array_equal(rasterise(geometry, 15, 18), whole[:15, :18])

    @pytest.mark.parametrize("geometry", EACH, ids=lambda g: type(g).__name__)
    def test_inside_its_bounds(self, geometry):
        rows, columns = np.nonzero(rasterise(geometry, *SIZE))
        x0, y0, x1, y1 = bounds(geometry)
        assert x0 - 1 <= columns.min() and columns.max() <= x1 + 1
        assert y0 - 1 <= rows.min() and rows.max() <= y1 + 1

    def test_a_hole_is_cut_out_of_its_own_ring_only(self):
        square = np.array([(0.0, 0), (10, 0), (10, 10), (0, 10)])
        hole = np.array([(2.0, 2), (8, 2), (8, 8), (2, 8)])
        both = Polygon((Ring(square, (hole,)), Ring(square * 0.4 + 3)))
        pixels = rasterise(both, 10, 10)
        assert pixels.sum() == 100 - 36 + 16

    def test_paint_order(self):
        canvas = np.zeros((4, 4), np.uint8)
        box, line = Box(0, 0, 4, 4), Polyline(np.array([(0.0, 2), (4, 2)]))
        paint(canvas, [Shape("a", box, z=1), Shape("b", line, z=5), Shape("c", box, z=1)], [1, 2, 3])
        assert canvas[0, 0] == 3 and canvas[2, 2] == 2

    def test_a_thin_line_has_no_gap(self):
        pixels = rasterise(Polyline(np.array([(1.0, 1), (38, 23.7)]), 0.1), *SIZE)
        assert pixels.any(0)[1:38].all()

    def test_points_without_radius_cover_nothing(self):
        assert not rasterise(Points(LINE), *SIZE).any()

    def test_unknown_rule(self):
        with pytest.raises(UsageError, match="unknown fill rule 'center'"):
            paint(np.zeros((2, 2), np.uint8), [], [], "center")  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        "geometry",
        [Polygon.of([(2, 2), (30, 4), (33, 30), (5, 28)]), Box(3.2, 4.8, 30, 20), Ellipse(20, 20, 9, 9)],
    )
    def test_labelmes_rule_differs_by_a_pixel_at_most(self, geometry):
        ours, theirs = (rasterise(geometry, *SIZE, rule=rule).view(np.uint8) for rule in FILL_RULES)
        assert theirs.sum() > ours.sum()
        for smaller, larger in ((ours, theirs), (theirs, ours)):
            assert not (smaller & ~cv2.dilate(larger, np.ones((3, 3), np.uint8))).any()


class TestTrace:
    @settings(max_examples=150, deadline=None)
    @given(masks)
    def test_and_back(self, mask):
        np.testing.assert_array_equal(rasterise(trace(mask), *mask.shape), mask != 0)

    @settings(max_examples=150, deadline=None)
    @given(masks)
    def test_keyholes_fill_the_same(self, mask):
        rings = tuple(Ring(keyhole(ring)) for ring in trace(mask).rings)
        np.testing.assert_array_equal(rasterise(Polygon(rings), *mask.shape), mask != 0)

    def test_offset(self):
        polygon = trace(np.ones((2, 3), np.uint8), offset=(10, 20))
        assert bounds(polygon) == (10, 20, 13, 22)

    def test_tolerance_saves_corners_and_keeps_the_shape(self):
        disc = rasterise(Ellipse(50, 50, 40, 30), 100, 100)
        exact, rough = trace(disc), trace(disc, tolerance=1.0)
        assert len(rough.rings[0].exterior) < len(exact.rings[0].exterior) / 4
        assert (rasterise(rough, 100, 100) ^ disc).mean() < 0.02

    def test_simplify_drops_what_lies_on_a_line(self):
        assert len(simplify(np.array([(0.0, 0), (5, 0), (10, 0), (10, 10), (0, 10)]), 0.5)) == 4


class TestConversions:
    @pytest.mark.parametrize("geometry", [g for g in EACH if not isinstance(g, Polyline | Points)])
    def test_outlines_cover_the_same(self, geometry):
        pixels, outline = rasterise(geometry, *SIZE), rasterise(to_polygon(geometry, *SIZE), *SIZE)
        assert (pixels & outline).sum() >= 0.98 * (pixels | outline).sum()

    @pytest.mark.parametrize("geometry", EACH, ids=lambda g: type(g).__name__)
    def test_pixels_cover_the_same(self, geometry):
        bitmap = as_pixels(geometry, *SIZE)
        np.testing.assert_array_equal(rasterise(bitmap, *SIZE), rasterise(geometry, *SIZE))

    def test_a_bitmap_beyond_the_image_is_cut(self):
        inside = as_pixels(Bitmap(-2, -1, 4, 4, np.array([0, 16])), *SIZE)
        assert (inside.x, inside.y, inside.width, inside.height) == (0, 0, 2, 3)

    def test_nothing_becomes_an_empty_bitmap(self):
        assert as_pixels(Box(90, 90, 95, 95), *SIZE).runs.size == 0

    def test_turning_is_clockwise_as_seen(self):
        corners = box_corners(Box(0, 0, 4, 2, angle=90))
        np.testing.assert_allclose(corners, [(3, -1), (3, 3), (1, 3), (1, -1)], atol=1e-12)

    @pytest.mark.parametrize("angle", [0, 30, -77])
    def test_an_ellipse_keeps_its_area(self, angle):
        assert signed_area(ellipse_outline(Ellipse(9, 9, 7, 3, angle))) == pytest.approx(np.pi * 21)


class TestSuspects:
    def found(self, *geometries):
        shapes = [Shape("car", geometry) for geometry in geometries]
        return [(suspect.kind, suspect.number) for suspect in find_suspects(shapes, *SIZE)]

    def test_good_shapes(self):
        assert self.found(*EACH) == []

    @pytest.mark.parametrize(
        ("geometry", "kind"),
        [
            (Polygon.of([(1, 1), (9, 9), (9, 1), (1, 9)]), "self_crossing"),
            (Polygon.of([(1, 1), (9, 9)]), "few_corners"),
            (Polygon.of([(1, 1), (5, 5), (9, 9)]), "zero_area"),
            (Box(3, 3, 3, 9), "zero_area"),
            (Ellipse(3, 3, 0, 2), "zero_area"),
            (Bitmap(0, 0, 2, 2, np.array([4])), "zero_area"),
            (Box(60, 3, 70, 9), "outside"),
            (Box(40, 3, 70, 9), "beyond_edge"),
        ],
    )
    def test_each_kind(self, geometry, kind):
        assert self.found(geometry) == [(kind, 0)]

    def test_twice(self):
        for geometry in EACH:
            assert self.found(geometry, geometry) == [("duplicate", 1)]

    def test_a_keyhole_does_not_cross_itself(self):
        square = np.array([(0.0, 0), (9, 0), (9, 9), (0, 9)])
        assert not crosses_itself(keyhole(Ring(square, (square[::-1] / 3 + 3,))))

    @settings(max_examples=60, deadline=None)
    @given(masks)
    def test_traced_outlines_do_not_cross_themselves(self, mask):
        assert not any(crosses_itself(ring.exterior) for ring in trace(mask).rings)
