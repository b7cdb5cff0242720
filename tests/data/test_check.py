"""The data doctor: what it counts, what it finds, what it remembers."""

import importlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pixelwise.data import CheckReport, check, read
from pixelwise.data.check_report import SplitSummary
from pixelwise.errors import DataError, Problem, UsageError
from pixelwise.io import write_image, write_text
from pixelwise.labels import LabelMap
from pixelwise.sample import Cloud, Dataset, Sample
from tests.data.folders import LABELS, add, ids, picture, street, write_raw


@pytest.fixture(autouse=True)
def empty_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of its own for every test."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


def by_code(report: CheckReport) -> dict[str, Problem]:
    assert len({problem.code for problem in report.problems}) == len(report.problems)
    return {problem.code: problem for problem in report.problems}


def only(report: CheckReport) -> Problem:
    assert len(report.problems) == 1, report.text()
    return report.problems[0]


def in_memory(
    masks: list[np.ndarray | None], splits: list[str] | None = None, count: int = 3
) -> Dataset[Sample]:
    samples = [Sample(np.zeros((*(np.shape(m) or (4, 5)), 3), np.uint8), m) for m in masks]
    labels = LabelMap(tuple(f"class {i}" for i in range(count)))
    return Dataset(samples, lambda sample: sample, labels, splits=splits)


class TestCounts:
    def test_a_folder_in_order_has_no_problem(self, tmp_path: Path) -> None:
        report = check(read(street(tmp_path)))
        assert report.ok and report.problems == ()
        train = report.splits["train"]
        masks = np.stack([ids(seed) for seed in range(4)])
        assert (train.images, train.labelled, train.ignored) == (4, 4, 0)
        assert train.sizes == {(12, 16): 4}
        assert train.pixels.tolist() == np.bincount(masks.ravel(), minlength=3).tolist()
        assert train.images_with.tolist() == [4, 4, 4]
        assert report.splits["val"].images == 2
        report.raise_for_errors()

    @settings(max_examples=30, deadline=None)
    @given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=6), st.integers(2, 8))
    def test_counts_and_weights_follow_their_definition(self, seeds: list[int], count: int) -> None:
        masks = []
        for seed in seeds:
            rng = np.random.default_rng(seed)
            some = rng.integers(0, count, rng.integers(1, count + 1))
            masks.append(np.append(some, 255)[rng.integers(0, len(some) + 1, (7, 9))].astype(np.uint8))
        report = check(in_memory(masks, count=count), cache=False)
        found = report.splits["all"]
        frequencies = {}
        for c in range(count):
            having = [m for m in masks if (m == c).any()]
            pixels = sum(int((m == c).sum()) for m in having)
            assert (found.pixels[c], found.images_with[c]) == (pixels, len(having))
            if having:
                frequencies[c] = pixels / sum(int((m != 255).sum()) for m in having)
        assert found.ignored == sum(int((m == 255).sum()) for m in masks)
        np.testing.assert_allclose(found.shares.sum() + found.ignored_share, 1)
        weights = report.class_weights()
        assert weights.shape == (count,) and weights.dtype == np.float32
        for c in range(count):
            expected = np.median(list(frequencies.values())) / frequencies[c] if c in frequencies else 1
            np.testing.assert_allclose(weights[c], expected, rtol=1e-5)

    def test_weights_are_counted_in_train(self) -> None:
        rare, even = np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8)
        rare[0, 0] = even[:2] = 1
        report = check(in_memory([even, rare], ["val", "train"], count=2))
        np.testing.assert_allclose(report.class_weights(), [0.5 / (15 / 16), 0.5 * 16], rtol=1e-6)
        np.testing.assert_allclose(report.class_weights("val"), [1, 1])

    def test_sizes_are_upright_and_summarised(self, tmp_path: Path) -> None:
        for seed, size in enumerate([(4, 6), (8, 6), (8, 6), (30, 20)]):
            write_image(tmp_path / "images" / f"{seed}.png", picture(seed, size))
            write_raw(tmp_path / "masks" / f"{seed}.png", ids(seed, size))
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(picture(9, (6, 8))).save(tmp_path / "images" / "turned.jpg", exif=exif)
        write_raw(tmp_path / "masks" / "turned.png", ids(9, (8, 6)))
        report = check(read(tmp_path, labels=LABELS))
        assert report.problems == ()
        assert report.splits["all"].size_range() == {"min": (4, 6), "median": (8, 6), "max": (30, 20)}
        assert report.splits["all"].sizes == {(4, 6): 1, (8, 6): 3, (30, 20): 1}

    def test_samples_without_files_are_counted(self) -> None:
        report = check(in_memory([ids(0), ids(0)]))
        assert report.ok and report.splits["all"].images == 2 and report.root is None

    def test_progress_counts_every_sample(self, tmp_path: Path) -> None:
        seen: list[tuple[int, int]] = []
        check(read(street(tmp_path)), progress=lambda done, total: seen.append((done, total)))
        assert seen == [(n, 6) for n in range(1, 7)]

    def test_clouds_are_not_for_this_check(self) -> None:
        with pytest.raises(UsageError, match="and data holds Clouds"):
            check(Dataset([0], lambda _: Cloud(np.zeros((1, 3))), LABELS))  # type: ignore[arg-type]

    def test_a_masks_of_many_pixels_is_counted_in_pieces(self) -> None:
        mask = np.arange(1500 * 1500).reshape(1500, 1500) % 3
        found = check(in_memory([mask.astype(np.uint8)])).splits["all"]
        assert found.pixels.tolist() == [750_000] * 3


