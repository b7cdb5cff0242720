r"""S3DIS: indoor point clouds of 272 rooms in 6 areas, 13 classes, about 273 million coloured points.

Source: Armeni and others, "3D Semantic Parsing of Large-Scale Indoor Spaces", CVPR 2016; release 1.2, aligned
or not. ``Area_{1..6}/{room}/Annotations/{class}_{n}.txt`` hold one object each, rows of ``x y z r g b``; a
room is all of its objects. Also read are single rooms as mmdetection3d converts them: ``points/``,
``semantic_mask/`` and ``instance_mask/`` with ``Area_1_office_2.bin``.

**Two orders of the classes are in use**, and a model trained with one gives nonsense with the other:
PointNet's (table, chair, sofa, bookcase) and KPConv's (chair, table, bookcase, sofa). Here both are label
maps whose names tell, and classes are joined by name.

**Some rows are damaged** in the original files. As they are quoted, each lost one bit of one character: a
space (0x20) became ``\0``, a digit such as 0 (0x30) became ``\x10``; tools that drop control characters
leave five columns behind. Such a row is repaired where only one reading is possible, and left out otherwise;
either way it is reported with file and line. They were reported in RSNet#7, KPConv#82, Mask3D#87,
CloserLook3D#15, superpoint_graph#230, SoftGroup#51 and ISBNet#60 on GitHub. No original file was at hand: the
repairs are tested on rows as they are quoted there.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from pixelwise.data.classes import Classes
from pixelwise.data.datasets.catalogue import PublicDataset
from pixelwise.data.datasets.listing import inside, join_classes
from pixelwise.data.datasets.s3dis_rows import mend_row
from pixelwise.data.inspection import cache_folder
from pixelwise.errors import DataError, PixelwiseError, Problem, UsageError, unknown_name
from pixelwise.io import atomic_write
from pixelwise.kernels.pointrows import DECIMAL_COLOURS, FINE, ODD, parse_rows
from pixelwise.labels import Colour, LabelMap
from pixelwise.sample import Cloud, Dataset

_COLOURS: dict[str, Colour] = {
    "ceiling": (0, 255, 0),
    "floor": (0, 0, 255),
    "wall": (0, 255, 255),
    "beam": (255, 255, 0),
    "column": (255, 0, 255),
    "window": (100, 100, 255),
    "door": (200, 200, 100),
    "table": (170, 120, 200),
    "chair": (255, 0, 0),
    "sofa": (200, 100, 100),
    "bookcase": (10, 200, 100),
    "board": (200, 200, 200),
    "clutter": (50, 50, 50),
}
_KPCONV = (*tuple(_COLOURS)[:7], "chair", "table", "bookcase", "sofa", "board", "clutter")

CLASSES: dict[str, LabelMap] = {
    "pointnet": LabelMap(tuple(_COLOURS), tuple(_COLOURS.values())),
    "kpconv": LabelMap(_KPCONV, tuple(_COLOURS[name] for name in _KPCONV)),
}
"""The two orders of the 13 classes, by the value of ``classes``; colours go with the names."""

INFO = PublicDataset(
    name="s3dis",
    title="S3DIS",
    source="Armeni et al., 3D Semantic Parsing of Large-Scale Indoor Spaces, CVPR 2016",
    task="cloud",
    classes=CLASSES,
    splits={"train": 204, "test": 68},
    size="272 rooms of 0.1 to 8 million points",
    licence="research only, by the agreement that comes with the request form; not to be passed on",
    obtain=(
        "fill in the form at http://buildingparser.stanford.edu/dataset.html and unpack "
        "Stanford3dDataset_v1.2_Aligned_Version.zip"
    ),
    layout=(
        "Area_{1..6}/{room}/Annotations/{class}_{n}.txt",
        "points/Area_{1..6}_{room}.bin",
        "semantic_mask/Area_{1..6}_{room}.bin",
        "instance_mask/Area_{1..6}_{room}.bin",
    ),
    folders=tuple((f"Area_{area}", "points") for area in range(1, 7)),
    notes=(
        "Two orders of the classes are in use; compare models by class names.",
        "Area 5 is the usual test set (68 rooms); 6-fold results pool the counts of six models.",
        "Areas 1 to 6 have 44, 40, 23, 49, 68 and 48 rooms.",
        "A few rows of the original files are damaged; they are repaired and reported.",
        "In the aligned release every room has its own turn and place: do not put an area together from it.",
        "Results of blocks of 4,096 sampled points do not compare with results on all points.",
    ),
)

BadRows = Literal["repair", "refuse"]

_ALIGNED, _PLAIN = "Stanford3dDataset_v1.2_Aligned_Version", "Stanford3dDataset_v1.2"
_AREA = re.compile(r"Area_([1-6])", re.IGNORECASE)
_BINARY = re.compile(r"Area_([1-6])_(.+)\.bin", re.IGNORECASE)
_OBJECT = re.compile(r"([A-Za-z]+)(?:_\d+)?")
_DESKTOP = re.compile(r"\..*|Icon\s*|Thumbs\.db|desktop\.ini", re.IGNORECASE)  # what file managers leave
_FALLBACK = "clutter"

_CACHE_VERSION = 1
_MANY = 100  # from so many rows that cannot be read, and one in a hundred, a file is something else


@dataclass(frozen=True)
class BadRow:
    """A row that is not six plain numbers, or the first of many whose colours are decimals.

    Attributes
    ----------
    file
        Relative to the data folder.
    line
        Its number, from 1 on.
    found, became
        The text, and what it was read as; empty when the row was left out.
    kind
        ``"repaired"``, ``"left_out"`` or ``"decimal_colours"``.
    count
        How many rows of the file it stands for.
    """

    file: str
    line: int
    found: str
    became: str
    kind: Literal["repaired", "left_out", "decimal_colours"]
    count: int = 1

    def __str__(self) -> str:
        if self.kind == "decimal_colours":
            return f"{self.file}:{self.line}: '{self.found}' and so on, {self.count} rows of the file"
        read_as = f"became '{self.became}'" if self.became else "left out"
        return f"{self.file}:{self.line}: found '{self.found}', {read_as}"


@dataclass(frozen=True)
class _Points:
    """A room as its files have it: the objects' points one after the other."""

    xyz: np.ndarray
    rgb: np.ndarray
    objects: tuple[str, ...]  # file stems
    counts: np.ndarray
    bad_rows: tuple[BadRow, ...]


