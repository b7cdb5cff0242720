"""What every format that can be written must do: nothing changes without being counted."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelwise.data import read, write
from pixelwise.data.adapt import Holds, adapt
from pixelwise.data.annotations import AnnotatedImage, Document, to_dataset
from pixelwise.data.formats import TARGETS
from pixelwise.data.raster import to_bitmap
from pixelwise.errors import DataError, UsageError
from pixelwise.io import write_image
from pixelwise.labels import LabelMap
from pixelwise.sample import Dataset, Sample
from pixelwise.shapes import Box, Ellipse, Points, Polygon, Polyline, Ring, Shape

LABELS = LabelMap(("background", "Straße", "人 行 道", "car & van"))
SIZE = (90, 120)


def square(x, y, side, clockwise=True):
    corners = np.array([(x, y), (x + side, y), (x + side, y + side), (x, y + side)], float)
    return corners if clockwise else corners[::-1]


def ring_of_pixels():
    pixels = np.zeros(SIZE, bool)
    pixels[60:80, 60:85] = True
    pixels[66:74, 66:74] = False
    pixels[80, 84:90] = True
    return to_bitmap(pixels)


def shapes():
    """One of each kind of area, apart from one another."""
    two_parts = Polygon((Ring(square(70, 5, 9.5)), Ring(square(90.25, 5, 8))))
    return [
        Shape("Straße", Polygon.of([(3.5, 2.25), (40, 4), (31.75, 30), (10, 25)])),
        Shape("Straße", Polygon((Ring(square(45, 5, 20), (square(50, 10, 8, False),)),))),
        Shape("人 行 道", two_parts),
        Shape("人 行 道", Box(5, 40, 25, 55)),
        Shape("car & van", Box(35, 42, 55, 52, angle=30)),
        Shape("car & van", Ellipse(100, 45, 15, 8, angle=-20)),
        Shape("car & van", ring_of_pixels()),
    ]


def dataset(root, images=None):
    """Two images with all shapes, and one without any."""
    names = images or {"a.png": shapes(), "b c/ü.png": shapes()[::-1], "empty.png": []}
    records = []
    for seed, (name, drawn) in enumerate(names.items()):
        write_image(root / name, np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), np.uint8))
        records.append(AnnotatedImage(name, root / "made.json", *SIZE, list(drawn), root / name))
    return to_dataset(Document(records), root, LABELS)


def class_iou(first, second, labels):
    """IoU of every class that occurs in either mask, by name."""
    found = {}
    for name in labels.names:
        a, b = first == labels.index(name), second == labels.index(name)
        if (a | b).any():
            found[name] = float((a & b).sum() / (a | b).sum())
    return found


def in_order_of(data, masks):
    """Masks of a data set translated into the ids of LABELS, by the images' content."""
    table, unmatched = LABELS.lookup_from(data.labels)
    assert not unmatched
    return [table[mask] for mask in masks]


@pytest.fixture(params=sorted(TARGETS))
def target(request):
    return request.param


