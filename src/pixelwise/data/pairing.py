"""Which mask belongs to which image, in any of the usual folder layouts.

Understood are ``images/`` beside ``masks/`` (or annotations, labels, gt, SegmentationClass, ...), with
the split above or below them; ``train/`` beside ``trainannot/`` or ``train_labels/``; images and masks in
one folder, told apart by a suffix or by JPEG against PNG. Splits come from folder names, else from list
files (``train.txt``: stems, paths, or an image and a mask per line). An image belongs to the mask with its
stem, after suffixes such as ``_mask`` or ``_gt`` are taken off; sub-folders tell equal stems apart.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, TypeVar

from pixelwise.errors import DataError, Problem
from pixelwise.io import IMAGE_SUFFIXES, walk_files

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Folder and list-file names of splits, and what each is called here."""

_ROLES = {
    "image": re.compile(
        r"images?|imgs?|img_dir|image_2|jpegimages|leftimg8bit|photos?|pictures?|rgb|inputs?|input_images|"
        r"originals?"
    ),
    "mask": re.compile(
        r"masks?|annots?|annotations?|ann|ann_dir|labels?|gts?|gtfine|gt_image|gt_binary_image|ground_?truth|"
        r"segs?|segmentations?|segmentationclass(npy)?|semantics?|targets?|mattes?|pixel-level"
    ),
    # Folders that accompany masks and hold something else.
    "companion": re.compile(
        r"segmentationobject(npy)?|segmentation(class|object)visuali[sz]ation|visuali[sz]ations?|vis|"
        r"overlays?|instances?|gt_instance_image|panoptic|polygons|semantic_rgb|gt_colou?r"
    ),
}
_MASK_SUFFIX = re.compile(
    r"(_gtfine)?[_.-](labeltrainids|labelids|labels?|l|masks?|gt|ground_?truth|segmentation|segm?|annotation|"
    r"annot|target|matte|p|pixels0)$",
    re.IGNORECASE,
)
_IMAGE_SUFFIX = re.compile(r"[_.-](leftimg8bit|image|img|im|rgb|sat|photo)$", re.IGNORECASE)
# Files that accompany masks in their folder and hold something else.
_COMPANION_SUFFIX = re.compile(
    r"[_-](instance_?ids?|instances?|colou?r|polygons|overlay|vis)$", re.IGNORECASE
)
_SPLITS = "|".join(sorted(SPLIT_NAMES, key=len, reverse=True))
_SPLIT_FIRST = re.compile(rf"({_SPLITS})(?:\d{{4}})?[_-]?(.*)")
_SPLIT_LAST = re.compile(rf"(.+?)[_-]({_SPLITS})(?:\d{{4}})?")
_LIST_FOLDERS = ("", "splits", "lists", "ImageSets/Segmentation", "ImageSets", "Segmentation")


class Pair(NamedTuple):
    """One image with its mask, relative to the data folder."""

    image: str
    mask: str
    split: str | None


class _Place(NamedTuple):
    """What the folders above a file say about it."""

    role: str  # "image", "mask", "companion" or "" when no folder tells
    split: str | None
    rest: str  # the folders that say nothing, which keep equal stems apart


class _File(NamedTuple):
    path: str
    place: _Place
    stem: str
    suffix: str

    @property
    def image_stem(self) -> str:
        return _IMAGE_SUFFIX.sub("", self.stem)

    @property
    def mask_stem(self) -> str:
        return _MASK_SUFFIX.sub("", self.stem)


def find_pairs(root: Path) -> tuple[list[Pair], list[Problem]]:
    """All images below a folder with their masks, in the order train, val, test and by path.

    Returns
    -------
    pairs
        One entry per image that has a mask.
    problems
        Warnings about files that are left out, each with the files.

    Raises
    ------
    DataError
        There is no image, or none has a mask.
    """
    files = _scan(root)
    if not files:
        raise DataError(
            f"{root}: no image in this folder; expected images/ and masks/ (or another known layout)"
        )
    images, masks, unused = _tell_apart(files)
    joined, extra = _join(images, masks)
    pairs, listed = _apply_lists(root, files, joined)
    if not pairs:
        raise _nothing_pairs(root, images, masks)
    used = {name for pair in (*joined, *pairs) for name in (pair.image, pair.mask)}.union(extra)

    def left_out(code: str, what: str, fix: str, left: Sequence[_File]) -> list[Problem]:
        return _warning(code, what, fix, [file.path for file in left if file.path not in used])

    problems = [
        *left_out("unpaired_image", "images without a mask", "add the masks, or remove the images", images),
        *left_out("unpaired_mask", "masks without an image", "add the images, or remove the masks", masks),
        *_warning("extra_mask", "masks beyond the first of an image", "keep one mask for each image", extra),
        *left_out(
            "unused_image", "images outside the image folders", "move them there, or remove them", unused
        ),
        *listed,
    ]
    order = {"train": 0, "val": 1, "test": 2}
    return sorted(pairs, key=lambda pair: (order.get(pair.split or "", 3), pair.image)), problems


