"""The MLflow runs that a journal asks for: one for the whole run, and one below it for each configuration.

Everything follows from the journal, times too: whoever writes the same history twice writes the same runs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from dsnn_hpo.journal import Asked, Header, History, Lost, Mark, Measured, Told
from dsnn_hpo.tracking._standing import Standing, standing_of
from dsnn_hpo.trial import Epoch, Result, Trial, TrialState

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]

FRONT_COLOUR = "#c8102e"
OTHER_COLOUR = "#98a2b3"
_MAX_TEXT = 400
_MARK_STATUS: Mapping[str, Status] = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}


@dataclass(frozen=True, slots=True)
class Point:
    """One value of a metric; ``time_ms`` since the epoch."""

    name: str
    value: float
    time_ms: int
    step: int


@dataclass(frozen=True, slots=True)
class RunRecord:
    """An MLflow run as it should be.

    ``parts`` holds the metrics of each result, in the order told: a later record of the same run has the same parts
    and perhaps more. ``membership`` is the value of ``is_pareto``, None for the parent.
    """

    key: str
    name: str
    status: Status
    start_ms: int
    end_ms: int
    params: Mapping[str, str]
    tags: Mapping[str, str]
    parts: tuple[tuple[Point, ...], ...]
    membership: Point | None = None


@dataclass(slots=True)
class _Configuration:
    asked: dict[int, Asked] = field(default_factory=dict)
    told: dict[int, Told] = field(default_factory=dict)
    measured: list[Measured] = field(default_factory=list)
    n_lost: int = 0


class Records:
    """The runs of one history, brought up to date as it grows."""

    def __init__(self, header: Header) -> None:
        self._header = header
        self._n_events = 0
        self._configurations: dict[str, _Configuration] = {}
        self._counts: list[tuple[Point, ...]] = []
        self._energy_j = 0.0
        self._n_failed = self._n_measured = 0
        self._standing = Standing()
        self._moved: set[str] = set()
        self._last_mark: Mark | None = None
        self._had_reason = False
        self._last_figure_ms = _ms(header.created)
        self._end_ms = _ms(header.created)

    @property
    def n_told(self) -> int:
        """Returns the number of results told so far."""
        return len(self._counts)

    @property
    def n_figures(self) -> int:
        """Returns the number of results told and of measurements after the search: more of them may move the front."""
        return self.n_told + self._n_measured

    @property
    def told_ms(self) -> list[int]:
        """Returns when each result was told, in order."""
        return [part[0].time_ms for part in self._counts]

    @property
    def told_j(self) -> list[int]:
        """Returns the joules that the study had used when each result was told, rounded: MLflow's steps are whole."""
        return [round(next(point.value for point in part if point.name == "energy_j")) for part in self._counts]

    @property
    def keys(self) -> list[str]:
        """Returns the keys of all configurations, in the order first asked."""
        return list(self._configurations)

    def first_trial(self, key: str) -> int:
        """Returns the id of a configuration's first trial."""
        configuration = self._configurations[key]
        return min((*configuration.asked, *configuration.told))

    def in_flight(self, key: str) -> bool:
        """Returns whether a trial of a configuration was asked for and not told."""
        return _in_flight(self._configurations[key])

    def advance(self, history: History) -> set[str]:
        """Takes the events that are new and returns the keys of the configurations whose record has changed."""
        changed: set[str] = set()
        n_figures_before = self.n_figures
        for event in history.events[self._n_events :]:
            self._end_ms = max(self._end_ms, _ms(event.time))
            match event:
                case Asked(trial=trial):
                    self._configurations.setdefault(trial.key, _Configuration()).asked[trial.id] = event
                    changed.add(trial.key)
                case Lost(trial=trial):
                    self._energy_j += event.energy_j
                    self._configurations[trial.key].n_lost += 1
                    changed.add(trial.key)
                case Told(result=result):
                    self._take(event)
                    changed.add(result.trial.key)
                case Measured(trial=trial):
                    self._energy_j += event.energy_j
                    self._n_measured += 1
                    self._last_figure_ms = _ms(event.time)
                    self._configurations[trial.key].measured.append(event)
                    changed.add(trial.key)
                case Mark():
                    self._energy_j += event.energy_j
                    self._last_mark = event
                    self._had_reason |= bool(event.reason)
                    changed.update(key for key, c in self._configurations.items() if _in_flight(c))
        self._n_events = len(history.events)
        if self.n_figures > n_figures_before:
            standing = standing_of(history)
            changed |= standing.front ^ self._standing.front
            self._moved |= standing.moved(self._standing)
            self._standing = standing
        return changed

    def take_moved(self) -> set[str]:
        """Returns the keys of the configurations whose rank, or whose being the knee, has changed since the last call.

        One result moves many of them: they are to be written now and then, not at once.
        """
        moved, self._moved = self._moved, set()
        return moved

    def _take(self, told: Told) -> None:
        result = told.result
        self._configurations.setdefault(result.trial.key, _Configuration()).told[result.trial.id] = told
        self._energy_j += result.energy_j + result.measuring_energy_j
        self._n_failed += result.state is TrialState.FAILED
        self._last_figure_ms = _ms(told.time)
        step = self.n_told + 1
        counts = {"n_trials": step, "n_failed": self._n_failed, "energy_j": self._energy_j}
        self._counts.append(tuple(Point(name, float(v), self._last_figure_ms, step) for name, v in counts.items()))

    @property
    def _status(self) -> Status:
        return "RUNNING" if self._last_mark is None else _MARK_STATUS.get(self._last_mark.name, "RUNNING")

    def parent(self) -> RunRecord:
        """Returns the run of the whole experiment."""
        header = self._header
        tags = {
            "dsnn_hpo.run_id": header.run_id,
            "mlflow.source.name": "dsnn-hpo",
            **{f"version.{_name(k)}": _short(v) for k, v in header.versions.items()},
        }
        if self._last_mark is not None and self._had_reason:
            # Empty where that of an earlier mark no longer holds.
            tags["dsnn_hpo.reason"] = _short(self._last_mark.reason)
        return RunRecord(
            key="",
            name=header.name,
            status=self._status,
            start_ms=_ms(header.created),
            end_ms=self._end_ms,
            params={_name(key): _short(value) for key, value in _flat(header.experiment)},
            tags=tags,
            parts=tuple(self._counts),
        )

    def child(self, key: str) -> RunRecord:
        """Returns the run of one configuration."""
        configuration = self._configurations[key]
        told = list(configuration.told.values())
        trials = {
            **{i: a.trial for i, a in configuration.asked.items()},
            **{t.result.trial.id: t.result.trial for t in told},
        }
        first = trials[min(trials)]
        times = (
            [a.time for a in configuration.asked.values()]
            + [t.time for t in told]
            + [m.time for m in configuration.measured]
        )
        member = key in self._standing.front
        tags = {
            "dsnn_hpo.key": key,
            "dsnn_hpo.seed": str(first.seed),
            "mlflow.source.name": "dsnn-hpo",
            "mlflow.runColor": FRONT_COLOUR if member else OTHER_COLOUR,
            **self._standing.tags(key),
        }
        for provenance in (
            *(one.result.provenance for one in told),
            *(one.provenance for one in configuration.measured),
        ):
            tags |= {f"measured_by.{_name(name)}": _short(str(how)) for name, how in provenance.items()}
        failures = [t.result for t in told if t.result.error]
        if failures:
            last = failures[-1]
            tags |= {"error": _short(last.error), "error.cause": str(last.cause or ""), "error.log": last.log_tail}
            tags = {name: value for name, value in tags.items() if value}
        if configuration.n_lost:
            tags["attempts_lost"] = str(configuration.n_lost)
        return RunRecord(
            key=key,
            name="trial " + " › ".join(str(i) for i in sorted(trials)),
            status=self._child_status(configuration),
            start_ms=_ms(min(times)),
            end_ms=_ms(max(times)),
            params={_name(k): _short(v) for k, v in first.config.items()},
            tags=tags,
            parts=(
                *_parts(told, self._header),
                *(tuple(_measured_points(m, self._header)) for m in configuration.measured),
            ),
            membership=Point("is_pareto", float(member), self._last_figure_ms, self.n_figures),
        )

    def _child_status(self, configuration: _Configuration) -> Status:
        if _in_flight(configuration):
            return "RUNNING" if self._status == "RUNNING" else "KILLED"
        last = list(configuration.told.values())[-1].result
        return "FINISHED" if last.state is TrialState.COMPLETED else "FAILED"


