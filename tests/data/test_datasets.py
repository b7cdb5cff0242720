"""Public data sets in their original layout, on look-alikes: tests for all, then each one's own."""

from __future__ import annotations

import builtins
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pixelwise.cli.main import main
from pixelwise.data import check, read
from pixelwise.data.datasets import (
    CATALOGUE,
    SOURCES,
    ade20k,
    camvid,
    ccp,
    cityscapes,
    coco_stuff,
    pascal_context,
    pratheepan,
    verify,
)
from pixelwise.errors import DataError, MissingExtraError, UsageError
from pixelwise.io import write_text
from pixelwise.labels import LabelMap
from tests.data.folders import picture, street
from tests.data.lookalikes import (
    LOOK_ALIKES,
    SIZE,
    TRAIN_ID_OF,
    LookAlike,
    by_table,
    polygons,
    save,
    save_ids,
    save_matlab,
    save_photo,
    values_of,
)


@pytest.fixture(params=LOOK_ALIKES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def like(name: str) -> LookAlike:
    return LOOK_ALIKES[name]


def remove_labels(root: Path, like: LookAlike) -> None:
    """Remove everything that could serve as the labels of one image."""
    key = Path(like.mask).stem.split("_gtFine")[0]
    for path in (root / like.mask).parent.glob(f"{key}*"):
        path.unlink()


def snapshot(root: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(root)): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in sorted(root.rglob("*"))
    }


def missing_paths(name: str, root: Path) -> set[str]:
    return {entry.path for entry in verify(name, root).missing}


