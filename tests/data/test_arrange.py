"""Other class names and other splits of the same samples."""

from __future__ import annotations

import numpy as np
import pytest

from pixelwise.data import rename_classes, split_at_random
from pixelwise.errors import UsageError
from pixelwise.labels import LabelMap
from pixelwise.sample import Cloud, Dataset, Sample, Volume

LABELS = LabelMap(("road", "car", "bus"), ((1, 1, 1), (2, 2, 2), (3, 3, 3)))
IDS = np.array([0, 1, 2, 255], np.uint8)


def items(kind):
    if kind is Sample:
        return Sample(np.zeros((1, 4, 3), np.uint8), IDS[None])
    if kind is Volume:
        return Volume(np.zeros((1, 1, 4), np.int16), mask=IDS.reshape(1, 1, 4))
    return Cloud(np.zeros((4, 3)), labels=IDS)


def ids_of(item):
    return np.ravel(item.labels if isinstance(item, Cloud) else item.mask).tolist()


@pytest.mark.parametrize("kind", [Sample, Volume, Cloud])
class TestEveryKind:
    def data(self, kind, count=1):
        return Dataset([kind] * count, items, LABELS, name="things")

    def test_merge(self, kind):
        merged = rename_classes(self.data(kind), {"bus": "car", "road": "street"})
        assert merged.labels.names == ("street", "car")
        assert merged.labels.colours == ((1, 1, 1), (2, 2, 2))
        assert ids_of(merged[0]) == [0, 1, 1, 255]

    def test_ignore(self, kind):
        merged = rename_classes(self.data(kind), {"road": "ignore"})
        assert merged.labels.names == ("car", "bus")
        assert ids_of(merged[0]) == [255, 0, 1, 255]

    def test_split(self, kind):
        split = split_at_random(self.data(kind, 10), 0.8)
        assert {name: len(split.select(name)) for name in split.splits} == {"train": 8, "val": 2}
        assert [item.meta["split"] for item in split] == list(split.split_of_each)


class TestBadInput:
    data = Dataset([Sample] * 3, items, LABELS, name="things")

    def test_a_class_that_is_not_there(self):
        with pytest.raises(UsageError, match="unknown class 'buss': did you mean 'bus'?"):
            rename_classes(self.data, {"buss": "car"})

    def test_nothing_left(self):
        with pytest.raises(UsageError, match="no class is left"):
            rename_classes(self.data, dict.fromkeys(LABELS.names, "ignore"))

    @pytest.mark.parametrize("fraction", [0, 1, 80, float("nan")])
    def test_a_share_that_is_none(self, fraction):
        with pytest.raises(UsageError, match="expected the share of images to train on"):
            split_at_random(self.data, fraction)

    def test_one_image(self):
        with pytest.raises(UsageError, match="things: 1 image cannot be split in two"):
            split_at_random(self.data[:1], 0.5)


def test_the_same_seed_the_same_split():
    data = Dataset([Sample] * 50, items, LABELS)
    splits = [split_at_random(data, 0.5, seed).split_of_each for seed in (1, 1, 2)]
    assert splits[0] == splits[1] != splits[2]


def test_both_sides_get_something():
    data = Dataset([Sample] * 3, items, LABELS)
    assert set(split_at_random(data, 0.99).split_of_each) == {"train", "val"}
