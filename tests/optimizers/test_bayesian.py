from __future__ import annotations

import numpy as np
import pytest
from ConfigSpace import ConfigurationSpace, UniformFloatHyperparameter

from dsnn_hpo.errors import InputError
from dsnn_hpo.optimizers import Background, BayesianConfig, Budget, RecallingOptimizer, make_optimizer
from dsnn_hpo.optimizers._trials import Trials
from dsnn_hpo.optimizers._vectors import VectorSpace
from dsnn_hpo.optimizers.bayesian import _fits
from dsnn_hpo.optimizers.bayesian._acquisition import CERTAIN, Bounds
from dsnn_hpo.optimizers.bayesian._fits import Fits, fit_all, schedule
from dsnn_hpo.optimizers.bayesian._model import Scale, Table, bias_of, chosen_rows
from dsnn_hpo.optimizers.bayesian._optimizer import default_n_initial
from dsnn_hpo.optimizers.bayesian._success import Labels
from dsnn_hpo.trial import Fidelity, Objective, Provenance, Result, Trial, TrialState

OBJECTIVES = (Objective("a", "minimize", "", ""), Objective("b", "minimize", "", ""))
FIDELITY = Fidelity(1, 9, 3)


def space_of(n: int = 4) -> ConfigurationSpace:
    space = ConfigurationSpace()
    space.add(UniformFloatHyperparameter(f"x{i}", 0.0, 1.0) for i in range(n))
    return space


def make(seed: int = 0, objectives=OBJECTIVES, fidelity=FIDELITY, **settings) -> RecallingOptimizer:
    optimizer = make_optimizer(BayesianConfig(**settings), space_of(), objectives, fidelity, seed)
    assert isinstance(optimizer, RecallingOptimizer)
    return optimizer


def point(trial: Trial) -> np.ndarray:
    return np.asarray([float(trial.config[f"x{i}"]) for i in range(4)])


def measure(trial: Trial) -> dict[str, float]:
    x = point(trial)
    bias = 0.1 * (1 - trial.fidelity / FIDELITY.max_epochs) * (1 + x[2])
    away = float(np.abs(x[2:] - 0.5).sum())
    return {"a": x[0] + away + bias, "b": 1 - x[0] + x[1] + away + bias, "size": 10 * float(x[0] + x[1])}


def result(trial: Trial, **changes) -> Result:
    return Result(trial, TrialState.COMPLETED, measure(trial), **changes)


def drive(optimizer, n: int, finish=result) -> list[Trial]:
    trials = []
    for _ in range(n):
        trial = optimizer.ask()
        assert trial is not None
        optimizer.tell(finish(trial))
        trials.append(trial)
    return trials


def test_the_initial_design_is_at_the_lowest_rung_and_two_go_straight_to_the_end():
    trials = drive(make(), 30)
    # 7 a dimension would be 28, three full trainings are 27.
    assert {t.fidelity for t in trials[:27]} == {1}
    assert [t.fidelity for t in trials[27:29]] == [9, 9]


@pytest.mark.parametrize(
    ("n_free", "rungs", "budget", "expected"),
    [
        (8, (1, 3, 9, 27), Budget(), 56),
        (20, (1, 3, 9, 27), Budget(), 64),
        (8, (1, 3, 9), Budget(), 27),
        (8, (9,), Budget(), 10),
        (8, (1, 3, 9, 27), Budget(full_trainings=5), 27),
        (8, (1, 3, 9, 27), Budget(trials=60), 20),
        (8, (1, 3, 9, 27), Budget(trials=12), 6),
        (8, (1, 3, 9, 27), Budget(trials=1), 1),
        (0, (1, 3), Budget(), 7),
    ],
)
def test_the_size_of_the_initial_design(n_free, rungs, budget, expected):
    assert default_n_initial(n_free, rungs, budget) == expected


def test_constraints_are_kept_also_of_what_is_no_objective():
    late = [t for t in drive(make(constraints=("size <= 5", "b <= 1.2")), 70)[-25:] if t.fidelity == 9]
    values = [measure(t) for t in late]
    assert len(late) > 3
    assert np.mean([v["size"] <= 5.2 and v["b"] <= 1.25 for v in values]) >= 0.8


def test_where_nothing_keeps_the_constraints_the_search_goes_on_towards_them():
    optimizer = make(constraints=("size <= 0.2",))
    late = drive(optimizer, 60)[-10:]
    assert np.median([measure(t)["size"] for t in late]) < 3


