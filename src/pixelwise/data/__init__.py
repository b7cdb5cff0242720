"""Opening, checking and writing data: annotation formats, public data sets, mask folders."""

from pixelwise.data.arrange import rename_classes, split_at_random
from pixelwise.data.check import CheckReport, check
from pixelwise.data.read import FORMATS, read
from pixelwise.data.write import WriteReport, write

__all__ = [
    "FORMATS",
    "CheckReport",
    "WriteReport",
    "check",
    "read",
    "rename_classes",
    "split_at_random",
    "write",
]
