"""Labelbox: generated look-alikes of exports and uploads, and masks that a server of our own hands out."""

import base64
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from pixelwise.data import read
from pixelwise.data.annotations import AnnotatedImage, Document, to_dataset
from pixelwise.data.formats import labelbox, labelbox_masks
from pixelwise.data.write import write
from pixelwise.errors import DataError, UsageError
from pixelwise.io import write_image, write_text
from pixelwise.sample import Dataset, Sample
from pixelwise.shapes import Bitmap, Box, Points, Polygon, Polyline, Shape
from tests.data.folders import picture
from tests.data.formats.damage import FLIPS, JUNK, damaged, opened, places, replaced

SIZE = 40, 60  # height, width
KEY = "very-secret-key"
TRIANGLE = [{"x": 3.2, "y": 4.7}, {"x": 30.5, "y": 8.1}, {"x": 12.9, "y": 33.3}]
BOX = {"top": 5.0, "left": 10.0, "height": 20.0, "width": 30.5}
FINE = {"feature_id": "f0", "name": "box", "bounding_box": BOX}
DISC = np.hypot(*np.mgrid[-20:20, -30:30]) < 12


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def thing(name: str = "cat", feature: str = "f1", **place: Any) -> dict[str, Any]:
    return {"feature_id": feature, "feature_schema_id": "s", "name": name, "classifications": []} | place


def label(*objects: Any, ident: str = "l1", when: str = "2024-01-01", **more: Any) -> dict[str, Any]:
    marks = {"objects": list(objects), "classifications": [], "relationships": []} | more
    return {"id": ident, "label_kind": "Default", "annotations": marks, "label_details": {"created_at": when}}


def row(*labels: Any, name: str = "a.png", mime: str = "image/png") -> dict[str, Any]:
    data = {"id": "d1", "external_id": name, "global_key": name, "row_data": f"https://x.test/{name}"}
    media = {"height": SIZE[0], "width": SIZE[1], "mime_type": mime}
    return {
        "data_row": data,
        "media_attributes": media,
        "projects": {"p1": {"name": "p", "labels": list(labels)}},
    }


def old(*objects: Any, name: str = "a.png", **more: Any) -> dict[str, Any]:
    content = {"objects": list(objects), "classifications": [], "relationships": []}
    return {"ID": "l", "Labeled Data": f"https://x.test/{name}", "Label": content, "External ID": name} | more


def upload(name: str = "cat", image: str = "a.png", **place: Any) -> dict[str, Any]:
    return {"uuid": "u", "name": name, "dataRow": {"globalKey": image}} | place


def put(root: Path, *rows: Any, name: str = "export.ndjson", image: str | None = "a.png") -> Path:
    text = json.dumps(rows) if name.endswith(".json") else "".join(f"{json.dumps(r)}\n" for r in rows)
    write_text(root / name, text)
    if image:
        write_image(root / image, picture(len(name), SIZE))
    return root / name


def only(root: Path, *objects: Any, **options: Any) -> tuple[Shape, ...]:
    put(root, row(label(*objects)))
    drawn = read(root, **options)[0].shapes
    assert drawn is not None
    return drawn


def problems(data: Dataset[Any]) -> dict[str, tuple[str, ...]]:
    return {problem.code: problem.files for problem in data.problems}


# Bad input


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ({"bounding_box": BOX | {"width": 0}}, "a box of no size"),
        ({"bounding_box": BOX | {"left": None}}, "not a number of pixels"),
        ({"bounding_box": [1, 2, 3, 4]}, "a box should be an object"),
        ({"polygon": TRIANGLE[:2]}, "at least 3 points, found 2"),
        ({"polygon": [{"x": 1}, {"y": 2}, {"x": 1}]}, "not a number"),
        ({"line": "1,2"}, "expected points with x and y"),
        ({"point": {"x": "left", "y": 1}}, "expected numbers"),
        ({"mask": {"png": "*"}}, "not base64"),
        ({"mask": {"png": base64.b64encode(b"no picture").decode()}}, "the mask is damaged"),
        (
            {"mask": {"png": base64.b64encode(png(np.ones((4, 5), bool))).decode()}},
            "5x4 in an image of 60x40",
        ),
        ({"mask": 7}, "a mask should be an object"),
    ],
)
def test_a_bad_shape_is_named_and_the_others_are_read(tmp_path: Path, place: Any, reason: str) -> None:
    [shape] = only(tmp_path, thing(**place), thing("dog", bounding_box=BOX))
    assert shape.label == "dog"
    [found] = problems(read(tmp_path))["bad_shape"]
    assert found.startswith("export.ndjson:1: object 1") and reason in found


