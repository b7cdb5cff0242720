"""PASCAL Context: the photos of VOC 2010 with a class for every pixel, 59 frequent ones out of 459.

Source: Mottaghi and others, "The Role of Context for Object Detection and Semantic Segmentation in the
Wild", CVPR 2014; www.cs.stanford.edu/~roozbeh/pascal-context.

Labels are MATLAB files ``trainval/{id}.mat`` (variable ``LabelMap``, 0 = unlabelled, 1 to 459), or the PNGs
that other tools convert them to (``SegmentationClassContext``, 0 = background, 1 to 59). The 459 names are
those of ``labels.txt``; two public lists of them agree, and the folder's own file wins. **Two orders of the
59 classes are in circulation**: alphabetical, which is also that of the numbers, and with the 20 classes of
VOC first. Both are here, joined by name; a PNG does not say in which it was written, so ``order`` does.
There is no official colour table: colours are those of PASCAL VOC for the numbers of the classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from pixelwise.data.classes import Classes
from pixelwise.data.datasets.catalogue import PublicDataset, names_in, voc_colours
from pixelwise.data.datasets.listing import (
    Listing,
    files_in,
    first_stem,
    join_classes,
    listed,
    numbered_names,
    open_sample,
    read_matlab_ids,
    says_otherwise,
)
from pixelwise.errors import DataError, UsageError, unknown_name
from pixelwise.io import read_mask
from pixelwise.labels import LabelMap
from pixelwise.sample import Dataset, Sample

NAMES_459 = names_in(
    """
    accordion, aeroplane, air conditioner, antenna, artillery, ashtray, atrium, baby carriage, bag, ball,
    balloon, bamboo weaving, barrel, baseball bat, basket, basketball backboard, bathtub, bed,
    bedclothes, beer, bell, bench, bicycle, binoculars, bird, bird cage, bird feeder, bird nest,
    blackboard, board, boat, bone, book, bottle, bottle opener, bowl, box, bracelet, brick, bridge,
    broom, brush, bucket, building, bus, cabinet, cabinet door, cage, cake, calculator, calendar, camel,
    camera, camera lens, can, candle, candle holder, cap, car, card, cart, case, casette recorder,
    cash register, cat, cd, cd player, ceiling, cell phone, cello, chain, chair, chessboard, chicken,
    chopstick, clip, clippers, clock, closet, cloth, clothes tree, coffee, coffee machine, comb,
    computer, concrete, cone, container, control booth, controller, cooker, copying machine, coral, cork,
    corkscrew, counter, court, cow, crabstick, crane, crate, cross, crutch, cup, curtain, cushion,
    cutting board, dais, disc, disc case, dishwasher, dock, dog, dolphin, door, drainer, dray,
    drink dispenser, drinking machine, drop, drug, drum, drum kit, duck, dumbbell, earphone, earrings,
    egg, electric fan, electric iron, electric pot, electric saw, electronic keyboard, engine, envelope,
    equipment, escalator, exhibition booth, extinguisher, eyeglass, fan, faucet, fax machine, fence,
    ferris wheel, fire extinguisher, fire hydrant, fire place, fish, fish tank, fishbowl, fishing net,
    fishing pole, flag, flagstaff, flame, flashlight, floor, flower, fly, foam, food, footbridge,
    forceps, fork, forklift, fountain, fox, frame, fridge, frog, fruit, funnel, furnace, game controller,
    game machine, gas cylinder, gas hood, gas stove, gift box, glass, glass marble, globe, glove, goal,
    grandstand, grass, gravestone, ground, guardrail, guitar, gun, hammer, hand cart, handle, handrail,
    hanger, hard disk drive, hat, hay, headphone, heater, helicopter, helmet, holder, hook, horse,
    horse-drawn carriage, hot-air balloon, hydrovalve, ice, inflator pump, ipod, iron, ironing board,
    jar, kart, kettle, key, keyboard, kitchen range, kite, knife, knife block, ladder, ladder truck,
    ladle, laptop, leaves, lid, life buoy, light, light bulb, lighter, line, lion, lobster, lock,
    machine, mailbox, mannequin, map, mask, mat, match book, mattress, menu, metal, meter box,
    microphone, microwave, mirror, missile, model, money, monkey, mop, motorbike, mountain, mouse,
    mouse pad, musical instrument, napkin, net, newspaper, oar, ornament, outlet, oven, oxygen bottle,
    pack, pan, paper, paper box, paper cutter, parachute, parasol, parterre, patio, pelage, pen,
    pen container, pencil, person, photo, piano, picture, pig, pillar, pillow, pipe, pitcher, plant,
    plastic, plate, platform, player, playground, pliers, plume, poker, poker chip, pole, pool table,
    postcard, poster, pot, pottedplant, printer, projector, pumpkin, rabbit, racket, radiator, radio,
    rail, rake, ramp, range hood, receiver, recorder, recreational machines, remote control, road, robot,
    rock, rocket, rocking horse, rope, rug, ruler, runway, saddle, sand, saw, scale, scanner, scissors,
    scoop, screen, screwdriver, sculpture, scythe, sewer, sewing machine, shed, sheep, shell, shelves,
    shoe, shopping cart, shovel, sidecar, sidewalk, sign, signal light, sink, skateboard, ski, sky, sled,
    slippers, smoke, snail, snake, snow, snowmobiles, sofa, spanner, spatula, speaker, speed bump,
    spice container, spoon, sprayer, squirrel, stage, stair, stapler, stick, sticky note, stone, stool,
    stove, straw, stretcher, sun, sunglass, sunshade, surveillance camera, swan, sweeper, swim ring,
    swimming pool, swing, switch, table, tableware, tank, tap, tape, tarp, telephone, telephone booth,
    tent, tire, toaster, toilet, tong, tool, toothbrush, towel, toy, toy car, track, train, trampoline,
    trash bin, tray, tree, tricycle, tripod, trophy, truck, tube, turtle, tvmonitor, tweezers,
    typewriter, umbrella, unknown, vacuum cleaner, vending machine, video camera, video game console,
    video player, video tape, violin, wakeboard, wall, wallet, wardrobe, washing machine, watch, water,
    water dispenser, water pipe, water skate board, watermelon, whale, wharf, wheel, wheelchair, window,
    window blinds, wineglass, wire, wood, wool
    """
)
"""All names, in the order of their numbers 1 to 459."""

NUMBERS_59 = (
    *(2, 9, 18, 19, 22, 23, 25, 31, 33, 34, 44, 45, 46, 59, 65, 68, 72, 80, 85, 98, 104, 105, 113, 115, 144),
    *(158, 159, 162, 187, 189, 207, 220, 232, 258, 259, 260, 284, 295, 296, 308, 324, 326, 347, 349, 354),
    *(355, 360, 366, 368, 397, 415, 416, 420, 424, 427, 440, 445, 454, 458),
)
"""The numbers of the 59 frequent classes."""

NAMES_59 = tuple(NAMES_459[number - 1] for number in NUMBERS_59)
"""Their names, in alphabetical order."""

VOC_FIRST = names_in(
    """
    aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, table, dog, horse, motorbike, person,
    pottedplant, sheep, sofa, train, tvmonitor, bag, bed, bench, book, building, cabinet, ceiling, cloth,
    computer, cup, door, fence, floor, flower, food, grass, ground, keyboard, light, mountain, mouse, curtain,
    platform, sign, plate, road, rock, shelves, sidewalk, sky, snow, bedclothes, track, tree, truck, wall,
    water, window, wood
    """
)
"""The same names in the other order in circulation."""

BACKGROUND = "background"


def _labels(names: Sequence[str]) -> LabelMap:
    numbers = {name: number for number, name in enumerate((BACKGROUND, *NAMES_459))}
    colours = voc_colours(len(numbers))
    return LabelMap(tuple(names), tuple(colours[numbers[name]] for name in names))


CLASSES = {
    "59": _labels(NAMES_59),
    "60": _labels((BACKGROUND, *NAMES_59)),
    "459": _labels(NAMES_459),
    "59-voc": _labels(VOC_FIRST),
    "60-voc": _labels((BACKGROUND, *VOC_FIRST)),
}
"""``"60"`` has what is none of the 59 as its first class, the others ignore it."""

ORDERS = {"alphabetical": NAMES_59, "voc": VOC_FIRST}
"""What the values 1 to 59 of converted PNGs may stand for."""

_PLACES = ("", "VOC2010/", "VOCdevkit/VOC2010/")
_LISTS = ("", "lists/", "ImageSets/SegmentationContext/", "ImageSets/Main/")

INFO = PublicDataset(
    name="pascal_context",
    title="PASCAL Context",
    source=(
        "Mottaghi et al., The Role of Context for Object Detection and Semantic Segmentation in the Wild, "
        "CVPR 2014"
    ),
    task="image",
    classes=CLASSES,
    splits={"train": 4998, "val": 5105},
    size="many sizes, up to 500x500",
    licence="images under the terms of Flickr, as PASCAL VOC; none stated for the labels, research",
    obtain=(
        "download VOCtrainval_03-May-2010.tar of PASCAL VOC 2010 and trainval.tar.gz at "
        "https://www.cs.stanford.edu/~roozbeh/pascal-context, and unpack trainval/ beside JPEGImages/"
    ),
    layout=(
        "JPEGImages/{id}.jpg (also in VOC2010/ or VOCdevkit/VOC2010/)",
        "trainval/{id}.mat (variable LabelMap)",
        "SegmentationClassContext/{id}.png (converted, instead)",
        "train.txt, val.txt, or ImageSets/SegmentationContext/, or ImageSets/Main/ of VOC 2010",
        "labels.txt (optional)",
    ),
    folders=(
        tuple(f"{place}JPEGImages" for place in _PLACES),
        tuple(f"{place}{folder}" for place in _PLACES for folder in ("trainval", "SegmentationClassContext")),
        tuple(f"{place}{folder}train.txt" for place in _PLACES for folder in _LISTS),
        tuple(f"{place}{folder}val.txt" for place in _PLACES for folder in _LISTS),
    ),
    notes=(
        "Two orders of the 59 classes are in circulation, alphabetical and VOC's 20 first: join by name.",
        "Converted PNGs do not say in which order they were written: order=voc reads the second kind.",
        "ImageSets/Segmentation of VOC 2010 is another, smaller split and is not used.",
        "VOC 2010 has more images than are labelled; those without a label file are left out.",
    ),
)


def recognise(root: Path) -> bool:
    """Whether VOC's images lie with ``trainval/*.mat`` or ``SegmentationClassContext/*.png``."""
    if not _found(root, "JPEGImages"):
        return False
    matlab, png = _found(root, "trainval"), _found(root, "SegmentationClassContext")
    if says_otherwise(root, *CLASSES.values(), own_file="labels.txt"):
        return False
    return bool(
        (matlab and first_stem(root, matlab, (".mat",))) or (png and first_stem(root, png, (".png",)))
    )


