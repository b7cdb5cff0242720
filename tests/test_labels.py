"""Label maps: classes are joined by name."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixelwise.errors import DataError, UsageError
from pixelwise.labels import LabelMap, as_label_map, default_colours

names = st.lists(
    st.text(st.characters(codec="utf-8", exclude_categories=("Z", "C")), min_size=1, max_size=8),
    min_size=1,
    max_size=300,
    unique=True,
)


@given(names, st.randoms(use_true_random=False))
def test_a_permutation_is_undone_by_name(chosen: list[str], random: object) -> None:
    shuffled = list(chosen)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    own, other = LabelMap(tuple(chosen)), LabelMap(tuple(shuffled))
    table, unmatched = own.lookup_from(other)
    assert unmatched == ()
    assert [own.names[table[i]] for i in range(len(other))] == list(other.names)
    assert table[other.ignore] == own.ignore
    assert table.dtype == own.dtype


@given(names, names)
def test_only_shared_names_are_translated(first: list[str], second: list[str]) -> None:
    own, other = LabelMap(tuple(first)), LabelMap(tuple(second))
    table, unmatched = own.lookup_from(other)
    assert set(unmatched) == set(second) - set(first)
    for position, name in enumerate(other.names):
        assert table[position] == (own.names.index(name) if name in own.names else own.ignore)


@given(names)
def test_a_dictionary_brings_back_the_same_map(chosen: list[str]) -> None:
    labels = LabelMap(tuple(chosen))
    assert LabelMap.from_dict(json.loads(json.dumps(labels.to_dict()))) == labels
    assert (
        as_label_map(labels.to_dict()) == labels == as_label_map(list(labels.names)) == as_label_map(labels)
    )


@pytest.mark.parametrize(("count", "ignore", "dtype"), [(1, 255, "u1"), (255, 255, "u1"), (256, 65535, "u2")])
def test_the_ignored_id_is_never_a_class(count: int, ignore: int, dtype: str) -> None:
    labels = LabelMap(tuple(map(str, range(count))))
    assert labels.ignore == ignore >= len(labels)
    assert np.dtype(labels.dtype) == np.dtype(dtype)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (((),), "at least one class name"),
        ((("a", " "),), "class 1 has an empty name"),
        ((("a", "b", " a "),), "found more than once: a"),
        ((("a", "b"), ((0, 0, 0),)), "2 class names but 1 colours"),
    ],
)
def test_impossible_maps_are_refused(arguments: tuple, said: str) -> None:
    with pytest.raises(DataError, match=said):
        LabelMap(*arguments)


def test_an_unknown_class_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match="unknown class 'rode': did you mean 'road'"):
        LabelMap(("road", "car")).index("rode")


def test_the_palette_has_the_colours_and_white_for_ignored() -> None:
    palette = LabelMap(("a", "b"), ((1, 2, 3), (4, 5, 6))).palette()
    assert palette.shape == (256, 3) and palette.dtype == np.uint8
    assert palette[:3].tolist() == [[1, 2, 3], [4, 5, 6], [0, 0, 0]]
    assert palette[255].tolist() == [255, 255, 255]


def test_default_colours_differ() -> None:
    assert len(set(default_colours(60))) == 60
