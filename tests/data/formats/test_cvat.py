"""CVAT XML 1.1, on generated look-alikes of its exports for images and for video."""

from __future__ import annotations

import copy
import shutil
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, fromstring, tostring

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pixelwise.data import read
from pixelwise.data.annotations import AnnotatedImage, Document, to_dataset
from pixelwise.data.formats import cvat
from pixelwise.data.write import write
from pixelwise.errors import DataError, PixelwiseError
from pixelwise.io import write_image
from pixelwise.io.video import read_frame, write_video
from pixelwise.labels import LabelMap
from pixelwise.sample import Dataset, Sample
from pixelwise.shapes import Box, Ellipse, Points, Polygon, Polyline, Shape
from tests.data.folders import picture

SIZE = 20, 30  # height, width
LABELS = """<labels>
  <label><name>car</name><color>#ff0010</color><type>any</type><attributes>
    <attribute><name>parked</name><input_type>checkbox</input_type><values>false</values></attribute>
    <attribute><name>wheels</name><input_type>number</input_type><values>0\n9\n1</values></attribute>
    <attribute><name>plate</name><input_type>text</input_type><values></values></attribute>
  </attributes></label>
  <label><name>人 &amp; co</name><color>#00ff00</color><attributes></attributes></label>
  <label><name>night</name><color>#0000ff</color><type>tag</type><attributes></attributes></label>
</labels>"""


def xml(body: str, meta: str = "", owner: str = "task") -> str:
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n'
        f"<meta><{owner}>{meta}{LABELS}</{owner}></meta>{body}</annotations>"
    )


def image(shapes: str, name: str = "a.png", more: str = "") -> str:
    return f'<image id="0" name="{name}" width="{SIZE[1]}" height="{SIZE[0]}" {more}>{shapes}</image>'


def put(root: Path, text: str, *images: str, name: str = "annotations.xml") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    for seed, file in enumerate(images):
        write_image(root / file, picture(seed, SIZE))
    return path


def only(root: Path, shape: str) -> Shape:
    """The one shape of an export."""
    put(root, xml(image(shape)), "images/a.png")
    data = read(root)
    assert data.problems == ()
    [found] = data[0].shapes
    return found


def codes(data: Any) -> dict[str, str]:
    return {problem.code: problem.message for problem in data.problems}