def read(
    root: Path,
    labels: Classes | None = None,
    mapping: Mapping[int, int] | None = None,
    *,
    classes: str = "59",
    order: str = "alphabetical",
) -> Dataset[Sample]:
    """Read PASCAL Context from MATLAB files, or from converted PNGs where there are none.

    Parameters
    ----------
    root
        The folder that holds ``JPEGImages`` and ``trainval``.
    labels
        Other classes, joined to those of the data set by name.
    mapping
        ``{stored value: class id}`` on top.
    classes
        ``"59"``, ``"60"`` with the background first, ``"459"``; ``"59-voc"`` and ``"60-voc"`` are the same
        classes in the other order.
    order
        What converted PNGs were written in: ``"alphabetical"`` or ``"voc"``.

    Raises
    ------
    DataError
        No image has labels, or ``labels.txt`` lacks a class.
    UsageError
        Unknown ``classes`` or ``order``, or 459 classes of converted PNGs.
    """
    own = INFO.choose(classes)
    if order not in ORDERS:
        raise unknown_name("order", order, ORDERS)
    matlab, png = _found(root, "trainval"), _found(root, "SegmentationClassContext")
    masks = files_in(root, matlab, suffixes=(".mat",)) if matlab else {}
    converted = not masks and bool(png)
    if converted and classes == "459":
        raise UsageError(f"{root / png}: converted masks hold 59 classes; the 459 need trainval/*.mat")
    if converted:
        masks = files_in(root, png, suffixes=(".png",))
        numbers = dict(enumerate(ORDERS[order], 1))
    else:
        numbers = _numbers(root, own)
    target, table = join_classes(own, _values(own, numbers), labels, mapping)
    where = f"{png}/{{key}}.png" if converted else f"{matlab or 'trainval'}/{{key}}.mat"
    listing = _list(root, masks, where)
    read_ids = partial(_read_ids, labels=target, table=table)
    return listing.dataset(root, INFO, target, partial(open_sample, root=root, read_ids=read_ids))


