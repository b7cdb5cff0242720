"""Image and mask folders: every layout, where classes come from, what values mean."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pixelwise.data import read
from pixelwise.data.classes import complete_mapping
from pixelwise.errors import DataError, UsageError
from pixelwise.io import UnknownValuesError, write_text
from pixelwise.labels import LabelMap
from pixelwise.sample import Dataset, Sample
from tests.data.folders import LABELS, add, ids, picture, street, write_raw

Expected = list[tuple[str, str, str | None]]


def pairs(root: Path, data: Dataset[Sample]) -> Expected:
    """(image, mask, split) of every sample, relative to the folder."""
    found = []
    for sample in data:
        assert sample.path is not None
        mask = sample.meta["mask_path"].relative_to(root).as_posix()
        found.append((sample.path.relative_to(root).as_posix(), mask, sample.meta["split"]))
    return found


LAYOUTS: dict[str, Expected] = {
    "flat": [("images/a.jpg", "masks/a.png", None), ("images/b.jpg", "masks/b.png", None)],
    "kind above split": [
        ("images/train/a.jpg", "masks/train/a.png", "train"),
        ("images/val/a.jpg", "masks/val/a.png", "val"),
    ],
    "split above kind": [
        ("train/images/a.jpg", "train/masks/a.png", "train"),
        ("test/images/b.jpg", "test/masks/b.png", "test"),
    ],
    "annot": [("train/a.png", "trainannot/a.png", "train"), ("val/b.png", "valannot/b.png", "val")],
    "train_labels": [
        ("train/a.png", "train_labels/a_L.png", "train"),
        ("val/b.png", "val_labels/b_L.png", "val"),
    ],
    "both named": [("train_images/a.jpg", "train_segmentations/a.png", "train")],
    "split last": [("images_val/a.jpg", "masks_val/a.png", "val")],
    "year": [("images/train2017/a.jpg", "annotations/train2017/a.png", "train")],
    "validation": [
        ("images/training/a.jpg", "annotations/training/a.png", "train"),
        ("images/validation/b.jpg", "annotations/validation/b.png", "val"),
    ],
    "VOC": [("JPEGImages/2007_000032.jpg", "SegmentationClass/2007_000032.png", None)],
    "img_dir": [("img_dir/train/a.jpg", "ann_dir/train/a.png", "train")],
    "gt": [("img/a.jpg", "gt/a_gt.png", None)],
    "numpy": [("images/a.jpg", "masks/a.npy", None)],
    "KITTI": [("training/image_2/000000_10.png", "training/semantic/000000_10.png", "train")],
    "sub-folders": [
        ("images/train/bonn/001.png", "masks/train/bonn/001.png", "train"),
        ("images/train/ulm/001.png", "masks/train/ulm/001.png", "train"),
    ],
    "sub-folders of images only": [("images/ulm/x.png", "masks/x.png", None)],
    "Cityscapes": [
        (
            "leftImg8bit/val/ulm/ulm_01_leftImg8bit.png",
            "gtFine/val/ulm/ulm_01_gtFine_labelTrainIds.png",
            "val",
        ),
    ],
    "both suffixes": [("imgs/00_img.jpg", "gts/00_gt.png", None)],
    "one folder, suffix": [("a.png", "a_mask.png", None), ("b.png", "b_mask.png", None)],
    "one folder, both suffixes": [("data/100_sat.jpg", "data/100_mask.png", None)],
    "one folder, JPEG and PNG": [("a.jpg", "a.png", None)],
    "one folder each": [
        ("train/a.jpg", "train/a_label.png", "train"),
        ("val/a.jpg", "val/a_label.png", "val"),
    ],
    "capitals": [("Images/A.JPG", "Masks/A.PNG", None)],
    "single split": [("test/a.png", "testannot/a.png", "test")],
    "stem that looks like a suffix": [("images/scan_L.png", "masks/scan_L.png", None)],
    "parent folder": [("data/images/a.png", "data/masks/a.png", None)],
    "names with spaces": [("images/my photo.jpg", "masks/my photo.png", None)],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout(tmp_path: Path, layout: str) -> None:
    expected = LAYOUTS[layout]
    for seed, (image, mask, _) in enumerate(expected):
        add(tmp_path, image, mask, seed)
    write_text(tmp_path / "classes.txt", "\n".join(LABELS.names))
    data = read(tmp_path)
    assert pairs(tmp_path, data) == expected
    assert data.problems == ()
    assert data.labels == LABELS
    assert data.splits == tuple(dict.fromkeys(split for *_, split in expected if split))
    for sample in data:
        assert sample.mask is not None and sample.mask.shape == sample.size == (12, 16)


@given(
    suffix=st.sampled_from(
        [
            "",
            "_mask",
            "_gt",
            "_L",
            "_label",
            "_labels",
            "_labelIds",
            "_labelTrainIds",
            "_seg",
            "_segmentation",
        ]
        + ["_annot", "-mask", ".gt", "_MASK", "_gtFine_labelIds", "_pixels0"]
    )
)
def test_usual_suffixes_are_taken_off(tmp_path_factory: pytest.TempPathFactory, suffix: str) -> None:
    root = tmp_path_factory.mktemp("suffix")
    add(root, "images/x 1.png", f"masks/x 1{suffix}.png")
    assert len(read(root, labels=LABELS)) == 1


def test_companions_of_masks_are_not_taken_for_masks(tmp_path: Path) -> None:
    add(tmp_path, "JPEGImages/a.jpg", "SegmentationClass/a.png")
    write_raw(tmp_path / "SegmentationObject" / "a.png", ids(1))
    write_raw(tmp_path / "SegmentationClassVisualization" / "a.jpg", picture(1))
    write_raw(tmp_path / "SegmentationClass" / "a_color.png", picture(1))
    data = read(tmp_path, labels=LABELS)
    assert pairs(tmp_path, data) == [("JPEGImages/a.jpg", "SegmentationClass/a.png", None)]
    assert data.problems == ()


class TestLeftOut:
    """Files that cannot be used are named, never skipped in silence."""

    def problems(self, root: Path) -> dict[str, tuple[str, ...]]:
        found = read(root, labels=LABELS).problems
        assert all(problem.level == "warning" and problem.fix for problem in found)
        return {problem.code: problem.files for problem in found}

    def test_images_and_masks_without_partner(self, tmp_path: Path) -> None:
        street(tmp_path)
        add(tmp_path, "images/train/lonely.png", None)
        write_raw(tmp_path / "masks" / "val" / "orphan.png", ids(0))
        assert self.problems(tmp_path) == {
            "unpaired_image": ("images/train/lonely.png",),
            "unpaired_mask": ("masks/val/orphan.png",),
        }
        assert len(read(tmp_path)) == 6

    def test_an_unlabelled_test_split(self, tmp_path: Path) -> None:
        street(tmp_path)
        for number in range(3):
            add(tmp_path, f"images/test/{number}.png", None, 50 + number)
        assert self.problems(tmp_path) == {"unpaired_image": tuple(f"images/test/{n}.png" for n in range(3))}
        assert read(tmp_path).splits == ("train", "val")

    def test_two_masks_for_one_image(self, tmp_path: Path) -> None:
        add(tmp_path, "images/a.png", "masks/a_labelIds.png")
        write_raw(tmp_path / "masks" / "a_labelTrainIds.png", ids(0))
        assert self.problems(tmp_path) == {"extra_mask": ("masks/a_labelIds.png",)}
        assert read(tmp_path, labels=LABELS)[0].meta["mask_path"].name == "a_labelTrainIds.png"

    def test_images_outside_the_layout(self, tmp_path: Path) -> None:
        street(tmp_path)
        add(tmp_path, "logo.png", None)
        assert self.problems(tmp_path) == {"unused_image": ("logo.png",)}

    def test_equal_stems_in_two_folders_are_not_guessed_at(self, tmp_path: Path) -> None:
        add(tmp_path, "images/ulm/1.png", "masks/1.png")
        add(tmp_path, "images/bonn/1.png", None, 1)
        add(tmp_path, "images/2.png", "masks/2.png", 2)
        assert self.problems(tmp_path) == {
            "unpaired_image": ("images/bonn/1.png", "images/ulm/1.png"),
            "unpaired_mask": ("masks/1.png",),
        }

    def test_pairs_do_not_cross_splits(self, tmp_path: Path) -> None:
        street(tmp_path)
        add(tmp_path, "images/train/x.png", "masks/val/x.png", 50)
        assert self.problems(tmp_path) == {
            "unpaired_image": ("images/train/x.png",),
            "unpaired_mask": ("masks/val/x.png",),
        }


class TestListFiles:
    @pytest.fixture
    def flat(self, tmp_path: Path) -> Path:
        for seed, name in enumerate("abcd"):
            add(tmp_path, f"images/{name}.jpg", f"masks/{name}_gt.png", seed)
        return tmp_path

    def splits(self, root: Path) -> dict[str, list[str]]:
        data = read(root, labels=LABELS)
        return {split: [sample.name for sample in data.select(split)] for split in data.splits}

    @pytest.mark.parametrize("folder", ["", "splits", "ImageSets/Segmentation"])
    @pytest.mark.parametrize(
        "line",
        [
            "{}",
            "{}.jpg",
            "images/{}.jpg",
            "images/{}",
            "./images/{}.jpg",
            "/home/someone/data/images/{}.jpg",
            "images/{}.jpg masks/{}_gt.png",
            "/ROOT/images/{}.jpg\t/ROOT/masks/{}_gt.png",
            "images/{}.jpg,masks/{}_gt.png",
            "images\\{}.jpg",
        ],
    )
    def test_lines(self, flat: Path, folder: str, line: str) -> None:
        for split, names in {"train": "ab", "val": "c", "test": "d"}.items():
            text = "".join(line.replace("{}", name) + "\r\n" for name in names)
            write_text(flat / folder / f"{split}.txt", "\ufeff" + text)
        assert self.splits(flat) == {"train": ["a", "b"], "val": ["c"], "test": ["d"]}
        assert read(flat, labels=LABELS).problems == ()

    def test_what_only_held_out_lists_leave_is_for_training(self, flat: Path) -> None:
        write_text(flat / "valid.txt", "c.jpg\n")
        assert self.splits(flat) == {"train": ["a", "b", "d"], "val": ["c"]}

    def test_unlisted_and_missing_images_are_named(self, flat: Path) -> None:
        write_text(flat / "train.txt", "a\nnot_there\n")
        write_text(flat / "val.txt", "b\n")
        problems = {problem.code: problem.files for problem in read(flat, labels=LABELS).problems}
        assert problems == {
            "missing_listed": ("not_there",),
            "unlisted_image": ("images/c.jpg", "images/d.jpg"),
        }

    def test_lists_that_match_nothing_are_an_error(self, flat: Path) -> None:
        write_text(flat / "train.txt", "x\ny\n")
        with pytest.raises(DataError, match=r"name none of the 4 images .* \(train.txt begins with 'x'"):
            read(flat, labels=LABELS)

    def test_lists_may_pair_folders_of_any_name(self, tmp_path: Path) -> None:
        for seed, name in enumerate("ab"):
            add(tmp_path, f"camera/{name}.jpg", f"classes_of/{name}.png", seed)
        write_text(tmp_path / "train.txt", "camera/a.jpg classes_of/a.png\n")
        write_text(tmp_path / "val.txt", "camera/b.jpg classes_of/b.png\n")
        expected = [
            ("camera/a.jpg", "classes_of/a.png", "train"),
            ("camera/b.jpg", "classes_of/b.png", "val"),
        ]
        assert pairs(tmp_path, read(tmp_path, labels=LABELS)) == expected

    def test_an_ambiguous_stem_is_not_guessed_at(self, tmp_path: Path) -> None:
        for seed, name in enumerate(("ulm/1", "bonn/1", "bonn/2")):
            add(tmp_path, f"images/{name}.png", f"masks/{name}.png", seed)
        write_text(tmp_path / "train.txt", "1\n2\nulm/1\n")
        data = read(tmp_path, labels=LABELS)
        assert [sample.meta["mask_path"].relative_to(tmp_path / "masks").as_posix() for sample in data] == [
            "bonn/2.png",
            "ulm/1.png",
        ]
        assert {p.code: p.files for p in data.problems}["missing_listed"] == ("1",)

    def test_folders_that_name_splits_come_first(self, tmp_path: Path) -> None:
        street(tmp_path)
        write_text(tmp_path / "train.txt", "nothing of this\n")
        assert read(tmp_path).splits == ("train", "val")


class TestClasses:
    @pytest.fixture
    def flat(self, tmp_path: Path) -> Path:
        add(tmp_path, "images/a.png", "masks/a.png")
        return tmp_path

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("classes.txt", "road\ncar\nsky"),
            ("Classes.TXT", "road\ncar\nsky"),
            ("classes.csv", "index,name\n0,road\n1,car\n2,sky\n"),
            ("labels.txt", "road\ncar\nsky"),
            ("class_names.txt", "road\ncar\nsky"),
            ("codes.txt", "road\ncar\nsky"),
            ("classes.json", '["road", "car", "sky"]'),
            ("data.yaml", "names: {0: road, 1: car, 2: sky}"),
        ],
    )
    def test_class_files(self, flat: Path, name: str, text: str) -> None:
        write_text(flat / name, text)
        assert read(flat).labels.names == ("road", "car", "sky")

    @pytest.mark.parametrize("labels", [LABELS, ["road", "car", "sky"], LABELS.to_dict()])
    def test_given_classes_win_over_the_file(self, flat: Path, labels: object) -> None:
        write_text(flat / "classes.txt", "x\ny\n")
        assert read(flat, labels=labels).labels == LABELS  # type: ignore[arg-type]

    def test_a_class_file_from_elsewhere(self, flat: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
        path = tmp_path_factory.mktemp("elsewhere") / "street.txt"
        write_text(path, "road\ncar\nsky")
        assert read(flat, labels=path).labels == read(flat, labels=str(path)).labels == LABELS

    def test_without_names_the_values_are_listed_and_names_asked_for(self, flat: Path) -> None:
        with pytest.raises(
            DataError, match=r"what are the classes called\?.*values 0, 1, 2; write .*classes.txt"
        ):
            read(flat)

    def test_without_names_0_and_255_are_asked_about(self, flat: Path) -> None:
        write_raw(flat / "masks" / "a.png", np.where(ids(0) > 0, 255, 0).astype(np.uint8))
        with pytest.raises(DataError, match="pass --classes background,object --map 255=1"):
            read(flat)

    def test_without_names_colours_are_listed(self, flat: Path) -> None:
        write_raw(flat / "masks" / "a.png", picture(3))
        with pytest.raises(DataError, match=r"RGB picture \(colours .* 'name,r,g,b' a line"):
            read(flat)

    def test_a_class_file_with_duplicates_is_named(self, flat: Path) -> None:
        write_text(flat / "classes.txt", "road\ncar\nroad\n")
        with pytest.raises(DataError, match=r"classes.txt: .* more than once: road"):
            read(flat)


class TestValues:
    def mask(self, root: Path, stored: np.ndarray, **arguments: object) -> np.ndarray:
        add(root, "images/a.png", None)
        write_raw(root / "masks" / "a.png", stored)
        mask = read(root, **arguments)[0].mask  # type: ignore[arg-type]
        assert mask is not None
        return mask

    def test_the_class_files_values_become_ids(self, tmp_path: Path) -> None:
        write_text(tmp_path / "classes.csv", "0,void\n10,road\n20,car\n")
        mask = self.mask(tmp_path, ids(0) * 10)
        assert mask.dtype == np.uint8
        assert np.array_equal(mask, np.array([255, 0, 1], np.uint8)[ids(0)])

    def test_map_makes_yes_of_255(self, tmp_path: Path) -> None:
        stored = np.where(ids(0) > 0, 255, 0).astype(np.uint8)
        assert np.array_equal(self.mask(tmp_path, stored, labels=["no", "yes"], mapping={255: 1}), stored > 0)

    def test_map_wins_over_the_class_file(self, tmp_path: Path) -> None:
        write_text(tmp_path / "classes.csv", "0,void\n10,road\n20,car\n")
        mask = self.mask(tmp_path, ids(0) * 10, mapping={0: 0})
        assert np.array_equal(mask, np.array([0, 0, 1], np.uint8)[ids(0)])

    def test_unknown_values_stay_for_the_check_to_name(self, tmp_path: Path) -> None:
        assert np.unique(self.mask(tmp_path, ids(0), labels=["road", "car"])).tolist() == [0, 1, 2]

    def test_a_value_that_the_class_file_leaves_out_is_not_taken_for_a_class(self, tmp_path: Path) -> None:
        write_text(tmp_path / "classes.csv", "1,road\n2,car\n")
        with pytest.raises(UnknownValuesError, match="does not list: 0"):
            self.mask(tmp_path, ids(0))

    def test_rgb_masks_by_the_class_files_colours(self, tmp_path: Path) -> None:
        write_text(tmp_path / "label_colors.txt", "0 0 0\tVoid\n128 64 128\tRoad\n64 0 128\tCar\n")
        colours = np.array([(0, 0, 0), (128, 64, 128), (64, 0, 128)], np.uint8)
        assert np.array_equal(self.mask(tmp_path, colours[ids(0)]), np.array([255, 0, 1], np.uint8)[ids(0)])

    def test_16_bit_and_1_bit_masks(self, tmp_path: Path) -> None:
        add(tmp_path, "images/a.png", None)
        write_raw(tmp_path / "masks" / "a.png", ids(0).astype(np.uint16))
        add(tmp_path, "images/b.png", None, 1)
        Image.fromarray(ids(1) > 0).save(tmp_path / "masks" / "b.png")
        data = read(tmp_path, labels=LABELS)
        assert np.array_equal(data[0].mask, ids(0)) and data[0].mask.dtype == np.uint8  # type: ignore[union-attr]
        assert np.array_equal(data[1].mask, ids(1) > 0)

    def test_mapping_to_a_class_that_does_not_exist(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="there is no class 2 to map to: the 2 classes have ids 0 to 1"):
            self.mask(tmp_path, ids(0), labels=["no", "yes"], mapping={255: 2})

    @given(
        own=st.dictionaries(st.integers(0, 255), st.integers(0, 2)),
        extra=st.dictionaries(st.integers(0, 255), st.sampled_from([0, 1, 2, 255])),
    )
    def test_the_callers_mapping_always_wins(self, own: dict[int, int], extra: dict[int, int]) -> None:
        mapping = complete_mapping(LABELS, own, extra)
        assert all(mapping[value] == to for value, to in extra.items())
        assert all(mapping[value] == to for value, to in own.items() if value not in extra)
        if not own and not extra:
            assert mapping == {}


def test_a_data_set_goes_to_other_processes(tmp_path: Path) -> None:
    data = pickle.loads(pickle.dumps(read(street(tmp_path))))
    assert np.array_equal(data[0].image, picture(0)) and np.array_equal(data[0].mask, ids(0))
    sample = pickle.loads(pickle.dumps(data[1]))
    assert np.array_equal(sample.mask, ids(1))


def test_large_folders_hold_light_records(tmp_path: Path) -> None:
    add(tmp_path, "images/a.png", "masks/a.png")
    data = read(tmp_path, labels=LABELS)
    assert data.records[0] == ("images/a.png", "masks/a.png", None)
    assert isinstance(data.labels, LabelMap)


def test_the_files_of_a_record_are_named_without_opening_it(tmp_path: Path) -> None:
    data = read(street(tmp_path))
    for some in (data, data.select("val"), data[1:3]):
        assert some.files_of is not None
        named = [some.files_of(record) for record in some.records]
        assert named == [(str(sample.path), str(sample.meta["mask_path"])) for sample in some]