class TestBadInput:
    def test_truncated(self, tmp_path: Path) -> None:
        path = put(tmp_path, xml(image(""))[:-30])
        with pytest.raises(DataError, match=r"annotations\.xml: not valid XML .*; export it again"):
            read(path)

    def test_an_entity_bomb(self, tmp_path: Path) -> None:
        bomb = '<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;&b;">]>'
        path = put(tmp_path, xml(image("")).replace("<annotations>", f"{bomb}<annotations>", 1))
        with pytest.raises(DataError, match=r"annotations\.xml: declares a document type or entities"):
            read(path, format="cvat")

    def test_not_utf_8(self, tmp_path: Path) -> None:
        path = put(tmp_path, "")
        path.write_bytes(xml(image("")).replace("人", "Straße").encode("latin-1"))
        with pytest.raises(DataError, match=r"annotations\.xml: not valid XML"):
            read(path)

    def test_xml_of_something_else(self, tmp_path: Path) -> None:
        path = put(tmp_path, "<annotation><filename>a.png</filename></annotation>")
        assert not cvat.recognise(tmp_path)
        with pytest.raises(DataError, match="expected <annotations> of CVAT XML 1.1, found <annotation>"):
            read(path, format="cvat")

    def test_nothing_there(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="holds no XML of CVAT; export as CVAT for images 1.1"):
            read(tmp_path, format="cvat")

    @pytest.mark.parametrize(
        ("shape", "words"),
        [
            ('<box label="car" xtl="nan" ytl="0" xbr="4" ybr="4"/>', "not a number of pixels"),
            ('<box label="car" xtl="1e30" ytl="0" xbr="4" ybr="4"/>', "not a number of pixels"),
            ('<box label="car" xtl="0" ytl="0" xbr="4"/>', "not a number of pixels"),
            ('<polygon label="car" points="1,1;2,2"/>', "expected at least 6 numbers, found 4"),
            ('<polygon label="car" points="1,1;2,2;3,3;4"/>', "expected pairs x,y, found 7"),
            ('<polygon label="car" points="1,1;2,2;x,3"/>', "expected numbers"),
            ('<polyline label="car" points="1,1"/>', "expected at least 4 numbers"),
            ('<points label="car" points=""/>', "expected at least 2 numbers"),
            ('<ellipse label="car" cx="1" cy="1" rx="-2" ry="1"/>', "half axes of 0 or more"),
            ('<box label="car" xtl="0" ytl="0" xbr="4" ybr="4" z_order="top"/>', "z_order"),
            ('<mask label="car" rle="0, 5" left="0" top="0" width="2" height="2"/>', "5 pixels, more than"),
            ('<mask label="car" rle="0, -5" left="0" top="0" width="2" height="2"/>', "negative or broken"),
            ('<mask label="car" rle="0, 1.5" left="0" top="0" width="2" height="2"/>', "negative or broken"),
            ('<mask label="car" rle="0, 4" left="29" top="0" width="2" height="2"/>', "outside of the image"),
            ('<mask label="car" rle="0, 4" left="0" top="0" width="0" height="2"/>', "a mask of 0x2"),
            ('<mask label="car" rle="0, 4" left="0" top="0" width="9999999" height="9999999"/>', "a mask of"),
        ],
    )
    def test_one_bad_shape_is_left_out(self, tmp_path: Path, shape: str, words: str) -> None:
        good = '<box label="car" xtl="0" ytl="0" xbr="4" ybr="4"/>'
        put(tmp_path, xml(image(good + shape)), "images/a.png")
        data = read(tmp_path)
        [problem] = data.problems
        assert (problem.code, problem.message) == ("bad_shape", "shapes that cannot be read, left out: 1")
        assert problem.files[0].startswith("annotations.xml: image 0 (a.png), ") and words in problem.files[0]
        assert len(data[0].shapes) == 1

    def test_a_name_that_leads_elsewhere(self, tmp_path: Path) -> None:
        put(tmp_path, "", "secret.png")
        put(tmp_path / "in", xml(image("", "../secret.png")))
        data = read(tmp_path / "in")
        assert data[0].path is None and "missing_image" in codes(data)

    def test_a_missing_image_has_its_labels_still(self, tmp_path: Path) -> None:
        put(tmp_path, xml(image('<box label="car" xtl="0" ytl="0" xbr="4" ybr="5"/>')))
        data = read(tmp_path)
        assert int((data[0].mask == data.labels.index("car")).sum()) == 20
        with pytest.raises(DataError, match=r"the image a\.png is not in the folder"):
            _ = data[0].image

    def test_an_image_twice(self, tmp_path: Path) -> None:
        put(tmp_path, xml(image("") * 2), "images/a.png")
        data = read(tmp_path)
        assert len(data) == 2 and "annotated more than once" in codes(data)["repeated_image"]

    def test_a_size_that_cannot_be(self, tmp_path: Path) -> None:
        put(tmp_path, xml('<image id="0" name="a.png" width="9999999" height="9999999"/>'), "a.png")
        data = read(tmp_path)
        assert "bad_size" in codes(data) and data[0].mask.shape == SIZE

    def test_one_bad_file_of_two(self, tmp_path: Path) -> None:
        put(tmp_path, xml(image("")), "images/a.png", name="one.xml")
        put(tmp_path, xml(image(""))[:-5], name="two.xml")
        data = read(tmp_path)
        [problem] = data.problems
        assert (problem.level, problem.code, len(data)) == ("error", "unreadable_file", 1)
        assert "two.xml: not valid XML" in problem.files[0]

    def test_no_label(self, tmp_path: Path) -> None:
        put(tmp_path, xml(image('<box label="" xtl="0" ytl="0" xbr="4" ybr="4"/>')), "images/a.png")
        data = read(tmp_path)
        assert codes(data)["no_label"] == "shapes without a label, whose pixels are ignored: 1"
        assert int((data[0].mask == data.labels.ignore).sum()) == 16

    def test_kinds_that_are_left_out(self, tmp_path: Path) -> None:
        put(tmp_path, xml(image('<cuboid label="car"/><cuboid label="car"/><blob label="car"/>')))
        messages = [problem.message for problem in read(tmp_path).problems if problem.code == "left_out"]
        assert messages == [
            "shapes of the kind cuboid, left out: 2",
            "shapes of the kind blob, left out: 1",
        ]

    @pytest.mark.parametrize("meta", ["<stop_frame>99999999</stop_frame>", "<size>99999999</size>"])
    def test_a_video_without_end(self, tmp_path: Path, meta: str) -> None:
        path = put(tmp_path, xml(track("".join(box(frame) for frame in (0, 4))), meta))
        with pytest.raises(DataError, match=r"annotations\.xml: .* frames, expected at most 1000000"):
            read(path)


