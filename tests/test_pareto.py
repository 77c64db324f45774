from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsnn_hpo import pareto
from dsnn_hpo.trial import OBJECTIVES, Result, Trial, TrialState

ERROR, ENERGY = OBJECTIVES["error"], OBJECTIVES["inference_energy_j"]

small_points = st.integers(1, 3).flatmap(
    lambda m: st.lists(st.lists(st.integers(0, 6), min_size=m, max_size=m), min_size=1, max_size=8)
)


def result(id_: int, error: float, energy: float, fidelity: int = 9, name: str | None = None) -> Result:
    trial = Trial(id_, {"name": name or f"config{id_}"}, fidelity, seed=0)
    return Result(trial, TrialState.COMPLETED, {"error": error, "inference_energy_j": energy})


def failed(id_: int) -> Result:
    return Result(Trial(id_, {}, 9, seed=0), TrialState.FAILED, error="diverged")


def dominates(a: list[int], b: list[int]) -> bool:
    return all(x <= y for x, y in zip(a, b, strict=True)) and any(x < y for x, y in zip(a, b, strict=True))


@given(small_points)
@settings(deadline=None, derandomize=True)
def test_non_dominated_is_the_definition(points):
    expected = [not any(dominates(other, point) for other in points) for point in points]
    assert pareto.non_dominated(points).tolist() == expected


@given(small_points)
@settings(deadline=None, derandomize=True)
def test_ranks_peel_fronts(points):
    ranks = pareto.ranks(points)
    assert (ranks == 0).tolist() == pareto.non_dominated(points).tolist()
    for i, j in itertools.permutations(range(len(points)), 2):
        if dominates(points[i], points[j]):
            assert ranks[i] < ranks[j]
    # Who is not on the first front is below one of the front before its own.
    for rank, point in zip(ranks, points, strict=True):
        above = [other for other, r in zip(points, ranks, strict=True) if r == rank - 1]
        assert rank == 0 or any(dominates(other, point) for other in above)
    fronts = list(pareto.fronts(points))
    assert [sorted(front) for front in fronts] == [np.flatnonzero(ranks == r).tolist() for r in range(len(fronts))]


@given(small_points)
@settings(deadline=None, derandomize=True)
def test_hypervolume_counts_dominated_unit_cells(points):
    m = len(points[0])
    cells = itertools.product(range(6), repeat=m)
    expected = sum(any(all(p <= c for p, c in zip(point, cell, strict=True)) for point in points) for cell in cells)
    assert pareto.hypervolume(points, [6.0] * m) == pytest.approx(expected)


def test_hypervolume_of_nothing_and_beyond_the_reference_is_zero():
    assert pareto.hypervolume([], [1.0, 1.0]) == 0.0
    assert pareto.hypervolume([[2.0, 0.0]], [1.0, 1.0]) == 0.0


def test_front_compares_one_fidelity_only_and_skips_failures():
    results = [
        result(0, 0.1, 9.0),
        result(1, 0.2, 5.0),
        result(2, 0.3, 6.0),
        result(3, 0.01, 1.0, fidelity=1),
        failed(4),
    ]
    assert [r.trial.id for r in pareto.front(results, [ERROR, ENERGY], fidelity=9)] == [0, 1]


def test_front_takes_the_latest_result_of_a_configuration():
    results = [result(0, 0.1, 1.0, name="a"), result(1, 0.5, 5.0, name="b"), result(2, 0.6, 6.0, name="a")]
    assert [r.trial.id for r in pareto.front(results, [ERROR, ENERGY], fidelity=9)] == [1]


def test_reference_point_waits_for_results_and_then_stays():
    results = [result(i, 0.1 * i, 10.0 - i) for i in range(12)]
    n = pareto.N_REFERENCE_RESULTS
    assert pareto.reference_point(results[: n - 1], [ERROR, ENERGY]) is None
    first = pareto.reference_point(results[:n], [ERROR, ENERGY])
    assert first == pytest.approx([0.7 * 1.1, 10.0 + 0.7])
    np.testing.assert_array_equal(pareto.reference_point(results, [ERROR, ENERGY]), first)


def test_reference_point_of_equal_values_lies_beyond_them():
    results = [result(i, 0.5, 0.0) for i in range(pareto.N_REFERENCE_RESULTS)]
    assert (pareto.reference_point(results, [ERROR, ENERGY]) > [0.5, 0.0]).all()


def test_knee_is_the_bend_of_the_front():
    assert pareto.knee([[0.0, 10.0], [0.1, 1.0], [1.0, 0.0]]) == 1
    with pytest.raises(ValueError, match="empty"):
        pareto.knee([])


@given(st.integers(0, 2**32), st.integers(1, 12), st.integers(1, 3))
def test_optimality_without_errors_is_the_front(seed, n, m):
    losses = np.random.default_rng(seed).random((n, m))
    chances = pareto.optimality(losses, np.zeros((n, m)), n_draws=3)
    assert (chances == pareto.non_dominated(losses)).all()


def test_optimality_of_two_that_differ_by_one_deviation_of_their_difference():
    # P(N(1, 1) < N(0, 1)) = Phi(-1 / sqrt 2) = 0.2398.
    chances = pareto.optimality([[0.0], [1.0]], [[1.0], [1.0]], n_draws=20_000)
    assert chances == pytest.approx([0.7602, 0.2398], abs=0.01)
    assert (chances == pareto.optimality([[0.0], [1.0]], [[1.0], [1.0]], n_draws=20_000)).all()


@given(st.integers(0, 2**32), st.integers(1, 12))
def test_near_the_front_is_what_a_margin_brings_onto_it(seed, n):
    losses = np.random.default_rng(seed).random((n, 2))
    front = pareto.non_dominated(losses)
    assert (pareto.near_front(losses, np.zeros((n, 2))) == front).all()
    near = pareto.near_front(losses, np.full((n, 2), 0.1))
    assert (near | ~front).all()
    for i in range(n):
        moved = losses.copy()
        moved[i] -= 0.1
        others = [j for j in np.flatnonzero(front) if j != i]
        dominated = any((losses[j] <= moved[i]).all() and (losses[j] < moved[i]).any() for j in others)
        assert near[i] != dominated
