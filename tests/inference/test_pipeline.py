"""Many files: order, errors, memory; and the journal that lets a stopped run go on."""

import gc
import os
import subprocess
import sys
import threading
import time
import weakref

import numpy as np
import pytest
from PIL import Image

import pixelwise as pw
from pixelwise.inference import Journal, predict_files, remove_leftovers
from tests.conftest import draw_shapes
from tests.inference.fakes import fake_segmenter

SETTINGS = {"scale": "working", "tile": (64, 64)}


@pytest.fixture
def photos(tmp_path):
    """Forty pictures; the fifth and the last are damaged."""
    (tmp_path / "photos").mkdir()
    paths = [tmp_path / "photos" / f"{number:02d}.png" for number in range(40)]
    for number, path in enumerate(paths):
        Image.fromarray(draw_shapes(number, (40 + number % 3, 50))[0]).save(path)
    paths[4].write_text("no picture")
    paths[-1].write_bytes(paths[-1].read_bytes()[:200])
    return paths


@pytest.mark.parametrize("cores", [1, 2, 16])
def test_bad_files_stop_nothing_and_outcomes_keep_the_order(monkeypatch, photos, cores):
    monkeypatch.setattr("pixelwise.inference.pipeline.available_cores", lambda: cores)
    segmenter, masks = fake_segmenter(monkeypatch), {}

    def write(path, segmentation):
        time.sleep(0.002 * (path.stem < "10"))  # the first ones are the last to be ready
        masks[path] = segmentation.mask

    outcomes = list(predict_files(segmenter, iter(photos), write))
    assert [outcome.path for outcome in outcomes] == photos
    assert [o.path.name for o in outcomes if o.error] == ["04.png", "39.png"]
    assert "04.png" in outcomes[4].error
    for path, mask in masks.items():
        np.testing.assert_array_equal(mask, segmenter.predict(path).mask)
    assert len(masks) == 38


def test_a_missing_file_is_one_outcome(monkeypatch, photos):
    photos[0].unlink()
    outcomes = list(predict_files(fake_segmenter(monkeypatch), photos[:3], lambda *_: None))
    assert [bool(outcome.error) for outcome in outcomes] == [True, False, False]


def test_results_do_not_pile_up(monkeypatch, tmp_path):
    monkeypatch.setattr("pixelwise.inference.pipeline.available_cores", lambda: 4)
    Image.fromarray(draw_shapes(0)[0]).save(tmp_path / "a.png")
    segmenter, alive, most, pulled = fake_segmenter(monkeypatch), weakref.WeakSet(), 0, 0
    predict = segmenter.predict

    def watched(*arguments):
        nonlocal most
        result = predict(*arguments)
        alive.add(result)
        most = max(most, len(alive))
        return result

    def paths():
        nonlocal pulled
        for _ in range(120):
            pulled += 1
            yield tmp_path / "a.png"

    monkeypatch.setattr(segmenter, "predict", watched)
    monkeypatch.setattr("pixelwise.inference.segmenter.Segmentation.__hash__", object.__hash__)
    found = predict_files(segmenter, paths(), lambda *_: time.sleep(0.002))
    next(found)
    assert pulled <= 16  # neither are paths read far ahead of what the caller takes
    assert sum(1 for _ in found) == 119
    gc.collect()
    assert 1 < most <= 10


def test_files_are_read_and_written_beside_the_network(monkeypatch, photos):
    segmenter, threads = fake_segmenter(monkeypatch), {"read": set(), "write": set()}
    pixels = segmenter.pixels

    def read(path):
        if not isinstance(path, np.ndarray):
            threads["read"].add(threading.get_ident())
        return pixels(path)

    monkeypatch.setattr(segmenter, "pixels", read)
    list(predict_files(segmenter, photos, lambda *_: threads["write"].add(threading.get_ident())))
    assert threads["read"] and threads["write"]
    assert threading.get_ident() not in threads["read"] | threads["write"]
    assert not threads["read"] & threads["write"]


def test_what_cannot_be_written_stops_the_run(monkeypatch, photos):
    def write(path, segmentation):
        raise pw.PixelwiseError("the disk is full")

    with pytest.raises(pw.PixelwiseError, match="the disk is full"):
        list(predict_files(fake_segmenter(monkeypatch), photos, write))


def test_another_model_or_other_settings_are_refused(tmp_path):
    finish(tmp_path, "a", SETTINGS)
    with pytest.raises(pw.UsageError, match=r"made by another model; choose another --out, or replace"):
        finish(tmp_path, "b", SETTINGS)
    with pytest.raises(pw.UsageError, match=r"other settings \(scale working, now native\)"):
        finish(tmp_path, "a", SETTINGS | {"scale": "native"})
    assert not finish(tmp_path, "a", SETTINGS)  # the same run again is done again
    assert finish(tmp_path, "a", SETTINGS, resume=True)
    assert not finish(tmp_path, "b", SETTINGS, resume=True)  # replaced, because that was asked for
    assert not finish(tmp_path, "b", SETTINGS)
    with pytest.raises(pw.UsageError, match="another model"):
        finish(tmp_path, "a", SETTINGS)