def _in_flight(configuration: _Configuration) -> bool:
    return bool(configuration.asked.keys() - configuration.told.keys())


def _parts(told: Sequence[Told], header: Header) -> Iterator[tuple[Point, ...]]:
    """Returns the metrics of each result; an epoch that several curves hold is a point of the first."""
    n_seen = 0
    for one in told:
        curve = [epoch for epoch in one.result.curve if epoch.number > n_seen]
        n_seen = max([n_seen, *(epoch.number for epoch in curve)])
        yield tuple(_points(one, curve, header))


def _points(told: Told, curve: Sequence[Epoch], header: Header) -> Iterator[Point]:
    """Returns the metrics of one result: its curve by epoch, its figures by fidelity, final ones once more by name.

    MLflow's scatter plot takes each run's latest value, whatever its fidelity: ``final_NAME`` exists only where the training was
    as long as it gets, so that a plot of it compares like with like.
    """
    result, time_ms = told.result, _ms(told.time)
    for epoch in curve:
        for name, value in _curve(epoch):
            yield Point(name, value, time_ms, epoch.number)
    for name, value in _figures(result):
        yield Point(_name(name), value, time_ms, result.trial.fidelity)
        if result.trial.fidelity == header.fidelity.max_epochs:
            yield Point(_name(f"final_{name}"), value, time_ms, result.trial.fidelity)
    costs = {"train_seconds": result.seconds, "run_energy_j": result.energy_j, "epochs": float(result.trial.fidelity)}
    for name, value in costs.items():
        yield Point(name, value, time_ms, result.trial.fidelity)


