"""Measuring a trained configuration again, what a machine takes at rest, and the modelled figure."""

from __future__ import annotations

import tempfile
from dataclasses import replace

import pytest

from dsnn_hpo import kernels
from dsnn_hpo.energy import EnergyConfig
from dsnn_hpo.energy.hardware import hardware_energy, load_table
from dsnn_hpo.errors import EnergyError, InputError, TrialError, TrialInterruptedError
from dsnn_hpo.evaluation import MEASURED_FIGURES, MeasureAgain, _again, _idle, evaluate, measure_again
from dsnn_hpo.evaluation._idle import idle_w
from dsnn_hpo.evaluation._modelled import hardware_figure
from dsnn_hpo.models import build_model
from dsnn_hpo.operators import ShiftConfig, convert_, count_operations
from dsnn_hpo.trial import OBJECTIVES, Trial, TrialState

CONFIG = {"optimizer": "SGD", "lr": 0.05, "weight_bits": 4, "shift_depth": 1}
TRIAL = Trial(0, CONFIG, 1, 3)


@pytest.fixture(autouse=True)
def _own_lock(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def trained(digits_task):
    """Returns the task of a run in which the trial was trained."""
    objectives = ("error", "inference_energy_j", "latency_ms")
    task = digits_task(objectives=("error",))
    assert evaluate(TRIAL, task).state is TrialState.COMPLETED
    short = task.energy.model_copy(update={"final_window_s": 0.05, "final_repeats": 3})
    return replace(task, objectives=objectives, energy=short)


@pytest.mark.skipif(kernels.isa() is None, reason="the kernels are not built")
def test_a_trained_configuration_is_measured_from_its_checkpoint(trained):
    before = sorted(path for path in trained.folder.rglob("*") if path.is_file())
    figures = measure_again(TRIAL, trained)
    assert figures.values.keys() == {
        *("inference_energy_j", "samples_per_s", "float32_energy_j", "latency_ms", "latency_p95_ms")
    }
    assert all(value > 0 for value in figures.values.values())
    how = figures.provenance["inference_energy_j"]
    assert how.ci95 > 0
    assert how.n_repeats == 3
    assert figures.provenance["latency_ms"].n_repeats == 500
    assert figures.spent_j > 0
    assert sorted(path for path in trained.folder.rglob("*") if path.is_file()) == before


def test_without_its_checkpoint_it_is_named(trained):
    with pytest.raises(
        InputError, match=r"checkpoints.* has no checkpoint of epoch 2, so the network of trial 0 cannot be had again"
    ):
        measure_again(replace(TRIAL, fidelity=2), trained)


def test_who_says_stop_is_heard_before_a_pass(trained):
    task = replace(trained, objectives=("emulation_energy_j",))
    with pytest.raises(TrialInterruptedError, match="the measurement of trial 0 was stopped"):
        measure_again(TRIAL, task, lambda: True)


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (TrialInterruptedError("stop"), (TrialInterruptedError, "stop")),
        (EnergyError("no sensor"), (EnergyError, "no sensor")),
        (RuntimeError("of torch's"), (TrialError, "RuntimeError: of torch's")),
    ],
)
def test_whatever_goes_wrong_is_one_of_our_errors(digits_task, monkeypatch, raised, expected):
    def fails(*_):
        raise raised

    monkeypatch.setattr(_again, "measure_again", fails)
    with pytest.raises(expected[0], match=expected[1]):
        MeasureAgain(digits_task())(TRIAL, lambda: False)


def test_figures_that_are_measured_are_objectives():
    assert OBJECTIVES.keys() >= MEASURED_FIGURES


def test_of_a_process_no_rest_is_measured():
    assert idle_w(EnergyConfig(), meter=None) is None


@pytest.fixture
def at_rest(monkeypatch):
    """Returns a function that says what a machine takes at rest, or why that is not known, and the list of questions."""
    monkeypatch.setattr(_idle, "_known", {})
    asked = []

    def of(answer):
        def idle_power_w(meter):
            asked.append(meter)
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(_idle, "idle_power_w", idle_power_w)
        return asked

    return of


def test_a_machine_s_rest_is_measured_once(at_rest):
    asked = at_rest(21.5)
    config = EnergyConfig(scope="machine")
    assert [idle_w(config, "a meter"), idle_w(config, "another")] == [21.5, 21.5]
    assert asked == ["a meter"]


def test_a_busy_machine_has_no_rest_which_matters_only_where_it_is_subtracted(at_rest):
    asked = at_rest(EnergyError("busy"))
    config = EnergyConfig(scope="machine")
    assert [idle_w(config, "a meter"), idle_w(config, "a meter")] == [None, None]
    assert asked == ["a meter"]
    with pytest.raises(EnergyError, match="busy"):
        idle_w(EnergyConfig(scope="machine", idle="subtract"), "a meter")


@pytest.mark.parametrize(
    ("table", "memory"),
    [
        ("horowitz-45nm", "flat"),
        ("horowitz-45nm", "row_stationary"),
        ("shiftaddnet-45nm", "flat"),
        ("zynq-7-zc706", "none"),
    ],
)
def test_the_modelled_figure_is_counts_times_the_table(table, memory):
    network = convert_(
        build_model("cnn", (1, 8, 8), 10, {"width": 4, "depth": 1}), lambda *_: ShiftConfig(), from_trained=False
    )
    value_uj, how = hardware_figure(network, (1, 8, 8), EnergyConfig(hardware=table, memory=memory))
    costs = load_table(table)
    counts = count_operations(network, (1, 8, 8), activation_bits=costs.activation_bits)
    found = hardware_energy(counts, costs, memory)
    assert value_uj == found.total_uj > 0
    assert (how.quality, how.scope, how.hardware) == ("modelled", "inference", found.table)
    assert found.memory in how.method
    assert how.remarks == ((f"{len(found.unverified)} of its costs never verified",) if found.unverified else ())


def test_the_modelled_figure_is_worth_having_and_known_where_it_is_an_objective(digits_task):
    beside = evaluate(TRIAL, digits_task())
    assert beside.values["hardware_energy_uj"] > 0
    task = digits_task(objectives=("error", "hardware_energy_uj"))
    missing = replace(task, energy=task.energy.model_copy(update={"hardware": "no-such-table"}))
    failed = evaluate(TRIAL, missing)
    assert failed.state is TrialState.FAILED
    assert "no-such-table" in failed.error
    # Where nobody asked for it, its lack is no failure.
    nobody = evaluate(TRIAL, replace(missing, objectives=("error",)))
    assert nobody.state is TrialState.COMPLETED
    assert "hardware_energy_uj" not in nobody.values
