import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsnn_hpo import pareto
from dsnn_hpo.journal import History, Lost, Mark, Told
from dsnn_hpo.report import hypervolume_points, hypervolume_series
from dsnn_hpo.trial import Result, Trial, TrialState
from tests.report.synthetic import header, history, prefix


def _told(values: list[tuple[float, float, int]]) -> History:
    events = [
        Told(
            Result(
                Trial(i, {"x": i}, fidelity, 0),
                TrialState.COMPLETED,
                values={"error": error, "inference_energy_j": energy},
                n_epochs=fidelity,
            ),
            float(i),
        )
        for i, (error, energy, fidelity) in enumerate(values)
    ]
    return History(header(), tuple(events))


def test_empty_without_a_reference_point():
    values = [(0.1 * i, 1.0 * i, 1) for i in range(1, pareto.N_REFERENCE_RESULTS)]
    assert hypervolume_series(_told(values)) == []
    assert len(hypervolume_series(_told([*values, (0.05, 0.5, 1)]))) == 1


def test_known_area():
    values = [(0.2, 1.0, 1), (0.1, 2.0, 1)] * 4
    # Reference (0.21, 2.1), ideal (0.1, 1.0): the box is 0.11 x 1.1; the two points leave an L of it.
    expected = (0.11 * 0.1 + 0.01 * 1.0) / (0.11 * 1.1)
    assert hypervolume_series(_told(values)) == [(8, pytest.approx(expected))]


def test_ends_at_the_epochs_of_all_results_failed_ones_too():
    run = history(45)
    assert hypervolume_series(run)[-1][0] == sum(r.n_epochs for r in run.results)


def test_last_value_is_the_front_s():
    run = history(45)
    reference = pareto.reference_point(run.results, run.objectives)
    first = pareto.completed(run.results)[: pareto.N_REFERENCE_RESULTS]
    box = np.prod(reference - pareto.losses_of(first, run.objectives).min(axis=0))
    volume = pareto.hypervolume(pareto.losses_of(run.front(), run.objectives), reference)
    assert hypervolume_series(run)[-1][1] == pytest.approx(volume / box)


def test_what_was_said_is_never_changed_by_what_comes_later():
    run = history(45)
    whole = hypervolume_series(run)
    for n_events in range(0, len(run.events), 7):
        part = hypervolume_series(prefix(run, n_events))
        assert part == whole[: len(part)]


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 100), st.sampled_from([1, 3, 9])), min_size=8, max_size=30))
@settings(derandomize=True, deadline=None, max_examples=60)
def test_never_falls(values):
    series = hypervolume_series(_told(values))
    assert len(series) == len(values) - 7
    volumes = [v for _, v in series]
    assert volumes == sorted(volumes)
    assert all(np.isfinite(volumes))
    assert [e for e, _ in series] == sorted(e for e, _ in series)


def test_joules_are_those_of_the_history():
    run = history(45)
    lost = Lost(run.results[0].trial, 1, "killed", 5.0, 70.0, 0.0)
    driver = Mark("interrupted", 0.0, energy_j=9.0)
    whole = History(run.header, [run.events[0], run.events[1], lost, *run.events[2:20], driver, *run.events[20:]])
    points = hypervolume_points(whole)
    assert points[-1].energy_j == pytest.approx(whole.energy_j)
    spent = [point.energy_j for point in points]
    assert spent == sorted(spent)
    assert hypervolume_series(whole) == [(point.n_epochs, point.value) for point in points]