def test_a_result_without_a_constrained_figure_is_refused():
    optimizer = make(constraints=("size <= 5",))
    trial = optimizer.ask()
    with pytest.raises(ValueError, match="trial 0 has no size"):
        optimizer.tell(Result(trial, TrialState.COMPLETED, {"a": 1.0, "b": 2.0}))


def test_regions_that_fail_are_left():
    def finish(trial: Trial) -> Result:
        if trial.config["x3"] > 0.6:
            return Result(trial, TrialState.FAILED, error="out of memory")
        return result(trial)

    late = [trial for seed in range(3) for trial in drive(make(seed=seed), 90, finish)[-25:]]
    # Of random ones 0.4; where nothing is left to gain elsewhere, some try their luck there.
    assert np.mean([t.config["x3"] > 0.6 for t in late]) < 0.15


def test_a_reference_keeps_the_search_to_what_is_of_interest():
    late = [t for t in drive(make(reference={"a": 0.4}), 70)[-25:] if t.fidelity == 9]
    assert np.mean([measure(t)["a"] < 0.45 for t in late]) > 0.8


def test_weights_turn_the_search_towards_an_objective():
    means = {}
    for name in ("a", "b"):
        late = [t for t in drive(make(weights={name: 4.0}), 70)[-30:] if t.fidelity == 9]
        means[name] = np.mean([[measure(t)["a"], measure(t)["b"]] for t in late], axis=0)
    assert means["a"][0] < means["b"][0]
    assert means["b"][1] < means["a"][1]


def test_cheap_configurations_are_preferred_where_seconds_count():
    def finish(trial: Trial) -> Result:
        cost = 1 + 20 * float(trial.config["x0"])
        return result(trial, seconds=cost * trial.fidelity, energy_j=cost * trial.fidelity, n_epochs=trial.fidelity)

    spent = {}
    for cost in ("epochs", "seconds", "energy"):
        late = drive(make(cost=cost), 70, finish)[-30:]
        spent[cost] = np.mean([t.config["x0"] for t in late])
    assert spent["seconds"] < spent["epochs"]
    assert spent["energy"] == spent["seconds"]


def test_intervals_of_values_are_taken_as_noise():
    provenance = {"a": Provenance("timer", "measured", "process", "cpu", ci95=0.3)}
    certain = drive(make(), 40)
    uncertain = drive(make(), 40, lambda trial: result(trial, provenance=provenance))
    assert certain[:29] == uncertain[:29]
    assert certain != uncertain


def test_many_workers_get_different_configurations():
    optimizer = make()
    for trial in drive(optimizer, 40):
        assert trial.fidelity in FIDELITY.rungs()
    trials = [optimizer.ask() for _ in range(16)]
    assert len({t.key for t in trials}) == 16
    # A configuration in flight is not proposed again before it is told.
    positions = np.stack([point(t) for t in trials])
    distances = np.abs(positions[:, None] - positions[None]).sum(axis=2)[np.triu_indices(16, 1)]
    assert np.median(distances) > 0.05


def test_a_hundred_workers_before_anything_is_told():
    optimizer = make()
    trials = [optimizer.ask() for _ in range(100)]
    assert len({t.key for t in trials}) == 100
    for trial in trials:
        optimizer.tell(result(trial))
    assert optimizer.ask() is not None


def test_a_thousand_trials_are_recalled_and_nothing_is_fitted(monkeypatch):
    monkeypatch.setattr(_fits, "fit_all", lambda *_: pytest.fail("fitted"))
    optimizer, generator = make(), np.random.default_rng(0)
    for number in range(1000):
        config = {f"x{i}": float(value) for i, value in enumerate(generator.random(4))}
        trial = Trial(number, config, int(generator.choice(FIDELITY.rungs())), 0)
        optimizer.recall(trial)
        optimizer.tell(result(trial))
    assert len(optimizer._known.trials.outcomes) == 1000


FULL = 9


def ends(n: int):
    """Returns how n trials ended: each fifth at full fidelity, each seventh not at all, the others short."""
    number = np.arange(n)
    return np.where(number % 7 == 6, 0, np.where(number % 5 == 4, FULL, 1))


