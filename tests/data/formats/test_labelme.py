"""LabelMe: generated look-alikes of its files, and what its own conversions make of them."""

import base64
import copy
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from scipy.ndimage import binary_dilation, binary_erosion

from pixelwise.data import read
from pixelwise.data.annotations import AnnotatedImage, Document, to_dataset
from pixelwise.data.formats import labelme
from pixelwise.data.write import write
from pixelwise.errors import DataError, PixelwiseError
from pixelwise.io import write_image, write_text
from pixelwise.labels import LabelMap
from pixelwise.sample import Dataset, Sample
from pixelwise.shapes import Bitmap, Box, Ellipse, Points, Polygon, Polyline, Ring, Shape
from tests.data.folders import picture

SIZE = 40, 60  # height, width
TRIANGLE = [[3.2, 4.7], [30.5, 8.1], [12.9, 33.3]]


def png(pixels: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def shape(label: Any, points: Any, kind: Any = "polygon", **more: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}} | more


def content(*shapes: Any, image: Any = "a.png", **more: Any) -> dict[str, Any]:
    document = {"version": "5.5.0", "flags": {}, "shapes": list(shapes), "imagePath": image}
    return document | {"imageData": None, "imageHeight": SIZE[0], "imageWidth": SIZE[1]} | more


def put(root: Path, document: Any, name: str = "a", image: bool = True) -> Path:
    path = root / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")
    if image:
        write_image(root / f"{name}.png", picture(len(name), SIZE))
    return path


def only(root: Path, *shapes: Any, **more: Any) -> tuple[Shape, ...]:
    put(root, content(*shapes, **more))
    drawn = read(root)[0].shapes
    assert drawn is not None
    return drawn


def codes(data: Dataset[Any]) -> dict[str, int]:
    return {problem.code: len(problem.files) for problem in data.problems}


# Bad input first.


@pytest.mark.parametrize(
    "text",
    ['{"version": "5", "shapes": [', "\x00", "[1, 2]", '{"shapes": 1}', "nothing", ""],
)
def test_a_file_that_is_none_of_labelme_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=r"a\.json") as caught:
        read(tmp_path / "a.json", format="labelme")
    assert "\n" not in str(caught.value)


def test_one_bad_file_among_many_is_an_error_in_the_list(tmp_path: Path) -> None:
    put(tmp_path, content(shape("cat", TRIANGLE)))
    (tmp_path / "b.json").write_text('{"shapes": [', encoding="utf-8")
    (tmp_path / "c.json").write_bytes(b'{"shapes": "\xff"}')
    data = read(tmp_path, format="labelme")
    [problem] = data.problems
    assert (len(data), problem.level, problem.code) == (1, "error", "unreadable_file")
    assert [place.split(":")[0] for place in problem.files] == ["b.json", "c.json"]


def test_no_file_at_all(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", picture(0))
    with pytest.raises(DataError, match="no annotation file of LabelMe"):
        read(tmp_path, format="labelme")


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (shape("cat", [[1, 2], [3, 4]]), "few_points"),
        (shape("cat", [[1, 2], [float("nan"), 4], [5, 6]]), "bad_shape"),
        (shape("cat", [[1, 2], [1e300, 4], [5, 6]]), "bad_shape"),
        (shape("cat", [[1, 2, 3], [3, 4, 5]]), "bad_shape"),
        (shape("cat", "TRIANGLE"), "bad_shape"),
        (shape("cat", None), "bad_shape"),
        (shape("cat", [["a", 2], [3, 4], [5, 6]]), "bad_shape"),
        (shape("", TRIANGLE), "bad_shape"),
        (shape(None, TRIANGLE), "bad_shape"),
        (shape("cat", TRIANGLE, "spiral"), "unknown_shape"),
        (shape("cat", TRIANGLE, ["polygon"]), "unknown_shape"),
        (shape("cat", TRIANGLE, "oriented_rectangle"), "bad_shape"),
        (shape("cat", [[1, 1]], "circle"), "few_points"),
        (shape("cat", [[1, 1], [2, 2]], "mask"), "bad_shape"),
        (shape("cat", [[1, 1], [2, 2]], "mask", mask="no picture"), "bad_shape"),
        ("a polygon", "bad_shape"),
    ],
)
def test_a_bad_shape_is_counted_and_the_others_are_read(tmp_path: Path, bad: Any, code: str) -> None:
    put(tmp_path, content(bad, shape("dog", TRIANGLE)))
    data = read(tmp_path)
    assert codes(data) == {code: 1}
    assert "a.json: shape 1" in data.problems[0].files[0]
    assert [drawn.label for drawn in data[0].shapes or ()] == ["dog"]


