"""Ray: the same masks as here, whatever dies on the way; object stores; addresses where nobody answers."""

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pixelwise as pw
from pixelwise.errors import MissingExtraError, PixelwiseError, UsageError
from pixelwise.inference import predict_files, ray_cluster, ray_data
from pixelwise.inference.inputs import Input, find_inputs
from pixelwise.inference.ray_data import predict_on_ray
from tests.conftest import draw_shapes


@pytest.fixture(scope="module")
def segmenter(run):
    return pw.load(run)


@pytest.fixture(scope="module")
def cluster(own_cache):
    """One for the module: two workers of one core each."""
    os.environ.update(ray_cluster.QUIET_ENVIRONMENT)
    import ray

    ray.init(
        address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """24 pictures of two sizes in two folders, one of them with a space in its name, and a damaged one."""
    root = tmp_path_factory.mktemp("photos")
    for number in range(24):
        path = root / ("a b" if number % 2 else ".") / f"{number:02d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(draw_shapes(number, (64, 80 + 8 * (number % 3 == 0)))[0]).save(path)
    (root / "bad.jpg").write_text("no picture")
    return root


def inputs_of(root):
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    return [Input(str(root), path.relative_to(root).as_posix(), "image") for path in paths]


@pytest.fixture(scope="module")
def local(segmenter, photos, tmp_path_factory):
    """The masks and the errors that this process gives."""
    out = tmp_path_factory.mktemp("local")
    outcomes = predict_files(segmenter, inputs_of(photos), lambda i, s: s.save(out / f"{i.target}.png"))
    errors = {outcome.path: outcome.error for outcome in outcomes}
    return contents(out), errors


def contents(root):
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in Path(root).rglob("*") if p.is_file()}


def errors_by_input(outcomes):
    outcomes = list(outcomes)
    found = {outcome.path: outcome.error for outcome in outcomes}
    assert len(found) == len(outcomes), "an input has two outcomes"
    return found


# What cannot be.


@pytest.mark.parametrize("numbers", [{"workers": 0}, {"cores_per_worker": 0}, {"workers": -1}])
def test_workers_and_cores_are_counted_from_one(segmenter, photos, tmp_path, numbers):
    with pytest.raises(UsageError, match="counted from 1"):
        next(predict_on_ray(segmenter, inputs_of(photos), tmp_path / "out", **numbers))


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("nonsense", "expected HOST:PORT or auto"),
        ("ray://10.0.0.1:10001", "does not work through the Ray client.*ray job submit"),
        ("127.0.0.1:{free}", "no Ray cluster answers there .*check host and port"),
        ("no-such-host.invalid:6379", "no Ray cluster answers there"),
    ],
)
def test_an_address_where_nobody_answers_is_told_at_once(segmenter, photos, tmp_path, address, message):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        address, start = address.format(free=taken.getsockname()[1]), time.monotonic()
        with pytest.raises(UsageError, match=message):
            next(predict_on_ray(segmenter, inputs_of(photos), tmp_path / "out", address=address))
    assert time.monotonic() - start < 15
    assert not (tmp_path / "out").exists()


