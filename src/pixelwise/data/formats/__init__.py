"""Readers of annotation formats, one module each; the table of them all is in :mod:`pixelwise.data.read`."""