def test_two_point_polygons_are_told_in_words(tmp_path: Path) -> None:
    put(tmp_path, content(*[shape("cat", [[1, 2], [3, 4]])] * 3, shape("cat", TRIANGLE)))
    assert read(tmp_path).problems[0].message == "polygons with fewer than 3 points, left out: 3"


@pytest.mark.parametrize("size", [(1e12, 5), (2**30, 2**30), (0, 5), (-3, 5), (2.5, 5), ("a", 5), ([], {})])
def test_absurd_sizes_leave_the_decision_to_the_image(tmp_path: Path, size: Any) -> None:
    put(tmp_path, content(shape("cat", TRIANGLE), imageHeight=size[0], imageWidth=size[1]))
    data = read(tmp_path)
    mask = data[0].mask
    assert codes(data) == {"bad_size": 1} and mask is not None and mask.shape == SIZE


def test_a_name_that_leads_out_of_the_folder_finds_nothing(tmp_path: Path) -> None:
    write_image(tmp_path / "secret.png", picture(1))
    put(tmp_path / "data", content(shape("cat", TRIANGLE), image="../secret.png"), image=False)
    data = read(tmp_path / "data")
    assert codes(data) == {"missing_image": 1} and data[0].path is None
    mask = data[0].mask  # geometry needs no image
    assert mask is not None and mask.any()
    with pytest.raises(DataError, match="secret.png"):
        _ = data[0].image


def test_two_files_for_one_image(tmp_path: Path) -> None:
    put(tmp_path, content(shape("cat", TRIANGLE)))
    put(tmp_path, content(shape("cat", TRIANGLE)), "b", image=False)
    data = read(tmp_path)
    assert len(data) == 2 and codes(data) == {"repeated_image": 1}


def test_the_xml_of_the_web_tool_is_refused_with_the_reason(tmp_path: Path) -> None:
    point = "<polygon><pt><x>1</x></pt></polygon>"
    xml = f"<annotation><filename>a.png</filename><object>{point}</object></annotation>"
    write_text(tmp_path / "Annotations" / "a.xml", xml)
    write_image(tmp_path / "Images" / "a.png", picture(0))
    with pytest.raises(DataError, match="MIT's LabelMe web tool"):
        read(tmp_path)


# What the shape types mean.


