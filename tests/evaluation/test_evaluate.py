"""The target function, end to end on real digits."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch

from dsnn_hpo.data import batches, load_dataset, load_split, prepare
from dsnn_hpo.evaluation import Task, evaluate, output_shape
from dsnn_hpo.models import build_model
from dsnn_hpo.operators import ShiftConfig, convert_, last_convolutions, only, packed_size_bytes
from dsnn_hpo.training import load_checkpoint
from dsnn_hpo.trial import Trial, TrialState

CONFIG = {
    "optimizer": "SGD",
    "lr": 0.05,
    "momentum": 0.9,
    "weight_decay": 1e-4,
    "weight_bits": 4,
    "activation_integer_bits": 6,
    "activation_fraction_bits": 8,
    "shift_depth": 2,
    "shift_type": "Q",
    "rounding": "deterministic",
}


def trial(fidelity=2, number=0, seed=3, **changes):
    return Trial(number, {**CONFIG, **changes}, fidelity, seed)


def completed(result):
    assert result.state is TrialState.COMPLETED, result.error
    return result


def failed(result):
    assert result.state is TrialState.FAILED
    assert not result.values
    assert not result.test_values
    assert not result.curve
    return result.error


def checkpoints(task: Task, a_trial: Trial):
    return sorted((task.folder / "checkpoints" / a_trial.key).iterdir())


def errors_by_epoch(result):
    return [replace(epoch, seconds=0.0) for epoch in result.curve]


def saved_network(task, a_trial):
    """Returns the network rebuilt by hand from the checkpoint, and the data."""
    arguments = dict(task.config.model_arguments)
    network = build_model("cnn", (1, 8, 8), 10, arguments)
    names = ("shift_type", "weight_bits", "activation_integer_bits", "activation_fraction_bits", "rounding")
    config = ShiftConfig(**{name: a_trial.config[name] for name in names})
    network = convert_(
        network, only(last_convolutions(network, a_trial.config["shift_depth"]), config), from_trained=False
    )
    network.load_state_dict(load_checkpoint(checkpoints(task, a_trial)[-1]).network_state)
    data = prepare(load_dataset("digits"), load_split(task.folder / "split.npz"))
    return network.eval(), data


def error_by_hand(network, samples, data):
    wrong = 0
    with torch.no_grad():
        for images, labels in batches(samples, 7, mean=data.mean, std=data.std):
            wrong += (network(images).argmax(1) != labels).sum().item()
    return wrong / len(samples)


@pytest.mark.parametrize("shift_type", ["Q", "PS"])
@pytest.mark.parametrize("rounding", ["deterministic", "stochastic"])
def test_values_are_those_of_the_saved_network(digits_task, shift_type, rounding):
    task = digits_task(objectives=("error", "inference_energy_j", "latency_ms"))
    ran = trial(fidelity=4, shift_type=shift_type, rounding=rounding)
    result = completed(evaluate(ran, task))
    always = {"error", "emulation_error", "train_energy_j", "model_size_bytes", "co2_g", "hardware_energy_uj"}
    # Measured in one go, each with the one beside it.
    measured = {"inference_energy_j", "samples_per_s", "latency_ms", "latency_p95_ms"}
    assert result.values.keys() == always | measured
    assert all(value > 0 for value in result.values.values())
    network, data = saved_network(task, ran)
    assert result.values["emulation_error"] == error_by_hand(network, data.validation, data)
    assert result.curve[-1].train_loss < result.curve[0].train_loss
    assert result.test_values["error"] == pytest.approx(error_by_hand(network, data.test, data), abs=0.05)
    assert result.values["model_size_bytes"] == packed_size_bytes(network)
    assert [epoch.number for epoch in result.curve] == [1, 2, 3, 4]
    assert result.curve[-1].validation_error == result.values["emulation_error"]
    assert (result.trial, result.n_epochs) == (ran, 4)
    assert result.energy_j == result.values["train_energy_j"]
    assert result.seconds > sum(epoch.seconds for epoch in result.curve)
    assert result.measuring_energy_j > 0
    qualities = {name: how.quality for name, how in result.provenance.items()}
    assert qualities.keys() == result.values.keys() - {"model_size_bytes"}
    assert qualities["inference_energy_j"] in ("estimated", "measured")
    assert (qualities["hardware_energy_uj"], qualities["latency_ms"]) == ("modelled", "measured")


def test_only_the_full_fidelity_sees_the_test_split(digits_task):
    task = digits_task()
    assert not completed(evaluate(trial(fidelity=1), task)).test_values
    assert not completed(evaluate(trial(fidelity=3), task)).test_values
    assert completed(evaluate(trial(fidelity=4), task)).test_values.keys() == {"error"}


def test_windows_are_measured_only_where_asked_for(digits_task):
    result = completed(evaluate(trial(fidelity=1), digits_task()))
    assert result.values.keys() == {"error", "train_energy_j", "model_size_bytes", "co2_g", "hardware_energy_uj"}
    assert result.measuring_energy_j == 0.0


@pytest.mark.parametrize("rounding", ["deterministic", "stochastic"])
def test_same_trial_twice_has_the_same_values(digits_task, rounding):
    results = []
    for folder in ("once", "twice"):
        # What ran before in the same worker does not matter.
        torch.manual_seed(len(results))
        results.append(completed(evaluate(trial(fidelity=4, rounding=rounding), digits_task(folder))))
    first, second = results
    for name in ("error", "model_size_bytes"):
        assert first.values[name] == second.values[name]
    assert first.test_values == second.test_values
    assert errors_by_epoch(first) == errors_by_epoch(second)


def test_another_seed_is_another_training(digits_task):
    task = digits_task()
    first, second = (completed(evaluate(trial(seed=seed), task)) for seed in (1, 2))
    assert errors_by_epoch(first) != errors_by_epoch(second)


@pytest.mark.parametrize("shift_type", ["Q", "PS"])
@pytest.mark.parametrize("rounding", ["deterministic", "stochastic"])
def test_promoted_configuration_ends_as_if_never_interrupted(digits_task, shift_type, rounding):
    how = {"shift_type": shift_type, "rounding": rounding}
    whole_task, task = digits_task("whole"), digits_task("rungs")
    whole = completed(evaluate(trial(fidelity=4, **how), whole_task))
    rungs = []
    for number, fidelity in enumerate((1, 3, 4)):
        torch.manual_seed(number)
        rungs.append(completed(evaluate(trial(fidelity, number, **how), task)))
        assert [p.name for p in checkpoints(task, trial(**how))] == [f"epoch-{fidelity:05d}.pt"]
    assert [r.n_epochs for r in rungs] == [1, 2, 1]
    last = rungs[-1]
    assert errors_by_epoch(last) == errors_by_epoch(whole)
    assert (last.values["error"], last.test_values) == (whole.values["error"], whole.test_values)
    for rung in rungs[:-1]:
        assert (
            rung.values.get("emulation_error", rung.values["error"])
            == whole.curve[rung.trial.fidelity - 1].validation_error
        )


def test_training_energy_and_emissions_add_up_over_the_rungs(digits_task):
    task = digits_task()
    rungs = [completed(evaluate(trial(fidelity, number), task)) for number, fidelity in enumerate((1, 2, 4))]
    spent = 0.0
    for rung in rungs:
        assert rung.energy_j > 0
        spent += rung.energy_j
        assert rung.values["train_energy_j"] == pytest.approx(spent, rel=1e-12)
        assert rung.values["co2_g"] == pytest.approx(rungs[0].values["co2_g"] * spent / rungs[0].energy_j, rel=1e-6)


def test_trial_whose_worker_died_after_training_reports_that_training(digits_task):
    task = digits_task()
    completed(evaluate(trial(1, number=0), task))
    told = completed(evaluate(trial(4, number=1), task))
    again = completed(evaluate(trial(4, number=1), task))
    assert (again.n_epochs, again.energy_j) == (told.n_epochs, told.energy_j) == (3, told.energy_j)
    assert again.energy_j > 0
    assert (again.values, again.test_values, again.curve) == (told.values, told.test_values, told.curve)


def test_trial_that_needs_no_more_training_pays_nothing(digits_task):
    task = digits_task()
    first = completed(evaluate(trial(2, number=0, epochs=2), task))
    promoted = completed(evaluate(trial(4, number=1, epochs=2), task))
    resumed = completed(evaluate(trial(4, number=1, epochs=2), task))
    for result in (promoted, resumed):
        assert (result.n_epochs, result.energy_j) == (0, 0.0)
        assert result.values["emulation_error"] == first.values["error"]
        assert result.values["train_energy_j"] == first.values["train_energy_j"]
        assert result.test_values.keys() == {"error"}


@pytest.mark.parametrize(("cap", "n_epochs"), [(1, 1), (3, 3), (9, 4)])
def test_epochs_caps_the_training_length(digits_task, cap, n_epochs):
    result = completed(evaluate(trial(fidelity=4, epochs=cap), digits_task()))
    assert (result.n_epochs, len(result.curve)) == (n_epochs, n_epochs)


def test_diverged_training_fails_with_its_reason(digits_task):
    # With convolutions in floating point: bounded weights and activations can hardly diverge.
    ran = trial(lr=1e9, shift_depth=0, activation_integer_bits=32)
    task = digits_task()
    result = evaluate(ran, task)
    assert re.fullmatch(r"the training loss became (nan|inf) in epoch 1, step \d+", failed(result))
    # What it cost is billed all the same.
    assert result.n_epochs == 1
    assert result.energy_j > 0
    assert not (task.folder / "checkpoints" / ran.key).exists()


def test_damaged_checkpoint_fails_and_is_named(digits_task):
    task = digits_task()
    completed(evaluate(trial(1), task))
    (path,) = checkpoints(task, trial())
    path.write_bytes(path.read_bytes()[:-100])
    reason = failed(evaluate(trial(2, number=1), task))
    assert str(path) in reason
    assert "not a readable checkpoint" in reason


def test_checkpoint_of_another_network_fails(digits_task):
    completed(evaluate(trial(1), digits_task()))
    wider = digits_task(model_arguments={"width": 5, "depth": 2})
    assert "of another training" in failed(evaluate(trial(2, number=1), wider))


def test_unknown_hyperparameter_fails_and_is_named(digits_task):
    reason = failed(evaluate(trial(momentums=0.5), digits_task()))
    assert "momentums" in reason
    assert "width, depth" in reason


@pytest.mark.parametrize(
    ("changes", "reason"), [({"lr": -1.0}, "lr is -1.0"), ({"weight_bits": 9}, "weight_bits must be")]
)
def test_impossible_value_fails_and_is_named(digits_task, changes, reason):
    assert reason in failed(evaluate(trial(**changes), digits_task()))


USER_MODELS = """
import torch

