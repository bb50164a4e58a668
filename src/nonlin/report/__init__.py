"""Showing results: pictures and the HTML reports."""

from nonlin.report.comparison import write_comparison
from nonlin.report.search import write_report

__all__ = ["write_comparison", "write_report"]