def test_every_shape_type(tmp_path: Path) -> None:
    square = [[10, 10], [14, 13], [11, 17], [7, 14]]  # sides at right angles
    on = np.zeros((3, 4), bool)
    on[1:, 2] = True
    drawn = only(
        tmp_path,
        shape("p", TRIANGLE),
        shape("old", TRIANGLE, None),
        shape("r", [[20.5, 30], [4, 6.25]], "rectangle"),
        shape("o", square, "oriented_rectangle"),
        shape("q", [[0, 0], [9, 1], [8, 8], [1, 5]], "rotation"),
        shape("c", [[10, 12], [13, 16]], "circle"),
        shape("l", [[1, 2], [3, 4]], "line"),
        shape("s", [[1, 2], [3, 4], [5, 1]], "linestrip"),
        shape("d", [[8, 9]], "point"),
        shape("a", [[8, 9], [1, 2]], "points"),
        shape("m", [[4, 5], [7, 7]], "mask", mask=png(on)),
    )
    kinds = ["polygon", "polygon", "box", "box", "polygon", "ellipse", "polyline", "polyline"]
    assert [one.kind for one in drawn] == [*kinds, "points", "points", "bitmap"]
    g = [one.geometry for one in drawn]
    assert isinstance(g[1], Polygon) and g[1].rings[0].exterior.tolist() == TRIANGLE
    assert g[2] == Box(4, 6.25, 20.5, 30)
    assert isinstance(g[3], Box) and np.isclose(g[3].angle, np.degrees(np.arctan2(3, 4)))
    assert np.allclose((g[3].x1 - g[3].x0, g[3].y1 - g[3].y0, g[3].x0 + g[3].x1), (5, 5, 21))
    assert g[5] == Ellipse(10, 12, 5, 5)
    assert isinstance(g[6], Polyline) and isinstance(g[7], Polyline) and g[6].width == g[7].width == 10
    assert isinstance(g[8], Points) and isinstance(g[9], Points) and (g[8].radius, g[9].radius) == (5, 0)
    mask = read(tmp_path, labels=["bg", "m"])[0].mask
    assert mask is not None
    assert np.argwhere(mask == 1).tolist() == [[6, 6], [7, 6]]


@pytest.mark.parametrize("depth", ["1", "8", "255", "rgb"])
def test_masks_of_any_depth(tmp_path: Path, depth: str) -> None:
    on = np.array([[0, 1], [1, 1]], bool)
    grey = (on * (255 if depth == "255" else 1)).astype(np.uint8)
    pixels = {"1": on, "rgb": np.stack([grey] * 3, -1)}.get(depth, grey)
    [drawn] = only(tmp_path, shape("m", [[2, 3], [3, 4]], "mask", mask=png(pixels)))
    assert isinstance(drawn.geometry, Bitmap)
    assert (drawn.geometry.x, drawn.geometry.y, drawn.geometry.runs.tolist()) == (2, 3, [1, 3])


def test_a_mask_with_fractional_corners_is_rounded_and_clipped(tmp_path: Path) -> None:
    one = shape("m", [[56.6, 38.4], [66.2, 48.1]], "mask", mask=png(np.ones((10, 10), bool)))
    put(tmp_path, content(one))
    mask = read(tmp_path)[0].mask
    assert mask is not None
    assert np.argwhere(mask).min(0).tolist() == [38, 57] and mask.sum() == 2 * 3


def test_points_outside_are_cut_off(tmp_path: Path) -> None:
    put(tmp_path, content(shape("cat", [[-20, -20], [80, -20], [80, 80], [-20, 80]])))
    mask = read(tmp_path)[0].mask
    assert mask is not None and (mask == 1).all()


def test_groups_make_instances_of_one_label(tmp_path: Path) -> None:
    boxes = [[[0, 0], [5, 5]], [[10, 0], [15, 5]], [[20, 0], [25, 5]], [[30, 0], [35, 5]]]
    ids = [("cat", 4), ("cat", 4), ("dog", 4), ("cat", None)]
    put(
        tmp_path,
        content(*(shape(n, b, "rectangle", group_id=g) for (n, g), b in zip(ids, boxes, strict=True))),
    )
    instances = read(tmp_path)[0].instances
    assert instances is not None
    assert instances[2, [2, 12, 22, 32]].tolist() == [1, 1, 2, 3]
    put(tmp_path, content(shape("cat", TRIANGLE, group_id="seven")))
    assert codes(read(tmp_path)) == {"bad_group": 1}


def test_flags_descriptions_and_unknown_keys_are_kept(tmp_path: Path) -> None:
    one = shape("cat", TRIANGLE, description="old", difficult=False, attributes={"fur": "red", "n": 3})
    one |= {"flags": {"sharp": True, "occluded": True}, "score": 0.75, "kie_linking": [], "deep": {"a": [1]}}
    one |= {"line_color": [0, 255, 0, 128]}  # how old versions drew it
    more = {"comment": "first", "text": "", "shoot": {"iso": 100}, "lineColor": [0, 255, 0, 128]}
    put(tmp_path, content(one, flags={"night": True}, **more))
    sample = read(tmp_path)[0]
    [drawn] = sample.shapes or ()
    assert drawn.attributes == {
        "sharp": True,
        "description": "old",
        "difficult": False,
        "fur": "red",
        "n": 3,
        "deep": '{"a": [1]}',
    }
    assert (drawn.occluded, drawn.score) == (True, 0.75)
    assert sample.meta["tags"] == {"night": True, "comment": "first", "shoot": '{"iso": 100}'}


