"""VIA, the VGG Image Annotator: projects and annotations of its versions 1, 2 and 3, as JSON and as CSV.

Source: the VIA software (gitlab.com/vgg/via); what the files look like is told in
:mod:`pixelwise.data.formats.via_files`.

VIA knows no classes, only attributes of regions with names of the user's choice. Which one is the label: the
caller's ``label_key``, else the only one that there is, else the one that the project shows beside its
regions, else the first of ``label``, ``class``, ``name``, ``type``, ``category``. Where several options of a
checkbox are on, the label is all of them, joined by ``+``. Where regions have no attribute at all, as in data
sets of a single class, all are ``object``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pixelwise.data.annotations import IGNORED, AnnotatedImage, Document, Findings
from pixelwise.data.formats.splits import split_of_export
from pixelwise.data.formats.via_files import SUFFIXES, Attribute, Contents, Entry, kind_of
from pixelwise.data.locate import ImageFinder, as_posix
from pixelwise.data.sniff import files_with, first_files, json_head, text_head
from pixelwise.errors import DataError
from pixelwise.io.video import frame_rate
from pixelwise.shapes import Shape

_LABEL_KEYS = ("label", "class", "name", "type", "category")
_ONLY_CLASS = "object"
_CSV_BEGIN = re.compile(r"#?\s*filename[,;]\s*(#?file_size|size)\b.*region_shape_attributes", re.DOTALL)
_V3_CSV_BEGIN = re.compile(r"# Exported using VGG Image Annotator|.*# CSV_HEADER = metadata_id", re.DOTALL)
_KEYS = (
    {"_via_settings"},
    {"_via_img_metadata"},
    {"filename", "regions"},
    {"filename", "base64_img_data"},
    {"pid", "vid_list"},
)
_WORDS = re.compile(r'"(_via_\w+|shape_attributes|region_attributes|base64_img_data)"')
_SCRIPT_BEGIN = re.compile(r"\s*(var\s+|let\s+|const\s+)?_via_dp\s*=")


def recognise(root: Path) -> bool:
    """Whether one of the first files is of VIA."""
    return any(_is_via(path) for suffix in SUFFIXES for path in first_files(root, (suffix,)))


def _is_via(path: Path, attributes: bool = False) -> bool:
    """Whether a file is of VIA; a list of ``attributes`` alone only where that is asked for."""
    suffix = path.suffix.lower()
    if suffix == ".csv":
        head = text_head(path)
        return bool(_CSV_BEGIN.match(head) or _V3_CSV_BEGIN.match(head))
    if suffix == ".js":
        return _SCRIPT_BEGIN.match(text_head(path, 200)) is not None
    head = json_head(path)
    if head is None:  # damaged: whoever reads it as VIA can say how
        return _WORDS.search(text_head(path, 1 << 16)) is not None
    if kind := kind_of(head):
        return attributes or kind != "attributes"
    # Of a large file only the keys near its beginning are known, whatever they belong to.
    large = isinstance(head, dict) and bool(head) and not any(head.values())
    return large and any(keys <= head.keys() for keys in _KEYS)


def load(root: Path, *, label_key: str | None = None) -> Document:
    """Read a file of VIA, or all that a folder holds.

    Where a folder has the same images as JSON and as CSV, the JSON counts. VIA does not write down how large
    images are, so masks need the image files.

    Parameters
    ----------
    root
        A JSON, JS or CSV file, or a folder with some.
    label_key
        The attribute of regions that is their label.

    Raises
    ------
    DataError
        There is nothing of VIA in it, the only file cannot be read, or it is not clear which attribute is
        the label; then the message lists those there are.
    """
    files = [root]
    if root.is_dir():
        files = sorted((path for path in files_with(root, SUFFIXES) if _is_via(path, True)), key=_rank)
    if not files:
        raise DataError(f"{root}: holds no file of VIA; save the project, or export its annotations as JSON")
    folder = root if root.is_dir() else root.parent
    findings = Findings()
    contents = Contents(findings)
    images = _Images(folder, findings, alone=len(files) == 1)
    read: list[tuple[Entry, Path]] = []
    for path in files:
        name = str(path.relative_to(folder))
        begin = len(contents.entries)
        try:
            contents.read(path, name)
        except DataError as error:
            if len(files) == 1:
                raise
            del contents.entries[begin:]
            findings.add("unreadable_file", "annotation files that cannot be read", str(error), level="error")
            continue
        new = contents.entries[begin:]
        known = {(entry.name, source.parent) for entry, source in read}
        if new and all((entry.name, path.parent) in known for entry in new):
            message = "files with images that another file has as well, left out"
            findings.add("same_images", message, name, "give the file itself to read that one")
            del contents.entries[begin:]
            continue
        read += [(entry, path) for entry in new]
    key = _label_key(contents, label_key, root)
    made = [images.of(entry, path, key) for entry, path in read]
    names = _class_names(contents.regions.get(key or ""), made)
    return Document([image for image in made if image is not None], names, problems=findings.problems())


def _rank(path: Path) -> tuple[int, Path]:
    """Attributes, then projects, then plain annotations, then tables: the first says most."""
    if path.suffix.lower() == ".csv":
        return 3, path
    if kind_of(json_head(path)) == "attributes":
        return 0, path
    return (1 if '"_via_img_metadata"' in text_head(path, 1 << 16) else 2), path


def _label_key(contents: Contents, asked: str | None, root: Path) -> str | None:
    """The attribute that is the label; None when regions have none at all."""
    used = Counter(key for entry in contents.entries for region in entry.regions for key in region.attributes)
    keys = [*used] or [*contents.regions]
    if asked is not None:
        if asked not in keys and asked not in contents.regions:
            raise DataError(
                f"{root}: no region has the attribute '{asked}'; attributes found: "
                f"{', '.join(keys) or 'none'} (choose one with --label-key)"
            )
        return asked
    if len(keys) < 2:
        return keys[0] if keys else None
    if contents.shown in keys:
        return contents.shown
    for wanted in _LABEL_KEYS:
        found = [key for key in keys if key.lower() == wanted]
        if found:
            return found[0]
    raise DataError(
        f"{root}: it is not clear which attribute of the regions is the label; attributes found: "
        f"{', '.join(keys)} (choose one with --label-key)"
    )


def _class_names(attribute: Attribute | None, images: Sequence[AnnotatedImage | None]) -> list[str]:
    """The options of the label in their order, then what is used besides; empty for free text."""
    if attribute is None or not attribute.options:
        return []
    used = {shape.label for image in images if image for shape in image.shapes} - {IGNORED}
    return [*dict.fromkeys([*attribute.options.values(), *sorted(used)])]


class _Images:
    """Makes images of entries, with their files."""

    def __init__(self, folder: Path, findings: Findings, alone: bool) -> None:
        self.folder, self.alone = folder, alone
        self.finder = ImageFinder(folder)
        self.findings = findings
        self.rates: dict[Path, float] = {}
        self.seen: set[tuple[Any, ...]] = set()

    def of(self, entry: Entry, source: Path, key: str | None) -> AnnotatedImage | None:
        """The image of an entry; None for a frame of a video that is not there."""
        path = self._find(entry, source.parent)
        image = AnnotatedImage(as_posix(entry.name) or entry.name, source, path=path, tags=entry.tags)
        image.split = split_of_export(source, self.folder, self.alone)
        if path is None:
            image.embedded = entry.embedded
        if entry.seconds is not None:
            if path is None:
                message = "regions on frames of videos that are not in the folder, left out"
                fix = "put the video beside the annotations: its frame rate is needed"
                self.findings.add("missing_video", message, entry.where, fix, count=len(entry.regions))
                return None
            self.rates.setdefault(path, frame_rate(path))
            image.frame = round(entry.seconds * self.rates[path])
            image.name = f"{Path(image.name).stem}/frame_{image.frame:06}.png"
        place = (path or source, image.name, image.frame)
        if place in self.seen:
            message = "images that are annotated more than once, each kept as a sample of its own"
            self.findings.add("repeated_image", message, entry.where, "merge them in VIA")
        self.seen.add(place)
        for region in entry.regions:
            label = _ONLY_CLASS if key is None else _label(region.attributes.pop(key, ""))
            if key is None:
                message = f"regions without any attribute, all read as the class '{_ONLY_CLASS}'"
                fix = f"name the class with --map {_ONLY_CLASS}=NAME"
                self.findings.add("no_attributes", message, region.where, fix)
            elif not label:
                message = f"regions without the attribute '{key}', whose pixels are ignored"
                self.findings.add(
                    "no_label", message, region.where, "fill it in, or choose another --label-key"
                )
            image.shapes.append(Shape(label or IGNORED, region.geometry, attributes=region.attributes))
        return image

    def _find(self, entry: Entry, base: Path) -> Path | None:
        names = (entry.prefix + entry.name, entry.name)
        return next((path for name in names if name and (path := self.finder.find(name, base))), None)


def _label(value: Any) -> str:
    """A label in words; several options of a checkbox are joined.

    >>> _label(["car", "wet"]), _label(320), _label(" dog ")
    ('car+wet', '320', 'dog')
    """
    if isinstance(value, list):
        return "+".join(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()
