"""What every optimizer must do. A new engine is one line in ENGINES."""

from __future__ import annotations

import copy
import json
import math
import os
import pickle
import random
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import pytest
from ConfigSpace import (
    CategoricalHyperparameter,
    Configuration,
    ConfigurationSpace,
    Constant,
    Float,
    ForbiddenAndConjunction,
    ForbiddenEqualsClause,
    ForbiddenGreaterThanClause,
    ForbiddenGreaterThanEqualsClause,
    ForbiddenLessThanClause,
    ForbiddenLessThanEqualsClause,
    InCondition,
    OrdinalHyperparameter,
    UniformFloatHyperparameter,
    UniformIntegerHyperparameter,
)

from dsnn_hpo.optimizers import (
    AshaConfig,
    BayesianConfig,
    Optimizer,
    OptunaConfig,
    RandomConfig,
    RecallingOptimizer,
    SmacConfig,
    make_optimizer,
)
from dsnn_hpo.optimizers import OptimizerConfig as Config
from dsnn_hpo.search_space import plain
from dsnn_hpo.trial import Fidelity, Objective, Result, Trial, TrialState

ENGINES: Mapping[str, Config] = {
    "smac": SmacConfig(n_initial=4, min_trials=4),
    "optuna-nsga2": OptunaConfig(sampler="nsga2", population_size=4),
    "optuna-tpe": OptunaConfig(sampler="tpe", n_initial=4),
    # A proposal of its model takes a third of a second: a few of them in each test.
    "optuna-gp": OptunaConfig(sampler="gp", n_initial=37),
    "random": RandomConfig(),
    "asha": AshaConfig(),
    "asha-brackets": AshaConfig(proposals="random", brackets=3),
    "asha-tpe": AshaConfig(proposals="tpe"),
    "bayesian": BayesianConfig(n_initial=8),
    "bayesian-aimed": BayesianConfig(n_initial=8, constraints=("latency_ms <= 8",), test_price=2),
}
FIDELITY = Fidelity(1, 9, 3)
ERROR = Objective("error", "minimize", "1", "")
ENERGY = Objective("energy_j", "minimize", "J", "")
ACCURACY = Objective("accuracy", "maximize", "1", "")

Make = Callable[..., Optimizer]
Measure = Callable[[Trial], dict[str, float]]


@pytest.fixture(params=ENGINES)
def make(request: pytest.FixtureRequest) -> Make:
    def build(
        seed: int = 0,
        space: ConfigurationSpace | None = None,
        objectives: Iterable[Objective] = (ERROR, ENERGY),
        fidelity: Fidelity = FIDELITY,
    ) -> Optimizer:
        chosen = _space() if space is None else space
        return make_optimizer(ENGINES[request.param], chosen, tuple(objectives), fidelity, seed)

    return build


def _space() -> ConfigurationSpace:
    """A space with every kind of hyperparameter, a condition and two forbidden clauses."""
    optimizer = CategoricalHyperparameter("optimizer", ["SGD", "Adam", "Adagrad"])
    momentum = UniformFloatHyperparameter("momentum", 0.0, 0.9)
    depth = UniformIntegerHyperparameter("depth", 1, 3, default_value=3)
    shift_depth = UniformIntegerHyperparameter("shift_depth", 0, 19, default_value=5)
    space = ConfigurationSpace(seed=1)
    space.add(
        optimizer,
        momentum,
        depth,
        shift_depth,
        UniformFloatHyperparameter("lr", 1e-4, 1e-1, log=True),
        UniformIntegerHyperparameter("batch_size", 16, 256, log=True),
        OrdinalHyperparameter("width", [4, 8, 16]),
        CategoricalHyperparameter("flag", [True, False]),
        Constant("rounding", "nearest"),
    )
    space.add(InCondition(momentum, optimizer, ["SGD", "Adam"]))
    space.add(
        ForbiddenAndConjunction(ForbiddenEqualsClause(depth, 1), ForbiddenGreaterThanClause(shift_depth, 7)),
        ForbiddenAndConjunction(ForbiddenEqualsClause(optimizer, "Adagrad"), ForbiddenEqualsClause(shift_depth, 3)),
    )
    return space