# Where images and classes are.


@pytest.mark.parametrize("name", ["..\\images\\x.png", "C:\\old\\images\\x.png", "../images/x.png"])
def test_images_of_another_folder_and_another_system(tmp_path: Path, name: str) -> None:
    put(tmp_path / "json", content(shape("cat", TRIANGLE), image=name), "x", image=False)
    write_image(tmp_path / "images" / "x.png", picture(5, SIZE))
    data = read(tmp_path)
    assert data[0].path == tmp_path / "images" / "x.png" and not data.problems
    assert np.array_equal(data[0].image, picture(5, SIZE))


def test_an_image_of_the_same_stem_when_the_name_is_useless(tmp_path: Path) -> None:
    put(tmp_path, content(shape("cat", TRIANGLE), image="a.json"))
    assert read(tmp_path)[0].path == tmp_path / "a.png"


def test_the_embedded_image_counts_when_there_is_no_file(tmp_path: Path) -> None:
    pixels = picture(7, SIZE)
    put(tmp_path, content(shape("cat", TRIANGLE), imageData=png(pixels), imageHeight=None), image=False)
    data = read(tmp_path)
    mask = data[0].mask
    assert np.array_equal(data[0].image, pixels) and mask is not None and mask.shape == SIZE
    put(tmp_path, content(shape("cat", TRIANGLE), imageData=png(pixels)))
    assert np.array_equal(read(tmp_path)[0].image, picture(1, SIZE))
    put(tmp_path / "b", content(shape("cat", TRIANGLE), imageData="?"), image=False)
    assert codes(read(tmp_path / "b")) == {"bad_image_data": 1, "missing_image": 1}


def test_third_party_files_without_image_data(tmp_path: Path) -> None:
    document = content(shape("cat", TRIANGLE))
    del document["imageData"], document["flags"], document["version"]
    put(tmp_path, document)
    assert len(read(tmp_path)) == 1


def test_classes_are_sorted_names_or_those_of_labels_txt(tmp_path: Path) -> None:
    root = tmp_path / "data_annotated"
    put(
        root,
        content(
            shape("dog", TRIANGLE), shape("cat", TRIANGLE), shape("__ignore__", [[0, 0], [9, 0], [0, 9]])
        ),
    )
    assert read(root).labels.names == ("background", "cat", "dog")
    write_text(tmp_path / "labels.txt", "__ignore__\n_background_\nzebra\ndog\ncat\n")
    data = read(root)  # LabelMe's examples keep it one level up
    assert data.labels.names == ("_background_", "zebra", "dog", "cat") and not data.problems
    mask = data[0].mask
    assert mask is not None and mask[1, 1] == 255 and mask[39, 59] == 0 and mask[12, 14] == 3
    write_text(tmp_path / "labels.txt", "__ignore__\n_background_\nzebra\n")
    assert read(root).labels.names == ("background", "cat", "dog")  # somebody else's list
    write_text(root / "labels.txt", "cat\ndog\n")
    assert read(root).labels.names == ("cat", "dog")


def test_its_own_exports_beside_the_annotations_do_not_matter(tmp_path: Path) -> None:
    put(tmp_path / "data_annotated", content(shape("cat", TRIANGLE)))
    write_text(tmp_path / "labels.txt", "__ignore__\n_background_\ncat\n")
    write_image(tmp_path / "data_dataset_voc" / "JPEGImages" / "a.jpg", picture(0, SIZE))
    write_image(tmp_path / "data_dataset_voc" / "SegmentationClass" / "a.png", np.zeros(SIZE, np.uint8))
    coco = {"images": [], "annotations": [], "categories": []}
    put(tmp_path / "data_dataset_coco", coco, "annotations", image=False)
    data = read(tmp_path)
    assert len(data) == 1 and data[0].path == tmp_path / "data_annotated" / "a.png"
    assert codes(data) == {"other_json": 1}


