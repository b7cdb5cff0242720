"""RectLabel: generated look-alikes of its XML and of its pixel masks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pixelwise.data import read
from pixelwise.data.annotations import AnnotatedImage, Document, to_dataset
from pixelwise.data.formats import rectlabel, voc
from pixelwise.data.formats.vocxml import bezier_outline
from pixelwise.data.geometry import signed_area
from pixelwise.data.write import write
from pixelwise.errors import DataError
from pixelwise.io import write_image, write_text
from pixelwise.labels import LabelMap
from pixelwise.sample import Dataset
from pixelwise.shapes import Bitmap, Box, Ellipse, Points, Polygon, Polyline, Ring, Shape
from tests.data.folders import picture
from tests.data.formats.test_voc import SIZE, opened

BOX = "<bndbox><xmin>3</xmin><ymin>2</ymin><xmax>6</xmax><ymax>4</ymax></bndbox>"
MARKS = "<pose>Unspecified</pose><truncated>0</truncated><occluded>0</occluded><difficult>0</difficult>"


def points(tag: str, corners: Any, ending: str = "", more: str = "") -> str:
    text = "".join(
        f"<x{i}{ending}>{x}</x{i}{ending}><y{i}{ending}>{y}</y{i}{ending}>"
        for i, (x, y) in enumerate(corners, 1)
    )
    return f"<{tag}>{text}{more}</{tag}>" if tag else text


def pixels(*ids: int) -> str:
    return f"<pixels>{''.join(f'<id>{k}</id>' for k in ids)}</pixels>"


def put(root: Path, *objects: tuple[str, str], stem: str = "a", image: str = "images/a.png") -> Path:
    body = "".join(f"<object><name>{n}</name>{MARKS}{shape}</object>" for n, shape in objects)
    sides = f"<width>{SIZE[1]}</width><height>{SIZE[0]}</height><depth>3</depth>"
    head = f"<folder>images</folder><filename>{Path(image).name}</filename><size>{sides}</size>"
    path = root / "annotations" / f"{stem}.xml"
    write_text(path, f"<annotation>{head}<segmented>0</segmented>{body}</annotation>")
    if image:
        write_image(root / image, picture(0, SIZE))
    return path


def put_mask(root: Path, on: np.ndarray, k: int = 0, stem: str = "a") -> None:
    path = root / "annotations" / f"{stem}_pixels{k}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(on).save(path)


def codes(data: Dataset[Any]) -> dict[str, int]:
    return {problem.code: len(problem.files) for problem in data.problems}


def shapes_of(root: Path, **options: Any) -> tuple[Shape, ...]:
    drawn = read(root, format="rectlabel", **options)[0].shapes
    assert drawn is not None
    return drawn


TRIANGLE = [(3, 2), (10.5, 2), (10.5, 9)]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (pixels(0), "a_pixels0.png is not in the folder"),
        (pixels(), "no id"),
        ("<pixels><id>one</id></pixels>", "whole number"),
        ("<pixels><id>../../1</id></pixels>", "whole number"),
        (points("polygon", TRIANGLE[:2]), "2 points"),
        (points("polygon", [(1, 2), ("nan", 3), (4, 5)]), "number of pixels"),
        (points("cubic_bezier", TRIANGLE), "numbers"),
        (points("line", TRIANGLE[:1]), "1 points"),
        (points("keypoints", TRIANGLE[:1], more="<v1>0</v1>"), "key points"),
    ],
)
def test_a_bad_object_is_counted_and_the_others_are_read(tmp_path: Path, bad: str, reason: str) -> None:
    put(tmp_path, ("cat", bad), ("dog", points("polygon", TRIANGLE)))
    data = read(tmp_path, format="rectlabel")
    found = {problem.code: problem for problem in data.problems}
    assert "bad_shape" in found and reason in found["bad_shape"].files[0]
    assert "annotations/a.xml: object 1" in found["bad_shape"].files[0]
    assert [shape.label for shape in data[0].shapes or ()] == ["dog"]


def test_a_damaged_mask_is_told(tmp_path: Path) -> None:
    put(tmp_path, ("cat", pixels(0)), ("dog", points("polygon", TRIANGLE)))
    write_text(tmp_path / "annotations" / "a_pixels0.png", "no picture")
    assert codes(read(tmp_path)) == {"bad_shape": 1}


def test_nothing_of_rectlabel(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no annotation file of RectLabel"):
        read(tmp_path, format="rectlabel")


def test_every_kind_of_shape(tmp_path: Path) -> None:
    put(
        tmp_path,
        ("p", points("polygon", TRIANGLE) + BOX),
        ("l", points("line", TRIANGLE)),
        ("k", points("keypoints", TRIANGLE, more="<v1>2</v1><v2>0</v2><v3>1</v3>") + BOX),
        ("b", BOX),
    )
    data = read(tmp_path)
    assert rectlabel.recognise(tmp_path) and not data.problems
    p, line, k, b = (shape.geometry for shape in data[0].shapes or ())
    assert isinstance(p, Polygon) and p.rings[0].exterior.tolist() == [[2, 1], [9.5, 1], [9.5, 8]]
    assert isinstance(line, Polyline) and line.points.shape == (3, 2)
    assert isinstance(k, Points) and k.points.tolist() == [[2, 1], [9.5, 8]]
    assert b == Box(2, 1, 6, 4)
    [zero, *_] = shapes_of(tmp_path, first_pixel=0)
    assert isinstance(zero.geometry, Polygon)
    assert zero.geometry.rings[0].exterior.tolist() == [list(corner) for corner in TRIANGLE]


def test_corners_are_in_numeric_order_whatever_the_file_says(tmp_path: Path) -> None:
    corners = [(5 + 4 * np.cos(a), 5 + 4 * np.sin(a)) for a in np.linspace(0, 6, 12)]
    put(tmp_path, ("cat", points("polygon", corners)))
    [first] = shapes_of(tmp_path)
    by_name = sorted(enumerate(corners, 1), key=lambda pair: f"x{pair[0]}")  # x1 x10 x11 x12 x2 ...
    tags = "".join(f"<y{i}>{y}</y{i}><x{i}>{x}</x{i}>" for i, (x, y) in by_name)
    put(tmp_path, ("cat", f"<polygon>{tags}</polygon>"))
    [second] = shapes_of(tmp_path)
    assert isinstance(first.geometry, Polygon) and isinstance(second.geometry, Polygon)
    assert np.array_equal(first.geometry.rings[0].exterior, second.geometry.rings[0].exterior)


# Pixels.


@pytest.mark.parametrize("depth", ["grey", "1", "rgba"])
def test_pixels_are_the_mask_of_that_number(tmp_path: Path, depth: str) -> None:
    on = np.zeros(SIZE, bool)
    on[3:6, 2:9] = True
    on[4, 4] = False
    grey = on * np.uint8(255)
    see_through = np.stack([np.full(SIZE, 255, np.uint8)] * 3 + [grey], -1)
    put_mask(tmp_path, {"grey": grey, "1": on, "rgba": see_through}[depth])
    put_mask(tmp_path, np.roll(grey, 5, 0), 1)
    put(tmp_path, ("cat", pixels(0) + BOX), ("dog", pixels(1)))
    data = read(tmp_path)
    assert not data.problems and len(data) == 1
    mask = data[0].mask
    assert mask is not None
    assert np.array_equal(mask == 1, on) and np.array_equal(mask == 2, np.roll(on, 5, 0))
    assert all(isinstance(shape.geometry, Bitmap) for shape in data[0].shapes or ())


def test_the_layout_of_published_masks(tmp_path: Path) -> None:
    """As in NUAA-SIRST: images apart, XML and masks in one folder, no box in some."""
    put(tmp_path, ("Target", pixels(0)), stem="Misc_1", image="images/Misc_1.png")
    put_mask(tmp_path, np.eye(*SIZE, dtype=np.uint8) * np.uint8(255), stem="Misc_1")
    (tmp_path / "annotations").rename(tmp_path / "masks")
    data = read(tmp_path)
    assert data.labels.names == ("background", "Target") and not data.problems
    assert data[0].name == "Misc_1" and data[0].path == tmp_path / "images" / "Misc_1.png"
    assert np.array_equal(data[0].mask, np.eye(*SIZE, dtype=np.uint8))


def test_a_mask_of_another_size_is_told(tmp_path: Path) -> None:
    put(tmp_path, ("cat", pixels(0)))
    put_mask(tmp_path, np.ones((4, 4), bool))
    data = read(tmp_path)
    assert codes(data) == {"mask_size": 1}
    assert data[0].mask is not None and data[0].mask.sum() == 16


# Curves.


def circle(way: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Four knots of a circle about (8, 6) with radius 5, and control points by one of three conventions."""
    knots = np.array([[13.0, 6], [8, 11], [3, 6], [8, 1]])
    tangent = np.array([[0, 1], [-1, 0], [0, -1], [1, 0]]) * (5 * 0.5522847498)
    before, after = knots - tangent, knots + tangent
    pairs = {
        "before, after": (before, after),
        "after, before": (after, before),
        "both after": (after, np.roll(before, -1, 0)),
    }
    return knots, *pairs[way]