class _Room(NamedTuple):
    path: str  # relative to the data folder
    area: int
    name: str


class _Opening(NamedTuple):
    root: Path
    ids: Mapping[str, int]  # class id by the class name in a file's name
    labels: LabelMap
    test_area: int
    refuse: bool
    cache: bool
    aligned: bool | None


def recognise(root: Path) -> bool:
    """Whether there are areas with rooms with annotations, or areas' rooms as mmdetection3d writes them."""
    return root.is_dir() and any(_rooms(place) or _binaries(place) for place in _places(root))


def read(
    root: Path,
    labels: Classes | None = None,
    mapping: Mapping[int, int] | None = None,
    *,
    classes: str = "pointnet",
    bad_rows: BadRows = "repair",
    test_area: int = 5,
    cache: bool = True,
) -> Dataset[Cloud]:
    """Read S3DIS; lists the rooms, and reads one when it is indexed.

    Parameters
    ----------
    root
        The folder with the areas.
    labels
        Other classes, joined by name; what they do not name is ignored.
    mapping
        ``{position in the order of classes: class id}``, on top of that.
    classes
        The order of the classes, one of :data:`CLASSES`.
    bad_rows
        ``"repair"`` mends damaged rows where only one reading is possible, leaves the others out and reports
        both; ``"refuse"`` raises DataError when a room that has one is read.
    test_area
        The area whose rooms are for testing; the others are for training.
    cache
        Keep parsed rooms under ``$XDG_CACHE_HOME/pixelwise`` (``~/.cache/pixelwise``): 15 bytes a point,
        some 4 GB for all rooms, valid as long as the files keep their sizes and times.

    Returns
    -------
    Dataset
        Clouds with ``xyz`` N×3 float64 in metres, ``features["rgb"]`` N×3 uint8, ``features["instances"]`` N
        int32 (from 1 on) and ``labels``. ``meta`` has ``area``, ``room``, ``split``, ``objects`` (the name
        of each instance), ``aligned`` (None where the folder's name does not tell) and ``problems``, which
        are only known once a room is read; :func:`find_bad_rows` looks at all rooms.

    Raises
    ------
    UsageError
        Unknown classes or area, or another word for ``bad_rows``.
    DataError
        There is no room.
    """
    own = INFO.choose(classes)
    if bad_rows not in ("repair", "refuse"):
        raise unknown_name("way with bad_rows", bad_rows, ("repair", "refuse"))
    if test_area not in range(1, 7):
        raise UsageError(f"S3DIS has the areas 1 to 6, found test_area={test_area}")
    chosen, table = join_classes(own, {i: i for i in range(len(own))}, labels, mapping)
    ids = {name: table[position] for position, name in enumerate(own.names)}
    place = _place(root)
    rooms = _rooms(place)
    opening = _Opening(place, ids, chosen, test_area, bad_rows == "refuse", cache, _aligned(place))
    opener = partial(_open_room, opening=opening) if rooms else partial(_open_binary, opening=opening)
    rooms = rooms or _binaries(place)
    rooms.sort(key=lambda room: room.area == test_area)  # sorted by area and name otherwise
    return Dataset(
        rooms,
        opener,
        chosen,
        name=INFO.title,
        splits=[_split(room, test_area) for room in rooms],
        root=place,
        problems=_layout_problems(place, opening.aligned),
    )