def test_files_of_others_are_not_claimed(tmp_path: Path) -> None:
    for i, other in enumerate(
        [
            {"images": [], "annotations": [], "categories": []},
            {"a.png123": {"filename": "a.png", "regions": {}, "size": 123}},
            [{"Label": {"objects": []}, "External ID": "a.png"}],
            {"shapes": 1},
        ]
    ):
        put(tmp_path / str(i), other)
        assert not labelme.recognise(tmp_path / str(i))


# LabelMe's own conversion.


def as_labelme_draws(shapes: list[dict[str, Any]], values: dict[str, int]) -> np.ndarray:
    """Its rules, as its source has them: Pillow, outlines included, lines 10 wide, points of radius 5."""
    canvas = np.zeros(SIZE, np.uint8)
    for one in shapes:
        image = Image.new("L", SIZE[::-1])
        pen, points = ImageDraw.Draw(image), [tuple(point) for point in one["points"]]
        (x0, y0), (x1, y1) = points[0], points[-1]
        match one["shape_type"]:
            case "rectangle":
                pen.rectangle([min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)], outline=1, fill=1)
            case "circle":
                r = np.hypot(x1 - x0, y1 - y0)
                pen.ellipse([x0 - r, y0 - r, x0 + r, y0 + r], outline=1, fill=1)
            case "line" | "linestrip":
                pen.line(points, fill=1, width=10)
            case "point":
                pen.ellipse([x0 - 5, y0 - 5, x0 + 5, y0 + 5], outline=1, fill=1)
            case _:
                pen.polygon(points, outline=1, fill=1)
        canvas[np.array(image) == 1] = values[one["label"]]
    return canvas


def conversion_shapes() -> list[dict[str, Any]]:
    rng = np.random.default_rng(3)
    blobs = []
    for i in range(6):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 9))
        around = np.stack([np.cos(angles), np.sin(angles)], 1) * rng.uniform(5, 12, (9, 1))
        blobs.append(shape("dog" if i % 2 else "cat", (around + rng.uniform(10, 30, 2)).tolist()))
    return [
        *blobs,
        shape("cat", [[50.5, 30.5], [40.2, 20.1]], "rectangle"),
        shape("dog", [[45.0, 10.0], [50.0, 13.0]], "circle"),
        shape("cat", [[5.5, 35.5], [30.2, 20.1]], "line"),
        shape("dog", [[33.0, 33.0]], "point"),
    ]


def test_its_conversion_is_reproduced_to_the_pixel(tmp_path: Path) -> None:
    shapes = conversion_shapes()
    put(tmp_path, content(*shapes))
    expected = as_labelme_draws(shapes, {"cat": 1, "dog": 2})
    assert np.array_equal(read(tmp_path, fill_rule="labelme")[0].mask, expected)
    assert len(np.unique(expected)) == 3


def test_the_common_rule_differs_along_outlines_only(tmp_path: Path) -> None:
    for one in conversion_shapes():
        put(tmp_path, content(one))
        thick = read(tmp_path, fill_rule="labelme", labels=["bg", "cat", "dog"])[0].mask
        mask = read(tmp_path, labels=["bg", "cat", "dog"])[0].mask
        assert thick is not None and mask is not None and (mask > 0).any()
        inside = binary_erosion(thick > 0, iterations=2)
        assert (mask[inside] > 0).all()
        rim = 5 if one["shape_type"] == "line" else 1  # lines have round ends here, and square ones there
        assert not ((mask > 0) & ~binary_dilation(thick > 0, np.ones((3, 3)), rim)).any()


