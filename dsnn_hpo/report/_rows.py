"""The front as plain rows and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from dsnn_hpo.journal import History
from dsnn_hpo.report._certainty import interval, mixtures, optimality
from dsnn_hpo.report._footprint import footprint_of


def front_rows(history: History) -> list[dict[str, Any]]:
    """Returns one flat row per member of the front, best first objective first.

    Columns: ``trial`` (id), ``key`` (of the configuration), ``epochs``, each objective (validation split), half the width of
    its 95 % interval as ``NAME_ci95`` where that is known, ``p_optimal``, each ``test_NAME``, and each hyperparameter as
    ``config.NAME``.
    """
    names, chances = history.header.objectives, optimality(history)
    return [
        {
            "trial": member.trial.id,
            "key": member.trial.key,
            "epochs": member.trial.fidelity,
            **{name: member.values[name] for name in history.header.objectives},
            **{f"{name}_ci95": width for name in names if (width := interval(member, name)) is not None},
            **({"p_optimal": chances[member.trial.id]} if chances else {}),
            **{f"test_{name}": value for name, value in member.test_values.items()},
            **{f"config.{name}": value for name, value in member.trial.config.items()},
        }
        for member in history.front()
    ]


def front_json(history: History) -> dict[str, Any]:
    """Returns the front as ``{"objectives": [...], "members": [...], "warnings": [...], "footprint": {...}}``.

    A member has ``trial``, ``config``, ``values``, ``test_values``, ``provenance`` (how each value was obtained, with its
    interval ``ci95``) and ``p_optimal``, its probability of being Pareto-optimal, None where nothing has an interval.
    Warnings say where figures of different origin are mixed; the footprint is that of ``Footprint``.
    """
    chances, front = optimality(history), history.front()
    members = [
        {
            "trial": member.trial.id,
            "config": dict(member.trial.config),
            "values": {name: member.values[name] for name in history.header.objectives},
            "test_values": dict(member.test_values),
            "provenance": {name: asdict(how) for name, how in member.provenance.items()},
            "p_optimal": chances.get(member.trial.id),
        }
        for member in front
    ]
    warnings = mixtures(front, history.objectives)
    cost = footprint_of(history)
    footprint = {**asdict(cost), "total_j": cost.total_j, "hypervolume_per_kwh": cost.hypervolume_per_kwh}
    return {
        "objectives": list(history.header.objectives),
        "members": members,
        "warnings": warnings,
        "footprint": footprint,
    }
