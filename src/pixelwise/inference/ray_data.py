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
import logging
import os
import shutil
import socket
import sys
import tempfile
import time
import uuid
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from pixelwise.bundles import Bundle, open_bundle, zip_bundle
from pixelwise.errors import DataError, MissingExtraError, PixelwiseError, UsageError
from pixelwise.inference.engines import available_cores
from pixelwise.inference.ensemble import Ensemble
from pixelwise.inference.inputs import Input
from pixelwise.inference.pipeline import Outcome, predict_files
from pixelwise.inference.segmenter import Predictor, Segmentation, Segmenter
from pixelwise.io import atomic_write, is_image

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]
    from pyarrow.fs import FileSystem  # type: ignore[import-untyped]

_PER_WORKER = 8192  # images of a section: minutes of work, against seconds for starting the workers anew
_BLOCK = 32  # images that a worker takes at a time, and that are done again when it dies
_TRANSFERS = 8  # threads that copy from and to object stores, which answer late
_RETRIES = 5  # deaths of workers over one block; without an end, an image that kills would be tried forever
_ANSWER = 5.0  # s to wait for an address
_CORES_FREE = 5.0  # s to wait for the cores of a worker that is just ending

_WHOLE_AT_CLOSE = frozenset({"s3", "gcs", "abfs"})  # pyarrow's stores whose objects appear when closed


def predict_on_ray(
    segmenter: Predictor,
    inputs: Iterable[Input],
    out: str | Path,
    *,
    address: str | None = None,
    workers: int | None = None,
    cores_per_worker: int = 1,
    device: str = "auto",
    overlay: bool = False,
    probabilities: bool = False,
) -> Iterator[Outcome[Input]]:
    """Label images on a Ray cluster; outcomes come as they are finished, exactly one for each input.

    The masks are the ones that ``segmenter`` gives: every worker holds the same model, with the same engine,
    precision, scale, tiles and views. What a worker that dies had begun is done again by another.

    Parameters
    ----------
    segmenter
        The model; its files are sent to the workers.
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
    device
        As for :class:`Segmenter`; ``cuda`` reserves one GPU for each worker.
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
    >>> from pixelwise.inference.ray_data import find_uri_inputs, predict_on_ray
    >>> inputs = find_uri_inputs("s3://bucket/photos")                            # doctest: +SKIP
    >>> for outcome in predict_on_ray(pw.load("runs/street"), inputs, "masks"):   # doctest: +SKIP
    ...     print(outcome.path.name, outcome.error or "done")
    """
    if cores_per_worker < 1 or (workers is not None and workers < 1):
        found = cores_per_worker if cores_per_worker < 1 else workers
        raise UsageError(f"workers and their cores are counted from 1, found {found}")
    if segmenter.task != "image":
        raise UsageError(f"'{segmenter.name}' labels {segmenter.task}s; on Ray only images are labelled")
    models = [_pack(member, device) for member in _members(segmenter)]
    home = str(out) if is_uri(out) else os.path.abspath(out)
    with _cluster(address, workers, cores_per_worker) as count, _visible(home) as token:
        job = _Job(_shared(models), home, token, cores_per_worker, overlay, probabilities)
        remaining = iter(inputs)
        while section := list(islice(remaining, _PER_WORKER * count)):
            yield from _label_section(section, job, count, int(device == "cuda"))


def is_uri(location: str | Path) -> bool:
    """Whether this is a URI rather than a path.

    >>> is_uri("s3://bucket/photos"), is_uri("photos/a.jpg")
    (True, False)
    """
    return "://" in str(location)


