"""Pages to look at and to send on: one HTML file each, with everything inside."""

from pixelwise.report.check_page import write_check_report
from pixelwise.report.pages import write_evaluation_report, write_run_report

__all__ = ["write_check_report", "write_evaluation_report", "write_run_report"]
