"""From what a user calls a model to a bundle: a bundled name, a bundle, or a run folder."""

from __future__ import annotations

import difflib
from importlib import resources
from pathlib import Path

from pixelwise.bundles.bundle import MANIFEST, Bundle, open_bundle
from pixelwise.errors import DataError, UsageError


def bundled_models() -> dict[str, Path]:
    """The models that came with the installation, by name."""
    zoo = Path(str(resources.files("pixelwise") / "zoo"))
    found = [*zoo.glob("*.zip"), *(path.parent for path in zoo.glob(f"*/{MANIFEST}"))]
    return {path.stem: path for path in sorted(found)}


def find_model(name: str | Path) -> Bundle:
    """Open what ``--model`` names: a bundled model, a bundle folder or .zip, or a run folder.

    Raises
    ------
    UsageError
        Nothing of that name exists; the nearest bundled name is suggested.
    DataError
        It exists but is not a whole bundle; a run that has not written one yet.
    """
    bundled = bundled_models()
    if str(name) in bundled:
        return open_bundle(bundled[str(name)])
    path = Path(name)
    if (path / "bundle").is_dir():
        return open_bundle(path / "bundle")
    if (path / "checkpoints").is_dir():
        raise DataError(
            f"{path}: this run has not written its bundle yet; finish it: pixelwise train --resume {path}"
        )
    if path.exists():
        return open_bundle(path)
    nearest = difflib.get_close_matches(str(name), bundled, n=1)
    hint = f"; did you mean '{nearest[0]}'?" if nearest else ""
    known = f" (bundled: {', '.join(bundled)})" if bundled else ""
    raise UsageError(f"model '{name}' is neither a bundled name nor a bundle or run folder{hint}{known}")
