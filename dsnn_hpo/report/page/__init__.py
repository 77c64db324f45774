"""The report: one HTML page that explains a run."""

from dsnn_hpo.report.page._page import report_html

__all__ = ["report_html"]
