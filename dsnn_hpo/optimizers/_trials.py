"""What a search knows: its configurations, what is in flight, and what came of them; grown by one event at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dsnn_hpo.optimizers._protocol import identity, trial_seed
from dsnn_hpo.optimizers._vectors import Floats, VectorSpace, fingerprints
from dsnn_hpo.trial import Config, Objective, Result, Trial, TrialState

Index = npt.NDArray[np.intp]

CI95_IN_SDS = 1.96


@dataclass(slots=True)
class Known:
    """One configuration that was proposed.

    Attributes:
        row: its vector.
        first: the lowest fidelity it was asked at, in epochs.
        last: the highest one.
        reached: the highest fidelity it completed; 0 for none.
        n_in_flight: its trials that were asked and not told.
        has_failed: whether one of its trials failed.
    """

    row: Floats
    first: int
    last: int
    reached: int = 0
    n_in_flight: int = 0
    has_failed: bool = False

    def has_or_awaits(self, fidelity: int) -> bool:
        """Returns whether a training of this length, or a longer one, is completed or under way."""
        return self.reached >= fidelity or (self.last >= fidelity and self.n_in_flight > 0)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A completed trial.

    Attributes:
        index: its configuration, counted from 0 in order of asking.
        fidelity: in epochs.
        losses: of the outputs, smaller is better.
        variances: of the outputs, as far as their own intervals say; 0 where they say nothing.
        n_epochs: trained for it.
        seconds: that it took.
        energy_j: of training.
    """

    index: int
    fidelity: int
    losses: tuple[float, ...]
    variances: tuple[float, ...]
    n_epochs: int
    seconds: float
    energy_j: float


