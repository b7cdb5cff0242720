"""S3DIS and its images, on generated look-alikes with the damaged rows that are known."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixelwise.data.datasets import s3dis, s3dis_images
from pixelwise.data.datasets.s3dis import CLASSES
from pixelwise.data.datasets.s3dis_rows import mend_row
from pixelwise.errors import DataError, UsageError
from pixelwise.io import write_text
from pixelwise.kernels.pointrows import BLANK, DECIMAL_COLOURS, FINE, ODD, parse_rows

NAMES = CLASSES["pointnet"].names
ROOMS = ("Area_1/office_2", "Area_1/office_10", "Area_5/hallway_6", "Area_6/WC_1")
OBJECTS = ("ceiling_1", "chair_1", "chair_2", "clutter_1", "table_1")


def points(seed: int, count: int = 20) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(-30_000, 40_000, (count, 3)) / 1000, rng.integers(0, 256, (count, 3)).astype(np.uint8)


def lines(seed: int, count: int = 20) -> list[bytes]:
    rows = zip(*(part.tolist() for part in points(seed, count)), strict=True)
    return ["{:.3f} {:.3f} {:.3f} {} {} {}".format(*xyz, *rgb).encode() for xyz, rgb in rows]


def save(path: Path, rows: list[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\n".join(rows) + b"\n")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number, room in enumerate(ROOMS):
        for position, name in enumerate(OBJECTS):
            save(tmp_path / room / "Annotations" / f"{name}.txt", lines(10 * number + position))
        save(tmp_path / room / f"{Path(room).name}.txt", [b"not read"])
    (tmp_path / "Area_1" / ".DS_Store").write_bytes(b"\0\1")
    (tmp_path / "Area_1" / "office_2" / "Annotations" / ".DS_Store").write_bytes(b"\0\1")
    (tmp_path / "Area_1" / "office_2" / "Annotations" / "Icon\r").write_bytes(b"")
    return tmp_path


def annotation(root: Path, room: str = ROOMS[2], name: str = "ceiling_1") -> Path:
    return root / room / "Annotations" / f"{name}.txt"


# Damaged rows

KNOWN = [  # the damaged parts as they are quoted in reports, in generated rows
    (b"-15.609 39.505 2.346 185\x00187 199", "-15.609 39.505 2.346 185 187 199"),
    (b"-15.609 39.505 2.346 185187 199", "-15.609 39.505 2.346 185 187 199"),
    (b"12.000000 103.0\x100000 2.300000 1 2 3", "12.000000 103.000000 2.300000 1 2 3"),
    (b"1.230 -9.1\x160 2.346 10 20 30", "1.230 -9.160 2.346 10 20 30"),
    (b"1.000000 2.000000 3.000000 167.\x1000000 20 30", "1.000000 2.000000 3.000000 167.000000 20 30"),
]


@pytest.mark.parametrize(("found", "became"), KNOWN)
def test_the_known_damages_are_repaired_and_reported(root: Path, found: bytes, became: str) -> None:
    rows = lines(20)
    rows[7] = found
    save(annotation(root), rows)
    cloud = s3dis.read(root, cache=False).select("test")[0]
    numbers = list(map(float, became.split()))
    assert len(cloud) == 20 * len(OBJECTS)
    assert cloud.xyz[7].tolist() == numbers[:3] and cloud.features["rgb"][7].tolist() == numbers[3:]
    [problem] = cloud.meta["problems"]
    assert (problem.level, problem.code) == ("warning", "repaired_rows")
    shown = repr(found)[2:-1]
    assert problem.files == (f"{ROOMS[2]}/Annotations/ceiling_1.txt:8: found '{shown}', became '{became}'",)


@pytest.mark.parametrize(
    "row",
    [
        b"1.250 2.500 3.750 1234 5",  # 12 34 or 123 4
        b"1.250 2.500 3.750 10 20",  # a value is missing, nothing is fused
        b"1.250 2.500 3.750 10 20 256",
        b"1.250 2.500 3.750 10 20 -3",
        b"1.250 2.500 3.750 10.5 20 30",
        b"1.250 2.500 3.750 10 20 30 40",
        b"1.250 2.500",
        b"1.250 2.5\x0100 3.750 10 20 30",  # no digit that lost a bit
        b"1.250 nan 3.750 10 20 30",
        b"1.250 2.5.0 3.750 10 20 30",
        b"x y z r g b",
        b"1.250 2.500 3.750 \xff\xfe 20 30",
    ],
)
def test_rows_without_a_single_reading_are_left_out_and_reported(root: Path, row: bytes) -> None:
    assert mend_row(row) is None
    rows = lines(20)
    rows[0] = row
    save(annotation(root), rows)
    cloud = s3dis.read(root, cache=False).select("test")[0]
    assert len(cloud) == 20 * len(OBJECTS) - 1
    assert np.array_equal(cloud.xyz[:19], points(20)[0][1:])
    assert np.bincount(cloud.features["instances"]).tolist() == [0, 19, 20, 20, 20, 20]
    [problem] = cloud.meta["problems"]
    assert problem.code == "left_out_rows" and problem.files[0].endswith(
        "ceiling_1.txt:1: found '" + repr(row)[2:-1] + "', left out"
    )


def test_coordinates_that_run_together_are_told_by_their_decimals() -> None:
    whole = "-15.609 39.505 2.346 120 118 103"
    for fused in ("-15.60939.505 2.346 120 118 103", "-15.609 39.505 2.346120 118 103"):
        assert mend_row(fused.encode()) == (tuple(map(float, whole.split())), whole)
    assert mend_row(b"-15.609 39.50 2.346120 118 103") is None


def test_decimal_colours_are_read_and_reported_once_for_a_file(root: Path) -> None:
    rows = lines(20)
    for number in (3, 4, 9):
        xyz, rgb = rows[number].split()[:3], rows[number].split()[3:]
        rows[number] = b" ".join(xyz + [value + b".000000" for value in rgb])
    save(annotation(root), rows)
    cloud = s3dis.read(root, cache=False).select("test")[0]
    assert np.array_equal(cloud.xyz[:20], points(20)[0])
    assert np.array_equal(cloud.features["rgb"][:20], points(20)[1])
    [problem] = cloud.meta["problems"]
    assert problem.code == "decimal_colours"
    assert "ceiling_1.txt:4: " in problem.files[0] and "3 rows" in problem.files[0]


def test_blank_lines_tabs_line_ends_and_exponents_are_nothing_to_report(root: Path) -> None:
    rows = lines(20)
    rows[3] = rows[3].replace(b" ", b" \t ") + b"  \r"
    rows[5:5] = [b"", b"  ", b"\r"]
    rows[-1] = b"1e-05 -2.5E1 0.12345678901234567890 1 2 3"
    path = annotation(root)
    save(path, rows)
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    cloud = s3dis.read(root, cache=False).select("test")[0]
    assert np.array_equal(cloud.xyz[:19], points(20)[0][:19])
    assert cloud.xyz[19].tolist() == [1e-05, -25.0, 0.12345678901234567890]
    assert cloud.meta["problems"] == ()


def test_damaged_rows_are_refused_on_request(root: Path) -> None:
    rows = lines(20)
    rows[7], rows[9] = KNOWN[0][0], KNOWN[1][0]
    save(annotation(root), rows)
    data = s3dis.read(root, bad_rows="refuse")
    assert len(data.select("train")[0]) == 20 * len(OBJECTS)
    with pytest.raises(
        DataError, match=r"ceiling_1\.txt:8: the row '.*185\\x00187 199' .*and 1 more.*'repair'"
    ):
        _ = data.select("test")[0]


def test_all_rooms_can_be_looked_at_for_bad_rows(root: Path) -> None:
    assert s3dis.find_bad_rows(root) == ()
    rows = lines(20)
    rows[7] = KNOWN[0][0]
    save(annotation(root), rows)
    save(annotation(root, ROOMS[0], "chair_2"), [b"1 2", *lines(2)])
    found = s3dis.find_bad_rows(root)
    assert [problem.code for problem in found] == ["left_out_rows", "repaired_rows"]
    assert found[0].files == ("Area_1/office_2/Annotations/chair_2.txt:1: found '1 2', left out",)


def test_a_file_of_something_else_is_refused(root: Path) -> None:
    save(annotation(root), [b"\x89PNG and so on"] * 500)
    with pytest.raises(DataError, match=r"ceiling_1\.txt: not a list of points, row 101 is '\\x89PNG"):
        _ = s3dis.read(root).select("test")[0]


# Rooms


def test_nothing_there_and_wrong_options(tmp_path: Path, root: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert not s3dis.recognise(empty) and not s3dis_images.recognise(empty)
    with pytest.raises(DataError, match="no room of S3DIS; expected 'Area_"):
        s3dis.read(empty)
    with pytest.raises(UsageError, match="'pointnets': did you mean 'pointnet'"):
        s3dis.read(root, classes="pointnets")
    with pytest.raises(UsageError, match="known: refuse, repair"):
        s3dis.read(root, bad_rows="drop")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="test_area=7"):
        s3dis.read(root, test_area=7)


def test_rooms_without_objects(root: Path) -> None:
    (root / "Area_2" / "office_1").mkdir(parents=True)
    (root / "Area_3" / "office_1" / "Annotations").mkdir(parents=True)
    data = s3dis.read(root)
    assert [problem.files for problem in data.problems] == [("Area_2/office_1",)]
    with pytest.raises(DataError, match="no object; expected files such as"):
        _ = data[2]


def test_opening_reads_no_file(root: Path) -> None:
    for path in root.rglob("*.txt"):
        path.unlink()
    assert s3dis.recognise(root) and len(s3dis.read(root)) == len(ROOMS)


def test_a_room_is_its_objects(root: Path) -> None:
    cloud = s3dis.read(root)[0]
    for position, name in enumerate(OBJECTS):
        xyz, rgb = points(position)
        where = cloud.features["instances"] == position + 1
        assert np.array_equal(cloud.xyz[where], xyz) and np.array_equal(cloud.features["rgb"][where], rgb)
        assert (cloud.labels[where] == NAMES.index(name.split("_")[0])).all()
        assert cloud.meta["objects"][position + 1] == name
    assert (cloud.xyz.dtype, cloud.features["instances"].dtype, cloud.labels.dtype) == (
        np.float64,
        np.int32,
        np.uint8,
    )
    assert (cloud.meta["area"], cloud.meta["room"], cloud.meta["name"]) == (1, "office_2", "Area_1_office_2")


def test_splits_are_areas(root: Path) -> None:
    data = s3dis.read(root)
    assert (data.name, data.splits) == ("S3DIS", ("train", "test"))
    assert [record.path for record in data.records] == [ROOMS[0], ROOMS[1], ROOMS[3], ROOMS[2]]
    other = s3dis.read(root, test_area=1)
    assert [cloud.meta["room"] for cloud in other.select("test")] == ["office_2", "office_10"]
    assert {cloud.meta["split"] for cloud in other.select("train")} == {"train"}


def test_both_orders_have_the_same_names_and_colours_by_name() -> None:
    one, two = CLASSES["pointnet"], CLASSES["kpconv"]
    assert one.names[7:11] == ("table", "chair", "sofa", "bookcase")
    assert two.names[7:11] == ("chair", "table", "bookcase", "sofa")
    assert one.names[:7] == two.names[:7] and one.names[11:] == two.names[11:] == ("board", "clutter")
    assert all(one.colours[one.index(name)] == two.colours[two.index(name)] for name in one.names)
    assert s3dis.INFO.labels == one and s3dis.INFO.splits == {"train": 204, "test": 68}


def test_labels_are_joined_by_name(root: Path) -> None:
    kept = s3dis.read(root)[0].labels
    order = CLASSES["kpconv"]
    assert np.array_equal(s3dis.read(root, classes="kpconv")[0].labels, [order.index(NAMES[i]) for i in kept])
    few = s3dis.read(root, ["table", "chair"])
    assert few.labels.names == ("table", "chair")
    expected = [few.labels.names.index(NAMES[i]) if NAMES[i] in few.labels.names else 255 for i in kept]
    assert np.array_equal(few[0].labels, expected)
    merged = s3dis.read(root, mapping={NAMES.index("chair"): NAMES.index("table")})[0].labels
    assert not (merged == NAMES.index("chair")).any() and (merged == NAMES.index("table")).sum() == 60


def test_objects_of_other_classes_are_clutter(root: Path) -> None:
    save(annotation(root, ROOMS[0], "stairs_1"), lines(99))
    cloud = s3dis.read(root)[0]
    where = cloud.features["instances"] == 5  # stairs stand before table
    assert np.array_equal(cloud.xyz[where], points(99)[0])
    assert (cloud.labels[where] == NAMES.index("clutter")).all()
    [problem] = cloud.meta["problems"]
    assert problem.code == "unknown_class" and problem.files == ("Area_1/office_2/Annotations/stairs_1.txt",)


def test_files_that_are_no_objects_are_reported(root: Path) -> None:
    folder = annotation(root, ROOMS[0]).parent
    for name in ("chair_3.txt~", "notes.md", "Thumbs.db"):
        (folder / name).write_bytes(b"")
    save(folder / "wall_1 copy.txt", lines(98))
    other, unknown = sorted(s3dis.read(root)[0].meta["problems"], key=lambda problem: problem.code)
    assert other.files == tuple(f"{ROOMS[0]}/Annotations/{name}" for name in ("chair_3.txt~", "notes.md"))
    assert unknown.files == (f"{ROOMS[0]}/Annotations/wall_1 copy.txt",)


@pytest.mark.parametrize(
    ("folder", "aligned"),
    [("Stanford3dDataset_v1.2_Aligned_Version", True), ("Stanford3dDataset_v1.2", False), ("mine", None)],
)
def test_the_release_is_told_by_its_name(tmp_path: Path, folder: str, aligned: bool | None) -> None:
    place = tmp_path / folder
    save(place / ROOMS[0] / "Annotations" / "chair_1.txt", lines(0))
    root = place if aligned is None else tmp_path  # the release is found in the folder around it
    data = s3dis.read(root)
    assert data[0].meta["aligned"] is aligned
    assert [problem.code for problem in data.problems] == (["not_aligned"] if aligned is False else [])


# The cache


def kept_files() -> list[Path]:
    return sorted((Path(os.environ["XDG_CACHE_HOME"]) / "pixelwise" / "s3dis").glob("*.npz"))


@pytest.fixture
def own_cache_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def test_rooms_come_from_the_cache_until_their_files_change(
    root: Path, own_cache_folder: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = lines(0)
    rows[2] = KNOWN[0][0]
    save(annotation(root, ROOMS[0]), rows)
    before = set(root.rglob("*"))
    first = s3dis.read(root)[0]
    assert len(kept_files()) == 1 and set(root.rglob("*")) == before
    parsed = []
    monkeypatch.setattr(s3dis, "parse_rows", lambda text: parsed.append(1) or parse_rows(text))
    again = s3dis.read(root, classes="kpconv", test_area=1)[2]
    assert not parsed and again.meta["room"] == "office_2"
    assert np.array_equal(again.xyz, first.xyz) and again.xyz.dtype == np.float64
    assert all(np.array_equal(again.features[name], first.features[name]) for name in ("rgb", "instances"))
    assert again.meta["problems"] == first.meta["problems"] != ()
    with pytest.raises(DataError, match="no plain"):
        _ = s3dis.read(root, bad_rows="refuse")[0]
    save(annotation(root, ROOMS[0]), lines(77, 21))
    changed = s3dis.read(root)[0]
    assert parsed and np.array_equal(changed.xyz[:21], points(77, 21)[0]) and len(kept_files()) == 1


def test_more_than_three_decimals_survive_the_cache(root: Path, own_cache_folder: None) -> None:
    save(annotation(root, ROOMS[0]), [b"1.2345678 2.25 -3.125 1 2 3"])
    for _ in range(2):
        assert s3dis.read(root)[0].xyz[0].tolist() == [1.2345678, 2.25, -3.125]


def test_a_damaged_cache_is_read_over(root: Path, own_cache_folder: None) -> None:
    first = s3dis.read(root)[0]
    [kept] = kept_files()
    for content in (b"", b"nothing", kept.read_bytes()[:-40]):
        kept.write_bytes(content)
        assert np.array_equal(s3dis.read(root)[0].xyz, first.xyz)


def test_without_a_cache_nothing_is_written(root: Path, own_cache_folder: None) -> None:
    assert len(s3dis.read(root, cache=False)[0]) == 20 * len(OBJECTS)
    assert kept_files() == []


# The parser


def test_numbers_are_the_nearest_float64() -> None:
    rng = np.random.default_rng(0)
    texts = [
        f"{value:.{decimals}f}"
        for value, decimals in zip(rng.normal(0, 1000, 3000), rng.integers(0, 11, 3000), strict=True)
    ]
    rows = [" ".join((*texts[i : i + 3], "0", "255", "7")) for i in range(0, 3000, 3)]
    xyz, rgb, kinds = parse_rows(np.frombuffer("\n".join(rows).encode(), np.uint8))
    assert (kinds == FINE).all() and (rgb == [0, 255, 7]).all()
    assert xyz.ravel().tolist() == list(map(float, texts))


def test_kinds_of_rows() -> None:
    text = b"1 2 3 4 5 6\n\n1 2 3 4.0 5 6\n1 2 3 4 5\n1 2 3 4 5 6 7\n- 2 3 4 5 6\n1. .5 -.5 1 2 3"
    xyz, rgb, kinds = parse_rows(np.frombuffer(text, np.uint8))
    assert kinds.tolist() == [FINE, BLANK, DECIMAL_COLOURS, ODD, ODD, ODD, FINE]
    assert xyz[-1].tolist() == [1.0, 0.5, -0.5] and not xyz[3:6].any() and not rgb[3:6].any()
    assert [len(part) for part in parse_rows(np.empty(0, np.uint8))] == [0, 0, 0]


# Rooms as mmdetection3d writes them


@pytest.fixture
def binaries(tmp_path: Path) -> Path:
    rng = np.random.default_rng(3)
    for name in ("Area_1_office_2", "Area_5_WC_1"):
        parts = {
            "points": np.hstack([rng.normal(size=(30, 3)), rng.integers(0, 256, (30, 3))]).astype("<f4"),
            "semantic_mask": np.append(rng.integers(0, 13, 29), -1).astype("<i8"),
            "instance_mask": rng.integers(1, 9, 30).astype("<i8"),
        }
        for kind, values in parts.items():
            (tmp_path / kind).mkdir(exist_ok=True)
            values.tofile(tmp_path / kind / f"{name}.bin")
    return tmp_path


def test_binary_rooms(binaries: Path) -> None:
    assert s3dis.recognise(binaries)
    data = s3dis.read(binaries)
    assert data.splits == ("train", "test") and data[1].meta["room"] == "WC_1"
    stored = np.fromfile(binaries / "points" / "Area_1_office_2.bin", "<f4").reshape(-1, 6)
    ids = np.fromfile(binaries / "semantic_mask" / "Area_1_office_2.bin", "<i8")
    cloud = data[0]
    assert np.array_equal(cloud.xyz, stored[:, :3]) and np.array_equal(cloud.features["rgb"], stored[:, 3:])
    assert np.array_equal(cloud.labels, np.where(ids < 0, 255, ids))
    order = CLASSES["kpconv"]
    expected = [255 if i < 0 else order.index(NAMES[i]) for i in ids]
    assert np.array_equal(s3dis.read(binaries, classes="kpconv")[0].labels, expected)


def test_binary_rooms_that_do_not_fit_together(binaries: Path) -> None:
    path = binaries / "semantic_mask" / "Area_1_office_2.bin"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(DataError, match="29 ids for 30 points"):
        _ = s3dis.read(binaries)[0]
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(DataError, match="no whole number of int64"):
        _ = s3dis.read(binaries)[0]
    path.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        _ = s3dis.read(binaries)[0]


# Images

LABELS = [
    "<UNK>_0_<UNK>_0_0",
    *(f"clutter_{n}_office_1_1" for n in range(300)),
    "chair_2_office_1_1",
    "table_1_WC_1_5",
]
FRAME = "camera_0a1b_office_1_frame_{}_domain"


def paint(indices: np.ndarray) -> np.ndarray:
    return np.stack([indices >> 16, indices >> 8 & 255, indices & 255], axis=-1).astype(np.uint8)


def frame(root: Path, area: str, number: int, indices: np.ndarray | None, kind: str = "data") -> None:
    stem = FRAME.format(number)
    for folder, pixels in (("rgb", np.full((4, 5, 3), number, np.uint8)), ("semantic", indices)):
        if pixels is not None:
            path = root / area / kind / folder / f"{stem}_{folder}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels if folder == "rgb" else paint(pixels)).save(path)


INDICES = np.zeros((4, 5), np.int64)
INDICES[1], INDICES[2], INDICES[3] = 301, 302, 0x0D0D0D
INDICES[0, :3] = 0, 1, 300


@pytest.fixture
def views(tmp_path: Path) -> Path:
    for area, number in (("area_1", 1), ("area_5a", 2), ("area_5b", 3)):
        frame(tmp_path, area, number, INDICES)
        frame(tmp_path, area, number + 10, INDICES, "pano")
    write_text(tmp_path / "assets" / "semantic_labels.json", json.dumps(LABELS))
    return tmp_path


def test_colours_are_positions_in_the_list_of_labels(views: Path) -> None:
    assert s3dis_images.recognise(views) and not s3dis.recognise(views)
    data = s3dis_images.read(views)
    assert (data.name, data.labels, data.splits) == ("2D-3D-S", CLASSES["pointnet"], ("train", "test"))
    sample = data[0]
    clutter, chair, table = (NAMES.index(name) for name in ("clutter", "chair", "table"))
    expected = np.repeat([[255], [chair], [table], [255]], 5, axis=1)
    expected[0, 1:3] = clutter
    assert sample.mask.dtype == np.uint8 and np.array_equal(sample.mask, expected)
    assert sample.instances.dtype == np.int32
    assert np.array_equal(sample.instances, np.where(INDICES == 0x0D0D0D, 0, INDICES))
    assert (sample.image == 1).all() and sample.meta["area"] == "1"
    other = CLASSES["kpconv"]
    mask = s3dis_images.read(views, classes="kpconv")[0].mask
    assert mask[1, 0] == other.index("chair") and mask[2, 0] == other.index("table")


def test_area_5_has_two_folders(views: Path) -> None:
    data = s3dis_images.read(views)
    assert [sample.meta["area"] for sample in data.select("test")] == ["5a", "5b"]
    assert len(s3dis_images.read(views, test_area=1).select("train")) == 2
    with pytest.raises(UsageError, match="test_area=0"):
        s3dis_images.read(views, test_area=0)


def test_panoramas(views: Path) -> None:
    assert [int(sample.image[0, 0, 0]) for sample in s3dis_images.read(views, panoramas=True)] == [11, 12, 13]


def test_frames_without_their_half_are_named(views: Path) -> None:
    frame(views, "area_1", 7, None)
    [problem] = s3dis_images.read(views).problems
    assert problem.files == (f"area_1/data/semantic/{FRAME.format(7)}_semantic.png",)


def test_colours_that_are_no_label_are_refused(views: Path) -> None:
    frame(views, "area_1", 1, np.full((4, 5), 303))
    sample = s3dis_images.read(views)[0]
    for touch in (lambda: sample.mask, lambda: sample.instances):
        with pytest.raises(DataError, match=r"frame_1_.*the colour #00012F is no label \(there are 303\)"):
            touch()


def test_the_list_of_labels_is_needed_and_checked(views: Path) -> None:
    path = views / "assets" / "semantic_labels.json"
    for content, said in (
        ('["stairs_1_office_1_1"]', "the class 'stairs'"),
        ("[]", "an empty list"),
        ("{", "JSON list"),
    ):
        write_text(path, content)
        with pytest.raises(DataError, match=said):
            s3dis_images.read(views)
    path.unlink()
    with pytest.raises(DataError, match="without this list colours mean nothing"):
        s3dis_images.read(views)
