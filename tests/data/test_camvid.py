"""CamVid's original layout, on a generated look-alike."""

from pathlib import Path

import numpy as np
import pytest

from pixelwise.data import read
from pixelwise.data.datasets import camvid
from pixelwise.io import write_text
from pixelwise.labels import LabelMap
from tests.data.folders import picture, write_raw

FRAMES = {
    "train": ["0001TP_006690", "0006R0_f01470", "0016E5_00390"],
    "val": ["0016E5_07959", "0016E5_07961"],
    "test": ["0001TP_008550", "Seq05VD_f00000"],
}


def values(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(np.arange(192) % 12).reshape(12, 16).astype(np.uint8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    seed = 0
    for split, stems in FRAMES.items():
        lines = [f"/SegNet/CamVid/{split}/{s}.png /SegNet/CamVid/{split}annot/{s}.png" for s in stems]
        write_text(tmp_path / f"{split}.txt", "\n".join(lines) + "\n")
        for stem in stems:
            write_raw(tmp_path / split / f"{stem}.png", picture(seed))
            write_raw(tmp_path / f"{split}annot" / f"{stem}.png", values(seed))
            seed += 1
    return tmp_path


def test_it_is_recognised_without_a_class_file(root: Path) -> None:
    data = read(root)
    assert (data.name, data.labels, data.splits) == ("CamVid", camvid.LABELS, ("train", "val", "test"))
    assert [sample.name for sample in data] == [stem for stems in FRAMES.values() for stem in stems]
    assert data.problems == ()


def test_value_11_is_ignored(root: Path) -> None:
    mask = read(root)[0].mask
    assert mask is not None and mask.dtype == np.uint8
    assert np.array_equal(mask, np.where(values(0) == 11, 255, values(0)))


def test_the_table_is_the_published_one() -> None:
    assert len(camvid.LABELS) == 11
    assert camvid.LABELS.names[3] == "Road" and camvid.LABELS.colours[3] == (128, 64, 128)
    assert camvid.LABELS.names[10] == "Bicyclist" and camvid.LABELS.colours[10] == (0, 128, 192)
    assert camvid.LABELS.colours[4] == (60, 40, 222)


def test_its_own_class_file_changes_nothing(root: Path) -> None:
    rows = [f"{i},{name}" for i, name in enumerate((*camvid.LABELS.names, "Unlabelled"))]
    write_text(root / "classes.csv", "\n".join(rows))
    data = read(root)
    assert data.name == "CamVid" and data.labels == camvid.LABELS


def test_another_class_file_makes_it_a_plain_mask_folder(root: Path) -> None:
    write_text(root / "classes.txt", "\n".join(f"class {i}" for i in range(12)))
    data = read(root)
    assert len(data.labels) == 12
    assert np.array_equal(data[0].mask, values(0))


def test_the_same_layout_with_other_images_is_not_given_its_classes(root: Path) -> None:
    for path in root.rglob("*.png"):
        path.rename(path.with_name(path.name.replace("TP", "X").replace("R0", "X").replace("E5", "X")))
    for split in FRAMES:
        for folder in (root / split, root / f"{split}annot"):
            for path in sorted(folder.iterdir()):
                path.rename(path.with_name("frame" + path.name.replace("VD", "")))
    assert not camvid.recognise(root)
    assert read(root, format="camvid").labels == camvid.LABELS


def test_given_classes_and_values_replace_its_own(root: Path) -> None:
    names = LabelMap(("a", "b"))
    data = read(root, format="camvid", labels=names, mapping={value: value % 2 for value in range(11)})
    expected = np.where(values(0) == 11, 255, values(0) % 2)
    assert data.labels == names and np.array_equal(data[0].mask, expected)


def test_one_split_alone(root: Path) -> None:
    for split in ("train", "val"):
        for folder in (root / split, root / f"{split}annot"):
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
    data = read(root)
    assert (data.name, data.splits, len(data)) == ("CamVid", ("test",), 2)
