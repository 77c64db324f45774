"""The problems of the comparison: known hypervolumes, learning curves that end where they should, the same each time."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from dsnn_hpo.search_space import plain

WITHOUT_DATA = (
    "zdt1",
    "zdt3",
    "dtlz2",
    "zdt1 displaced",
    "zdt1 mixed",
    "zdt2",
    "zdt3 displaced",
    "zdt4",
    "dtlz2 displaced",
    "dtlz7",
    "dtlz2, 3 objectives",
    "dtlz7, 3 objectives",
    "zdt2 mixed",
    "network",
)


def sampled(problem, n, seed=1):
    problem.space.seed(seed)
    return [plain(configuration) for configuration in problem.space.sample_configuration(n)]


@pytest.mark.parametrize(
    ("name", "best"),
    [
        # Box less what lies below the front, by hand: 0.1 * 2 + integral of 1 + sqrt(x); of 1 + x**2.
        ("zdt1", 0.2 + 5 / 3),
        ("zdt2", 0.2 + 4 / 3),
        ("zdt4", 0.1 * 50 + 49 + 2 / 3),
        ("dtlz2", 1.5**2 - np.pi / 4),
        ("dtlz2_3", 1.5**3 - np.pi / 6),
    ],
)
def test_the_best_hypervolume_is_that_of_the_front(searching, name, best):
    assert searching("analytic").FORMULAS[name].best() == pytest.approx(best, rel=1e-3)


def test_the_best_hypervolume_of_dtlz7_is_that_of_a_dense_front(searching):
    analytic, hypervolume = searching("analytic"), searching("scores").hypervolume
    two = analytic.FORMULAS["dtlz7"]
    front = [two.losses(np.r_[u, np.zeros(7)]) for u in np.linspace(0, 1, 3000)]
    assert two.best() == pytest.approx(hypervolume(front, two.reference), rel=1e-3)
    three = analytic.FORMULAS["dtlz7_3"]
    grid = np.linspace(0, 1, 40)
    front = [three.losses(np.r_[u, v, np.zeros(6)]) for u in grid for v in grid]
    # A coarse front lacks a little, and has nothing too much.
    assert 0.95 < hypervolume(front, three.reference) / three.best() < 1


def test_the_formulas_are_those_of_pymoo(searching):
    problems = pytest.importorskip("pymoo.problems")
    formulas = searching("analytic").FORMULAS
    x = np.random.default_rng(0).random((5, 8))
    for name, arguments in (("zdt1", {}), ("zdt2", {}), ("zdt3", {}), ("dtlz2", {"n_obj": 2}), ("dtlz7", {"n_obj": 2})):
        theirs = problems.get_problem(name, n_var=8, **arguments).evaluate(x)
        np.testing.assert_allclose([formulas[name].losses(row) for row in x], theirs)
    for name in ("dtlz2", "dtlz7"):
        theirs = problems.get_problem(name, n_var=8, n_obj=3).evaluate(x)
        np.testing.assert_allclose([formulas[f"{name}_3"].losses(row) for row in x], theirs)


@pytest.mark.parametrize("name", ["zdt1", "zdt4", "dtlz2"])
def test_a_displaced_optimum_is_where_it_was_put_and_nowhere_else(searching, name):
    analytic = searching("analytic")
    function = analytic.FORMULAS[name]
    optima = np.full(7, 0.3)
    best = analytic.displaced(optima, optima, function.optimum)
    np.testing.assert_allclose(best, function.optimum)
    ends = analytic.displaced(np.array([0.0, 1.0]), np.array([0.3, 0.3]), function.optimum)
    assert (np.abs(ends - function.optimum) > 0.1).all()
    assert ((ends >= 0) & (ends <= 1)).all()


@pytest.mark.parametrize("name", WITHOUT_DATA)
def test_the_bias_ends_at_full_fidelity_and_no_configuration_beats_the_front(searching, name):
    problem = searching("problems").make_problem(name, 3)
    configs = sampled(problem, 20)
    rungs = problem.fidelity.rungs()
    biases = np.array([[problem.landscape.bias(config, epochs) for epochs in rungs] for config in configs])
    assert (biases[:, -1] == 0).all()
    assert (np.diff(biases, axis=1) <= 1e-12).all()
    assert biases[:, 0].max() > 0
    assert problem.share([problem.truth(config) for config in configs]) < 1


@pytest.mark.parametrize("name", WITHOUT_DATA)
def test_what_a_training_shows_depends_on_what_is_trained_only(searching, name):
    make_problem = searching("problems").make_problem
    one, other, another = make_problem(name, 3), make_problem(name, 3), make_problem(name, 4)
    config = sampled(one, 2)[0]
    assert one.evaluate(config, 3, 7) == other.evaluate(config, 3, 7)
    assert one.evaluate(config, 3, 7) != one.evaluate(config, 3, 8)
    assert one.evaluate(config, 3, 7) != one.evaluate(config, 9, 7)
    assert one.evaluate(config, 1, 7) != another.evaluate(config, 1, 7)
    assert one.best == other.best
    assert one.best == pytest.approx(another.best, rel=1e-2)


@pytest.mark.parametrize("name", WITHOUT_DATA)
def test_the_lowest_fidelity_says_something_but_not_all(searching, name):
    correlations = []
    for instance in range(3):
        problem = searching("problems").make_problem(name, instance)
        configs = sampled(problem, 100)
        low = np.array([list(problem.evaluate(config, 1, 0).values()) for config in configs])
        true = np.array([problem.truth(config) for config in configs])
        shows_all = problem.landscape.spread == 0
        correlations += [spearmanr(a, b)[0] for a, b in zip(low.T[~shows_all], true.T[~shows_all], strict=True)]
    assert 0.3 < np.mean(correlations) < 0.97
    assert min(correlations) < 0.95


def test_crossing_curves_cross_and_mild_ones_hardly(searching):
    curves, problems = searching("curves"), searching("problems")
    make = searching("analytic").make_analytic

    def share_that_crosses(curve):
        n_crossed = n_pairs = 0
        for instance in range(3):
            problem = make("p", "zdt1", curve, instance)
            configs = sampled(problem, 40)
            true = np.array([problem.truth(config)[1] for config in configs])
            low = true + np.array([problem.landscape.bias(config, 1)[1] for config in configs])
            differences = np.subtract.outer(true, true), np.subtract.outer(low, low)
            n_crossed += int((differences[0] * differences[1] < 0).sum())
            n_pairs += true.size * (true.size - 1)
        return n_crossed / n_pairs

    assert share_that_crosses(curves.Curve("power", 0.15, 0.0)) == 0
    assert share_that_crosses(problems.MILD) < 0.3
    assert share_that_crosses(problems.CROSSING) > share_that_crosses(problems.MILD)


@pytest.mark.parametrize("kind", ["power", "exponential", "late"])
def test_a_curve_falls_from_one_to_zero(searching, kind):
    curve = searching("curves").Curve(kind)
    heights = [curve.height(share, 1 / 27, onset=0.7) for share in (1 / 27, 1 / 9, 1 / 3, 1.0)]
    assert heights[0] == pytest.approx(1)
    assert heights[-1] == pytest.approx(0)
    assert heights == sorted(heights, reverse=True)


def test_a_late_bloomer_learns_after_the_others(searching):
    curve = searching("curves").Curve("late")
    assert curve.height(1 / 9, 1 / 27, onset=0.9) > curve.height(1 / 9, 1 / 27, onset=0.1) + 0.3


def test_the_front_of_the_made_up_network_is_reached_by_its_best_learners(searching):
    mixed = searching("mixed")
    problem = mixed.make_network("network", searching("problems").LATE, 0)
    front = problem.landscape.exact.front()
    assert problem.share(front) == pytest.approx(1)
    for config in sampled(problem, 200):
        better = {**config, "optimizer": "sgd", "momentum": problem.landscape.exact.best_momentum}
        better["lr"] = 10 ** problem.landscape.exact.lr("sgd", better["width"])
        assert (problem.truth(better) <= problem.truth(config) + 1e-9).all()


def test_the_mixed_space_has_all_sorts_and_its_front_is_allowed(searching):
    problem = searching("problems").make_problem("zdt1 mixed", 5)
    configs = sampled(problem, 300)
    exact = problem.landscape.exact
    worst = max(exact.kinds, key=exact.kinds.get)
    assert not any(config["kind"] == worst and config["count"] in (0, 10) for config in configs)
    assert {"inner" in config for config in configs} == {True, False}
    best = {
        "position": 0.5,
        "rate": 10 ** (3 * exact.optima[0] - 4),
        "count": round(10 * exact.optima[1]),
        "kind": min(exact.kinds, key=exact.kinds.get),
        "size": round(4 * 16 ** exact.optima[2]),
        "level": min(exact.levels, key=exact.levels.get),
        "gate": "on",
        "inner": exact.optima[3],
    }
    np.testing.assert_allclose(problem.truth(best), [0.5, 1 - 0.5**0.5], atol=1e-6)
    assert problem.truth({**best, "gate": "off"})[1] > problem.truth(best)[1]


def test_tuning_and_reporting_share_neither_problems_nor_seeds(searching):
    problems = searching("problems")
    assert not set(problems.TUNING) & set(problems.REPORTING)
    assert set(problems.TUNING) | set(problems.REPORTING) == set(problems.names())
    first = problems.FIRST_SEEDS
    assert first["reporting"] - first["tuning"] >= 100
