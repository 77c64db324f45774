"""The vocabulary of a search: objectives, trials, results. Plain frozen values, no behaviour beyond them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Literal

Scalar = bool | int | float | str
Config = Mapping[str, Scalar]


@dataclass(frozen=True, slots=True)
class Objective:
    """One figure to optimise; ``loss`` is the only place where a sign flips. Another goal raises ValueError."""

    name: str
    goal: Literal["minimize", "maximize"]
    unit: str = ""
    description: str = ""

    def __post_init__(self) -> None:
        if self.goal not in ("minimize", "maximize"):
            raise ValueError(f"objective {self.name}: its goal is 'minimize' or 'maximize', not {self.goal!r}")

    def loss(self, value: float) -> float:
        """Returns the value as something to minimise."""
        return value if self.goal == "minimize" else -value


OBJECTIVES: Mapping[str, Objective] = MappingProxyType(
    {
        o.name: o
        for o in (
            Objective("error", "minimize", "1", "share of misclassified validation samples, 0 to 1"),
            Objective(
                "inference_energy_j",
                "minimize",
                "J/1000 samples",
                "energy to classify 1,000 samples on the compiled executor, which is what would be deployed",
            ),
            Objective(
                "emulation_energy_j",
                "minimize",
                "J/1000 samples",
                "energy to classify 1,000 samples with the float network that learns, which emulates shifts and sums",
            ),
            Objective(
                "hardware_energy_uj",
                "minimize",
                "uJ/sample",
                "modelled energy of one inference on a target: operations and bytes times a table, accumulation included",
            ),
            Objective("train_energy_j", "minimize", "J", "energy of training, all rungs of the configuration"),
            Objective("model_size_bytes", "minimize", "B", "parameters packed at their real bit widths"),
            Objective(
                "latency_ms", "minimize", "ms", "median time to classify one sample on the executor (batch size 1)"
            ),
            Objective("latency_p95_ms", "minimize", "ms", "95th percentile of the same"),
            Objective(
                "samples_per_s", "maximize", "1/s", "samples classified in a second on the executor, in whole batches"
            ),
            Objective("co2_g", "minimize", "g CO2eq", "emissions of training, all rungs of the configuration"),
        )
    }
)


@dataclass(frozen=True, slots=True)
class Fidelity:
    """A range of training lengths in epochs; successive rungs are a factor ``eta`` apart, counted from the longest.

    Whatever makes a trial dearer and truer can stand for epochs: samples, folds, steps of a simulation. Raises ValueError
    unless ``1 <= min_epochs <= max_epochs`` and ``eta >= 2``.
    """

    min_epochs: int
    max_epochs: int
    eta: int = 3

    def __post_init__(self) -> None:
        if not 1 <= self.min_epochs <= self.max_epochs:
            raise ValueError(f"epochs must be at least 1, and min {self.min_epochs} not above max {self.max_epochs}")
        if self.eta < 2:
            raise ValueError(f"eta must be 2 or more, not {self.eta}")

    def rungs(self) -> tuple[int, ...]:
        """Returns the rungs in epochs, ascending, the last one ``max_epochs`` (eq. ``max / eta**k``, rounded)."""
        n_steps = math.floor(math.log(self.max_epochs / self.min_epochs, self.eta) + 1e-9)
        return tuple(max(1, round(self.max_epochs / self.eta**k)) for k in range(n_steps, -1, -1))


@dataclass(frozen=True, slots=True)
class Trial:
    """What to run: a configuration, for ``fidelity`` epochs, with ``seed``; ids count from 0 in order of asking."""

    id: int
    config: Config
    fidelity: int
    seed: int

    @property
    def key(self) -> str:
        """Returns a short hash of configuration and seed: equal for all rungs of one configuration."""
        return config_key(self.config, self.seed)


def config_key(config: Config, seed: int) -> str:
    """Returns the first 12 hex digits of the SHA-256 of the configuration (keys sorted) and the seed."""
    text = json.dumps([dict(sorted(config.items())), seed], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class TrialState(StrEnum):
    """How a trial ended."""

    COMPLETED = "completed"
    FAILED = "failed"


class FailureCause(StrEnum):
    """Why a trial failed."""

    EXCEPTION = "exception"
    DIVERGED = "diverged"
    OUT_OF_MEMORY = "out_of_memory"
    TIME_LIMIT = "time_limit"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Provenance:
    """How a figure was obtained, and how sure it is.

    Attributes:
        method: where it comes from, part by part, e.g. ``"cpu: rapl, ram: model"``.
        quality: read from a sensor; estimated, in whole or in part, from load and rated power; or modelled from counts.
        scope: whose: of the process, of the whole machine, of a device, or of one inference (modelled).
        hardware: that it was taken on, or was modelled for.
        ci95: half the width of its 95 % interval, in the figure's unit; None where it was taken once.
        n_repeats: how many windows, or samples, it is the mean of.
        idle_subtracted: whether what the hardware takes at rest was taken off.
        remarks: what casts doubt on it, e.g. a busy machine.
    """

    method: str
    quality: Literal["measured", "estimated", "modelled"]
    scope: Literal["process", "machine", "device", "inference"]
    hardware: str
    ci95: float | None = None
    n_repeats: int = 1
    idle_subtracted: bool = False
    remarks: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Returns it as one line, e.g. ``"estimated (cpu: cpu_load, ram: model; this process; AMD EPYC, 2 cores)"``."""
        whose = {"process": "this process", "machine": "whole machine", "device": "whole device", "inference": ""}
        parts = [self.method, whose[self.scope], self.hardware]
        parts += [f"mean of {self.n_repeats}"] if self.n_repeats > 1 else []
        parts += ["idle subtracted"] if self.idle_subtracted else []
        return f"{self.quality} ({'; '.join(p for p in (*parts, *self.remarks) if p)})"


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch of a training curve; ``number`` counts from 1."""

    number: int
    train_loss: float
    validation_error: float
    lr: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a trial: a completed one has values, a failed one has an error, its cause and no values.

    ``values`` are measured on the validation split and guide the search; ``test_values`` are reported and never
    seen by an optimizer. ``n_epochs`` counts the epochs trained for this result alone (a continued configuration
    does not pay again for earlier rungs), and ``energy_j`` is that of training them; ``measuring_energy_j`` that of
    measuring the values. ``provenance`` says how figures were obtained. ``log`` is the path of the
    trial's log, relative to the run folder; of a failed trial, ``log_tail`` holds its last lines.
    """

    trial: Trial
    state: TrialState
    values: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    error: str | None = None
    test_values: Mapping[str, float] = field(default_factory=dict)
    curve: tuple[Epoch, ...] = ()
    n_epochs: int = 0
    energy_j: float = 0.0
    measuring_energy_j: float = 0.0
    provenance: Mapping[str, Provenance] = field(default_factory=dict)
    cause: FailureCause | None = None
    log: str = ""
    log_tail: str = ""

    def __post_init__(self) -> None:
        if self.state is TrialState.FAILED and (self.values or not self.error):
            raise ValueError("a failed trial has an error and no values")
        if self.state is TrialState.COMPLETED and (self.error or self.cause or not self.values):
            raise ValueError("a completed trial has values and no error")
        bad = [name for name, value in self.values.items() if not math.isfinite(value)]
        if bad:
            raise ValueError(f"values must be finite: {', '.join(bad)}")