def test_a_changed_input_and_a_lost_output_are_done_again(tmp_path):
    finish(tmp_path, "a", SETTINGS)
    assert finish(tmp_path, "a", SETTINGS, resume=True)
    (tmp_path / "out" / "0.png").unlink()
    assert not finish(tmp_path, "a", SETTINGS, resume=True)
    assert finish(tmp_path, "a", SETTINGS, resume=True)
    stamp = (tmp_path / "0.jpg").stat().st_mtime_ns
    os.utime(tmp_path / "0.jpg", ns=(stamp, stamp + 1))
    assert not finish(tmp_path, "a", SETTINGS, resume=True)
    (tmp_path / "0.jpg").unlink()
    with Journal(tmp_path / "out", "a", SETTINGS, resume=True) as journal:
        assert journal.finished("0.jpg", tmp_path / "0.jpg") is None


def test_an_output_that_is_being_replaced_is_nobodys(tmp_path):
    """Killed after the new file and before its line: the first model may not take the file for its own."""
    finish(tmp_path, "a", SETTINGS)
    with Journal(tmp_path / "out", "b", SETTINGS, resume=True) as journal:
        assert journal.finished("0.jpg", tmp_path / "0.jpg") is None
        (tmp_path / "out" / "0.png").write_bytes(b"mask of b")
    assert not finish(tmp_path, "a", SETTINGS, resume=True)
    assert (tmp_path / "out" / "0.png").read_bytes() == b"mask"
    assert finish(tmp_path, "a", SETTINGS, resume=True)


def test_a_disk_without_locks_is_one_sentence(monkeypatch, tmp_path):
    def flock(file, how):
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(pw.PixelwiseError, match=r"cannot write .*lock: No locks available"):
        Journal(tmp_path, "a", {}).__enter__()


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_torn_last_line_is_as_none(tmp_path, cut):
    finish(tmp_path, "a", SETTINGS)
    manifest = tmp_path / "out" / "manifest.jsonl"
    whole = manifest.read_bytes()
    manifest.write_bytes(whole + whole[:-cut])
    assert finish(tmp_path, "a", SETTINGS, resume=True)
    assert manifest.read_bytes() == whole
    manifest.write_bytes(whole[:-cut])
    assert not finish(tmp_path, "a", SETTINGS, resume=True)
    assert manifest.read_bytes() == whole


@pytest.mark.parametrize("text", ['{"mine": 1}\n', "mine", "[]\n", '{"input": 3}\n'])
def test_a_manifest_of_somebody_else_is_left_alone(tmp_path, text):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "manifest.jsonl").write_text(text)
    with pytest.raises(pw.DataError, match=r"manifest.jsonl: line 1 is not of a manifest of predictions"):
        finish(tmp_path, "a", SETTINGS, resume=True)
    assert (tmp_path / "out" / "manifest.jsonl").read_text() == text
    assert len(list((tmp_path / "out").iterdir())) == 1


def test_two_runs_into_one_folder_are_refused_and_dead_ones_taken_over(tmp_path):
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom pixelwise.inference import Journal\n"
        "with Journal(Path(sys.argv[1]), 'a', {}):\n    print('locked', flush=True)\n    time.sleep(60)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "locked\n"
    with pytest.raises(pw.UsageError, match="another run is writing into"), Journal(tmp_path, "a", {}):
        pass
    child.kill()
    child.wait()
    child.stdout.close()
    assert list(tmp_path.iterdir())  # the lock of the dead run
    with Journal(tmp_path, "a", {}), pytest.raises(pw.UsageError, match="another run"):
        Journal(tmp_path, "a", {}).__enter__()
    assert not list(tmp_path.iterdir())


def test_leftovers_of_a_killed_run_go_and_nothing_else(tmp_path):
    long = "x" * 60
    for name in (
        ".0-abcd_123.png",
        f".{long[:40]}-abcd1234.npz",
        ".0-abcd1234.txt",
        ".1-abcd1234.png",
        "0.png",
    ):
        (tmp_path / name).touch()
    remove_leftovers([tmp_path / "0.png", tmp_path / f"{long}.npz", tmp_path / "none" / "0.png"])
    assert {path.name for path in tmp_path.iterdir()} == {".0-abcd1234.txt", ".1-abcd1234.png", "0.png"}


def test_the_identity_is_of_what_decides_about_predictions(monkeypatch):
    one = fake_segmenter(monkeypatch)
    assert one.identity == fake_segmenter(monkeypatch).identity
    renamed = one.bundle.manifest.model_copy(update={"name": "other", "metrics": {"miou": 1}})
    assert type(one)(type(one.bundle)(one.bundle.path, renamed)).identity == one.identity
    for other in ({"sha256": "1"}, {"names": ("sky", "car", "road")}, {"size": (64, 64)}):
        assert fake_segmenter(monkeypatch, **other).identity != one.identity


def finish(folder, model, settings, resume=False):
    """Do the one input unless it is finished; whether it was."""
    photo, out = folder / "0.jpg", folder / "out"
    photo.exists() or photo.write_bytes(b"pixels")
    with Journal(out, model, settings, resume) as journal:
        if journal.finished("0.jpg", photo):
            return True
        (out / "0.png").write_bytes(b"mask")
        journal.add("0.jpg", ["0.png"])
    return False
