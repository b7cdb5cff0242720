"""Better masks from an image and a first guess: dense CRF, edge-aware filters, clean-up of components."""

from pixelwise.refine.bilateral_solver import bilateral_solver
from pixelwise.refine.components import clean
from pixelwise.refine.dense_crf import DEEPLAB, KRAHENBUHL_KOLTUN, CrfParameters, dense_crf
from pixelwise.refine.fit import CrfFit, fit_crf
from pixelwise.refine.guided_filter import guided_filter

__all__ = [
    "DEEPLAB",
    "KRAHENBUHL_KOLTUN",
    "CrfFit",
    "CrfParameters",
    "bilateral_solver",
    "clean",
    "dense_crf",
    "fit_crf",
    "guided_filter",
]
