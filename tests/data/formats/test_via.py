"""VIA of versions 1, 2 and 3, on generated look-alikes of each kind of file."""

from __future__ import annotations

import base64
import copy
import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from pixelwise.data import read
from pixelwise.data.annotations import AnnotatedImage, Document, to_dataset
from pixelwise.data.formats import via
from pixelwise.data.write import write
from pixelwise.errors import DataError, PixelwiseError
from pixelwise.io import write_image
from pixelwise.io.video import read_frame, write_video
from pixelwise.labels import LabelMap
from pixelwise.sample import Dataset, Sample
from pixelwise.shapes import Bitmap, Box, Ellipse, Points, Polygon, Polyline, Ring, Shape
from tests.data.folders import picture

SIZE = 20, 30  # height, width
RECT = {"name": "rect", "x": 2, "y": 3, "width": 5, "height": 4}
SHAPES: dict[str, tuple[dict[str, Any], Any]] = {
    "rect": (RECT, Box(2, 3, 7, 7)),
    "circle": ({"name": "circle", "cx": 9.5, "cy": 8, "r": 3}, Ellipse(9.5, 8, 3, 3)),
    "old ellipse": ({"name": "ellipse", "cx": 9, "cy": 8, "rx": 4, "ry": 2}, Ellipse(9, 8, 4, 2)),
    "ellipse": (
        {"name": "ellipse", "cx": 9, "cy": 8, "rx": 4, "ry": 2, "theta": math.pi / 6},
        Ellipse(9, 8, 4, 2, pytest.approx(30)),
    ),
}
X, Y = [1, 9, 5.5], [2, 3, 9]


def region(shape: Any = RECT, **attributes: Any) -> dict[str, Any]:
    return {"shape_attributes": shape, "region_attributes": attributes}


def record(*regions: Any, name: str = "a.png", **tags: Any) -> dict[str, Any]:
    return {"filename": name, "size": 123, "regions": list(regions), "file_attributes": tags}


def annotations(*records: dict[str, Any]) -> dict[str, Any]:
    return {f"{r['filename']}{r['size']}": r for r in records}


def project(
    *records: dict[str, Any], region: Any = None, prefix: str = "", shown: str = ""
) -> dict[str, Any]:
    return {
        "_via_settings": {
            "ui": {"image": {"region_label": shown or "__via_region_id__"}},
            "core": {"default_filepath": prefix},
            "project": {"name": "p"},
        },
        "_via_img_metadata": annotations(*records),
        "_via_attributes": {"region": region or {}, "file": {}},
        "_via_data_format_version": "2.0.10",
        "_via_image_id_list": [*annotations(*records)],
    }


