from __future__ import annotations

import pytest

from dsnn_hpo.operators import ShiftConfig
from dsnn_hpo.search_space import HYPERPARAMETERS, Hyperparameter
from dsnn_hpo.trial import Scalar

SHIFT_CONFIG = ShiftConfig()
OF_OPERATORS = [h for name, h in HYPERPARAMETERS.items() if hasattr(SHIFT_CONFIG, name)]


@pytest.mark.parametrize("hyperparameter", HYPERPARAMETERS.values(), ids=lambda h: h.name)
def test_defaults_are_legal(hyperparameter: Hyperparameter) -> None:
    assert hyperparameter.problem(hyperparameter.default) is None
    assert hyperparameter.meaning


def _limits(hyperparameter: Hyperparameter) -> list[Scalar]:
    if hyperparameter.is_numeric:
        return [int(hyperparameter.interval.lower), int(hyperparameter.interval.upper)]
    return list(hyperparameter.choices)


@pytest.mark.parametrize("hyperparameter", OF_OPERATORS, ids=lambda h: h.name)
def test_the_operators_agree(hyperparameter: Hyperparameter) -> None:
    assert getattr(SHIFT_CONFIG, hyperparameter.name) == hyperparameter.default
    for value in _limits(hyperparameter):
        assert getattr(ShiftConfig(**{hyperparameter.name: value}), hyperparameter.name) == value
    if hyperparameter.is_numeric:
        for outside in (int(hyperparameter.interval.lower) - 1, int(hyperparameter.interval.upper) + 1):
            assert hyperparameter.problem(outside)
            with pytest.raises(ValueError, match=hyperparameter.name):
                ShiftConfig(**{hyperparameter.name: outside})


def test_all_formats_of_the_operators_can_be_searched() -> None:
    assert {h.name for h in OF_OPERATORS} == set(ShiftConfig.__slots__)


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("optimizer", "sgd", None),
        ("optimizer", "RAdAm", None),
        ("optimizer", "sdg", "did you mean 'SGD'"),
        ("optimizer", 3, "3 is not text"),
        ("lr", 0.0, "0 < value <= 10"),
        ("lr", float("inf"), "not finite"),
        ("momentum", 0, None),
        ("momentum", 1.0, "0 <= value < 1"),
        ("batch_size", 1.0, "1.0 is not a whole number"),
        ("batch_size", True, "True is not a number"),
        ("shift_depth", 0, None),
        ("shift_depth", -1, "out of range"),
        ("schedule", "Cosine", "did you mean 'cosine'"),
    ],
)
def test_problems_say_what_would_be_right(name: str, value: object, problem: str | None) -> None:
    found = HYPERPARAMETERS[name].problem(value)
    assert found is None if problem is None else problem in str(found)