def test_the_fit_in_use_depends_on_what_ended_only():
    short = np.ones(3000, dtype=np.int64)
    assert schedule(short[:5], FULL) == (0, 0)
    assert schedule(short[:6], FULL) == (6, 6)
    for n in range(6, 3000):
        used, begun = schedule(short[:n], FULL)
        assert used <= begun <= n
        assert used >= 0.8 * n - 2
        assert n >= used + int(used * _fits.LAG)


def test_a_result_at_full_fidelity_is_a_reason_to_fit_again():
    short = np.ones(54, dtype=np.int64)
    assert schedule(short, FULL) == (53, 53)
    assert schedule(np.append(short, 1), FULL) == (53, 53)
    assert schedule(np.append(short, FULL), FULL) == (53, 55)
    assert schedule(np.append(short, [FULL, 1]), FULL) == (55, 55)


def test_failures_are_a_reason_to_fit_again_once_there_are_results():
    assert schedule(np.zeros(50, dtype=np.int64), FULL) == (0, 0)
    assert schedule(np.repeat([0, 1], [50, 6]), FULL) == (0, 56)
    assert schedule(np.repeat([1, 0], [20, 20]), FULL)[0] > 33


def test_a_fit_is_made_once_and_taken_when_due():
    made: list[int] = []

    def prepare(n: int):
        def fit() -> int:
            made.append(n)
            return n

        return fit

    fits: Fits[int] = Fits(prepare, FULL)
    used = []
    for n in range(6, 200):
        fits.begin(ends(n))
        used.append(fits.used(ends(n)) or 0)
    assert used == [schedule(ends(n), FULL)[0] for n in range(6, 200)]
    assert len(made) == len(set(made))


def test_a_model_that_cannot_be_fitted_leaves_the_search_to_halving(monkeypatch):
    def fail(*_: object) -> None:
        raise np.linalg.LinAlgError("singular")

    monkeypatch.setattr("dsnn_hpo.optimizers.bayesian._optimizer.fit_all", fail)
    trials = drive(make(), 60)
    assert {t.fidelity for t in trials[29:]} >= {1, 3}


def test_scales_squash_the_bad_tail_only():
    losses = np.asarray([1.0, 2.0, 3.0, 4.0, 5.0, 1e9])
    scaled = Scale.of(losses, np.zeros(6)).apply(losses)
    assert (np.diff(scaled) > 0).all()
    assert scaled[-1] < 30
    assert Scale.of(np.full(4, 7.0), np.zeros(4)).apply(np.full(4, 7.0)).tolist() == [0.0] * 4


def test_short_trainings_that_differ_little_do_not_set_the_scale_of_long_ones():
    generator = np.random.default_rng(0)
    losses = np.concatenate([10 + 0.1 * generator.standard_normal(56), generator.standard_normal(8)])
    scale = Scale.of(losses, np.repeat([1.0, 0.0], [56, 8]))
    assert np.abs(scale.apply(losses)).max() < 3


def test_bias_is_one_at_the_lowest_fidelity_and_none_at_the_full_one():
    bias = bias_of([1, 3, 9], 1, 9)
    assert bias[0] == 1
    assert bias[2] == 0
    assert 0 < bias[1] < bias[0]
    assert bias_of([5, 5], 5, 5).tolist() == [0.0, 0.0]


def test_rows_to_learn_from_hold_the_fronts():
    generator = np.random.default_rng(0)
    losses = generator.random((2000, 2))
    losses[1234] = -1.0
    bias = generator.choice([0.0, 0.4, 1.0], size=2000)
    chosen = chosen_rows(losses, bias, 300, seed=0)
    assert len(chosen) == 300
    assert 1234 in chosen
    assert (np.diff(chosen) > 0).all()
    assert (bias[chosen] == 0).mean() > 0.5


def size_of(config) -> float:
    return 10 * float(config["x0"] + config["x1"])


def test_no_configuration_is_trained_that_is_known_to_break_a_constraint():
    optimizer = make_optimizer(
        BayesianConfig(constraints=("size <= 8",), evaluate_default=False),
        space_of(),
        OBJECTIVES,
        FIDELITY,
        0,
        Background(known={"size": size_of}),
    )
    trials = drive(optimizer, 60)
    assert all(size_of(t.config) <= 8 for t in trials)


def test_a_known_figure_that_is_not_asked_for_is_refused():
    with pytest.raises(InputError, match=r"known: no objective or constrained figure 'siz' .did you mean 'size'"):
        make_optimizer(
            BayesianConfig(constraints=("size <= 8",)),
            space_of(),
            OBJECTIVES,
            FIDELITY,
            0,
            Background(known={"siz": size_of}),
        )


