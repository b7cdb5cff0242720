"""The synthetic street: the same for the same seed, well-formed at any size, and with a flow that is true."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelwise import io
from pixelwise.data.synthetic import (
    STREET_LABELS,
    demo_dataset,
    street,
    street_clip,
    street_dataset,
    write_street,
)
from pixelwise.errors import UsageError
from pixelwise.sample import Sample

SMALL = (120, 160)
THINGS = [STREET_LABELS.index(name) for name in ("pole", "sign", "car", "person", "cyclist")]


def mask_of(sample: Sample) -> np.ndarray:
    assert sample.mask is not None
    return sample.mask


@pytest.fixture(scope="module")
def streets() -> list[Sample]:
    return list(street_dataset(20, seed=7, size=(180, 240)))


def test_same_seed_same_bytes() -> None:
    first, again, other = street(5, SMALL), street(5, SMALL), street(6, SMALL)
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(mask_of(first), mask_of(again))
    assert np.array_equal(first.instances, again.instances)
    assert not np.array_equal(first.image, other.image)
    assert not np.array_equal(mask_of(first), mask_of(other))


def test_sample_of_a_dataset_depends_on_its_place_only() -> None:
    short, long = street_dataset(2, seed=3, size=SMALL), street_dataset(9, seed=3, size=SMALL)
    assert np.array_equal(short[1].image, long[1].image)
    assert not np.array_equal(long[0].image, long[1].image)
    assert not np.array_equal(street_dataset(2, seed=4, size=SMALL)[1].image, short[1].image)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10_000), height=st.integers(16, 150), width=st.integers(16, 150))
def test_well_formed_at_any_size(seed: int, height: int, width: int) -> None:
    sample = street(seed, (height, width))
    assert sample.image.shape == (height, width, 3)
    assert sample.image.dtype == np.uint8
    assert mask_of(sample).shape == (height, width)
    assert mask_of(sample).dtype == np.uint8
    assert mask_of(sample).max() < len(STREET_LABELS)
    assert sample.instances is not None
    assert sample.instances.shape == (height, width)
    assert sample.instances.dtype == np.int32


@pytest.mark.parametrize("size", [(97, 131), (720, 960), (200, 80)])
def test_other_sizes_still_show_a_street(size: tuple[int, int]) -> None:
    mask = mask_of(street(2, size))
    present = set(io.mask_values(mask).tolist())
    assert mask.shape == size
    assert {STREET_LABELS.index(name) for name in ("road", "sky")} <= present


def test_every_class_is_there_and_large_enough(streets: list[Sample]) -> None:
    shares = np.array([np.bincount(mask_of(s).ravel(), minlength=11) / mask_of(s).size for s in streets])
    assert shares.shape[1] == len(STREET_LABELS)
    assert ((shares > 0).mean(axis=0) > 0.6).all()
    assert (shares.mean(axis=0) > 0.002).all()


def test_classes_are_not_told_apart_by_their_mean_colour(streets: list[Sample]) -> None:
    """The spread of a class's colour from street to street is larger than its distance to other classes."""
    for name, rival in (("road", "pavement"), ("building", "car"), ("person", "sign"), ("road", "building")):
        first, second = (mean_colours(streets, STREET_LABELS.index(which)) for which in (name, rival))
        gap = np.linalg.norm(first.mean(axis=0) - second.mean(axis=0))
        assert gap < np.linalg.norm(first.std(axis=0) + second.std(axis=0))


def mean_colours(streets: list[Sample], label: int) -> np.ndarray:
    regions = [s.image[mask_of(s) == label] for s in streets if (mask_of(s) == label).any()]
    return np.array([region.mean(axis=0) for region in regions])


def test_instances_are_things_of_one_class(streets: list[Sample]) -> None:
    for sample in streets:
        mask, instances = mask_of(sample), sample.instances
        assert instances is not None
        assert np.array_equal(instances > 0, np.isin(mask, THINGS))
        for instance in np.unique(instances[instances > 0]):
            assert len(np.unique(mask[instances == instance])) == 1