class TestEveryDataSet:
    def test_has_a_look_alike(self) -> None:
        # 2D-3D-S is tested beside the clouds that it belongs to.
        images = {key for key, info in CATALOGUE.items() if info.task == "image"} - {"2d3ds"}
        assert images == LOOK_ALIKES.keys()

    def test_describes_itself(self, name: str) -> None:
        info = CATALOGUE[name]
        assert info.name == name
        assert all(
            (info.title, info.source, info.licence, info.obtain, info.layout, info.folders, info.notes)
        )
        assert info.labels is next(iter(info.classes.values()))
        assert set(info.shares) <= set(info.labels.names) and sum(info.shares.values()) <= 1
        assert set(info.weights) <= set(info.labels.names)
        text = json.dumps(info.to_dict())
        assert json.loads(text)["classes"].keys() == info.classes.keys()

    def test_an_empty_folder(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(DataError, match=r"expected .*|the folder is empty|no image in this folder"):
            read(tmp_path, format=name)

    def test_a_file_instead_of_a_folder(self, tmp_path: Path, name: str) -> None:
        save_photo(tmp_path / "a.png", 0)
        assert not SOURCES[name].recognise(tmp_path / "a.png")
        with pytest.raises(DataError, match=r"expected a folder .* found a file"):
            read(tmp_path / "a.png", format=name)

    def test_images_whose_labels_are_all_missing(self, tmp_path: Path, name: str, like: LookAlike) -> None:
        save_photo(tmp_path / like.image, 0)
        with pytest.raises(DataError) as caught:
            read(tmp_path, format=name)
        assert str(caught.value).startswith(str(tmp_path)) and "\n" not in str(caught.value)

    def test_a_missing_mask_is_named_exactly(self, tmp_path: Path, name: str, like: LookAlike) -> None:
        like.build(tmp_path)
        before = missing_paths(name, tmp_path)
        remove_labels(tmp_path, like)
        assert missing_paths(name, tmp_path) - before == {like.mask}
        data = read(tmp_path, format=name)
        assert like.image not in {record.image for record in data.records}
        assert len(data) == sum(like.counts.values()) - 1
        if name != "ccp":  # there, half of the photos never had a mask
            [problem] = data.problems
            assert (problem.code, problem.level, problem.files) == ("missing_mask", "warning", (like.mask,))

    def test_a_missing_image_is_named_exactly(self, tmp_path: Path, name: str, like: LookAlike) -> None:
        like.build(tmp_path)
        before = missing_paths(name, tmp_path)
        (tmp_path / like.image).unlink()
        assert missing_paths(name, tmp_path) - before == {like.image}
        data = read(tmp_path, format=name)
        assert len(data) == sum(like.counts.values()) - 1
        [problem] = data.problems
        assert (problem.code, problem.files) == ("missing_image", (like.image,))

    def test_a_damaged_mask_is_one_error(self, tmp_path: Path, name: str, like: LookAlike) -> None:
        like.build(tmp_path)
        (tmp_path / like.mask).write_bytes(b"no mask at all")
        data = read(tmp_path, format=name)
        place = [record.mask for record in data.records].index(like.mask)
        with pytest.raises(DataError, match=str(tmp_path / like.mask)):
            _ = data[place].mask
        errors = [problem for problem in check(data).errors if problem.code == "unreadable_mask"]
        assert [problem.files for problem in errors] == [(like.mask,)]

    def test_is_recognised_by_nobody_else(self, tmp_path: Path, name: str, like: LookAlike) -> None:
        like.build(tmp_path)
        assert [other for other, source in SOURCES.items() if source.recognise(tmp_path)] == [name]
        assert read(tmp_path).name == CATALOGUE[name].title

    def test_leaves_plain_folders_alone(self, tmp_path: Path, name: str) -> None:
        assert not SOURCES[name].recognise(tmp_path)
        assert not SOURCES[name].recognise(street(tmp_path))

    def test_ids_and_splits(self, tmp_path: Path, name: str, like: LookAlike) -> None:
        expected = like.build(tmp_path)
        data = read(tmp_path)
        assert data.labels == CATALOGUE[name].labels and data.problems == ()
        assert {split: len(data.select(split)) for split in data.splits} == like.counts
        assert list(like.counts) == list(data.splits)
        labelled = [sample for sample in data if sample.labelled]
        assert {sample.name for sample in labelled} == expected.keys()
        for sample in labelled:
            mask = sample.mask
            assert mask is not None and mask.dtype == data.labels.dtype
            assert np.array_equal(mask, expected[sample.name]), sample.name
            assert sample.image.shape == (*SIZE, 3)
            assert sample.meta["mask_path"].is_file()
        assert all(sample.meta["split"] == "test" for sample in data if not sample.labelled)

    def test_opening_reads_no_pixels(self, tmp_path: Path, name: str, like: LookAlike) -> None:
        like.build(tmp_path)
        (tmp_path / like.image).write_bytes(b"")
        data = read(tmp_path, format=name)
        assert sum(sample.labelled for sample in data) >= 1

    def test_every_choice_of_classes_gives_its_ids(self, tmp_path: Path, name: str, like: LookAlike) -> None:
        like.build(tmp_path)
        for option, labels in CATALOGUE[name].classes.items():
            if (name, option) == ("camvid", "32"):  # needs the original layout
                continue
            data = read(tmp_path, format=name, classes=option)
            assert data.labels == labels
            masks = [sample.mask for sample in data if sample.labelled]
            ids = np.unique(np.concatenate([mask.ravel() for mask in masks if mask is not None]))
            assert set(ids.tolist()) <= {*range(len(labels)), labels.ignore}

    def test_unknown_classes(self, tmp_path: Path, name: str, like: LookAlike) -> None:
        like.build(tmp_path)
        with pytest.raises(UsageError, match=f"unknown classes of {name} '7': .*known: "):
            read(tmp_path, format=name, classes="7")

    def test_classes_that_are_no_text(self, tmp_path: Path, name: str, like: LookAlike) -> None:
        like.build(tmp_path)
        with pytest.raises(UsageError, match=rf"classes of {name} is a text such as '\w+', found 19"):
            read(tmp_path, format=name, classes=19)

    def test_a_class_file_with_other_names_says_it_is_somebody_elses(
        self, tmp_path: Path, name: str, like: LookAlike
    ) -> None:
        like.build(tmp_path)
        write_text(tmp_path / "classes.txt", "\n".join(f"class {i}" for i in range(256)))
        unmistakable = name in ("ccp", "pratheepan")
        assert SOURCES[name].recognise(tmp_path) == unmistakable
        write_text(tmp_path / "classes.txt", "\n".join(CATALOGUE[name].labels.names))
        assert SOURCES[name].recognise(tmp_path)

    def test_given_classes_are_joined_by_name(self, tmp_path: Path, name: str, like: LookAlike) -> None:
        expected = like.build(tmp_path)
        own = CATALOGUE[name].labels
        present = sorted({int(i) for ids in expected.values() for i in np.unique(ids)} - {own.ignore})
        chosen = [present[-1], present[0]]
        data = read(tmp_path, format=name, labels=[own.names[i] for i in chosen])
        sample = next(sample for sample in data if sample.labelled)
        wanted = by_table(expected[sample.name], {chosen[0]: 0, chosen[1]: 1})
        assert np.array_equal(sample.mask, wanted)
        assert (wanted != 255).any()

    def test_a_class_that_it_does_not_have(self, tmp_path: Path, name: str, like: LookAlike) -> None:
        like.build(tmp_path)
        with pytest.raises(UsageError, match="unknown class 'dragon'"):
            read(tmp_path, format=name, labels=["dragon"])

    def test_a_mapping_to_nowhere(self, tmp_path: Path, name: str, like: LookAlike) -> None:
        like.build(tmp_path)
        with pytest.raises(UsageError, match="there is no class 999 to map to"):
            read(tmp_path, format=name, mapping={0: 999})

    def test_nothing_is_written(self, tmp_path: Path, name: str, like: LookAlike) -> None:
        root = tmp_path / "data"
        like.build(root)
        before = snapshot(root)
        for sample in read(root):
            _ = sample.image, sample.mask, sample.instances
        verify(name, root, statistics=True)
        assert snapshot(root) == before


class TestVerify:
    def test_an_unknown_name(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="unknown data set 'camvit': did you mean 'camvid'"):
            verify("camvit", tmp_path)

    def test_no_folder(self, tmp_path: Path) -> None:
        result = verify("kitti", tmp_path / "gone")
        assert not result.ok and [entry.path for entry in result.missing] == ["."]
        assert str(tmp_path / "gone") in result.text()

    def test_an_empty_folder_lists_the_folders_and_not_each_file(self, tmp_path: Path) -> None:
        result = verify("kitti", tmp_path)
        assert [entry.path for entry in result.missing] == [
            "training/image_2",
            "training/semantic",
            "testing/image_2",
        ]
        assert result.found == {} and [problem.code for problem in result.problems] == ["unreadable"]

    def test_a_missing_folder_stands_for_its_files(self, tmp_path: Path) -> None:
        LOOK_ALIKES["kitti"].build(tmp_path)
        (tmp_path / "testing" / "image_2" / "000000_10.png").unlink()
        (tmp_path / "testing" / "image_2").rmdir()
        missing = missing_paths("kitti", tmp_path)
        assert "testing/image_2" in missing
        assert not any(path.startswith("testing/image_2/") for path in missing)
        assert len([path for path in missing if path.startswith("training/image_2/")]) == 195

    def test_a_complete_copy(self, tmp_path: Path) -> None:
        for number in range(78):
            save_photo(tmp_path / "Pratheepan_Dataset" / _kind(number) / f"{number}.jpg", number)
            grey = values_of([0, 255], number).astype(np.uint8)
            save(tmp_path / "Ground_Truth" / f"GroundT_{_kind(number)}" / f"{number}.png", grey)
        result = verify("pratheepan", tmp_path)
        assert result.ok and result.complete and result.missing == () and result.found == {"test": 78}
        assert result.text().startswith(f"pratheepan in {tmp_path}: complete\n  test: 78 of 78\n")

    def test_statistics_are_shares_and_median_frequency_weights(self, tmp_path: Path) -> None:
        photos, masks = tmp_path / "Pratheepan_Dataset" / "FacePhoto", tmp_path / "Ground_Truth"
        skin = np.zeros((4, 5), np.uint8)
        skin[0] = 255
        save(photos / "a.jpg", picture(0, (4, 5)))
        save(masks / "GroundT_FacePhoto" / "a.png", skin)
        result = verify("pratheepan", tmp_path, statistics=True)
        assert result.shares == {"test": {"background": 0.75, "skin": 0.25}}
        assert math.isclose(result.weights["skin"], 0.5 / 0.25)
        assert math.isclose(result.weights["background"], 0.5 / 0.75, rel_tol=1e-6)
        assert "25.00 %" in result.text() and result.to_dict()["weights"]["skin"] == 2.0

    def test_problems_of_the_data_check_come_with_statistics(self, tmp_path: Path) -> None:
        LOOK_ALIKES["kitti"].build(tmp_path)
        save(tmp_path / "training" / "image_2" / "000001_10.png", picture(1, (5, 8)))
        assert "size_mismatch" not in {problem.code for problem in verify("kitti", tmp_path).problems}
        result = verify("kitti", tmp_path, statistics=True)
        [problem] = [problem for problem in result.problems if problem.code == "size_mismatch"]
        assert "unlabelled" not in {problem.code for problem in result.problems}
        assert problem.files == ("training/semantic/000001_10.png",)

    def test_progress(self, tmp_path: Path) -> None:
        LOOK_ALIKES["camvid"].build(tmp_path)
        calls: list[tuple[int, int]] = []
        verify("camvid", tmp_path, statistics=True, progress=lambda *call: calls.append(call))
        assert calls == [(done, 7) for done in range(1, 8)]

    def test_a_folder_around_the_data_set(self, tmp_path: Path) -> None:
        LOOK_ALIKES["ade20k"].build(tmp_path / "ADEChallengeData2016")
        assert read(tmp_path).name == CATALOGUE["ade20k"].title
        missing = missing_paths("ade20k", tmp_path)
        assert "images/training" not in missing and "images/training/ADE_train_00000001.jpg" not in missing
        assert "images/training/ADE_train_00000003.jpg" in missing


def _kind(number: int) -> str:
    return "FacePhoto" if number < 32 else "FamilyPhoto"


class TestCityscapes:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        LOOK_ALIKES["cityscapes"].build(tmp_path)
        return tmp_path

    def stem(self, root: Path) -> str:
        return str(root / "gtFine" / "val" / "frankfurt" / "frankfurt_000000_000294_gtFine")

    def stored(self) -> np.ndarray:
        return values_of(range(34), 100)

    def test_the_tables_are_the_published_ones(self) -> None:
        labels = CATALOGUE["cityscapes"].labels
        assert labels.names[:3] == ("road", "sidewalk", "building") and labels.names[18] == "bicycle"
        assert labels.colours[0] == (128, 64, 128) and labels.colours[13] == (0, 0, 142)
        assert dict(zip(cityscapes.TRAIN_IDS, range(19), strict=True)) == TRAIN_ID_OF
        assert CATALOGUE["cityscapes"].classes["30"].names[0] == "static"
        assert CATALOGUE["cityscapes"].classes["34"].names[29] == "caravan"

    def test_34_classes_are_the_stored_ids(self, root: Path) -> None:
        sample = read(root, split="val", classes="34")[0]
        assert np.array_equal(sample.mask, self.stored())

    def test_30_classes_leave_out_the_first_four(self, root: Path) -> None:
        ids = self.stored().astype(int)
        sample = read(root, split="val", classes="30")[0]
        assert np.array_equal(sample.mask, np.where(ids < 4, 255, ids - 4))

    def test_instances_are_those_of_things(self, root: Path) -> None:
        ids = self.stored().astype(int)
        instances = read(root, split="val")[0].instances
        assert instances is not None and instances.dtype == np.int32
        assert np.array_equal(instances, np.where(ids >= 24, ids * 1000 + 3, 0))

    def test_training_ids_serve_when_label_ids_are_missing(self, root: Path) -> None:
        ids = values_of([*range(19), 255], 5)
        Path(f"{self.stem(root)}_labelIds.png").unlink()
        save_ids(Path(f"{self.stem(root)}_labelTrainIds.png"), ids)
        assert np.array_equal(read(root, split="val")[0].mask, ids)
        # They cannot serve 34 classes, the instance ids can.
        assert np.array_equal(read(root, split="val", classes="34")[0].mask, self.stored())

    def test_unknown_training_ids_are_reported(self, root: Path) -> None:
        Path(f"{self.stem(root)}_labelIds.png").unlink()
        save_ids(Path(f"{self.stem(root)}_labelTrainIds.png"), values_of([0, 19], 5))
        [problem] = [p for p in check(read(root, split="val")).errors if p.code == "unknown_values"]
        assert "19" in problem.message

    def test_polygons_serve_when_nothing_else_is_there(self, root: Path) -> None:
        for path in Path(self.stem(root)).parent.glob("*"):
            path.unlink()
        square = [[1, 1], [3, 1], [3, 4], [1, 4]]
        everything = [[-1, -1], [20, -1], [20, 20], [-1, 20]]
        objects = [("road", everything), ("cargroup", square), ("license plate", square)]
        polygons(Path(f"{self.stem(root)}_polygons.json"), objects)
        wanted = np.zeros(SIZE, int)
        wanted[1:5, 1:4] = 13  # corners are pixels that belong to the polygon
        assert np.array_equal(read(root, split="val")[0].mask, wanted)

    def test_damaged_polygons(self, root: Path) -> None:
        for path in Path(self.stem(root)).parent.glob("*"):
            path.unlink()
        Path(f"{self.stem(root)}_polygons.json").write_text('{"objects": []}')
        with pytest.raises(DataError, match=r"_polygons.json: expected imgHeight, imgWidth and objects"):
            _ = read(root, split="val")[0].mask
        polygons(Path(f"{self.stem(root)}_polygons.json"), [("dragon", [[0, 0], [1, 0], [1, 1]])])
        with pytest.raises(DataError, match="unknown label 'dragon'"):
            _ = read(root, split="val")[0].mask

    def test_coarse_labels_have_a_split_more(self, root: Path) -> None:
        for split, frame in (("train", "aachen_000000_000019"), ("train_extra", "augsburg_000000_000000")):
            city = frame.split("_")[0]
            save_photo(root / "leftImg8bit" / split / city / f"{frame}_leftImg8bit.png", 3)
            save_ids(root / "gtCoarse" / split / city / f"{frame}_gtCoarse_labelIds.png", values_of([7], 0))
        assert "train_extra" not in read(root).splits
        data = read(root, coarse=True)
        counts = {split: len(data.select(split)) for split in data.splits}
        assert counts == {"train": 1, "train_extra": 1}
        assert {int(i) for sample in data for i in np.unique(sample.mask)} == {0}
        assert (
            "gtCoarse/val/frankfurt/frankfurt_000000_000294_gtCoarse_labelIds.png" in data.problems[0].files
        )

    def test_labels_of_test_cities_are_dummies_and_those_of_others_are_not(self, root: Path) -> None:
        save_photo(root / "leftImg8bit" / "test" / "mytown" / "mytown_000000_000001_leftImg8bit.png", 3)
        save_ids(
            root / "gtFine" / "test" / "mytown" / "mytown_000000_000001_gtFine_labelIds.png",
            values_of([7], 0),
        )
        labelled = {sample.name.split("_")[0]: sample.labelled for sample in read(root, split="test")}
        assert labelled == {"berlin": False, "mytown": True}

    @pytest.fixture
    def video(self, root: Path) -> Path:
        """A whole snippet, one in the middle of a long sequence with a hole, and a piece without labels."""
        for video, numbers in (
            ("train/aachen/aachen_000000", range(30)),
            ("train/bochum/bochum_000000", [n for n in range(294, 324) if n != 300]),
            ("train/bochum/bochum_000000", range(400, 431)),
        ):
            for number in numbers:
                path = root / "leftImg8bit_sequence" / f"{video}_{number:06}_leftImg8bit.png"
                save(path, np.full((*SIZE, 3), number % 256, np.uint8))
        return root

    def test_clips_carry_the_mask_of_their_frame_19(self, video: Path) -> None:
        clips = cityscapes.clips(video)
        assert [(len(clip), sorted(clip.masks)) for clip in clips] == [
            (30, [19]),
            (29, [18]),
            (30, []),
            (1, []),
        ]
        clip = clips[0]
        sample = clip.frame(19)
        assert np.array_equal(sample.mask, by_table(values_of(range(34), 100), TRAIN_ID_OF))
        assert sample.instances is not None and sample.instances.max() > 24000
        assert int(sample.image[0, 0, 0]) == 19 and clip.frame(3).mask is None
        assert clip.times[0] == 0 and math.isclose(clip.times[17], 1.0)
        assert clips.splits == ("train",)

    def test_a_hole_in_a_snippet_is_named_and_moves_the_mask(self, video: Path) -> None:
        clips = cityscapes.clips(video)
        [problem] = clips.problems
        assert problem.files == ("leftImg8bit_sequence/train/bochum/bochum_000000_000300_leftImg8bit.png",)
        sample = clips[1].frame(18)
        assert int(sample.image[0, 0, 0]) == 313 % 256 and sample.labelled
        assert math.isclose(clips[1].times[18], 19 / 17)

    def test_clips_without_video(self, root: Path) -> None:
        with pytest.raises(DataError, match="no frames in leftImg8bit_sequence"):
            cityscapes.clips(root)


class TestKitti:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        LOOK_ALIKES["kitti"].build(tmp_path)
        return tmp_path

    def test_the_last_forty_are_held_out(self, root: Path) -> None:
        assert [sample.name for sample in read(root, split="val")] == ["000160_10", "000199_10"]

    def test_instances(self, root: Path) -> None:
        ids = values_of(range(34), 160).astype(int)
        instances = read(root, split="val")[0].instances
        assert instances is not None and instances.dtype == np.int32
        assert np.array_equal(instances, np.where(ids >= 24, ids * 256 + 2, 0))

    def test_classes_come_from_instances_when_there_are_no_others(self, root: Path) -> None:
        for path in (root / "training" / "semantic").iterdir():
            path.unlink()
        (root / "training" / "semantic").rmdir()
        data = read(root, classes="34")
        assert data.name == CATALOGUE["kitti"].title
        assert np.array_equal(data.select("val")[0].mask, values_of(range(34), 160))

    def test_images_of_another_rectification_are_reported_and_not_a_crash(self, root: Path) -> None:
        for path in (root / "training" / "image_2").iterdir():
            save(path, picture(int(path.stem[:6]), (SIZE[0] - 1, SIZE[1] - 2)))
        [problem] = check(read(root)).errors
        assert problem.code == "size_mismatch" and len(problem.files) == 5
        assert "8x6 for an image of 6x5" in problem.message


class TestCamvid:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        LOOK_ALIKES["camvid"].build(tmp_path)
        return tmp_path

    @pytest.fixture
    def original(self, tmp_path: Path) -> Path:
        """The original layout; the first rows hold every colour of the table, the last pixel is void."""
        colours = np.array([*camvid.LABELS_32.colours, (0, 0, 0)], np.uint8).reshape(4, 8, 3)
        for seed, stem in enumerate(("0001TP_006690", "0016E5_07961", "0016E5_07990", "Seq05VD_f00030")):
            save(tmp_path / "701_StillsRaw_full" / f"{stem}.png", picture(seed, (4, 8)))
            save(tmp_path / "LabeledApproved_full" / f"{stem}_L.png", colours)
        rows = [
            f"{r} {g} {b}\t{n}"
            for (r, g, b), n in zip(camvid.LABELS_32.colours, camvid.LABELS_32.names, strict=True)
        ]
        write_text(tmp_path / "label_colors.txt", "\n".join([*rows, "0 0 0\tVoid"]) + "\n")
        return tmp_path

    def test_all_32_colours(self, original: Path) -> None:
        data = read(original, classes="32")
        assert data.name == "CamVid" and data.labels == camvid.LABELS_32 and data.problems == ()
        assert {split: len(data.select(split)) for split in data.splits} == {"train": 1, "val": 2, "test": 1}
        assert np.array(data[0].mask).ravel().tolist() == [*range(31), 255]

    def test_32_colours_merge_into_11(self, original: Path) -> None:
        mask = np.array(read(original)[0].mask).ravel().tolist()
        merged = {name: camvid.LABELS.names[i] for name, i in zip(camvid.LABELS_32.names, mask, strict=False)}
        assert (merged["Child"], merged["Truck_Bus"], merged["Archway"]) == ("Pedestrian", "Car", "Building")
        assert (merged["RoadShoulder"], merged["LaneMkgsDriv"], merged["Sky"]) == ("Pavement", "Road", "Sky")
        assert mask[-1] == 255 and set(mask) == {*range(11), 255}

    def test_the_published_colours(self) -> None:
        colours = dict(zip(camvid.LABELS_32.names, camvid.LABELS_32.colours, strict=True))
        assert colours["Bicyclist"] == (0, 128, 192) and colours["Sidewalk"] == (0, 0, 192)
        assert len(set(colours.values())) == 31

    def test_a_misprinted_table_is_reported_and_not_believed(self, original: Path) -> None:
        table = original / "label_colors.txt"
        write_text(table, table.read_text().replace("0 128 192\tBicyclist", "0 128 92\tBicyclist"))
        data = read(original, classes="32")
        [problem] = data.problems
        assert problem.code == "other_colours"
        assert problem.files == ("label_colors.txt: Bicyclist (0, 128, 92)",)
        assert camvid.LABELS_32.index("Bicyclist") in np.unique(data[0].mask)

    def test_segnet_masks_have_no_32_classes(self, root: Path) -> None:
        with pytest.raises(UsageError, match="the 32 need 701_StillsRaw_full"):
            read(root, classes="32")

    def test_the_val_split_is_a_video(self, root: Path) -> None:
        [clip] = camvid.clips(root)
        assert len(clip) == 3 and sorted(clip.masks) == [0, 1, 2]
        assert clip.times == [0, 2 / 30, 4 / 30] and clip.meta["frames"] == [7959, 7961, 7963]
        single = read(root, split="val")[1]
        assert np.array_equal(clip.frame(1).mask, single.mask)
        assert np.array_equal(clip.frame(1).image, single.image)

    def test_no_video_without_consecutive_frames(self, root: Path) -> None:
        for folder in ("val", "valannot"):
            for path in (root / folder).iterdir():
                path.unlink()
        with pytest.raises(DataError, match="no consecutive frames"):
            camvid.clips(root)

    def test_the_frames_of_a_complete_copy(self, root: Path) -> None:
        paths = list(camvid.official(root))
        assert len(paths) == len(set(paths)) == 2 * 701
        for split, count in CATALOGUE["camvid"].splits.items():
            assert sum(path.startswith(f"{split}/") for path in paths) == count

    def test_weights_and_shares(self) -> None:
        info = CATALOGUE["camvid"]
        assert info.weights["SignSymbol"] == 9.6446 and info.shares["Road"] == 0.317


class TestPascalContext:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        LOOK_ALIKES["pascal_context"].build(tmp_path)
        return tmp_path

    def stored(self) -> np.ndarray:
        return values_of([0, 1, 459, 2, 9, 284, 308, 397, 458], 0)

    def test_names_and_orders(self) -> None:
        assert len(set(pascal_context.NAMES_459)) == 459
        assert list(pascal_context.NAMES_459) == sorted(pascal_context.NAMES_459)
        assert pascal_context.NAMES_459[283] == "person" and pascal_context.NAMES_459[458] == "wool"
        assert list(pascal_context.NAMES_59) == sorted(pascal_context.NAMES_59)
        assert sorted(pascal_context.VOC_FIRST) == list(pascal_context.NAMES_59)
        assert pascal_context.VOC_FIRST[:2] == ("aeroplane", "bicycle")

    def test_60_classes_begin_with_the_background(self, root: Path) -> None:
        data = read(root, classes="60")
        assert data.labels.names[0] == "background"
        wanted = by_table(self.stored(), {2: 1, 9: 2, 284: 37, 308: 40, 397: 50, 458: 59}, other=0)
        assert np.array_equal(data[0].mask, wanted)

    def test_459_classes(self, root: Path) -> None:
        data = read(root, classes="459")
        mask = data[0].mask
        assert mask is not None and mask.dtype == np.uint16 and data.labels.ignore == 65535
        stored = self.stored().astype(int)
        assert np.array_equal(mask, np.where(stored == 0, 65535, stored - 1))

    def test_the_other_order_joins_by_name(self, root: Path) -> None:
        alphabetical, voc = read(root)[0].mask, read(root, classes="59-voc")[0].mask
        assert alphabetical is not None and voc is not None
        names = [pascal_context.NAMES_59[i] for i in alphabetical.ravel() if i != 255]
        assert names == [pascal_context.VOC_FIRST[i] for i in voc.ravel() if i != 255]
        assert not np.array_equal(alphabetical, voc)
        given = read(root, labels=LabelMap(pascal_context.VOC_FIRST))[0].mask
        assert np.array_equal(given, voc)

    def converted(self, root: Path) -> np.ndarray:
        values = values_of([0, 1, 2, 3, 59], 1)
        save_photo(root / "VOC2010" / "JPEGImages" / "2008_000002.jpg", 0)
        save_ids(root / "VOC2010" / "SegmentationClassContext" / "2008_000002.png", values)
        write_text(root / "VOC2010" / "ImageSets" / "SegmentationContext" / "val.txt", "2008_000002\n")
        return values

    def test_converted_masks(self, tmp_path: Path) -> None:
        values = self.converted(tmp_path)
        data = read(tmp_path)
        assert (data.name, data.splits, len(data)) == ("PASCAL Context", ("val",), 1)
        assert np.array_equal(data[0].mask, np.where(values == 0, 255, values.astype(int) - 1))
        assert np.array_equal(read(tmp_path, classes="60")[0].mask, values)

    def test_converted_masks_in_the_other_order(self, tmp_path: Path) -> None:
        values = self.converted(tmp_path)
        voc = read(tmp_path, order="voc", classes="60-voc")[0].mask
        assert np.array_equal(voc, values)
        joined = np.array(read(tmp_path, order="voc")[0].mask)
        assert {pascal_context.NAMES_59[i] for i in joined[values == 2]} == {"bicycle"}
        with pytest.raises(UsageError, match="unknown order 'vocs': did you mean 'voc'"):
            read(tmp_path, order="vocs")

    def test_converted_masks_have_no_459_classes(self, tmp_path: Path) -> None:
        self.converted(tmp_path)
        with pytest.raises(UsageError, match="the 459 need trainval"):
            read(tmp_path, classes="459")

    def test_names_of_the_folder_win(self, root: Path) -> None:
        numbers = dict(enumerate(pascal_context.NAMES_459, 1))
        numbers[2], numbers[9] = numbers[9], numbers[2]
        write_text(root / "labels.txt", "\n".join(f"{n}: {name}" for n, name in numbers.items()))
        mask = np.array(read(root)[0].mask)
        stored = self.stored()
        assert set(mask[stored == 2]) == {1} and set(mask[stored == 9]) == {0}

    def test_a_list_of_names_that_lacks_a_class(self, root: Path) -> None:
        write_text(root / "labels.txt", "1: accordion\n2: plane\n")
        with pytest.raises(DataError, match=r"labels.txt: names no 'aeroplane'"):
            read(root)

    def test_a_list_of_names_that_is_none(self, root: Path) -> None:
        write_text(root / "labels.txt", "hello\n")
        with pytest.raises(DataError, match="expected lines such as '1: person', found none"):
            read(root)

    def test_what_the_lists_name_and_nobody_has(self, root: Path) -> None:
        write_text(root / "val.txt", "2008_000004\n2008_000007\n")
        [problem] = read(root).problems
        assert problem.code == "missing_listed"
        assert problem.files == ("JPEGImages/2008_000007.jpg", "trainval/2008_000007.mat")
        assert set(problem.files) <= missing_paths("pascal_context", root)

    def test_masks_in_no_list_are_reported(self, root: Path) -> None:
        write_text(root / "val.txt", "")
        [problem] = read(root).problems
        assert (problem.code, problem.files) == ("unlisted_image", ("trainval/2008_000004.mat",))

    def test_without_lists_it_is_not_split(self, root: Path) -> None:
        (root / "train.txt").unlink()
        (root / "val.txt").unlink()
        data = read(root)
        assert data.splits == () and len(data) == 3 and data.problems == ()
        assert {"train.txt", "val.txt"} <= missing_paths("pascal_context", root)

    def test_the_segmentation_lists_of_voc_are_not_used(self, root: Path) -> None:
        for split in ("train", "val"):
            (root / f"{split}.txt").rename(root / f"{split}.old")
        write_text(root / "ImageSets" / "Segmentation" / "train.txt", "2008_000002\n")
        assert read(root).splits == ()
        write_text(root / "ImageSets" / "Main" / "train.txt", "2008_000002\n2008_000003\n")
        write_text(root / "ImageSets" / "Main" / "val.txt", "2008_000004\n")
        assert read(root).splits == ("train", "val")

    def test_a_matlab_file_of_something_else(self, root: Path) -> None:
        save_matlab(root / "trainval" / "2008_000002.mat", "other", self.stored())
        with pytest.raises(DataError, match=r"2008_000002.mat: holds no variable 'LabelMap'"):
            _ = read(root)[0].mask
        save_matlab(root / "trainval" / "2008_000002.mat", "LabelMap", np.full(SIZE, 0.5), float)
        with pytest.raises(DataError, match="must be HxW ids, found float64"):
            _ = read(root)[0].mask

    def test_a_matlab_file_of_version_7_3(self, root: Path) -> None:
        header = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
        (root / "trainval" / "2008_000002.mat").write_bytes(header + bytes(400))
        with pytest.raises(DataError, match=r"2008_000002.mat: a MATLAB 7.3 file"):
            _ = read(root)[0].mask

    def test_a_number_that_does_not_exist(self, root: Path) -> None:
        save_matlab(root / "trainval" / "2008_000002.mat", "LabelMap", np.full(SIZE, 460))
        [problem] = [p for p in check(read(root)).errors if p.code == "unknown_values"]
        assert "460" in problem.message


class TestCocoStuff:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        LOOK_ALIKES["coco_stuff"].build(tmp_path)
        return tmp_path

    def test_names_by_both_countings(self) -> None:
        classes = CATALOGUE["coco_stuff"].classes
        assert classes["182"].names[12] == "stop sign" and classes["171"].names[11] == "stop sign"
        assert classes["182"].names[91] == "banner" and classes["171"].names[170] == "wood"
        assert [coco_stuff.NAMES[value] for value in coco_stuff.DROPPED[:3]] == ["street sign", "hat", "shoe"]

    def test_182_classes_are_the_stored_values(self, root: Path) -> None:
        stored = values_of([255, 0, 1, 10, 12, 91, 181], 9)
        assert np.array_equal(read(root, classes="182")[0].mask, stored)

    def test_a_value_that_never_occurs_is_reported(self, root: Path) -> None:
        save_ids(root / "annotations" / "val2017" / f"{139:012}.png", np.full(SIZE, 11))
        [problem] = [p for p in check(read(root)).errors if p.code == "unknown_values"]
        assert "11 (in 1 mask)" in problem.message

    @pytest.mark.parametrize("file", ["labels.txt", "labels.md"])
    def test_the_list_of_the_folder_is_believed(self, root: Path, file: str) -> None:
        names = dict(enumerate(("unlabeled", *coco_stuff.NAMES)))
        names[1], names[2] = names[2], names[1]
        line = "{}: {}" if file.endswith("txt") else "{}\t|\t{}\t|\t[(view)](x)\t|\t"
        write_text(root / file, "\n".join(line.format(n, name) for n, name in names.items()))
        stored = values_of([255, 0, 1, 10, 12, 91, 181], 9)
        data = read(root)
        assert data.labels == CATALOGUE["coco_stuff"].labels
        assert set(np.array(data[0].mask)[stored == 0]) == {1}

    def test_the_other_places(self, root: Path) -> None:
        for split in ("train2017", "val2017"):
            (root / "images" / split).rename(root / split)
            (root / "stuffthingmaps").mkdir(exist_ok=True)
            (root / "annotations" / split).rename(root / "stuffthingmaps" / split)
        data = read(root)
        assert (data.name, len(data), data.problems) == ("COCO-Stuff 164k", 3, ())

    def test_conversions_beside_the_masks_are_not_read(self, root: Path) -> None:
        save_ids(root / "annotations" / "val2017" / f"{139:012}_labelTrainIds.png", np.zeros(SIZE))
        assert read(root).problems == () and len(read(root)) == 3


class TestAde20k:
    def test_151_classes_keep_the_zero(self, tmp_path: Path) -> None:
        LOOK_ALIKES["ade20k"].build(tmp_path)
        data = read(tmp_path, classes="151")
        assert data.labels.names[:2] == ("other", "wall")
        assert np.array_equal(data[0].mask, values_of(range(151), 0))

    def test_the_tables(self) -> None:
        labels = CATALOGUE["ade20k"].labels
        assert labels.names[12] == "person" and labels.names[149] == "flag"
        assert labels.colours[12] == (150, 5, 61) and labels.colours[149] == (92, 0, 255)
        assert len(list(ade20k.official(Path()))) == 2 * 22210


class TestClothing:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        LOOK_ALIKES["ccp"].build(tmp_path)
        return tmp_path

    def test_the_split_goes_by_the_number(self, root: Path) -> None:
        data = read(root)
        names = {split: [sample.name for sample in data.select(split)] for split in data.splits}
        assert names == {"train": ["0002", "0013"], "val": ["0001", "0011"], "test": ["0005", "0010"]}
        counts = dict.fromkeys(CATALOGUE["ccp"].splits, 0)
        for number in range(1, 1005):
            counts[ccp.split_of(f"{number:04}")] += 1
        assert counts == CATALOGUE["ccp"].splits

    @pytest.mark.parametrize("classes", ["person", "skin", "garments"])
    def test_merges(self, root: Path, classes: str) -> None:
        path = root / "annotations" / "pixel-level" / "0002.mat"
        save_matlab(path, "groundtruth", np.arange(59)[None], np.uint8)
        data = read(root, classes=classes)
        mask = np.array(data[0].mask).ravel()
        merged = {tag: data.labels.names[i] for tag, i in zip(ccp.TAGS, mask, strict=True)}
        rest = {"person": "person", "skin": "other", "garments": ""}[classes]
        members = {tag: name for name, text in ccp.MERGES[classes].items() for tag in text.split()}
        assert merged == {tag: members.get(tag, rest) for tag in ccp.TAGS}
        assert set(merged.values()) == set(data.labels.names)

    def test_garments_put_every_tag_into_one_group(self) -> None:
        tags = [tag for text in ccp.MERGES["garments"].values() for tag in text.split()]
        assert sorted(tags) == sorted(ccp.TAGS)

    def test_a_copy_with_png_masks(self, tmp_path: Path) -> None:
        save_photo(tmp_path / "photos" / "0002.jpg", 0)
        save_ids(tmp_path / "masks" / "0002.png", values_of(range(59), 2))
        write_text(tmp_path / "label_list.txt", "\n".join(ccp.TAGS))
        data = read(tmp_path)
        assert (data.name, data.splits) == (CATALOGUE["ccp"].title, ("train",))
        assert np.array_equal(data[0].mask, values_of(range(59), 2))
        assert "masks/0001.png" in missing_paths("ccp", tmp_path)
        write_text(tmp_path / "label_list.txt", "\n".join([*ccp.TAGS[:-1], "dragon"]))
        assert not ccp.recognise(tmp_path)

    def test_a_tag_that_does_not_exist(self, root: Path) -> None:
        path = root / "annotations" / "pixel-level" / "0002.mat"
        save_matlab(path, "groundtruth", np.full(SIZE, 59), np.uint8)
        with pytest.raises(DataError, match=r"0002.mat: the mask holds values .*: 59"):
            _ = read(root)[0].mask


class TestPratheepan:
    def test_128_is_skin_and_127_is_not(self, tmp_path: Path) -> None:
        LOOK_ALIKES["pratheepan"].build(tmp_path)
        grey = values_of([0, 3, 127, 128, 250, 255], 0)
        mask = np.array(next(sample for sample in read(tmp_path) if sample.name == "sarah").mask)
        assert set(mask[grey == 127]) == {0} and set(mask[grey == 128]) == {1}
        assert pratheepan.INFO.splits == {"test": 78}


class TestInria:
    def crops(self, root: Path, *, clean: bool = True) -> Path:
        for number in (1, 2, 3):
            values = values_of([0, 1], number)
            save_photo(root / "img" / f"austin1_{number}.jpg", number)
            save(root / "gt" / f"austin1_{number}_P.jpg", np.zeros(SIZE, np.uint8))
            if clean:
                save_ids(root / "gt_color" / f"austin1_{number}_P.png", values * 255)
        write_text(root / "codes.txt", "background\nbuilding")
        write_text(root / "valid.txt", "austin1_3.jpg\n")
        return root

    def test_crops(self, tmp_path: Path) -> None:
        data = read(self.crops(tmp_path))
        assert data.name == CATALOGUE["inria"].title and data.problems == ()
        assert [sample.name for sample in data.select("val")] == ["austin1_3"]
        assert np.array_equal(data[0].mask, values_of([0, 1], 1))

    def test_masks_of_crops_as_jpeg_are_a_problem(self, tmp_path: Path) -> None:
        data = read(self.crops(tmp_path, clean=False))
        [problem] = data.problems
        assert problem.code == "fragile_mask" and problem.files[0] == "gt/austin1_1_P.jpg"
        assert set(np.unique(data[0].mask)) == {0}

    def test_crops_without_a_list_go_by_the_tile(self, tmp_path: Path) -> None:
        (self.crops(tmp_path) / "valid.txt").unlink()
        assert read(tmp_path).splits == ("val",)

    def test_plain_tiff_needs_no_rasterio(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        LOOK_ALIKES["inria"].build(tmp_path)
        _without_rasterio(monkeypatch)
        sample = read(tmp_path)[0]
        assert np.array_equal(sample.image, picture(1, SIZE)) and "crs" not in sample.meta

    def geotiff(self, path: Path) -> None:
        rasterio = pytest.importorskip("rasterio")
        path.parent.mkdir(parents=True, exist_ok=True)
        transform = rasterio.transform.from_origin(1000, 2000, 0.3, 0.3)
        size: dict[str, Any] = {"height": SIZE[0], "width": SIZE[1], "count": 3, "dtype": "uint8"}
        with rasterio.open(path, "w", driver="GTiff", crs="EPSG:26914", transform=transform, **size) as file:
            file.write(np.moveaxis(picture(1, SIZE), -1, 0))

    def test_where_a_geotiff_lies_is_kept(self, tmp_path: Path) -> None:
        LOOK_ALIKES["inria"].build(tmp_path)
        self.geotiff(tmp_path / "train" / "images" / "austin6.tif")
        sample = read(tmp_path)[0]
        assert sample.name == "austin6" and np.array_equal(sample.image, picture(1, SIZE))
        assert sample.meta["crs"] == "EPSG:26914"
        assert sample.meta["transform"] == (0.3, 0, 1000, 0, -0.3, 2000)

    def test_a_geotiff_without_rasterio_names_the_extra(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        LOOK_ALIKES["inria"].build(tmp_path)
        self.geotiff(tmp_path / "train" / "images" / "austin6.tif")
        _without_rasterio(monkeypatch)
        with pytest.raises(MissingExtraError, match=r"reading GeoTIFF needs the extra 'geo'"):
            read(tmp_path)[0]

    def test_a_truncated_geotiff(self, tmp_path: Path) -> None:
        LOOK_ALIKES["inria"].build(tmp_path)
        path = tmp_path / "train" / "images" / "austin6.tif"
        self.geotiff(path)
        path.write_bytes(path.read_bytes()[:-40])
        with pytest.raises(DataError, match=r"austin6.tif"):
            _ = read(tmp_path)[0].image

    def test_soft_masks_are_reported(self, tmp_path: Path) -> None:
        LOOK_ALIKES["inria"].build(tmp_path)
        save_ids(tmp_path / "train" / "gt" / "austin6.tif", values_of([0, 130, 255], 0))
        assert "unknown_values" in {problem.code for problem in check(read(tmp_path)).errors}


def _without_rasterio(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: Any, **more: Any) -> Any:
        if name.split(".")[0] == "rasterio":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)


class TestVerb:
    @pytest.fixture
    def call(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
        def run(*arguments: object) -> tuple[int, str, str]:
            monkeypatch.setattr(sys, "argv", ["pixelwise", "datasets", *map(str, arguments)])
            code = 0
            try:
                main()
            except SystemExit as stop:
                code = int(stop.code or 0)
            captured = capsys.readouterr()
            return code, captured.out, captured.err

        return run

    def test_help_has_an_example(self, call: Any) -> None:
        code, out, _ = call("--help")
        assert code == 0 and "Example: pixelwise datasets" in out and "--json" in out

    def test_an_unknown_name(self, call: Any) -> None:
        code, _, err = call("cityscape")
        assert code == 2 and "did you mean 'cityscapes'" in err

    def test_statistics_of_nothing(self, call: Any) -> None:
        code, _, err = call("camvid", "--statistics")
        assert code == 2 and "--statistics needs NAME and ROOT" in err

    def test_the_list_has_every_one_with_licence_and_place(self, call: Any) -> None:
        code, out, _ = call()
        assert code == 0
        for info in CATALOGUE.values():
            assert f"{info.name} ({info.task}): {info.title}" in out
            assert info.licence.split()[0] in out and info.obtain.split()[0] in out
        code, out, _ = call("--json")
        assert [row["name"] for row in json.loads(out)] == list(CATALOGUE)

    def test_one_in_full(self, call: Any, name: str) -> None:
        code, out, _ = call(name)
        info = CATALOGUE[name]
        assert code == 0
        assert all(line in out for line in info.layout)
        assert all(f"  {label}  " in out for label in info.labels.names)
        assert ",".join(map(str, info.labels.colours[-1])) in out
        assert json.loads(call(name, "--json")[1])["licence"] == info.licence

    def test_an_incomplete_copy_exits_with_3(self, call: Any, tmp_path: Path) -> None:
        LOOK_ALIKES["kitti"].build(tmp_path)
        code, out, _ = call("kitti", tmp_path, "--quiet")
        assert code == 3 and "NOT complete" in out and "train: 3 of 160" in out
        assert "  training/semantic/000002_10.png  (" in out

    def test_statistics_as_json(self, call: Any, tmp_path: Path) -> None:
        LOOK_ALIKES["camvid"].build(tmp_path)
        code, out, err = call("camvid", tmp_path, "--statistics", "--json", "--quiet")
        document = json.loads(out)
        assert code == 3 and err == "" and not document["ok"]
        assert set(document["shares"]) == {"train", "val", "test"}
        assert set(document["weights"]) == set(camvid.LABELS.names)
        assert document["found"] == {"train": 2, "val": 3, "test": 2}
