"""Comparing fronts and samples: each against its definition."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsnn_hpo import comparing, pareto

points = st.lists(st.lists(st.integers(0, 5), min_size=2, max_size=2), min_size=1, max_size=6)
fronts = st.lists(points, min_size=1, max_size=5)
values = st.lists(st.integers(0, 4), min_size=2, max_size=4)


def is_no_worse(a, b) -> bool:
    return all(x <= y for x, y in zip(a, b, strict=True))


@given(points, points)
@settings(deadline=None, derandomize=True)
def test_coverage_is_the_definition(one, other):
    expected = sum(any(is_no_worse(a, b) for a in one) for b in other) / len(other)
    assert comparing.coverage(one, other) == pytest.approx(expected)
    assert comparing.coverage(one, one) == 1.0


def test_coverage_is_not_symmetric():
    one, other = [[0, 2], [2, 0]], [[1, 3], [3, 1], [1, 1]]
    assert comparing.coverage(one, other) == pytest.approx(2 / 3)
    assert comparing.coverage(other, one) == 0.0
    assert comparing.coverage(np.empty((0, 2)), one) == 0.0


@given(fronts)
@settings(deadline=None, derandomize=True)
def test_attainment_is_the_definition(sets):
    goals = list(itertools.product(range(7), repeat=2))
    expected = [np.mean([any(is_no_worse(p, goal) for p in one) for one in sets]) for goal in goals]
    assert comparing.attained([np.array(one) for one in sets], goals) == pytest.approx(expected)


@given(fronts, st.sampled_from([0.25, 0.5, 0.75, 1.0]))
@settings(deadline=None, derandomize=True)
def test_a_surface_is_the_edge_of_what_so_many_attain(sets, level):
    arrays = [np.array(one, dtype=float) for one in sets]
    surface = comparing.attainment_surface(arrays, level)
    assert pareto.non_dominated(surface).all() if len(surface) else level > 0
    for goal in itertools.product(range(7), repeat=2):
        beyond = any(is_no_worse(corner, goal) for corner in surface)
        assert beyond == (comparing.attained(arrays, [goal])[0] >= level - 1e-9)


def test_surfaces_of_two_runs():
    one, other = np.array([[1.0, 3.0], [2.0, 1.0]]), np.array([[1.0, 2.0], [3.0, 0.0]])
    assert comparing.attainment_surface([one, other], 0.5).tolist() == [[1, 2], [2, 1], [3, 0]]
    assert comparing.attainment_surface([one, other], 1.0).tolist() == [[1, 3], [2, 2], [3, 1]]


@given(fronts)
@settings(deadline=None, derandomize=True)
def test_shares_of_the_common_box_lie_in_it_and_keep_the_order_of_coverage(sets):
    arrays = [np.array(one, dtype=float) for one in sets]
    box = comparing.common_box(arrays)
    shares = [box.share(one) for one in arrays]
    assert all(0 < share <= 1 + 1e-12 for share in shares)
    for (i, a), (j, b) in itertools.permutations(enumerate(arrays), 2):
        if comparing.coverage(a, b) == 1.0:
            assert shares[i] >= shares[j] - 1e-12


@given(points, st.floats(0.01, 100), st.floats(-5, 5))
@settings(deadline=None, derandomize=True)
def test_shares_do_not_depend_on_units(one, scale, shift):
    first, second = np.array(one, dtype=float), np.array([[2.0, 3.0], [6.0, 1.0], [0.0, 7.0]])
    share = comparing.common_box([first, second]).share(first)
    scaled = [losses * [scale, 1.0] + [shift, 0.0] for losses in (first, second)]
    assert comparing.common_box(scaled).share(scaled[0]) == pytest.approx(share, rel=1e-6)


def test_the_box_of_one_point_has_a_volume():
    assert comparing.common_box([np.array([[0.0, 3.0]])]).volume > 0


@given(values, values)
@settings(deadline=None, derandomize=True, max_examples=25)
def test_mann_whitney_counts_all_ways_of_dealing(one, other):
    pooled, n = [*one, *other], len(one)
    found = comparing.mann_whitney(one, other)
    if len(set(pooled)) == 1:
        assert found.p is None
        return

    def surplus(chosen):
        first = [pooled[i] for i in chosen]
        second = [pooled[i] for i in range(len(pooled)) if i not in chosen]
        return sum((a > b) - (a < b) for a in first for b in second)

    ways = [surplus(chosen) for chosen in itertools.combinations(range(len(pooled)), n)]
    seen = surplus(range(n))
    lower, upper = (np.mean([way <= seen for way in ways]), np.mean([way >= seen for way in ways]))
    assert found.p == pytest.approx(min(1.0, 2 * min(lower, upper)))
    assert found.p >= found.least_p - 1e-12
    assert found.effect == pytest.approx(0.5 + seen / (2 * len(one) * len(other)))


def test_three_and_three_runs_cannot_differ_at_five_per_cent():
    found = comparing.mann_whitney([4, 5, 6], [1, 2, 3])
    assert (found.p, found.least_p, found.effect) == (pytest.approx(0.1), pytest.approx(0.1), 1.0)


def test_wilcoxon_counts_all_signs():
    found = comparing.wilcoxon([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [0.9, 1.8, 2.7, 3.6, 4.5, 5.4])
    assert (found.p, found.least_p, found.effect) == (pytest.approx(2 / 2**6), pytest.approx(2 / 2**6), 1.0)
    assert comparing.wilcoxon([1.0, 2.0], [1.0, 2.0]).p is None