def _found(root: Path, folder: str) -> str:
    """Where a folder lies relative to the root, or an empty string."""
    return next((f"{place}{folder}" for place in _PLACES if (root / place / folder).is_dir()), "")


def _list(root: Path, masks: Mapping[str, str], mask_at: str) -> Listing:
    folder = _found(root, "JPEGImages") or "JPEGImages"
    images = files_in(root, folder)
    image_at = f"{folder}/{{key}}.jpg"
    splits = _splits(root)
    listing = Listing()
    if not splits:
        labelled = {key: path for key, path in images.items() if key in masks}
        listing.add("", labelled, masks, mask_at=mask_at, image_at=image_at)
        return listing
    for split, keys in splits.items():
        listing.add(
            split,
            {key: images[key] for key in keys if key in images},
            {key: masks[key] for key in keys if key in masks},
            mask_at=mask_at,
            image_at=image_at,
        )
        gone = [key for key in keys if key not in images and key not in masks]
        listing.lack(place.replace("{key}", key) for key in gone for place in (image_at, mask_at))
    known = {key for keys in splits.values() for key in keys}
    unlisted = [path for key, path in masks.items() if key not in known]
    listing.warn(
        "unlisted_image", "masks in neither list, left out", "add them to train.txt or val.txt", unlisted
    )
    return listing


