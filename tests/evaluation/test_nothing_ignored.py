"""Nothing that a shipped search space samples is ignored: each hyperparameter changes the training or its measurement."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import ConfigSpace
import pytest
import torch

from dsnn_hpo.evaluation import Task, _evaluate, evaluate
from dsnn_hpo.models import model_arguments, n_convolutions, n_stages
from dsnn_hpo.search_space import HYPERPARAMETERS, ModelFacts, find_space, load_search_space, plain
from dsnn_hpo.training import load_checkpoint, optimizer_family
from dsnn_hpo.trial import Config, Scalar, Trial, TrialState

SHAPE, N_CLASSES, N_EPOCHS = (1, 8, 8), 4, 3
INFERENCE = ("test_batch_size",)

# Where each hyperparameter is active: SGD has a momentum, activations beyond 8 occur, and nothing caps the epochs.
BASES: dict[str, dict[str, Scalar]] = {
    "dsnn": {"optimizer": "SGD", "momentum": 0.9, "width": 4, "depth": 2, "shift_depth": 2, "lr": 0.02},
    "dsnn_paper": {"optimizer": "SGD", "epochs": 20, "shift_depth": 3, "activation_integer_bits": 4},
    "hybrid": {
        "optimizer": "SGD",
        "momentum": 0.9,
        "width": 4,
        "depth": 3,
        "lr": 0.02,
        "first_layer": "convert",
        "stage3_operator": "shift_q",
        "stage3_weight_bits": 5,
    },
}


@cache
def space(name: str) -> ConfigSpace.ConfigurationSpace:
    def count(arguments: Config) -> int:
        return n_convolutions("cnn", SHAPE, N_CLASSES, arguments)

    def stages(arguments: Config) -> int:
        return n_stages("cnn", SHAPE, N_CLASSES, arguments)

    facts = ModelFacts("cnn", model_arguments("cnn"), count, stages)
    return load_search_space(find_space(name, Path.cwd()), facts, seed=0)


def base_config(name: str) -> dict[str, Scalar]:
    default = plain(space(name).get_default_configuration())
    return {**default, **BASES[name]}


CASES = [(name, hyperparameter) for name in BASES for hyperparameter in space(name)]


def another_value(name: str, hyperparameter: str, current: Scalar) -> Scalar:
    """Returns the value of the space that is farthest from the current one; of a constant, another legal value."""
    match space(name)[hyperparameter]:
        case (
            ConfigSpace.UniformIntegerHyperparameter(lower=lower, upper=upper)
            | ConfigSpace.UniformFloatHyperparameter(lower=lower, upper=upper)
        ):
            assert not isinstance(current, str)
            kind = type(current)
            return kind(max((lower, upper), key=lambda bound: abs(bound - current)))
        case ConfigSpace.CategoricalHyperparameter(choices=choices):
            return next(str(choice) for choice in choices if choice != current)
        case ConfigSpace.Constant():
            return next(choice for choice in HYPERPARAMETERS[hyperparameter].choices if choice != current)
        case other:
            raise AssertionError(f"no other value known of {other}")


def trained(task: Task, config: Config) -> tuple[Any, ...]:
    """Returns the trained network's state and its training curve, without times."""
    trial = Trial(0, config, N_EPOCHS, seed=1)
    result = evaluate(trial, task)
    assert result.state is TrialState.COMPLETED, result.error
    (path,) = (task.folder / "checkpoints" / trial.key).iterdir()
    state = load_checkpoint(path).network_state
    curve = [(e.number, e.train_loss, e.validation_error, e.lr) for e in result.curve]
    return {name: (tuple(value.shape), value.flatten().tolist()) for name, value in state.items()}, curve


@pytest.mark.parametrize(("name", "hyperparameter"), [c for c in CASES if c[1] not in INFERENCE])
def test_every_hyperparameter_changes_the_trained_network(
    sparks_task: Callable[..., Task], name: str, hyperparameter: str
) -> None:
    config = base_config(name)
    assert hyperparameter in config, f"give {hyperparameter} a place in BASES where it is active"
    changed = {**config, hyperparameter: another_value(name, hyperparameter, config[hyperparameter])}
    states = [trained(sparks_task(folder), c) for folder, c in (("base", config), ("changed", changed))]
    assert states[0] != states[1]


@pytest.mark.parametrize("name", BASES)
def test_the_same_configuration_trains_the_same_network(sparks_task: Callable[..., Task], name: str) -> None:
    # Without this, the test above would show nothing.
    states = [trained(sparks_task(folder), base_config(name)) for folder in ("base", "again")]
    assert states[0] == states[1]


@pytest.mark.parametrize("name", BASES)
def test_base_configurations_are_legal(name: str) -> None:
    ConfigSpace.Configuration(space(name), values=base_config(name)).check_valid_configuration()


@pytest.mark.parametrize(("name", "hyperparameter"), [c for c in CASES if c[1] in INFERENCE])
def test_every_hyperparameter_of_evaluation_changes_its_batches(
    sparks_task: Callable[..., Task], monkeypatch: pytest.MonkeyPatch, name: str, hyperparameter: str
) -> None:
    seen: set[int] = set()
    build = _evaluate.build_network

    def spied(*arguments: Any, **keywords: Any) -> torch.nn.Module:
        network = build(*arguments, **keywords)

        def note(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            # Operations are counted on one sample that is no data.
            if not module.training and len(inputs[0]) > 1:
                seen.add(len(inputs[0]))

        network.register_forward_pre_hook(note)
        return network

    monkeypatch.setattr(_evaluate, "build_network", spied)
    config = base_config(name)
    sizes = []
    for folder, value in (("base", 500), ("changed", 600)):
        seen.clear()
        task = sparks_task(folder, objectives=("error", "emulation_energy_j"))
        result = evaluate(Trial(0, {**config, hyperparameter: value}, N_EPOCHS, seed=1), task)
        assert result.state is TrialState.COMPLETED, result.error
        sizes.append(set(seen))
    # 640 images to validate, in the epochs and in the energy's window; errors are the frozen network's.
    assert sizes == [{500, 140}, {600, 40}]


def optimizers() -> list[str]:
    return [str(choice) for choice in space("dsnn_paper")["optimizer"].choices]


@pytest.mark.parametrize("optimizer", optimizers())
def test_momentum_matters_exactly_where_the_optimizer_has_one(sparks_task: Callable[..., Task], optimizer: str) -> None:
    config = {**base_config("dsnn_paper"), "optimizer": optimizer, "lr": 0.01}
    states = [trained(sparks_task(f"m{m}"), {**config, "momentum": m}) for m in (0.9, 0.3)]
    assert (states[0] != states[1]) == (optimizer_family(optimizer).momentum is not None)


def test_momentum_is_searched_exactly_where_the_optimizer_has_one() -> None:
    searched = space("dsnn")
    for optimizer in searched["optimizer"].choices:
        config = {**base_config("dsnn"), "optimizer": str(optimizer)}
        without = {name: value for name, value in config.items() if name != "momentum"}
        legal = without if optimizer_family(str(optimizer)).momentum is None else config
        ConfigSpace.Configuration(searched, values=legal).check_valid_configuration()