class TestFiles:
    def test_truncated_images_are_found_by_decoding(self, tmp_path: Path) -> None:
        street(tmp_path)
        for seed, name in enumerate(("a.jpg", "b.png")):
            path = tmp_path / "images" / "train" / name
            write_image(path, picture(20 + seed, (64, 64)))
            path.write_bytes(path.read_bytes()[:-600])
            write_raw(tmp_path / "masks" / "train" / f"{path.stem}.png", ids(seed, (64, 64)))
        problem = only(check(read(tmp_path)))
        assert (problem.level, problem.code) == ("error", "unreadable_image")
        assert problem.files == ("images/train/a.jpg", "images/train/b.png")
        assert "2 images cannot be read: the image is damaged" in problem.message
        assert problem.fix == "copy or export it again"

    def test_a_text_file_among_the_images(self, tmp_path: Path) -> None:
        street(tmp_path)
        write_text(tmp_path / "images" / "val" / "000.png", "no picture at all")
        problem = only(check(read(tmp_path)))
        assert problem.code == "unreadable_image" and problem.files == ("images/val/000.png",)
        assert "not an image" in problem.message

    def test_a_missing_image(self, tmp_path: Path) -> None:
        data = read(street(tmp_path))
        (tmp_path / "images" / "val" / "000.png").unlink()
        assert "no such image" in only(check(data)).message

    def test_different_reasons_are_told_apart(self, tmp_path: Path) -> None:
        street(tmp_path, {"train": 4})
        Image.fromarray(ids(0)).convert("LA").save(tmp_path / "masks" / "train" / "000.png")
        write_raw(tmp_path / "masks" / "train" / "001.png", picture(1))
        first, second = check(read(tmp_path)).problems
        assert first.code == second.code == "unreadable_mask"
        assert "found mode LA" in first.message and first.fix == "save it as an 8-bit PNG of class ids"
        assert "RGB picture" in second.message and second.files == ("masks/train/001.png",)

    def test_masks_of_another_size(self, tmp_path: Path) -> None:
        street(tmp_path)
        write_raw(tmp_path / "masks" / "train" / "001.png", ids(1, (10, 16)))
        problem = only(check(read(tmp_path)))
        assert (problem.level, problem.code) == ("error", "size_mismatch")
        assert problem.files == ("masks/train/001.png",)
        assert "first 16x10 for an image of 16x12" in problem.message

    def test_masks_that_miss_the_exif_rotation(self, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        (tmp_path / "images").mkdir()
        Image.fromarray(picture(0)).save(tmp_path / "images" / "a.jpg", exif=exif)
        write_raw(tmp_path / "masks" / "a.png", ids(0))
        problem = only(check(read(tmp_path, labels=LABELS)))
        assert problem.code == "size_mismatch" and "EXIF" in problem.fix

    def test_a_sample_may_be_a_part_of_its_file(self, tmp_path: Path) -> None:
        write_image(tmp_path / "a.jpg", picture(0, (40, 40)))
        part = Sample(picture(0), ids(0), path=tmp_path / "a.jpg")
        assert check(Dataset([part], lambda sample: sample, LABELS)).ok

    def test_jpeg_masks(self, tmp_path: Path) -> None:
        add(tmp_path, "images/a.png", None)
        mask = np.zeros((16, 16), np.uint8)
        mask[8:] = 1
        (tmp_path / "masks").mkdir()
        Image.fromarray(mask).save(tmp_path / "masks" / "a.jpg", quality=100)
        assert "lossy_mask" in by_code(check(read(tmp_path, labels=LABELS)))

    def test_unpaired_files_are_part_of_the_report(self, tmp_path: Path) -> None:
        add(street(tmp_path), "images/train/lonely.png", None, 50)
        problem = only(check(read(tmp_path)))
        assert (problem.level, problem.code) == ("warning", "unpaired_image")

    def test_samples_without_mask(self) -> None:
        report = check(in_memory([ids(0), None]))
        assert only(report).code == "unlabelled"
        assert (report.splits["all"].images, report.splits["all"].labelled) == (2, 1)

    def test_masks_in_which_everything_is_ignored(self) -> None:
        assert only(check(in_memory([ids(0), np.full((4, 5), 255, np.uint8)]))).code == "all_ignored"


class TestValues:
    def test_unknown_values_are_named_with_their_files(self, tmp_path: Path) -> None:
        street(tmp_path)
        mask = ids(1)
        mask[0, 0], mask[1, 1] = 7, 9
        write_raw(tmp_path / "masks" / "train" / "001.png", mask)
        problem = only(check(read(tmp_path)))
        assert (problem.level, problem.code) == ("error", "unknown_values")
        assert "7 (in 1 mask), 9 (in 1 mask); the classes have ids 0 to 2, 255 is ignored" in problem.message
        assert problem.files == ("masks/train/001.png",)
        assert "--map 7=255" in problem.fix

    def test_the_fix_works(self, tmp_path: Path) -> None:
        street(tmp_path)
        mask = ids(1)
        mask[0, 0] = 7
        write_raw(tmp_path / "masks" / "train" / "001.png", mask)
        report = check(read(tmp_path, mapping={7: 255}))
        assert report.ok and report.splits["train"].ignored == 1

    def test_values_that_the_class_file_leaves_out(self, tmp_path: Path) -> None:
        street(tmp_path)
        write_text(tmp_path / "classes.csv", "1,road\n2,car\n")
        (tmp_path / "classes.txt").unlink()
        problem = by_code(check(read(tmp_path)))["unknown_values"]
        assert "0 (in 6 masks)" in problem.message and len(problem.files) == 6

    def test_masks_of_0_and_255_and_the_way_out(self, tmp_path: Path) -> None:
        for seed in range(3):
            add(tmp_path, f"images/{seed}.png", None, seed)
            write_raw(tmp_path / "masks" / f"{seed}.png", np.where(ids(seed) > 0, 255, 0).astype(np.uint8))
        problem = only(check(read(tmp_path, labels=["background", "skin"])))
        assert (problem.level, problem.code) == ("error", "binary_0_255")
        assert problem.fix == "if 255 is 'skin', say so: --map 255=1"
        report = check(read(tmp_path, labels=["background", "skin"], mapping={255: 1}))
        assert report.ok and report.splits["all"].images_with.tolist() == [3, 3]

    def test_soft_edges_of_binary_masks(self, tmp_path: Path) -> None:
        add(tmp_path, "images/a.png", None)
        write_raw(tmp_path / "masks" / "a.png", np.linspace(0, 255, 192).reshape(12, 16).astype(np.uint8))
        problem = by_code(check(read(tmp_path, labels=["no", "yes"], mapping={255: 1})))["unknown_values"]
        assert "threshold" in problem.fix and "more" in problem.message

    def test_one_class_only(self) -> None:
        problem = only(check(in_memory([np.ones((4, 5), np.uint8)] * 2)))
        assert (problem.level, problem.code) == ("error", "one_class")
        assert "class 1" in problem.message

    def test_a_class_that_never_occurs(self) -> None:
        problem = only(check(in_memory([ids(0)], count=5)))
        assert (problem.level, problem.code) == ("warning", "absent_class")
        assert "2 classes without a pixel: class 3, class 4" in problem.message

    def test_a_class_that_train_never_shows(self) -> None:
        report = check(in_memory([ids(0) % 2, ids(1)], ["train", "val"]))
        assert only(report).code == "unseen_class"
        assert "in val but not in train: class 2" in only(report).message
        assert check(in_memory([ids(1), ids(0) % 2], ["train", "val"])).problems == ()


class TestDuplicates:
    def copy(self, root: Path, source: str, target: str) -> None:
        for kind in ("images", "masks"):
            shutil.copy(root / kind / source, root / kind / target)

    def test_the_same_image_in_train_and_val_is_a_leak(self, tmp_path: Path) -> None:
        self.copy(street(tmp_path), "train/000.png", "val/other.png")
        problem = only(check(read(tmp_path)))
        assert (problem.level, problem.code) == ("error", "leak")
        assert problem.files == ("images/train/000.png", "images/val/other.png")
        assert "train, val" in problem.message

    def test_the_same_image_in_val_and_test_is_worth_a_warning(self, tmp_path: Path) -> None:
        self.copy(street(tmp_path, {"train": 2, "val": 2, "test": 2}), "val/000.png", "test/other.png")
        assert only(check(read(tmp_path))).level == "warning"

    def test_the_same_image_twice_in_train_is_worth_a_warning(self, tmp_path: Path) -> None:
        self.copy(street(tmp_path), "train/000.png", "train/other.png")
        problem = only(check(read(tmp_path)))
        assert (problem.level, problem.code) == ("warning", "duplicates")
        assert problem.files == ("images/train/000.png", "images/train/other.png")

    def test_an_image_that_two_list_files_name_is_a_leak(self, tmp_path: Path) -> None:
        for seed, name in enumerate("abc"):
            add(tmp_path, f"images/{name}.png", f"masks/{name}.png", seed)
        write_text(tmp_path / "train.txt", "a\nb\n")
        write_text(tmp_path / "val.txt", "b\nc\n")
        problem = only(check(read(tmp_path, labels=LABELS)))
        assert problem.code == "leak" and problem.files == ("images/b.png",)


class TestReport:
    @pytest.fixture
    def bad(self, tmp_path: Path) -> CheckReport:
        street(tmp_path, {"train": 12, "val": 2})
        for number in range(8):
            write_raw(tmp_path / "masks" / "train" / f"{number:03d}.png", ids(number, (12, 15)))
        add(tmp_path, "images/val/lonely.png", None, 50)
        return check(read(tmp_path))

    def test_errors_come_first(self, bad: CheckReport) -> None:
        assert [problem.level for problem in bad.problems] == ["error", "warning"]
        assert (len(bad.errors), len(bad.warnings), bad.ok) == (1, 1, False)

    def test_raising_says_what_where_and_how_to_see_all(self, bad: CheckReport) -> None:
        with pytest.raises(DataError) as caught:
            bad.raise_for_errors()
        message = str(caught.value)
        assert message.startswith(f"{bad.root}: 8 masks of another size than the image, first 15x12")
        assert "(masks/train/000.png); export the masks again" in message
        assert message.endswith(f"'pixelwise check {bad.root}' lists all files")

    def test_the_text_shows_five_files_and_counts_the_rest(self, bad: CheckReport) -> None:
        text = bad.text()
        assert "1 error, 1 warning" in text
        assert "  error: 8 masks of another size" in text and "    fix: export the masks again" in text
        assert "masks/train/004.png\n      and 3 more\n" in text and "005.png" not in text

    def test_the_text_tabulates_classes_by_split(self, tmp_path: Path) -> None:
        report = check(read(street(tmp_path)))
        lines = report.text().splitlines()
        assert lines[1:3] == ["  train: 4 images, all 16x12", "  val: 2 images, all 16x12"]
        header, road = lines[4], lines[5]
        assert header.split() == ["id", "class", "train", "pixels", "images", "val", "pixels", "images"]
        share = report.splits["train"].shares[0]
        assert road.split()[:5] == ["0", "road", f"{100 * share:.2f}", "%", "4"]
        assert lines[-1] == "No problem found."

    def test_the_dictionary_is_json(self, bad: CheckReport) -> None:
        found = json.loads(json.dumps(bad.to_dict()))
        assert found["ok"] is False
        assert found["splits"]["train"]["classes"]["car"]["images"] == 12
        assert found["splits"]["val"]["sizes"]["median"] == [12, 16]
        assert len(found["problems"][0]["files"]) == 8

    def test_an_empty_split_has_no_size(self) -> None:
        assert SplitSummary.empty(2).size_range() == {}


class TestMemory:
    def count_reads(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        reads: list[str] = []
        look = "pixelwise.data.inspection._look"
        original: Callable[..., object] = __import__("pixelwise.data.inspection", fromlist=["_look"])._look

        def counted(sample: Sample) -> object:
            reads.append(sample.name)
            return original(sample)

        monkeypatch.setattr(look, counted)
        return reads

    def test_a_second_check_reads_nothing_and_says_the_same(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        add(street(tmp_path), "images/val/000.jpg", None, 9)
        write_raw(tmp_path / "masks" / "train" / "001.png", ids(1) + 5)
        first = check(read(tmp_path))
        reads = self.count_reads(monkeypatch)
        assert check(read(tmp_path)).to_dict() == first.to_dict()
        assert reads == []

    def test_only_changed_files_are_read_again(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        check(read(street(tmp_path)))
        write_raw(tmp_path / "masks" / "val" / "001.png", np.full((12, 16), 2, np.uint8))
        os.utime(tmp_path / "images" / "train" / "003.png", ns=(1, 1))
        reads = self.count_reads(monkeypatch)
        report = check(read(tmp_path))
        assert sorted(reads) == ["001", "003"]
        assert report.splits["val"].images_with.tolist() == [1, 1, 2]

    def test_other_classes_or_values_are_looked_at_anew(self, tmp_path: Path) -> None:
        check(read(street(tmp_path)))
        assert "unknown_values" in by_code(check(read(tmp_path, labels=["road", "car"])))
        assert check(read(tmp_path, labels=["road", "car"], mapping={2: 255})).ok

    def test_one_split_uses_what_the_whole_has_seen(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        check(read(street(tmp_path)))
        reads = self.count_reads(monkeypatch)
        assert check(read(tmp_path, split="val")).splits["val"].images == 2
        assert reads == []

    def test_nothing_is_written_beside_the_data(self, tmp_path: Path, empty_cache: Path) -> None:
        before = sorted(street(tmp_path).rglob("*"))
        check(read(tmp_path))
        assert sorted(tmp_path.rglob("*")) == before
        assert len(list(empty_cache.rglob("*.json"))) == 1

    def test_without_cache_nothing_is_written_at_all(self, tmp_path: Path, empty_cache: Path) -> None:
        check(read(street(tmp_path)), cache=False)
        assert not list(empty_cache.rglob("*"))

    @pytest.mark.parametrize("content", ["", "{", "[1]", '{"a": 3}'])
    def test_a_damaged_cache_is_replaced(self, tmp_path: Path, empty_cache: Path, content: str) -> None:
        first = check(read(street(tmp_path)))
        (path,) = empty_cache.rglob("*.json")
        path.write_text(content)
        assert check(read(tmp_path)).to_dict() == first.to_dict()
        assert len(json.loads(path.read_text())) >= 6

    def test_a_cache_that_cannot_be_written_does_no_harm(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        assert check(read(street(tmp_path / "data"))).ok

    def test_an_interrupted_check_goes_on_where_it_stopped(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def stop(done: int, total: int) -> None:
            if done == total:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            check(read(street(tmp_path)), progress=stop)
        reads = self.count_reads(monkeypatch)
        assert check(read(tmp_path)).ok and reads == []


def files_named(report: CheckReport) -> list[tuple[str, ...]]:
    return [problem.files for problem in report.problems]


def rewrite(root: Path) -> None:
    """Other ids in as many bytes, at another time."""
    path = root / "masks" / "val" / "000.npy"
    size = path.stat().st_size
    np.save(path, np.zeros((12, 16), np.uint8))
    os.utime(path, ns=(1, 1))
    assert path.stat().st_size == size


def copy_back(root: Path) -> None:
    """Other ids in as many bytes, with the time of the file before."""
    path = root / "masks" / "val" / "000.npy"
    before = path.stat()
    np.save(path, np.zeros((12, 16), np.uint8))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def add_pair(root: Path) -> None:
    add(root, "images/val/new.png", "masks/val/new.png", 70)


def remove_pair(root: Path) -> None:
    (root / "images" / "train" / "001.png").unlink()
    (root / "masks" / "train" / "001.png").unlink()


def move_to_train(root: Path) -> None:
    for kind in ("images", "masks"):
        (root / kind / "val" / "001.png").rename(root / kind / "train" / "moved.png")


def swap_names(root: Path) -> None:
    """The same files, with the masks of two images exchanged."""
    first, second, aside = (root / "masks" / "train" / f"{name}.png" for name in ("000", "001", "aside"))
    first.rename(aside)
    second.rename(first)
    aside.rename(second)


def rename_folder(root: Path) -> None:
    """Another name for the same split, which changes neither size nor times of the files."""
    (root / "masks" / "train").rename(root / "masks" / "training")


def damage(root: Path) -> None:
    path = root / "images" / "train" / "002.png"
    path.write_bytes(path.read_bytes()[:60])


def rename_class(root: Path) -> None:
    write_text(root / "classes.txt", "road\nlorry\nsky\n")


def leave_lonely(root: Path) -> None:
    add(root, "images/train/lonely.png", None, 50)


def list_files(root: Path) -> None:
    """Other splits for files that stay where they are."""
    for kind in ("images", "masks"):
        for split in ("train", "val"):
            (root / kind / split).rename(root / kind / f"part of {split}")


class TestReportMemory:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        """A folder whose report has everything in it: splits, sizes, warnings and errors."""
        root = street(tmp_path / "street")
        (root / "masks" / "val" / "000.png").unlink()
        write_raw(root / "masks" / "val" / "000.npy", ids(4))
        add(root, "images/val/unpaired.png", None, 9)
        write_image(root / "images" / "train" / "wide.png", picture(30, (12, 20)))
        write_raw(root / "masks" / "train" / "wide.png", ids(30, (10, 20)) + 4)
        return root

    @pytest.fixture
    def looked(self, monkeypatch: pytest.MonkeyPatch) -> list[Dataset[Sample]]:
        """The data sets whose samples a check has gone through."""
        module = importlib.import_module("pixelwise.data.check")  # the package has a function of its name
        original, seen = module._look_at_all, list[Dataset[Sample]]()

        def counted(dataset: Dataset[Sample], *rest: Any) -> object:
            seen.append(dataset)
            return original(dataset, *rest)

        monkeypatch.setattr(module, "_look_at_all", counted)
        return seen

    def test_a_remembered_report_equals_a_fresh_one(self, root: Path, looked: list[Dataset[Sample]]) -> None:
        first = check(read(root))
        assert {problem.code for problem in first.problems} >= {"size_mismatch", "unknown_values"}
        assert len(looked) == 1
        again = check(read(root))
        assert len(looked) == 1
        fresh = check(read(root), cache=False)
        for report in (first, again):
            assert report.to_dict() == fresh.to_dict()
            assert report.text() == fresh.text()
            assert report.problems == fresh.problems
            for split in ("train", "val"):
                weights = report.class_weights(split)
                assert weights.dtype == np.float32
                assert weights.tolist() == fresh.class_weights(split).tolist()
                assert report.splits[split].sizes == fresh.splits[split].sizes
                assert report.splits[split].pixels.dtype == np.int64

    @pytest.mark.parametrize(
        "change",
        [
            rewrite,
            copy_back,
            add_pair,
            remove_pair,
            move_to_train,
            swap_names,
            rename_folder,
            damage,
            rename_class,
            leave_lonely,
            list_files,
        ],
    )
    def test_a_change_is_never_missed(self, root: Path, change: Callable[[Path], None]) -> None:
        before = check(read(root))
        assert check(read(root)).to_dict() == before.to_dict()
        change(root)
        fresh = check(read(root), cache=False)
        for _ in range(2):  # the second one is remembered
            found = check(read(root))
            assert found.to_dict() == fresh.to_dict()
            assert found.class_weights().tolist() == fresh.class_weights().tolist()
        if change is not swap_names:
            assert found.to_dict() != before.to_dict()

    def test_undoing_a_change_brings_the_first_report_back(self, root: Path) -> None:
        before = check(read(root))
        add_pair(root)
        check(read(root))
        for kind in ("images", "masks"):
            (root / kind / "val" / "new.png").unlink()
        assert check(read(root)).to_dict() == before.to_dict()

    def test_other_classes_and_mappings_have_their_own(self, root: Path) -> None:
        check(read(root))
        two = ["road", "car"]
        for options in ({"labels": two}, {"labels": two, "mapping": {2: 255}}, {"mapping": {2: 1}}, {}):
            for _ in range(2):
                found = check(read(root, **options))
                assert found.to_dict() == check(read(root, **options), cache=False).to_dict()

    @pytest.mark.parametrize(
        ("name", "other"), [("inspection._CACHE_VERSION", 0), ("check_memory._CONCLUSIONS", [Path(__file__)])]
    )
    def test_another_version_looks_again(
        self,
        root: Path,
        looked: list[Dataset[Sample]],
        monkeypatch: pytest.MonkeyPatch,
        name: str,
        other: object,
    ) -> None:
        check(read(root))
        monkeypatch.setattr(f"pixelwise.data.{name}", other)
        assert check(read(root)).to_dict() == check(read(root), cache=False).to_dict()
        assert len(looked) == 3

    def test_what_the_reader_found_wrong_is_not_remembered(
        self, root: Path, looked: list[Dataset[Sample]]
    ) -> None:
        check(read(root))
        leave_lonely(root)
        (problem,) = (p for p in check(read(root)).problems if p.code == "unpaired_image")
        assert "images/train/lonely.png" in problem.files
        assert len(looked) == 1  # for no file of a sample has changed

    def test_splits_do_not_get_the_report_of_the_whole(self, root: Path) -> None:
        whole = check(read(root)).to_dict()
        part = check(read(root, split="val"))
        assert list(part.splits) == ["val"] and part.splits["val"].images == 2
        assert check(read(root)).to_dict() == whole
        assert len(check(read(root)[:2]).splits) == 1

    def test_the_same_files_in_other_splits_are_another_report(self, root: Path) -> None:
        data = read(root)
        check(data)
        swapped = ["train" if split == "val" else "val" for split in data.split_of_each or ()]
        other = Dataset(
            data.records,
            data.open_record,
            data.labels,
            splits=swapped,
            root=data.root,
            files_of=data.files_of,
        )
        assert check(other).splits["val"].images == 5

    def test_a_missing_file_is_looked_for_every_time(self, root: Path, looked: list[Dataset[Sample]]) -> None:
        data = read(root)
        (root / "images" / "train" / "000.png").unlink()
        for _ in range(2):
            assert "unreadable_image" in by_code(check(data))
        assert len(looked) == 2
        write_image(root / "images" / "train" / "000.png", picture(0))
        assert "unreadable_image" not in by_code(check(data))

    def test_relative_folders_are_told_apart(
        self, root: Path, looked: list[Dataset[Sample]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reports = []
        for folder in (root, shutil.copytree(root, root.parent / "other")):
            monkeypatch.chdir(folder)
            reports += [check(read(".")), check(read("."))]
        assert len(looked) == 2
        assert reports[3].to_dict() == check(read("."), cache=False).to_dict()
        assert files_named(reports[0]) == files_named(check(read(root)))

    def test_progress_of_a_remembered_report(self, root: Path) -> None:
        seen: list[tuple[int, int]] = []
        check(read(root))
        check(read(root), progress=lambda done, total: seen.append((done, total)))
        assert seen == [(7, 7)]

    @pytest.mark.parametrize("content", ["", "{", "[1]", '"a"', '{"rests on": 3}'])
    def test_a_damaged_report_is_replaced(
        self, root: Path, empty_cache: Path, looked: list[Dataset[Sample]], content: str
    ) -> None:
        first = check(read(root))
        (path,) = empty_cache.rglob("*.report")
        path.write_text(content)
        assert check(read(root)).to_dict() == check(read(root)).to_dict() == first.to_dict()
        assert len(looked) == 2

    def test_a_report_of_another_shape_is_replaced(self, root: Path, empty_cache: Path) -> None:
        first = check(read(root))
        (path,) = empty_cache.rglob("*.report")
        kept = json.loads(path.read_text())
        shapes: tuple[object, ...] = ([], {"train": 3}, {"train": {"pixels": "many"}})
        for splits in shapes:
            path.write_text(json.dumps(kept | {"splits": splits}))
            assert check(read(root)).to_dict() == first.to_dict()

    def test_deleting_the_facts_has_everything_looked_at_again(
        self, root: Path, empty_cache: Path, looked: list[Dataset[Sample]]
    ) -> None:
        check(read(root))
        (facts,) = empty_cache.rglob("*.json")
        facts.unlink()
        check(read(root))
        assert len(looked) == 2 and facts.is_file()

    def test_without_cache_a_remembered_report_is_not_used(
        self, root: Path, looked: list[Dataset[Sample]]
    ) -> None:
        check(read(root))
        check(read(root), cache=False)
        assert len(looked) == 2

    def test_an_interrupted_check_leaves_no_report(self, root: Path, empty_cache: Path) -> None:
        def stop(done: int, total: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            check(read(root), progress=stop)
        assert not list(empty_cache.rglob("*.report"))

    def test_a_file_that_changes_during_the_check_is_noticed_next_time(self, root: Path) -> None:
        def change(done: int, total: int) -> None:
            if done == total:
                rewrite(root)

        check(read(root), progress=change)
        assert check(read(root)).to_dict() == check(read(root), cache=False).to_dict()

    def test_without_names_of_files_there_is_no_report_to_keep(self, root: Path, empty_cache: Path) -> None:
        data = read(root)
        check(Dataset(data.records, data.open_record, data.labels, root=root))
        assert not list(empty_cache.rglob("*.report")) and list(empty_cache.rglob("*.json"))