def test_a_bad_line_among_good_ones(tmp_path: Path) -> None:
    path = put(tmp_path, row(label(thing(bounding_box=BOX))))
    write_text(path, path.read_text() + '{"data_row": {"id"\n[]\n{"other": 1}\n')
    data = read(tmp_path)
    places = [place.split(": ")[0] for problem in data.problems for place in problem.files]
    assert len(data) == 1 and places == ["export.ndjson:2", "export.ndjson:3", "export.ndjson:4"]


@pytest.mark.parametrize("name", ["x.json", "x.ndjson"])
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    path = put(tmp_path, row(label(thing(polygon=TRIANGLE))), name=name)
    path.write_bytes(path.read_bytes()[:80])
    with pytest.raises(DataError, match=rf"{name}: not valid JSON"):
        read(path, format="labelbox")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=rf"{name}: not UTF-8"):
        read(path, format="labelbox")


def test_names_that_lead_out_of_the_folder(tmp_path: Path) -> None:
    write_image(tmp_path / "secret.png", picture(0, SIZE))
    put(tmp_path / "data", row(label(thing(bounding_box=BOX)), name="../secret.png"), image=None)
    data = read(tmp_path / "data")
    assert data.records[0].path is None and problems(data)["missing_image"]
    assert data[0].mask.shape == SIZE


def test_absurd_sizes_and_bombs(tmp_path: Path) -> None:
    huge = row(label(thing(bounding_box=BOX)))
    huge["media_attributes"] |= {"width": 10**7, "height": 10**7}
    put(tmp_path, huge, row(label(thing(bounding_box=BOX)), name="b.png"))
    data = read(tmp_path)
    assert len(data) == 1 and "over the limit" in problems(data)["bad_row"][0]


def test_rows_that_are_no_labelled_images(tmp_path: Path) -> None:
    rows = [
        row(label(), mime="application/pdf", name="b.pdf"),
        row(name="todo.png"),
        old(name="t.png") | {"Labeled Data": {"tileLayerUrl": "https://x.test/{z}/{x}/{y}.png"}},
        old(name="c.png", Skipped=True),
        old(name="d.mp4") | {"Label": {"frames": "https://x.test/frames"}},
        upload(location={"start": 1, "end": 4}),
        upload(page=3, bbox=BOX),
        row(label(thing(cuboid={}), thing(bounding_box=BOX))),
    ]
    put(tmp_path, *rows)
    data = read(tmp_path)
    told = {problem.message for problem in data.problems}
    assert len(data) == 1 and len(data[0].shapes or ()) == 1
    assert told == {
        "rows of the kind application/pdf, left out: 1",
        "rows that nobody has labelled, left out: 1",
        "rows of the kind tiled image, left out: 1",
        "images that were skipped in Labelbox, left out: 1",
        "videos of version 1, left out: 1",
        "marks in text, left out: 1",
        "marks in PDF documents, left out: 1",
        "shapes of the unknown kind 'cuboid', left out: 1",
    }


def test_nothing_of_use(tmp_path: Path) -> None:
    put(tmp_path, upload(location={}))
    with pytest.raises(DataError, match=r"no row is a labelled image \(marks in text, left out: 1\)"):
        read(tmp_path)


# What is in the files