def find_bad_rows(root: Path, *, cache: bool = True) -> tuple[Problem, ...]:
    """Parse every room and report the rows that are damaged, with file, line, and what they became.

    Raises
    ------
    DataError
        There is no room, or a file is no text of points.
    """
    place = _place(root)
    return tuple(problem for room in _rooms(place) for problem in _problems(_load(place, room, cache)))


def _places(root: Path) -> Iterator[Path]:
    return inside(root, _ALIGNED, _PLAIN)


def _place(root: Path) -> Path:
    """The folder that holds the areas."""
    found = next((place for place in _places(root) if _rooms(place) or _binaries(place)), None)
    if found is None:
        raise DataError(
            f"{root}: no room of S3DIS; expected '{INFO.layout[0]}' (or '{INFO.layout[1]}'), unpack "
            f"{_ALIGNED}.zip there"
        )
    return found


def _rooms(place: Path) -> list[_Room]:
    """Rooms with annotations, by area and name."""
    areas = [(int(match[1]), path) for path in _folders(place) if (match := _AREA.fullmatch(path.name))]
    return [
        _Room(f"{path.name}/{room.name}", area, room.name)
        for area, path in sorted(areas)
        for room in sorted(_folders(path), key=lambda room: _natural(room.name))
        if (room / "Annotations").is_dir()
    ]


def _binaries(place: Path) -> list[_Room]:
    """Rooms as mmdetection3d writes them, by area and name."""
    if not (place / "points").is_dir() or not (place / "semantic_mask").is_dir():
        return []
    matches = [match for path in (place / "points").iterdir() if (match := _BINARY.fullmatch(path.name))]
    rooms = [_Room(f"points/{match[0]}", int(match[1]), match[2]) for match in matches]
    return sorted(rooms, key=lambda room: (room.area, _natural(room.name)))


def _folders(parent: Path) -> list[Path]:
    return [path for path in parent.iterdir() if path.is_dir() and not path.name.startswith(".")]


