from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import TypeAdapter, ValidationError

from dsnn_hpo import optimizers
from dsnn_hpo.optimizers import OptimizerConfig, OptunaConfig, RandomConfig, SmacConfig

ADAPTER: TypeAdapter[OptimizerConfig] = TypeAdapter(OptimizerConfig)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("smac", SmacConfig()),
        ("random", RandomConfig()),
        ({"name": "optuna", "sampler": "tpe", "n_initial": 5}, OptunaConfig(sampler="tpe", n_initial=5)),
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
        ("smca", "'smac', 'optuna', 'random'"),
        ({"name": "smac", "population_size": 3}, "population_size"),
        ({"name": "optuna", "sampler": "nsga2", "n_initial": 5}, "n_initial has no effect with sampler nsga2"),
        ({"name": "optuna", "sampler": "tpe", "population_size": 5}, "population_size has no effect with sampler tpe"),
        ({"name": "optuna", "population_size": 1}, "greater than or equal to 2"),
        ({"name": "smac", "n_initial": 0}, "greater than 0"),
        ({"sampler": "tpe"}, "name"),
    ],
)
def test_a_wrong_section_is_refused(written: object, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ADAPTER.validate_python(written)


def test_the_schema_knows_the_bare_name() -> None:
    schema = ADAPTER.json_schema()
    assert {"enum": ["smac", "optuna", "random"], "type": "string"} in schema["anyOf"]


def test_the_package_imports_no_engine() -> None:
    code = "import sys, dsnn_hpo.optimizers; print({'smac', 'optuna', 'torch', 'sklearn'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_public_names_exist() -> None:
    assert all(hasattr(optimizers, name) for name in optimizers.__all__)