class TestImages:
    def test_what_is_declared(self, tmp_path: Path) -> None:
        put(tmp_path, xml(image("")), "images/a.png")
        labels = read(tmp_path).labels
        assert labels.names == ("background", "car", "人 & co")
        assert labels.colours[1:] == ((255, 0, 16), (0, 255, 0))

    def test_a_turned_box(self, tmp_path: Path) -> None:
        shape = only(
            tmp_path, '<box label="car" xtl="2.5" ytl="3" xbr="9" ybr="7.25" rotation="30" occluded="1"/>'
        )
        assert shape.geometry == Box(2.5, 3, 9, 7.25, 30) and shape.occluded

    def test_a_turned_ellipse(self, tmp_path: Path) -> None:
        shape = only(
            tmp_path, '<ellipse label="car" cx="9.5" cy="8" rx="4" ry="2" rotation="45" z_order="-3"/>'
        )
        assert (shape.geometry, shape.z, shape.group) == (Ellipse(9.5, 8, 4, 2, 45), -3, None)

    def test_a_polygon(self, tmp_path: Path) -> None:
        shape = only(tmp_path, '<polygon label="人 &amp; co" points="1.5,2.0;8,3;4,9" group_id="7"/>')
        assert isinstance(shape.geometry, Polygon) and (shape.label, shape.group) == ("人 & co", 7)
        assert shape.geometry.rings[0].exterior.tolist() == [[1.5, 2], [8, 3], [4, 9]]

    def test_lines_and_points(self, tmp_path: Path) -> None:
        line = only(tmp_path, '<polyline label="car" points="1.5,2.0;8,3"/>').geometry
        assert isinstance(line, Polyline) and line.points.tolist() == [[1.5, 2], [8, 3]]
        points = only(tmp_path, '<points label="car" points="1.5,2.0"/>').geometry
        assert isinstance(points, Points) and points.points.tolist() == [[1.5, 2]]

    @pytest.mark.parametrize("runs", ["1, 2, 2, 1, 1, 1", "1, 2, 2, 1, 1", "1,2,2,1"])
    def test_a_mask_goes_row_by_row(self, tmp_path: Path, runs: str) -> None:
        put(
            tmp_path,
            xml(image(f'<mask label="car" rle="{runs}" left="5" top="3" width="4" height="2"/>')),
            "images/a.png",
        )
        data = read(tmp_path)
        window = np.array([[0, 1, 1, 0], [0, 1, 0, 1 if runs.count(",") == 5 else 0]])
        assert data.problems == ()
        assert np.array_equal(data[0].mask[3:5, 5:9] == 1, window)
        assert int((data[0].mask == 1).sum()) == window.sum()

    def test_attributes_have_their_types(self, tmp_path: Path) -> None:
        values = {"parked": "true", "wheels": "4", "plate": "007", "mood": "1"}
        inner = "".join(f'<attribute name="{name}">{text}</attribute>' for name, text in values.items())
        shape = only(tmp_path, f'<box label="car" xtl="0" ytl="0" xbr="4" ybr="4">{inner}</box>')
        assert shape.attributes == {"parked": True, "wheels": 4, "plate": "007", "mood": "1"}

    def test_tags(self, tmp_path: Path) -> None:
        tags = '<tag label="night"/><tag label="car"><attribute name="wheels">3</attribute></tag>'
        put(tmp_path, xml(image(tags)), "images/a.png")
        assert read(tmp_path)[0].meta["tags"] == {"night": True, "car": {"wheels": 3}}

    def test_a_skeleton_is_its_visible_points(self, tmp_path: Path) -> None:
        joints = "".join(
            f'<points label="{name}" outside="{outside}" points="{x},2"/>'
            for name, outside, x in (("head", 0, 1), ("hand", 1, 5), ("foot", 0, 9))
        )
        put(tmp_path, xml(image(f'<skeleton label="car" z_order="1">{joints}</skeleton>')), "images/a.png")
        data = read(tmp_path)
        [shape] = data[0].shapes
        assert isinstance(shape.geometry, Points) and shape.geometry.points.tolist() == [[1, 2], [9, 2]]
        assert shape.attributes == {"points": ["head", "foot"]}
        assert codes(data) == {"skeleton": "skeletons read as points: 1"}

    def test_z_order_decides_what_is_on_top(self, tmp_path: Path) -> None:
        shapes = (
            '<box label="car" xtl="0" ytl="0" xbr="9" ybr="9" z_order="2"/>'
            '<box label="人 &amp; co" xtl="0" ytl="0" xbr="20" ybr="9" z_order="1"/>'
        )
        put(tmp_path, xml(image(shapes)), "images/a.png")
        assert Counter(read(tmp_path)[0].mask.ravel().tolist()) == {0: 420, 1: 81, 2: 99}

    def test_subsets_are_splits(self, tmp_path: Path) -> None:
        body = "".join(image("", "a.png", f'subset="{name}"') for name in ("Train", "Validation", "default"))
        put(tmp_path, xml(body, owner="project"), "images/Train/a.png", "images/Validation/a.png", "a.png")
        data = read(tmp_path)
        assert [sample.meta["split"] for sample in data] == ["train", "val", None]
        assert [str(sample.path.relative_to(tmp_path)) for sample in data] == [
            "images/Train/a.png",
            "images/Validation/a.png",
            "a.png",
        ]
        assert data.problems == ()

    def test_several_files_of_any_name(self, tmp_path: Path) -> None:
        for name in ("train", "val"):
            put(tmp_path, xml(image("", f"{name}.png")), f"images/{name}.png", name=f"{name}.xml")
        assert [s.meta["split"] for s in read(tmp_path)] == ["train", "val"]
        assert [s.meta["split"] for s in read(tmp_path / "train.xml")] == [None]

    def test_folders_that_are_splits(self, tmp_path: Path) -> None:
        for name in ("train", "val"):
            put(tmp_path / name, xml(image("", "same.png")), "same.png")
        data = read(tmp_path)
        assert [(s.meta["split"], s.path.parent.name) for s in data] == [("train", "train"), ("val", "val")]

    def test_the_zip_as_cvat_gives_it(self, tmp_path: Path) -> None:
        put(tmp_path / "task", xml(image('<tag label="night"/>')), "images/a.png")
        data = read(shutil.make_archive(str(tmp_path / "task"), "zip", tmp_path / "task"))
        assert np.array_equal(data[0].image, picture(0, SIZE)) and data[0].meta["tags"] == {"night": True}

    def test_a_job_as_owner(self, tmp_path: Path) -> None:
        put(tmp_path, xml(image(""), owner="job"), "a.png")
        assert read(tmp_path).labels.names == ("background", "car", "人 & co")


