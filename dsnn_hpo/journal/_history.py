"""A run as its journal tells it, and growing by one event at a time at a cost that does not grow with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar, overload

from dsnn_hpo.errors import InputError
from dsnn_hpo.journal._events import Asked, Event, Header, Lost, Mark, Measured, Told
from dsnn_hpo.pareto import front
from dsnn_hpo.trial import OBJECTIVES, Objective, Result, Trial, TrialState

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class InFlight:
    """A trial that was asked and not told, the attempts at it that were lost, and the epochs it was to train."""

    trial: Trial
    n_lost: int
    n_epochs_promised: int


class History:
    """A journal as read: its header, its events in order, and what follows from them. It never changes.

    ``extended`` gives the history after a further event; the two share what they have in common.

    Attributes:
        header: what the run is.
        events: in the order in which they happened.
        results: in the order in which they were told.
        in_flight: the trials that were asked but not told, in order.
        measured: what was obtained anew after the search, by trial.
        n_asked: trials asked so far.
        n_lost: attempts at trials that were lost, and made again.
        n_epochs: trained in all results.
        energy_j: of all trainings and measurements, of attempts that were lost, and of the driver.
        running_s: the seconds during which a driver was at work, pauses between sessions left out.
        front_fidelity: that of the front: the highest, in epochs, at which any trial completed.
    """

    __slots__ = (
        "_fold",
        "energy_j",
        "events",
        "front_fidelity",
        "header",
        "in_flight",
        "measured",
        "n_asked",
        "n_epochs",
        "n_lost",
        "results",
        "running_s",
    )

    def __init__(self, header: Header, events: Iterable[Event] = ()) -> None:
        fold = _Fold()
        for event in events:
            fold.take(event)
        self._take(header, fold)

    def _take(self, header: Header, fold: _Fold) -> None:
        self._fold = fold
        self.header = header
        self.events: Sequence[Event] = _Prefix(fold.events)
        self.results: Sequence[Result] = _Prefix(fold.results)
        self.in_flight: tuple[InFlight, ...] = tuple(fold.in_flight.values())
        self.measured: Mapping[int, Measured] = dict(fold.measured)
        self.n_asked: int = fold.n_asked
        self.n_epochs: int = fold.n_epochs
        self.n_lost: int = fold.n_lost
        self.energy_j: float = fold.energy_j
        self.running_s: float = fold.running_s
        self.front_fidelity: int = fold.highest or header.fidelity.max_epochs

    def extended(self, event: Event) -> History:
        """Returns the history with one more event."""
        if len(self._fold.events) != len(self.events):
            # Somebody else has gone on from here already.
            return History(self.header, (*self.events, event))
        self._fold.take(event)
        new = History.__new__(History)
        new._take(self.header, self._fold)
        return new

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """Returns the objectives of the run."""
        return tuple(OBJECTIVES[name] for name in self.header.objectives)

    @property
    def finished(self) -> bool:
        """Returns whether the run reached its end."""
        return bool(self.events) and isinstance(last := self.events[-1], Mark) and last.name == "finished"

    def front(self) -> list[Result]:
        """Returns the Pareto front over validation values at ``front_fidelity``, by the latest figures."""
        return front(self.latest_results(), self.objectives, self.front_fidelity)

    def completed(self, trial_id: int) -> Result:
        """Returns what was told of a trial that completed.

        Raises:
            InputError: there is no such trial, or it failed; names those on the front.
        """
        found = {result.trial.id: result for result in self.results}
        front = ", ".join(str(result.trial.id) for result in self.front()) or "none"
        if trial_id not in found:
            raise InputError(f"{self.header.name} has no finished trial {trial_id}; on its front are {front}")
        if found[trial_id].state is not TrialState.COMPLETED:
            raise InputError(f"trial {trial_id} failed: {found[trial_id].error}; on the front are {front}")
        return found[trial_id]

    def latest_results(self) -> Sequence[Result]:
        """Returns the results, in the order told, with the figures of a later measurement where there was one."""
        return [self.latest(result) for result in self.results] if self.measured else self.results

    def latest(self, result: Result) -> Result:
        """Returns a result with the figures of a later measurement, where there was one."""
        again = self.measured.get(result.trial.id)
        if again is None:
            return result
        return replace(
            result,
            values={**result.values, **again.values},
            provenance={**result.provenance, **again.provenance},
            test_values={**result.test_values, **again.test_values},
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, History) and self.header == other.header and [*self.events] == [*other.events]

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"History({self.header.name!r}, {len(self.events)} events)"


class _Fold:
    """What is known after the events so far; shared by the histories that led here, of which the last one may go on."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.results: list[Result] = []
        self.in_flight: dict[int, InFlight] = {}
        self.measured: dict[int, Measured] = {}
        self.n_asked = 0
        self.n_epochs = self.n_lost = 0
        self.energy_j = 0.0
        self.running_s = 0.0
        self.highest = 0
        self._reached: dict[str, int] = {}

    def take(self, event: Event) -> None:
        starts = isinstance(event, Mark) and event.name in ("started", "resumed")
        if self.events and not starts:
            # A clock that is set back must not take time away.
            self.running_s += max(0.0, event.time - self.events[-1].time)
        self.events.append(event)
        match event:
            case Asked(trial):
                self.n_asked += 1
                self.in_flight[trial.id] = InFlight(trial, 0, self._n_epochs_of(trial))
            case Lost(trial, attempt):
                self.n_lost += 1
                self.energy_j += event.energy_j
                self.in_flight[trial.id] = replace(self.in_flight[trial.id], n_lost=attempt)
            case Told(result):
                self._tell(result)
            case Measured(trial):
                self.measured[trial.id] = event.after(self.measured.get(trial.id))
                self.energy_j += event.energy_j
            case Mark():
                self.energy_j += event.energy_j

    def _tell(self, result: Result) -> None:
        self.results.append(result)
        self.n_epochs += result.n_epochs
        self.energy_j += result.energy_j + result.measuring_energy_j
        self.in_flight.pop(result.trial.id, None)
        if result.state is TrialState.COMPLETED:
            key, fidelity = result.trial.key, result.trial.fidelity
            self._reached[key] = max(self._reached.get(key, 0), fidelity)
            self.highest = max(self.highest, fidelity)

    def _n_epochs_of(self, trial: Trial) -> int:
        """Returns the epochs that the trial will train, going on from where its configuration is."""
        # A configuration may have a cap of its own (see the hyperparameter `epochs`).
        n_target = min(trial.fidelity, int(trial.config.get("epochs", trial.fidelity)))
        return n_target - min(self._reached.get(trial.key, 0), n_target)


class _Prefix(Sequence[T], Generic[T]):
    """The first items of a list that only grows at its end."""

    __slots__ = ("_items", "_n")

    def __init__(self, items: list[T]) -> None:
        self._items = items
        self._n = len(items)

    def __len__(self) -> int:
        return self._n

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            return [self._items[i] for i in range(self._n)[index]]
        return self._items[range(self._n)[index]]

    def __iter__(self) -> Iterator[T]:
        return (self._items[i] for i in range(self._n))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and [*self] == [*other]

    __hash__ = None  # type: ignore[assignment]