class Trials:
    """The fold of a search so far: a pure function of what was asked and told, in that order.

    Args:
        space: of the configurations.
        outputs: what a completed trial's losses are taken of: objectives, then whatever else is constrained.
        seed: of the experiment.
        n_objectives: how many outputs are objectives; by default all.

    Attributes:
        configurations: in order of asking.
        outcomes: the completed trials, in order of telling.
        failures: of each failed trial its configuration.
        ends: of each trial that was told the fidelity, 0 if it failed, in order of telling.
        n_asked: trials.
    """

    def __init__(
        self, space: VectorSpace, outputs: Sequence[Objective], seed: int, n_objectives: int | None = None
    ) -> None:
        self._space = space
        self._outputs = tuple(outputs)
        self._seed = seed
        self._n_objectives = n_objectives
        self._index: dict[str, int] = {}
        self._names: list[str] = []
        self._configs: list[Config] = []
        self._fingerprints: dict[bytes, int] = {}
        self._in_flight: dict[int, Trial] = {}
        self._latest: dict[int, tuple[float, ...]] = {}
        self.configurations: list[Known] = []
        self.outcomes: list[Outcome] = []
        self.failures: list[int] = []
        self.ends: list[int] = []
        self.n_asked = 0

    def ask(self, row: Floats, fidelity: int) -> Trial:
        """Returns the next trial, noted as asked; a known configuration is itself again, to the last digit."""
        index = self._fingerprints.get(fingerprints(row[None])[0])
        config = self._space.config(row) if index is None else self._configs[index]
        trial = Trial(self.n_asked, config, fidelity, trial_seed(self._seed, config))
        self.asked(trial)
        return trial

    def asked(self, trial: Trial) -> None:
        """Notes that a trial was asked; raises ValueError where its id is not the next one."""
        if trial.id != self.n_asked:
            raise ValueError(f"trial {trial.id} was asked where trial {self.n_asked} is next")
        name = identity(trial.config)
        index = self._index.get(name)
        if index is None:
            index = self._index[name] = len(self.configurations)
            self._names.append(name)
            self._configs.append(trial.config)
            self.configurations.append(Known(self._space.row(trial.config), trial.fidelity, trial.fidelity))
            self._fingerprints.setdefault(fingerprints(self.configurations[index].row[None])[0], index)
        known = self.configurations[index]
        known.first, known.last = min(known.first, trial.fidelity), max(known.last, trial.fidelity)
        known.n_in_flight += 1
        self._in_flight[trial.id] = trial
        self.n_asked += 1

    def told(self, result: Result) -> None:
        """Notes what came of a trial; raises ValueError if it was not asked, was told already, or lacks an output."""
        trial = result.trial
        if trial.id not in self._in_flight:
            raise ValueError(f"trial {trial.id} was not asked, or was told already")
        outcome = None if result.state is TrialState.FAILED else self._outcome(result)
        index = self._index[identity(self._in_flight.pop(trial.id).config)]
        known = self.configurations[index]
        known.n_in_flight -= 1
        if outcome is None:
            known.has_failed = True
            self.failures.append(index)
        else:
            known.reached = max(known.reached, trial.fidelity)
            self.outcomes.append(outcome)
            self._latest[index] = outcome.losses
        self.ends.append(outcome.fidelity if outcome else 0)

    def in_flight(self) -> list[tuple[int, int]]:
        """Returns (configuration, fidelity) of the trials in flight, in order of asking."""
        return [(self._index[identity(t.config)], t.fidelity) for _, t in sorted(self._in_flight.items())]

    def holds(self, config: Config) -> bool:
        """Returns whether a configuration was proposed."""
        return identity(config) in self._index

    def is_new(self, rows: Floats) -> npt.NDArray[np.bool_]:
        """Returns a mask of the rows that were never proposed; of equal ones only the first."""
        seen: set[bytes] = set()
        mask = np.zeros(len(rows), dtype=np.bool_)
        for i, fingerprint in enumerate(fingerprints(rows)):
            mask[i] = fingerprint not in self._fingerprints and fingerprint not in seen
            seen.add(fingerprint)
        return mask

    def rows(self, index: Sequence[int] | Index) -> Floats:
        """Returns the rows of configurations, shape (n, n_columns)."""
        chosen = [self.configurations[int(i)].row for i in index]
        return np.stack(chosen) if chosen else np.empty((0, self._space.n_columns))

    def waiting(self, full: int) -> Index:
        """Returns the configurations that could go on: completed below ``full``, none failed, none in flight."""
        can = [0 < k.reached < full and not k.n_in_flight and not k.has_failed for k in self.configurations]
        return np.flatnonzero(can)

    def at(self, fidelity: int) -> Mapping[int, tuple[float, ...]]:
        """Returns the objectives' latest losses of each configuration that completed this fidelity."""
        return {o.index: o.losses[: self._n_objectives] for o in self.outcomes if o.fidelity == fidelity}

    def name_of(self, index: int) -> str:
        """Returns the ``identity`` of a configuration."""
        return self._names[index]

    def latest(self, index: Sequence[int] | Index) -> Floats:
        """Returns the losses of all outputs that configurations had last, shape (n, n_outputs), NaN for those without."""
        none = (np.nan,) * len(self._outputs)
        return np.asarray([self._latest.get(int(i), none) for i in index], dtype=np.float64).reshape(-1, len(none))

    def _outcome(self, result: Result) -> Outcome:
        missing = [o.name for o in self._outputs if o.name not in result.values]
        if missing:
            raise ValueError(f"the result of trial {result.trial.id} has no {', '.join(missing)}")
        return Outcome(
            index=self._index[identity(result.trial.config)],
            fidelity=result.trial.fidelity,
            losses=tuple(o.loss(result.values[o.name]) for o in self._outputs),
            variances=tuple(_variance(result, o.name) for o in self._outputs),
            n_epochs=result.n_epochs,
            seconds=result.seconds,
            energy_j=result.energy_j,
        )


def _variance(result: Result, name: str) -> float:
    how = result.provenance.get(name)
    return (how.ci95 / CI95_IN_SDS) ** 2 if how is not None and how.ci95 else 0.0