def box(frame: int, x: float = 0, more: str = "", outside: int = 0) -> str:
    return (
        f'<box frame="{frame}" outside="{outside}" occluded="0" keyframe="1" '
        f'xtl="{x}" ytl="0" xbr="{x + 4}" ybr="4" z_order="0" {more}></box>'
    )


def track(shapes: str, number: int = 0, label: str = "car", more: str = "") -> str:
    return f'<track id="{number}" label="{label}" {more}>{shapes}</track>'


META = (
    "<start_frame>{}</start_frame><stop_frame>{}</stop_frame><frame_filter>{}</frame_filter>"
    "<original_size><width>30</width><height>20</height></original_size>"
)


def places(data: Any) -> dict[str, list[float]]:
    """The left sides of the boxes in every frame."""
    return {sample.name: [shape.geometry.x0 for shape in sample.shapes] for sample in data}


class TestVideo:
    def test_frames_are_those_of_the_source(self, tmp_path: Path) -> None:
        body = track(box(10, 1) + box(13, 2) + box(16, 3, outside=1), 4)
        names = [f"images/frame_{n:06}.png" for n in (10, 13, 16, 19)]
        put(tmp_path, xml(body, META.format(10, 19, "step=3")), *names)
        data = read(tmp_path)
        assert places(data) == {
            "frame_000010": [1],
            "frame_000013": [2],
            "frame_000016": [],
            "frame_000019": [],
        }
        assert data.problems == () and data[0].shapes[0].track == 4
        assert data[0].instances.max() == 5 and data[0].path.name == "frame_000010.png"

    def test_sparse_keyframes(self, tmp_path: Path) -> None:
        """In between a straight line, after the last one until the end of the task."""
        body = track(box(0, 0) + box(4, 8)) + track(box(1, 20) + box(3, 20, outside=1), 1)
        put(tmp_path, xml(body, META.format(0, 5, "")))
        data = read(tmp_path)
        [ending] = [problem for problem in data.problems if problem.code == "open_track"]
        assert ending.files == ("annotations.xml: track 0",)
        assert places(data) == {
            "frame_000000": [0],
            "frame_000001": [2, 20],
            "frame_000002": [4, 20],
            "frame_000003": [6],
            "frame_000004": [8],
            "frame_000005": [8],
        }

    def test_frames_that_are_not_there_are_not_guessed(self, tmp_path: Path) -> None:
        names = [f"images/frame_{n:06}.png" for n in (0, 2)]
        put(tmp_path, xml(track(box(0, 0) + box(2, 8)), META.format(0, 4, "")), *names)
        assert places(read(tmp_path)) == {"frame_000000": [0], "frame_000002": [8]}

    def test_outlines_with_other_corners_are_held(self, tmp_path: Path) -> None:
        outlines = {0: "0,0;4,0;4,4", 2: "2,0;6,0;6,4", 4: "0,0;9,0;9,9;0,9"}
        shapes = "".join(f'<polygon frame="{n}" outside="0" points="{p}"/>' for n, p in outlines.items())
        put(tmp_path, xml(track(shapes), META.format(0, 4, "")))
        corners = [s.shapes[0].geometry.rings[0].exterior.tolist() for s in read(tmp_path)]
        assert corners[1] == [[1, 0], [5, 0], [5, 4]]
        assert corners[3] == corners[2] == [[2, 0], [6, 0], [6, 4]]
        assert len(corners[4]) == 4

    def test_angles_take_the_shorter_way(self, tmp_path: Path) -> None:
        body = track(box(0, 0, 'rotation="350"') + box(2, 0, 'rotation="10"'))
        put(tmp_path, xml(body, META.format(0, 2, "")))
        assert read(tmp_path)[1].shapes[0].geometry.angle % 360 == 0

    def test_a_mask_in_a_track(self, tmp_path: Path) -> None:
        shapes = '<mask frame="0" outside="0" rle="0, 6" left="2" top="1" width="3" height="2"/>'
        gone = '<mask frame="2" outside="1"/>'
        put(tmp_path, xml(track(shapes + gone), META.format(0, 3, "")))
        data = read(tmp_path)
        assert data.problems[0].code == "missing_image" and len(data.problems) == 1
        assert [int((s.mask == 1).sum()) for s in data] == [6, 6, 0]

    def test_a_skeleton_that_leaves(self, tmp_path: Path) -> None:
        joint = '<points label="1" outside="{}" points="{},2"/>'
        shapes = "".join(f'<skeleton frame="{n}">{joint.format(n // 2, n)}</skeleton>' for n in (0, 2))
        put(tmp_path, xml(track(shapes), META.format(0, 3, "")))
        places = [[shape.geometry.points.tolist() for shape in sample.shapes] for sample in read(tmp_path)]
        assert places == [[[[0, 2]]], [[[0, 2]]], []]

    def test_frames_of_a_video_file(self, tmp_path: Path) -> None:
        frames = [np.full((32, 48, 3), 40 * n, np.uint8) for n in range(5)]
        write_video(tmp_path / "clip.avi", frames)
        put(tmp_path, xml(track(box(1) + box(3, outside=1)), META.format(0, 4, "")))
        data = read(tmp_path)
        assert [sample.meta["frame"] for sample in data] == [0, 1, 2, 3, 4]
        assert [len(sample.shapes) for sample in data] == [0, 1, 1, 0, 0]
        assert np.array_equal(data[3].image, read_frame(tmp_path / "clip.avi", 3))

    def test_images_with_names_of_their_own(self, tmp_path: Path) -> None:
        put(
            tmp_path, xml(track(box(0, 0) + box(1, 5)), META.format(0, 1, "")), "images/x.png", "images/b.png"
        )
        data = read(tmp_path)
        assert places(data) == {"b": [0], "x": [5]} and "order of the names" in codes(data)["frames_by_order"]

    def test_frames_outside_of_the_task(self, tmp_path: Path) -> None:
        put(tmp_path, xml(track(box(0) + box(2, outside=1)), META.format(10, 19, "step=3")))
        data = read(tmp_path)
        assert list(places(data)) == ["frame_000000", "frame_000001", "frame_000002"]
        assert "frames that the task does not have" in codes(data)["odd_frames"]

    def test_a_bad_frame_of_a_track(self, tmp_path: Path) -> None:
        bad = '<box frame="1" outside="0" xtl="x" ytl="0" xbr="1" ybr="1"/><box frame="-1"/><box/>'
        put(tmp_path, xml(track(box(0) + bad), META.format(0, 1, "")))
        data = read(tmp_path)
        assert codes(data)["bad_shape"] == "shapes that cannot be read, left out: 3"
        assert len(data[0].shapes) == 1

    def test_a_frame_twice(self, tmp_path: Path) -> None:
        put(tmp_path, xml(track(box(0, 1) + box(0, 5)), META.format(0, 0, "")))
        data = read(tmp_path)
        assert places(data) == {"frame_000000": [5]} and "repeated_frame" in codes(data)

    def test_numbers_of_tracks_are_distinct(self, tmp_path: Path) -> None:
        body = track(box(0), 3) + track(box(0), 3) + track(box(0)).replace('id="0"', 'id="x"')
        put(tmp_path, xml(body, META.format(0, 0, "")))
        assert [shape.track for shape in read(tmp_path)[0].shapes] == [3, 0, 1]

    def test_tracks_of_two_tasks(self, tmp_path: Path) -> None:
        tasks = "".join(
            f"<task><id>{n}</id><subset>{split}</subset>{META.format(0, 0, '')}</task>"
            for n, split in ((7, "train"), (8, "test"))
        )
        body = track(box(0, 1), 0, more='task_id="8"') + track(box(0, 2), 1, more='task_id="7"')
        put(tmp_path, xml(body, f"<tasks>{tasks}</tasks>", owner="project"))
        data = read(tmp_path)
        assert [(s.meta["split"], s.shapes[0].geometry.x0) for s in data] == [("train", 2), ("test", 1)]


