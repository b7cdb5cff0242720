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
from itertools import chain
from operator import attrgetter
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
_MASK_ENDING = re.compile(
    r"(_gtfine)?[_.-](labeltrainids|labelids|labels?|l|masks?|gt|ground_?truth|segmentation|segm?|annotation|"
    r"annot|target|matte|p|pixels0)$",
    re.IGNORECASE,
)
_IMAGE_ENDING = re.compile(r"[_.-](leftimg8bit|image|img|im|rgb|sat|photo)$", re.IGNORECASE)
# Files that accompany masks in their folder and hold something else.
_COMPANION_NAME = re.compile(
    r"[_-](instance_?ids?|instances?|colou?r|polygons|overlay|vis)\.[^.]+$", re.IGNORECASE
)
_IMAGE_SUFFIXES = tuple(IMAGE_SUFFIXES)
_MASK_SUFFIXES = (*_IMAGE_SUFFIXES, ".npy")
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


class _Joined(NamedTuple):
    """What belongs together, and what is left over."""

    pairs: list[Pair]
    extra: list[str]  # masks that lost against another one of their image
    images: Sequence[str]
    masks: Sequence[str]


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
    folders = _scan(root)
    if not folders:
        raise DataError(
            f"{root}: no image in this folder; expected images/ and masks/ (or another known layout)"
        )
    images, masks, unused = _tell_apart(folders)
    joined = _join(images, masks)
    pairs, listed = _apply_lists(root, chain.from_iterable(folders.values()), joined.pairs)
    if not pairs:
        raise _nothing_pairs(root, images, masks)
    used = {name for pair in pairs for name in (pair.image, pair.mask)}

    def left_out(code: str, what: str, fix: str, left: Sequence[str]) -> list[Problem]:
        return _warning(code, what, fix, [path for path in left if path not in used])

    problems = [
        *left_out(
            "unpaired_image", "images without a mask", "add the masks, or remove the images", joined.images
        ),
        *left_out(
            "unpaired_mask", "masks without an image", "add the images, or remove the masks", joined.masks
        ),
        *_warning(
            "extra_mask", "masks beyond the first of an image", "keep one mask for each image", joined.extra
        ),
        *left_out(
            "unused_image", "images outside the image folders", "move them there, or remove them", unused
        ),
        *listed,
    ]
    order = {"train": 0, "val": 1, "test": 2}
    pairs.sort(key=attrgetter("image"))
    return sorted(pairs, key=lambda pair: order.get(pair.split or "", 3)), problems


def has_pairs(root: Path) -> bool:
    """Whether a folder holds images, and masks that folders, suffixes or list files tell from them."""
    images, masks, _ = _tell_apart(_scan(root))
    return bool(images and (masks or _list_files(root)))


def _scan(root: Path) -> dict[str, list[str]]:
    """The paths of images and masks by folder; a folder without any is left out."""
    found = {}
    for folder, names in walk_files(root):
        role = _place(folder).role
        if role == "mask":
            names = [name for name in names if not _COMPANION_NAME.search(name)]
        suffixes = _MASK_SUFFIXES if role == "mask" else _IMAGE_SUFFIXES
        above = f"{folder}/" if folder else ""
        paths = [above + name for name in names if name.lower().endswith(suffixes)]
        if paths and role != "companion":
            found[folder] = paths
    return found


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


def _tell_apart(folders: Mapping[str, list[str]]) -> tuple[list[str], list[str], list[str]]:
    """(images, masks, images outside the layout)."""
    masks = [path for folder in folders if _place(folder).role == "mask" for path in folders[folder]]
    if not masks:
        files = list(chain.from_iterable(folders.values()))
        masks = _masks_among(files)
        return _without(files, masks), masks, []
    others = {folder: paths for folder, paths in folders.items() if _place(folder).role != "mask"}
    chosen = (
        [folder for folder in others if _place(folder).role == "image"]
        or [folder for folder in others if _place(folder).split]
        or list(others)
    )
    images = [path for folder in chosen for path in others.pop(folder)]
    return images, masks, list(chain.from_iterable(others.values()))


def _masks_among(files: Sequence[str]) -> list[str]:
    """The masks of a folder that holds both: by suffix, or the PNG beside a JPEG of the same stem."""
    suffixes: dict[tuple[_Place, str], set[str]] = defaultdict(set)
    for path in files:
        suffixes[_place_of(path), _stem(path)].add(_suffix(path))
        suffixes[_place_of(path), _image_stem(path)].add(_suffix(path))

    def is_mask(path: str) -> bool:
        place, stem, bare = _place_of(path), _stem(path), _mask_stem(path)
        if bare != stem and (place, bare) in suffixes:
            return True
        return _suffix(path) == ".png" and not suffixes[place, stem].isdisjoint((".jpg", ".jpeg"))

    return [path for path in files if is_mask(path)]


