"""Many machines: images labelled by the workers of a Ray cluster, through Ray Data.

Ray Data (https://docs.ray.io/en/latest/data/data.html) starts the workers, feeds them, and repeats what a
dead one had not finished. Each worker is a process that holds one engine and labels a few dozen images at a
time, as :func:`predict_files` does. The model travels through Ray's object store, so the machines need to
share no disk: images and results may lie in object stores (``s3://``, ``gs://``), read and written with
pyarrow.fs.

Where it departs: Ray Data plans over a whole input, which grows with its length. Here it gets the inputs in
sections, so that the memory of the calling process depends on the number of workers alone.
"""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pixelwise.bundles import Bundle, open_bundle, zip_bundle
from pixelwise.errors import DataError, PixelwiseError, UsageError
from pixelwise.inference.ensemble import Ensemble
from pixelwise.inference.inputs import Input
from pixelwise.inference.pipeline import Outcome, predict_files
from pixelwise.inference.ray_cluster import claim_cores, cluster, quiet_data
from pixelwise.inference.results import image_results, write_image_results
from pixelwise.inference.segmenter import Predictor, Segmentation, Segmenter
from pixelwise.io import atomic_write, remote
from pixelwise.io.remote import is_uri

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]

_PER_WORKER = 8192  # images of a section: minutes of work, against seconds for starting the workers anew
_BLOCK = 32  # images that a worker takes at a time, and that are done again when it dies
_TRANSFERS = 8  # threads that copy from and to object stores, which answer late
_RETRIES = 5  # deaths of workers over one block; without an end, an image that kills would be tried forever


def predict_on_ray(
    segmenter: Predictor,
    inputs: Iterable[Input],
    out: str | Path,
    *,
    address: str | None = None,
    workers: int | None = None,
    cores_per_worker: int = 1,
    overlay: bool = False,
    probabilities: bool = False,
) -> Iterator[Outcome[Input]]:
    """Label images on a Ray cluster; outcomes come as they are finished, exactly one for each input.

    The masks are the ones that ``segmenter`` gives: every worker holds the same model, with the same engine,
    precision, scale, tiles and views. What a worker that dies had begun is done again by another.

    Parameters
    ----------
    segmenter
        The model; its files are sent to the workers. One that runs on ``cuda`` reserves a GPU for each.
    inputs
        Images, each once; the ``root`` of an Input may be a URI. They are taken in sections as the work
        goes on.
    out
        The folder for the results, which all machines must see; or a URI such as ``s3://bucket/masks``.
    address
        None or ``""``: Ray is started on this machine, and stopped at the end. ``auto``: the cluster that
        this machine belongs to. ``HOST:PORT``: that cluster, which is left alone at the end. A connection to
        Ray that the process already has is used, whatever the address.
    workers
        How many; None takes as many as there are cores for, and so does a larger number.
    cores_per_worker
        The cores that one worker binds itself to and its engine uses.
    overlay
        Also write ``OUT/overlay/...``.
    probabilities
        Also write ``STEM.npz``.

    Raises
    ------
    UsageError
        Nobody answers at ``address``; more cores than a machine has; a worker does not see ``out``.
    DataError
        Never for an image: a bad one gives an Outcome with its error.
    PixelwiseError
        A result cannot be written, or the same images killed several workers.
    MissingExtraError
        Ray is not installed.

    Examples
    --------
    >>> import pixelwise as pw
    >>> from pixelwise.inference.inputs import find_inputs
    >>> from pixelwise.inference.ray_data import predict_on_ray
    >>> inputs, _ = find_inputs(["s3://bucket/photos"], "masks")                  # doctest: +SKIP
    >>> for outcome in predict_on_ray(pw.load("runs/street"), inputs, "masks"):   # doctest: +SKIP
    ...     print(outcome.path.name, outcome.error or "done")
    """
    if cores_per_worker < 1 or (workers is not None and workers < 1):
        found = cores_per_worker if cores_per_worker < 1 else workers
        raise UsageError(f"workers and their cores are counted from 1, found {found}")
    if segmenter.task != "image":
        raise UsageError(f"'{segmenter.name}' labels {segmenter.task}s; on Ray only images are labelled")
    models = [_pack(member) for member in _members(segmenter)]
    home = str(out) if is_uri(out) else os.path.abspath(out)
    with cluster(address, workers, cores_per_worker) as count, _visible(home) as token:
        job = _Job(_shared(models), home, token, cores_per_worker, overlay, probabilities)
        remaining = iter(inputs)
        while section := list(islice(remaining, _PER_WORKER * count)):
            yield from _label_section(section, job, count, int(segmenter.engine.device == "cuda"))


