"""The figures of inference that a search asks for, each with how it was obtained."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from torch import nn

from dsnn_hpo import kernels
from dsnn_hpo.data import PreparedData
from dsnn_hpo.energy import Measured, MeasuringPlan, Meter, hardware_name, measure, measuring_alone
from dsnn_hpo.errors import InputError
from dsnn_hpo.evaluation._inference import N_LATENCY_RUNS, Classify, Passes, deployed, measure_latency
from dsnn_hpo.executor import Executor
from dsnn_hpo.trial import Provenance

EXECUTOR_FIGURES = frozenset({"inference_energy_j", "latency_ms", "latency_p95_ms", "samples_per_s"})
"""Measured on the compiled executor."""


def check_executor(objectives: Collection[str]) -> None:
    """Checks that figures of the executor can be measured; raises InputError if its kernels are not compiled."""
    wanted = sorted(EXECUTOR_FIGURES & set(objectives))
    if wanted and kernels.isa() is None:
        raise InputError(
            f"{', '.join(wanted)}: measured on the compiled executor, and the kernels are not compiled here; compile them "
            "(dsnn-hpo doctor says how), or take emulation_energy_j or hardware_energy_uj"
        )


@dataclass(frozen=True, slots=True)
class Figures:
    """Values by name, how each was obtained, and the joules that measuring them took."""

    values: Mapping[str, float]
    provenance: Mapping[str, Provenance]
    spent_j: float


@dataclass(slots=True)
class Bench:
    """Where inference is measured, figure by figure.

    Attributes:
        data: validation samples are classified.
        batch_size: samples at a time, but for latencies.
        meter: reads the energy.
        plan: how long and how often.
        before_pass: called before each pass over the samples; may raise to end it.
        n_latency_runs: of which a latency is the median.
        device: that of a network whose emulation is measured.
    """

    data: PreparedData
    batch_size: int
    meter: Meter
    plan: MeasuringPlan
    before_pass: Callable[[], None] = lambda: None
    n_latency_runs: int = N_LATENCY_RUNS
    device: str = "cpu"
    _values: dict[str, float] = field(default_factory=dict)
    _provenance: dict[str, Provenance] = field(default_factory=dict)
    _spent_j: float = 0.0

    def measured(
        self,
        network: nn.Module,
        objectives: Collection[str],
        peer: nn.Module | None = None,
        executor: Executor | None = None,
    ) -> Figures:
        """Returns those figures of a network's inference that are among the objectives.

        Args:
            network: trained; figures of deployment are taken on the executor, its own only as ``emulation_energy_j``.
            objectives: the names asked for.
            peer: the float32 network of its architecture, whose energy is given beside that of the executor.
            executor: the network frozen, if that is at hand.

        Raises:
            FreezeError: a figure of the executor is asked for, and it cannot run the network.
            InputError: the executor's kernels are not compiled.
            EnergyError: no energy was read, or other processes measured all the while.
        """
        check_executor(objectives)
        asked = set(objectives)
        wants_energy = bool(asked & {"inference_energy_j", "samples_per_s"})
        wants_latency = bool(asked & {"latency_ms", "latency_p95_ms"})
        if executor is None and (wants_energy or wants_latency):
            executor = deployed(network, self.data)
        with _alone_if(wants_energy or wants_latency or "emulation_energy_j" in asked):
            if executor is not None and wants_energy:
                found = self._energy("inference_energy_j", executor)
                self._keep("samples_per_s", found.samples_per_s, _clocked(found.provenance.n_repeats))
                if peer is not None:
                    # It is beside the point how sure this one is: one window.
                    with _evaluating(peer):
                        self._energy("float32_energy_j", peer, replace(self.plan, max_repeats=1))
            if executor is not None and wants_latency:
                self._latency(executor)
            if "emulation_energy_j" in asked:
                with _evaluating(network):
                    self._energy("emulation_energy_j", network)
        return Figures(self._values, self._provenance, self._spent_j)

    def _energy(self, name: str, classify: Classify, plan: MeasuringPlan | None = None) -> Measured:
        passes = Passes(classify, self.data, self.batch_size, self.before_pass, self.device)
        found = measure(passes, self.meter, plan or self.plan)
        self._keep(name, found.value_j, found.provenance)
        if found.net_j is not None:
            self._values |= {f"{name}_gross": found.gross_j, f"{name}_net": found.net_j}
        self._spent_j += sum(window.joules for window in found.windows)
        return found

    def _latency(self, classify: Classify) -> None:
        latency = measure_latency(classify, self.data, self.n_latency_runs)
        self._keep("latency_ms", latency.median_ms, _clocked(latency.n_runs))
        self._keep("latency_p95_ms", latency.p95_ms, _clocked(latency.n_runs))

    def _keep(self, name: str, value: float, how: Provenance) -> None:
        self._values[name], self._provenance[name] = value, how


@contextmanager
def _alone_if(measures: bool) -> Iterator[None]:
    if not measures:
        yield
        return
    with measuring_alone():
        yield


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _clocked(n_repeats: int) -> Provenance:
    return Provenance("clock", "measured", "process", hardware_name(), n_repeats=n_repeats)
