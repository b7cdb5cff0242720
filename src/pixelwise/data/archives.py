"""Exports that come as a ZIP: unpacked once into the user's cache, with nothing written outside it."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from pixelwise.data.inspection import cache_folder
from pixelwise.errors import DataError, PixelwiseError

_MOST_FILES = 2_000_000
_MOST_BYTES = 200 * 2**30
_MOST_GROWTH = 200  # no picture and no text of an export shrinks to less than a 200th
_SMALL = 100 * 2**20  # an archive of this unpacked size is no bomb, however well it packs


def unpacked(path: Path) -> Path:
    """The folder with an archive's files, below ``$XDG_CACHE_HOME/pixelwise``; unpacked when it is new.

    Raises
    ------
    DataError
        It is no ZIP or damaged or encrypted, a name in it leads out of the folder, or it would unpack to an
        absurd size.
    """
    stat = path.stat()
    key = hashlib.blake2b(f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}".encode(), digest_size=12)
    target = cache_folder() / "archives" / f"{path.stem}-{key.hexdigest()}"
    if target.is_dir():
        return target
    try:
        with zipfile.ZipFile(path) as archive:
            _check(path, archive)
            _extract(archive, target)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise DataError(f"{path}: not a ZIP file that can be read ({error}); download it again") from None
    except OSError as error:
        raise PixelwiseError(f"cannot unpack {path} into {target}: {error.strerror or error}") from None
    return target


def _check(path: Path, archive: zipfile.ZipFile) -> None:
    members = archive.infolist()
    size, packed = sum(m.file_size for m in members), sum(m.compress_size for m in members)
    if len(members) > _MOST_FILES or size > _MOST_BYTES or size > max(_SMALL, _MOST_GROWTH * packed):
        raise DataError(
            f"{path}: would unpack to {len(members)} files of {size / 2**30:.1f} GiB, which no export does; "
            "unpack it yourself if you trust it, and give the folder"
        )
    for member in members:
        name = member.filename.replace("\\", "/")
        parts = PurePosixPath(name).parts
        is_link = (member.external_attr >> 16) & 0o170000 == 0o120000
        if name.startswith("/") or ".." in parts or ":" in (parts or ("",))[0] or is_link:
            raise DataError(
                f"{path}: the name {member.filename!r} in it leads out of the folder; not unpacked"
            )


def _extract(archive: zipfile.ZipFile, target: Path) -> None:
    """Whole or not at all: into a folder beside the target, which gets its name at the end."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=".unpacking-"))
    try:
        for member in archive.infolist():
            place = temporary / member.filename.replace("\\", "/")
            if member.is_dir():
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, place.open("wb") as file:
                # The size in the directory is what was checked; a member that is longer is a lie.
                copied = 0
                while block := source.read(1 << 20):
                    copied += len(block)
                    if copied > member.file_size:
                        raise zipfile.BadZipFile(f"{member.filename} is longer than it says")
                    file.write(block)
        os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