def _natural(name: str) -> list[Any]:
    """A key that sorts ``office_2`` before ``office_10``."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _split(room: _Room, test_area: int) -> str:
    return "test" if room.area == test_area else "train"


def _aligned(place: Path) -> bool | None:
    """Whether rooms are turned to the axes, as far as the name of the folder tells."""
    names = [place.resolve().name, *(parent.name for parent in place.resolve().parents[:2])]
    if any("aligned" in name.lower() for name in names):
        return True
    return False if any(_PLAIN.lower() in name.lower() for name in names) else None


def _layout_problems(place: Path, aligned: bool | None) -> list[Problem]:
    problems = []
    if aligned is False:
        problems.append(
            Problem(
                "warning",
                "not_aligned",
                "this is the release whose rooms are not turned to the axes; most published results are on "
                "the aligned one",
                f"compare with results on this release, or read {_ALIGNED}",
            )
        )
    bare = tuple(
        f"{area.name}/{room.name}"
        for area in sorted(_folders(place))
        if _AREA.fullmatch(area.name)
        for room in sorted(_folders(area))
        if not (room / "Annotations").is_dir()
    )
    if bare:
        what = f"{len(bare)} rooms have no folder 'Annotations', left out"
        problems.append(Problem("warning", "missing_annotations", what, "unpack them again", bare))
    return problems


def _open_room(room: _Room, opening: _Opening) -> Cloud:
    points = _load(opening.root, room, opening.cache)
    if opening.refuse and points.bad_rows:
        first, more = points.bad_rows[0], len(points.bad_rows) - 1
        raise DataError(
            f"{opening.root / first.file}:{first.line}: the row '{first.found}' is no plain 'x y z r g b'"
            f"{f' (and {more} more in this room)' if more else ''}; mend the file, or read it with "
            "bad_rows='repair'"
        )
    ids = np.array([opening.ids[_class_of(name)] for name in points.objects], opening.labels.dtype)
    return Cloud(
        points.xyz,
        {
            "rgb": points.rgb,
            "instances": np.repeat(np.arange(1, len(ids) + 1, dtype=np.int32), points.counts),
        },
        np.repeat(ids, points.counts),
        opening.root / room.path,
        _meta(room, opening)
        | {
            "objects": dict(enumerate(points.objects, 1)),
            "problems": _problems(points, _strange_files(opening.root, room, points)),
        },
    )


def _open_binary(room: _Room, opening: _Opening) -> Cloud:
    """A room as mmdetection3d writes it: float32 rows of six, int64 ids in PointNet's order."""
    path = opening.root / room.path
    rows = _numbers(path, np.dtype("<f4"))
    if rows.size % 6:
        raise DataError(f"{path}: {rows.size} numbers, expected rows of six (x y z r g b); convert it again")
    rows = rows.reshape(-1, 6)
    masks = {}
    for kind in ("semantic_mask", "instance_mask"):
        file = opening.root / kind / path.name
        masks[kind] = _numbers(file, np.dtype("<i8"))
        if len(masks[kind]) != len(rows):
            raise DataError(
                f"{file}: {len(masks[kind])} ids for {len(rows)} points; convert the room again, both at once"
            )
    names = CLASSES["pointnet"].names
    table = np.array([*(opening.ids[name] for name in names), opening.labels.ignore], opening.labels.dtype)
    semantic = masks["semantic_mask"]
    known = (semantic >= 0) & (semantic < len(names))
    return Cloud(
        rows[:, :3].astype(np.float64),
        {
            "rgb": np.rint(rows[:, 3:]).clip(0, 255).astype(np.uint8),
            "instances": masks["instance_mask"].astype(np.int32),
        },
        table[np.where(known, semantic, len(names))],
        path,
        _meta(room, opening) | {"problems": ()},
    )