def _measured_points(measured: Measured, header: Header) -> Iterator[Point]:
    """Returns the metrics of a measurement after the search: figures in place of the final ones, and their intervals."""
    time_ms, fidelity = _ms(measured.time), measured.trial.fidelity
    tested = {f"test_{name}": value for name, value in measured.test_values.items()}
    for name, value in (*measured.values.items(), *tested.items()):
        yield Point(_name(name), value, time_ms, fidelity)
        if fidelity == header.fidelity.max_epochs:
            yield Point(_name(f"final_{name}"), value, time_ms, fidelity)
    for name, how in measured.provenance.items():
        if how.ci95 is not None:
            yield Point(_name(f"{name}_ci95"), how.ci95, time_ms, fidelity)


def _curve(epoch: Epoch) -> Iterator[tuple[str, float]]:
    yield "train_loss", epoch.train_loss
    yield "validation_error", epoch.validation_error
    yield "lr", epoch.lr


def _figures(result: Result) -> Iterator[tuple[str, float]]:
    yield from result.values.items()
    yield from ((f"test_{name}", value) for name, value in result.test_values.items())


def figure_names(result: Result) -> set[str]:
    """Returns the names under which MLflow knows a result's figures."""
    return {_name(name) for name, _ in _figures(result)}


def trial_names(trial: Trial) -> list[str]:
    """Returns the names under which MLflow knows a trial's hyperparameters."""
    return [_name(name) for name in trial.config]


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        yield path, json.dumps(value, default=str)
    elif value is not None:
        yield path, value


def _name(name: str) -> str:
    # MLflow takes letters, digits and a little punctuation in names, at most 250 characters.
    return re.sub(r"[^\w.\- :]", "_", name)[:250]


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 1]}…"


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