def dataset(root: Path, images: dict[str, list[Shape]], **more: Any) -> Dataset[Sample]:
    records = []
    for seed, (name, shapes) in enumerate(images.items()):
        write_image(root / name, picture(seed, SIZE))
        records.append(AnnotatedImage(name, root / "x.xml", *SIZE, shapes, root / name, **more))
    return to_dataset(Document(records), root, LabelMap(("background", "car", "人 & co")))


def facts(sample: Sample) -> list[Any]:
    return [
        (s.label, s.kind, s.z, s.group, s.track, s.occluded, s.attributes)
        for s in sorted(sample.shapes or (), key=lambda s: (s.z, s.track or 0))
    ]


CORNERS = np.array([(1.25, 2.125), (9, 3), (4, 9)])
VALUES = {"a": True, "b": 3, "c": 2.5, "d": "<&> \u00fc", "e": "007", "f": ""}


class TestWriting:
    def test_everything_comes_back(self, tmp_path: Path) -> None:
        shapes = [
            Shape("car", Polygon.of(CORNERS), z=3, group=4, attributes=VALUES),
            Shape("car", Box(10, 2, 15.5, 7, angle=12.5), z=-1, group=4, occluded=True),
            Shape("人 & co", Ellipse(20, 12, 5, 3, angle=-30.25)),
            Shape("人 & co", Polyline(CORNERS)),
            Shape("car", Points(CORNERS)),
        ]
        tags = {"night": True, "weather": {"rain": "heavy", "wind": 3}, "caption": "a <b>"}
        before = dataset(tmp_path / "in", {"a b/c.png": shapes}, tags=tags, split="val")
        report = write(before, tmp_path / "out", "cvat")
        after = read(tmp_path / "out")
        assert report.losses == {} and after.problems == ()
        assert (after.labels, after.splits) == (before.labels, ("val",))
        assert facts(after[0]) == facts(before[0]) and after[0].meta["tags"] == tags
        assert np.array_equal(after[0].mask, before[0].mask)
        assert np.array_equal(after[0].image, before[0].image)

    def test_a_hole_becomes_a_mask(self, tmp_path: Path) -> None:
        mask = np.ones(SIZE, np.uint8)
        mask[5:9, 5:9] = 0
        sample = Sample(picture(0, SIZE), mask, meta={"name": "a"})
        data = Dataset([sample], lambda s: s, LabelMap(("background", "car")))
        report = write(data, tmp_path / "out", "cvat")
        assert report.losses == {"polygon with holes written as pixels": 1}
        [element] = fromstring((tmp_path / "out" / "annotations.xml").read_text()).iter("mask")
        runs = [int(run) for run in element.get("rle", "").split(",")]
        assert runs[:3] == [0, 5 * 30 + 5, 4] and sum(runs) == 600
        assert np.array_equal(read(tmp_path / "out")[0].mask, mask)

    def test_ignored_pixels_stay_ignored(self, tmp_path: Path) -> None:
        mask = np.zeros(SIZE, np.uint8)
        mask[:4], mask[10:] = 1, 255
        sample = Sample(picture(0, SIZE), mask, meta={"name": "a"})
        data = Dataset([sample], lambda s: s, LabelMap(("background", "car")))
        assert write(data, tmp_path / "out", "cvat").losses == {}
        after = read(tmp_path / "out")
        assert after.labels.names == ("background", "car") and np.array_equal(after[0].mask, mask)

    def test_group_0_is_a_group(self, tmp_path: Path) -> None:
        shapes = [Shape("car", Box(0, 0, 4, 4), group=0), Shape("car", Box(9, 0, 12, 4), group=0)]
        shapes.append(Shape("car", Box(20, 0, 24, 4)))
        write(dataset(tmp_path / "in", {"a.png": shapes}), tmp_path / "out", "cvat")
        assert [shape.group for shape in read(tmp_path / "out")[0].shapes] == [1, 1, None]

    def test_text_that_xml_cannot_hold(self, tmp_path: Path) -> None:
        shapes = [Shape("car", Box(0, 0, 4, 4), attributes={"a\x00": "b\x07\ud800c"})]
        write(dataset(tmp_path / "in", {"a.png": shapes}), tmp_path / "out", "cvat")
        assert read(tmp_path / "out")[0].shapes[0].attributes == {"a": "bc"}

    def test_tracks(self, tmp_path: Path) -> None:
        one = [Shape("car", Box(x, 0, x + 4, 4), track=7, z=x, attributes={"n": x}) for x in (0, 3, 9)]
        two = Shape("人 & co", Polygon.of(CORNERS), track=2, occluded=True, group=5)
        frames = {0: [one[0], two], 3: [one[1]], 6: [], 9: [one[2], two]}
        before = dataset(tmp_path / "in", {f"frame_{n:06}.png": shapes for n, shapes in frames.items()})
        report = write(before, tmp_path / "out", "cvat")
        text = (tmp_path / "out" / "annotations.xml").read_text()
        assert "<image" not in text and "<frame_filter>step=3</frame_filter>" in text
        after = read(tmp_path / "out")
        assert report.losses == {} and after.problems == ()
        for first, second in zip(before, after, strict=True):
            assert (facts(first), first.name) == (facts(second), second.name)
            assert np.array_equal(first.mask, second.mask)
            assert np.array_equal(first.instances, second.instances)

    def test_tracks_without_images(self, tmp_path: Path) -> None:
        frames = [[Shape("car", Box(x, 0, x + 4, 4), track=0)] for x in (0, 3)]
        before = dataset(tmp_path / "in", {f"frame_{n:06}.png": s for n, s in enumerate(frames)})
        write(before, tmp_path / "out", "cvat", images="none")
        assert places(read(tmp_path / "out")) == {"frame_000000": [0], "frame_000001": [3]}

    def test_tracks_on_images_of_other_names(self, tmp_path: Path) -> None:
        images = {
            name: [Shape("car", Box(x, 0, x + 4, 4), track=0)] for name, x in (("b.png", 1), ("a.png", 5))
        }
        write(dataset(tmp_path / "in", images), tmp_path / "out", "cvat")
        assert places(read(tmp_path / "out")) == {"a": [5], "b": [1]}

    def test_tracks_with_splits_become_attributes(self, tmp_path: Path) -> None:
        shapes = [Shape("car", Box(0, 0, 4, 4), track=3, attributes={"n": 1}), Shape("car", Box(9, 0, 12, 4))]
        before = dataset(tmp_path / "in", {"a.png": shapes}, split="train")
        write(before, tmp_path / "out", "cvat")
        after = read(tmp_path / "out")
        assert after.splits == ("train",) and facts(after[0]) == facts(before[0])

    def test_parts_of_one_track_become_a_mask(self, tmp_path: Path) -> None:
        parts = [Shape("car", Box(0, 0, 4, 4), track=3), Shape("car", Box(9, 0, 12, 4), track=3)]
        whole = [Shape("car", Box(0, 0, 4, 4), track=3)]
        before = dataset(tmp_path / "in", {"frame_000000.png": parts, "frame_000001.png": whole})
        write(before, tmp_path / "out", "cvat")
        after = read(tmp_path / "out")
        assert [[(s.kind, s.track) for s in sample.shapes] for sample in after] == [[("bitmap", 3)]] * 2
        assert all(np.array_equal(a.instances, b.instances) for a, b in zip(before, after, strict=True))

    def test_the_order_of_a_frame_survives(self, tmp_path: Path) -> None:
        a, b = Shape("car", Box(0, 0, 9, 9), track=0), Shape("人 & co", Box(4, 4, 12, 12), track=1)
        before = dataset(tmp_path / "in", {"frame_000000.png": [a, b], "frame_000001.png": [b, a]})
        write(before, tmp_path / "out", "cvat")
        after = read(tmp_path / "out")
        assert all(np.array_equal(x.mask, y.mask) for x, y in zip(before, after, strict=True))