def find_uri_inputs(uri: str, others: list[str] | None = None) -> Iterator[Input]:
    """The images below a URI, or the one that it names, sorted by path; folders are listed as they come up.

    Parameters
    ----------
    uri
        ``s3://bucket/prefix``, ``gs://...``, ``file:///...``: what pyarrow.fs knows. Credentials are those of
        the environment.
    others
        Gets the URIs of files that are no images.

    Raises
    ------
    DataError
        There is nothing, or it cannot be listed.
    UsageError
        Unknown kind of URI; two images would have the same result.

    Examples
    --------
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in ("b.jpg", "a.txt", "sub/c.png"):
    ...     (folder / name).parent.mkdir(exist_ok=True)
    ...     (folder / name).touch()
    >>> [found.name for found in find_uri_inputs(folder.as_uri())]
    ['b.jpg', 'sub/c.png']
    """
    from pyarrow.fs import FileType

    root = uri.rstrip("/")
    filesystem, base = _place(root)
    with _listed(root):
        kind = filesystem.get_file_info(base).type
    if kind == FileType.File:
        parent, _, name = root.rpartition("/")
        yield Input(parent, PurePosixPath(base).name or name, "image")
        return
    found = False
    if kind == FileType.Directory:
        for relative in _walk(filesystem, base, root):
            if is_image(Path(relative)):
                found = True
                yield Input(root, relative, "image")
            elif others is not None:
                others.append(f"{root}/{relative}")
    if not found:
        what = "no images here" if kind == FileType.Directory else "no such file or folder"
        raise DataError(f"{uri}: {what}; expected JPEG, PNG, TIFF, BMP or WebP files")


def _walk(filesystem: FileSystem, base: str, root: str, below: str = "") -> Iterator[str]:
    """Paths of files relative to ``base``, hidden ones left out, in the order of their parts."""
    from pyarrow.fs import FileSelector, FileType

    with _listed(f"{root}/{below}".rstrip("/")):
        listing = filesystem.get_file_info(FileSelector(f"{base}/{below}".rstrip("/")))
    stems: dict[str, str] = {}
    for entry in sorted(listing, key=lambda entry: str(entry.base_name)):
        name = entry.base_name
        if name.startswith("."):
            continue
        relative = f"{below}/{name}" if below else name
        if entry.type == FileType.Directory:
            yield from _walk(filesystem, base, root, relative)
            continue
        if is_image(Path(name)) and (other := stems.setdefault(Path(name).stem, name)) != name:
            raise UsageError(
                f"{other} and {name} in {root}/{below} would both become {Path(name).stem}.png; "
                "predict them into different folders"
            )
        yield relative


@contextlib.contextmanager
def _listed(uri: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"{uri}: cannot be listed ({_first_line(error)}); {_CHECK_STORE}") from None


_CHECK_STORE = "check the name, the credentials in the environment and the permissions"


@lru_cache(maxsize=16)
def _place(uri: str) -> tuple[FileSystem, str]:
    """The file system of a URI, and the path in it."""
    try:
        from pyarrow.fs import FileSystem
    except ImportError:
        raise MissingExtraError(f"reading {uri}", "ray") from None

    try:
        filesystem, path = FileSystem.from_uri(uri)
    except ValueError as error:
        raise UsageError(
            f"{uri}: not a URI that can be read ({_first_line(error)}); "
            "expected s3://BUCKET/..., gs://BUCKET/... or file:///..."
        ) from None
    except (OSError, ImportError) as error:
        raise UsageError(f"{uri}: cannot be opened ({_first_line(error)}); {_CHECK_STORE}") from None
    return filesystem, path.rstrip("/")


def _fetch(uri: str, name: str, local: Path) -> None:
    """Copy one file of a URI's folder to ``local``; DataError when it is not there."""
    filesystem, base = _place(uri)
    try:
        with filesystem.open_input_stream(f"{base}/{name}") as stream, local.open("wb") as file:
            shutil.copyfileobj(stream, file, 1 << 20)
    except FileNotFoundError:
        raise DataError(f"{uri}/{name}: no such image") from None
    except OSError as error:
        raise DataError(f"{uri}/{name}: cannot be read ({_first_line(error)}); {_CHECK_STORE}") from None