@pytest.mark.parametrize("way", ["before, after", "after, before", "both after"])
def test_a_curve_is_followed_whatever_its_control_points_are_called(way: str) -> None:
    outline = bezier_outline(*circle(way))
    assert np.allclose(np.hypot(*(outline - (8, 6)).T), 5, atol=0.01)
    assert abs(signed_area(outline) - 25 * np.pi) < 0.5


def test_curves_become_polygons_and_are_told(tmp_path: Path) -> None:
    knots, first, second = (corners + 1 for corners in circle("before, after"))
    text = points("", knots) + points("", first, "_c1") + points("", second, "_c2")
    put(tmp_path, ("cat", f"<cubic_bezier>{text}</cubic_bezier>"))
    data = read(tmp_path)
    mask = data[0].mask
    assert codes(data) == {"bezier": 1} and mask is not None
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    assert np.array_equal(mask > 0, np.hypot(x - 8, y - 6) < 5)


# Whose file it is.


def test_boxes_alone_may_be_anybodys(tmp_path: Path) -> None:
    put(tmp_path, ("cat", BOX))
    assert not rectlabel.recognise(tmp_path) and voc.recognise(tmp_path)
    assert read(tmp_path)[0].shapes == shapes_of(tmp_path) or shapes_of(tmp_path)[0].geometry == Box(
        2, 1, 6, 4
    )