def test_prompts_cover_nothing_by_either_rule(tmp_path: Path) -> None:
    put(tmp_path, content(shape("cat", [[20, 20], [30, 30]], "points")))
    for rule in ("labelme", "centre"):
        mask = read(tmp_path, fill_rule=rule)[0].mask
        assert mask is not None and not mask.any()


# There and back.


def everything() -> list[Shape]:
    ring = Ring(
        np.array([[2.0, 2], [30, 2], [30, 30], [2, 30]]), (np.array([[8.0, 8], [8, 16], [16, 16], [16, 8]]),)
    )
    two = Polygon((Ring(np.array([[1.0, 1], [5, 1], [5, 5]])), Ring(np.array([[20.0, 1], [25, 1], [25, 5]]))))
    facts = {"sharp": True, "blurred": False, "fur": "grün", "n": 3, "description": "süß"}
    return [
        Shape("猫", Polygon.of(TRIANGLE), attributes=facts, score=0.5, occluded=True),
        Shape("dog", Box(4.125, 5.5, 17.3, 20), group=7),
        Shape("dog", Box(4, 5, 17, 20, angle=30), group=7),
        Shape("dog", Ellipse(20, 20, 6.5, 6.5)),
        Shape("dog", Ellipse(40, 20, 9, 4, angle=20)),
        Shape("dog", Polygon((ring,))),
        Shape("dog", two),
        Shape("猫", Polyline(np.array([[1.0, 2], [30, 20]]), 10)),
        Shape("猫", Polyline(np.array([[1.0, 2], [30, 20], [40, 3]]), 3)),
        Shape("猫", Points(np.array([[50.0, 30]]), 5)),
        Shape("猫", Points(np.array([[50.0, 30], [40, 30]]), 2)),
        Shape("dog", Bitmap(50, 30, 4, 5, np.array([1, 9, 4, 6]))),
        Shape("ignore", Polygon.of([[30, 30], [40, 30], [40, 38]])),
    ]


def data_of(shapes: list[Shape], **meta: Any) -> Dataset[Sample]:
    """Samples as a reader makes them."""

    splits = meta.get("splits", (None,))
    images = [
        AnnotatedImage(
            f"sub/{i}.png", Path(), *SIZE, shapes=shapes, split=split, tags={"night": True, "iso": 100}
        )
        for i, split in enumerate(splits)
    ]
    return to_dataset(Document(images), Path("nowhere"), ["background", "dog", "猫"])


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    before = data_of(everything())
    report = write(before, tmp_path / "out", "labelme", images="none")
    assert dict(report.losses) == {"polygon with holes written as pixels": 1, "ellipse written as polygon": 1}
    after = read(tmp_path / "out")
    assert after.labels.names == before.labels.names
    assert [p.code for p in after.problems] == ["missing_image"]
    assert np.array_equal(before[0].mask, after[0].mask)
    assert np.array_equal(before[0].instances, after[0].instances)
    assert after[0].meta["tags"] == {"night": True, "iso": 100}
    first = (after[0].shapes or ())[0]
    assert (first.label, first.score, first.occluded) == ("猫", 0.5, True)
    assert first.attributes == everything()[0].attributes
    write(after, tmp_path / "again", "labelme", images="none")
    one, two = ((tmp_path / name / "sub" / "0.json").read_bytes() for name in ("out", "again"))
    assert one == two


def test_splits_become_folders_and_come_back(tmp_path: Path) -> None:
    before = data_of([Shape("dog", Box(1, 1, 5, 5))], splits=("train", "train", "val"))
    write(before, tmp_path / "out", "labelme", images="none")
    after = read(tmp_path / "out")
    assert after.splits == ("train", "val") and len(after.select("train")) == 2
    assert after.labels.names == before.labels.names
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["train", "val"]
    assert (tmp_path / "out" / "train" / "sub" / "0.json").is_file()


