"""Bundles: a trained model as a folder or zip that every engine reads and nothing unpickles."""

from pixelwise.bundles.bundle import Bundle, open_bundle, update_manifest, with_int8, write_bundle, zip_bundle
from pixelwise.bundles.manifest import Int8, Manifest, WorkingScale
from pixelwise.bundles.names import bundled_models, find_model

__all__ = [
    "Bundle",
    "Int8",
    "Manifest",
    "WorkingScale",
    "bundled_models",
    "find_model",
    "open_bundle",
    "update_manifest",
    "with_int8",
    "write_bundle",
    "zip_bundle",
]