def test_known_figures_are_looked_up_for_a_few_and_once():
    seen: list[tuple[float, ...]] = []

    def known(config) -> float:
        seen.append(tuple(config.values()))
        return measure_exactly(config)

    def measure_exactly(config) -> float:
        return float(config["x0"])

    def finish(trial: Trial) -> Result:
        return Result(trial, TrialState.COMPLETED, {**measure(trial), "a": measure_exactly(trial.config)})

    optimizer = make_optimizer(
        BayesianConfig(n_initial=8), space_of(), OBJECTIVES, FIDELITY, 0, Background(known={"a": known})
    )
    trials = drive(optimizer, 40, finish)
    assert len(seen) == len(set(seen)) <= 8 * len(trials)
    assert seen


def test_where_nothing_is_known_to_keep_the_constraints_the_search_goes_on_towards_them():
    background = Background(known={"size": size_of})
    settings = BayesianConfig(constraints=("size <= 0.01",), n_initial=8)
    optimizer = make_optimizer(settings, space_of(), OBJECTIVES, FIDELITY, 0, background)
    late = drive(optimizer, 50)[-10:]
    assert np.median([size_of(t.config) for t in late]) < 3


def test_an_unknown_figure_of_one_configuration_is_predicted():
    background = Background(known={"size": lambda config: size_of(config) if config["x0"] > 0.5 else None})
    settings = BayesianConfig(constraints=("size <= 5",), n_initial=8)
    optimizer = make_optimizer(settings, space_of(), OBJECTIVES, FIDELITY, 0, background)
    assert len(drive(optimizer, 40)) == 40


@pytest.mark.parametrize(("n_outputs", "n_rows"), [(1, 200), (2, 200), (3, 174), (4, 158)])
def test_more_objectives_are_fitted_to_fewer_rows(monkeypatch, n_outputs, n_rows):
    generator = np.random.default_rng(0)
    space = VectorSpace(space_of())
    zeros = np.zeros((300, n_outputs))
    table = Table(generator.random((300, 4)), np.zeros(300), generator.random((300, n_outputs)), zeros, np.zeros(300))
    sizes = []

    def fit(data, groups, starts, max_evaluations):
        sizes.append((len(data), len(starts)))
        return starts[0]

    monkeypatch.setattr("dsnn_hpo.optimizers.bayesian._map.fit", fit)
    fit_all(table, Labels(Trials(space, OBJECTIVES, 0), space), space.groups, 0)
    # Two fits to a third of the rows, then one to all.
    assert sizes[:3] == [(n_rows // 3, 1), (n_rows // 3, 1), (n_rows, 1)]
    assert [size for size, _ in sizes].count(n_rows) == n_outputs


def test_what_failed_on_the_way_to_the_end_is_not_had():
    known = Trials(VectorSpace(space_of()), OBJECTIVES, 0)
    for fidelity, fails in ((1, False), (9, True)):
        trial = Trial(known.n_asked, {f"x{i}": 0.5 for i in range(4)}, fidelity, 0)
        known.asked(trial)
        assert known.configurations[0].has_or_awaits(fidelity)
        known.told(Result(trial, TrialState.FAILED, error="lost") if fails else result(trial))
        assert known.configurations[0].has_or_awaits(fidelity) is not fails


def test_where_full_trainings_fail_the_first_two_are_tried_again():
    def finish(trial: Trial) -> Result:
        n_full.append(trial.fidelity == 9)
        return Result(trial, TrialState.FAILED, error="lost") if sum(n_full) <= 2 and n_full[-1] else result(trial)

    n_full: list[bool] = []
    trials = drive(make(n_initial=8), 16, finish)
    assert sum(t.fidelity == 9 for t in trials[:14]) >= 4


def test_what_is_known_may_be_as_high_as_its_limit():
    bounds = Bounds(np.asarray([1]), np.asarray([0.5]))
    means, variances = (
        np.asarray([[0.0, 0.5], [0.0, 0.5], [0.0, 0.6]]),
        np.asarray([[1, CERTAIN], [1, 1], [1, CERTAIN]]),
    )
    np.testing.assert_allclose(bounds.probability(means, variances), [1.0, 0.5, 0.0], atol=1e-12)
