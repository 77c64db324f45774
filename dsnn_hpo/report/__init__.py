"""Figures and tables of a run, made from its journal alone: the front, and the hypervolume over the cost."""

from dsnn_hpo.report._html import front_html
from dsnn_hpo.report._hypervolume import RunningHypervolume, hypervolume_series
from dsnn_hpo.report._markdown import FrontTable, front_markdown, front_table
from dsnn_hpo.report._png import front_png
from dsnn_hpo.report._rows import epochs, front_json, front_rows, readable
from dsnn_hpo.report._save import ReportFiles, save_report

__all__ = [
    "FrontTable",
    "ReportFiles",
    "RunningHypervolume",
    "epochs",
    "front_html",
    "front_json",
    "front_markdown",
    "front_png",
    "front_rows",
    "front_table",
    "hypervolume_series",
    "readable",
    "save_report",
]