def _members(segmenter: Predictor) -> Sequence[Segmenter]:
    if isinstance(segmenter, Ensemble):
        return segmenter.members
    assert isinstance(segmenter, Segmenter)
    return (segmenter,)


@dataclass(frozen=True)
class _Model:
    """One model as it travels: the bundle's zip, and how it is run."""

    content: bytes
    engine: str
    precision: str
    device: str
    scale: Any
    tile: tuple[int, ...] | None
    tta: str

    def open(self) -> Segmenter:
        return Segmenter(
            self._unpack(), self.engine, self.precision, self.device, self.scale, self.tile, self.tta
        )

    def _unpack(self) -> Bundle:
        with tempfile.TemporaryDirectory(prefix="pixelwise-") as folder:
            path = Path(folder) / "bundle.zip"
            path.write_bytes(self.content)
            return open_bundle(path)


def _pack(segmenter: Segmenter) -> _Model:
    """The model with the engine and precision that are used here, so that no machine chooses others."""
    engine = segmenter.engine
    with tempfile.TemporaryDirectory(prefix="pixelwise-") as folder:
        content = zip_bundle(segmenter.bundle, Path(folder) / "bundle.zip").read_bytes()
    how = (segmenter.scale, segmenter.tile, segmenter.views.text)
    return _Model(content, engine.name, engine.precision, engine.device, *how)


def _shared(models: list[_Model]) -> Any:
    """The models in Ray's object store: one copy a machine, whatever the number of workers."""
    import ray

    return ray.put(models)


@dataclass(frozen=True)
class _Job:
    """What every worker must know; ``models`` is a reference into the object store."""

    models: Any
    out: str
    token: str
    cores: int
    overlay: bool
    probabilities: bool

    def open(self) -> Predictor:
        import ray

        members = [model.open() for model in ray.get(self.models)]
        return members[0] if len(members) == 1 else Ensemble(members)

    def outputs(self, found: Input) -> list[str]:
        """The files that come from one image, relative to OUT, in the order in which they are written."""
        return image_results(found.target, self.overlay, self.probabilities)

    def check_out(self) -> None:
        """Raise UsageError when this machine does not see what the caller left in OUT."""
        if is_uri(self.out):
            there = remote.is_file(self.out, self.token)
        else:
            there = Path(self.out, self.token).is_file()
        if not there:
            raise UsageError(
                f"the machine {socket.gethostname()} does not see the output folder {self.out}; "
                "choose one that all machines share, or an object store such as s3://BUCKET/masks"
            )


@contextlib.contextmanager
def _visible(out: str) -> Iterator[str]:
    """Leave a file in OUT, by which workers see that it is the caller's folder; yields its name."""
    token = f".ray-{uuid.uuid4().hex}"
    if is_uri(out):
        remote.put(b"", out, token)
    else:
        with atomic_write(Path(out, token)) as temporary:
            temporary.touch()
    try:
        yield token
    finally:
        with contextlib.suppress(OSError):
            if is_uri(out):
                remote.remove(out, token)
            else:
                Path(out, token).unlink()


def _label_section(section: list[Input], job: _Job, workers: int, gpus: int) -> Iterator[Outcome[Input]]:
    """The outcomes of one section's images, in the order in which they are finished."""
    import ray
    from ray.exceptions import RayError

    missing = dict(enumerate(section))
    with quiet_data():
        tables = _blocks(section, workers)
        dataset = ray.data.from_arrow(tables).map_batches(
            _Worker,
            fn_constructor_args=(job,),
            compute=ray.data.ActorPoolStrategy(
                size=min(workers, len(tables)), max_tasks_in_flight_per_actor=2
            ),
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=job.cores,
            num_gpus=gpus,
            max_task_retries=_RETRIES,
        )
    results: Iterable[Any] = dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1)
    try:
        for finished in results:
            for row in finished.to_pylist():
                if row["failure"]:
                    raise _FAILURES[row["failure"]](row["error"])
                yield Outcome(missing.pop(row["number"]), row["error"])
    except RayError as error:
        raise PixelwiseError(
            f"the work on Ray stopped with {len(missing)} images of this section not done "
            f"({_last_line(error)}); check the workers' memory and that their pixelwise is this one, "
            "then go on with --resume"
        ) from error
    if missing:
        raise PixelwiseError(
            f"Ray lost {len(missing)} images, {os.fspath(next(iter(missing.values())))} among them; "
            "go on with --resume"
        )


_FAILURES: dict[int, type[PixelwiseError]] = {1: PixelwiseError, 2: UsageError, 3: DataError}