class TestAreas:
    def test_round_trip(self, target, tmp_path):
        before = dataset(tmp_path / "src")
        report = write(before, tmp_path / "out", target)
        after = read(tmp_path / "out")
        assert (report.images, len(after)) == (3, 3)
        by_picture = {sample.image.tobytes(): sample for sample in after}
        for sample in before:
            twin = by_picture[sample.image.tobytes()]
            [mask] = in_order_of(after, [twin.mask])
            assert min(class_iou(sample.mask, mask, LABELS).values()) >= 0.999

    def test_every_change_is_counted(self, target, tmp_path):
        holds = TARGETS[target].HOLDS
        report = write(dataset(tmp_path / "src"), tmp_path / "out", target)
        told = " ".join(report.losses)
        for kind in ("ellipse", "bitmap"):
            assert (kind in told) == (
                kind not in holds.kinds or (kind == "ellipse" and not holds.turned_ellipses)
            )
        if not holds.holes:
            assert "holes" in told
        if not holds.parts and not holds.groups:
            assert "parts" in told

    def test_sniffed_as_what_it_is(self, target, tmp_path):
        write(dataset(tmp_path / "src"), tmp_path / "out", target)
        assert read(tmp_path / "out", format=target).labels == read(tmp_path / "out").labels

    def test_the_same_bytes_again(self, target, tmp_path):
        data = dataset(tmp_path / "src")
        for name in ("one", "two"):
            write(data, tmp_path / name, target)
        files = {p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*") if p.is_file()}
        assert files == {
            p.relative_to(tmp_path / "two") for p in (tmp_path / "two").rglob("*") if p.is_file()
        }
        for file in files:
            assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file

    def test_splits(self, target, tmp_path):
        """In one export, or in a folder for each."""
        from pixelwise.data import split_at_random

        data = split_at_random(dataset(tmp_path / "src"), 0.67)
        write(data, tmp_path / "out", target)
        if TARGETS[target].HOLDS.splits:
            counts = Counter(sample.meta["split"] for sample in read(tmp_path / "out"))
        else:
            counts = {name: len(read(tmp_path / "out" / name)) for name in ("train", "val")}
        assert counts == {"train": 2, "val": 1}

    def test_without_images(self, target, tmp_path):
        """Labels are whole even when no image is there."""
        source = dataset(tmp_path / "src")
        write(source, tmp_path / "out", target, images="none")
        pictures = [p for p in (tmp_path / "out").rglob("*.png") if "images" in p.parts]
        assert not pictures

    @pytest.mark.parametrize("count", [1, 2])
    def test_names_that_collide_are_kept_apart(self, target, tmp_path, count):
        images = {f"{folder}/same.png": shapes()[:3] for folder in "xyz"[: count + 1]}
        report = write(dataset(tmp_path / "src", images), tmp_path / "out", target)
        assert report.images == len(read(tmp_path / "out")) == count + 1


class TestOtherThings:
    def test_groups(self, target, tmp_path):
        drawn = [Shape("Straße", Box(1, 1, 9, 9), group=4), Shape("Straße", Box(20, 1, 30, 9), group=4)]
        report = write(dataset(tmp_path / "src", {"a.png": drawn}), tmp_path / "out", target)
        if TARGETS[target].HOLDS.groups:
            instances = read(tmp_path / "out")[0].instances
            assert len(np.unique(instances[instances > 0])) == 1
        else:
            assert report.losses["group of shapes not written"] == 2

    def test_lines_and_points(self, target, tmp_path):
        line = np.array([(5.0, 5), (60, 40), (80, 10)])
        drawn = [Shape("Straße", Polyline(line, 3)), Shape("car & van", Points(line[:1], 4))]
        drawn.append(Shape("人 行 道", Box(50, 60, 80, 85)))
        report = write(dataset(tmp_path / "src", {"a.png": drawn}), tmp_path / "out", target)
        sample = read(tmp_path / "out")[0]
        for kind in ("polyline", "points"):
            if kind in TARGETS[target].HOLDS.kinds:
                assert f"{kind} left out" not in report.losses
                if sample.shapes is not None:
                    assert kind in {shape.kind for shape in sample.shapes}
            else:
                assert report.losses[f"{kind} left out"] == 1

    def test_attributes(self, target, tmp_path):
        drawn = [Shape("Straße", Box(1, 1, 9, 9), attributes={"colour": "rot", "count": 3})]
        report = write(dataset(tmp_path / "src", {"a.png": drawn}), tmp_path / "out", target)
        if TARGETS[target].HOLDS.attributes:
            attributes = read(tmp_path / "out")[0].shapes[0].attributes
            assert {name: str(attributes[name]) for name in ("colour", "count")} == {
                "colour": "rot",
                "count": "3",
            }
        else:
            assert report.losses["attributes of a shape not written"] == 1

    def test_paint_order(self, target, tmp_path):
        """What lies on top stays on top."""
        drawn = [Shape("car & van", Box(1, 1, 20, 20), z=2), Shape("Straße", Box(10, 10, 40, 40), z=1)]
        before = dataset(tmp_path / "src", {"a.png": drawn})
        write(before, tmp_path / "out", target)
        after = read(tmp_path / "out")
        [mask] = in_order_of(after, [after[0].mask])
        assert min(class_iou(before[0].mask, mask, LABELS).values()) == 1


class TestBadInput:
    def test_a_folder_that_is_not_empty(self, target, tmp_path):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "mine.txt").write_text("precious")
        with pytest.raises(DataError, match=r"out: is there already and not empty; choose a new folder"):
            write(dataset(tmp_path / "src"), tmp_path / "out", target)
        assert (tmp_path / "out" / "mine.txt").read_text() == "precious"

    def test_an_unknown_format(self, tmp_path):
        with pytest.raises(UsageError, match="unknown format 'cocoo': did you mean 'coco'?"):
            write(dataset(tmp_path / "src"), tmp_path / "out", "cocoo")

    def test_something_that_is_no_image(self, target, tmp_path):
        data = Dataset([1], lambda record: record, LABELS)
        with pytest.raises(UsageError, match="only images with labels can be written"):
            write(data, tmp_path / "out", target)


@settings(max_examples=12, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("name", sorted(TARGETS))
def test_masks_come_back_to_the_pixel(name, data, tmp_path_factory):
    """Whatever the mask: outlines follow the pixels' edges, so filling them gives the mask again."""
    height, width = data.draw(st.integers(1, 14)), data.draw(st.integers(1, 14))
    seed, density = data.draw(st.integers(0, 2**16)), data.draw(st.floats(0, 1))
    generator = np.random.default_rng(seed)
    mask = np.where(generator.random((height, width)) < density, generator.integers(1, 4, (height, width)), 0)
    mask = mask.astype(np.uint8)
    root = tmp_path_factory.mktemp("masks")
    sample = Sample(generator.integers(0, 256, (height, width, 3), np.uint8), mask, meta={"name": "one"})
    write(Dataset([sample], lambda s: s, LABELS), root / "out", name)
    after = read(root / "out", format=name, labels=LABELS)
    np.testing.assert_array_equal(after[0].mask, mask)


class TestAdapt:
    def test_nothing_is_held(self):
        losses = Counter()
        assert adapt(Shape("car", Box(0, 0, 1, 1)), Holds(frozenset()), SIZE, losses) == []
        assert losses == {"box left out": 1}

    def test_a_plain_box_as_polygon_is_no_loss(self):
        losses = Counter()
        [shape] = adapt(Shape("car", Box(0, 0, 1, 1)), Holds(frozenset({"polygon"})), SIZE, losses)
        assert (shape.kind, losses) == ("polygon", {})

    def test_fields_that_cannot_be_kept(self):
        losses = Counter()
        shape = Shape("car", Box(0, 0, 1, 1), group=0, track=0, crowd=True, occluded=True, score=0.0)
        adapt(shape, Holds(frozenset({"box"})), SIZE, losses)
        assert set(losses) == {
            "group of shapes not written",
            "track number not written",
            "mark of a crowd not written",
            "mark of occlusion not written",
            "score not written",
        }