def has_pairs(root: Path) -> bool:
    """Whether a folder holds images, and masks that folders, suffixes or list files tell from them."""
    images, masks, _ = _tell_apart(_scan(root))
    return bool(images and (masks or _list_files(root)))


def _scan(root: Path) -> list[_File]:
    files = []
    for folder, names in walk_files(root):
        place = _place(folder)
        if place.role == "companion":
            continue
        for name in names:
            stem, suffix = os.path.splitext(name)
            if place.role == "mask" and _COMPANION_SUFFIX.search(stem):
                continue
            if suffix.lower() in IMAGE_SUFFIXES or (suffix == ".npy" and place.role == "mask"):
                files.append(_File(f"{folder}/{name}" if folder else name, place, stem, suffix.lower()))
    return files


@lru_cache(maxsize=4096)
def _place(folder: str) -> _Place:
    role, split, rest = "", None, []
    for part in folder.split("/"):
        part_role, part_split = _meaning(part.lower())
        if role == "companion" or part_role == "companion":
            role = "companion"
        else:
            role = part_role or role
        if part_split and not split:
            split = part_split
        elif not part_role:
            rest.append(part)
    return _Place(role, split, "/".join(rest))


def _meaning(word: str) -> tuple[str, str | None]:
    """The role and the split that a folder's name stands for.

    >>> _meaning("trainannot"), _meaning("images_val"), _meaning("val2017"), _meaning("frankfurt")
    (('mask', 'train'), ('image', 'val'), ('', 'val'), ('', None))
    """
    if role := _role(word):
        return role, None
    if (match := _SPLIT_FIRST.fullmatch(word)) and (not match[2] or _role(match[2])):
        return _role(match[2]), SPLIT_NAMES[match[1]]
    if (match := _SPLIT_LAST.fullmatch(word)) and _role(match[1]):
        return _role(match[1]), SPLIT_NAMES[match[2]]
    return "", None


def _role(word: str) -> str:
    return next((role for role, words in _ROLES.items() if words.fullmatch(word)), "")


def _tell_apart(files: Sequence[_File]) -> tuple[list[_File], list[_File], list[_File]]:
    """(images, masks, images outside the layout)."""
    masks = [file for file in files if file.place.role == "mask"]
    if not masks:
        masks = _masks_among(files)
        chosen = {file.path for file in masks}
        return [file for file in files if file.path not in chosen], masks, []
    others = [file for file in files if file.place.role != "mask"]
    images = (
        [file for file in others if file.place.role == "image"]
        or [file for file in others if file.place.split]
        or others
    )
    chosen = {file.path for file in images}
    return images, masks, [file for file in others if file.path not in chosen]


def _masks_among(files: Sequence[_File]) -> list[_File]:
    """The masks of a folder that holds both: by suffix, or the PNG beside a JPEG of the same stem."""
    stems: dict[tuple[_Place, str], set[str]] = defaultdict(set)
    for file in files:
        stems[file.place, file.stem].add(file.suffix)
        stems[file.place, file.image_stem].add(file.suffix)

    def is_mask(file: _File) -> bool:
        if file.mask_stem != file.stem and (file.place, file.mask_stem) in stems:
            return True
        return file.suffix == ".png" and bool(stems[file.place, file.stem] & {".jpg", ".jpeg"})

    return [file for file in files if is_mask(file)]


def _join(images: Sequence[_File], masks: Sequence[_File]) -> tuple[list[Pair], list[str]]:
    """Pairs, from the strictest rule to the loosest, and the masks that lost against another one."""
    pairs: list[Pair] = []
    extra: list[str] = []
    for place in (_same_folders, _same_split, _anywhere):
        for image_stem, mask_stem in (("stem", "stem"), ("stem", "mask_stem"), ("image_stem", "mask_stem")):
            free_images = _group(images, place, image_stem)
            free_masks = _group(masks, place, mask_stem)
            taken: set[str] = set()
            for key in (key for key in free_images if key in free_masks):
                candidates = sorted(free_masks[key], key=_preference)
                if place is not _same_folders and len(free_images[key]) + len(candidates) > 2:
                    continue  # equal stems in several folders: guessing would pair the wrong ones
                image, mask = free_images[key][0], candidates[0]
                splits = {image.place.split, mask.place.split} - {None}
                if len(splits) > 1:
                    continue
                pairs.append(Pair(image.path, mask.path, next(iter(splits), None)))
                extra += [file.path for file in candidates[1:]]
                taken.update((image.path, *(file.path for file in candidates)))
            images = [file for file in images if file.path not in taken]
            masks = [file for file in masks if file.path not in taken]
    return pairs, extra


def _group(
    files: Iterable[_File], place: Callable[[_Place], tuple[str | None, ...]], stem: str
) -> dict[tuple[str | None, ...], list[_File]]:
    groups: dict[tuple[str | None, ...], list[_File]] = defaultdict(list)
    for file in files:
        groups[*place(file.place), getattr(file, stem)].append(file)
    return groups


def _same_folders(place: _Place) -> tuple[str | None, ...]:
    return place.split, place.rest


def _same_split(place: _Place) -> tuple[str | None, ...]:
    return (place.split,)


