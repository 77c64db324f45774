"""NSGA-II on the store that forgets proposes exactly what it proposes on Optuna's own."""

from __future__ import annotations

import random

import optuna
import pytest

from dsnn_hpo.optimizers._generations import GenerationStorage


def proposals(storage, n_trials, n_in_flight):
    """Returns what NSGA-II proposes, while some trials fail and others end out of turn."""
    sampler = optuna.samplers.NSGAIISampler(population_size=10, seed=0)
    study = optuna.create_study(storage=storage, directions=["minimize"] * 2, sampler=sampler)
    rng = random.Random(0)
    in_flight, proposed = [], []
    for _ in range(n_trials):
        trial = study.ask()
        x = [trial.suggest_float(f"x{j}", 0, 1) for j in range(4)]
        proposed.append((*x, trial.suggest_categorical("c", ["a", "b"])))
        in_flight.append((trial, x))
        if len(in_flight) >= n_in_flight:
            done, values = in_flight.pop(rng.randrange(len(in_flight)))
            if rng.random() < 0.1:
                study.tell(done, state=optuna.trial.TrialState.FAIL)
            else:
                study.tell(done, [values[0] + values[1], (1 - values[0]) ** 2 + values[2]])
    return proposed


@pytest.mark.parametrize("n_in_flight", [1, 25])
def test_what_is_forgotten_is_not_missed(n_in_flight):
    storage = GenerationStorage(10)
    assert proposals(storage, 400, n_in_flight) == proposals(None, 400, n_in_flight)
    assert len(storage.get_all_trials(0)) <= 81
