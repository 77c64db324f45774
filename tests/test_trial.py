from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsnn_hpo.trial import (
    OBJECTIVES,
    Epoch,
    Fidelity,
    Objective,
    Provenance,
    Result,
    Trial,
    TrialState,
    config_key,
    result_from_json,
    to_json,
    trial_from_json,
)

configs = st.dictionaries(
    st.text(min_size=1, max_size=8),
    st.one_of(st.integers(), st.floats(allow_nan=False), st.text(max_size=8), st.booleans()),
)


def test_loss_flips_the_sign_of_what_is_maximised_only():
    accuracy = Objective("accuracy", "maximize", "1", "")
    assert accuracy.loss(0.9) == -0.9
    assert OBJECTIVES["error"].loss(0.1) == 0.1


@pytest.mark.parametrize(
    ("fidelity", "rungs"),
    [
        (Fidelity(1, 9, 3), (1, 3, 9)),
        (Fidelity(1, 27, 3), (1, 3, 9, 27)),
        (Fidelity(2, 20, 3), (2, 7, 20)),
        (Fidelity(1, 1, 3), (1,)),
        (Fidelity(10, 50, 3), (17, 50)),
        (Fidelity(1, 16, 4), (1, 4, 16)),
    ],
)
def test_rungs_end_at_the_longest_training(fidelity, rungs):
    assert fidelity.rungs() == rungs


@pytest.mark.parametrize("wrong", [(0, 9), (9, 1), (1, 9, 1)])
def test_a_fidelity_without_rungs_is_refused(wrong):
    with pytest.raises(ValueError, match=r"epochs must be at least 1, and min|eta must be 2 or more"):
        Fidelity(*wrong)


def test_a_goal_that_is_none_is_refused():
    with pytest.raises(ValueError, match="objective error: its goal is 'minimize' or 'maximize', not 'min'"):
        Objective("error", "min")


@given(configs, st.integers(0, 2**31))
@settings(deadline=None, derandomize=True)
def test_key_depends_on_content_and_not_on_order(config, seed):
    assert config_key(config, seed) == config_key(dict(reversed(config.items())), seed)
    assert config_key(config, seed) != config_key(config, seed + 1)
    assert config_key(config, seed) != config_key({**config, "another": 1}, seed)


@given(configs)
@settings(deadline=None, derandomize=True)
def test_results_survive_json(config):
    trial = Trial(3, config, 9, seed=4)
    result = Result(
        trial,
        TrialState.COMPLETED,
        values={"error": 0.1},
        seconds=1.5,
        test_values={"error": 0.2},
        curve=(Epoch(1, 2.0, 0.5, 0.1, 3.0),),
        n_epochs=6,
        energy_j=7.0,
        provenance={
            "inference_energy_j": Provenance("cpu: rapl", "measured", "machine", "a CPU", 0.1, 3, remarks=("hot",))
        },
    )
    assert result_from_json(json.loads(json.dumps(to_json(result)))) == result
    assert trial_from_json(json.loads(json.dumps(to_json(trial)))) == trial


def test_failure_is_a_state_and_never_a_number():
    trial = Trial(0, {}, 1, seed=0)
    with pytest.raises(ValueError, match="no values"):
        Result(trial, TrialState.FAILED, values={"error": 1.0}, error="diverged")
    with pytest.raises(ValueError, match="no values"):
        Result(trial, TrialState.FAILED)
    with pytest.raises(ValueError, match="finite: error"):
        Result(trial, TrialState.COMPLETED, values={"error": float("nan")})
    with pytest.raises(ValueError, match="has values"):
        Result(trial, TrialState.COMPLETED)
