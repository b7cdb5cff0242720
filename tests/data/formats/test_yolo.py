"""YOLO: generated look-alikes of the folders of Ultralytics, Roboflow, LabelImg and RectLabel."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pixelwise.data import read
from pixelwise.data.annotations import AnnotatedImage, Document, to_dataset
from pixelwise.data.formats import yolo
from pixelwise.data.write import write
from pixelwise.errors import DataError
from pixelwise.io import write_image, write_text
from pixelwise.sample import Dataset, Sample
from pixelwise.shapes import Box, Polygon, Polyline, Ring, Shape
from tests.data.folders import picture
from tests.data.formats.damage import FLIPS, damaged, opened

SIZE = 40, 60  # height, width
TRIANGLE = "0 0.1 0.1 0.5 0.1 0.1 0.9"
BOX = "1 0.5 0.5 0.25 0.5"
YAML = "path: .\ntrain: images/train\nval: images/val\nnames: [cat, 犬]\n"


def put(
    root: Path, rows: str | None, name: str = "train/a", images: str = "images", labels: str = "labels"
) -> None:
    write_image(root / images / f"{name}.png", picture(len(name), SIZE))
    if rows is not None:
        write_text(root / labels / f"{name}.txt", rows)


def only(root: Path, *rows: str) -> tuple[Shape, ...]:
    put(root, "\n".join(rows))
    write_text(root / "data.yaml", YAML)
    drawn = read(root)[0].shapes
    assert drawn is not None
    return drawn


def problems(data: Dataset[Any]) -> dict[str, tuple[str, ...]]:
    return {problem.code: problem.files for problem in data.problems}


# Bad input


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("0 0.1 0.2 0.3", "expected at least 4 numbers, found 3"),
        ("0 0.1 0.2 0.3 0.4 0.5 1.2", "shares of the image from 0 to 1, found 1.2"),
        ("0 120 30 40 50", "found 120"),
        ("0 0.1 0.2 x 0.4", "expected numbers"),
        ("0 0.1 0.2 nan 0.4", "not a number"),
        ("cat 0.1 0.2 0.3 0.4", "class: expected a whole number"),
        ("1.5 0.1 0.2 0.3 0.4", "class: expected a whole number"),
        ("-1 0.1 0.2 0.3 0.4", "class: expected a whole number"),
        ("0 0.5 0.5 0 0.1", "a box of no size"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: str, reason: str) -> None:
    [shape] = only(tmp_path, row, BOX)
    assert shape.label == "犬"
    [place] = problems(read(tmp_path))["bad_shape"]
    assert place.startswith("labels/train/a.txt:1") and reason in place


def test_a_class_that_does_not_exist(tmp_path: Path) -> None:
    assert not only(tmp_path, "", "2 0.5 0.5 0.1 0.1")
    [problem] = [p for p in read(tmp_path).problems if p.code == "unknown_class"]
    assert (problem.level, problem.files) == ("error", ("labels/train/a.txt:2: class 2",))


def test_a_label_file_that_is_no_text(tmp_path: Path) -> None:
    put(tmp_path, BOX, "train/b")
    only(tmp_path, BOX)
    (tmp_path / "labels/train/a.txt").write_bytes(b"\xff\xfe1")
    data = read(tmp_path)
    assert [len(s.shapes or ()) for s in data] == [0, 1]
    assert "a.txt: not UTF-8" in problems(data)["unreadable_file"][0]


def test_an_image_that_is_none(tmp_path: Path) -> None:
    only(tmp_path, BOX)
    (tmp_path / "images/train/a.png").write_bytes(b"no picture")
    data = read(tmp_path)
    assert "a.png: not an image" in problems(data)["unreadable_image"][0]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("names: [a, b", "not valid YAML"),
        ("names: 5\ntrain: images", "'names' should be a list"),
        ("names: {x: a}\ntrain: images", "expected a whole number"),
        ("names: [[a]]\ntrain: images", "expected text"),
        ("names: [a]\ntrain: {a: b}", "train: expected a folder"),
        ("names: !!python/object:os.system [a]\nx: &a [*a]", "data.yaml"),
    ],
)
def test_a_bad_yaml_file(tmp_path: Path, text: str, reason: str) -> None:
    put(tmp_path, BOX)
    write_text(tmp_path / "data.yaml", text)
    with pytest.raises(DataError) as caught:
        read(tmp_path / "data.yaml", format="yolo").records  # noqa: B018
    assert "data.yaml" in str(caught.value) and reason in str(caught.value)


def test_paths_that_lead_out_of_the_folder(tmp_path: Path) -> None:
    put(tmp_path / "secret", BOX)
    put(tmp_path / "data", BOX, "train/b")
    text = f"path: {tmp_path / 'secret'}\ntrain: [images/train, ../../secret/images, list.txt]\nnames: [a, b]"
    write_text(tmp_path / "data/data.yaml", text)
    write_text(
        tmp_path / "data/list.txt",
        f"{tmp_path / 'secret/images/train/a.png'}\n../secret/images/train/a.png\n",
    )
    data = read(tmp_path / "data")
    assert [record.path for record in data.records] == [tmp_path / "data/images/train/b.png"]
    assert (
        problems(data)["path"]
        and problems(data)["missing_split"]
        and len(problems(data)["missing_image"]) == 2
    )


def test_no_image_at_all(tmp_path: Path) -> None:
    write_text(tmp_path / "labels/a.txt", BOX)
    with pytest.raises(DataError, match="no image was found; expected images/ with labels/"):
        read(tmp_path, format="yolo")


def test_labels_without_an_image(tmp_path: Path) -> None:
    only(tmp_path, BOX)
    write_text(tmp_path / "labels/train/gone.txt", BOX)
    assert problems(read(tmp_path))["labels_without_image"] == ("labels/train/gone.txt",)


def test_labels_of_another_split_are_not_taken(tmp_path: Path) -> None:
    put(tmp_path, None, "val/a")
    write_text(tmp_path / "labels/train/a.txt", BOX)
    write_text(tmp_path / "data.yaml", YAML)
    data = read(tmp_path)
    assert not data[0].shapes and problems(data)["labels_without_image"] == ("labels/train/a.txt",)


def test_plain_numbers_are_not_claimed(tmp_path: Path) -> None:
    for number, text in enumerate(
        ("1 2 3 4 5", "car 0.1 0.2 0.3 0.4", "0.1 0.2 0.3 0.4 0.5", "", " " * 5000)
    ):
        write_text(tmp_path / f"{number}.txt", text)
    assert not yolo.recognise(tmp_path)


# What is in the files


def test_outlines_boxes_and_scores(tmp_path: Path) -> None:
    outline, box, scored = only(tmp_path, TRIANGLE, BOX, f"{TRIANGLE} 0.75")
    assert isinstance(outline.geometry, Polygon)
    assert np.allclose(outline.geometry.rings[0].exterior, [[6, 4], [30, 4], [6, 36]])
    assert box.geometry == Box(22.5, 10, 37.5, 30) and (box.label, outline.label) == ("犬", "cat")
    assert (outline.score, scored.score) == (None, 0.75)


def test_poses_give_their_box(tmp_path: Path) -> None:
    [shape] = only(tmp_path, f"{BOX} 0.5 0.5 2 0.25 0.5 1 0.0 0.0 0")
    assert shape.geometry == Box(22.5, 10, 37.5, 30)
    assert problems(read(tmp_path))["keypoints"] == ("labels/train/a.txt:1",)


def test_outlines_along_the_border_are_no_poses(tmp_path: Path) -> None:
    [shape] = only(tmp_path, "0 0.5 0 1 0 1 1 0 1 0 0")
    assert shape.kind == "polygon"


def test_outlines_may_end_a_rounding_outside(tmp_path: Path) -> None:
    [shape] = only(tmp_path, "0 -0.001 0.1 1.004 0.1 0.5 0.9")
    assert shape.kind == "polygon" and "bad_shape" not in problems(read(tmp_path))


def test_a_keyhole_has_a_hole(tmp_path: Path) -> None:
    outer, inner = (
        "0.0 0.0 1.0 0.0 1.0 1.0 0.0 1.0 0.0 0.0",
        "0.25 0.25 0.25 0.75 0.75 0.75 0.75 0.25 0.25 0.25",
    )
    only(tmp_path, f"0 {outer} {inner}")
    mask = read(tmp_path)[0].mask
    assert mask is not None and int((mask == 0).sum()) == 30 * 20


def test_images_without_labels_hold_nothing(tmp_path: Path) -> None:
    only(tmp_path, BOX)
    put(tmp_path, "", "train/b")
    put(tmp_path, None, "val/c")
    data = read(tmp_path)
    assert [len(s.shapes or ()) for s in data] == [1, 0, 0] and data.splits == ("train", "val")
    assert not data.problems and data[2].mask.max() == 0


def test_names_are_text_whatever_they_look_like(tmp_path: Path) -> None:
    put(tmp_path, "3 0.5 0.5 0.1 0.1")
    write_text(tmp_path / "data.yaml", "train: images\nnames:\n  3: no\n  1: 2024\n")
    data = read(tmp_path)
    assert data.labels.names == ("background", "2024", "no") and data[0].shapes[0].label == "no"


# Folders


def test_roboflow(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        put(tmp_path, BOX, "a", f"{split}/images", f"{split}/labels")
    write_text(
        tmp_path / "data.yaml",
        "train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnc: 3\nnames: [a, b]",
    )
    data = read(tmp_path)
    assert data.splits == ("train", "val") and [len(s.shapes or ()) for s in data] == [1, 1]
    assert problems(data).keys() == {"missing_split", "class_count"}


def test_lists_of_images(tmp_path: Path) -> None:
    put(tmp_path, BOX, "a")
    put(tmp_path, BOX, "b")
    write_text(tmp_path / "train.txt", "./images/a.png\n./images/a.png\n")
    write_text(tmp_path / "data.yaml", "train: train.txt\nval: [images]\nnames: {0: a, 1: b}")
    data = read(tmp_path)
    assert [(r.name, r.split) for r in data.records] == [("a.png", "train"), ("b.png", "val")]
    assert len(problems(data)["repeated_image"]) == 2


def test_rectlabel(tmp_path: Path) -> None:
    put(tmp_path, TRIANGLE, "a", labels="annotaitons")
    put(tmp_path, None, "b")
    data = read(tmp_path)
    assert [len(s.shapes or ()) for s in data] == [1, 0]
    assert data.labels.names == ("background", "class 0") and "no_names" in problems(data)
    write_text(tmp_path / "classes.txt", "cat\n犬\n")
    assert read(tmp_path)[0].shapes[0].label == "cat"


def test_labelimg_and_darknet(tmp_path: Path) -> None:
    put(tmp_path / "one", BOX, "a", ".", ".")
    write_text(tmp_path / "one/classes.txt", "x\ny\n")
    put(tmp_path / "two", BOX, "a", "obj_train_data", "obj_train_data")
    write_text(tmp_path / "two/obj.names", "x\ny\n")
    for folder in ("one", "two"):
        assert [s.label for s in read(tmp_path / folder)[0].shapes or ()] == ["y"]


def test_the_yaml_file_itself(tmp_path: Path) -> None:
    only(tmp_path, BOX)
    (tmp_path / "data.yaml").rename(tmp_path / "my set.yaml")
    assert read(tmp_path / "my set.yaml").labels == read(tmp_path).labels


# Writing


def data_of(root: Path, *shapes: Shape, split: str | None = "val") -> Dataset[Sample]:
    write_image(root / "a.png", picture(1, SIZE))
    record = AnnotatedImage("sub/a.png", root / "x", *SIZE, list(shapes), root / "a.png", split=split)
    return to_dataset(Document([record], ["cat", "犬"]), root)


def test_boxes_alone_stay_boxes(tmp_path: Path) -> None:
    write(data_of(tmp_path, Shape("犬", Box(22.5, 10, 37.5, 30))), tmp_path / "out", "yolo")
    assert (tmp_path / "out/labels/val/sub/a.txt").read_text() == "1 0.5 0.5 0.25 0.5\n"
    assert read(tmp_path / "out")[0].shapes[0].geometry == Box(22.5, 10, 37.5, 30)
    assert (tmp_path / "out/data.yaml").read_text("utf-8").split() == (
        ["path:", ".", "val:", "images/val", "names:", "0:", "cat", "1:", "犬"]
    )


def test_boxes_among_outlines_are_outlines(tmp_path: Path) -> None:
    shapes = Shape("cat", Box(1, 2, 9, 9)), Shape("cat", Polygon.of([(20, 20), (30, 20), (20, 30)]))
    write(data_of(tmp_path, *shapes), tmp_path / "out", "yolo")
    lines = (tmp_path / "out/labels/val/sub/a.txt").read_text().splitlines()
    assert [len(line.split()) for line in lines] == [9, 7]


def test_what_reaches_outside_is_cut(tmp_path: Path) -> None:
    shapes = [
        Shape("cat", Polygon.of([(-20, 5), (30, -30), (90, 20), (30, 70)])),
        Shape("犬", Box(70, 50, 90, 90)),
    ]
    before = data_of(tmp_path, *shapes)
    write(before, tmp_path / "out", "yolo")
    after = read(tmp_path / "out")
    assert len(after[0].shapes or ()) == 1 and not after.problems
    assert np.array_equal(after[0].mask, before[0].mask)


def test_losses_are_counted(tmp_path: Path) -> None:
    hole = Ring(
        np.array([(1.0, 1), (30, 1), (30, 30), (1, 30)]), (np.array([(9.0, 9), (9, 19), (19, 19), (19, 9)]),)
    )
    other = Ring(np.array([(40.0, 1), (50, 1), (50, 9)]))
    shapes = Shape("cat", Polygon((hole, other)), score=0.5), Shape("cat", Polyline(np.eye(2)))
    before = data_of(tmp_path, *shapes)
    report = write(before, tmp_path / "out", "yolo")
    assert report.losses == {
        "holes written as keyholes": 1,
        "polygon of several parts written as single ones": 1,
        "polyline left out": 1,
        "score not written": 1,
    }
    expected = data_of(tmp_path, shapes[0])[0].mask
    assert np.array_equal(read(tmp_path / "out")[0].mask, expected)


# Anything may be in a file.

VALID = f"{TRIANGLE}\n{BOX}\n{TRIANGLE} 0.5\n"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(FLIPS, st.integers(0, 10**6))
@example([(0, 0x39)], 10**6)
def test_damaged_rows(tmp_path: Path, flips: list[tuple[int, int]], length: int) -> None:
    put(tmp_path, VALID)
    write_text(tmp_path / "data.yaml", YAML)
    (tmp_path / "labels/train/a.txt").write_bytes(damaged(VALID.encode(), flips, length))
    opened(tmp_path, "yolo")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(FLIPS, st.integers(0, 10**6))
@example([], len(YAML.encode()) // 2)
def test_damaged_yaml(tmp_path: Path, flips: list[tuple[int, int]], length: int) -> None:
    put(tmp_path, VALID)
    (tmp_path / "data.yaml").write_bytes(damaged(YAML.encode(), flips, length))
    opened(tmp_path / "data.yaml", "yolo")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=60))
@example("0 " * 60)
@example("999999999999999999999 0.1 0.1 0.1 0.1")
def test_any_row(tmp_path: Path, row: str) -> None:
    put(tmp_path, None)
    write_text(tmp_path / "data.yaml", YAML)
    (tmp_path / "labels/train").mkdir(parents=True, exist_ok=True)
    (tmp_path / "labels/train/a.txt").write_bytes(row.encode("utf-8", "replace"))
    opened(tmp_path, "yolo")
