"""LiTS and folders of NIfTI volumes, on generated look-alikes."""

import json
from pathlib import Path

import numpy as np
import pytest

from pixelwise.data.datasets import lits
from pixelwise.data.formats import nifti
from pixelwise.errors import DataError, UsageError
from pixelwise.io import write_text

nibabel = pytest.importorskip("nibabel")

SHAPE = (8, 7, 5)
LPS = np.diag([-0.8, -0.8, 2.5, 1.0])  # axes 0 and 1 run against the canonical ones
LPS[:3, 3] = (100, 90, -40)


def scan(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-1024, 1500, SHAPE).astype(np.int16)


def values(seed: int, count: int = 3) -> np.ndarray:
    return np.random.default_rng(100 + seed).integers(0, count, SHAPE).astype(np.uint8)


def save(
    path: Path, array: np.ndarray, affine: np.ndarray = LPS, names: dict[int, str] | None = None
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(array, affine)
    if names:
        rows = "".join(f'<Label Key="{key}"><![CDATA[{name}]]></Label>' for key, name in names.items())
        table = f"<CaretExtension><LabelTable>{rows}</LabelTable></CaretExtension>".encode()
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension(0, table))
    nibabel.save(image, path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in (0, 3, 4):
        folder = tmp_path / ("Training Batch 1" if number < 4 else "Training Batch 2")
        save(folder / f"volume-{number}.nii", scan(number))
        # As in some originals, the header of the segmentation says something else.
        save(folder / f"segmentation-{number}.nii", values(number), np.diag([1.0, 1, 1, 1]))
    save(tmp_path / "test-volume-0.nii.gz", scan(9))
    return tmp_path


def test_a_folder_without_a_scan_says_what_was_expected(tmp_path: Path) -> None:
    write_text(tmp_path / "readme.txt", "nothing")
    assert not lits.recognise(tmp_path) and not nifti.recognise(tmp_path)
    with pytest.raises(DataError, match=r"expected files such as 'Training Batch 1/volume"):
        lits.read(tmp_path)
    with pytest.raises(DataError, match="no volume"):
        nifti.read(tmp_path)


def test_a_segmentation_of_another_size_is_refused_when_it_is_touched(root: Path) -> None:
    save(root / "Training Batch 1" / "segmentation-0.nii", values(0)[:, :, :4])
    volume = lits.read(root)[0]
    assert volume.array.shape == SHAPE
    with pytest.raises(
        DataError, match=r"segmentation-0\.nii: .* 8x7x4 voxels but its scan volume-0\.nii 8x7x5"
    ):
        _ = volume.mask
    sample = lits.read(root, as_slices=True)[0]
    with pytest.raises(DataError, match="8x7x4 voxels"):
        _ = sample.mask


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (np.full(SHAPE, 7, np.uint8), "holds the values 7, which are none of the 3 classes"),
        (np.full(SHAPE, -1, np.int16), "from 0 on, found values from -1"),
        (np.full(SHAPE, 0.5, np.float32), "class numbers from 0 on"),
    ],
)
def test_values_that_are_no_class_are_refused(root: Path, mask: np.ndarray, said: str) -> None:
    save(root / "Training Batch 1" / "segmentation-0.nii", mask)
    with pytest.raises(DataError, match=rf"segmentation-0\.nii: .*{said}"):
        _ = lits.read(root)[0].mask


def test_contradictory_options(root: Path) -> None:
    with pytest.raises(UsageError, match="window is for slices"):
        lits.read(root, window=(-200, 250))
    with pytest.raises(UsageError, match="low before high"):
        lits.read(root, as_slices=True, window=(250, -200))
    with pytest.raises(UsageError, match="axis=3"):
        lits.read(root, as_slices=True, axis=3)
    with pytest.raises(UsageError, match="did you mean 'liver'"):
        lits.read(root, classes="livers")