def test_every_kind_of_shape_of_version_2(tmp_path: Path) -> None:
    colours = np.zeros((*SIZE, 3), np.uint8)
    colours[DISC] = (10, 20, 30)
    coded = base64.b64encode(png(colours)).decode()
    box, polygon, line, point, mask, part = only(
        tmp_path,
        thing(bounding_box=BOX),
        thing(polygon=[*TRIANGLE, TRIANGLE[-1]]),
        thing(line=TRIANGLE),
        thing(point=TRIANGLE[0]),
        thing(mask={"png": base64.b64encode(png(DISC)).decode()}),
        thing("犬", composite_mask={"png": coded, "color_rgb": [10, 20, 30]}),
    )
    assert box.geometry == Box(10, 5, 40.5, 25) and polygon.geometry.rings[0].exterior.shape == (4, 2)
    assert isinstance(line.geometry, Polyline) and isinstance(point.geometry, Points)
    assert isinstance(mask.geometry, Bitmap) and isinstance(part.geometry, Bitmap)
    assert np.array_equal(read(tmp_path)[0].mask == 2, DISC)


def test_version_1(tmp_path: Path) -> None:
    answers = [
        {"title": "colour", "answer": {"title": "red", "value": "red"}},
        [
            {"title": "tags", "answers": [{"value": "wet"}, {"value": "dry"}]},
            {"title": "note", "answer": "hm"},
        ],
    ]
    first = {
        "title": "cat",
        "value": "cat",
        "bbox": BOX,
        "instanceURI": "https://x.test/m",
        "classifications": answers,
    }
    put(tmp_path, old(first, {"title": "dog", "polygon": TRIANGLE}), name="export.json")
    cat, dog = read(tmp_path)[0].shapes or ()
    assert (cat.label, cat.kind, dog.label, dog.kind) == ("cat", "box", "dog", "polygon")
    assert cat.attributes == {"colour": "red", "tags": ["wet", "dry"], "note": "hm"}


def test_answers_of_version_2(tmp_path: Path) -> None:
    nested = {"name": "why", "text_answer": {"content": "because"}}
    answers = [
        {"name": "colour", "radio_answer": {"name": "red", "value": "r", "classifications": [nested]}},
        {"name": "tags", "checklist_answers": [{"name": "wet"}, {"name": "dry"}]},
    ]
    put(tmp_path, row(label(thing(bounding_box=BOX, classifications=answers), classifications=answers)))
    sample = read(tmp_path)[0]
    expected = {"colour": "red", "why": "because", "tags": ["wet", "dry"]}
    assert sample.shapes[0].attributes == expected and sample.meta["tags"] == expected


def test_a_single_row_and_an_array_are_read_too(tmp_path: Path) -> None:
    one = row(label(thing(bounding_box=BOX)))
    write_text(tmp_path / "one" / "x.json", json.dumps(one, indent=2))
    write_text(tmp_path / "two" / "x.json", json.dumps([one, one | {"data_row": {"id": "q"}}]))
    assert [len(read(tmp_path / name)) for name in ("one", "two")] == [1, 2]


def test_only_line_feeds_end_lines(tmp_path: Path) -> None:
    put(tmp_path, row(label(thing("a\u2028b", bounding_box=BOX))))
    path = tmp_path / "export.ndjson"
    write_text(path, json.dumps(json.loads(path.read_text()), ensure_ascii=False))
    assert read(tmp_path).labels.names == ("background", "a\u2028b")


def test_several_labels_of_one_image(tmp_path: Path) -> None:
    labels = [
        label(thing("first", bounding_box=BOX), ident="l1", when="2024-02-01"),
        label(thing("newest", bounding_box=BOX), ident="l2", when="2024-03-01"),
        label(thing("third", bounding_box=BOX), ident="l3", when="2024-01-01"),
    ]
    put(tmp_path, row(*labels))
    data = read(tmp_path)
    assert data[0].shapes[0].label == "newest" and problems(data)["several_labels"]
    for choice, expected in (("first", "first"), ("l3", "third"), ("l9", "newest")):
        assert read(tmp_path, label_choice=choice)[0].shapes[0].label == expected


