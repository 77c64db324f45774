"""Repeated measurement, by a meter and a clock that tests move."""

from __future__ import annotations

import statistics
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsnn_hpo.energy import (
    Energy,
    EnergyConfig,
    MeasuringPlan,
    _measuring,
    final_plan,
    idle_power_w,
    make_meter,
    mean_and_ci95,
    measure,
    search_plan,
)
from dsnn_hpo.energy._processor import ProcessorTimes
from dsnn_hpo.errors import EnergyError, SensorError
from dsnn_hpo.trial import Provenance

KNOWN = Provenance("cpu: known", "measured", "machine", "a bench")
PASS_S, N_SAMPLES, N_CORES = 0.25, 50, 2


class Bench:
    """A machine whose clock moves only while work is done: a meter of ``watts``, one figure a window, and neighbours."""

    def __init__(self, watts, others=(), remarks=()):
        self.now_s, self.machine_s, self.own_s = 0.0, 0.0, 0.0
        self.watts, self.others, self.remarks = list(watts), list(others), list(remarks)
        self.events = []
        self._began_s = None

    def _of_this_window(self, values, otherwise):
        return values[min(self.events.count("begin") - 1, len(values) - 1)] if values else otherwise

    def work(self):
        self.events.append("pass")
        self.sleep(PASS_S)
        return N_SAMPLES

    def sleep(self, seconds):
        self.now_s += seconds
        self.own_s += seconds
        use = self._of_this_window(self.others, 0.0)
        self.machine_s += seconds + (0.0 if use is None else use * N_CORES * seconds)

    def begin(self):
        self.events.append("begin")
        self._began_s = self.now_s

    def end(self):
        self.events.append("end")
        seconds = self.now_s - self._began_s
        remarks = self._of_this_window(self.remarks, ())
        how = Provenance("cpu: known", "measured", "machine", "a bench", remarks=remarks)
        return Energy(self._of_this_window(self.watts, 0.0) * seconds, 0.0, seconds, how)

    def times(self):
        return ProcessorTimes(self.machine_s, self.own_s, self.now_s)


@pytest.fixture
def on(monkeypatch):
    """Returns a function that puts measurement on a bench."""
    return lambda bench: put_on(monkeypatch, bench)


def put_on(monkeypatch, bench):
    monkeypatch.setattr(_measuring, "time", SimpleNamespace(monotonic=lambda: bench.now_s, sleep=bench.sleep))
    monkeypatch.setattr(_measuring, "processor_times", bench.times)
    monkeypatch.setattr("os.cpu_count", lambda: N_CORES)
    return bench


def test_joules_per_thousand_samples_and_throughput(on):
    bench = on(Bench([40.0]))
    measured = measure(bench.work, bench, MeasuringPlan(2.0))
    # 40 W over 200 samples a second.
    assert measured.value_j == measured.gross_j == pytest.approx(200.0)
    assert measured.samples_per_s == pytest.approx(200.0)
    assert measured.net_j is None
    assert (measured.provenance.ci95, measured.provenance.n_repeats) == (None, 1)
    [window] = measured.windows
    assert (window.joules, window.seconds, window.n_samples) == (80.0, 2.0, 400)


def test_it_warms_up_for_half_a_second_and_a_pass_at_least(on):
    for warm_up_s, n_passes in ((0.5, 2), (0.0, 1), (1.1, 5)):
        bench = on(Bench([40.0]))
        measure(bench.work, bench, MeasuringPlan(1.0, warm_up_s=warm_up_s))
        assert bench.events[: n_passes + 1] == ["pass"] * n_passes + ["begin"]


def test_a_window_lasts_as_long_as_it_should_and_finishes_its_pass(on):
    bench = on(Bench([40.0]))
    measured = measure(bench.work, bench, MeasuringPlan(1.1))
    assert measured.windows[0].seconds == pytest.approx(1.25)


