"""Showing results: pictures and the HTML report."""

from nonlin.report.html import write_report

__all__ = ["write_report"]
