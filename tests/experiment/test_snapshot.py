from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from ConfigSpace import ConfigurationSpace

from dsnn_hpo.experiment import RunFolder, replay
from dsnn_hpo.experiment._snapshot import Snapshots
from dsnn_hpo.journal import Asked, Header, History, Told
from dsnn_hpo.optimizers import OptunaConfig, RandomConfig, make_optimizer
from dsnn_hpo.trial import OBJECTIVES, Fidelity, Result, TrialState

HEADER = Header("r", "n", 0.0, {}, "", ("error",), Fidelity(1, 9, 3), {"optuna": "5"})
SPACE = ConfigurationSpace({"x": (0.0, 1.0), "y": (1, 1000)})
CONFIGS = {"random": RandomConfig(name="random"), "nsga2": OptunaConfig(name="optuna", sampler="nsga2")}


def fresh(name):
    return make_optimizer(CONFIGS[name], SPACE, [OBJECTIVES["error"]], HEADER.fidelity, seed=0)


def advanced(optimizer, history, n_trials):
    for _ in range(n_trials):
        trial = optimizer.ask()
        history = history.extended(Asked(trial, 1.0))
        result = Result(trial, TrialState.COMPLETED, values={"error": trial.config["x"]})
        history = history.extended(Told(result, 2.0))
        optimizer.tell(result)
    return history


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


@pytest.mark.parametrize("name", CONFIGS)
def test_an_optimizer_that_was_kept_goes_on_as_if_it_had_never_stopped(folder, name):
    optimizer, snapshots = fresh(name), Snapshots(folder, {"optuna": "5"})
    history = advanced(optimizer, History(HEADER), 60)
    snapshots.keep(optimizer, history)
    history = advanced(optimizer, history, 15)

    again, n_known = snapshots.latest(history)
    assert n_known == 120
    replay(again, history, n_known=n_known)
    assert [again.ask() for _ in range(20)] == [optimizer.ask() for _ in range(20)]


def test_without_a_snapshot_there_is_none(folder):
    assert Snapshots(folder, {}).latest(History(HEADER)) == (None, 0)


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-10], lambda data: data[:20], lambda data: b"", lambda data: b"\n" + data]
)
def test_a_damaged_snapshot_is_left_alone(folder, damage):
    optimizer, snapshots = fresh("random"), Snapshots(folder, {})
    history = advanced(optimizer, History(HEADER), 5)
    snapshots.keep(optimizer, history)
    folder.snapshot.write_bytes(damage(folder.snapshot.read_bytes()))
    assert snapshots.latest(history) == (None, 0)


def test_a_snapshot_of_another_version_or_another_run_is_never_unpickled(folder, monkeypatch):
    optimizer, snapshots = fresh("random"), Snapshots(folder, {"optuna": "5"})
    history = advanced(optimizer, History(HEADER), 5)
    snapshots.keep(optimizer, history)

    def refuse(_):
        raise AssertionError("it was unpickled")

    monkeypatch.setattr(pickle, "loads", refuse)
    assert Snapshots(folder, {"optuna": "6"}).latest(history) == (None, 0)
    # A journal that is shorter than what the optimizer knows, and one that went another way.
    assert snapshots.latest(History(HEADER, history.events[:4])) == (None, 0)
    assert snapshots.latest(advanced(fresh("nsga2"), History(HEADER), 5)) == (None, 0)