def _numbers(path: Path, dtype: np.dtype) -> np.ndarray:
    try:
        size = path.stat().st_size
        if size % dtype.itemsize:
            raise DataError(f"{path}: {size} bytes are no whole number of {dtype.name}; convert it again")
        return np.fromfile(path, dtype)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); convert the room again") from None


def _meta(room: _Room, opening: _Opening) -> dict[str, Any]:
    return {
        "name": f"Area_{room.area}_{room.name}",
        "area": room.area,
        "room": room.name,
        "split": _split(room, opening.test_area),
        "aligned": opening.aligned,
    }


def _class_of(name: str) -> str:
    """The class that an object's file name tells, clutter for those that S3DIS does not have."""
    match = _OBJECT.fullmatch(name)
    word = match[1].lower() if match else ""
    return word if word in _COLOURS else _FALLBACK


def _strange_files(place: Path, room: _Room, points: _Points) -> list[Problem]:
    """Objects of no class, and files that are no objects."""
    folder = f"{room.path}/Annotations"
    strange = [name for name in points.objects if _class_of(name) == _FALLBACK and not _is_clutter(name)]
    others = sorted(
        path.name
        for path in (place / folder).iterdir()
        if path.suffix != ".txt" and not _DESKTOP.fullmatch(path.name)
    )
    found = (
        ("unknown_class", f"objects are of no class of S3DIS, read as {_FALLBACK}", strange, ".txt"),
        ("other_file", "files are no objects (.txt), left out", others, ""),
    )
    fix = "rename the files if they are something else"
    return [
        Problem(
            "warning", code, f"{len(names)} {what}", fix, tuple(f"{folder}/{name}{suffix}" for name in names)
        )
        for code, what, names, suffix in found
        if names
    ]


def _is_clutter(name: str) -> bool:
    match = _OBJECT.fullmatch(name)
    return match is not None and match[1].lower() == _FALLBACK


def _problems(points: _Points, others: Sequence[Problem] = ()) -> tuple[Problem, ...]:
    """What is wrong with the rows of a room, one problem for each kind."""
    told = {
        "repaired": (
            "repaired_rows",
            "damaged rows could be repaired",
            "compare them, or pass bad_rows='refuse'",
        ),
        "left_out": (
            "left_out_rows",
            "damaged rows have no single reading and were left out",
            "mend them in the file",
        ),
        "decimal_colours": (
            "decimal_colours",
            "files have colours such as 106.000, read as integers",
            "nothing to do",
        ),
    }
    found = []
    for kind, (code, what, fix) in told.items():
        rows = [row for row in points.bad_rows if row.kind == kind]
        if rows:
            files = tuple(map(str, rows))
            found.append(Problem("warning", code, f"{len(rows)} {what}", fix, files))
    return (*found, *others)


def _load(place: Path, room: _Room, cache: bool) -> _Points:
    """The points of a room, from the cache when its files have not changed."""
    folder = place / room.path / "Annotations"
    files = sorted(
        (path for path in folder.iterdir() if path.suffix == ".txt" and not path.name.startswith(".")),
        key=lambda path: _natural(path.name),
    )
    if not files:
        raise DataError(f"{folder}: no object; expected files such as 'chair_1.txt', unpack the room again")
    if not cache:
        return _parse(place, files)
    stats = [path.stat() for path in files]
    seen = zip(files, stats, strict=True)
    stamp = json.dumps([[path.name, stat.st_size, stat.st_mtime_ns] for path, stat in seen])
    key = hashlib.blake2b(f"{_CACHE_VERSION} {folder.resolve()}".encode(), digest_size=12).hexdigest()
    kept = cache_folder() / "s3dis" / f"{key}.npz"
    points = _recall(kept, stamp)
    if points is None:
        points = _parse(place, files)
        with suppress(PixelwiseError):  # a cache that cannot be written costs time next time, nothing else
            _keep(kept, stamp, points)
    return points


