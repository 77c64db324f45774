"""The interval, against scipy and against its promise."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from dsnn_hpo.energy import mean_and_ci95
from dsnn_hpo.energy._interval import student_t

VALUES = st.lists(st.floats(0.1, 1e4, allow_nan=False), min_size=2, max_size=60)


@pytest.mark.parametrize("n_degrees", [*range(1, 41), 60, 100, 1000, 10**6])
def test_quantiles_are_students(n_degrees):
    assert student_t(n_degrees) == pytest.approx(stats.t.ppf(0.975, n_degrees), rel=1e-4)


@given(VALUES)
def test_the_interval_is_scipys(values):
    mean, ci95 = mean_and_ci95(values)
    # Of values that agree to the last digits scipy computes none.
    assume(max(values) - min(values) > 1e-6 * mean)
    scale = stats.tstd(values) / math.sqrt(len(values))
    low, high = stats.t.interval(0.95, len(values) - 1, loc=mean, scale=scale)
    assert (mean - ci95, mean + ci95) == pytest.approx((low, high), abs=2e-4 * ci95)


@given(VALUES, st.floats(0.01, 100.0), st.floats(-50.0, 50.0))
def test_it_scales_and_shifts_with_its_values(values, factor, shift):
    mean, ci95 = mean_and_ci95(values)
    moved_mean, moved_ci95 = mean_and_ci95([factor * value + shift for value in values])
    assert moved_mean == pytest.approx(factor * mean + shift, rel=1e-6, abs=1e-6)
    assert moved_ci95 == pytest.approx(factor * ci95, rel=1e-5, abs=1e-6)


@given(st.floats(0.1, 1e4), st.integers(2, 40))
def test_values_that_agree_have_no_width(value, n):
    assert mean_and_ci95([value] * n)[1] == pytest.approx(0.0, abs=1e-9 * value)


def test_a_single_value_has_no_interval():
    assert mean_and_ci95([3.0]) == (3.0, None)


@pytest.mark.parametrize("n", [3, 10, 40])
def test_it_holds_the_truth_as_often_as_it_says(n):
    draw = random.Random(0)
    hits = 0
    for _ in range(2000):
        mean, ci95 = mean_and_ci95([draw.gauss(10.0, 2.0) for _ in range(n)])
        hits += abs(mean - 10.0) <= ci95
    # Three standard errors of a share of 0.95 in 2,000.
    assert hits / 2000 == pytest.approx(0.95, abs=0.015)