def _blocks(section: list[Input], workers: int) -> list[pa.Table]:
    """The section as tables, one for each call of a worker: small enough that all workers get several."""
    import pyarrow as pa

    size = min(_BLOCK, max(1, -(-len(section) // (4 * workers))))
    numbered = list(enumerate(section))
    return [
        pa.table(
            {
                "number": pa.array([number for number, _ in part], pa.int64()),
                "root": [found.root for _, found in part],
                "folder": [_absolute(found.root) for _, found in part],
                "name": [found.name for _, found in part],
            }
        )
        for part in (numbered[start : start + size] for start in range(0, len(numbered), size))
    ]


def _absolute(root: str) -> str:
    return root if is_uri(root) else os.path.abspath(root)


@dataclass(frozen=True)
class _Image:
    """An image as a worker knows it: the number that its outcome goes by, and where it is on this machine."""

    number: int
    found: Input
    folder: str
    local: Path

    def __fspath__(self) -> str:
        return str(self.local)

    @property
    def shown(self) -> str:
        """What messages call it: as the caller does."""
        return os.fspath(self.found) if is_uri(self.folder) else str(self.found.path)

    def fetch(self) -> None:
        if is_uri(self.folder):
            remote.fetch(self.folder, self.found.name, self.local)


class _Worker:
    """One process of the cluster with one engine; Ray Data calls it with a table of images at a time.

    What must stop everything is a value of the table that it returns, not an exception: Ray would wrap it,
    and start a worker whose model cannot be opened again and again.
    """

    def __init__(self, job: _Job) -> None:
        self.job = job
        self.failure: PixelwiseError | None = None
        self.cores = claim_cores(job.cores)  # before the engine asks how many there are
        try:
            job.check_out()
            self.segmenter = job.open()
        except PixelwiseError as error:
            self.failure = error

    def __call__(self, batch: pa.Table) -> pa.Table:
        import pyarrow as pa

        numbers = batch["number"].to_pylist()
        errors: list[str | None]
        try:
            if self.failure is not None:
                raise self.failure
            found = self._label(batch.to_pylist())
            errors, code = [found.get(number) for number in numbers], 0
        except PixelwiseError as error:
            errors, code = [str(error)] * len(numbers), error.exit_code
        return pa.table(
            {
                "number": pa.array(numbers, pa.int64()),
                "error": pa.array(errors, pa.string()),
                "failure": pa.array([code] * len(numbers), pa.int64()),
            }
        )

    def _label(self, rows: list[dict[str, Any]]) -> dict[int, str]:
        """Write the results of these images; returns what is wrong with images, by number."""
        errors: dict[int, str] = {}
        uploads: list[Future[None]] = []
        with (
            tempfile.TemporaryDirectory(prefix="pixelwise-") as temporary,
            ThreadPoolExecutor(_TRANSFERS) as transfers,
        ):
            images = [_image(row, Path(temporary)) for row in rows]
            fetching = [transfers.submit(image.fetch) for image in images]

            def fetched() -> Iterator[_Image]:
                for image, future in zip(images, fetching, strict=True):
                    try:
                        future.result()
                    except DataError as error:
                        errors[image.number] = str(error)
                    else:
                        yield image

            def write(image: _Image, segmentation: Segmentation) -> None:
                uploads.extend(self._write(image, segmentation, Path(temporary), transfers))

            for outcome in predict_files(self.segmenter, fetched(), write, self.job.probabilities):
                if outcome.error:
                    image = outcome.path
                    errors[image.number] = outcome.error.replace(os.fspath(image), image.shown)
            for upload in uploads:
                upload.result()
        return errors

    def _write(
        self, image: _Image, segmentation: Segmentation, temporary: Path, transfers: ThreadPoolExecutor
    ) -> list[Future[None]]:
        """Write one image's files, those for a URI by the threads of ``transfers``."""
        names, out = self.job.outputs(image.found), self.job.out
        if not is_uri(out):
            write_image_results(segmentation, [Path(out, name) for name in names], self.job.overlay)
            return []
        files = [
            temporary / f"{image.number}-{number}{Path(name).suffix}" for number, name in enumerate(names)
        ]
        write_image_results(segmentation, files, self.job.overlay)
        pairs = zip(files, names, strict=True)
        return [transfers.submit(_upload, file, out, name) for file, name in pairs]


def _upload(file: Path, uri: str, name: str) -> None:
    remote.put(file.read_bytes(), uri, name)
    file.unlink()


def _image(row: dict[str, Any], temporary: Path) -> _Image:
    found = Input(row["root"], row["name"], "image")
    if is_uri(row["folder"]):
        local = temporary / f"{row['number']}{Path(row['name']).suffix}"
    else:
        local = Path(row["folder"], row["name"])
    return _Image(row["number"], found, row["folder"], local)


def _last_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[-1].strip() if text else type(error).__name__
