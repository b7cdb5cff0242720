"""A folder of photographs some of which are damaged: the good ones are labelled, the bad ones listed."""

import json
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.conftest import draw_shapes
from tests.training.test_own_network import Brightness

BAD = {
    "cut.jpg": "damaged",
    "empty.png": "not an image",
    "text.png": "not an image",
    "bomb.png": "65500x65400 pixels is over the limit of 1,000,000,000 for one image",
}


def damage(folder):
    """Four files: a download that stopped, one without a byte, a text, and a bomb."""
    noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
    Image.fromarray(noise).save(folder / "cut.jpg")
    content = (folder / "cut.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(content[: len(content) // 2])
    (folder / "empty.png").touch()
    (folder / "text.png").write_text("<html>404: not found</html>")
    Image.fromarray(noise).save(folder / "bomb.png")
    content = bytearray((folder / "bomb.png").read_bytes())
    content[16:24] = struct.pack(">II", 65500, 65400)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (folder / "bomb.png").write_bytes(content)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Eighty files, one in twenty of them bad."""
    folder = tmp_path_factory.mktemp("bad") / "photos"
    (folder / "sub").mkdir(parents=True)
    for number in range(76):
        image = Image.fromarray(draw_shapes(number, (64 + number % 3, 80))[0])
        image.save(
            folder / ("sub" if number % 2 else "") / f"{number:02d}{('.png', '.jpg', '.tif')[number % 3]}"
        )
    damage(folder / "sub")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A bundle of one convolution."""
    from pixelwise.bundles import WorkingScale
    from pixelwise.labels import LabelMap
    from pixelwise.training.export import export_bundle

    path = tmp_path_factory.mktemp("model") / "bundle"
    labels, working = LabelMap(("dark", "middle", "bright")), WorkingScale(height=64, width=80)
    return export_bundle(Brightness(), path, name="brightness", labels=labels, working=working).path


def predict(photos, model, out, *options, **environment):
    command = [sys.executable, "-m", "pixelwise.cli.main", "predict", photos, "--model", model, "--out", out]
    return subprocess.run(
        [*map(str, command), *options], env=os.environ | environment, capture_output=True, text=True
    )


def test_the_good_ones_are_labelled_and_the_bad_ones_listed(photos, model, tmp_path):
    done = predict(photos, model, tmp_path / "out", "--json")
    assert done.returncode == 3, done.stderr
    document = json.loads(done.stdout)
    assert document["images"] == 76
    failed = {path.rsplit("/", 1)[-1]: message for path, message in document["failed"].items()}
    assert failed.keys() == BAD.keys()
    for name, said in BAD.items():
        assert str(photos / "sub" / name) in failed[name]
        assert said in failed[name]
    written = {path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*.png")}
    good = {path.relative_to(photos) for path in photos.rglob("*.*") if path.name not in BAD}
    assert written == {path.with_suffix(".png") for path in good}
    for path in good:
        with (
            Image.open(photos / path) as image,
            Image.open(tmp_path / "out" / path.with_suffix(".png")) as mask,
        ):
            assert mask.size == image.size


def test_a_lower_limit_refuses_more(photos, model, tmp_path):
    done = predict(photos, model, tmp_path / "out", "--json", PIXELWISE_MAX_PIXELS=str(80 * 64))
    assert done.returncode == 3, done.stderr
    document = json.loads(done.stdout)
    assert document["images"] == 26  # those of 80x64
    assert sum("over the limit of 5,120" in message for message in document["failed"].values()) == 50 + 2


def test_a_limit_that_is_no_number_is_one_sentence(photos, model, tmp_path):
    done = predict(photos, model, tmp_path / "out", PIXELWISE_MAX_PIXELS="big")
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr
        == "pixelwise: PIXELWISE_MAX_PIXELS is 'big': expected a number of pixels, such as 4000000000\n"
    )
    assert not (tmp_path / "out").exists()