def _put(content: bytes, uri: str, name: str) -> None:
    """Write one file of a URI's folder, whole or not at all."""
    filesystem, base = _place(uri)
    path = PurePosixPath(base, name)
    try:
        if filesystem.type_name in _WHOLE_AT_CLOSE:
            with filesystem.open_output_stream(str(path)) as stream:
                stream.write(content)
            return
        # Named after the file alone: when this process is killed, the next one writes over it.
        unfinished = str(path.with_name(f".{path.name}.part"))
        filesystem.create_dir(str(path.parent), recursive=True)
        with filesystem.open_output_stream(unfinished) as stream:
            stream.write(content)
        filesystem.move(unfinished, str(path))
    except OSError as error:
        raise PixelwiseError(f"cannot write {uri}/{name}: {_first_line(error)}; {_CHECK_STORE}") from None


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


def _pack(segmenter: Segmenter, device: str) -> _Model:
    """The model with the engine and precision that are used here, so that no machine chooses others."""
    engine = segmenter.engine
    with tempfile.TemporaryDirectory(prefix="pixelwise-") as folder:
        content = zip_bundle(segmenter.bundle, Path(folder) / "bundle.zip").read_bytes()
    how = (segmenter.scale, segmenter.tile, segmenter.views.text)
    return _Model(content, engine.name, engine.precision, device, *how)


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
        target = found.target
        names = [f"{target}.png"] + [f"overlay/{target}.png"] * self.overlay
        return names + [f"{target}.npz"] * self.probabilities

    def check_out(self) -> None:
        """Raise UsageError when this machine does not see what the caller left in OUT."""
        from pyarrow.fs import FileType

        if is_uri(self.out):
            filesystem, base = _place(self.out)
            with _listed(self.out):
                there = filesystem.get_file_info(f"{base}/{self.token}").type == FileType.File
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
        _put(b"", out, token)
    else:
        with atomic_write(Path(out, token)) as temporary:
            temporary.touch()
    try:
        yield token
    finally:
        with contextlib.suppress(OSError):
            if is_uri(out):
                filesystem, base = _place(out)
                filesystem.delete_file(f"{base}/{token}")
            else:
                Path(out, token).unlink()


@contextlib.contextmanager
def _cluster(address: str | None, workers: int | None, cores: int) -> Iterator[int]:
    """A connection to Ray; yields the number of workers. What was started here is stopped at the end."""
    # Read when ray is imported. It reports nothing home, and never packs the working folder.
    for name, value in _QUIET_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data  # noqa: F401
    except ImportError:
        raise MissingExtraError("prediction on Ray", "ray") from None

    if ray.is_initialized():
        yield _count_workers(workers, cores)
        return
    if address:
        _check_address(address)
    local: dict[str, Any] = {}
    if not address:
        count = workers or max(1, available_cores() // cores)
        local = {"num_cpus": count * cores, "include_dashboard": False}
    try:
        with _hushed():
            ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **local)
    except (OSError, RuntimeError, ValueError, SystemExit) as error:  # Ray ends the process when it gives up
        ray.shutdown()
        if not address:
            raise PixelwiseError(f"Ray cannot be started here: {_first_line(error)}") from None
        raise _no_answer(address, _first_line(error)) from None
    try:
        yield _count_workers(workers, cores)
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Drop what native code writes to stderr: Ray says there that it was told to say less."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


_QUIET_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def _count_workers(workers: int | None, cores: int) -> int:
    """As many as were asked for, or as fit; UsageError when not even one does."""
    import ray

    sizes = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    most = sum(size // cores for size in sizes)
    if most == 0:
        raise UsageError(
            f"a worker of {cores} cores fits on no machine of the cluster, the largest of which "
            f"has {max(sizes, default=0)}; ask for fewer cores"
        )
    return min(workers or most, most)


def _check_address(address: str) -> None:
    """Raise UsageError for an address that cannot be right, within seconds: Ray would try for minutes."""
    if address.startswith("ray://"):
        raise UsageError(
            f"--ray {address}: Ray Data does not work through the Ray client; run this on a machine of the "
            "cluster with --ray auto, or hand it in with 'ray job submit -- pixelwise predict ... --ray auto'"
        )
    if address == "auto":
        from ray._private.services import canonicalize_bootstrap_address

        try:
            found = canonicalize_bootstrap_address("auto") or ""  # what $RAY_ADDRESS says, or what runs here
        except ConnectionError:
            raise UsageError(
                "--ray auto: this machine is in no Ray cluster; start one: ray start --head"
            ) from None
        if not found.startswith("ray://"):
            _connect(found, address)
        return
    _connect(address, address)


def _connect(found: str, address: str) -> None:
    host, _, port = found.rpartition(":")
    if not (host and port.isdigit()):
        raise UsageError(f"--ray {address}: expected HOST:PORT or auto, such as 10.0.0.1:6379")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER).close()
    except (OSError, OverflowError) as error:
        raise _no_answer(address, _first_line(error)) from None