def _measure(trial: Trial) -> dict[str, float]:
    lr, width = float(trial.config["lr"]), float(trial.config["width"])
    error = 0.05 * abs(math.log10(lr) + 2.5) + 0.3 / width + 0.2 / trial.fidelity
    energy_j = width**2 * (1 + float(trial.config["shift_depth"]) / 19)
    return {"error": error, "energy_j": energy_j, "accuracy": 1 - error, "latency_ms": width}


FLAT = {"error": 1.0, "energy_j": 1.0, "accuracy": 1.0, "latency_ms": 1.0}


def _completed(trial: Trial, measure: Measure = _measure) -> Result:
    return Result(trial, TrialState.COMPLETED, measure(trial))


def _failed(trial: Trial) -> Result:
    return Result(trial, TrialState.FAILED, error="diverged")


def _drive(optimizer: Optimizer, n_trials: int, finish: Callable[[Trial], Result] = _completed) -> list[Trial]:
    """Asks and tells one trial after the other; ends early where nothing is proposed."""
    trials = []
    for _ in range(n_trials):
        trial = optimizer.ask()
        if trial is None:
            break
        optimizer.tell(finish(trial))
        trials.append(trial)
    return trials


def _drive_in_parallel(
    optimizer: Optimizer, n_trials: int, finish: Callable[[Trial], Result], order: random.Random
) -> list[Trial | Result]:
    """Keeps four trials in flight, tells them in random order, and returns the events of the run."""
    events: list[Trial | Result] = []
    in_flight: list[Trial] = []
    for _ in range(n_trials):
        while len(in_flight) < 4:
            trial = optimizer.ask()
            assert trial is not None
            in_flight.append(trial)
            events.append(trial)
        result = finish(in_flight.pop(order.randrange(len(in_flight))))
        optimizer.tell(result)
        events.append(result)
    return events


def _replay(optimizer: Optimizer, events: Iterable[Trial | Result]) -> None:
    for event in events:
        if isinstance(event, Trial):
            assert optimizer.ask() == event
        else:
            optimizer.tell(event)


def _sometimes_failed(trial: Trial) -> Result:
    return _failed(trial) if trial.seed % 10 < 3 else _completed(trial)


def test_proposals_lie_in_the_space(make: Make) -> None:
    space = _space()
    trials = _drive(make(space=space), 40)
    assert len(trials) == 40
    for trial in trials:
        configuration = Configuration(space, values=dict(trial.config))
        configuration.check_valid_configuration()
        assert plain(configuration) == trial.config
        assert ("momentum" in trial.config) == (trial.config["optimizer"] != "Adagrad")
        assert not (trial.config["depth"] == 1 and int(trial.config["shift_depth"]) > 7)


def test_values_are_plain_python(make: Make) -> None:
    allowed = {bool, int, float, str}
    for trial in _drive(make(), 8):
        assert {type(value) for value in trial.config.values()} <= allowed
        assert type(trial.config["flag"]) is bool
        assert type(trial.config["width"]) is int


def test_ids_count_up_and_fidelities_are_rungs(make: Make) -> None:
    trials = _drive(make(), 30)
    assert [trial.id for trial in trials] == list(range(30))
    assert {trial.fidelity for trial in trials} <= set(FIDELITY.rungs())
    assert max(trial.fidelity for trial in trials) == FIDELITY.max_epochs


def test_rungs_of_a_configuration_share_seed_and_key(make: Make) -> None:
    trials = _drive(make(), 30)
    by_config: dict[str, set[tuple[int, str]]] = {}
    for trial in trials:
        by_config.setdefault(repr(trial.config), set()).add((trial.seed, trial.key))
        assert 0 <= trial.seed < 2**31
    assert all(len(seeds) == 1 for seeds in by_config.values())
    assert len({seed for seeds in by_config.values() for seed, _ in seeds}) == len(by_config)


def test_no_trial_is_proposed_twice(make: Make) -> None:
    trials = _drive(make(), 40)
    assert len({(trial.key, trial.fidelity) for trial in trials}) == len(trials)


def test_the_default_configuration_comes_first(make: Make) -> None:
    trial = make().ask()
    assert trial is not None
    assert trial.config == plain(_space().get_default_configuration())


def test_the_same_seed_gives_the_same_proposals(make: Make) -> None:
    assert _drive(make(seed=3), 30) == _drive(make(seed=3), 30)