def test_auto_without_a_cluster(segmenter, photos, tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr("ray._private.services.find_gcs_addresses", set)
    with pytest.raises(UsageError, match="--ray auto: .*no Ray cluster"):
        next(predict_on_ray(segmenter, inputs_of(photos), tmp_path / "out", address="auto"))


def test_a_missing_extra_is_named(segmenter, photos, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match="pixelwise\\[ray\\]"):
        next(predict_on_ray(segmenter, inputs_of(photos), tmp_path / "out"))


def test_a_worker_that_no_machine_can_hold(cluster, segmenter, photos, tmp_path):
    with pytest.raises(UsageError, match="a worker of 3 cores fits on no machine .*has 2"):
        next(predict_on_ray(segmenter, inputs_of(photos), tmp_path / "out", cores_per_worker=3))


def test_a_machine_that_does_not_see_the_output_folder(cluster, segmenter, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(ray_data, "_visible", lambda out: contextlib.nullcontext("absent"))
    with pytest.raises(UsageError, match="does not see the output folder .*s3://BUCKET"):
        list(predict_on_ray(segmenter, inputs_of(photos), tmp_path / "out"))


def test_an_error_while_writing_is_raised(cluster, segmenter, photos, tmp_path):
    (tmp_path / "out" / "00.png" / "in the way").mkdir(parents=True)
    with pytest.raises(PixelwiseError, match=r"cannot write .*00\.png"):
        list(predict_on_ray(segmenter, inputs_of(photos)[:3], tmp_path / "out"))


# What it gives.


def test_a_folder_as_here(cluster, segmenter, photos, local, tmp_path, monkeypatch):
    monkeypatch.chdir(photos.parent)  # relative paths, which mean something else elsewhere
    inputs = [Input(photos.name, found.name, "image") for found in inputs_of(photos)]
    masks, _ = local
    errors = errors_by_input(predict_on_ray(segmenter, inputs, tmp_path / "out"))
    assert contents(tmp_path / "out") == masks
    assert len(masks) == 24
    (bad,) = [found for found, error in errors.items() if error]
    (expected,) = predict_files(segmenter, [bad], lambda *_: None)
    assert errors[bad] == expected.error
    assert set(errors) == set(inputs)


def test_uris_and_everything_that_is_written(cluster, segmenter, photos, local, tmp_path):
    masks, _ = local
    inputs, others = find_inputs([photos.as_uri()], tmp_path)
    assert [found.name for found in inputs] == [found.name for found in inputs_of(photos)]
    gone = Input(photos.as_uri(), "gone.png", "image")
    out = (tmp_path / "out").as_uri()
    outcomes = predict_on_ray(segmenter, [*inputs, gone], out, overlay=True, probabilities=True)
    errors = {found.name: error for found, error in errors_by_input(outcomes).items() if error}
    assert errors.keys() == {"bad.jpg", "gone.png"}
    assert errors["bad.jpg"].startswith(f"{photos.as_uri()}/bad.jpg: not an image")
    assert errors["gone.png"] == f"{photos.as_uri()}/gone.png: no such image"
    written = contents(tmp_path / "out")
    assert {name: content for name, content in written.items() if name in masks} == masks
    assert len(written) == 3 * len(masks)
    result = segmenter.predict(photos / "02.png", probabilities=True)
    with Image.open(tmp_path / "out" / "overlay" / "02.png") as image:
        np.testing.assert_array_equal(np.array(image), result.overlay())
    stored = np.load(tmp_path / "out" / "02.npz")["probabilities"]
    np.testing.assert_array_equal(stored, result.probabilities.astype(np.float16))


def test_inputs_are_taken_in_sections(cluster, segmenter, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(ray_data, "_PER_WORKER", 5)
    pulled = []

    def inputs():
        for found in inputs_of(photos)[:14]:
            pulled.append(found)
            yield found

    outcomes = predict_on_ray(segmenter, inputs(), tmp_path / "out", workers=2)
    next(outcomes)
    assert len(pulled) == 10
    assert len(list(outcomes)) == 13
    assert len(contents(tmp_path / "out")) == 14


def test_an_ensemble(cluster, segmenter, photos, tmp_path):
    both = pw.load([segmenter.bundle.path] * 2, tta="flip")
    inputs = inputs_of(photos)[:2]
    assert not any(errors_by_input(predict_on_ray(both, inputs, tmp_path / "out")).values())
    for found in inputs:
        with Image.open(tmp_path / "out" / f"{found.target}.png") as mask:
            np.testing.assert_array_equal(np.array(mask), both.predict(found.path).mask)


# What dies.


class Trap:
    """An image that is a pipe: who reads it waits, and can be found."""

    def __init__(self, path, content):
        self.path, self.content = path, content
        os.mkfifo(path)

    def reader(self):
        """The process that has come to read, once there is one; it goes on waiting."""
        while True:
            with contextlib.suppress(OSError):
                self.pipe = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
                break
            time.sleep(0.02)
        while True:
            for link in Path("/proc").glob("[0-9]*/fd/*"):
                with contextlib.suppress(OSError):
                    process = int(link.parts[2])
                    if os.readlink(link) == str(self.path) and process != os.getpid():
                        return process
            time.sleep(0.02)

    def kill_readers(self, count):
        """Kill them in the middle of the image; then it becomes an ordinary one."""
        self.killed = []
        for last in reversed(range(count)):
            process = self.reader()
            if not last:
                temporary = self.path.with_name(".whole")
                temporary.write_bytes(self.content)
                temporary.rename(self.path)
            os.kill(process, signal.SIGKILL)
            os.close(self.pipe)
            while Path(f"/proc/{process}/fd").exists() and os.listdir(f"/proc/{process}/fd"):
                time.sleep(0.02)
            self.killed.append(process)


@pytest.fixture
def trapped(photos, tmp_path):
    """The photos, the sixth of which waits to be read."""
    folder = tmp_path / "photos"
    for found in inputs_of(photos):
        path = folder / found.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(found.path.read_bytes())
    content = (folder / "10.png").read_bytes()
    (folder / "10.png").unlink()
    return folder, Trap(folder / "10.png", content)


@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
def test_a_killed_worker_loses_nothing(cluster, segmenter, trapped, local, tmp_path):
    folder, trap = trapped
    masks, here = local
    inputs = [Input(str(folder), found.name, "image") for found in here]
    killer = threading.Thread(target=trap.kill_readers, args=(1,), daemon=True)
    killer.start()
    errors = errors_by_input(predict_on_ray(segmenter, inputs, tmp_path / "out"))
    killer.join(10)
    assert len(trap.killed) == 1
    assert set(errors) == set(inputs)
    assert [found.name for found, error in errors.items() if error] == ["bad.jpg"]
    assert contents(tmp_path / "out") == masks


@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
def test_an_image_that_always_kills_ends_the_run(cluster, segmenter, trapped, local, tmp_path, monkeypatch):
    monkeypatch.setattr(ray_data, "_RETRIES", 1)
    folder, trap = trapped
    inputs = [Input(str(folder), found.name, "image") for found in local[1]]
    killer = threading.Thread(target=trap.kill_readers, args=(9,), daemon=True)
    killer.start()
    with pytest.raises(PixelwiseError, match="the work on Ray stopped with .* go on with --resume"):
        list(predict_on_ray(segmenter, inputs, tmp_path / "out"))
    assert len(trap.killed) == 2


def test_workers_of_one_machine_take_different_cores():
    script = (
        "import os, sys; from pixelwise.inference import ray_cluster;"
        "ray_cluster._CORES_FREE = float(sys.argv[2]);"
        "all = os.sched_getaffinity(0); claims = ray_cluster.claim_cores(int(sys.argv[1]));"
        "print(*(os.sched_getaffinity(0) if claims else ['all']), flush=True); sys.stdin.read()"
    )

    def start(count, patience=10):  # the workers of other tests may be about to end
        command = [sys.executable, "-c", script, str(count), str(patience)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return process, process.stdout.readline().split()

    cores = len(os.sched_getaffinity(0))
    first, one = start(1)
    second, rest = start(max(1, cores - 1), patience=10 if cores > 1 else 0)
    third, none = start(1, patience=0)
    assert len(one) == 1
    assert rest == ["all"] if cores == 1 else len(rest) == cores - 1
    assert not set(one) & set(rest)
    assert none == ["all"]
    first.kill()  # its cores are free again, however it ended
    first.wait()
    fourth, again = start(1)
    assert again == one
    for process in (first, second, third, fourth):
        process.communicate()


def test_a_cluster_of_our_own_starts_and_stops_without_a_word(run, photos, tmp_path):
    script = (
        "import sys, ray, pixelwise as pw\n"
        "from pixelwise.inference.inputs import find_inputs\n"
        "from pixelwise.inference.ray_data import predict_on_ray\n"
        "inputs, _ = find_inputs([sys.argv[2]], sys.argv[3])\n"
        "print(len(list(predict_on_ray(pw.load(sys.argv[1]), inputs, sys.argv[3], workers=2))))\n"
        "print(ray.is_initialized())\n"
    )
    command = [sys.executable, "-c", script, str(run), photos.as_uri(), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("25\nFalse\n", "")
    assert len(contents(tmp_path / "out")) == 24
