"""COCO's JSON: generated look-alikes of the files in circulation, and the codec against COCO's own."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pycocotools import mask as peer

from pixelwise.data import read
from pixelwise.data.annotations import AnnotatedImage, Document, to_dataset
from pixelwise.data.formats import coco
from pixelwise.data.write import write
from pixelwise.errors import DataError, UsageError
from pixelwise.io import write_image, write_text
from pixelwise.kernels.runs import decode_runs, encode_runs, runs_to_text, text_to_runs
from pixelwise.sample import Dataset, Sample
from pixelwise.shapes import Bitmap, Box, Polygon, Ring, Shape
from tests.data.folders import picture
from tests.data.formats.damage import FLIPS, JUNK, damaged, opened, places, replaced

pytestmark = pytest.mark.filterwarnings("ignore:__array__")  # of pycocotools

SIZE = 40, 60  # height, width
TRIANGLE = [3.2, 4.7, 30.5, 8.1, 12.9, 33.3]
SQUARE = [40, 10, 50, 10, 50, 20, 40, 20]
CATEGORIES = [
    {"id": 1, "name": "cat", "supercategory": "animal"},
    {"id": 17, "name": "犬", "supercategory": "animal"},
    {"id": 90, "name": "pot plant", "supercategory": "thing"},
]


def image(number: int = 1, name: str = "a.png") -> dict[str, Any]:
    return {"id": number, "file_name": name, "height": SIZE[0], "width": SIZE[1], "license": 3}


def note(segmentation: Any = None, number: int = 1, **more: Any) -> dict[str, Any]:
    record = {"id": number, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 1.0}
    return record | ({"segmentation": segmentation} if segmentation is not None else {}) | more


def content(*notes: Any, images: Any = None, categories: Any = None) -> dict[str, Any]:
    lists = {"images": [image()] if images is None else images, "annotations": list(notes)}
    return {"info": {}, "licenses": [], **lists, "categories": categories or CATEGORIES}


def put(root: Path, document: Any, name: str = "instances.json", image: str | None = "a.png") -> Path:
    write_text(root / name, json.dumps(document))
    if image:
        write_image(root / image, picture(len(name), SIZE))
    return root / name


def only(root: Path, *notes: Any, **more: Any) -> tuple[Shape, ...]:
    put(root, content(*notes, **more))
    drawn = read(root)[0].shapes
    assert drawn is not None
    return drawn


def problems(data: Dataset[Any]) -> dict[str, tuple[str, ...]]:
    return {problem.code: problem.files for problem in data.problems}


# Bad input


@pytest.mark.parametrize(
    ("segmentation", "reason"),
    [
        ([[1, 2, 3, 4, 5]], "no pairs"),
        ([[1, 2, 3, float("nan"), 5, 6]], "not a number of pixels"),
        ([[1, 2, 3, 1e300, 5, 6]], "not a number of pixels"),
        ([["a", "b", "c", "d", "e", "f"]], "expected numbers"),
        ([[1, 2, 3, 4]], "no ring has 3 corners"),
        ("text", "should be a list or run lengths"),
        ({"size": [40, 60], "counts": [9999]}, "9999 pixels in an image of 60x40"),
        ({"size": [40, 60], "counts": [5, -3]}, "whole numbers"),
        ({"size": [40, 60], "counts": [5, 1.5]}, "whole numbers"),
        ({"size": [40, 60], "counts": "abc\u00ff"}, "damaged"),
        ({"size": [40, 60], "counts": None}, "counts should be"),
        ({"size": [10**6, 10**6], "counts": [5]}, "1000000x1000000"),
        ({"size": "big", "counts": [5]}, "size should be"),
        ({"counts": [5]}, "size should be"),
        ([], "neither segmentation nor bbox"),
    ],
)
def test_a_bad_shape_is_named_and_the_others_are_read(tmp_path: Path, segmentation: Any, reason: str) -> None:
    put(tmp_path, content(note([TRIANGLE], 1), note(segmentation, 7)))
    data = read(tmp_path)
    assert len(data[0].shapes or ()) == 1
    [place] = problems(data)["bad_shape"]
    assert place.startswith("instances.json: annotation 7") and reason in place


@pytest.mark.parametrize("box", [[1, 2, 0, 4], [1, 2, 3], "box", [1, 2, -3, 4]])
def test_a_bad_box(tmp_path: Path, box: Any) -> None:
    put(tmp_path, content(note(bbox=box)))
    assert "annotation 1" in problems(read(tmp_path))["bad_shape"][0]


def test_ids_that_lead_nowhere(tmp_path: Path) -> None:
    put(tmp_path, content(note([SQUARE], 4, image_id=9), note([SQUARE], 5, category_id=2)))
    found = problems(read(tmp_path))
    assert found["unknown_image"] == ("instances.json: annotation 4: image_id 9",)
    assert found["unknown_category"] == ("instances.json: annotation 5: category_id 2",)
    assert {p.level for p in read(tmp_path).problems} == {"error"}


def test_run_lengths_of_another_size_than_the_image(tmp_path: Path) -> None:
    put(tmp_path, content(note({"size": [60, 40], "counts": [5, 5]})))
    data = read(tmp_path)
    assert not data[0].shapes and problems(data)["bad_shape"] == ("instances.json: annotation 1",)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"images": [{"id": 1', "not valid JSON"),
        ('{"images": 5, "annotations": []}', "'images' should be a list"),
        ("[1, 2]", "expected a JSON object"),
        ('{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}]}', "lists no images"),
        ('{"images": [{"id": 1, "file_name": "a.png"}]}', "images without annotations"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, text: str, reason: str) -> None:
    write_text(tmp_path / "x.json", text)
    with pytest.raises(DataError, match=reason) as caught:
        read(tmp_path / "x.json", format="coco")
    assert "x.json" in str(caught.value)


def test_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(json.dumps(content(), ensure_ascii=False).encode("utf-16"))
    with pytest.raises(DataError, match=r"x\.json: not UTF-8"):
        read(tmp_path / "x.json", format="coco")


def test_captions_are_no_shapes(tmp_path: Path) -> None:
    note_ = {"id": 1, "image_id": 1, "caption": "a cat"}
    put(tmp_path, content(note_), "captions_val.json")
    with pytest.raises(DataError, match=r"captions_val\.json: holds captions of images and no shapes"):
        read(tmp_path)


def test_names_that_lead_out_of_the_folder(tmp_path: Path) -> None:
    write_image(tmp_path / "secret.png", picture(0, SIZE))
    put(tmp_path / "data", content(images=[image(1, "../secret.png"), image(2, "/etc/passwd")]), image=None)
    data = read(tmp_path / "data")
    assert [record.path for record in data.records] == [None, None]
    assert len(problems(data)["missing_image"]) == 2


def test_an_absurd_size(tmp_path: Path) -> None:
    put(tmp_path, content(images=[image() | {"width": 10**7, "height": 10**7}, image(2, "b.png")]))
    data = read(tmp_path)
    assert len(data) == 1 and "over the limit" in problems(data)["bad_shape"][0]


def test_ids_and_names_that_come_twice(tmp_path: Path) -> None:
    images = [image(1), image(1, "b.png"), image(2)]
    categories = [*CATEGORIES, {"id": 17, "name": "x"}, {"id": 18, "name": "cat"}]
    put(
        tmp_path,
        content(note([SQUARE]), note([TRIANGLE], category_id=18), images=images, categories=categories),
    )
    data = read(tmp_path)
    found = problems(data)
    assert len(data) == 2 and found["repeated_image"] == ("instances.json: a.png",)
    assert "instances.json: annotation 1" in [
        p for q in data.problems if q.code == "repeated_id" for p in q.files
    ]
    assert found["repeated_name"] == ("instances.json: category 18: cat",)
    assert [shape.label for shape in data[0].shapes or ()] == ["cat", "cat"]
    assert data.labels.names == ("background", "cat", "犬", "pot plant")


def test_unknown_level(tmp_path: Path) -> None:
    put(tmp_path, content())
    with pytest.raises(UsageError, match="unknown level 'super'"):
        read(tmp_path, format="coco", level="super")


def test_keypoints_are_counted(tmp_path: Path) -> None:
    put(tmp_path, content(note([SQUARE], keypoints=[1, 2, 2], num_keypoints=1)))
    data = read(tmp_path)
    assert len(data[0].shapes or ()) == 1 and problems(data)["keypoints"] == ("instances.json: annotation 1",)


def test_one_bad_file_among_several(tmp_path: Path) -> None:
    put(tmp_path, content(note([SQUARE])), "instances_train.json")
    put(tmp_path, content(note([SQUARE])), "instances_val.json")
    with (tmp_path / "instances_val.json").open("r+b") as file:
        file.truncate(200)
    data = read(tmp_path)
    assert len(data) == 1 and "instances_val.json" in problems(data)["unreadable_file"][0]


# What is in the files


def test_rings_of_one_annotation_are_united(tmp_path: Path) -> None:
    [shape] = only(tmp_path, note([SQUARE, [45, 15, 55, 15, 55, 25, 45, 25], [1, 2]], category_id=17))
    assert shape.label == "犬" and len(shape.geometry.rings) == 2
    mask = read(tmp_path)[0].mask
    assert mask is not None and int((mask == 2).sum()) == 100 + 100 - 25
    assert problems(read(tmp_path))["small_ring"]


def test_a_flat_list_is_one_ring(tmp_path: Path) -> None:
    [shape] = only(tmp_path, note(SQUARE))
    assert isinstance(shape.geometry, Polygon) and shape.geometry.rings[0].exterior.shape == (4, 2)


def test_run_lengths_of_both_kinds(tmp_path: Path) -> None:
    pixels = np.random.default_rng(3).random(SIZE) < 0.4
    text = peer.encode(np.asfortranarray(pixels, np.uint8))["counts"].decode()
    runs = encode_runs(pixels).tolist()
    first, second = only(
        tmp_path,
        note({"size": [*SIZE], "counts": text}, 1),
        note({"size": [*SIZE], "counts": runs}, 2, iscrowd=1),
    )
    for shape in (first, second):
        bitmap = shape.geometry
        assert isinstance(bitmap, Bitmap)
        assert np.array_equal(decode_runs(bitmap.runs, bitmap.height, bitmap.width), pixels)
    assert (first.crowd, second.crowd) == (False, True)
    assert np.unique(read(tmp_path)[0].instances).tolist() == [0]  # the crowd lies on top and is no instance


def test_a_box_alone(tmp_path: Path) -> None:
    [shape] = only(tmp_path, note(bbox=[4, 5, 10.5, 20], segmentation=[]))
    assert shape.geometry == Box(4, 5, 14.5, 25)


def test_what_is_said_beside_the_shape(tmp_path: Path) -> None:
    extras = {"occluded": True, "track_id": 6, "colour": "red"}
    first, second = only(
        tmp_path, note([SQUARE], score=0.25, attributes=extras), note([SQUARE], 2, score="much")
    )
    assert (first.score, first.occluded, first.track, first.attributes) == (0.25, True, 6, {"colour": "red"})
    assert second.score is None and "bad_score" in problems(read(tmp_path))


def test_ids_may_be_text(tmp_path: Path) -> None:
    [shape] = only(tmp_path, note([SQUARE], image_id="1", category_id=17.0))
    assert shape.label == "犬"


def test_coarser_classes(tmp_path: Path) -> None:
    put(tmp_path, content(note([SQUARE], category_id=17)))
    data = read(tmp_path, format="coco", level="supercategory")
    assert data.labels.names == ("background", "animal", "thing")


def test_lists_in_any_order(tmp_path: Path) -> None:
    document = content(note([SQUARE], category_id=90))
    put(tmp_path, {name: document[name] for name in ("annotations", "categories", "images")})
    assert [shape.label for shape in read(tmp_path)[0].shapes or ()] == ["pot plant"]


# Folders


@pytest.mark.parametrize(
    ("names", "folders"),
    [
        (("annotations/instances_{}2017.json",), "{}2017"),
        (("annotations/instances_{}.json",), "images/{}"),
        (("{}/_annotations.coco.json",), "{}"),
        (("{}.json",), "{}/images"),
    ],
)
def test_files_are_splits(tmp_path: Path, names: tuple[str], folders: str) -> None:
    for seed, split in enumerate(("train", "val")):
        put(tmp_path, content(note([SQUARE])), names[0].format(split), image=None)
        write_image(tmp_path / folders.format(split) / "a.png", picture(seed, SIZE))
    data = read(tmp_path)
    assert data.splits == ("train", "val") and not data.problems
    assert [np.array_equal(s.image, picture(i, SIZE)) for i, s in enumerate(data)] == [True, True]


def test_one_file_of_a_folder_finds_its_images(tmp_path: Path) -> None:
    path = put(tmp_path, content(note([SQUARE])), "annotations/instances_val.json", "images/val/a.png")
    assert read(path)[0].path == tmp_path / "images/val/a.png"


def test_images_elsewhere(tmp_path: Path) -> None:
    path = put(tmp_path, content(note([SQUARE])), "labels/a.json", "pictures/a.png")
    assert read(path)[0].path is None
    assert read(path, image_dir=tmp_path / "pictures")[0].path == tmp_path / "pictures/a.png"


def test_other_kinds_of_files_are_named(tmp_path: Path) -> None:
    put(tmp_path, content(note([SQUARE])), "annotations/instances_train.json")
    put(tmp_path, content(note([TRIANGLE], category_id=90)), "annotations/stuff_train.json")
    put(tmp_path, content({"image_id": 1, "caption": "x"}), "annotations/captions_train.json")
    data = read(tmp_path)
    assert [s.label for s in data[0].shapes or ()] == ["cat"]
    assert problems(data)["other_files"] == ("captions_train.json", "stuff_train.json")
    assert [s.label for s in read(tmp_path, kind="stuff")[0].shapes or ()] == ["pot plant"]
    with pytest.raises(DataError, match="whose name begins with 'panoptic'"):
        read(tmp_path, kind="panoptic", format="coco")


def test_other_json_is_not_claimed(tmp_path: Path) -> None:
    for number, other in enumerate(({"shapes": [], "imagePath": "a"}, [{"id": 1}], {"images": []}, "x")):
        write_text(tmp_path / f"{number}.json", json.dumps(other))
        assert not coco.recognise(tmp_path / f"{number}.json")


# Writing


def data_of(root: Path, *shapes: Shape, split: str | None = None) -> Dataset[Sample]:
    write_image(root / "a.png", picture(1, SIZE))
    record = AnnotatedImage("a.png", root / "x", *SIZE, list(shapes), root / "a.png", split=split)
    return to_dataset(Document([record], ["cat", "犬"]), root)


def written(root: Path, name: str = "default") -> dict[str, Any]:
    document: dict[str, Any] = json.loads((root / f"annotations/instances_{name}.json").read_text("utf-8"))
    return document


def test_boxes_and_areas_are_those_of_the_pixels(tmp_path: Path) -> None:
    hole = Polygon(
        (Ring(np.array(SQUARE, float).reshape(-1, 2), (np.array([[43.0, 13], [43, 16], [46, 16]]),)),)
    )
    out = tmp_path / "out"
    write(data_of(tmp_path, Shape("cat", Polygon.of(TRIANGLE)), Shape("犬", hole)), out, "coco")
    document = written(out)
    assert [c["name"] for c in document["categories"]] == ["cat", "犬"]
    for record, shape in zip(document["annotations"], read(out)[0].shapes or (), strict=True):
        pixels = to_dataset(
            Document([AnnotatedImage("a", out, *SIZE, [shape])], ["x"]), out, ["bg", shape.label]
        )[0].mask
        ys, xs = np.nonzero(pixels)
        assert record["area"] == len(xs)
        assert record["bbox"] == [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
    assert isinstance(document["annotations"][0]["segmentation"], list)
    assert peer.area(document["annotations"][1]["segmentation"]) == document["annotations"][1]["area"]


def test_everything_that_it_holds_comes_back(tmp_path: Path) -> None:
    first = Shape(
        "cat", Polygon.of(TRIANGLE), track=4, occluded=True, score=0.5, attributes={"n": 3, "ok": True}
    )
    crowd = Shape("犬", Polygon.of(SQUARE), crowd=True)
    box = Shape("cat", Box(1.25, 2, 9, 9.5))
    before = data_of(tmp_path, first, crowd, box, split="val")
    report = write(before, tmp_path / "out", "coco")
    assert not report.losses
    after = read(tmp_path / "out")
    assert after.splits == ("val",) and after.labels.names == before.labels.names
    one, two, three = after[0].shapes or ()
    assert (one.track, one.occluded, one.score, one.attributes) == (4, True, 0.5, {"n": 3, "ok": True})
    assert np.array_equal(one.geometry.rings[0].exterior, first.geometry.rings[0].exterior)
    assert two.crowd and isinstance(two.geometry, Bitmap) and three.geometry == box.geometry
    assert np.array_equal(after[0].mask, before[0].mask)
    assert np.array_equal(after[0].instances > 0, before[0].instances > 0)


def test_groups_become_one_annotation(tmp_path: Path) -> None:
    parts = [Shape("cat", Polygon.of(SQUARE), group=3), Shape("cat", Box(1, 1, 5, 5), group=3)]
    write(data_of(tmp_path, *parts), tmp_path / "out", "coco")
    [record] = written(tmp_path / "out")["annotations"]
    assert record["area"] == 100 + 16


def test_ignored_areas_stay_ignored(tmp_path: Path) -> None:
    mask = np.zeros(SIZE, np.uint8)
    mask[:5], mask[10:20, 10:20] = 255, 1
    sample = Sample(picture(0, SIZE), mask, meta={"name": "a"})
    before = Dataset([0], lambda _: sample, data_of(tmp_path).labels)
    write(before, tmp_path / "out", "coco")
    after = read(tmp_path / "out")
    assert after.labels == before.labels and np.array_equal(after[0].mask, mask)


def test_pycocotools_reads_what_is_written(tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    write(data_of(tmp_path, Shape("cat", Polygon.of(SQUARE))), tmp_path / "out", "coco")
    api = COCO(str(tmp_path / "out/annotations/instances_default.json"))
    [number] = api.getAnnIds(catIds=api.getCatIds(["cat"]))
    assert np.array_equal(api.annToMask(api.anns[number]), read(tmp_path / "out")[0].mask == 1)


# The codec


def test_the_codec_is_cocos_own() -> None:
    generator = np.random.default_rng(0)
    for _ in range(1000):
        height, width = generator.integers(1, 80, 2)
        pixels = (generator.random((height, width)) < generator.random()).astype(np.uint8)
        theirs = peer.encode(np.asfortranarray(pixels))
        runs = encode_runs(pixels)
        assert runs_to_text(runs) == theirs["counts"].decode()
        assert np.array_equal(text_to_runs(theirs["counts"]), runs)
        assert np.array_equal(decode_runs(runs, int(height), int(width)), peer.decode(theirs))


# Anything may be in a file.

VALID = content(
    note([TRIANGLE, SQUARE], 1, score=0.5, attributes={"occluded": False, "track_id": 2, "x": "y"}),
    note({"size": [*SIZE], "counts": runs_to_text(np.array([40, 30, 60]))}, 2, iscrowd=1),
    note({"size": [*SIZE], "counts": [4, 5, 6]}, 3, category_id=90),
    note(None, 4, bbox=[1, 2, 3, 4], keypoints=[1, 2, 2]),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(places(VALID)[1:]), JUNK)
@example(("annotations", 0, "image_id"), [])
@example(("images", 0, "height"), {})
@example(("categories", 0, "name"), {"a": 1})
def test_wrong_types_anywhere(tmp_path: Path, place: tuple[Any, ...], junk: Any) -> None:
    opened(put(tmp_path, replaced(VALID, place, junk), image=None), "coco")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(FLIPS, st.integers(0, 10**6))
def test_damaged_bytes(tmp_path: Path, flips: list[tuple[int, int]], length: int) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(damaged(json.dumps(VALID).encode(), flips, length))
    opened(path, "coco")