def test_different_seeds_differ(make: Make) -> None:
    one, other = _drive(make(seed=3), 10), _drive(make(seed=4), 10)
    assert {t.key for t in one}.isdisjoint(t.key for t in other)
    assert [t.config for t in one[1:]] != [t.config for t in other[1:]]


def test_global_random_state_neither_matters_nor_changes(make: Make) -> None:
    random.seed(1)
    np.random.seed(1)
    one = _drive(make(), 20)
    random.seed(2)
    np.random.seed(2)
    before = random.getstate(), copy.deepcopy(np.random.get_state(legacy=False))
    assert _drive(make(), 20) == one
    after = random.getstate(), np.random.get_state(legacy=False)
    assert after[0] == before[0]
    assert repr(after[1]) == repr(before[1])


def test_the_given_space_is_left_alone(make: Make) -> None:
    space = _space()
    expected = _space().sample_configuration(5)
    _drive(make(space=space), 10)
    assert space.sample_configuration(5) == expected


def test_one_in_three_failing_does_no_harm(make: Make) -> None:
    optimizer = make()
    trials = _drive(optimizer, 40, _sometimes_failed)
    n_failed = sum(_sometimes_failed(trial).state is TrialState.FAILED for trial in trials)
    assert len(trials) == 40
    assert 3 < n_failed < 30


def test_the_first_twenty_failing_does_no_harm(make: Make) -> None:
    optimizer = make()
    assert len(_drive(optimizer, 20, _failed)) == 20
    trials = _drive(optimizer, 30)
    assert len(trials) == 30
    assert any(trial.fidelity == FIDELITY.max_epochs for trial in trials)


def test_a_failed_configuration_is_not_proposed_again(make: Make) -> None:
    trials = _drive(make(), 40, _sometimes_failed)
    failed: set[str] = set()
    for trial in trials:
        assert trial.key not in failed
        if _sometimes_failed(trial).state is TrialState.FAILED:
            failed.add(trial.key)
    assert failed


def test_twelve_in_flight_before_anything_is_told(make: Make) -> None:
    optimizer = make()
    trials = [optimizer.ask() for _ in range(12)]
    assert None not in trials
    assert len({(t.key, t.fidelity) for t in trials if t}) == 12
    for trial in reversed(trials):
        assert trial is not None
        optimizer.tell(_completed(trial))
    assert optimizer.ask() is not None


@pytest.mark.parametrize("finish", [_completed, _sometimes_failed])
@pytest.mark.parametrize("n_told", [0, 9, 30])
def test_replay_gives_the_same_next_proposals(make: Make, n_told: int, finish: Callable[[Trial], Result]) -> None:
    original, resumed = make(seed=5), make(seed=5)
    _replay(resumed, _drive_in_parallel(original, n_told, finish, random.Random(0)))
    order = random.Random(1), random.Random(1)
    # The trials in flight stay so; both go on with new ones.
    expected = _drive_in_parallel(original, 12, finish, order[0])
    assert _drive_in_parallel(resumed, 12, finish, order[1]) == expected


@pytest.mark.parametrize("n_told", [0, 9, 30])
def test_recalling_is_as_good_as_replaying(make: Make, n_told: int) -> None:
    original, resumed = make(seed=5), make(seed=5)
    if not isinstance(resumed, RecallingOptimizer):
        pytest.skip("is resumed by asking again")
    for event in _drive_in_parallel(original, n_told, _sometimes_failed, random.Random(0)):
        if isinstance(event, Trial):
            resumed.recall(event)
        else:
            resumed.tell(event)
    order = random.Random(1), random.Random(1)
    expected = _drive_in_parallel(original, 12, _sometimes_failed, order[0])
    assert _drive_in_parallel(resumed, 12, _sometimes_failed, order[1]) == expected


def test_only_the_next_trial_can_be_recalled(make: Make) -> None:
    original, resumed = make(), make()
    if not isinstance(resumed, RecallingOptimizer):
        pytest.skip("is resumed by asking again")
    _, second = original.ask(), original.ask()
    assert second is not None
    with pytest.raises(ValueError, match="trial 1 was asked where trial 0 is next"):
        resumed.recall(second)