def test_frames_of_a_video(tmp_path: Path) -> None:
    objects = {"fa": thing(bounding_box=BOX), "fb": thing("dog", point=TRIANGLE[0])}
    frames = {
        "10": {"objects": {"fa": objects["fa"]}, "classifications": []},
        "2": {"objects": objects},
        "x": {},
    }
    put(tmp_path, row(label(frames=frames, segments={"fa": [[2, 10]]}), mime="video/mp4", name="v.mp4"))
    data = read(tmp_path)
    assert [(r.name, r.frame) for r in data.records] == [("v/frame_000002", 1), ("v/frame_000010", 9)]
    assert [[s.track for s in sample.shapes or ()] for sample in data] == [[0, 1], [0]]
    assert data[0].mask.shape == SIZE
    assert {"bad_row", "key_frames", "missing_image"} <= problems(data).keys()


def test_uploads(tmp_path: Path) -> None:
    lines = [
        upload(bbox=BOX, confidence=0.5),
        upload("dog", "b", polygon=TRIANGLE),
        upload(name="weather", answer={"name": "sunny"}),
        {"uuid": "u", "schemaId": "s9", "dataRow": {"id": "d7"}, "point": TRIANGLE[0]},
    ]
    put(tmp_path, *lines)
    write_image(tmp_path / "b.jpg", picture(2, SIZE))
    data = read(tmp_path)
    assert [record.name for record in data.records] == ["a.png", "b", "d7"]
    assert data.records[1].path == tmp_path / "b.jpg"
    assert data[0].shapes[0].score == 0.5 and data[0].meta["tags"] == {"weather": "sunny"}
    assert problems(data)["no_name"] == ("export.ndjson:4",)


def test_other_json_is_not_claimed(tmp_path: Path) -> None:
    for number, other in enumerate(({"shapes": []}, [{"id": 1}], {"images": [], "annotations": []})):
        write_text(tmp_path / f"{number}.json", json.dumps(other))
    assert not labelbox.recognise(tmp_path)


# Masks that are links