def table(*records: dict[str, Any], hash_first: bool = False) -> str:
    """A CSV as VIA writes it: JSON in cells, each with its quotes doubled."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    begin = "#filename" if hash_first else "filename"
    head = "file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes"
    writer.writerow([begin, *head.split(",")])
    for r in records:
        for number, place in enumerate(r["regions"] or [{"shape_attributes": {}, "region_attributes": {}}]):
            cells = (json.dumps(place[key]) for key in ("shape_attributes", "region_attributes"))
            tags = json.dumps(r["file_attributes"])
            writer.writerow([r["filename"], r["size"], tags, len(r["regions"]), number, *cells])
    return out.getvalue()


OPTIONS = {"c": "car", "人": "Straße", "x": ""}


def version_3(*metadata: dict[str, Any], **file: Any) -> dict[str, Any]:
    files = {"fid": 1, "fname": "a.png", "type": 2, "loc": 1, "src": ""} | file
    return {
        "project": {"pid": "p", "pname": "p", "data_format_version": "3.1.1", "vid_list": ["1"]},
        "config": {
            "file": {"loc_prefix": {"1": "", "2": "", "3": "", "4": ""}},
            "ui": {"spatial_region_label_attribute_id": "1"},
        },
        "attribute": {
            "1": {"aname": "Class", "anchor_id": "FILE1_Z0_XY1", "type": 3, "options": OPTIONS},
            "2": {
                "aname": "state",
                "anchor_id": "FILE1_Z0_XY1",
                "type": 2,
                "options": {"w": "wet", "d": "dark"},
            },
            "3": {"aname": "note", "anchor_id": "FILE1_Z0_XY0", "type": 1, "options": {}},
        },
        "file": {"1": files},
        "view": {"1": {"fid_list": [1]}},
        "metadata": {f"1_{n}": {"vid": "1", "flg": 0, "z": []} | m for n, m in enumerate(metadata)},
    }


def put(root: Path, content: Any, name: str = "via.json", images: tuple[str, ...] = ("a.png",)) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    for seed, image in enumerate(images):
        write_image(root / image, picture(seed, SIZE))
    return path


def codes(data: Any) -> dict[str, str]:
    return {problem.code: problem.message for problem in data.problems}


def drawn(data: Any) -> list[Any]:
    return [(shape.label, shape.kind, shape.attributes) for shape in data[0].shapes]


class TestBadInput:
    def test_truncated(self, tmp_path: Path) -> None:
        put(tmp_path, json.dumps(annotations(record(region(label="car"))))[:-9])
        with pytest.raises(DataError, match=r"via\.json: not valid JSON"):
            read(tmp_path)

    def test_not_utf_8(self, tmp_path: Path) -> None:
        path = put(tmp_path, "")
        path.write_bytes(table(record(region(label="car"))).replace("car", "Straße").encode("latin-1"))
        path = path.rename(tmp_path / "via.csv")
        path.write_bytes('filename,region_shape_attributes,region_attributes\nü,"{}","{}"'.encode("latin-1"))
        with pytest.raises(DataError, match=r"via\.csv: not UTF-8 text"):
            read(path, format="via")

    @pytest.mark.parametrize(
        "other",
        [
            {"images": [], "annotations": [], "categories": []},
            {"version": "5.0", "shapes": [], "imagePath": "a.png"},
            [{"ID": "a", "Labeled Data": "a.png", "Label": {}}],
            {},
            [],
            7,
        ],
    )
    def test_json_of_something_else(self, tmp_path: Path, other: Any) -> None:
        path = put(tmp_path, other)
        assert not via.recognise(tmp_path)
        with pytest.raises(DataError, match=r"via\.json: expected a project or annotations of VIA"):
            read(path, format="via")

    def test_a_csv_of_something_else(self, tmp_path: Path) -> None:
        path = put(tmp_path, "filename,x,y\na.png,1,2\n", "a.csv")
        assert not via.recognise(tmp_path)
        with pytest.raises(
            DataError, match=r"a\.csv: expected the columns filename, .* found filename, x, y"
        ):
            read(path, format="via")

    def test_nothing_there(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="holds no file of VIA; save the project"):
            read(tmp_path, format="via")

    @pytest.mark.parametrize(
        ("shape", "words"),
        [
            (RECT | {"x": math.nan}, "not a number of pixels"),
            (RECT | {"x": 1e30}, "not a number of pixels"),
            (RECT | {"x": [1, 2]}, "expected"),
            ({"name": "rect", "x": 1}, "not a number of pixels"),
            ({"name": "circle", "cx": 1, "cy": 1, "r": -2}, "radii of 0 or more"),
            (
                {"name": "polygon", "all_points_x": [1, 2], "all_points_y": [1, 2]},
                "at least 3 numbers, found 2",
            ),
            ({"name": "polygon", "all_points_x": [1, 2, 3], "all_points_y": [1, 2, 3, 4]}, "found 3 and 4"),
            ({"name": "polygon", "all_points_x": "abc", "all_points_y": None}, "expected numbers"),
            ({"name": "polyline", "all_points_x": [1], "all_points_y": [1]}, "at least 2 numbers"),
            ({"name": "ellipse", "cx": 1, "cy": 1, "rx": 2, "ry": 2, "theta": [1, 2]}, "one number each"),
        ],
    )
    def test_one_bad_region_is_left_out(self, tmp_path: Path, shape: Any, words: str) -> None:
        put(tmp_path, annotations(record(region(label="car"), region(shape, label="car"))))
        data = read(tmp_path)
        [problem] = data.problems
        assert (problem.code, problem.message) == ("bad_shape", "regions that cannot be read, left out: 1")
        assert problem.files[0].startswith("via.json: a.png123, region 1") and words in problem.files[0]
        assert len(data[0].shapes) == 1

    def test_unknown_kinds_are_counted(self, tmp_path: Path) -> None:
        strange = [region({"name": "spline"}, label="car"), region({}, label="car"), region(7, label="car")]
        put(tmp_path, annotations(record(region(label="car"), *strange, "x")))
        messages = [problem.message for problem in read(tmp_path).problems]
        assert messages == [
            "regions of the unknown kind 'spline', left out: 1",
            "regions of the unknown kind 'None', left out: 2",
            "regions that cannot be read, left out: 1",
        ]

    def test_a_name_that_leads_elsewhere(self, tmp_path: Path) -> None:
        put(tmp_path, "", "x.txt")
        put(tmp_path / "in", annotations(record(region(label="car"), name="../a.png")), images=())
        data = read(tmp_path / "in")
        assert data[0].path is None and "missing_image" in codes(data)

    def test_a_missing_image(self, tmp_path: Path) -> None:
        put(tmp_path, annotations(record(region(label="car"))), images=())
        data = read(tmp_path)
        assert drawn(data) == [("car", "box", {})]
        with pytest.raises(DataError, match=r"the image a\.png is not in the folder"):
            _ = data[0].mask

    def test_an_image_twice(self, tmp_path: Path) -> None:
        first, second = record(region(label="car")), record(region(label="car")) | {"size": 4}
        put(tmp_path, annotations(first, second))
        data = read(tmp_path)
        assert len(data) == 2 and "annotated more than once" in codes(data)["repeated_image"]

    def test_records_without_a_name(self, tmp_path: Path) -> None:
        good = annotations(record(region(label="car")))
        put(tmp_path, good | {"x": {"regions": []}, "y": 3, "z": record(name=" ")})
        data = read(tmp_path)
        assert len(data) == 1 and codes(data)["bad_record"] == "records without a file name, left out: 3"

    def test_rows_that_are_damaged(self, tmp_path: Path) -> None:
        rows = [
            'a.png,1,"{}",1,0,"{","{}"',
            "a.png,1",
            ',1,"{}",1,0,"{}","{}"',
            'a.png,1,"[]",1,0,"{}","{}"',
        ]
        put(tmp_path, table(record(region(label="car"))) + "\n".join(rows), "via.csv")
        data = read(tmp_path)
        assert codes(data) == {
            "bad_shape": "regions that cannot be read, left out: 3",
            "bad_record": "records without a file name, left out: 1",
        }
        assert drawn(data) == [("car", "box", {})]

    def test_one_bad_file_of_two(self, tmp_path: Path) -> None:
        put(tmp_path, annotations(record(region(label="car"))))
        put(tmp_path, '_via_dp = {"project": ', "other.js")
        data = read(tmp_path)
        [problem] = data.problems
        assert (problem.level, problem.code, len(data)) == ("error", "unreadable_file", 1)
        assert "other.js: not valid JSON" in problem.files[0]


class TestLabel:
    def test_the_only_key(self, tmp_path: Path) -> None:
        put(tmp_path, annotations(record(region(Info="Date"), region(Info="Total"))))
        data = read(tmp_path)
        assert data.labels.names == ("background", "Date", "Total")

    @pytest.mark.parametrize(
        ("attributes", "label"),
        [
            ({"type": "big", "Label": "car"}, "car"),
            ({"category": "b", "type": "c"}, "c"),
            ({"quality": {"good": True}, "name": "dog"}, "dog"),
        ],
    )
    def test_usual_keys(self, tmp_path: Path, attributes: dict[str, Any], label: str) -> None:
        put(tmp_path, annotations(record(region(**attributes))))
        assert read(tmp_path)[0].shapes[0].label == label

    def test_the_key_that_the_project_shows(self, tmp_path: Path) -> None:
        put(tmp_path, project(record(region(kind="car", name="Tom")), shown="kind"))
        assert drawn(read(tmp_path)) == [("car", "box", {"name": "Tom"})]

    def test_it_is_not_clear(self, tmp_path: Path) -> None:
        path = put(tmp_path, annotations(record(region(colour="red", size="big"))))
        with pytest.raises(
            DataError, match=r"attributes found: colour, size \(choose one with --label-key\)"
        ):
            read(path)
        assert drawn(read(path, label_key="size")) == [("big", "box", {"colour": "red"})]

    def test_an_unknown_key(self, tmp_path: Path) -> None:
        path = put(tmp_path, annotations(record(region(colour="red"))))
        with pytest.raises(
            DataError, match=r"no region has the attribute 'color'; attributes found: colour "
        ):
            read(path, label_key="color")

    def test_no_attributes_at_all(self, tmp_path: Path) -> None:
        put(tmp_path, annotations(record(region(), region())))
        data = read(tmp_path)
        assert data.labels.names == ("background", "object")
        assert codes(data)["no_attributes"].endswith("read as the class 'object': 2")
        assert read(tmp_path, mapping={"object": "balloon"}).labels.names == ("background", "balloon")

    def test_a_region_without_it(self, tmp_path: Path) -> None:
        put(tmp_path, annotations(record(region(label="car"), region(RECT | {"x": 20}))))
        data = read(tmp_path)
        assert codes(data) == {
            "no_label": "regions without the attribute 'label', whose pixels are ignored: 1"
        }
        assert int((data[0].mask == 255).sum()) == 20

    def test_options_are_put_into_words(self, tmp_path: Path) -> None:
        declared = {
            "class": {"type": "dropdown", "options": OPTIONS},
            "free": {"type": "text", "options": {"c": "not this"}},
        }
        regions = [region(**{"class": key}, free="c") for key in ("x", "人", "new")]
        put(tmp_path, project(record(*regions), region=declared))
        data = read(tmp_path)
        assert [label for label, _, _ in drawn(data)] == ["x", "Straße", "new"]
        assert data.labels.names == ("background", "car", "Straße", "x", "new")
        assert drawn(data)[0][2] == {"free": "c"}

    def test_several_options_are_joined(self, tmp_path: Path) -> None:
        declared = {"state": {"type": "checkbox", "options": {"w": "wet", "d": "dark"}}}
        states = ({"w": True}, {"d": True, "w": True}, {"w": False})
        put(tmp_path, project(record(*(region(state=state) for state in states)), region=declared))
        data = read(tmp_path)
        assert [label for label, _, _ in drawn(data)] == ["wet", "dark+wet", "ignore"]
        assert data.labels.names == ("background", "wet", "dark", "dark+wet")

    def test_attributes_exported_on_their_own(self, tmp_path: Path) -> None:
        put(
            tmp_path,
            {"region": {"who": {"type": "radio", "options": {"bc": "Benedict"}}}, "file": {}},
            "z.json",
        )
        assert not via.recognise(tmp_path)
        put(tmp_path, annotations(record(region(who="bc"))))
        assert drawn(read(tmp_path)) == [("Benedict", "box", {})]

    def test_numbers(self, tmp_path: Path) -> None:
        put(tmp_path, annotations(record(region(track=320), region(track=7.0))))
        assert [label for label, _, _ in drawn(read(tmp_path))] == ["320", "7"]


class TestVersions1And2:
    @pytest.mark.parametrize("kind", SHAPES)
    def test_shapes(self, tmp_path: Path, kind: str) -> None:
        shape, expected = SHAPES[kind]
        put(tmp_path, annotations(record(region(shape, label="car"))))
        found = read(tmp_path)[0].shapes[0].geometry
        assert {name: getattr(found, name) for name in expected.__slots__} == {
            name: getattr(expected, name) for name in expected.__slots__
        }

    def test_outlines_and_points(self, tmp_path: Path) -> None:
        outline = {"all_points_x": X, "all_points_y": Y}
        shapes = [
            {"name": "polygon"} | outline,
            {"name": "polyline"} | outline,
            {"name": "point", "cx": 4, "cy": 5},
        ]
        put(tmp_path, annotations(record(*(region(shape, label="car") for shape in shapes))))
        polygon, line, point = (shape.geometry for shape in read(tmp_path)[0].shapes)
        assert polygon.rings[0].exterior.tolist() == line.points.tolist() == [[1, 2], [9, 3], [5.5, 9]]
        assert point.points.tolist() == [[4, 5]]

    def test_version_1(self, tmp_path: Path) -> None:
        """Regions in an object, numbers as text, the first corner again at the end, the picture inside."""
        closed = {"name": "polygon", "all_points_x": ["1", "9", "5", "1"], "all_points_y": [2, 3, 9, 2]}
        file = io.BytesIO()
        Image.fromarray(picture(5, SIZE)).save(file, "PNG")
        first = record(name="a.png") | {
            "regions": {"0": region(closed, label="car"), "1": region(RECT | {"x": "12"}, label="van")},
            "fileref": "",
            "base64_img_data": "data:image/png;base64," + base64.b64encode(file.getvalue()).decode(),
        }
        put(tmp_path, annotations(first), images=())
        data = read(tmp_path)
        assert data.problems == () and np.array_equal(data[0].image, picture(5, SIZE))
        assert data[0].shapes[0].geometry.rings[0].exterior.tolist() == [[1, 2], [9, 3], [5, 9]]
        assert int((data[0].mask == data.labels.index("van")).sum()) == 20

    def test_an_embedded_image_that_is_damaged(self, tmp_path: Path) -> None:
        put(
            tmp_path,
            annotations(record() | {"base64_img_data": "é", "regions": {"0": region(a="b")}}),
            images=(),
        )
        assert "bad_picture" in codes(read(tmp_path))

    def test_a_prefix(self, tmp_path: Path) -> None:
        put(tmp_path, project(record(region(a="b")), prefix="pics/"), images=("pics/a.png", "other/a.png"))
        assert read(tmp_path)[0].path == tmp_path / "pics" / "a.png"

    @pytest.mark.parametrize("name", ["https://host/x/a.png?size=1", "C:\\data\\a.png", "./a.png"])
    def test_names_of_all_sorts(self, tmp_path: Path, name: str) -> None:
        put(tmp_path, annotations(record(region(a="b"), name=name)))
        assert read(tmp_path)[0].path == tmp_path / "a.png"

    def test_an_image_without_regions(self, tmp_path: Path) -> None:
        records = record(region(a="b")), record(name="b.png", caption="", public="no")
        put(tmp_path, annotations(*records), images=("a.png", "b.png"))
        put(tmp_path / "csv", table(*records), "via.csv", images=("a.png", "b.png"))
        for root in (tmp_path / "via.json", tmp_path / "csv"):
            data = read(root)
            assert len(data) == 2 and data.problems == () and data[1].shapes == ()
            assert data[1].meta["tags"] == {"public": "no"} and not data[1].mask.any()

    @pytest.mark.parametrize("hash_first", [True, False])
    def test_json_and_csv_say_the_same(self, tmp_path: Path, hash_first: bool) -> None:
        nasty = "a \"white\" swan, 人; {\\} \n £ 'x'"
        regions = [region(shape, name=nasty + kind, other=nasty) for kind, (shape, _) in SHAPES.items()]
        records = record(*regions, caption=nasty), record(region(name=nasty), name="b.png")
        put(tmp_path, annotations(*records), images=("a.png", "b.png"))
        path = put(tmp_path, table(*records, hash_first=hash_first), "via.csv", images=())
        assert via.recognise(path)
        first, second = read(tmp_path / "via.json"), read(path)
        assert first.labels == second.labels and len(first) == len(second) == 2
        for one, other in zip(first, second, strict=True):
            assert np.array_equal(one.mask, other.mask) and one.meta["tags" if one.name == "a" else "name"]
            assert [s.attributes for s in one.shapes] == [s.attributes for s in other.shapes]
        both = read(tmp_path)
        assert len(both) == 2 and codes(both) == {
            "same_images": "files with images that another file has as well, left out: 1"
        }

    def test_a_csv_from_a_spreadsheet(self, tmp_path: Path) -> None:
        rows = csv.reader(io.StringIO(table(record(region(label="car")))))
        out = io.StringIO()
        csv.writer(out, delimiter=";").writerows(rows)
        put(tmp_path, "\ufeff" + out.getvalue(), "via.csv")
        assert drawn(read(tmp_path)) == [("car", "box", {})]

    def test_a_large_outline_in_a_cell(self, tmp_path: Path) -> None:
        x, y = list(range(30000)), [1.5] * 30000
        outline = {"name": "polygon", "all_points_x": x, "all_points_y": y}
        put(tmp_path, table(record(region(outline, label="car"))), "via.csv")
        assert len(read(tmp_path)[0].shapes[0].geometry.rings[0].exterior) == 30000

    @pytest.mark.parametrize("content", [annotations(record(region(label="car"))), version_3(), project()])
    def test_a_large_file_is_recognised_by_its_beginning(self, tmp_path: Path, content: Any) -> None:
        put(tmp_path, json.dumps(content) + " " * (5 << 20))
        assert via.recognise(tmp_path)

    def test_folders_that_are_splits(self, tmp_path: Path) -> None:
        for name in ("train", "val"):
            put(tmp_path / name, annotations(record(region(label="car"))))
        data = read(tmp_path)
        assert [(s.meta["split"], s.path.parent.name) for s in data] == [("train", "train"), ("val", "val")]


NUMBERED: dict[str, tuple[list[float], Any]] = {
    "rectangle": ([2, 2, 3, 5, 4], Box(2, 3, 7, 7)),
    "circle": ([3, 9, 8, 3], Ellipse(9, 8, 3, 3)),
    "ellipse": ([4, 9, 8, 4, 2], Ellipse(9, 8, 4, 2)),
    "extreme rectangle": ([8, 2, 5, 4, 3, 7, 4, 5, 9], Box(2, 3, 7, 9)),
    "extreme circle": ([9, 6, 8, 9, 11, 12, 8], Ellipse(9, 8, 3, 3)),
}


class TestVersion3:
    @pytest.mark.parametrize("kind", NUMBERED)
    def test_shapes(self, tmp_path: Path, kind: str) -> None:
        xy, expected = NUMBERED[kind]
        put(tmp_path, version_3({"xy": xy, "av": {"1": "c"}}))
        data = read(tmp_path)
        assert data.problems == () and data[0].shapes[0].geometry == expected

    def test_outlines_and_points(self, tmp_path: Path) -> None:
        shapes = [[1, 4, 5], [5, 1, 2, 9, 3], [6, 1, 2, 9, 3, 5, 9], [7, 1, 2, 9, 3, 5, 9]]
        put(tmp_path, version_3(*({"xy": xy, "av": {"1": "c"}} for xy in shapes)))
        point, line, polyline, polygon = (shape.geometry for shape in read(tmp_path)[0].shapes)
        assert point.points.tolist() == [[4, 5]] and line.points.tolist() == [[1, 2], [9, 3]]
        assert polyline.points.tolist() == polygon.rings[0].exterior.tolist() == [[1, 2], [9, 3], [5, 9]]

    def test_attributes(self, tmp_path: Path) -> None:
        put(
            tmp_path,
            version_3(
                {"xy": [2, 0, 0, 4, 4], "av": {"1": "人", "2": "w,d"}},
                {"xy": [2, 9, 0, 4, 4], "av": {"1": "x"}},
                {"xy": [], "av": {"3": "foggy"}},
            ),
        )
        data = read(tmp_path)
        assert drawn(data) == [("Straße", "box", {"state": ["wet", "dark"]}), ("x", "box", {})]
        assert data[0].meta["tags"] == {"note": "foggy"}
        assert data.labels.names == ("background", "car", "Straße", "x")

    def test_saved_as_a_script(self, tmp_path: Path) -> None:
        """Points without a class are ignored, but the classes are known."""
        content = version_3({"xy": [1, 119, 74], "av": {}})
        put(tmp_path, f"_via_dp = {json.dumps(content, indent=2)}", "via_debug_project.js")
        data = read(tmp_path)
        assert data.labels.names == ("background", "car", "Straße", "x")
        assert codes(data) == {
            "no_label": "regions without the attribute 'Class', whose pixels are ignored: 1"
        }

    def test_bad_ones(self, tmp_path: Path) -> None:
        bad: list[dict[str, Any]] = [
            {"xy": [2, 1, 2]},
            {"xy": [7, 1, 2, 3, 4, 5, 6, 7]},
            {"xy": [9, 0, 0, 1, 1, 2, 2]},
            {"xy": [77, 1]},
            {"xy": ["x"]},
            {"xy": [1, 2, 3], "vid": "9"},
        ]
        put(tmp_path, version_3({"xy": [2, 0, 0, 4, 4], "av": {"1": "c"}}, *bad))
        data = read(tmp_path)
        assert len(data[0].shapes) == 1
        assert [problem.message for problem in data.problems] == [
            "regions that cannot be read, left out: 3",
            "regions of the unknown kind '77', left out: 1",
            "regions of the unknown kind 'x', left out: 1",
            "records that belong to no file, left out: 1",
        ]

    def test_an_inline_picture(self, tmp_path: Path) -> None:
        file = io.BytesIO()
        Image.fromarray(picture(5, SIZE)).save(file, "PNG")
        source = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
        put(tmp_path, version_3({"xy": [1, 2, 3], "av": {"1": "c"}}, loc=4, src=source), images=())
        assert np.array_equal(read(tmp_path)[0].image, picture(5, SIZE))

    def test_frames_of_a_video(self, tmp_path: Path) -> None:
        frames = [np.full((32, 48, 3), 40 * n, np.uint8) for n in range(5)]
        write_video(tmp_path / "clip.avi", frames, rate=10)
        moments = [{"z": [0.3], "xy": [2, 0, 0, 4, 4], "av": {"1": "c"}}, {"z": [0.1, 0.4], "av": {"3": "x"}}]
        put(tmp_path, version_3(*moments, fname="clip.avi", type=4), images=())
        data = read(tmp_path)
        assert [(s.meta["frame"], len(s.shapes)) for s in data] == [(3, 1)]
        assert np.array_equal(data[0].image, read_frame(tmp_path / "clip.avi", 3))
        assert codes(data) == {
            "time_segment": "descriptions of a stretch of time or of a whole video, left out: 1"
        }

    def test_a_video_that_is_not_there(self, tmp_path: Path) -> None:
        moment = {"z": [0.3], "xy": [2, 0, 0, 4, 4], "av": {"1": "c"}}
        put(tmp_path, version_3(moment, fname="clip.mp4", type=4))
        data = read(tmp_path)
        assert len(data) == 0
        assert codes(data)["missing_video"].endswith("videos that are not in the folder, left out: 1")

    def test_csv(self, tmp_path: Path) -> None:
        attributes = json.dumps(version_3()["attribute"])
        head = f"# Exported using VGG Image Annotator\n# Notes:\n# ATTRIBUTE = {attributes}\n"
        head += (
            "# CSV_HEADER = metadata_id,file_list,flags,temporal_coordinates,spatial_coordinates,metadata\n"
        )
        rows = [
            '"1_a","[""a.png""]",0,"[]","[2,2,3,5,4]","{""1"":""c"",""2"":""w""}"',
            '"1_b","[""a.png""]",0,"[]","[]","{""3"":""foggy, ""}"',
            '"1_c","[""clip.mp4""]",0,"[1.5,2]","[]","{}"',
            '"1_d","[""a.png""]",0,"[]"',
            '"1_e","[]",0,"[]","[]","{}"',
        ]
        path = put(tmp_path, head + "\n".join(rows), "via.csv")
        data = read(path)
        assert drawn(data) == [("car", "box", {"state": ["wet"]})]
        assert len(data) == 1 and data[0].meta["tags"] == {"note": "foggy, "}
        assert set(codes(data)) == {"time_segment", "bad_shape", "bad_record"}


def dataset(root: Path, shapes: list[Shape], labels: LabelMap | None = None, **more: Any) -> Dataset[Sample]:
    write_image(root / "a b" / "c.png", picture(0, SIZE))
    found = AnnotatedImage("a b/c.png", root / "x.json", *SIZE, shapes, root / "a b" / "c.png", **more)
    return to_dataset(Document([found]), root, labels or LabelMap(("background", "car", "人 & co")))


CORNERS = np.array([(1.25, 2.125), (9, 3), (4, 9)])


class TestWriting:
    def test_everything_comes_back(self, tmp_path: Path) -> None:
        values = {"a": True, "b": 3, "c": 2.5, "d": '"<&> \u00fc', "e": "007", "f": ["x", "y"]}
        shapes = [
            Shape("car", Polygon.of(CORNERS), attributes=values),
            Shape("car", Box(10, 2.25, 15.5, 7)),
            Shape("人 & co", Ellipse(20, 12, 5, 3, angle=-30.25)),
            Shape("人 & co", Ellipse(20, 12, 3, 3)),
            Shape("人 & co", Polyline(CORNERS)),
            Shape("car", Points(CORNERS[:1])),
        ]
        before = dataset(tmp_path / "in", shapes, tags={"caption": "x", "night": True, "kinds": ["p"]})
        report = write(before, tmp_path / "out", "via")
        after = read(tmp_path / "out")
        assert report.losses == {} and after.problems == () and after.labels.names == before.labels.names
        assert drawn(after) == drawn(before) and after[0].meta["tags"] == before[0].meta["tags"]
        assert np.array_equal(after[0].mask, before[0].mask)
        assert np.array_equal(after[0].image, before[0].image)

    def test_what_via_opens(self, tmp_path: Path) -> None:
        write(dataset(tmp_path / "in", [Shape("car", Ellipse(9, 8, 4, 4))]), tmp_path / "out", "via")
        written = json.loads((tmp_path / "out" / "via_project.json").read_text(encoding="utf-8"))
        size = (tmp_path / "out" / "images" / "a b" / "c.png").stat().st_size
        key = f"a b/c.png{size}"
        assert written["_via_image_id_list"] == [key] == list(written["_via_img_metadata"])
        assert written["_via_img_metadata"][key] == {
            "filename": "a b/c.png",
            "size": size,
            "regions": [region({"name": "circle", "cx": 9, "cy": 8, "r": 4}, label="car")],
            "file_attributes": {},
        }
        assert written["_via_settings"]["core"]["default_filepath"] == "images/"
        assert written["_via_attributes"]["region"]["label"]["type"] == "dropdown"
        assert list(written["_via_attributes"]["region"]["label"]["options"]) == [
            "background",
            "car",
            "人 & co",
        ]

    def test_an_attribute_called_label(self, tmp_path: Path) -> None:
        shapes = [Shape("car", Box(1, 1, 4, 4), attributes={"label": "mine", "name": "Tom"})]
        before = dataset(tmp_path / "in", shapes)
        write(before, tmp_path / "out", "via")
        assert drawn(read(tmp_path / "out")) == drawn(before)

    def test_text_that_utf_8_cannot_hold(self, tmp_path: Path) -> None:
        shapes = [Shape("car", Box(1, 1, 4, 4), attributes={"note": "a\ud800b\x00"})]
        write(dataset(tmp_path / "in", shapes), tmp_path / "out", "via")
        assert drawn(read(tmp_path / "out")) == [("car", "box", {"note": "a?b\x00"})]

    def test_holes_become_keyholes(self, tmp_path: Path) -> None:
        square = np.array([(0.0, 0), (9, 0), (9, 9), (0, 9)])
        shapes = [Shape("car", Polygon((Ring(square + 2, (square[::-1] / 3 + 5,)),)))]
        before = dataset(tmp_path / "in", shapes)
        report = write(before, tmp_path / "out", "via")
        assert report.losses == {"holes written as keyholes": 1}
        assert np.array_equal(read(tmp_path / "out")[0].mask, before[0].mask)

    def test_what_it_cannot_hold_is_counted(self, tmp_path: Path) -> None:
        pixels = Bitmap(2, 3, 2, 2, np.array([0, 4]))
        shapes = [Shape("car", pixels, track=1, group=2, occluded=True, score=0.5)]
        report = write(dataset(tmp_path / "in", shapes), tmp_path / "out", "via")
        assert set(report.losses) == {
            "bitmap written as polygon",
            "track number not written",
            "group of shapes not written",
            "mark of occlusion not written",
            "score not written",
        }

    def test_ignored_pixels_stay_ignored(self, tmp_path: Path) -> None:
        mask = np.zeros(SIZE, np.uint8)
        mask[:4], mask[10:] = 1, 255
        sample = Sample(picture(0, SIZE), mask, meta={"name": "a"})
        data = Dataset([sample], lambda s: s, LabelMap(("background", "car")))
        write(data, tmp_path / "out", "via")
        after = read(tmp_path / "out")
        assert after.labels.names == ("background", "car") and np.array_equal(after[0].mask, mask)

    def test_without_images(self, tmp_path: Path) -> None:
        write(
            dataset(tmp_path / "in", [Shape("car", Box(1, 1, 4, 4))]), tmp_path / "out", "via", images="none"
        )
        written = json.loads((tmp_path / "out" / "via_project.json").read_text(encoding="utf-8"))
        assert list(written["_via_img_metadata"]) == ["a b/c.png-1"]


# Damage

DECLARED = {
    "label": {"type": "dropdown", "options": OPTIONS},
    "s": {"type": "checkbox", "options": {"w": "wet"}},
}
LINE = {"name": "polyline", "all_points_x": X, "all_points_y": Y}
REGIONS = [region(shape, label="c", s={"w": True}) for shape, _ in SHAPES.values()] + [
    region(LINE, label="x")
]
VALID: dict[str, Any] = {
    "v1": annotations(record(tag="x") | {"regions": {"0": REGIONS[0]}, "base64_img_data": "aGk="}),
    "v2": project(record(*REGIONS, tag="x"), region=DECLARED, prefix="x/"),
    "v3": version_3(
        *({"xy": xy, "av": {"1": "c", "2": "w,d"}} for xy, _ in NUMBERED.values()),
        {"z": [1.5, 2], "xy": [], "av": {"3": "x"}},
    ),
}


def nodes(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of everything in a JSON document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, item in items for found in nodes(item, (*path, key)))]


PLACES = [(kind, path) for kind, content in VALID.items() for path in nodes(content)[1:]]
JUNK = st.sampled_from(
    [None, True, -1, 1e300, math.nan, "", "nan", "x,y", "\ud800", [], [[1, 2], 3], {}, {"a": {}}]
)


def opened(path: Path) -> None:
    """Whatever is in a file: a data set, or one sentence that names a file."""
    try:
        for sample in read(path, format="via"):
            assert sample.shapes is not None
            _ = sample.mask
    except PixelwiseError as error:
        assert path.name in str(error) or path.parent.name in str(error)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(PLACES), JUNK)
@example(("v2", ("_via_img_metadata", "a.png123", "regions", 0, "shape_attributes", "x")), [[1, 2], 3])
def test_wrong_types_anywhere(tmp_path: Path, place: tuple[str, tuple[Any, ...]], junk: Any) -> None:
    kind, path = place
    content = copy.deepcopy(VALID[kind])
    node = content
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = junk
    opened(put(tmp_path, content))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["v1", "v2", "v3", "csv"]),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=4),
    st.integers(0, 10**6),
)
def test_damaged_bytes(tmp_path: Path, kind: str, flips: list[tuple[int, int]], length: int) -> None:
    text = table(record(*REGIONS, tag="x")) if kind == "csv" else json.dumps(VALID[kind])
    data = bytearray(text.encode())
    for at, value in flips:
        data[at % len(data)] = value
    path = tmp_path / ("via.csv" if kind == "csv" else "via.json")
    write_image(tmp_path / "a.png", picture(0, SIZE))
    path.write_bytes(data[: length % (2 * len(data)) + 1])
    opened(path)