def _anywhere(place: _Place) -> tuple[str | None, ...]:
    return ()


def _preference(mask: _File) -> tuple[bool, bool, str]:
    """Training ids before raw ids (Cityscapes has both), lossless pictures before other files."""
    return "trainids" not in mask.stem.lower(), mask.suffix not in (".png", ".tif", ".tiff"), mask.path


def _list_files(root: Path) -> dict[str, Path]:
    """List files by split, the first of each."""
    found: dict[str, Path] = {}
    for folder in _LIST_FOLDERS:
        for alias, split in SPLIT_NAMES.items():
            path = root / folder / f"{alias}.txt"
            if split not in found and path.is_file():
                found[split] = path
    return found


def _apply_lists(
    root: Path, files: Sequence[_File], pairs: Sequence[Pair]
) -> tuple[list[Pair], list[Problem]]:
    """Give pairs the splits that list files name; folders that name splits come first."""
    lists = {} if any(pair.split for pair in pairs) else _list_files(root)
    if not lists:
        return list(pairs), []
    by_name = _index(pairs)
    by_path = {name: file.path for file in files for name in (os.path.splitext(file.path)[0], file.path)}
    chosen: list[Pair] = []
    missing: dict[str, list[str]] = {}
    for split, path in lists.items():
        for line in _lines(path):
            pair = _find_line(line, by_name, by_path)
            if pair is None:
                missing.setdefault(str(path.relative_to(root)), []).append(line)
            else:
                chosen.append(pair._replace(split=split))
    listed = {pair.image for pair in chosen}
    others = [pair for pair in pairs if pair.image not in listed]
    problems = [
        problem
        for file, lines in missing.items()
        for problem in _warning(
            "missing_listed",
            f"lines of {file} without an image and mask",
            "add the files, or cut the lines",
            lines,
        )
    ]
    if missing and pairs and not chosen:
        file, lines = next(iter(missing.items()))
        raise DataError(
            f"{root}: the list files name none of the {len(pairs)} images that have masks ({file} begins "
            f"with '{lines[0]}', the first image is {pairs[0].image}); list stems, or paths in the folder"
        )
    if "train" not in lists:  # only what is held out is listed, so the rest is there to learn from
        return chosen + [pair._replace(split="train") for pair in others], problems
    unlisted = [pair.image for pair in others]
    fix = "add them to a list file, or remove them"
    return chosen, problems + _warning("unlisted_image", "images in none of the list files", fix, unlisted)


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{path}: a list of images must be UTF-8 text") from None
    return [line.strip() for line in text.splitlines() if line.strip()]


def _index(pairs: Sequence[Pair]) -> dict[str, Pair]:
    """Pairs by whatever a list may call them; a name that several share stands for none."""
    exact: dict[str, Pair] = {}
    short: dict[str, set[Pair]] = defaultdict(set)
    for pair in pairs:
        for path in (pair.image, pair.mask):
            bare = os.path.splitext(path)[0]
            exact |= {path: pair, bare: pair}
            for spelling in (path, bare, _IMAGE_SUFFIX.sub("", bare), _MASK_SUFFIX.sub("", bare)):
                for tail in _tails(spelling):
                    short[tail].add(pair)
    return {name: next(iter(found)) for name, found in short.items() if len(found) == 1} | exact


def _find_line(line: str, by_name: Mapping[str, Pair], by_path: Mapping[str, str]) -> Pair | None:
    if whole := _find(line, by_name):
        return whole
    words = re.split(r"[\s,;]+", line)
    image, mask = (_find(word, by_path) for word in (words * 2)[:2])
    if image and mask and image != mask:
        return Pair(image, mask, None)
    return _find(words[0], by_name)


T = TypeVar("T")


def _find(name: str, known: Mapping[str, T]) -> T | None:
    """Look a path up by ever shorter tails: lists carry the folders of the computer they are from."""
    tails = _tails(name.replace("\\", "/").removeprefix("./"))
    return next((known[tail] for tail in tails if tail in known), None)


def _tails(path: str) -> Iterator[str]:
    """A path, then the same with ever fewer of its outer folders."""
    parts = path.split("/")
    return ("/".join(parts[start:]) for start in range(len(parts)))


def _warning(code: str, what: str, fix: str, files: Sequence[str]) -> list[Problem]:
    message = f"{what}, left out: {len(files)}"
    return [Problem("warning", code, message, fix, tuple(files))] if files else []


def _nothing_pairs(root: Path, images: Sequence[_File], masks: Sequence[_File]) -> DataError:
    if not masks:
        return DataError(
            f"{root}: {len(images)} images (such as {images[0].path}) but no mask; put masks of the same "
            "file stem into a folder 'masks' beside 'images'"
        )
    if not images:
        return DataError(
            f"{root}: {len(masks)} masks (such as {masks[0].path}) but no image; put the images into a "
            "folder 'images' beside them"
        )
    return DataError(
        f"{root}: none of {len(images)} images has a mask of its name (image {images[0].path}, "
        f"mask {masks[0].path}); give both the same file stem, or a suffix such as _mask"
    )