def test_files_without_a_partner_and_copies_are_listed(root: Path) -> None:
    save(root / "Training Batch 1" / "volume-7.nii", scan(7))
    save(root / "Training Batch 2" / "segmentation-8.nii", values(8))
    save(root / "Training Batch 2" / "volume-0.nii.gz", scan(0))
    data = lits.read(root)
    assert len(data) == 4
    assert {problem.code: problem.files for problem in data.problems} == {
        "unpaired_image": ("Training Batch 1/volume-7.nii",),
        "unpaired_mask": ("Training Batch 2/segmentation-8.nii",),
        "extra_volume": ("Training Batch 2/volume-0.nii.gz",),
    }


def test_opening_reads_no_file(root: Path) -> None:
    for path in root.rglob("*.nii*"):
        path.write_bytes(b"")
    data = lits.read(root)
    assert lits.recognise(root) and len(data) == 4
    with pytest.raises(DataError, match=r"volume-0\.nii: cannot be read"):
        _ = data[0]


def test_splits_are_fixed_by_the_number(root: Path) -> None:
    data = lits.read(root)
    assert (data.name, data.labels, data.splits) == (
        "LiTS",
        lits.CLASSES["liver-tumour"],
        ("train", "val", "test"),
    )
    assert [volume.meta["name"] for volume in data] == ["volume-0", "volume-3", "volume-4", "test-volume-0"]
    assert [volume.meta["name"] for volume in data.select("val")] == ["volume-4"]
    counts = [lits.split_of(number) for number in range(131)]
    assert {split: counts.count(split) for split in ("train", "val")} == {"train": 105, "val": 26}
    assert lits.INFO.splits == {"train": 105, "val": 26, "test": 70}


def test_volumes_are_canonical_and_the_affine_of_the_segmentation_does_not_count(root: Path) -> None:
    volume = lits.read(root)[0]
    assert volume.array.dtype == np.int16 and np.array_equal(volume.array, scan(0)[::-1, ::-1])
    assert volume.mask is not None and volume.mask.dtype == np.uint8
    assert np.array_equal(volume.mask, values(0)[::-1, ::-1])
    assert volume.spacing == pytest.approx((0.8, 0.8, 2.5)) and volume.meta["axes"] == "RAS"
    # The corner voxel is where it was.
    world = LPS @ [7, 6, 0, 1]
    assert np.allclose(volume.affine @ [0, 0, 0, 1], world)


def test_stored_axes_on_request(root: Path) -> None:
    volume = lits.read(root, canonical=False)[0]
    assert np.array_equal(volume.array, scan(0)) and np.array_equal(volume.mask, values(0))
    assert np.allclose(volume.affine, LPS)


def test_test_scans_have_no_labels(root: Path) -> None:
    [volume] = lits.read(root).select("test")
    assert volume.mask is None and not volume.labelled and np.array_equal(volume.array, scan(9)[::-1, ::-1])


def test_other_types_become_hounsfield_units(root: Path) -> None:
    wide = scan(0).astype(np.float32) + np.float32(0.4)
    wide[0, 0, 0] = 1e6
    save(root / "Training Batch 1" / "volume-0.nii", wide)
    array = lits.read(root, canonical=False)[0].array
    assert array.dtype == np.int16 and array[0, 0, 0] == 32767
    assert np.array_equal(array.ravel()[1:], scan(0).ravel()[1:])


def test_the_liver_with_its_tumours(root: Path) -> None:
    data = lits.read(root, classes="liver", canonical=False)
    assert data.labels.names == ("background", "liver")
    assert np.array_equal(data[0].mask, values(0) >= 1)


def test_other_classes_are_joined_by_name_and_values_can_be_mapped(root: Path) -> None:
    data = lits.read(root, ["tumour", "background"], canonical=False)
    assert np.array_equal(data[0].mask, np.array([1, 255, 0], np.uint8)[values(0)])
    data = lits.read(root, mapping={2: 1}, canonical=False)
    assert np.array_equal(data[0].mask, np.minimum(values(0), 1))


