import math
import random
from collections.abc import Callable

import pytest

from dsnn_hpo.journal import History, Told
from dsnn_hpo.report import importance
from dsnn_hpo.report._columns import column, hyperparameters
from dsnn_hpo.trial import Result, Scalar, Trial, TrialState
from tests.report.synthetic import header, history, prefix

Config = dict[str, Scalar]


def _run(
    n: int,
    sample: Callable[[random.Random], Config],
    values: Callable[[Config, int], dict[str, float]],
    fidelities=(9,),
) -> History:
    rng = random.Random(0)
    events = []
    for _ in range(n):
        config = sample(rng)
        for fidelity in fidelities:
            trial = Trial(len(events), config, fidelity, 0)
            events.append(
                Told(Result(trial, TrialState.COMPLETED, values=values(config, fidelity)), float(len(events)))
            )
    return History(header(), events)


def _sample(rng: random.Random) -> Config:
    return {
        "a": rng.uniform(0, 1),
        "b": 10 ** rng.uniform(-4, -1),
        "kind": rng.choice("xyz"),
        "idle": rng.uniform(0, 1),
    }


def _values(config: Config, fidelity: int) -> dict[str, float]:
    error = 0.1 + 0.3 * float(config["a"]) + {"x": 0.0, "y": 0.15, "z": 0.3}[str(config["kind"])]
    energy = 5 + math.log10(float(config["b"]))
    return {"error": error * (1 + 5 / fidelity), "inference_energy_j": energy}


def _shares(found, name: str) -> dict[str, float]:
    return {effect.title: effect.share for effect in found.effects[name]}


def test_known_shares_of_each_objective():
    found = importance(_run(400, _sample, _values))
    error = _shares(found, "error")
    # Variances 0.09/12 of the line, 0.015 of the three choices.
    assert error["kind"] == pytest.approx(0.015 / 0.0225, abs=0.05)
    assert error["a"] == pytest.approx(0.0075 / 0.0225, abs=0.05)
    assert error["idle"] < 0.02
    energy = _shares(found, "inference_energy_j")
    assert energy["b"] > 0.95, "uniform over its logarithm"
    assert [e.share for e in found.effects["error"]] == sorted(error.values(), reverse=True)
    assert all(fit.r2 > 0.9 and fit.rank_correlation > 0.9 for fit in found.fits.values())


def test_the_trade_off_s_ends_are_the_objectives():
    found = importance(_run(300, _sample, _values))
    error, energy = _shares(found, "error"), _shares(found, "inference_energy_j")
    for name, curve in found.trade_off.items():
        assert curve[0] == pytest.approx(energy[name])
        assert curve[-1] == pytest.approx(error[name])
    assert next(iter(found.trade_off)) in ("b", "kind")
    assert found.weights[0] == 0
    assert found.weights[-1] == 1


def test_epochs_are_an_input_and_not_an_answer():
    one = importance(_run(200, _sample, _values, fidelities=(1, 3, 9)))
    assert one.n_results == 600
    assert one.n_configurations == 200
    assert one.fidelity == 9
    # All in all errors span a decade and more: by their logarithm.
    assert _shares(one, "error")["kind"] == pytest.approx(0.62, abs=0.08)
    assert one.fits["error"].r2 > 0.9
    # Random errors at each fidelity, lower at higher ones: epochs explain a lot, and nothing is known.
    rng = random.Random(1)
    noise = importance(
        _run(
            100,
            _sample,
            lambda c, f: {"error": rng.uniform(0, 0.1) + 1 / f, "inference_energy_j": 1 + rng.random()},
            (1, 3, 9),
        )
    )
    assert not any(fit.says_something for fit in noise.fits.values())
    assert any("nothing can be said" in line for line in noise.sentences())
    assert all(math.isnan(share) for curve in noise.trade_off.values() for share in curve)


def test_a_hyperparameter_that_few_have_does_not_take_its_switch_s_share():
    def sample(rng: random.Random) -> Config:
        kind = rng.choice(["sgd", "adam"])
        return {"kind": kind, "a": rng.uniform(0, 1), **({"momentum": rng.uniform(0, 1)} if kind == "sgd" else {})}

    def values(config: Config, fidelity: int) -> dict[str, float]:
        return {"error": 0.5 if config["kind"] == "sgd" else 0.1, "inference_energy_j": 1 + float(config["a"])}

    shares = _shares(importance(_run(200, sample, values)), "error")
    assert shares["kind"] > 0.95
    assert shares["momentum"] < 0.02


@pytest.mark.parametrize("n", [0, 1, 9])
def test_too_few_configurations_say_nothing(n):
    assert importance(_run(n, _sample, _values)) is None


def test_configurations_that_are_all_the_same_say_nothing():
    run = _run(20, lambda rng: {"a": 1}, lambda c, f: {"error": 0.5, "inference_energy_j": 1.0})
    assert importance(run) is None


def test_an_objective_that_does_not_vary_says_nothing():
    found = importance(_run(30, _sample, lambda c, f: {"error": 0.5, "inference_energy_j": float(c["a"])}))
    assert not found.fits["error"].says_something
    assert found.fits["inference_energy_j"].says_something


def test_one_objective_has_no_trade_off_and_the_same_run_the_same_answer():
    found = importance(history(45, ("error",)))
    assert found.weights == ()
    assert found.trade_off == {}
    assert found == importance(history(45, ("error",)))


def test_a_run_that_goes_on_can_be_asked_at_any_time():
    run = history(45)
    assert all(importance(prefix(run, n)) is None for n in (0, 3, 9))
    assert importance(prefix(run, 60)) is not None


def test_columns_are_levels_or_scales():
    assert column("lr", [1e-4, 1e-2, 3e-3, 1e-1]).log
    assert not column("momentum", [0.001, *(0.1 * i for i in range(10))]).log
    assert column("bits", [2, 6, 2, 6, 2, 6, None]).levels == (2, 6)
    assert column("flag", [True, False]).levels == (False, True)
    assert column("name", ["b", "a"]).positions().tolist() == [1.0, 0.0]
    width = column("width", [4, 5, 6])
    assert width.levels == ()
    assert not width.log
    assert [each.name for each in hyperparameters(history(9).results)][:2] == ["optimizer", "learning_rate"]
    assert "model" not in [each.name for each in hyperparameters(history(9).results)]
