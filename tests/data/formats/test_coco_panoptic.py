"""COCO's panoptic format: generated look-alikes, and what happens where PNG and JSON disagree."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from pixelwise.data import read
from pixelwise.data.write import write
from pixelwise.errors import DataError
from pixelwise.io import write_image, write_text
from tests.data.folders import picture
from tests.data.formats.damage import FLIPS, JUNK, damaged, opened, places, replaced

IDS = np.zeros((6, 8), np.uint32)
IDS[:3], IDS[3, :4], IDS[4:, :2], IDS[4:, 5:] = 70000, 258, 7, 9
CATEGORIES = [
    {"id": 1, "name": "person", "isthing": 1, "color": [220, 20, 60]},
    {"id": 187, "name": "sky-other", "isthing": 0, "color": [70, 130, 180]},
]
SEGMENTS = [
    {"id": 70000, "category_id": 187, "area": 24, "iscrowd": 0},
    {"id": 258, "category_id": 1, "area": 4, "iscrowd": 0},
    {"id": 7, "category_id": 1, "area": 4, "iscrowd": 0},
    {"id": 9, "category_id": 1, "area": 6, "iscrowd": 1},
]
EXPECTED = np.select([IDS == 70000, IDS == 0], [1, 255], 0)


def content(**more: Any) -> dict[str, Any]:
    images = [{"id": 5, "file_name": "a.jpg", "height": 6, "width": 8}]
    notes = [{"image_id": 5, "file_name": "a.png", "segments_info": SEGMENTS}]
    return {"images": images, "annotations": notes, "categories": CATEGORIES} | more


def png(path: Path, ids: np.ndarray = IDS) -> None:
    write_image(path, np.stack([ids & 255, ids >> 8 & 255, ids >> 16], 2).astype(np.uint8))


def put(root: Path, document: Any = None, name: str = "annotations/panoptic_val.json") -> Path:
    path = root / name
    write_text(path, json.dumps(content() if document is None else document))
    png(path.with_suffix("") / "a.png")
    write_image(root / "val2017" / "a.jpg", picture(0, (6, 8)))
    return path


def test_classes_and_instances(tmp_path: Path) -> None:
    put(tmp_path)
    data = read(tmp_path)
    sample = data[0]
    assert data.labels.names == ("person", "sky-other") and data.labels.colours[0] == (220, 20, 60)
    assert data.splits == ("val",) and sample.path == tmp_path / "val2017/a.jpg" and not data.problems
    assert np.array_equal(sample.mask, EXPECTED) and sample.mask.dtype == np.uint8
    instances = np.select([IDS == 258, IDS == 7], [1, 2], 0)
    assert np.array_equal(sample.instances, instances) and sample.instances.dtype == np.int32


def test_no_png_is_opened_before_it_is_needed(tmp_path: Path) -> None:
    path = put(tmp_path)
    (path.with_suffix("") / "a.png").write_bytes(b"no picture")
    data = read(tmp_path)
    with pytest.raises(DataError, match=r"a\.png: not an image"):
        _ = data[0].mask


def test_a_segment_that_the_json_does_not_list(tmp_path: Path) -> None:
    path = put(tmp_path)
    ids = IDS.copy()
    ids[0, 0] = 123456
    png(path.with_suffix("") / "a.png", ids)
    message = r"a\.png: the PNG holds segment 123456, which panoptic_val\.json does not list"
    with pytest.raises(DataError, match=message):
        _ = read(tmp_path)[0].mask


def test_a_segment_that_the_png_does_not_hold(tmp_path: Path) -> None:
    path = put(tmp_path)
    png(path.with_suffix("") / "a.png", np.where(IDS == 7, 0, IDS))
    with pytest.raises(DataError, match="lists segment 7, which the PNG does not hold"):
        _ = read(tmp_path)[0].instances


def test_pngs_beside_the_file(tmp_path: Path) -> None:
    write_text(tmp_path / "panoptic" / "panoptic_2020.json", json.dumps(content()))
    png(tmp_path / "panoptic" / "a.png")
    data = read(tmp_path, format="auto")
    assert np.array_equal(data[0].mask, EXPECTED)
    assert {p.code for p in data.problems} == {"missing_image"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"annotations": [{"image_id": 6, "file_name": "a.png", "segments_info": SEGMENTS}]}, "no image 6"),
        ({"annotations": [{"image_id": 5, "file_name": "b.png", "segments_info": SEGMENTS}]}, "no PNG b.png"),
        ({"annotations": [{"image_id": 5, "file_name": "a.png", "segments_info": 5}]}, "segments_info"),
        ({"annotations": [{"image_id": 5, "file_name": "a.png", "segments_info": [{"id": 0}]}]}, "found 0"),
        (
            {
                "annotations": [
                    {"image_id": 5, "file_name": "a.png", "segments_info": [{"id": 1, "category_id": 3}]}
                ]
            },
            "category 3",
        ),
    ],
)
def test_a_bad_record_is_named(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    put(tmp_path, content(**change))
    data = read(tmp_path, format="coco_panoptic")
    problems = {problem.code: problem for problem in data.problems}
    assert len(data) == 0 and reason in problems["bad_record"].files[0]
    assert problems["bad_record"].level == "error"
    assert problems["unlabelled"].files == ("panoptic_val.json: a.jpg",)


def test_other_classes_by_name_and_by_id(tmp_path: Path) -> None:
    path = put(tmp_path)
    data = read(path, labels=["sky-other", "other"])
    assert np.array_equal(data[0].mask, np.where(IDS == 70000, 0, 255))
    assert [p.files for p in data.problems if p.code == "unknown_label"] == [("person",)]
    data = read(path, labels=["sky-other", "other"], mapping={1: 1})
    assert np.array_equal(data[0].mask, np.select([IDS == 70000, IDS == 0], [0, 255], 1))


def test_instances_of_coco_come_first(tmp_path: Path) -> None:
    put(tmp_path)
    write_text(tmp_path / "annotations" / "instances_val.json", json.dumps({**content(), "annotations": []}))
    assert read(tmp_path).labels.names[0] == "background"
    assert read(tmp_path, format="coco_panoptic").labels.names[0] == "person"


def test_it_can_be_written_as_shapes(tmp_path: Path) -> None:
    put(tmp_path)
    write(read(tmp_path), tmp_path / "out", "coco")
    after = read(tmp_path / "out")
    assert [s.label for s in after[0].shapes or ()].count("person") == 3
    assert np.array_equal(after[0].mask, np.where(EXPECTED == 255, 255, EXPECTED + 1))


def test_a_grey_png_of_16_bits_is_refused(tmp_path: Path) -> None:
    path = put(tmp_path)
    Image.fromarray(IDS.astype(np.uint16)).save(path.with_suffix("") / "a.png")
    with pytest.raises(DataError, match="a panoptic PNG is an RGB picture, found mode I;16"):
        _ = read(tmp_path)[0].mask


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(places(content())[1:]), JUNK)
@example(("annotations", 0, "image_id"), [])
@example(("annotations", 0, "segments_info", 0, "id"), 2**40)
@example(("categories", 0, "id"), {})
def test_wrong_types_anywhere(tmp_path: Path, place: tuple[Any, ...], junk: Any) -> None:
    opened(put(tmp_path, replaced(content(), place, junk)), "coco_panoptic", lambda path: "a.png")


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(FLIPS, st.integers(0, 10**6))
def test_damaged_bytes(tmp_path: Path, flips: list[tuple[int, int]], length: int) -> None:
    path = put(tmp_path)
    path.write_bytes(damaged(json.dumps(content()).encode(), flips, length))
    opened(path, "coco_panoptic", lambda path: "a.png")