def test_masks_without_a_background_stay_so(tmp_path: Path) -> None:
    mask = np.full(SIZE, 255, np.uint8)
    mask[2:9, 2:9], mask[20:, 20:] = 0, 1
    before = Dataset(
        [0], lambda _: Sample(picture(0, SIZE), mask, meta={"name": "a"}), LabelMap(("cat", "dog"))
    )
    write(before, tmp_path / "out", "labelme")
    after = read(tmp_path / "out")
    assert after.labels.names == ("cat", "dog") and not after.problems
    assert np.array_equal(after[0].mask, mask)
    assert np.array_equal(after[0].image, picture(0, SIZE))


def test_names_that_a_list_of_lines_cannot_hold(tmp_path: Path) -> None:
    shapes = [Shape(name, Box(1, i, 5, i + 1)) for i, name in enumerate(("#1", "a,b,c", "r 1 2 3"))]
    images = [AnnotatedImage("a.png", Path(), *SIZE, shapes=shapes)]
    before = to_dataset(Document(images), Path("nowhere"), ["r 1 2 3", "background", "#1", "a,b,c"])
    write(before, tmp_path, "labelme", images="none")
    after = read(tmp_path)
    assert after.labels.names == before.labels.names and codes(after) == {"missing_image": 1}
    assert np.array_equal(after[0].mask, before[0].mask)


def test_what_it_writes_is_what_labelme_opens(tmp_path: Path) -> None:
    write(data_of(everything()), tmp_path, "labelme", images="none")
    document = json.loads((tmp_path / "sub" / "0.json").read_text(encoding="utf-8"))
    assert [*document][:7] == [
        *("version", "flags", "shapes", "imagePath", "imageData", "imageHeight", "imageWidth")
    ]
    assert document["imagePath"] == "0.png" and document["imageData"] is None
    by_kind = {one["shape_type"]: one for one in document["shapes"]}
    mask = by_kind["mask"]
    (x0, y0), (x1, y1) = mask["points"]
    with Image.open(io.BytesIO(base64.b64decode(mask["mask"]))) as image:
        assert image.size == (x1 - x0 + 1, y1 - y0 + 1)
    assert all(isinstance(value, bool) for one in document["shapes"] for value in one["flags"].values())
    assert by_kind["polygon"]["label"] == "__ignore__"  # the last one
    assert (tmp_path / "labels.txt").read_text(encoding="utf-8").split() == [
        "__ignore__",
        "background",
        "dog",
        "猫",
    ]


# Anything may be in a file.

VALID = content(
    shape("cat", TRIANGLE, flags={"sharp": True}),
    shape("dog", [[1, 2], [30, 20]], "rectangle", group_id=3),
    shape("dog", [[4, 5], [7, 7]], "mask", mask=png(np.ones((3, 4), bool))),
    shape("cat", [[4, 5], [7, 7]], "circle"),
    imageData=png(np.zeros((*SIZE, 3), np.uint8)),
)
JUNK = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    *(st.just([]), st.just({}), st.just([[1, 2]]), st.just("../../x.png"), st.just("\0.png")),
)


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else []
    return [path, *(place for key in keys for place in places(node[key], (*path, key)))]


def opened(path: Path) -> None:
    """Everything that a user touches: it works, or says in one sentence which file is bad."""
    try:
        data = read(path, format="labelme")
        for sample in data:
            _ = sample.mask, sample.instances, sample.image
    except PixelwiseError as error:
        assert str(path) in str(error) or path.stem in str(error)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(places(VALID)[1:]), JUNK)
@example(("shapes", 0, "label"), {})
@example(("imagePath",), "\ud800.png")
@example(("imagePath",), "x" * 5000 + ".png")
def test_wrong_types_anywhere(tmp_path: Path, place: tuple[Any, ...], junk: Any) -> None:
    document = copy.deepcopy(VALID)
    node = document
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = junk
    opened(put(tmp_path, document, image=False))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=4), st.integers(0, 10**6))
def test_damaged_bytes(tmp_path: Path, flips: list[tuple[int, int]], length: int) -> None:
    data = bytearray(json.dumps(VALID).encode())
    for at, value in flips:
        data[at % len(data)] = value
    path = tmp_path / "a.json"
    path.write_bytes(data[: length % (2 * len(data)) + 1])
    opened(path)
