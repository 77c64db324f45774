"""Runs side by side: hypervolumes in one box, the joint front, attainment over seeds, tests."""

from dsnn_hpo.report.comparison._compare import ComparedRun, Comparison, Group, GroupTest, compare_runs, comparison_json
from dsnn_hpo.report.comparison._html import comparison_html
from dsnn_hpo.report.comparison._png import comparison_png
from dsnn_hpo.report.comparison._save import require_picture, save_comparison
from dsnn_hpo.report.comparison._words import ComparisonTable, comparison_tables, comparison_text

__all__ = [
    "ComparedRun",
    "Comparison",
    "ComparisonTable",
    "Group",
    "GroupTest",
    "compare_runs",
    "comparison_html",
    "comparison_json",
    "comparison_png",
    "comparison_tables",
    "comparison_text",
    "require_picture",
    "save_comparison",
]
