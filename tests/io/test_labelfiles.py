"""Class files as people write them."""

from pathlib import Path

import pytest

from pixelwise.errors import DataError
from pixelwise.io import read_label_file
from pixelwise.labels import LabelMap


def write(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classes.txt", "road\ncar\n"),
        ("classes.txt", "# comment\n\n road \ncar"),
        ("classes.txt", b"\xef\xbb\xbfroad\r\ncar\r\n"),  # byte order mark, Windows line ends
        ("classes.csv", "index,name\n0,road\n1,car\n"),
        ("classes.csv", "0,road\n1,car\n"),
        ("labels.txt", "__ignore__\nroad\ncar\n"),
        ("classes.json", '["road", "car"]'),
        ("classes.json", '\ufeff{"names": ["road", "car"]}'),
        ("data.yaml", "nc: 2\nnames: [road, car]\n"),
        ("data.yaml", "names:\n  0: road\n  1: car\n"),
        ("classes.json", '{"1": "car", "0": "road"}'),
    ],
)
def test_names_without_colours(tmp_path: Path, name: str, text: str | bytes) -> None:
    labels, mapping = read_label_file(write(tmp_path, name, text))
    assert labels == LabelMap(("road", "car"))
    assert mapping == {}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("label_colors.txt", "128 64 128\tRoad line\n64 0 128\tCar\n"),
        ("class_dict.csv", "name,r,g,b\r\nRoad line, 128, 64, 128\r\nCar, 64, 0, 128\r\n"),
        ("classes.csv", "index,name,r,g,b\n0,Road line,128,64,128\n1,Car,64,0,128\n"),
        ("labelmap.txt", "# label:color_rgb:parts:actions\nRoad line:128,64,128::\nCar:64,0,128::\n"),
        ("classes.json", '{"names": ["Road line", "Car"], "colours": [[128, 64, 128], [64, 0, 128]]}'),
    ],
)
def test_names_with_colours(tmp_path: Path, name: str, text: str) -> None:
    labels, mapping = read_label_file(write(tmp_path, name, text))
    assert labels == LabelMap(("Road line", "Car"), ((128, 64, 128), (64, 0, 128)))
    assert mapping == {}


@pytest.mark.parametrize("void", ["void", "Unlabelled", "ignore", "unlabeled"])
def test_void_is_no_class_but_a_value_to_ignore(tmp_path: Path, void: str) -> None:
    labels, mapping = read_label_file(write(tmp_path, "classes.txt", f"{void}\nroad\ncar\n"))
    assert labels.names == ("road", "car")
    assert mapping == {0: 255, 1: 0, 2: 1}


def test_indices_with_gaps_are_translated(tmp_path: Path) -> None:
    labels, mapping = read_label_file(write(tmp_path, "classes.csv", "7,road\n26,car\n"))
    assert labels.names == ("road", "car")
    assert mapping == {7: 0, 26: 1}


def test_names_may_hold_commas_numbers_and_spaces(tmp_path: Path) -> None:
    labels, _ = read_label_file(write(tmp_path, "classes.txt", "wall, painted\n3 doors\nsky\n"))
    assert labels.names == ("wall, painted", "3 doors", "sky")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("classes.txt", "road\ncar\nroad\n", "must be distinct, found more than once: road"),
        ("classes.csv", "0,road\n0,car\n", "index 0 stands there more than once"),
        ("classes.txt", "\n\n", "is empty; write one class name a line"),
        ("classes.txt", "void\n", "needs at least one class name"),
        ("classes.txt", b"\xff\xfe\x00", "must be UTF-8 text"),
        ("classes.json", "{", "not valid JSON"),
        ("classes.yaml", "a: [", "not valid YAML"),
        ("classes.json", '{"road": 1}', "expected a list of class names"),
        ("classes.json", "3", "expected a list of class names"),
        ("classes.csv", "road,300,0,0\n", "the colour of 'road' has a value over 255"),
    ],
)
def test_bad_class_files_are_named(tmp_path: Path, name: str, text: str | bytes, said: str) -> None:
    path = write(tmp_path, name, text)
    with pytest.raises(DataError, match=said) as caught:
        read_label_file(path)
    assert str(path) in str(caught.value)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such class file"):
        read_label_file(tmp_path / "classes.txt")
    with pytest.raises(DataError, match="found a folder"):
        read_label_file(tmp_path)
