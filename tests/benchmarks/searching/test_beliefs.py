"""What the entrants with beliefs are told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest


def centre(told: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {name: prior["mu"] if "mu" in prior else next(iter(prior["weights"])) for name, prior in told.items()}


@pytest.mark.parametrize("name", ["zdt2", "dtlz2 displaced"])
def test_good_beliefs_are_nearer_to_the_front_than_misleading_ones(searching, name):
    problem = searching("problems").make_problem(name, 1000)
    losses = {}
    for kind in ("good", "misleading"):
        told = searching("beliefs").beliefs(problem, kind, 1000)
        assert list(told) == [o.name for o in problem.objectives]
        losses[kind] = np.asarray([problem.truth(centre(told[o.name])) for o in problem.objectives])
    assert (losses["good"].mean(axis=0) < losses["misleading"].mean(axis=0)).all()
    # Each is of its own objective.
    assert losses["good"][0, 0] < losses["good"][1, 0]
    assert losses["good"][1, 1] < losses["good"][0, 1]


@pytest.mark.parametrize("label", ["bayesian, good priors", "bayesian, misleading priors"])
@pytest.mark.parametrize("name", ["zdt2 mixed", "network"])
def test_an_entrant_searches_by_them(searching, label, name):
    problem, simulation = searching("problems").make_problem(name, 1000), searching("simulation")
    [entrant] = searching("entrants").entrants([label])
    optimizer = entrant.make(problem, 1000, 1, continues=False)
    assert simulation.simulate(problem, optimizer, simulation.Setting(budget=3.0)).n_trials > 20
