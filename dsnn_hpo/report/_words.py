"""How figures are written for people."""

from __future__ import annotations

import math

from dsnn_hpo.trial import Objective, Scalar

_UNIT_SUFFIXES = ("_j", "_uj", "_bytes", "_ms", "_g")


def label(objective: Objective, split: str = "", quality: str = "") -> str:
    """Returns a title such as ``"test error"`` or ``"inference energy, estimated (J/1000 samples)"``."""
    name = objective.name
    for suffix in _UNIT_SUFFIXES:
        name = name.removesuffix(suffix)
    words = " ".join([split, *name.split("_")]).strip().replace("co2", "CO2")
    words += f", {quality}" if quality else ""
    return words if objective.unit == "1" else f"{words} ({objective.unit})"


def readable(value: Scalar) -> str:
    """Returns a value with the digits that mean something: ``0.0312``, ``12,400``, ``1.2e-05``, ``Adam``."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}" if abs(value) < 1e12 else f"{value:.3g}"
    return f"{value:.3g}"


def with_interval(value: float, ci95: float | None) -> str:
    """Returns a value and half the width of its interval with the digits that the latter leaves: ``0.0139±0.0027``."""
    if ci95 is None or not ci95 > 0:
        return readable(value)
    n_decimals = max(0, 1 - math.floor(math.log10(ci95)))
    if n_decimals > 9 or max(abs(value), ci95) >= 1e6:
        return f"{readable(value)}±{readable(ci95)}"
    return f"{value:,.{n_decimals}f}±{ci95:,.{n_decimals}f}"


def epochs(n: int) -> str:
    """Returns ``"1 epoch"`` or ``"9 epochs"``."""
    return "1 epoch" if n == 1 else f"{n} epochs"