# Damage

JOINTS = '<points label="1" outside="0" points="1,2"/><attribute name="wheels">2</attribute>'
VALID = xml(
    image(
        '<polygon label="car" source="manual" occluded="0" points="1,2;8,3;4,9" z_order="1" group_id="2"/>'
        '<mask label="car" rle="1, 2, 3" left="2" top="3" width="4" height="2" z_order="0"/>'
        '<ellipse label="car" cx="4" cy="4" rx="2" ry="1" rotation="20"/><tag label="night"/>'
        f'<skeleton label="car">{JOINTS}</skeleton>',
        more='subset="Train"',
    )
    + track(box(2) + box(4, 3) + box(6, outside=1), 3, more='group_id="2" task_id="1"'),
    "<id>1</id><size>9</size>" + META.format(0, 8, "step=2"),
)
NODES = list(fromstring(VALID).iter())
JUNK = st.sampled_from(
    ["", "-1", "0", "1e309", "nan", "x" * 40, "1,2;3", "\ud7ff", "12", "0, 1", "../..", "1e6"]
)


def opened(path: Path) -> None:
    """Whatever is in a file: a data set, or one sentence that names the file."""
    try:
        for sample in read(path, format="cvat"):
            assert sample.mask is not None and sample.instances is not None
    except PixelwiseError as error:
        assert path.name in str(error) or "is not in the folder" in str(error)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, len(NODES) - 1), st.integers(0, 20), JUNK)
