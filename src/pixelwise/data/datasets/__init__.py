"""Readers of public data sets in their original layout, one module each."""