def test_pickling_keeps_what_is_known(make: Make) -> None:
    original = make()
    if not isinstance(original, RecallingOptimizer):
        pytest.skip("see the snapshots of experiments")
    _drive(original, 25)
    again = pickle.loads(pickle.dumps(original))  # noqa: S301
    assert _drive(again, 5) == _drive(original, 5)


def _conflicting(trial: Trial) -> dict[str, float]:
    values = _measure(trial)
    return {**values, "energy_j": -values["error"]}


def _agreeing(trial: Trial) -> dict[str, float]:
    values = _measure(trial)
    return {**values, "energy_j": 1e3 * values["error"]}


def _extreme(trial: Trial) -> dict[str, float]:
    return {**_measure(trial), "error": 10.0 ** (trial.seed % 19 - 9), "energy_j": -(10.0 ** (trial.seed % 17 - 8))}


def _huge(trial: Trial) -> dict[str, float]:
    values = _measure(trial)
    return {**values, "error": 1e9 + values["error"], "energy_j": 1e-9 * values["energy_j"]}


def _all_constant(trial: Trial) -> dict[str, float]:
    return {**_measure(trial), "error": 0.5, "energy_j": 3.0}


def _one_outlier(trial: Trial) -> dict[str, float]:
    return {**_measure(trial), **({"error": 1e9} if trial.id == 5 else {})}


@pytest.mark.parametrize("measure", [_conflicting, _agreeing, _extreme, _huge, _all_constant, _one_outlier])
def test_hard_objectives(make: Make, measure: Measure) -> None:
    def finish(trial: Trial) -> Result:
        return _failed(trial) if trial.seed % 10 < 3 else _completed(trial, measure)

    trials = _drive(make(), 40, finish)
    assert len(trials) == 40
    assert len({(t.key, t.fidelity) for t in trials}) == 40
    assert len({t.key for t in trials}) > 10


def test_all_failing_never_stalls(make: Make) -> None:
    assert len(_drive(make(), 60, _failed)) == 60


def test_a_space_of_one_configuration_that_fails_ends(make: Make) -> None:
    space = ConfigurationSpace()
    space.add(Constant("lr", 0.1), Constant("width", 4), Constant("shift_depth", 0))
    optimizer = make(space=space)
    assert len(_drive(optimizer, 20, _failed)) == 1
    assert optimizer.ask() is None


def test_a_space_of_one_configuration_ends(make: Make) -> None:
    space = ConfigurationSpace()
    space.add(Constant("lr", 0.1), Constant("width", 4), Constant("shift_depth", 0))
    optimizer = make(space=space)
    trials = _drive(optimizer, 20)
    assert {trial.config["lr"] for trial in trials} == {0.1}
    assert len(trials) == len({trial.fidelity for trial in trials})
    assert trials
    assert optimizer.ask() is None
    assert optimizer.ask() is None


@pytest.mark.parametrize("finish", [_completed, _sometimes_failed])
def test_a_tiny_space_is_evaluated_completely(make: Make, finish: Callable[[Trial], Result]) -> None:
    space = ConfigurationSpace()
    space.add(
        OrdinalHyperparameter("width", [4, 8, 16]),
        CategoricalHyperparameter("lr", [0.001, 0.01]),
        Constant("shift_depth", 0),
    )
    optimizer = make(space=space)
    trials = _drive(optimizer, 100, finish)
    assert len(trials) < 100
    assert {(t.config["width"], t.config["lr"]) for t in trials} == {(w, x) for w in (4, 8, 16) for x in (0.001, 0.01)}
    assert len({(t.key, t.fidelity) for t in trials}) == len(trials)


def test_ten_configurations_are_tried_at_every_rung(make: Make) -> None:
    optimizer = make(space=ConfigurationSpace({"n": (1, 10)}), fidelity=Fidelity(3, 9, 3))
    trials = _drive(optimizer, 200, lambda t: _completed(t, lambda t: {**FLAT, "error": float(t.config["n"])}))
    assert len({(t.key, t.fidelity) for t in trials}) == len(trials)
    assert {t.config["n"] for t in trials} == set(range(1, 11))
    assert len(trials) < 200