@given(
    watts=st.lists(st.floats(1.0, 100.0), min_size=12, max_size=12),
    n_most=st.integers(1, 12),
    share=st.floats(0.01, 0.5),
)
def test_it_repeats_until_the_interval_is_narrow_or_it_may_no_more(watts, n_most, share):
    with pytest.MonkeyPatch.context() as patch:
        bench = put_on(patch, Bench(watts))
        measured = measure(bench.work, bench, MeasuringPlan(1.0, max_repeats=n_most, ci_share=share))
    n = measured.provenance.n_repeats
    per_thousand = [5.0 * w for w in watts[:n]]
    mean, ci95 = mean_and_ci95(per_thousand)
    assert len(measured.windows) == n <= n_most
    assert measured.value_j == pytest.approx(mean)
    assert measured.provenance.ci95 == (None if ci95 is None else pytest.approx(ci95, rel=1e-6, abs=1e-9))
    assert n == n_most or (n >= 3 and ci95 <= share * mean * (1 + 1e-9))
    # No earlier stop was missed.
    for k in range(3, n):
        earlier_mean, earlier_ci95 = mean_and_ci95(per_thousand[:k])
        assert earlier_ci95 > share * earlier_mean * (1 - 1e-9)


def test_disturbed_windows_are_taken_again(on):
    bench = on(Bench([40.0, 90.0, 40.0, 40.0], others=[0.0, 0.35, 0.05, 0.0]))
    measured = measure(bench.work, bench, MeasuringPlan(2.0, max_repeats=6))
    assert len(measured.windows) == 4
    assert [round(window.others_use, 2) for window in measured.windows] == [0.0, 0.35, 0.05, 0.0]
    assert measured.value_j == pytest.approx(200.0)
    assert measured.provenance.n_repeats == 3
    assert measured.provenance.remarks == ()


def test_a_machine_that_stays_busy_is_told(on):
    bench = on(Bench([40.0, 44.0, 42.0], others=[0.2, 0.35, 0.3]))
    measured = measure(bench.work, bench, MeasuringPlan(2.0, max_repeats=3))
    assert measured.provenance.n_repeats == 3
    assert measured.value_j == pytest.approx(5 * statistics.fmean([40, 44, 42]))
    assert measured.provenance.remarks == ("busy machine (others used 35 % of the processor)",)


def test_a_single_disturbed_window_is_told(on):
    bench = on(Bench([40.0], others=[0.35]))
    measured = measure(bench.work, bench, MeasuringPlan(2.0))
    assert measured.provenance.remarks == ("busy machine (others used 35 % of the processor)",)


def test_where_nobody_knows_who_works_it_is_told(on, monkeypatch):
    bench = on(Bench([40.0]))

    def unknown():
        raise SensorError("no /proc")

    monkeypatch.setattr(_measuring, "processor_times", unknown)
    measured = measure(bench.work, bench, MeasuringPlan(2.0))
    assert measured.provenance.remarks == ("whether the machine was busy is not known",)


def test_remarks_of_all_windows_are_kept_once(on):
    bench = on(Bench([40.0], remarks=[("shared (1)",), (), ("shared (1)", "split")]))
    measured = measure(bench.work, bench, MeasuringPlan(2.0, max_repeats=3))
    assert measured.provenance.remarks == ("shared (1)", "split")


@pytest.mark.parametrize("subtract", [False, True])
def test_gross_and_net_are_both_known_and_the_plan_says_which_counts(on, subtract):
    bench = on(Bench([40.0, 44.0, 36.0]))
    plan = MeasuringPlan(2.0, max_repeats=3, idle_w=30.0, subtract_idle=subtract)
    measured = measure(bench.work, bench, plan)
    assert measured.gross_j == pytest.approx(200.0)
    assert measured.net_j == pytest.approx(50.0)
    assert measured.value_j == pytest.approx(50.0 if subtract else 200.0)
    assert measured.provenance.idle_subtracted is subtract
    # The same watts up and down, whatever is subtracted.
    assert measured.provenance.ci95 == pytest.approx(mean_and_ci95([200, 220, 180])[1])