class _Server(BaseHTTPRequestHandler):
    seen: list[tuple[str, str | None, str | None]] = []

    def do_GET(self) -> None:
        self.seen.append((self.path, self.headers["Authorization"], self.headers["Host"]))
        kind = self.path.partition("?")[0].rsplit("/", 1)[-1]
        if kind == "onwards":
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{self.server.server_address[1]}/store/mask")
            self.end_headers()
        elif kind == "elsewhere":
            self.send_response(302)
            self.send_header("Location", "http://example.test/mask")
            self.end_headers()
        elif kind.isdecimal():
            self.send_error(int(kind))
        else:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"x" * 3000 if kind == "large" else png(DISC))

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server on this computer, which stands for labelbox.com."""
    _Server.seen = []
    host = HTTPServer(("127.0.0.1", 0), _Server)
    monkeypatch.setattr(labelbox_masks, "_SCHEMES", ("http",))
    monkeypatch.setattr(labelbox_masks, "_HOSTS", ("127.0.0.1",))
    monkeypatch.setattr(labelbox_masks, "_STORES", ("localhost",))
    monkeypatch.setattr(labelbox_masks, "_MOST_BYTES", 2000)
    monkeypatch.setenv("MY_KEY", KEY)
    thread = threading.Thread(target=host.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{host.server_address[1]}"
    host.shutdown()
    thread.join()
    host.server_close()


def test_nothing_is_fetched_unasked(tmp_path: Path, server: str) -> None:
    masks = [
        thing(mask={"url": f"{server}/mask"}),
        thing(composite_mask={"url": f"{server}/m", "color_rgb": [1, 2, 3]}),
    ]
    put(
        tmp_path, row(label(FINE, *masks)), old({"title": "x", "instanceURI": f"{server}/mask"}, name="b.png")
    )
    for options in ({}, {"cache": tmp_path / "cache"}):
        [problem] = [p for p in read(tmp_path, **options).problems if p.code == "linked_mask"]
        assert len(problem.files) == 3 and "mask_dir" in problem.fix and "key_env" in problem.fix
    assert _Server.seen == []


def test_an_export_of_links_alone_says_what_to_do(tmp_path: Path) -> None:
    put(tmp_path, row(label(thing(mask={"url": "https://x.test/m"}))))
    with pytest.raises(
        DataError, match=r"no shape could be read \(masks that are only links.* give mask_dir"
    ):
        read(tmp_path)


def test_masks_of_a_folder(tmp_path: Path) -> None:
    write_image(tmp_path / "masks" / "f1.png", DISC.astype(np.uint8) * 255)
    links = [
        thing(mask={"url": "https://x.test/m"}),
        thing("dog", "f1", composite_mask={"url": "https://x.test/c", "color_rgb": [1, 2, 3]}),
        thing(feature="../masks/f1", mask={"url": "y"}),
    ]
    put(tmp_path / "data", row(label(*links)))
    data = read(tmp_path / "data", mask_dir=tmp_path / "masks")
    assert [shape.label for shape in data[0].shapes or ()] == ["cat", "dog"]
    assert np.array_equal(data[0].mask == 2, DISC)
    assert problems(data)["linked_mask"] == ("export.ndjson:1: object 3",)


def test_fetched_once_and_kept(tmp_path: Path, server: str) -> None:
    put(tmp_path, row(label(thing(mask={"url": f"{server}/mask?token=abc"}))))
    for _ in range(2):
        data = read(tmp_path, cache=tmp_path / "cache", key_env="MY_KEY")
        assert np.array_equal(data[0].mask == 1, DISC) and "linked_mask" not in problems(data)
    assert [(path, key) for path, key, _ in _Server.seen] == [("/mask?token=abc", f"Bearer {KEY}")]
    assert np.array_equal(read(tmp_path, cache=tmp_path / "cache")[0].mask == 1, DISC)
    written = [p.read_bytes() for p in (tmp_path / "cache").iterdir()]
    assert len(written) == 1 and KEY.encode() not in written[0]


def test_the_key_stays_behind_at_a_redirect(tmp_path: Path, server: str) -> None:
    put(tmp_path, row(label(thing(mask={"url": f"{server}/onwards"}))))
    data = read(tmp_path, cache=tmp_path / "cache", key_env="MY_KEY")
    assert np.array_equal(data[0].mask == 1, DISC)
    assert [key for _, key, _ in _Server.seen] == [f"Bearer {KEY}", None]


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("elsewhere", "are fetched from https://*.labelbox.com only"),
        ("404", "answered 404"),
        ("401", "the key was refused"),
        ("large", "more than 0 MB"),
    ],
)
def test_what_cannot_be_fetched_is_named(tmp_path: Path, server: str, place: str, reason: str) -> None:
    put(tmp_path, row(label(FINE, thing(mask={"url": f"{server}/{place}?token=hidden"}))))
    data = read(tmp_path, cache=tmp_path / "cache", key_env="MY_KEY")
    [found] = problems(data)["bad_shape"]
    assert reason in found and "hidden" not in found and KEY not in str(data.problems)
    assert not (tmp_path / "cache").exists() or not [*(tmp_path / "cache").iterdir()]


def test_it_gives_up_after_some_failures(tmp_path: Path, server: str) -> None:
    put(tmp_path, row(label(FINE, *(thing(mask={"url": f"{server}/{n}/404"}) for n in range(9)))))
    found = problems(read(tmp_path, cache=tmp_path / "cache", key_env="MY_KEY"))
    assert (len(_Server.seen), len(found["bad_shape"]), len(found["linked_mask"])) == (5, 5, 4)


@pytest.mark.parametrize(
    "url",
    [
        "http://api.labelbox.com/m",
        "https://labelbox.com.evil.test/m",
        "https://evillabelbox.com/m",
        "file:///etc/passwd",
    ],
)
def test_only_labelbox_over_https(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    put(tmp_path, row(label(FINE, thing(mask={"url": url}))))
    [found] = problems(read(tmp_path, cache=tmp_path / "cache", key_env="MY_KEY"))["bad_shape"]
    assert "are fetched from https://*.labelbox.com only" in found


@pytest.mark.parametrize("value", ["", "two words", "line\nbreak"])
def test_a_key_that_is_none_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MY_KEY", value)
    put(tmp_path, row(label(thing(bounding_box=BOX))))
    with pytest.raises(UsageError, match="environment variable MY_KEY should hold") as caught:
        read(tmp_path, cache=tmp_path, key_env="MY_KEY")
    assert not value or value not in str(caught.value)


def test_a_key_needs_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    put(tmp_path, row(label(thing(bounding_box=BOX))))
    with pytest.raises(UsageError, match="key_env needs a cache"):
        read(tmp_path, key_env="MY_KEY")


# Writing


def data_of(root: Path, *shapes: Shape) -> Dataset[Sample]:
    records = []
    for name in ("a.png", "sub/b.png"):
        write_image(root / name, picture(len(name), SIZE))
        drawn = list(shapes) if name == "a.png" else []
        records.append(AnnotatedImage(name, root / "x", *SIZE, drawn, root / name))
    return to_dataset(Document(records, ["cat", "犬", "unused"]), root)


def test_an_upload_comes_back(tmp_path: Path) -> None:
    from pixelwise.data.raster import to_bitmap

    shapes = [
        Shape("cat", Polygon.of([(3.2, 4.7), (30.5, 8.1), (12.9, 33.3)]), score=0.25),
        Shape("犬", to_bitmap(DISC)),
        Shape("cat", Box(1, 2, 9, 9.5)),
        Shape("犬", Points(np.array([[1.5, 2], [3, 4]]))),
        Shape("cat", Polyline(np.array([[1.0, 2], [3, 4.5]]))),
    ]
    before = data_of(tmp_path / "src", *shapes)
    report = write(before, tmp_path / "out", "labelbox")
    lines = [
        json.loads(line) for line in (tmp_path / "out/annotations.ndjson").read_text("utf-8").splitlines()
    ]
    assert {line["dataRow"]["globalKey"] for line in lines} == {"a.png"} and len(
        {line["uuid"] for line in lines}
    ) == 6
    assert not report.losses
    after = read(tmp_path / "out")
    assert after.labels.names == before.labels.names and len(after) == 2
    assert [s.kind for s in after[0].shapes or ()] == [
        "polygon",
        "bitmap",
        "box",
        "points",
        "points",
        "polyline",
    ]
    assert after[0].shapes[0].score == 0.25
    assert all(np.array_equal(a.mask, b.mask) for a, b in zip(after, before, strict=True))
    assert problems(after)["no_shapes"] == ("sub/b.png",)


# Anything may be in a file.

ROW = row(
    label(
        thing(bounding_box=BOX, classifications=[{"name": "q", "radio_answer": {"name": "r"}}]),
        thing(polygon=TRIANGLE),
        thing(mask={"png": base64.b64encode(png(DISC)).decode(), "color_rgb": [255, 255, 255]}),
    )
)
VIDEO = row(
    label(frames={"3": {"objects": {"f": thing(line=TRIANGLE)}}}, segments={"f": [[1, 3]]}), mime="video/mp4"
)
OLD = old(
    {"title": "cat", "polygon": TRIANGLE, "classifications": [[{"title": "q", "answers": [{"title": "a"}]}]]}
)
VALID = [ROW, VIDEO, OLD, upload(point=TRIANGLE[0], confidence=0.5), upload(answer=[{"name": "x"}])]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(places(VALID)[1:]), JUNK)
@example((0, "data_row", "external_id"), 5)
@example((1, "projects", "p1", "labels", 0, "annotations", "frames"), {"99999999999": {"objects": {}}})
def test_wrong_types_anywhere(tmp_path: Path, place: tuple[Any, ...], junk: Any) -> None:
    opened(put(tmp_path, *replaced(VALID, place, junk), image=None), "labelbox")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(FLIPS, st.integers(0, 10**6), st.sampled_from(["a.json", "a.ndjson"]))
def test_damaged_bytes(tmp_path: Path, flips: list[tuple[int, int]], length: int, name: str) -> None:
    path = put(tmp_path, *VALID, name=name, image=None)
    path.write_bytes(damaged(path.read_bytes(), flips, length))
    opened(path, "labelbox")