def _no_answer(address: str, reason: str) -> UsageError:
    return UsageError(
        f"--ray {address}: no Ray cluster answers there ({reason}); check host and port "
        "(6379 unless changed), that 'ray start --head' was run there, and that both sides have the same Ray "
        "and RAY_AUTH_MODE"
    )


def _label_section(section: list[Input], job: _Job, workers: int, gpus: int) -> Iterator[Outcome[Input]]:
    """The outcomes of one section's images, in the order in which they are finished."""
    import ray
    from ray.exceptions import RayError

    missing = dict(enumerate(section))
    with _quiet_data():
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


@contextlib.contextmanager
def _quiet_data() -> Iterator[None]:
    """Ray Data's options for what is defined within: no progress bars, no lines about plans."""
    from ray.data import DataContext

    with warnings.catch_warnings():  # copying reads options that are deprecated
        warnings.simplefilter("ignore", DeprecationWarning)
        context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.enable_auto_log_stats = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    with DataContext.current(context), warnings.catch_warnings():
        # Ray 2.60 deprecates max_task_retries, and has nothing yet that takes its place.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")
        yield


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
            _fetch(self.folder, self.found.name, self.local)


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
        from pixelwise.inference.labelling import _write as write_results

        names, out = self.job.outputs(image.found), self.job.out
        if not is_uri(out):
            write_results(segmentation, [Path(out, name) for name in names], self.job.overlay)
            return []
        files = [
            temporary / f"{image.number}-{number}{Path(name).suffix}" for number, name in enumerate(names)
        ]
        write_results(segmentation, files, self.job.overlay)
        pairs = zip(files, names, strict=True)
        return [transfers.submit(_upload, file, out, name) for file, name in pairs]


def _upload(file: Path, uri: str, name: str) -> None:
    _put(file.read_bytes(), uri, name)
    file.unlink()


def _image(row: dict[str, Any], temporary: Path) -> _Image:
    found = Input(row["root"], row["name"], "image")
    if is_uri(row["folder"]):
        local = temporary / f"{row['number']}{Path(row['name']).suffix}"
    else:
        local = Path(row["folder"], row["name"])
    return _Image(row["number"], found, row["folder"], local)


def claim_cores(count: int) -> list[socket.socket]:
    """Bind this process to ``count`` cores of its machine that no other worker has claimed.

    Ray counts cores but hands out no particular ones, and engines bind their threads to the first that they
    see: without this, the workers of one machine would crowd on the same ones. A claim is an abstract Unix
    socket, which ends with the process however that ends. When too few are free, or where the system cannot
    bind, the process keeps all.

    Returns
    -------
    list
        The claims; they last for as long as they are held.
    """
    if not hasattr(os, "sched_setaffinity"):
        return []
    end = time.monotonic() + _CORES_FREE
    while True:
        claims: dict[int, socket.socket] = {}
        for core in sorted(os.sched_getaffinity(0)):
            if len(claims) == count:
                break
            claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                claim.bind(f"\0pixelwise-core-{core}")
            except OSError:
                claim.close()
            else:
                claims[core] = claim
        if len(claims) == count:
            # An affinity is a thread's, and Ray has started some already.
            for thread in os.listdir("/proc/self/task"):
                with contextlib.suppress(OSError):
                    os.sched_setaffinity(int(thread), claims)
            return list(claims.values())
        for claim in claims.values():
            claim.close()
        if time.monotonic() > end:
            return []
        time.sleep(0.1)


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def _last_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[-1].strip() if text else type(error).__name__
