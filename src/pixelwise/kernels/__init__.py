"""Numeric kernels that the floors above share, each in a file of its own (numba, OpenCV).

Kernels take and return plain arrays, release the GIL and cache their machine code; import the file that
you need, so that the others cost nothing.
"""