def _join(images: Sequence[str], masks: Sequence[str]) -> _Joined:
    """Pair images with masks, from the strictest rule to the loosest."""
    pairs: list[Pair] = []
    extra: list[str] = []
    for place in (_same_folders, _same_split, _anywhere):
        for image_stem, mask_stem in ((_stem, _stem), (_stem, _mask_stem), (_image_stem, _mask_stem)):
            if not images or not masks:
                break
            first_images, more_images = _group(images, place, image_stem)
            first_masks, more_masks = _group(masks, place, mask_stem)
            taken: list[str] = []
            for key in (key for key in first_images if key in first_masks):
                image, mask, rivals = first_images[key], first_masks[key], more_masks.get(key, [])
                if place is not _same_folders and (key in more_images or rivals):
                    continue  # equal stems in several folders: guessing would pair the wrong ones
                if rivals:
                    mask, *rivals = sorted((mask, *rivals), key=_preference)
                image_split, mask_split = _place_of(image).split, _place_of(mask).split
                if image_split and mask_split and image_split != mask_split:
                    continue
                pairs.append(Pair(image, mask, image_split or mask_split))
                extra += rivals
                taken += (image, mask, *rivals)
            images, masks = _without(images, taken), _without(masks, taken)
    return _Joined(pairs, extra, images, masks)


def _group(
    files: Iterable[str], place: Callable[[str], str], stem: Callable[[str], str]
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """The first file of every place and stem, and the others; nearly always there are none."""
    first: dict[str, str] = {}
    more: dict[str, list[str]] = {}
    for path in files:
        folder, _, name = path.rpartition("/")
        key = place(folder) + stem(name)
        if first.setdefault(key, path) is not path:
            more.setdefault(key, []).append(path)
    return first, more


def _without(files: Iterable[str], taken: Iterable[str]) -> list[str]:
    taken = set(taken)
    return [path for path in files if path not in taken]


def _place_of(path: str) -> _Place:
    return _place(path.rpartition("/")[0])


def _stem(path: str) -> str:
    return path.rpartition("/")[2].rpartition(".")[0]


def _image_stem(path: str) -> str:
    return _IMAGE_ENDING.sub("", _stem(path))


def _mask_stem(path: str) -> str:
    return _MASK_ENDING.sub("", _stem(path))


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()


@lru_cache(maxsize=4096)
def _same_folders(folder: str) -> str:
    place = _place(folder)
    return f"{place.split}/{place.rest}/"


@lru_cache(maxsize=4096)
def _same_split(folder: str) -> str:
    return f"{_place(folder).split}/"


def _anywhere(folder: str) -> str:
    return ""


def _preference(mask: str) -> tuple[bool, bool, str]:
    """Training ids before raw ids (Cityscapes has both), lossless pictures before other files."""
    return "trainids" not in _stem(mask).lower(), _suffix(mask) not in (".png", ".tif", ".tiff"), mask


def _list_files(root: Path) -> dict[str, Path]:
    """List files by split, the first of each."""
    found: dict[str, Path] = {}
    for folder in _LIST_FOLDERS:
        for alias, split in SPLIT_NAMES.items():
            path = root / folder / f"{alias}.txt"
            if split not in found and path.is_file():
                found[split] = path
    return found


def _apply_lists(root: Path, files: Iterable[str], pairs: Sequence[Pair]) -> tuple[list[Pair], list[Problem]]:
    """Give pairs the splits that list files name; folders that name splits come first."""
    lists = {} if any(pair.split for pair in pairs) else _list_files(root)
    if not lists:
        return list(pairs), []
    by_name = _index(pairs)
    by_path = {name: path for path in files for name in (os.path.splitext(path)[0], path)}
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
            for spelling in (path, bare, _IMAGE_ENDING.sub("", bare), _MASK_ENDING.sub("", bare)):
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


def _nothing_pairs(root: Path, images: Sequence[str], masks: Sequence[str]) -> DataError:
    if not masks:
        return DataError(
            f"{root}: {len(images)} images (such as {images[0]}) but no mask; put masks of the same "
            "file stem into a folder 'masks' beside 'images'"
        )
    if not images:
        return DataError(
            f"{root}: {len(masks)} masks (such as {masks[0]}) but no image; put the images into a "
            "folder 'images' beside them"
        )
    return DataError(
        f"{root}: none of {len(images)} images has a mask of its name (image {images[0]}, "
        f"mask {masks[0]}); give both the same file stem, or a suffix such as _mask"
    )
