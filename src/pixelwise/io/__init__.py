"""Bytes to arrays and back: images, masks, label files, video; every write is atomic."""

from pixelwise.io.atomic import atomic_write, explained, write_json, write_text
from pixelwise.io.images import (
    IMAGE_SUFFIXES,
    image_size,
    is_image,
    list_images,
    listed_once,
    read_image,
    verify_image,
    walk_files,
    write_image,
)
from pixelwise.io.labelfiles import read_label_file
from pixelwise.io.masks import UnknownValuesError, mask_values, read_mask, write_mask

__all__ = [
    "IMAGE_SUFFIXES",
    "UnknownValuesError",
    "atomic_write",
    "explained",
    "image_size",
    "is_image",
    "list_images",
    "listed_once",
    "mask_values",
    "read_image",
    "read_label_file",
    "read_mask",
    "verify_image",
    "walk_files",
    "write_image",
    "write_json",
    "write_mask",
    "write_text",
]
