"""Writes that are there whole or not at all: temporary file, fsync, rename."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pixelwise.errors import PixelwiseError

# The umask can only be read by setting it, for all threads at once: so once, at import.
_UMASK = os.umask(0o077)
os.umask(_UMASK)


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it becomes ``path``, on failure it vanishes.

    The suffix is kept, so that libraries which choose the format by name still can. Parent folders
    are made. No permission, no space and the like raise PixelwiseError naming the file.

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "out" / "a.txt"
    >>> with atomic_write(target) as temporary:
    ...     _ = temporary.write_text("whole")
    >>> target.read_text()
    'whole'
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem[:40]}-", suffix=path.suffix)
            os.close(handle)
            temporary = Path(name)
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.chmod(0o666 & ~_UMASK)
            temporary.replace(path)
            temporary = None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def explained(path: str | Path) -> Iterator[None]:
    """Turn what the system says about a failed write into one sentence (PixelwiseError) naming ``path``."""
    try:
        yield
    except OSError as error:
        raise _explain(error, Path(path)) from error


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write indented UTF-8 JSON atomically."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def _explain(error: OSError, path: Path) -> PixelwiseError:
    if error.errno == errno.ENOSPC:
        return PixelwiseError(f"cannot write {path}: the disk is full; free some space and run again")
    if isinstance(error, PermissionError):
        return PixelwiseError(f"cannot write {path}: no permission; choose another output folder")
    return PixelwiseError(f"cannot write {path}: {error.strerror or error}")
