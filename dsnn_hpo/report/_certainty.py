"""How sure a front is: how its figures were obtained, their intervals, and each member's chance of being optimal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np

from dsnn_hpo import pareto
from dsnn_hpo.journal import History
from dsnn_hpo.trial import Objective, Provenance, Result

_N_DEVIATIONS_OF_CI95 = 1.96
LIKELY = 0.05
"""A configuration off the front is worth a word if its probability of being optimal is above this."""


def interval(result: Result, name: str) -> float | None:
    """Returns half the width of a figure's 95 % interval, in its unit; None if it is not known."""
    how = result.provenance.get(name)
    return None if how is None else how.ci95


def optimality(history: History) -> dict[int, float]:
    """Returns the probability of being Pareto-optimal of each configuration at the front's fidelity, by trial.

    Figures err independently and normally within their intervals; those without an interval count as exact. Empty if
    none has an interval.
    """
    results = pareto.latest(history.latest_results(), history.front_fidelity)
    names = [objective.name for objective in history.objectives]
    widths = np.array([[interval(r, name) or 0.0 for name in names] for r in results])
    if not widths.any():
        return {}
    losses = pareto.losses_of(results, history.objectives)
    chances = _drawn(losses.tobytes(), (widths / _N_DEVIATIONS_OF_CI95).tobytes(), len(names))
    return dict(zip((result.trial.id for result in results), chances, strict=True))


@lru_cache(maxsize=2)
def _drawn(losses: bytes, deviations: bytes, n_objectives: int) -> tuple[float, ...]:
    # A report's table, page, picture and JSON ask for the same, one after another, and draw thousands of fronts.
    points, spread = (np.frombuffer(values).reshape(-1, n_objectives) for values in (losses, deviations))
    return tuple(pareto.optimality(points, spread).tolist())


def quality(results: Iterable[Result], objective: Objective) -> str:
    """Returns "estimated" or "modelled" if that is how an objective was obtained, "mixed" of several, else nothing."""
    found = {how.quality for how in _hows(results, objective.name)}
    if len(found) > 1:
        return "mixed"
    return "".join(found - {"measured"})


def mixtures(results: Sequence[Result], objectives: Iterable[Objective]) -> list[str]:
    """Returns a warning for each objective whose figures were obtained in several ways, or on several machines."""
    warnings = []
    for objective in objectives:
        ways = {(how.method, how.quality, how.scope, how.idle_subtracted) for how in _hows(results, objective.name)}
        machines = {how.hardware for how in _hows(results, objective.name)}
        if len(ways) > 1:
            texts = sorted({f"{quality} from {method}, {scope}" for method, quality, scope, _ in ways})
            warnings.append(f"{objective.name} was obtained in {len(ways)} ways: {'; '.join(texts)}")
        if len(machines) > 1:
            warnings.append(f"{objective.name} was obtained on {len(machines)} machines: {'; '.join(sorted(machines))}")
    return warnings


def _hows(results: Iterable[Result], name: str) -> list[Provenance]:
    return [result.provenance[name] for result in results if name in result.provenance]
