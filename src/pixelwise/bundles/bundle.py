"""Reading and writing bundles: ``bundle.json``, ``graph.onnx``, ``model.safetensors``, ``graph.int8.onnx``.

The weights are there once, as float16 in the safetensors file. The graph holds none: its initialisers
are ONNX external data that point at byte offsets inside ``model.safetensors``, so torch, onnxruntime
and openvino all read the same bytes. The int8 graph, where there is one, has its own integer weights inside.
Every file is checked against the manifest's sha256.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError
from safetensors.numpy import load_file, save

from pixelwise.bundles.manifest import FORMAT, Int8, Manifest
from pixelwise.errors import DataError
from pixelwise.io import atomic_write, explained, write_text
from pixelwise.labels import LabelMap

MANIFEST, GRAPH, WEIGHTS = "bundle.json", "graph.onnx", "model.safetensors"
INT8_GRAPH = "graph.int8.onnx"

_MAX_UNPACKED = 4 << 30  # bytes; a zip that claims more is refused


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: its folder and what its manifest says.

    Attributes
    ----------
    path
        The folder that holds its files (a cache folder when the bundle came as a zip).
    manifest
        The contents of ``bundle.json``.
    """

    path: Path
    manifest: Manifest

    @property
    def labels(self) -> LabelMap:
        """The classes."""
        return self.manifest.label_map

    @property
    def graph(self) -> Path:
        """The ONNX graph, which points into :attr:`weights`."""
        return self.path / GRAPH

    @property
    def weights(self) -> Path:
        """The safetensors file."""
        return self.path / WEIGHTS

    @property
    def int8_graph(self) -> Path | None:
        """The ONNX graph in 8-bit integers, which needs no other file; None when the bundle has none."""
        return self.path / INT8_GRAPH if self.manifest.int8 is not None else None

    def state(self) -> dict[str, np.ndarray]:
        """The weights by name, as stored (mostly float16)."""
        return dict(load_file(self.weights))


def open_bundle(path: str | Path) -> Bundle:
    """Open a bundle folder or zip and verify that its files are the ones its manifest describes.

    Raises
    ------
    DataError
        Something is missing, damaged, from a newer pixelwise, or not the file that was written
        (wrong sha256). A pickle is never loaded, it is refused.
    """
    path = Path(path)
    if path.is_file() and zipfile.is_zipfile(path):
        try:
            path = _unpack(path)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise DataError(f"{path}: the zip is damaged ({error}); copy it again") from None
    if not path.is_dir():
        raise DataError(
            f"{path}: not a bundle; expected a folder or .zip with {MANIFEST}, {GRAPH} and {WEIGHTS}"
        )
    missing = [name for name in (MANIFEST, GRAPH, WEIGHTS) if not (path / name).is_file()]
    if missing:
        raise DataError(
            f"{path}: not a complete bundle, {', '.join(missing)} is missing; train or copy it again"
        )
    manifest = _read_manifest(path / MANIFEST)
    for name, sha256 in _files_of(manifest).items():
        if not (path / name).is_file():
            raise DataError(f"{path}: the manifest lists {name}, which is missing; copy the bundle again")
        _verify(path / name, sha256)
    return Bundle(path, manifest)


def write_bundle(
    path: str | Path, manifest: Manifest, graph: bytes, weights: Mapping[str, np.ndarray]
) -> Bundle:
    """Write a bundle folder whole or not at all, replacing an older one.

    ``graph`` is a serialised ONNX model whose external data offsets were computed by
    :func:`weight_offsets` for the same ``weights``.
    """
    path = Path(path)
    with explained(path):
        return _write(path, manifest, graph, weights)


def _write(path: Path, manifest: Manifest, graph: bytes, weights: Mapping[str, np.ndarray]) -> Bundle:
    with _new_folder(path) as folder:
        save_weights(folder / WEIGHTS, weights)
        with atomic_write(folder / GRAPH) as target:
            target.write_bytes(graph)
        hashes = {name: _sha256(folder / name) for name in (GRAPH, WEIGHTS)}
        manifest = manifest.model_copy(update={"sha256": hashes, "int8": None})
        write_text(folder / MANIFEST, manifest.model_dump_json(indent=1) + "\n")
    return Bundle(path, manifest)


@contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """A folder beside ``path`` that takes its place at the end, or vanishes when something goes wrong."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as temporary:
        folder = Path(temporary) / "bundle"
        folder.mkdir()
        yield folder
        if path.exists():
            path.rename(Path(temporary) / "older")
        folder.rename(path)


def with_int8(bundle: Bundle, path: str | Path, graph: bytes, card: dict[str, Any]) -> Bundle:
    """Write a copy of a bundle that has an int8 graph, whole or not at all; an older one there is replaced.

    Parameters
    ----------
    bundle
        What to copy; its own int8 graph, if any, is left out.
    path
        The new bundle's folder.
    graph
        A serialised ONNX model with its weights inside, of the inputs and outputs of ``graph.onnx``.
    card
        The fields of :class:`~pixelwise.bundles.manifest.Int8` but for the sha256.
    """
    path = Path(path)
    with explained(path), _new_folder(path) as folder:
        for name in (GRAPH, WEIGHTS):
            shutil.copyfile(bundle.path / name, folder / name)
        with atomic_write(folder / INT8_GRAPH) as target:
            target.write_bytes(graph)
        int8 = Int8(sha256=_sha256(folder / INT8_GRAPH), **card)
        manifest = bundle.manifest.model_copy(update={"int8": int8})
        write_text(folder / MANIFEST, manifest.model_dump_json(indent=1) + "\n")
    return Bundle(path, manifest)


def update_manifest(bundle: Bundle, **changes: Any) -> Bundle:
    """Change what ``bundle.json`` says (parity, metrics), atomically."""
    manifest = bundle.manifest.model_copy(update=changes)
    write_text(bundle.path / MANIFEST, manifest.model_dump_json(indent=1) + "\n")
    return Bundle(bundle.path, manifest)


def zip_bundle(bundle: Bundle, target: str | Path) -> Path:
    """Pack a bundle into one ``.zip`` file."""
    target = Path(target)
    with atomic_write(target) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in (MANIFEST, *_files_of(bundle.manifest)):
            archive.write(bundle.path / name, name)
    return target


def save_weights(path: Path, weights: Mapping[str, np.ndarray]) -> None:
    """Write arrays as safetensors, atomically."""
    content = save({name: np.ascontiguousarray(array) for name, array in weights.items()})
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def weight_offsets(path: Path) -> dict[str, tuple[int, int]]:
    """(byte offset, byte length) of every tensor inside a safetensors file."""
    with path.open("rb") as file:
        header_length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(header_length))
    start = 8 + header_length
    return {
        name: (start + entry["data_offsets"][0], entry["data_offsets"][1] - entry["data_offsets"][0])
        for name, entry in header.items()
        if name != "__metadata__"
    }


def cache_folder(*parts: str) -> Path:
    """A folder for things that can be made again, below ``$XDG_CACHE_HOME/pixelwise``."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).joinpath("pixelwise", *parts)


def _read_manifest(path: Path) -> Manifest:
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise DataError(f"{path}: not a valid bundle description ({where}: {first['msg']})") from None
    if manifest.format > FORMAT:
        raise DataError(
            f"{path}: bundle format {manifest.format} is newer than this pixelwise reads ({FORMAT}); upgrade"
        )
    return manifest


def _files_of(manifest: Manifest) -> dict[str, str]:
    """The files beside the manifest, with their sha256."""
    files = {name: manifest.sha256.get(name, "") for name in (GRAPH, WEIGHTS)}
    return files if manifest.int8 is None else files | {INT8_GRAPH: manifest.int8.sha256}


def _verify(path: Path, expected: str) -> None:
    with path.open("rb") as file:
        start = file.read(2)
    if start in (b"\x80\x02", b"\x80\x04", b"\x80\x05", b"PK"):
        raise DataError(
            f"{path}: this is a pickle, which could run code; a bundle holds safetensors and ONNX only"
        )
    found = _sha256(path)
    if found != expected:
        raise DataError(
            f"{path}: sha256 is {found[:12]}... but the manifest says {expected[:12] or 'nothing'}...; "
            "the file was changed or damaged, copy the bundle again"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_whole(folder: Path) -> bool:
    """Whether an unpacked copy is there and undamaged; anything else is unpacked again."""
    try:
        manifest = _read_manifest(folder / MANIFEST)
        for name, sha256 in _files_of(manifest).items():
            _verify(folder / name, sha256)
    except (DataError, OSError):
        return False
    return True


def _unpack(path: Path) -> Path:
    target = cache_folder("bundles", _sha256(path)[:32])
    if _is_whole(target):
        return target
    with zipfile.ZipFile(path) as archive:
        members = {Path(info.filename).name: info for info in archive.infolist() if not info.is_dir()}
        wanted = [members[name] for name in (GRAPH, WEIGHTS, INT8_GRAPH, MANIFEST) if name in members]
        if sum(info.file_size for info in wanted) > _MAX_UNPACKED:
            raise DataError(f"{path}: unpacks to more than {_MAX_UNPACKED >> 30} GB; this is no bundle")
        for info in wanted:  # the manifest last: it marks the folder as complete
            with atomic_write(target / Path(info.filename).name) as temporary, temporary.open("wb") as file:
                shutil.copyfileobj(archive.open(info), file)
    return target