def test_net_figures_are_as_narrow_as_net_figures_must_be(on):
    # 1 W up and down: 2.5 % of 40 W, but a tenth of the 10 W above rest.
    watts = [40.0, 41.0, 39.0, 40.0, 41.0, 39.0]
    n_gross, n_net = (
        len(measure(on(b := Bench(watts)).work, b, MeasuringPlan(2.0, 6, 0.08, idle_w=30.0, subtract_idle=net)).windows)
        for net in (False, True)
    )
    assert (n_gross, n_net) == (3, 6)


@pytest.mark.parametrize("idle_w", [40.0, 50.0])
def test_a_net_figure_that_is_not_positive_is_an_error(on, idle_w):
    bench = on(Bench([40.0]))
    with pytest.raises(EnergyError, match=rf"J per 1,000 samples above the {idle_w:.0f} W at rest"):
        measure(bench.work, bench, MeasuringPlan(2.0, idle_w=idle_w, subtract_idle=True))


def test_no_energy_is_an_error(on):
    bench = on(Bench([0.0]))
    with pytest.raises(EnergyError, match=r"read 0 J per 1,000 samples, measured \(cpu: known"):
        measure(bench.work, bench, MeasuringPlan(2.0))


def test_no_samples_are_an_error(on):
    bench = on(Bench([40.0]))
    with pytest.raises(EnergyError, match="no sample"):
        measure(lambda: bench.work() * 0, bench, MeasuringPlan(2.0))


def test_windows_measured_in_different_ways_have_no_mean(on):
    bench = on(Bench([40.0]))
    methods = iter(["cpu: rapl", "cpu: cpu_load", "cpu: rapl"])

    class Changing:
        begin = bench.begin

        def end(self):
            energy = bench.end()
            return Energy(
                energy.value_j, 0.0, energy.seconds, Provenance(next(methods), "estimated", "machine", "a bench")
            )

    with pytest.raises(EnergyError, match=r"different ways.*cpu: cpu_load; cpu: rapl"):
        measure(bench.work, Changing(), MeasuringPlan(2.0, max_repeats=3))


def test_work_that_fails_closes_the_window(on):
    bench = on(Bench([40.0]))

    def fails():
        if "begin" in bench.events:
            raise ZeroDivisionError
        return bench.work()

    with pytest.raises(ZeroDivisionError):
        measure(fails, bench, MeasuringPlan(2.0))
    assert bench.events[-1] == "end"


def test_power_at_rest(on):
    bench = on(Bench([30.0]))
    assert idle_power_w(bench, seconds=7.0) == pytest.approx(30.0)
    assert bench.now_s == 7.0


def test_power_at_rest_of_a_busy_machine_is_an_error(on):
    bench = on(Bench([30.0], others=[0.35]))
    with pytest.raises(EnergyError, match=r"others used 35 % of the processor, more than 10 %; .*idle: keep"):
        idle_power_w(bench)


def test_plans_follow_the_experiment():
    config = EnergyConfig(window_s=3.0, final_window_s=8.0, final_repeats=20, final_ci=0.02)
    assert search_plan(config) == MeasuringPlan(3.0)
    assert final_plan(config, 9.0) == MeasuringPlan(8.0, 20, 0.02, idle_w=9.0)
    config = EnergyConfig(scope="machine", idle="subtract")
    assert final_plan(config, 9.0).subtract_idle
    assert search_plan(config, 9.0).subtract_idle
    with pytest.raises(ValueError, match="idle_w is not known"):
        final_plan(config)


@pytest.mark.parametrize("change", [{"max_repeats": 0}, {"window_s": 0.0}])
def test_a_plan_that_measures_nothing_is_refused(change):
    with pytest.raises(ValueError, match="nothing is measured"):
        MeasuringPlan(**{"window_s": 2.0, **change})


def test_it_works_on_the_real_machine():
    def work():
        sum(range(20_000))
        return 10

    meter = make_meter(EnergyConfig())
    measured = measure(work, meter, MeasuringPlan(0.1, max_repeats=3, warm_up_s=0.0))
    assert measured.value_j > 0
    assert measured.provenance.n_repeats == 3
    assert measured.provenance.quality in ("estimated", "measured")
    assert all(0 <= window.others_use <= 1 for window in measured.windows)