def _parse(place: Path, files: Sequence[Path]) -> _Points:
    xyz, rgb, bad_rows = [], [], []
    for path in files:
        coordinates, colours, bad = _parse_object(path, path.relative_to(place).as_posix())
        xyz.append(coordinates)
        rgb.append(colours)
        bad_rows += bad
    return _Points(
        np.concatenate(xyz),
        np.concatenate(rgb),
        tuple(path.stem for path in files),
        np.array([len(part) for part in xyz]),
        tuple(bad_rows),
    )


def _parse_object(path: Path, name: str) -> tuple[np.ndarray, np.ndarray, list[BadRow]]:
    """N×3 float64, N×3 uint8, and the rows that are not plain."""
    try:
        text = np.fromfile(path, np.uint8)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); copy it again") from None
    xyz, rgb, kinds = parse_rows(text)
    odd = np.flatnonzero(kinds == ODD)
    decimal = np.flatnonzero(kinds == DECIMAL_COLOURS)
    if len(odd) == len(decimal) == 0:
        whole = kinds == FINE
        return (xyz, rgb, []) if whole.all() else (xyz[whole], rgb[whole], [])
    ends = np.append(np.flatnonzero(text == ord("\n")), len(text))

    def line(row: int) -> bytes:
        return text[ends[row - 1] + 1 if row else 0 : ends[row]].tobytes()

    bad, unreadable = [], 0
    for row in odd.tolist():
        mended = mend_row(line(row))
        if mended is None:
            bad.append(BadRow(name, row + 1, _shown(line(row)), "", "left_out"))
            unreadable += 1
            if unreadable > max(_MANY, len(kinds) // 100):
                raise DataError(
                    f"{path}: not a list of points, row {row + 1} is '{bad[-1].found}'; expected "
                    "'x y z r g b', unpack the room again"
                )
            continue
        numbers, became = mended
        xyz[row], rgb[row], kinds[row] = numbers[:3], numbers[3:], FINE
        if (
            became.split() != line(row).decode("latin-1").split()
        ):  # else it only has exponents, or many digits
            bad.append(BadRow(name, row + 1, _shown(line(row)), became, "repaired"))
    if len(decimal):
        first = int(decimal[0])
        bad.append(BadRow(name, first + 1, _shown(line(first)), "", "decimal_colours", len(decimal)))
    whole = (kinds == FINE) | (kinds == DECIMAL_COLOURS)
    return xyz[whole], rgb[whole], bad


def _shown(row: bytes) -> str:
    """A row's text with control characters spelt out, cut where it is long."""
    text = repr(row.strip(b"\r"))[2:-1]
    return text if len(text) <= 80 else f"{text[:77]}..."


def _keep(path: Path, stamp: str, points: _Points) -> None:
    """Write a room: coordinates as whole millimetres where that is exact, at half the size."""
    millimetres = np.rint(points.xyz * 1000)
    exact = np.abs(millimetres).max(initial=0) < 2**31 and np.array_equal(millimetres / 1000, points.xyz)
    notes = {
        "stamp": stamp,
        "objects": points.objects,
        "bad_rows": [asdict(row) for row in points.bad_rows],
    }
    with atomic_write(path) as temporary:
        np.savez(
            temporary,
            xyz=millimetres.astype(np.int32) if exact else points.xyz,
            rgb=points.rgb,
            counts=points.counts,
            notes=np.array(json.dumps(notes)),
        )


def _recall(path: Path, stamp: str) -> _Points | None:
    """What was kept of a room, unless it is another state of its files, or damaged."""
    damages = (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile)
    with suppress(*damages), np.load(path, allow_pickle=False) as kept:
        notes = json.loads(str(kept["notes"]))
        if notes["stamp"] != stamp:
            return None
        xyz = kept["xyz"]
        return _Points(
            xyz / 1000 if xyz.dtype == np.int32 else xyz,
            kept["rgb"],
            tuple(notes["objects"]),
            kept["counts"],
            tuple(BadRow(**row) for row in notes["bad_rows"]),
        )
    return None
