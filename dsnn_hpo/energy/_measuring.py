"""Repeated measurement of a piece of work, with its interval, at rest and busy."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from dsnn_hpo.energy._config import EnergyConfig
from dsnn_hpo.energy._interval import mean_and_ci95
from dsnn_hpo.energy._meter import Energy, Meter
from dsnn_hpo.energy._processor import ProcessorTimes, processor_times
from dsnn_hpo.errors import EnergyError, SensorError
from dsnn_hpo.trial import Provenance

# Others may use so much of all cores before a machine counts as busy.
BUSY = 0.10
MIN_REPEATS = 3
IDLE_S = 10.0


@dataclass(frozen=True, slots=True)
class MeasuringPlan:
    """How often and how long to measure.

    Attributes:
        window_s: of each window, at least; the pass under way at its end is finished.
        max_repeats: windows in all, busy ones included.
        ci_share: half the width of the 95 % interval, as a part of the mean, at which it is enough.
        warm_up_s: of passes that are not measured, at least one.
        busy: the part of all cores that others may use before a window counts as disturbed.
        idle_w: what the machine takes at rest, if it is known: see ``idle_power_w``.
        subtract_idle: whether it is taken off the figure.
    """

    window_s: float
    max_repeats: int = 1
    ci_share: float = 0.05
    warm_up_s: float = 0.5
    busy: float = BUSY
    idle_w: float | None = None
    subtract_idle: bool = False

    def __post_init__(self) -> None:
        if self.max_repeats < 1 or not self.window_s > 0:
            raise ValueError(f"nothing is measured in {self.max_repeats} windows of {self.window_s} s")
        if self.subtract_idle and self.idle_w is None:
            raise ValueError("what the machine takes at rest is to be subtracted, but idle_w is not known")

    @property
    def min_repeats(self) -> int:
        """Returns how many undisturbed windows it takes for an interval that means something."""
        return min(MIN_REPEATS, self.max_repeats)


def search_plan(config: EnergyConfig, idle_w: float | None = None) -> MeasuringPlan:
    """Returns the plan of figures that guide the search: one short window."""
    return MeasuringPlan(config.window_s, idle_w=idle_w, subtract_idle=config.idle == "subtract")


def final_plan(config: EnergyConfig, idle_w: float | None = None) -> MeasuringPlan:
    """Returns the plan of figures that go on the front: longer windows, until the interval is narrow."""
    return MeasuringPlan(
        max(config.final_window_s, config.window_s),
        max_repeats=config.final_repeats,
        ci_share=config.final_ci,
        idle_w=idle_w,
        subtract_idle=config.idle == "subtract",
    )


@dataclass(frozen=True, slots=True)
class Window:
    """One window: its joules, seconds and samples, and the part of all cores that others used; None: not known."""

    joules: float
    seconds: float
    n_samples: int
    others_use: float | None

    def per_thousand_j(self, idle_w: float = 0.0) -> float:
        """Returns the joules per 1,000 samples above ``idle_w`` watts."""
        return (self.joules - idle_w * self.seconds) / self.n_samples * 1000.0


@dataclass(frozen=True, slots=True)
class Measured:
    """Joules per 1,000 samples, and all that they rest on.

    Attributes:
        value_j: joules per 1,000 samples: ``net_j`` if what the machine takes at rest was to be subtracted, else ``gross_j``.
        provenance: of ``value_j``, with its interval; the interval does not hold the error of ``idle_w``.
        gross_j: with what the machine takes at rest.
        net_j: without it; None where that is not known.
        samples_per_s: throughput over the windows of the mean.
        windows: all that were measured, also those left out of the mean as disturbed.
    """

    value_j: float
    provenance: Provenance
    gross_j: float
    net_j: float | None
    samples_per_s: float
    windows: tuple[Window, ...]


def measure(work: Callable[[], int], meter: Meter, plan: MeasuringPlan) -> Measured:
    """Returns the energy of ``work``, which does one pass and returns how many samples it classified.

    After warming up, windows are measured until the interval is narrow enough or they are as many as they may be. A
    window in which others used the processor is taken again as long as that allows it; if fewer than the least number
    were undisturbed, all count, and the figure says so. Best within ``measuring_alone()``.

    Raises:
        EnergyError: the figure is not positive, or no sample was classified, or windows were measured in different ways.
        SensorError: a sensor failed.
    """
    _warm_up(work, plan.warm_up_s)
    windows: list[Window] = []
    hows: list[Provenance] = []
    while not _is_enough(windows, plan):
        window, how = _measure_window(work, meter, plan.window_s)
        windows.append(window)
        hows.append(how)
    return _measured(windows, hows, plan)


def idle_power_w(meter: Meter, seconds: float = IDLE_S, busy: float = BUSY) -> float:
    """Returns the watts that the meter reads while this process sleeps; for a worker to ask once, and keep.

    Raises:
        EnergyError: others used more than ``busy`` of the processor meanwhile: the machine was not at rest.
        SensorError: a sensor failed.
    """
    before = _processor_times()
    meter.begin()
    try:
        time.sleep(seconds)
    finally:
        energy = meter.end()
    others = _others_use(before, _processor_times())
    if others is None or others > busy:
        used = "an unknown part" if others is None else f"{100 * others:.0f} %"
        raise EnergyError(
            f"what this machine takes at rest is not known: others used {used} of the processor, more than {100 * busy:.0f} %; "
            "measure while nothing else runs, or with `energy: {idle: keep}`"
        )
    return energy.value_j / energy.seconds


def _warm_up(work: Callable[[], int], seconds: float) -> None:
    started = time.monotonic()
    work()
    while time.monotonic() - started < seconds:
        work()


def _measure_window(work: Callable[[], int], meter: Meter, seconds: float) -> tuple[Window, Provenance]:
    before = _processor_times()
    n_samples = 0
    meter.begin()
    started = time.monotonic()
    try:
        while time.monotonic() - started < seconds:
            n_samples += work()
    finally:
        energy: Energy = meter.end()
    if n_samples < 1:
        raise EnergyError("no sample was classified, so that there is no energy per sample")
    window = Window(energy.value_j, energy.seconds, n_samples, _others_use(before, _processor_times()))
    return window, energy.provenance


def _is_enough(windows: Sequence[Window], plan: MeasuringPlan) -> bool:
    if len(windows) >= plan.max_repeats:
        return True
    quiet = [window for window in windows if not _is_busy(window, plan)]
    if len(quiet) < plan.min_repeats:
        return False
    mean, ci95 = mean_and_ci95(_values(quiet, plan))
    return ci95 is not None and ci95 <= plan.ci_share * mean


def _measured(windows: Sequence[Window], hows: Sequence[Provenance], plan: MeasuringPlan) -> Measured:
    quiet = [i for i, window in enumerate(windows) if not _is_busy(window, plan)]
    chosen = quiet if len(quiet) >= plan.min_repeats else range(len(windows))
    used, how = [windows[i] for i in chosen], [hows[i] for i in chosen]
    methods = sorted({each.method for each in how})
    if len(methods) > 1:
        raise EnergyError(f"the windows were measured in different ways, which no mean has: {'; '.join(methods)}")
    gross_j, _ = mean_and_ci95([window.per_thousand_j() for window in used])
    net_j = None if plan.idle_w is None else mean_and_ci95([window.per_thousand_j(plan.idle_w) for window in used])[0]
    value_j, ci95 = mean_and_ci95(_values(used, plan))
    if not value_j > 0:
        above = f" above the {plan.idle_w:.3g} W at rest" if plan.subtract_idle else ""
        raise EnergyError(f"the energy meter read {value_j:.4g} J per 1,000 samples{above}, {how[0]}")
    remarks = dict.fromkeys([remark for each in how for remark in each.remarks] + _busy_remarks(used, plan))
    provenance = replace(
        how[0], ci95=ci95, n_repeats=len(used), idle_subtracted=plan.subtract_idle, remarks=tuple(remarks)
    )
    samples_per_s = sum(window.n_samples for window in used) / sum(window.seconds for window in used)
    return Measured(value_j, provenance, gross_j, net_j, samples_per_s, tuple(windows))


def _values(windows: Sequence[Window], plan: MeasuringPlan) -> list[float]:
    idle_w = plan.idle_w if plan.subtract_idle and plan.idle_w is not None else 0.0
    return [window.per_thousand_j(idle_w) for window in windows]


def _is_busy(window: Window, plan: MeasuringPlan) -> bool:
    return window.others_use is not None and window.others_use > plan.busy


def _busy_remarks(windows: Sequence[Window], plan: MeasuringPlan) -> list[str]:
    uses = [window.others_use for window in windows if window.others_use is not None]
    if len(uses) < len(windows):
        return ["whether the machine was busy is not known"]
    return [f"busy machine (others used {100 * max(uses):.0f} % of the processor)"] if max(uses) > plan.busy else []


def _processor_times() -> ProcessorTimes | None:
    try:
        return processor_times()
    except SensorError:
        return None


def _others_use(before: ProcessorTimes | None, after: ProcessorTimes | None) -> float | None:
    return None if before is None or after is None else after.others_use(before)