def _splits(root: Path) -> dict[str, list[str]]:
    """Ids by split, from the first place that has a list."""
    for folder in (f"{place}{lists}" for lists in _LISTS for place in _PLACES):
        paths = {split: root / folder / f"{split}.txt" for split in INFO.splits}
        if any(path.is_file() for path in paths.values()):
            return {
                split: list(dict.fromkeys(listed(path))) for split, path in paths.items() if path.is_file()
            }
    return {}


def _numbers(root: Path, own: LabelMap) -> dict[int, str]:
    """Names by number, from the folder's labels.txt if there is one."""
    path = next(
        (root / f"{place}labels.txt" for place in _PLACES if (root / f"{place}labels.txt").is_file()), None
    )
    if path is None:
        return dict(enumerate(NAMES_459, 1))
    numbers = numbered_names(path)
    lost = [name for name in own.names if name not in numbers.values() and name != BACKGROUND]
    if lost:
        raise DataError(
            f"{path}: names no '{lost[0]}'; take labels.txt of PASCAL Context, or remove the file"
        )
    return numbers


def _values(own: LabelMap, numbers: Mapping[int, str]) -> dict[int, int]:
    """The class of every stored value; what is none of them is the background if there is one."""
    rest = own.index(BACKGROUND) if BACKGROUND in own.names else own.ignore
    ids = {name: class_id for class_id, name in enumerate(own.names)}
    return {0: rest} | {number: ids.get(name, rest) for number, name in numbers.items()}


def _read_ids(path: Path, labels: LabelMap, table: Mapping[int, int]) -> np.ndarray:
    if path.suffix == ".mat":
        return read_matlab_ids(path, "LabelMap", labels, table)
    return read_mask(path, labels, {255: labels.ignore, **table})