def test_vocs_folders_and_roboflows_files_are_voc(tmp_path: Path) -> None:
    path = put(tmp_path, ("cat", points("polygon", TRIANGLE)))
    assert rectlabel.recognise(tmp_path) and rectlabel.recognise(path)
    text = path.read_text().replace("<folder>", "<source><database>Roboflow</database></source><folder>")
    path.write_text(text)
    assert not rectlabel.recognise(tmp_path) and voc.recognise(tmp_path)
    put(tmp_path / "voc", ("cat", points("polygon", TRIANGLE)))
    (tmp_path / "voc" / "images").rename(tmp_path / "voc" / "JPEGImages")
    assert not rectlabel.recognise(tmp_path / "voc")
    assert read(tmp_path / "voc")[0].path == tmp_path / "voc" / "JPEGImages" / "a.png"


def test_the_upright_picture_is_what_was_annotated(tmp_path: Path) -> None:
    put(tmp_path, ("cat", points("polygon", [(1, 1), (5, 1), (5, 13), (1, 13)])), image="images/a.jpg")
    lying = Image.fromarray(np.zeros((SIZE[1], SIZE[0], 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to see it upright
    lying.save(tmp_path / "images" / "a.jpg", exif=exif)
    sample = read(tmp_path)[0]
    mask = sample.mask
    assert mask is not None and mask.shape == sample.image.shape[:2] == SIZE
    assert mask.sum() == 4 * 12


# There and back.


LEAF = [(1.25, 1), (9, 2.5), (4, 11 + 1 / 3)]
FACTS = {"truncated": True, "difficult": False, "pose": "Left", "fur": "rot", "n": 3, "x": 2.5, "code": "003"}
FACTS |= {
    "number": "12",
    "yes": "true",
    "two words": ["a", 1],
    "sharp": True,
    "pads": " a "[1:2],
    "quoted": '"a"',
}


def drawn() -> list[Shape]:
    hole = (np.array([[3.0, 3], [3, 6], [6, 6], [6, 3]]),)
    ring = Ring(np.array([[1.0, 1], [9, 1], [9, 9], [1, 9]]), hole)
    return [
        Shape(
            "猫 & <dog>", Polygon.of([(1.25, 1), (9, 2.5), (4, 11 + 1 / 3)]), occluded=True, attributes=FACTS
        ),
        Shape("dog", Polygon((ring,))),
        Shape("dog", Box(2, 1, 6, 4)),
        Shape("dog", Ellipse(12, 8, 3, 2)),
        Shape("dog", Polyline(np.array([[1.0, 2], [14, 9]]), 3)),
        Shape("dog", Points(np.array([[13.0, 3]]), 2)),
        Shape("猫 & <dog>", Bitmap(12, 9, 3, 9, np.array([1, 7, 1]))),
        Shape("ignore", Box(0, 11, 16, 12)),
    ]


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    image = AnnotatedImage("sub/a.png", Path(), *SIZE, shapes=drawn())
    labels = LabelMap(("background", "dog", "猫 & <dog>"), ((0, 0, 0), (9, 8, 7), (1, 2, 3)))
    before = to_dataset(Document([image]), Path("nowhere"), labels)
    report = write(before, tmp_path / "out", "rectlabel", images="none")
    assert report.losses["polygon with holes written as pixels"] == 1
    assert report.losses["ellipse written as polygon"] == 1
    after = read(tmp_path / "out")
    assert after.labels == labels and codes(after) == {"missing_image": 1}
    assert np.array_equal(after[0].mask, before[0].mask)
    assert np.array_equal(after[0].instances, before[0].instances)
    assert [shape.occluded for shape in after[0].shapes or ()] == [True] + [False] * 7
    assert (after[0].shapes or ())[0].attributes == FACTS
    files = sorted(path.name for path in (tmp_path / "out" / "annotations").iterdir())
    assert files == ["sub_a.xml", "sub_a_pixels0.png", "sub_a_pixels1.png"]
    write(after, tmp_path / "again", "rectlabel", images="none")
    one, two = (
        (tmp_path / name / "annotations" / "sub_a.xml").read_text("utf-8") for name in ("out", "again")
    )
    assert one == two


def test_images_are_written_and_its_masks_are_no_images(tmp_path: Path) -> None:
    on = np.zeros(SIZE, np.uint8)
    on[2:9, 3:8] = 255
    put(tmp_path / "in", ("cat", pixels(0)))
    put_mask(tmp_path / "in", on)
    before = read(tmp_path / "in")
    write(before, tmp_path / "out", "rectlabel")
    after = read(tmp_path / "out")
    assert len(after) == 1 and not after.problems
    assert np.array_equal(after[0].image, before[0].image) and np.array_equal(after[0].mask, before[0].mask)


@pytest.mark.parametrize("outline", [True, False])
def test_splits_become_folders_and_come_back(tmp_path: Path, outline: bool) -> None:
    shape = Shape("dog", Polygon.of(TRIANGLE) if outline else Box(1, 1, 5, 5))
    images = [AnnotatedImage(f"{s}.png", Path(), *SIZE, shapes=[shape], split=s) for s in ("train", "val")]
    before = to_dataset(Document(images), Path("nowhere"), ["zebra", "dog"])
    for name, wanted in (("both", before), ("one", before.select("val"))):
        write(wanted, tmp_path / name, "rectlabel", images="none")
        after = read(tmp_path / name)
        assert after.splits == wanted.splits and after.labels.names == ("zebra", "dog")
        assert np.array_equal(after[0].mask, wanted[0].mask)


# Anything may be in a file.

CURVE = "".join(
    points("", corners, end) for corners, end in zip(circle("both after"), ("", "_c1", "_c2"), strict=True)
)
OBJECTS = (
    ("cat", points("polygon", TRIANGLE) + BOX),
    ("dog", f"<cubic_bezier>{CURVE}</cubic_bezier>"),
    ("dog", pixels(0)),
    ("dog", points("keypoints", TRIANGLE, more="<v1>2</v1>")),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=4), st.integers(0, 10**6))
def test_damaged_bytes(tmp_path: Path, flips: list[tuple[int, int]], length: int) -> None:
    path = put(tmp_path, *OBJECTS)
    data = bytearray(path.read_bytes())
    for at, value in flips:
        data[at % len(data)] = value
    path.write_bytes(data[: length % (2 * len(data)) + 1])
    opened(path, "rectlabel")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=6), st.integers(0, 10**6))
def test_a_damaged_mask(tmp_path: Path, flips: list[tuple[int, int]], length: int) -> None:
    put(tmp_path, ("cat", pixels(0)))
    put_mask(tmp_path, np.eye(*SIZE, dtype=np.uint8))
    path = tmp_path / "annotations" / "a_pixels0.png"
    data = bytearray(path.read_bytes())
    for at, value in flips:
        data[at % len(data)] = value
    path.write_bytes(data[: length % (2 * len(data)) + 1])
    opened(tmp_path, "rectlabel")