def to_json(value: Trial | Result) -> dict[str, Any]:
    """Returns a trial or result as JSON-serialisable dictionaries; the inverse of the two functions below."""
    if isinstance(value, Trial):
        config = dict(value.config)
        return {"id": value.id, "config": config, "fidelity": value.fidelity, "seed": value.seed}
    return {
        "trial": to_json(value.trial),
        "state": value.state.value,
        "values": dict(value.values),
        "seconds": value.seconds,
        "error": value.error,
        "test_values": dict(value.test_values),
        "curve": [[e.number, e.train_loss, e.validation_error, e.lr, e.seconds] for e in value.curve],
        "n_epochs": value.n_epochs,
        "energy_j": value.energy_j,
        "measuring_energy_j": value.measuring_energy_j,
        "provenance": {name: asdict(how) for name, how in value.provenance.items()},
        "cause": value.cause,
        "log": value.log,
        "log_tail": value.log_tail,
    }


def trial_from_json(data: Mapping[str, Any]) -> Trial:
    """Returns the trial that ``to_json`` wrote; raises KeyError or TypeError on anything else."""
    return Trial(int(data["id"]), dict(data["config"]), int(data["fidelity"]), int(data["seed"]))


def result_from_json(data: Mapping[str, Any]) -> Result:
    """Returns the result that ``to_json`` wrote; raises KeyError, TypeError or ValueError on anything else."""
    fields = {k: v for k, v in data.items() if k not in ("trial", "state", "curve", "cause", "provenance")}
    return Result(
        trial=trial_from_json(data["trial"]),
        state=TrialState(data["state"]),
        cause=FailureCause(data["cause"]) if data.get("cause") else None,
        curve=tuple(Epoch(*row) for row in data["curve"]),
        provenance={name: provenance_from_json(how) for name, how in data["provenance"].items()},
        **fields,
    )


def provenance_from_json(data: Mapping[str, Any]) -> Provenance:
    """Returns the provenance whose fields these are; raises KeyError or TypeError on anything else."""
    return Provenance(**{**data, "remarks": tuple(data["remarks"])})
