"""PASCAL VOC: masks with lists, boxes in XML, and what CVAT, Roboflow and LabelImg make of it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from pixelwise.data import read
from pixelwise.data.annotations import AnnotatedImage, Document, to_dataset
from pixelwise.data.datasets.catalogue import voc_colours
from pixelwise.data.formats import voc
from pixelwise.data.write import write
from pixelwise.errors import DataError, PixelwiseError, UsageError
from pixelwise.io import write_image, write_text
from pixelwise.labels import LabelMap
from pixelwise.sample import Dataset, Sample
from pixelwise.shapes import Bitmap, Box, Ellipse, Polygon, Ring, Shape
from tests.data.folders import picture

SIZE = 12, 16
BOX = "<bndbox><xmin>3</xmin><ymin>2</ymin><xmax>6</xmax><ymax>4</ymax></bndbox>"


def palette_png(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values.astype(np.uint8))
    image.putpalette(np.array(voc_colours(256), np.uint8).tobytes())
    image.save(path)


def labelled(seed: int, classes: int = 21) -> tuple[np.ndarray, np.ndarray]:
    """Masks of classes and of objects, with a void border between them."""
    rng = np.random.default_rng(seed)
    objects = np.zeros(SIZE, np.uint8)
    objects[1:5, 1:7], objects[6:11, 8:15] = 1, 2
    kinds = np.array([0, *rng.integers(1, classes, 2)])
    mask = kinds[objects]
    mask[5:6], objects[5:6] = 255, 255
    return mask, objects


def devkit(root: Path, lists: dict[str, list[str]] | None = None, count: int = 4) -> list[str]:
    stems = [f"2007_{i:06}" for i in range(count)]
    for i, stem in enumerate(stems):
        mask, objects = labelled(i)
        write_image(root / "JPEGImages" / f"{stem}.jpg", picture(i, SIZE))
        palette_png(root / "SegmentationClass" / f"{stem}.png", mask)
        palette_png(root / "SegmentationObject" / f"{stem}.png", objects)
    for name, lines in (lists or {}).items():
        write_text(root / "ImageSets" / f"{name}.txt", "\n".join(lines) + "\n")
    return stems


def xml(*objects: str, name: str = "a.jpg", size: Any = SIZE, source: str = "") -> str:
    sides = f"<width>{size[1]}</width><height>{size[0]}</height><depth>3</depth>"
    body = "".join(f"<object>{one}</object>" for one in objects)
    return f"<annotation><filename>{name}</filename>{source}<size>{sides}</size>{body}</annotation>"


def beside(root: Path, text: str, stem: str = "a", image: bool = True) -> Path:
    path = root / f"{stem}.xml"
    write_text(path, text)
    if image:
        write_image(root / f"{stem}.jpg", picture(0, SIZE))
    return path


def codes(data: Dataset[Any]) -> dict[str, int]:
    return {problem.code: len(problem.files) for problem in data.problems}


def mask_of(data: Dataset[Any], i: int = 0) -> np.ndarray:
    mask = data[i].mask
    assert mask is not None
    return mask


# Bad input first.


@pytest.mark.parametrize(
    "text",
    [
        xml(f"<name>cat</name>{BOX}")[:-30],
        "no XML",
        '<!DOCTYPE a [<!ENTITY b "c"><!ENTITY d "&b;&b;">]><annotation><filename>&d;</filename></annotation>',
        "<annotations><version>1.1</version></annotations>",
        "",
    ],
)
def test_a_file_that_is_none_of_voc_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(DataError, match=r"a\.xml") as caught:
        read(tmp_path / "a.xml", format="voc")
    assert "\n" not in str(caught.value)


def test_one_bad_file_among_many_is_an_error_in_the_list(tmp_path: Path) -> None:
    beside(tmp_path, xml(f"<name>cat</name>{BOX}"))
    write_text(tmp_path / "b.xml", "<annotation>")
    (tmp_path / "c.xml").write_bytes(b"<annotation><filename>\xff</filename></annotation>")
    data = read(tmp_path)
    assert len(data) == 1 and codes(data)["unreadable_file"] == 2
    assert [problem.level for problem in data.problems if problem.code == "unreadable_file"] == ["error"]


@pytest.mark.parametrize(
    "bad",
    [
        BOX,
        "<name>cat</name>",
        "<name>cat</name><bndbox><xmin>3</xmin></bndbox>",
        f"<name>cat</name>{BOX.replace('3', 'nan')}",
        f"<name>cat</name>{BOX.replace('3', '1e99')}",
        f"<name>cat</name>{BOX.replace('3', 'three')}",
        "<name>cat</name><polygon><x1>3</x1><y1>4</y1><x2>4</x2><y2>5</y2></polygon>",
        "<name>cat</name><polygon><x1>3</x1><x2>4</x2><x3>5</x3></polygon>",
    ],
)
def test_a_bad_object_is_counted_and_the_others_are_read(tmp_path: Path, bad: str) -> None:
    beside(tmp_path, xml(bad, f"<name>dog</name>{BOX}"))
    data = read(tmp_path, format="voc")
    assert codes(data)["bad_shape"] == 1
    assert "a.xml: object 1" in data.problems[0].files[0]
    assert [shape.label for shape in data[0].shapes or ()] == ["dog"]


@pytest.mark.parametrize("size", [("1e12", "5"), (2**30, 2**30), (-3, 5), ("x", "5"), ("2.5", "7")])
def test_absurd_sizes_leave_the_decision_to_the_image(tmp_path: Path, size: Any) -> None:
    beside(tmp_path, xml(f"<name>cat</name>{BOX}", size=size))
    data = read(tmp_path)
    assert codes(data)["bad_size"] == 1 and mask_of(data).shape == SIZE


def test_a_name_that_leads_out_of_the_folder_finds_nothing(tmp_path: Path) -> None:
    write_image(tmp_path / "secret.jpg", picture(1))
    beside(tmp_path / "data", xml(f"<name>cat</name>{BOX}", name="../secret.jpg"), image=False)
    data = read(tmp_path / "data")
    assert codes(data)["missing_image"] == 1 and data[0].path is None
    assert mask_of(data).shape == SIZE  # the labels are there without the image


def test_two_files_for_one_image(tmp_path: Path) -> None:
    beside(tmp_path, xml(f"<name>cat</name>{BOX}"))
    beside(tmp_path, xml(f"<name>cat</name>{BOX}"), "b", image=False)
    assert codes(read(tmp_path))["repeated_image"] == 1


def test_lists_that_name_no_mask(tmp_path: Path) -> None:
    devkit(tmp_path, {"Segmentation/train": ["2009_000001"]})
    with pytest.raises(DataError, match="none of the 4 masks"):
        read(tmp_path)


def test_a_folder_without_anything_of_voc(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", picture(0))
    with pytest.raises(DataError, match="no mask and no XML"):
        read(tmp_path, format="voc")


def test_pixels_count_from_one_or_zero(tmp_path: Path) -> None:
    beside(tmp_path, xml(f"<name>cat</name>{BOX}"))
    with pytest.raises(UsageError, match="first pixel"):
        read(tmp_path, first_pixel=2)
    one, zero = mask_of(read(tmp_path)), mask_of(read(tmp_path, first_pixel=0))
    assert np.argwhere(one)[[0, -1]].tolist() == [[1, 2], [3, 5]]
    assert np.argwhere(zero)[[0, -1]].tolist() == [[2, 3], [3, 5]]


# Masks.


def test_masks_are_the_truth_and_objects_the_instances(tmp_path: Path) -> None:
    train = {"Segmentation/train": ["2007_000002", "2007_000000"], "Segmentation/val": ["2007_000001"]}
    everything = {"Segmentation/trainval": ["2007_000000", "2007_000001", "2007_000002", "2007_000003"]}
    devkit(tmp_path, train | everything)
    write_text(tmp_path / "Annotations" / "2007_000000.xml", xml(f"<name>cat</name>{BOX}"))
    data = read(tmp_path)
    assert (data.labels, data.splits, data.problems) == (voc.LABELS, ("train", "val"), ())
    assert [s.name for s in data.select("train")] == ["2007_000002", "2007_000000", "2007_000003"]
    sample = data[1]
    mask, objects = labelled(0)
    assert np.array_equal(sample.mask, mask) and sample.shapes is None
    assert np.array_equal(sample.instances, np.where(objects == 255, 0, objects))
    assert sample.image.shape == (*SIZE, 3)


def test_a_devkit_in_a_folder_of_its_own(tmp_path: Path) -> None:
    devkit(tmp_path / "VOCdevkit" / "VOC2012", {"Segmentation/trainval": ["2007_000000"]})
    data = read(tmp_path)
    assert (len(data), data.splits) == (1, ("train",)) and codes(data) == {"unlisted_image": 3}


def test_opening_reads_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    devkit(tmp_path, {"Segmentation/train": ["2007_000000", "2007_000001"]})
    write_text(tmp_path / "classes.txt", "\n".join(voc.NAMES))

    def refuse(*args: Any, **options: Any) -> None:
        raise AssertionError("a picture was opened")

    monkeypatch.setattr(Image, "open", refuse)
    assert len(read(tmp_path, format="voc")) == 2


def test_what_lists_and_folders_lack_is_told(tmp_path: Path) -> None:
    devkit(tmp_path, {"Segmentation/train": ["# all of them", "2007_000000 ", "2007_000001", "gone", "bare"]})
    write_image(tmp_path / "JPEGImages" / "bare.jpg", picture(9))
    (tmp_path / "JPEGImages" / "2007_000001.jpg").unlink()
    data = read(tmp_path)
    assert codes(data) == {"missing_listed": 1, "missing_mask": 1, "missing_image": 1, "unlisted_image": 2}
    assert mask_of(data, 1).shape == SIZE
    with pytest.raises(DataError, match="2007_000001"):
        _ = data[1].image


def test_without_lists_all_masks_count(tmp_path: Path) -> None:
    devkit(tmp_path)
    write_image(tmp_path / "JPEGImages" / "bare.jpg", picture(9))
    data = read(tmp_path)
    assert len(data) == 4 and data.splits == () and codes(data) == {"unpaired_image": 1}


def test_pictures_of_masks_are_no_masks(tmp_path: Path) -> None:
    devkit(tmp_path, count=2)
    write_image(tmp_path / "SegmentationClass" / "2007_000000_color.png", picture(1, SIZE))
    data = read(tmp_path)
    assert len(data) == 2 and not data.problems


def test_values_beyond_vocs_need_names(tmp_path: Path) -> None:
    devkit(tmp_path)
    palette_png(tmp_path / "SegmentationClass" / "2007_000000.png", np.full(SIZE, 40))
    with pytest.raises(DataError, match="what are the classes called"):
        read(tmp_path)
    data = read(tmp_path, labels=[f"c{i}" for i in range(41)], mapping={255: 0})
    assert len(data.labels) == 41 and not (mask_of(data, 1) == 255).any()


def test_assumed_classes_are_told_unless_the_names_are_vocs(tmp_path: Path) -> None:
    devkit(tmp_path)
    assert not read(tmp_path).problems
    for path in tmp_path.rglob("2007_000000.*"):
        path.rename(path.with_stem("holiday"))
    assert codes(read(tmp_path)) == {"assumed_classes": 1}


def test_cvats_masks_in_the_colours_of_labelmap(tmp_path: Path) -> None:
    """ "Segmentation mask 1.1": colours, names with folders, one list called default."""
    rows = ["# label:color_rgb:parts:actions", "background:0,0,0::", "cat:250,50,83::", "dog:10,20,30::"]
    write_text(tmp_path / "labelmap.txt", "\n".join(rows))
    write_text(tmp_path / "ImageSets" / "Segmentation" / "default.txt", 'sub/a\n"sub/b c"\n')
    table = np.array([(0, 0, 0), (250, 50, 83), (10, 20, 30)], np.uint8)
    values = labelled(1, 3)[0] % 255
    objects = np.where(values > 0, values, 0)
    for stem in ("a", "b c"):
        write_image(tmp_path / "SegmentationClass" / "sub" / f"{stem}.png", table[values])
        colours = np.array(voc_colours(256), np.uint8)[objects]
        write_image(tmp_path / "SegmentationObject" / "sub" / f"{stem}.png", colours)
    data = read(tmp_path)
    assert data.labels.names == ("background", "cat", "dog") and data.labels.colours[1] == (250, 50, 83)
    assert data.splits == () and [s.name for s in data] == ["a", "b c"]
    assert np.array_equal(mask_of(data, 1), values)
    assert np.array_equal(data[1].instances, objects)
    assert codes(data) == {"missing_image": 2}


def test_a_mask_folder_with_the_names_of_voc_only_stays_a_mask_folder(tmp_path: Path) -> None:
    devkit(tmp_path)
    for path in sorted((tmp_path / "SegmentationObject").iterdir()):
        path.unlink()
    (tmp_path / "SegmentationObject").rmdir()
    assert not voc.recognise(tmp_path)
    write_text(tmp_path / "labelmap.txt", "background:0,0,0::\ncat:128,0,0::\n")
    assert voc.recognise(tmp_path)


def test_masks_say_more_than_boxes_beside_them(tmp_path: Path) -> None:
    write_image(tmp_path / "images" / "a.jpg", picture(0, SIZE))
    palette_png(tmp_path / "annotations" / "trimaps" / "a.png", labelled(0)[0])
    write_text(tmp_path / "annotations" / "xmls" / "a.xml", xml(f"<name>cat</name>{BOX}"))
    assert not voc.recognise(tmp_path)


# XML.


def test_boxes_include_both_ends(tmp_path: Path) -> None:
    beside(tmp_path, xml(f"<name>cat</name>{BOX}", f"<name>dog</name>{BOX.replace('3', '9')}"))
    data = read(tmp_path)
    cat, dog = data[0].shapes or ()
    assert cat.geometry == Box(2, 1, 6, 4)
    assert dog.geometry == Box(5, 1, 9, 4) and codes(data) == {"swapped_box": 1, "only_boxes": 1}
    assert data.labels.names == ("background", "cat", "dog")


def test_marks_and_attributes(tmp_path: Path) -> None:
    marks = "<pose>Left</pose><truncated>1</truncated><difficult>0</difficult><occluded>1</occluded>"
    pairs = "<attributes><attribute><name>fur</name><value>red</value></attribute></attributes>"
    part = f"<part><name>head</name>{BOX}</part>"
    beside(tmp_path, xml(f"<name>猫</name>{marks}{pairs}{part}{BOX}"))
    data = read(tmp_path)
    [cat] = data[0].shapes or ()
    assert (cat.label, cat.occluded) == ("猫", True)
    assert cat.attributes == {"pose": "Left", "truncated": True, "fur": "red"}
    assert codes(data)["part"] == 1


def test_polygons_of_roboflow_are_voc(tmp_path: Path) -> None:
    corners = [(3, 2), (10, 2), (10, 9)]
    text = "".join(f"<x{i}>{x}</x{i}><y{i}>{y}</y{i}>" for i, (x, y) in enumerate(corners, 1))
    source = "<source><database>roboflow.ai</database></source>"
    for split, name in (("train", "a"), ("valid", "b")):
        one = xml(f"<name>cat</name><polygon>{text}</polygon>{BOX}", name=f"{name}.jpg", source=source)
        beside(tmp_path / split, one, name)
    data = read(tmp_path)
    assert voc.recognise(tmp_path) and data.splits == ("train", "val") and not data.problems
    [cat] = data[0].shapes or ()
    assert isinstance(cat.geometry, Polygon)
    assert cat.geometry.rings[0].exterior.tolist() == [[2, 1], [9, 1], [9, 8]]


@pytest.mark.parametrize(
    ("text", "image"),
    [
        ("a.jpg", "JPEGImages/a.jpg"),
        ("old name.jpg", "images/a.jpg"),
        ("a", "JPEGImages/a.png"),
        ("", "a.jpg"),
        ("sub/b.jpg", "other/sub/b.jpg"),
    ],
)
def test_images_are_found_although_people_rename_them(tmp_path: Path, text: str, image: str) -> None:
    write_text(tmp_path / "Annotations" / "a.xml", xml(f"<name>cat</name>{BOX}", name=text))
    write_image(tmp_path / image, picture(3, SIZE))
    assert read(tmp_path)[0].path == tmp_path / image


def test_main_lists_give_boxes_their_splits(tmp_path: Path) -> None:
    for name in ("000001", "000002", "000003"):
        write_text(
            tmp_path / "Annotations" / f"{name}.xml", xml(f"<name>cat</name>{BOX}", name=f"{name}.jpg")
        )
        write_image(tmp_path / "JPEGImages" / f"{name}.jpg", picture(0, SIZE))
    lists = tmp_path / "ImageSets" / "Main"
    write_text(lists / "val.txt", "000002\n000009\n")
    write_text(lists / "trainval.txt", "000001\n000002\n000003\n")
    write_text(lists / "cat_train.txt", "000001  1\n000002 -1\n")
    data = read(tmp_path)
    assert [sample.meta["split"] for sample in data] == ["train", "val", "train"]
    assert codes(data) == {"missing_listed": 1, "only_boxes": 1}
    assert data.labels == voc.LABELS  # names, numbers and classes are VOC's


# There and back.

LABEL_MAP = LabelMap(("background", "cat", "犬"), ((0, 0, 0), (9, 8, 7), (250, 1, 2)))


def drawn() -> list[Shape]:
    ring = Ring(np.array([[1.0, 1], [9, 1], [9, 9], [1, 9]]), (np.array([[3.0, 3], [3, 6], [6, 6], [6, 3]]),))
    return [
        Shape("cat", Polygon((ring,))),
        Shape("犬", Box(10, 1, 13, 4), group=3),
        Shape("犬", Box(10, 6, 13, 8), group=3),
        Shape("cat", Ellipse(12.5, 9.5, 2.2, 1.7, angle=30)),
        Shape("cat", Bitmap(2, 9, 3, 3, np.array([1, 7, 1]))),
        Shape("ignore", Box(0, 0, 16, 1)),
        Shape("cat", Box(14, 1, 16, 3), crowd=True),
    ]


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    images = [
        AnnotatedImage(f"sub/{i}.png", Path(), *SIZE, shapes=drawn(), split=split)
        for i, split in enumerate(("train", "val", "train"))
    ]
    before = to_dataset(Document(images), Path("nowhere"), LABEL_MAP)
    report = write(before, tmp_path / "out", "voc", images="none")
    assert dict(report.losses) == {"mark of a crowd not written": 3}
    after = read(tmp_path / "out")
    assert after.labels.names == LABEL_MAP.names and after.labels.colours == LABEL_MAP.colours
    assert [len(after.select(split)) for split in ("train", "val")] == [2, 1]
    assert codes(after) == {"missing_image": 3}
    sample = after.select("val")[0]
    assert np.array_equal(sample.mask, before[1].mask)
    expected = before[1].instances
    assert expected is not None and sample.instances is not None
    expected = np.where(mask_of(before, 1) == 255, 0, expected)
    assert len(np.unique(expected)) == 5 and np.array_equal(sample.instances > 0, expected > 0)
    for value in np.unique(expected)[1:]:  # numbers may differ, objects may not
        assert len(np.unique(sample.instances[expected == value])) == 1
    boxes = read(tmp_path / "out" / "Annotations" / "sub_1.xml")[0].shapes or ()
    assert [shape.label for shape in boxes] == ["cat", "犬", "cat", "cat"]
    assert boxes[1].geometry == Box(10, 1, 13, 8)


def test_masks_and_images_come_back(tmp_path: Path) -> None:
    mask, _ = labelled(4, 3)
    sample = Sample(picture(0, SIZE), mask.astype(np.uint8), meta={"name": "a b"})
    write(Dataset([sample], lambda record: record, LABEL_MAP), tmp_path, "voc")
    after = read(tmp_path)
    assert np.array_equal(mask_of(after), mask) and np.array_equal(after[0].image, picture(0, SIZE))
    assert (tmp_path / "ImageSets/Segmentation/default.txt").read_text() == "a b\n"
    with Image.open(tmp_path / "SegmentationClass" / "a b.png") as image:
        assert image.mode == "P"
        assert image.getpalette()[-3:] == [224, 224, 192]
        assert image.getpalette()[3:6] == [9, 8, 7]


def test_many_objects_and_many_classes(tmp_path: Path) -> None:
    labels = LabelMap(("background", *(f"c:{i}" for i in range(299))))
    shapes = [Shape(f"c:{i % 299}", Box(i % 20, i // 20, i % 20 + 1, i // 20 + 1)) for i in range(300)]
    image = AnnotatedImage("a.png", Path(), 16, 20, shapes=shapes)
    before = to_dataset(Document([image]), Path("nowhere"), labels)
    write(before, tmp_path / "out", "voc", images="none")
    after = read(tmp_path / "out")
    assert after.labels.names == labels.names and np.array_equal(mask_of(after), mask_of(before))
    assert after[0].instances is not None and len(np.unique(after[0].instances)) == 301


# Anything may be in a file.

VALID = xml(f"<name>cat</name><truncated>1</truncated>{BOX}", f"<name>dog</name>{BOX}")


def opened(path: Path, format: str) -> None:
    """Everything that a user touches: it works, or says in one sentence which file is bad."""
    try:
        for sample in read(path, format=format):
            _ = sample.mask, sample.instances, sample.image
    except PixelwiseError as error:
        assert str(path) in str(error) or path.stem in str(error)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=4), st.integers(0, 10**6))
def test_damaged_bytes(tmp_path: Path, flips: list[tuple[int, int]], length: int) -> None:
    data = bytearray(VALID.encode())
    for at, value in flips:
        data[at % len(data)] = value
    path = beside(tmp_path, "")
    path.write_bytes(data[: length % (2 * len(data)) + 1])
    opened(path, "voc")


JUNK = ("", "-1", "nan", "1e400", "x", "../../a", "9" * 400, "𝟛", " ", ".", "a/b.jpg", "1_0")
TEXTS = ("a.jpg", "12", "16", "cat", "3", "2", "6", "4", "1", "dog")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(TEXTS), st.sampled_from(["", "-1", "nan", "1e400", "x", "../../a", "9" * 400, "𝟛", " "])
)
@example("a.jpg", "x" * 5000 + ".jpg")
def test_wrong_texts_anywhere(tmp_path: Path, old: str, new: str) -> None:
    opened(beside(tmp_path, VALID.replace(f">{old}<", f">{new}<")), "voc")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=30))
def test_any_list(tmp_path: Path, text: str) -> None:
    if not (tmp_path / "JPEGImages").is_dir():
        devkit(tmp_path, count=2)
    write_text(
        tmp_path / "ImageSets" / "Segmentation" / "train.txt", text.encode("utf-8", "replace").decode()
    )
    opened(tmp_path, "voc")
