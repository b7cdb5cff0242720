"""Opening and checking data: annotation formats, public data sets, mask folders."""

from pixelwise.data.check import CheckReport, check
from pixelwise.data.read import FORMATS, read

__all__ = ["FORMATS", "CheckReport", "check", "read"]
