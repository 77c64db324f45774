"""Figures and tables of a run, made from its journal alone: the front, what it cost, what mattered, and all on a page."""

from dsnn_hpo.report._figures import ReportFigure, report_figures
from dsnn_hpo.report._footprint import Footprint, footprint_lines, footprint_of
from dsnn_hpo.report._html import front_html
from dsnn_hpo.report._hypervolume import HypervolumePoint, RunningHypervolume, hypervolume_points, hypervolume_series
from dsnn_hpo.report._importance import Effect, Fit, Importance, importance
from dsnn_hpo.report._markdown import FrontTable, front_markdown, front_table
from dsnn_hpo.report._png import front_png
from dsnn_hpo.report._rows import front_json, front_rows
from dsnn_hpo.report._save import ReportFiles, save_report
from dsnn_hpo.report._words import epochs, readable, with_interval

__all__ = [
    "Effect",
    "Fit",
    "Footprint",
    "FrontTable",
    "HypervolumePoint",
    "Importance",
    "ReportFigure",
    "ReportFiles",
    "RunningHypervolume",
    "epochs",
    "footprint_lines",
    "footprint_of",
    "front_html",
    "front_json",
    "front_markdown",
    "front_png",
    "front_rows",
    "front_table",
    "hypervolume_points",
    "hypervolume_series",
    "importance",
    "readable",
    "report_figures",
    "save_report",
    "with_interval",
]
