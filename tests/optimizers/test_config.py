from __future__ import annotations

import subprocess
import sys

import pytest
from ConfigSpace import ConfigurationSpace
from pydantic import TypeAdapter, ValidationError

from dsnn_hpo import optimizers
from dsnn_hpo.errors import InputError
from dsnn_hpo.optimizers import (
    AshaConfig,
    BayesianConfig,
    OptimizerConfig,
    OptunaConfig,
    RandomConfig,
    SmacConfig,
    check_optimizer,
    make_optimizer,
)
from dsnn_hpo.trial import OBJECTIVES, Fidelity

ADAPTER: TypeAdapter[OptimizerConfig] = TypeAdapter(OptimizerConfig)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("smac", SmacConfig()),
        ("random", RandomConfig()),
        ("bayesian", BayesianConfig()),
        (
            {"name": "bayesian", "constraints": ["error <= 0.2"], "reference": {"error": 0.5}, "cost": "energy"},
            BayesianConfig(constraints=("error <= 0.2",), reference={"error": 0.5}, cost="energy"),
        ),
        ({"name": "asha", "proposals": "tpe", "brackets": 2}, AshaConfig(proposals="tpe", brackets=2)),
        ({"name": "optuna", "sampler": "tpe", "n_initial": 5}, OptunaConfig(sampler="tpe", n_initial=5)),
        ({"name": "optuna", "sampler": "gp", "n_initial": 5}, OptunaConfig(sampler="gp", n_initial=5)),
        (
            {"name": "bayesian", "warm_start": ["runs/a"], "prior_weight": 0},
            BayesianConfig(warm_start=("runs/a",), prior_weight=0),
        ),
        (
            {"name": "smac", "min_trials": 9, "evaluate_default": False},
            SmacConfig(min_trials=9, evaluate_default=False),
        ),
    ],
)
def test_a_section_becomes_a_config(written: object, expected: OptimizerConfig) -> None:
    assert ADAPTER.validate_python(written) == expected


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("smca", "'bayesian', 'asha', 'smac', 'optuna', 'random'"),
        ({"name": "bayesian", "test_price": 0}, "greater than 0"),
        ({"name": "asha", "proposals": "nsga2"}, "evolutionary"),
        ({"name": "smac", "population_size": 3}, "population_size"),
        ({"name": "optuna", "sampler": "nsga2", "n_initial": 5}, "n_initial has no effect with sampler nsga2"),
        ({"name": "optuna", "sampler": "tpe", "population_size": 5}, "population_size has no effect with sampler tpe"),
        ({"name": "optuna", "sampler": "gp", "population_size": 5}, "population_size has no effect with sampler gp"),
        ({"name": "bayesian", "prior_weight": -1}, "greater than or equal to 0"),
        ({"name": "optuna", "population_size": 1}, "greater than or equal to 2"),
        ({"name": "smac", "n_initial": 0}, "greater than 0"),
        ({"sampler": "tpe"}, "name"),
    ],
)
def test_a_wrong_section_is_refused(written: object, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ADAPTER.validate_python(written)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"constraints": ["error < 0.2"]}, "constraint 'error < 0.2' is none; write e.g."),
        ({"constraints": ["error <= small"]}, "is none"),
        ({"constraints": ["error <= nan"]}, "is none"),
        ({"constraints": ["error >= 0.2"]}, "bounds error from its better side: it is to minimize"),
        ({"constraints": ["eror <= 0.2"]}, "no objective 'eror' .did you mean 'error'"),
        ({"constraints": ["error <= 0.2", "error <= 0.1"]}, "'error <= 0.2': another one bounds error, too"),
        ({"reference": {"eror": 0.2}}, "no objective 'eror' .did you mean 'error'"),
        ({"reference": {"error": float("inf")}}, "must be a finite number"),
        ({"weights": {"eror": 2.0}}, "no objective 'eror' .did you mean 'error'"),
        ({"weights": {"error": 0.0}}, "must be a number above 0"),
    ],
)
def test_a_wrong_aim_is_refused(settings: dict[str, object], message: str) -> None:
    config = ADAPTER.validate_python({"name": "bayesian", **settings})
    with pytest.raises(InputError, match=message):
        check_optimizer(config, [OBJECTIVES["error"], OBJECTIVES["samples_per_s"]])


def test_earlier_runs_are_for_experiments_to_read() -> None:
    space = ConfigurationSpace({"x": (0.0, 1.0)})
    with pytest.raises(InputError, match=r"warm_start: .* here give Background\(earlier=results\)"):
        make_optimizer(BayesianConfig(warm_start=("runs/a",)), space, [OBJECTIVES["error"]], Fidelity(1, 9), 0)


def test_right_aims_are_accepted() -> None:
    config = BayesianConfig(constraints=("error <= 0.2", "samples_per_s >= 1e3"), reference={"samples_per_s": 10.0})
    check_optimizer(config, [OBJECTIVES["error"], OBJECTIVES["samples_per_s"]])


def test_the_schema_knows_the_bare_name() -> None:
    schema = ADAPTER.json_schema()
    assert {"enum": ["bayesian", "asha", "smac", "optuna", "random"], "type": "string"} in schema["anyOf"]


def test_the_package_imports_no_engine() -> None:
    code = "import sys, dsnn_hpo.optimizers; print({'smac', 'optuna', 'torch', 'sklearn', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_public_names_exist() -> None:
    assert all(hasattr(optimizers, name) for name in optimizers.__all__)
