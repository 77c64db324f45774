"""Choosing a member of a front: distances, and the price of the next step."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dsnn_hpo import choosing, pareto

seeds = st.integers(0, 2**32 - 1)


def front(seed: int, n: int, m: int = 2) -> np.ndarray:
    points = np.random.default_rng(seed).uniform(0.01, 1.0, (n, m))
    return points[pareto.non_dominated(points)]


def test_scaled_losses_lie_between_the_best_and_the_worst():
    assert choosing.unit_scaled([[1.0, 5.0], [3.0, 5.0], [2.0, 5.0]]).tolist() == [[0, 0], [1, 0], [0.5, 0]]
    assert choosing.unit_scaled(np.empty((0, 2))).shape == (0, 2)


def test_more_than_a_decade_is_scaled_by_factors():
    scaled = choosing.unit_scaled([[0.1, 1.0], [1.0, 5.0], [10.0, 10.0]])
    assert scaled[:, 0] == pytest.approx([0.0, 0.5, 1.0])
    assert scaled[:, 1] == pytest.approx([0.0, 4 / 9, 1.0])
    # The losses of what is maximised: 1000 a second is the best.
    assert choosing.unit_scaled([[-1000.0], [-100.0], [-10.0]])[:, 0] == pytest.approx([0.0, 0.5, 1.0])


def test_zero_and_both_signs_have_no_logarithm():
    assert choosing.unit_scaled([[0.0], [1.0], [100.0]])[:, 0] == pytest.approx([0.0, 0.01, 1.0])
    assert not choosing.is_wide([-1.0, 100.0])
    assert not choosing.is_wide([])


def test_distance_is_that_of_the_paper():
    # Weights 2/3 and 1/3; the row (0.5, 0.5): max(1/3, 1/6) + 0.05 * 1/2.
    distances = choosing.chebyshev([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]], [2.0, 1.0])
    assert distances == pytest.approx([1 / 3 * 1.05, 1 / 3 + 0.025, 2 / 3 * 1.05])


@given(seeds, st.integers(2, 12), st.integers(2, 4))
@settings(deadline=None, derandomize=True)
def test_the_nearest_is_never_dominated(seed, n, m):
    points = np.random.default_rng(seed).uniform(0.01, 1.0, (n, m))
    weights = np.random.default_rng(seed + 1).uniform(0.1, 1.0, m)
    assert pareto.non_dominated(points)[choosing.chebyshev(points, weights).argmin()]


@given(seeds, st.integers(3, 12))
@settings(deadline=None, derandomize=True)
def test_each_member_is_the_nearest_under_some_weights(seed, n):
    points = front(seed, n)
    assume(len(points) > 2)
    for row, scaled in enumerate(choosing.unit_scaled(points)):
        if scaled.min() > 1e-6:
            assert choosing.chebyshev(points, 1 / scaled, rho=0.0).argmin() == row


def test_a_member_of_a_front_that_bends_inwards_can_be_chosen():
    # Above the line between the other two: no weighted sum chooses it.
    assert choosing.chebyshev([[0.0, 1.0], [0.6, 0.6], [1.0, 0.0]], [1.0, 1.0]).argmin() == 1


def test_a_step_within_a_stretch_is_linear():
    way = choosing.next_step([0.10, 0.14], [9.0, 1.0], start=1, step=0.01)
    assert (way.gain, way.extra_loss, way.share) == pytest.approx((0.01, 2.0, 0.25))
    assert (way.before, way.after) == (1, 0)


def test_a_step_over_several_stretches():
    # From 0.100 over 0.096 (4 more) half the way to 0.084 (12 more).
    way = choosing.next_step([0.084, 0.096, 0.100], [17.0, 5.0, 1.0], start=2, step=0.01)
    assert way.extra_loss == pytest.approx(4 + 12 / 2)
    assert (way.before, way.after, way.share) == (1, 0, pytest.approx(0.5))


def test_a_step_that_the_front_does_not_go():
    way = choosing.next_step([0.1, 0.104], [5.0, 2.0], start=1, step=0.01)
    assert (way.gain, way.extra_loss, way.share) == pytest.approx((0.004, 3.0, 1.0))
    assert choosing.next_step([0.1, 0.104], [5.0, 2.0], start=0) is None
    assert choosing.next_step([0.1, 0.1], [5.0, 5.0], start=0) is None


def test_of_three_objectives_a_neighbour_that_costs_more_for_less_is_passed_over():
    # The middle one is on the front by its third objective alone; the way leads past it, and saves.
    way = choosing.next_step([0.10, 0.11, 0.12], [1.0, 8.0, 2.0], start=2, step=0.01)
    assert (way.before, way.after) == (2, 0)
    assert way.extra_loss == pytest.approx(-0.5)


@given(seeds, st.integers(2, 15), st.floats(0.001, 0.3))
@settings(deadline=None, derandomize=True)
def test_the_way_is_the_interpolated_front(seed, n, step):
    points = front(seed, n)
    errors, losses = points[np.argsort(points[:, 0])].T
    for start in range(len(errors)):
        way = choosing.next_step(errors, losses, start, step)
        if start == 0:
            assert way is None
            continue
        reached = max(errors[start] - step, errors[0])
        assert way.gain == pytest.approx(errors[start] - reached)
        assert way.extra_loss == pytest.approx(np.interp(reached, errors, losses) - losses[start])
        assert way.extra_loss > 0
        assert 0 < way.share <= 1


@given(seeds, st.integers(2, 15))
@settings(deadline=None, derandomize=True)
def test_a_longer_way_costs_no_less(seed, n):
    points = front(seed, n)
    costs = [choosing.next_step(*points.T, int(points[:, 0].argmax()), step) for step in (0.01, 0.1, 0.5)]
    extra = [way.extra_loss for way in costs if way is not None]
    assert extra == sorted(extra)