def test_slices(root: Path) -> None:
    data = lits.read(root, as_slices=True)
    assert len(data) == 4 * SHAPE[2] and len(data.select("val")) == SHAPE[2]
    sample = data[2]
    assert (sample.name, sample.meta["index"], sample.meta["axis"]) == ("volume-0_0002", 2, 2)
    assert sample.meta["spacing"] == pytest.approx((0.8, 0.8))
    plane = lits.read(root)[0].array[:, :, 2].astype(float).T[::-1]
    grey = np.rint((plane + 200) * 255 / 450).clip(0, 255)
    assert sample.image.dtype == np.uint8 and sample.image.shape == (7, 8, 3)
    assert np.array_equal(sample.image, np.repeat(grey[..., None], 3, axis=2))
    assert np.array_equal(sample.mask, values(0)[::-1, ::-1, 2].T[::-1])
    assert data.select("test")[0].mask is None


def test_windows_and_axes_of_slices(root: Path) -> None:
    sample = lits.read(root, as_slices=True, window=(0, 1), axis=0)[1]
    assert sample.image.shape == (5, 7, 3) and set(np.unique(sample.image)) <= {0, 255}
    assert sample.meta["spacing"] == pytest.approx((2.5, 0.8))
    assert np.array_equal(sample.image[..., 0] > 0, scan(0)[::-1, ::-1][1].T[::-1] > 0)


def test_a_damaged_header_costs_one_scan(root: Path) -> None:
    (root / "Training Batch 1" / "volume-3.nii").write_bytes(b"nothing")
    data = lits.read(root, as_slices=True)
    assert len(data) == 3 * SHAPE[2]
    [problem] = data.problems
    assert problem.code == "unreadable_volume" and problem.files == ("Training Batch 1/volume-3.nii",)


def test_public_facts() -> None:
    assert lits.INFO.labels.names == ("background", "liver", "tumour")
    assert lits.INFO.to_dict()["name"] == "lits"


# Generic folders


def folder_pair(root: Path, image: str, mask: str, seed: int = 0, **options: dict[int, str]) -> None:
    save(root / image, scan(seed))
    save(root / mask, values(seed), **options)


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("images/a.nii.gz", "masks/a.nii.gz"),
        ("images/a.nii", "labels/a_seg.nii.gz"),
        ("imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz"),
        ("a.nii.gz", "a_seg.nii.gz"),
        ("a_ct.nii.gz", "a_mask.nii.gz"),
        ("case_1/imaging.nii.gz", "case_1/segmentation.nii.gz"),
        ("train/scans/a.nii", "train/segmentations/a.nii"),
    ],
)
def test_pairs_in_the_usual_layouts(tmp_path: Path, image: str, mask: str) -> None:
    folder_pair(tmp_path, image, mask)
    assert nifti.recognise(tmp_path)
    data = nifti.read(tmp_path, ["no", "yes", "other"], canonical=False)
    assert len(data) == 1 and data.problems == ()
    assert np.array_equal(data[0].array, scan(0)) and np.array_equal(data[0].mask, values(0))
    assert data.splits == (("train",) if "rain" in image or "Tr" in image else ())


def test_equal_stems_in_two_cases_are_kept_apart(tmp_path: Path) -> None:
    for seed in (1, 2):
        folder_pair(tmp_path, f"case_{seed}/ct.nii", f"case_{seed}/seg.nii", seed)
    data = nifti.read(tmp_path, ["a", "b", "c"], canonical=False)
    for seed, volume in zip((1, 2), data, strict=True):
        assert np.array_equal(volume.array, scan(seed)) and np.array_equal(volume.mask, values(seed))


