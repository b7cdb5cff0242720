"""What a folder of predictions was made with, file by file, so that a stopped run can go on.

``OUT/manifest.jsonl`` has one line per finished input: its path below the source, its size and time of
change, the files made from it, the identity of the model, and the settings. Lines are only ever appended,
after the files that they speak of are on the disk; of several lines about one input the last one counts. One
without outputs says that they are being replaced.

A lock keeps two runs out of one folder. It is the operating system's, on an open file, so it ends with the
process that holds it, however that ends: a file that a killed run left behind is simply taken over.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import IO, Any

from pixelwise.errors import DataError, PixelwiseError, UsageError
from pixelwise.io import explained

MANIFEST, LOCK = "manifest.jsonl", ".manifest.lock"

_START = b'{"input": '  # of every line; what begins otherwise was written by somebody else


@dataclass(frozen=True)
class Entry:
    """One line of the manifest.

    Attributes
    ----------
    input
        The path below its source, with forward slashes.
    size, mtime
        Of the input: bytes, and the time of its last change in ns.
    outputs
        The files that were made, relative to the manifest's folder.
    model
        The identity of the model.
    settings
        What else decides about the outputs.
    frames
        How many frames were labelled; None for an image.
    """

    input: str
    size: int
    mtime: int
    outputs: list[str]
    model: str
    settings: dict[str, Any]
    frames: int | None = None


class Journal:
    """The manifest of one output folder, locked for as long as the ``with`` block lasts.

    Parameters
    ----------
    folder
        The output folder; it is made when it is missing.
    model
        The identity of the model, :attr:`Segmenter.identity`.
    settings
        What else decides about the outputs; JSON values.
    resume
        Whether to find inputs finished that an earlier run has done.
    elsewhere
        Whether the results are not in this folder, but in an object store, where nobody looks after them.

    Raises
    ------
    UsageError
        Another run is writing here; or, without ``resume``, the folder holds results of another model or of
        other settings.
    DataError
        ``manifest.jsonl`` is there, but is not such a manifest.

    Examples
    --------
    >>> import tempfile
    >>> photo = Path(tempfile.mkdtemp()) / "a.jpg"
    >>> _ = photo.write_bytes(b"pixels"), (photo.parent / "a.png").write_bytes(b"mask")
    >>> for resume in (False, True):
    ...     with Journal(photo.parent, "model", {"scale": "working"}, resume) as journal:
    ...         print(journal.finished("a.jpg", photo) is not None)
    ...         journal.add("a.jpg", ["a.png"])
    False
    True
    """

    def __init__(
        self,
        folder: Path,
        model: str,
        settings: Mapping[str, Any],
        resume: bool = False,
        elsewhere: bool = False,
    ) -> None:
        self.folder = folder
        self.elsewhere = elsewhere
        self.model = model
        self.settings: dict[str, Any] = json.loads(json.dumps(settings))
        self.resume = resume
        self._entries: dict[str, Entry] = {}
        self._stamps: dict[str, tuple[int, int]] = {}
        self._writing = Lock()
        self._lines: IO[bytes] | None = None
        self._lock: IO[bytes] | None = None

    def __enter__(self) -> Journal:
        self._lock = _locked(self.folder)
        try:
            self._read()
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lines is not None:
            self._lines.close()
        self._release()

    def finished(self, name: str, path: Path | None) -> Entry | None:
        """The line about an input that need not be done again, or None.

        It matches in model and settings, the input at ``path`` has not changed since, and the outputs are
        there. What ``path`` looks like now is what :meth:`add` writes down: a change from here on makes the
        input count as changed. Those without a path, in an object store, count as unchanged.
        """
        try:
            status = path.stat() if path else None
        except OSError:
            return None  # whoever reads it says what is wrong
        self._stamps[name] = (status.st_size, status.st_mtime_ns) if status else (0, 0)
        entry = self._entries.get(name)
        if entry is None:
            return None
        if not self._is_ours(entry) or (entry.size, entry.mtime) != self._stamps[name]:
            # Killed between the new file and its line, the folder would have a file that the old line fits.
            self._append({"input": name, "size": 0, "mtime": 0, "outputs": [], "model": "", "settings": {}})
            return None
        there = self.elsewhere or all((self.folder / output).is_file() for output in entry.outputs)
        return entry if self.resume and there else None

    def add(self, name: str, outputs: Iterable[str], frames: int | None = None) -> None:
        """Append the line of an input that :meth:`finished` was asked about; several threads may."""
        size, mtime = self._stamps[name]
        line: dict[str, Any] = {"input": name, "size": size, "mtime": mtime, "outputs": list(outputs)}
        line |= {"model": self.model, "settings": self.settings}
        if frames is not None:
            line["frames"] = frames
        self._append(line)

    def _append(self, line: dict[str, Any]) -> None:
        with self._writing, explained(self.path):
            if self._lines is None:
                self._lines = self.path.open("ab")
            self._lines.write(json.dumps(line).encode() + b"\n")
            self._lines.flush()

    @property
    def path(self) -> Path:
        """The manifest's file."""
        return self.folder / MANIFEST

    def _is_ours(self, entry: Entry) -> bool:
        return entry.model == self.model and entry.settings == self.settings

    def _read(self) -> None:
        if not self.path.exists():
            return
        with explained(self.path):
            content = self.path.read_bytes()
        *lines, torn = content.split(b"\n")
        for number, line in enumerate(lines, 1):
            entry = _parse(line)
            if entry is None:
                raise self._foreign(number)
            if entry.outputs:
                self._entries[entry.input] = entry
            else:
                self._entries.pop(entry.input, None)
        if not self.resume:
            self._refuse_others()
        if torn:  # the last line of a run that was killed while it wrote it
            if not (torn.startswith(_START) or _START.startswith(torn)):
                raise self._foreign(len(lines) + 1)
            with explained(self.path):
                os.truncate(self.path, len(content) - len(torn))

    def _foreign(self, number: int) -> DataError:
        return DataError(
            f"{self.path}: line {number} is not of a manifest of predictions; "
            "move the file away, or choose another output folder"
        )

    def _refuse_others(self) -> None:
        """The results of one folder belong together: those of another kind are replaced only when asked."""
        other = next((entry for entry in self._entries.values() if not self._is_ours(entry)), None)
        if other is None:
            return
        what = "by another model"
        if other.model == self.model:
            names = sorted(other.settings.keys() | self.settings.keys())
            pairs = [(name, other.settings.get(name), self.settings.get(name)) for name in names]
            differing = [f"{name} {then}, now {now}" for name, then, now in pairs if then != now]
            what = f"with other settings ({'; '.join(differing)})"
        raise UsageError(
            f"{self.folder} holds results that were made {what}; "
            "choose another --out, or replace them with --resume"
        )

    def _release(self) -> None:
        if self._lock is not None:
            with suppress(OSError):  # Windows removes no open file; one left behind is taken over
                (self.folder / LOCK).unlink()
            self._lock.close()
            self._lock = None


