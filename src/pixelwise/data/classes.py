"""Which classes a data folder has: from the caller, from a class file, or a question to the user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pixelwise.errors import DataError, UsageError
from pixelwise.io import mask_values, read_label_file, read_mask
from pixelwise.labels import LabelMap, as_label_map

Classes = LabelMap | Sequence[str] | Mapping[str, Any] | str | Path
"""What may be passed as ``labels``: a label map, names, a dictionary of one, or a class file."""

_STEMS = ("classes", "class_names", "label_colors", "label_colours", "class_dict", "labelmap", "label_map")
_TEXT_STEMS = ("labels", "label_names", "label_list", "class_id_to_name", "codes", "names")
CLASS_FILES = (
    *(f"{stem}.{suffix}" for stem in _STEMS for suffix in ("txt", "csv", "json", "yaml", "yml")),
    # A labels.csv more often lists images than classes, so these are not looked for as tables.
    *(f"{stem}.{suffix}" for stem in _TEXT_STEMS for suffix in ("txt", "json", "yaml", "yml")),
    *("data.yaml", "data.yml", "dataset.yaml", "dataset.yml"),
)
"""Names of class files, in the order in which they are looked for (in any case)."""


def find_class_file(root: Path) -> Path | None:
    """The class file that lies directly in a data folder, or None."""
    present = {path.name.lower(): path for path in sorted(root.iterdir()) if path.is_file()}
    return next((present[name] for name in CLASS_FILES if name in present), None)


def resolve_classes(
    root: Path,
    labels: Classes | None,
    mapping: Mapping[int, int] | None,
    masks: Sequence[Path],
) -> tuple[LabelMap, dict[int, int]]:
    """The classes of a data folder, and the translation of mask values into their ids.

    Parameters
    ----------
    root
        The data folder, searched for a class file when ``labels`` is None.
    labels
        The classes, or the path of a class file.
    mapping
        ``{mask value: class id}``, on top of what the class file says.
    masks
        Where to look for values when nobody says what the classes are.

    Returns
    -------
    labels
        The classes.
    mapping
        Every mask value that has a meaning with its class id; empty when values are ids.

    Raises
    ------
    DataError
        There is no class file; the message lists the values found and asks for the names.
    UsageError
        ``mapping`` leads to a class that does not exist.
    """
    own: dict[int, int] = {}
    if labels is None:
        labels = find_class_file(root)
    if labels is None:
        raise _question(root, masks)
    if isinstance(labels, str | Path):
        labels, own = read_label_file(labels)
    labels = as_label_map(labels)
    return labels, complete_mapping(labels, own, mapping or {})


def complete_mapping(labels: LabelMap, own: Mapping[int, int], extra: Mapping[int, int]) -> dict[int, int]:
    """Join a class file's mapping with the caller's, which wins; ``{}`` when values are ids already.

    >>> complete_mapping(LabelMap(("no", "yes")), {}, {255: 1})
    {0: 0, 1: 1, 255: 1}
    """
    wrong = [to for to in extra.values() if to != labels.ignore and not 0 <= to < len(labels)]
    if wrong:
        raise UsageError(
            f"there is no class {wrong[0]} to map to: the {len(labels)} classes have ids 0 to "
            f"{len(labels) - 1}, and {labels.ignore} is ignored"
        )
    if not extra:
        return dict(own)
    return dict(own or {value: value for value in range(len(labels))}) | dict(extra)


def _question(root: Path, masks: Sequence[Path], look_at: int = 5) -> DataError:
    values = sorted({int(value) for path in masks[:look_at] for value in mask_values(read_mask(path))})
    shown = ", ".join(map(str, values[:20])) + (", ..." if len(values) > 20 else "")
    if values == [0, 255]:
        hint = "for a yes/no mask pass --classes background,object --map 255=1"
    else:
        hint = "or pass --classes name,name,..."
    return DataError(
        f"{root}: what are the classes called? The first masks hold the values {shown}; "
        f"write {root / 'classes.txt'} with one name a line (the first line names value 0), {hint}"
    )
