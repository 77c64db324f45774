"""The problems by name, and which of them are for tuning and which for reporting.

The optimizer's constants were chosen on the tuning set (and on most of those problems in the design study); nothing was chosen
on the reporting set, nor on its seeds. Two things were learnt from first looks at it, on one to three seeds: that late curves
misled the optimizer, and those that also cross for as long as a search lasts. Problems of those kinds joined the tuning set then
("zdt1 late", "dtlz2 crossing"; "zdt1 late crossing"), on which the model of the bias was mended.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from searching.analytic import make_analytic
from searching.curves import Curve
from searching.mixed import make_mixed, make_network
from searching.problem import Problem
from searching.recorded import make_recorded
from searching.tables import Metric, load_table, make_table

MILD = Curve("power")
"""As in the design study."""
FAST = Curve("exponential", base=0.15, gain=0.5)
LATE = Curve("late", base=0.15, gain=0.6)
CROSSING = Curve("power", base=0.15, gain=1.2, crossing=0.6)
LATE_CROSSING = Curve("late", base=0.15, gain=1.2, crossing=0.6)


def _table(name: str, dataset: str, other: Metric, curve: Curve, instance: int) -> Problem:
    return make_table(name, load_table(dataset, other), curve, instance)


def _recorded(name: str, instance: int) -> Problem:  # noqa: ARG001  (there is one recording)
    return make_recorded(name, "hardware_energy_uj")


_MAKERS: dict[str, Callable[[int], Problem]] = {
    # Tuning: most are those of the design study.
    "zdt1": partial(make_analytic, "zdt1", "zdt1", MILD, is_displaced=False),
    "zdt3": partial(make_analytic, "zdt3", "zdt3", MILD, is_displaced=False),
    "dtlz2": partial(make_analytic, "dtlz2", "dtlz2", MILD, is_displaced=False),
    "zdt1 displaced": partial(make_analytic, "zdt1 displaced", "zdt1", CROSSING),
    "zdt1 mixed": partial(make_mixed, "zdt1 mixed", "zdt1", FAST),
    "zdt1 late": partial(make_analytic, "zdt1 late", "zdt1", LATE, is_displaced=False),
    "zdt1 late crossing": partial(make_analytic, "zdt1 late crossing", "zdt1", LATE_CROSSING),
    "dtlz2 crossing": partial(make_analytic, "dtlz2 crossing", "dtlz2", LATE_CROSSING, is_displaced=False),
    "naval": partial(_table, "naval", "naval", "model_size", Curve("power", 0.1, 0.6)),
    "protein": partial(_table, "protein", "protein", "model_size", Curve("power", 0.1, 0.6)),
    # Reporting.
    "zdt2": partial(make_analytic, "zdt2", "zdt2", FAST),
    "zdt3 displaced": partial(make_analytic, "zdt3 displaced", "zdt3", CROSSING),
    "zdt4": partial(make_analytic, "zdt4", "zdt4", MILD),
    "dtlz2 displaced": partial(make_analytic, "dtlz2 displaced", "dtlz2", LATE),
    "dtlz7": partial(make_analytic, "dtlz7", "dtlz7", LATE_CROSSING),
    "dtlz2, 3 objectives": partial(make_analytic, "dtlz2, 3 objectives", "dtlz2_3", MILD),
    "dtlz7, 3 objectives": partial(make_analytic, "dtlz7, 3 objectives", "dtlz7_3", FAST),
    "zdt2 mixed": partial(make_mixed, "zdt2 mixed", "zdt2", CROSSING),
    "network": partial(make_network, "network", LATE),
    "parkinsons": partial(_table, "parkinsons", "parkinsons", "model_size", Curve("late", 0.1, 0.6)),
    "slice": partial(_table, "slice", "slice", "train_time", Curve("exponential", 0.1, 0.6, crossing=0.3)),
    "digits": partial(_recorded, "digits"),
}

TUNING = (
    "zdt1",
    "zdt3",
    "dtlz2",
    "zdt1 displaced",
    "zdt1 mixed",
    "zdt1 late",
    "zdt1 late crossing",
    "dtlz2 crossing",
    "naval",
    "protein",
)
REPORTING = tuple(name for name in _MAKERS if name not in TUNING)
SETS = {"tuning": TUNING, "reporting": REPORTING}
FIRST_SEEDS = {"tuning": 0, "reporting": 1000}
"""The seeds, which are those of the instances too, count up from here."""


def names() -> tuple[str, ...]:
    """Returns the names of all problems."""
    return tuple(_MAKERS)


def make_problem(name: str, instance: int) -> Problem:
    """Returns an instance of a problem.

    Raises:
        KeyError: there is no such problem.
        TableMissingError, RecordingMissingError: its data are not there; the message says how to get them.
    """
    return _MAKERS[name](instance)