def remove_leftovers(outputs: Iterable[Path]) -> None:
    """Remove what a killed run left of files that it was writing: the hidden ones of ``atomic_write``."""
    unfinished = {(path.parent, path.stem[:40], path.suffix) for path in outputs}
    for folder in {folder for folder, _, _ in unfinished}:
        for file in folder.glob(".*-*"):
            stem = file.stem[1:].rpartition("-")[0]
            if (folder, stem, file.suffix) in unfinished:
                file.unlink(missing_ok=True)


def _parse(line: bytes) -> Entry | None:
    try:
        entry = Entry(**json.loads(line))
    except (ValueError, TypeError):
        return None
    return entry if isinstance(entry.input, str) and isinstance(entry.outputs, list) else None


def _locked(folder: Path) -> IO[bytes]:
    """The folder's lock file, opened and held."""
    path = folder / LOCK
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    while True:
        with explained(path):
            file = path.open("ab")
        try:
            with explained(path):
                held = _hold(file)
        except PixelwiseError:
            file.close()
            raise
        if not held:
            file.close()
            raise UsageError(
                f"another run is writing into {folder}; wait until it is done, or choose another --out"
            )
        # Its last holder may have removed the file between the two steps; then others do not see this one.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()


if sys.platform == "win32":
    import msvcrt

    def _hold(file: IO[bytes]) -> bool:
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True
else:
    import fcntl

    def _hold(file: IO[bytes]) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