def test_every_kind_of_clause_is_kept(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    space = ConfigurationSpace(
        {name: Float(name, (0.0, 1.0), default=0.5) for name in ("above", "below", "at_least", "at_most")}
    )
    space.add(
        ForbiddenLessThanClause(space["above"], 0.3),
        ForbiddenGreaterThanClause(space["below"], 0.7),
        ForbiddenLessThanEqualsClause(space["at_least"], 0.3),
        ForbiddenGreaterThanEqualsClause(space["at_most"], 0.7),
    )
    trials = _drive(
        make(space=space), 25, lambda t: _completed(t, lambda t: {**FLAT, "error": float(t.config["above"])})
    )
    assert len(trials) == 25
    for trial in trials:
        assert trial.config["above"] >= 0.3 < trial.config["at_least"]
        assert trial.config["below"] <= 0.7 > trial.config["at_most"]
    assert not capsys.readouterr().out


def test_a_promoted_configuration_is_the_same_to_the_last_digit(make: Make) -> None:
    space = ConfigurationSpace({"x": Float("x", (1.0, 1e4), log=True), "y": (0.0, 1e6)})
    trials = _drive(make(space=space), 36, lambda t: _completed(t, lambda t: {**FLAT, "error": float(t.config["x"])}))
    assert len({(t.key, t.fidelity) for t in trials}) == len(trials)
    # Two that differ in what rounding leaves would be one configuration, trained twice.
    configs = {(float(t.config["x"]), float(t.config["y"])) for t in trials}
    assert len({(f"{x:.9g}", f"{y:.9g}") for x, y in configs}) == len(configs)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_scales_do_not_matter(make: Make, scale: float) -> None:
    def scaled(trial: Trial) -> Result:
        values = _measure(trial)
        return _completed(trial, lambda _: {**values, "energy_j": values["energy_j"] * scale})

    assert len(_drive(make(), 30, scaled)) == 30


def test_a_constant_objective(make: Make) -> None:
    def flat(trial: Trial) -> Result:
        return _completed(trial, lambda t: {**_measure(t), "energy_j": 0.0})

    assert len(_drive(make(), 30, flat)) == 30


@pytest.mark.parametrize(
    "objectives",
    [
        (ERROR,),
        (ACCURACY,),
        (ACCURACY, ENERGY),
        (ERROR, ENERGY, Objective("latency_ms", "minimize", "ms", "")),
    ],
    ids=lambda objectives: "-".join(o.name for o in objectives),
)
def test_any_number_of_objectives_in_any_direction(make: Make, objectives: tuple[Objective, ...]) -> None:
    assert len(_drive(make(objectives=objectives), 30)) == 30


def test_a_single_rung(make: Make) -> None:
    trials = _drive(make(fidelity=Fidelity(5, 5, 3)), 12)
    assert [trial.fidelity for trial in trials] == [5] * 12


def test_only_open_trials_can_be_told(make: Make) -> None:
    optimizer = make()
    trial = optimizer.ask()
    assert trial is not None
    optimizer.tell(_completed(trial))
    with pytest.raises(ValueError, match="trial 0 was not asked, or was told already"):
        optimizer.tell(_completed(trial))
    with pytest.raises(ValueError, match="trial 7"):
        optimizer.tell(_completed(Trial(7, trial.config, 9, 0)))


def test_proposals_do_not_depend_on_the_process() -> None:
    # Python hashes text differently in every process, so a set's order must not reach a proposal.
    script = (
        "import importlib.util, json, sys; "
        f"spec = importlib.util.spec_from_file_location('suite', {__file__!r}); "
        "suite = importlib.util.module_from_spec(spec); sys.modules['suite'] = suite; spec.loader.exec_module(suite); "
        "print(json.dumps(suite.proposals_of_all_engines()))"
    )
    outputs = []
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
        )
        outputs.append(json.loads(done.stdout))
    assert outputs[0] == outputs[1]
    assert set(outputs[0]) == set(ENGINES)


def proposals_of_all_engines() -> dict[str, list[str]]:
    """Returns what each engine proposes in one run with failures."""
    makers = {name: make_optimizer(config, _space(), (ERROR, ENERGY), FIDELITY, 0) for name, config in ENGINES.items()}
    return {
        name: [trial.key for trial in _drive(optimizer, 30, _sometimes_failed)] for name, optimizer in makers.items()
    }
