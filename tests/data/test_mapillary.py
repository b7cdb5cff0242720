"""Mapillary Vistas on a look-alike."""

import numpy as np
import pytest
from PIL import Image

from pixelwise.data import read
from pixelwise.errors import DataError, UsageError
from pixelwise.io import write_image, write_json, write_text

LABELS = [
    {"name": "animal--bird", "readable": "Bird", "color": [165, 42, 42], "instances": True},
    {"name": "object--vehicle--car", "readable": "Car", "color": [0, 0, 142], "instances": True},
    {"name": "marking--discrete--other", "readable": "Other", "color": [250, 170, 30], "instances": False},
    {"name": "void--other", "readable": "Other", "color": [1, 1, 1], "instances": False},
]


@pytest.fixture
def vistas(tmp_path):
    for version, count in (("v1.2", 2), ("v2.0", 4)):
        write_json(tmp_path / f"config_{version}.json", {"labels": LABELS[:count]})
        for split, name in (("train", "a"), ("val", "b")):
            write_image(tmp_path / split / "images" / f"{name}.jpg", np.zeros((4, 5, 3), np.uint8))
            for kind, values in (("labels", np.eye(4, 5, dtype=np.uint8)), ("instances", np.eye(4, 5) * 257)):
                path = tmp_path / split / version / kind / f"{name}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(values.astype(np.uint8 if kind == "labels" else np.uint16)).save(path)
    write_image(tmp_path / "test" / "images" / "c.jpg", np.zeros((4, 5, 3), np.uint8))
    return tmp_path


def test_the_newest_version(vistas):
    data = read(vistas)
    assert data.labels.names == ("Bird", "Car", "marking--discrete--other", "void--other")
    assert {name: len(data.select(name)) for name in data.splits} == {"train": 1, "val": 1, "test": 1}
    assert data[0].mask.tolist() == np.eye(4, 5).tolist()
    assert np.unique(data[0].instances).tolist() == [0, 257]
    assert not data[2].labelled


def test_the_older_one(vistas):
    assert read(vistas, version="v1.2").labels.names == ("Bird", "Car")
    with pytest.raises(UsageError, match=r"no config_v3\.json there \(found: v1\.2, v2\.0\)"):
        read(vistas, version="v3")


def test_a_damaged_config(vistas):
    write_text(vistas / "config_v2.0.json", '{"labels": [{"name": "x"}]}')
    with pytest.raises(DataError, match=r"config_v2\.0\.json: expected labels with name, readable and color"):
        read(vistas)
