"""Files in object stores, through pyarrow.fs: ``s3://``, ``gs://``, ``file://`` and what else it knows.

Source: https://arrow.apache.org/docs/python/filesystems.html; pyarrow comes with the extra ``ray``.
Credentials are those of the environment, as pyarrow finds them.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pixelwise.errors import DataError, MissingExtraError, PixelwiseError, UsageError
from pixelwise.io.images import is_image

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem  # type: ignore[import-untyped]

_WHOLE_AT_CLOSE = frozenset({"s3", "gcs", "abfs"})  # pyarrow's stores whose objects appear when closed


def is_uri(location: str | Path) -> bool:
    """Whether this is a URI rather than a path.

    >>> is_uri("s3://bucket/photos"), is_uri("photos/a.jpg")
    (True, False)
    """
    return "://" in str(location)


def list_images(uri: str, others: list[str] | None = None) -> Iterator[tuple[str, str]]:
    """(folder's URI, path below it) of the images below a URI, or of the one that it names, sorted by path.

    Folders are listed as they come up.

    Parameters
    ----------
    uri
        ``s3://bucket/prefix``, ``gs://...``, ``file:///...``: what pyarrow.fs knows.
    others
        Gets the URIs of files that are no images.

    Raises
    ------
    DataError
        There is nothing, or it cannot be listed.
    UsageError
        Unknown kind of URI; two images would have the same result.
    MissingExtraError
        pyarrow is not installed.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in ("b.jpg", "a.txt", "sub/c.png"):
    ...     (folder / name).parent.mkdir(exist_ok=True)
    ...     (folder / name).touch()
    >>> [name for _, name in list_images(folder.as_uri())]
    ['b.jpg', 'sub/c.png']
    """
    from pyarrow.fs import FileType

    root = uri.rstrip("/")
    filesystem, base = place(root)
    with listed(root):
        kind = filesystem.get_file_info(base).type
    if kind == FileType.File:
        parent, _, name = root.rpartition("/")
        yield parent, PurePosixPath(base).name or name
        return
    found = False
    if kind == FileType.Directory:
        for relative in _walk(filesystem, base, root):
            if is_image(Path(relative)):
                found = True
                yield root, relative
            elif others is not None:
                others.append(f"{root}/{relative}")
    if not found:
        what = "no images here" if kind == FileType.Directory else "no such file or folder"
        raise DataError(f"{uri}: {what}; expected JPEG, PNG, TIFF, BMP or WebP files")


def _walk(filesystem: FileSystem, base: str, root: str, below: str = "") -> Iterator[str]:
    """Paths of files relative to ``base``, hidden ones left out, in the order of their parts."""
    from pyarrow.fs import FileSelector, FileType

    with listed(f"{root}/{below}".rstrip("/")):
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
def listed(uri: str) -> Iterator[None]:
    """Turn what the system says about listing a URI into one sentence."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{uri}: cannot be listed ({first_line(error)}); {_CHECK_STORE}") from None


_CHECK_STORE = "check the name, the credentials in the environment and the permissions"


@lru_cache(maxsize=16)
def place(uri: str) -> tuple[FileSystem, str]:
    """The file system of a URI, and the path in it."""
    try:
        from pyarrow.fs import FileSystem
    except ImportError:
        raise MissingExtraError(f"reading {uri}", "ray") from None

    try:
        filesystem, path = FileSystem.from_uri(uri)
    except ValueError as error:
        raise UsageError(
            f"{uri}: not a URI that can be read ({first_line(error)}); "
            "expected s3://BUCKET/..., gs://BUCKET/... or file:///..."
        ) from None
    except (OSError, ImportError) as error:
        raise UsageError(f"{uri}: cannot be opened ({first_line(error)}); {_CHECK_STORE}") from None
    return filesystem, path.rstrip("/")


def fetch(uri: str, name: str, local: Path) -> None:
    """Copy one file of a URI's folder to ``local``; DataError when it is not there."""
    filesystem, base = place(uri)
    try:
        with filesystem.open_input_stream(f"{base}/{name}") as stream, local.open("wb") as file:
            shutil.copyfileobj(stream, file, 1 << 20)
    except FileNotFoundError:
        raise DataError(f"{uri}/{name}: no such image") from None
    except OSError as error:
        raise DataError(f"{uri}/{name}: cannot be read ({first_line(error)}); {_CHECK_STORE}") from None


def put(content: bytes, uri: str, name: str) -> None:
    """Write one file of a URI's folder, whole or not at all."""
    filesystem, base = place(uri)
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
        raise PixelwiseError(f"cannot write {uri}/{name}: {first_line(error)}; {_CHECK_STORE}") from None


def is_file(uri: str, name: str) -> bool:
    """Whether there is a file of this name in a URI's folder."""
    from pyarrow.fs import FileType

    filesystem, base = place(uri)
    with listed(uri):
        return bool(filesystem.get_file_info(f"{base}/{name}").type == FileType.File)


def remove(uri: str, name: str) -> None:
    """Remove one file of a URI's folder; OSError when it cannot be."""
    filesystem, base = place(uri)
    filesystem.delete_file(f"{base}/{name}")


def first_line(error: BaseException) -> str:
    """What an error says in its first line, or its type when it says nothing."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