def fine(input_shape, n_classes, width=4):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, n_classes))

def cannot_be_built(input_shape, n_classes):
    raise ZeroDivisionError("not today")

class Failing(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(64, 10)

    def forward(self, x):
        raise KeyError("lost my key")

def cannot_run(input_shape, n_classes):
    return Failing()
"""


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("user_networks_of_a_test:cannot_be_built", "ZeroDivisionError: not today"),
        ("user_networks_of_a_test:cannot_run", r"KeyError: 'lost my key' (user_networks_of_a_test.py:"),
        ("user_networks_of_a_test:missing", "'missing'"),
        ("no_such_module_anywhere:net", "cannot import module"),
    ],
)
def test_failing_network_of_the_user_fails_with_its_reason(digits_task, tmp_path, model, reason):
    (tmp_path / "user_networks_of_a_test.py").write_text(USER_MODELS)
    task = replace(digits_task(model=model, model_arguments={}), import_paths=(str(tmp_path),))
    assert reason in failed(evaluate(trial(), task))


def test_network_of_the_user_is_found_and_trained(digits_task, tmp_path):
    (tmp_path / "good_networks_of_a_test.py").write_text(USER_MODELS)
    task = digits_task(model="good_networks_of_a_test:fine", model_arguments={})
    assert completed(evaluate(trial(), replace(task, import_paths=(str(tmp_path),)))).values["error"] < 0.9


def test_missing_split_fails_and_is_named(digits_task):
    task = digits_task()
    (task.folder / "split.npz").unlink()
    assert "split.npz: is not a readable split" in failed(evaluate(trial(), task))


def test_output_shape_leaves_the_random_numbers_alone(digits_task):
    task = digits_task()
    data = prepare(load_dataset("digits"), load_split(task.folder / "split.npz"))
    torch.manual_seed(5)
    state = torch.get_rng_state()
    assert output_shape(CONFIG, task, data) == (2, 10)
    assert torch.equal(torch.get_rng_state(), state)
