"""Figures and tables of a run, made from its journal alone: the front, what it cost, what mattered, and all on a page."""

from dsnn_hpo.report._figures import ReportFigure, report_figures
from dsnn_hpo.report._footprint import Footprint, footprint_lines, footprint_of
from dsnn_hpo.report._html import front_html
from dsnn_hpo.report._hypervolume import HypervolumePoint, RunningHypervolume, hypervolume_points, hypervolume_series
from dsnn_hpo.report._importance import Effect, Fit, Importance, importance
from dsnn_hpo.report._markdown import FrontTable, front_markdown, front_table
from dsnn_hpo.report._png import front_png
from dsnn_hpo.report._rows import front_json, front_rows
from dsnn_hpo.report._save import PageFiles, ReportFiles, save_page, save_report
from dsnn_hpo.report._words import epochs, readable, with_interval
from dsnn_hpo.report.choice import (
    Choice,
    ChoiceTable,
    Limit,
    Price,
    Wishes,
    choice_json,
    choice_table,
    choose,
    price_lines,
    prices,
    wishes_of,
)
from dsnn_hpo.report.comparison import (
    ComparedRun,
    Comparison,
    ComparisonTable,
    Group,
    GroupTest,
    compare_runs,
    comparison_html,
    comparison_json,
    comparison_png,
    comparison_tables,
    comparison_text,
    require_picture,
    save_comparison,
)
from dsnn_hpo.report.page import report_html

__all__ = [
    "Choice",
    "ChoiceTable",
    "ComparedRun",
    "Comparison",
    "ComparisonTable",
    "Effect",
    "Fit",
    "Footprint",
    "FrontTable",
    "Group",
    "GroupTest",
    "HypervolumePoint",
    "Importance",
    "Limit",
    "PageFiles",
    "Price",
    "ReportFigure",
    "ReportFiles",
    "RunningHypervolume",
    "Wishes",
    "choice_json",
    "choice_table",
    "choose",
    "compare_runs",
    "comparison_html",
    "comparison_json",
    "comparison_png",
    "comparison_tables",
    "comparison_text",
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
    "price_lines",
    "prices",
    "readable",
    "report_figures",
    "report_html",
    "require_picture",
    "save_comparison",
    "save_page",
    "save_report",
    "wishes_of",
    "with_interval",
]