def test_the_decathlon(tmp_path: Path) -> None:
    folder_pair(tmp_path, "imagesTr/liver_0.nii.gz", "labelsTr/liver_0.nii.gz")
    save(tmp_path / "imagesTs/liver_1.nii.gz", scan(1))
    save(tmp_path / "imagesTr/liver_2.nii.gz", scan(2))
    write_text(
        tmp_path / "dataset.json", json.dumps({"labels": {"0": "background", "1": "liver", "2": "cancer"}})
    )
    data = nifti.read(tmp_path)
    assert data.labels.names == ("background", "liver", "cancer") and data.splits == ("train", "test")
    assert [volume.labelled for volume in data] == [True, False]
    assert [problem.files for problem in data.problems] == [("imagesTr/liver_2.nii.gz",)]


def test_nnunet_turns_names_and_values_round(tmp_path: Path) -> None:
    folder_pair(tmp_path, "imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz")
    write_text(tmp_path / "dataset.json", json.dumps({"labels": {"background": 0, "liver": 1, "cancer": 2}}))
    assert nifti.read(tmp_path).labels.names == ("background", "liver", "cancer")


def test_without_names_it_asks_for_them(tmp_path: Path) -> None:
    folder_pair(tmp_path, "images/a.nii", "masks/a.nii")
    with pytest.raises(DataError, match=r"what are the classes called\? .* values 0, 1, 2"):
        nifti.read(tmp_path)


def test_names_in_headers_join_the_values_of_each_file(tmp_path: Path) -> None:
    folder_pair(tmp_path, "images/a.nii", "masks/a.nii", 0, names={1: "spleen", 2: "liver"})
    folder_pair(tmp_path, "images/b.nii", "masks/b.nii", 1, names={1: "liver", 2: "spleen"})
    folder_pair(tmp_path, "images/c.nii", "masks/c.nii", 2, names={1: "liver", 2: "lung"})
    data = nifti.read(tmp_path, canonical=False)
    assert data.labels.names == ("background", "spleen", "liver")
    assert np.array_equal(data[0].mask, values(0))
    assert np.array_equal(data[1].mask, np.array([0, 2, 1], np.uint8)[values(1)])
    with pytest.raises(DataError, match="holds the values 2"):
        _ = data[2].mask
    mapped = nifti.read(tmp_path, mapping={2: 0}, canonical=False)
    assert np.array_equal(mapped[2].mask, np.array([0, 2, 0], np.uint8)[values(2)])


def test_slices_without_a_window_keep_their_values(tmp_path: Path) -> None:
    folder_pair(tmp_path, "images/a.nii.gz", "masks/a.nii.gz")
    sample = nifti.read(tmp_path, ["a", "b", "c"], as_slices=True, axis=1)[3]
    assert sample.image.dtype == np.int16
    assert np.array_equal(sample.image, scan(0)[::-1, ::-1][:, 3].T[::-1][..., None])
    assert np.array_equal(sample.mask, values(0)[::-1, ::-1][:, 3].T[::-1])


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_scans_of_several_channels(tmp_path: Path, suffix: str) -> None:
    channels = np.stack([scan(1), scan(2)], axis=-1)
    save(tmp_path / f"imagesTr/a{suffix}", channels)
    save(tmp_path / f"labelsTr/a{suffix}", values(0))
    volume = nifti.read(tmp_path, ["a", "b", "c"])[0]
    assert np.array_equal(volume.array, channels[::-1, ::-1]) and np.array_equal(
        volume.mask, values(0)[::-1, ::-1]
    )
    sample = nifti.read(tmp_path, ["a", "b", "c"], as_slices=True)[1]
    assert np.array_equal(sample.image, channels[::-1, ::-1, 1].swapaxes(0, 1)[::-1])
    windowed = nifti.read(tmp_path, ["a", "b", "c"], as_slices=True, window=(0, 1))[1]
    assert windowed.image.shape == (7, 8, 2) and np.array_equal(windowed.image == 255, sample.image > 0)
    save(tmp_path / f"labelsTr/a{suffix}", np.stack([values(0)] * 2, axis=-1))
    with pytest.raises(DataError, match="4-D, 8x7x5x2 voxels, expected 3-D"):
        _ = nifti.read(tmp_path, ["a", "b", "c"])[0].mask