def test_wrong_values_anywhere(tmp_path: Path, node: int, place: int, junk: str) -> None:
    tree = fromstring(VALID)
    element = [*tree.iter()][node]
    names = [*element.attrib, "text", "tag"]
    name = names[place % len(names)]
    if name == "text":
        element.text = junk
    elif name == "tag":
        element.tag = "polygon" if element.tag != "polygon" else "box"
    else:
        element.attrib[name] = junk
    opened(put(tmp_path, tostring(tree, encoding="unicode")))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, len(NODES) - 1), st.integers(0, len(NODES) - 1))
def test_elements_that_moved(tmp_path: Path, moved: int, into: int) -> None:
    tree = fromstring(VALID)
    nodes: list[Element] = [*tree.iter()]
    nodes[into].append(copy.deepcopy(nodes[moved]))
    opened(put(tmp_path, tostring(tree, encoding="unicode")))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=4), st.integers(0, 10**6))
@example([(3, 0)], 10**5)
def test_damaged_bytes(tmp_path: Path, flips: list[tuple[int, int]], length: int) -> None:
    data = bytearray(VALID.encode())
    for at, value in flips:
        data[at % len(data)] = value
    path = tmp_path / "annotations.xml"
    path.write_bytes(data[: length % (2 * len(data)) + 1])
    opened(path)
