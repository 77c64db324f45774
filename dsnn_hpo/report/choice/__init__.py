"""Choosing a member of a front: limits, the knee, preferences, and what the next point of accuracy costs."""

from dsnn_hpo.report.choice._choose import Choice, choice_json, choose
from dsnn_hpo.report.choice._price import Price, price_lines, prices
from dsnn_hpo.report.choice._table import ChoiceTable, choice_table
from dsnn_hpo.report.choice._wishes import Limit, Wishes, wishes_of

__all__ = [
    "Choice",
    "ChoiceTable",
    "Limit",
    "Price",
    "Wishes",
    "choice_json",
    "choice_table",
    "choose",
    "price_lines",
    "prices",
    "wishes_of",
]
