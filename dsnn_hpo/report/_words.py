"""How figures are written for people."""

from __future__ import annotations

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


def epochs(n: int) -> str:
    """Returns ``"1 epoch"`` or ``"9 epochs"``."""
    return "1 epoch" if n == 1 else f"{n} epochs"