def test_lanes_lie_on_the_road_along_its_markings(streets: list[Sample]) -> None:
    height, width = mask_of(streets[0]).shape
    ground, found = STREET_LABELS.names[:3], []
    assert ground == ("road", "lane marking", "pavement")
    for sample in streets:
        for lane in sample.meta["lanes"]:
            assert lane.dtype == np.float32
            assert lane.ndim == 2
            assert lane.shape[1] == 2
            assert (lane >= 0).all()
            assert (lane <= (width, height)).all()
            near = lane[: max(1, len(lane) // 3)]
            x, y = np.minimum(near, (width - 1, height - 1)).astype(int).T
            found.append(mask_of(sample)[y, x])
    counts = np.bincount(np.concatenate(found), minlength=len(STREET_LABELS))
    road, marking, pavement = counts[:3]
    assert len(found) > 20
    assert pavement < 0.05 * (road + marking)
    assert marking > road  # dashes leave gaps, and crossings and junctions interrupt the lines


@pytest.mark.parametrize("seed", [0, 1, 2, 11])
def test_flow_warps_one_frame_onto_the_next(seed: int) -> None:
    clip = street_clip(seed, frames=4, size=(180, 240), noise=0)
    for number in (1, 3):
        before, now = clip.frame(number - 1), clip.frame(number)
        flow = clip.flow[number]()
        assert flow.shape == (180, 240, 2)
        assert flow.dtype == np.float32
        assert np.isfinite(flow).all()
        warped, labels, visible = warp_back(before, flow)
        same = visible & (labels == mask_of(now))
        grey, expected = (image.astype(np.float32).mean(axis=2) for image in (warped, now.image))
        still = np.abs(before.image.astype(np.float32).mean(axis=2) - expected)[same]
        error = np.abs(grey - expected)[same]
        assert same.mean() > 0.75
        assert np.median(error) < 2.5
        assert error.mean() < 0.75 * still.mean()


def test_flow_carries_class_edges() -> None:
    clip = street_clip(4, frames=3, size=(180, 240), noise=0)
    before, now = clip.frame(1), clip.frame(2)
    _, labels, visible = warp_back(before, clip.flow[2]())
    assert (labels == mask_of(now))[visible].mean() > 0.96
    assert (labels == mask_of(now))[visible].mean() > (mask_of(before) == mask_of(now))[visible].mean()


def warp_back(before: Sample, flow: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frame and mask of t-1 as seen at t, and which pixels come from inside the frame."""
    height, width = flow.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    u, v = x + flow[..., 0], y + flow[..., 1]
    image = cv2.remap(before.image, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    labels = cv2.remap(mask_of(before), u, v, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    return image, labels, (u >= 0) & (u <= width - 1) & (v >= 0) & (v <= height - 1)


def test_clip_is_complete_and_moves() -> None:
    clip = street_clip(9, frames=5, size=SMALL, rate=10.0)
    assert len(clip) == 5
    assert clip.times == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert sorted(clip.masks) == sorted(clip.instances) == list(range(5))
    assert sorted(clip.flow) == [1, 2, 3, 4]
    assert len(clip.meta["lanes"]) == 5
    assert not np.array_equal(clip.frame(0).image, clip.frame(4).image)
    again = street_clip(9, frames=5, size=SMALL, rate=10.0)
    assert np.array_equal(again.frame(3).image, clip.frame(3).image)


def test_clip_instances_keep_their_class() -> None:
    clip = street_clip(9, frames=6, size=(180, 240))
    classes: dict[int, int] = {}
    seen: list[set[int]] = []
    for number in range(6):
        frame = clip.frame(number)
        assert frame.instances is not None
        found = np.unique(np.stack([frame.instances, mask_of(frame)], axis=-1)[frame.instances > 0], axis=0)
        for instance, label in found.tolist():
            assert classes.setdefault(instance, label) == label
        seen.append(set(found[:, 0].tolist()))
    assert len(seen[0] & seen[5]) > 0.6 * len(seen[0])


def test_demo_dataset_has_three_splits_without_painting() -> None:
    data = demo_dataset()
    assert data.splits == ("train", "val", "test")
    assert data.labels == STREET_LABELS
    assert sum(len(data.select(split)) for split in data.splits) == len(data)


def test_written_street_reads_back(tmp_path: Path) -> None:
    data = street_dataset(3, size=SMALL, splits={"train": 2, "test": 1})
    write_street(tmp_path, data)
    labels, mapping = io.read_label_file(tmp_path / "classes.txt")
    assert labels == STREET_LABELS
    assert mapping == {}
    names = [path.relative_to(tmp_path).as_posix() for path in io.list_images(tmp_path / "images")]
    assert names == [
        "images/test/street_0003.jpg",
        "images/train/street_0001.jpg",
        "images/train/street_0002.jpg",
    ]
    for sample, split in zip(data, ("train", "train", "test"), strict=True):
        stem = sample.name
        mask = io.read_mask(tmp_path / "masks" / split / f"{stem}.png")
        image = io.read_image(tmp_path / "images" / split / f"{stem}.jpg")
        assert np.array_equal(mask, mask_of(sample))
        assert np.abs(image.astype(int) - sample.image).mean() < 6


def test_mistakes_are_explained() -> None:
    with pytest.raises(UsageError, match="16x16"):
        street(0, (8, 100))
    with pytest.raises(UsageError, match="splits hold 2 samples"):
        street_dataset(3, splits=["train", "test"])
    with pytest.raises(UsageError, match="at least one frame"):
        street_clip(0, frames=0)
