"""What every optimizer is, and the bookkeeping that all of them share."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar, runtime_checkable

from dsnn_hpo.trial import Config, Result, Trial, config_key

Handle = TypeVar("Handle")


class Optimizer(Protocol):
    """Proposes trials and learns from their results.

    The same seed and the same sequence of asks and tells give the same proposals: a run resumes by replaying its
    journal into a fresh optimizer (or by telling it what was asked, see ``RecallingOptimizer``). An ``ask`` that returns None changes no later proposal, so that it need not be
    replayed.
    """

    def ask(self) -> Trial | None:
        """Returns the next trial, or None if there is none now; with no trial in flight, None is final."""
        ...

    def tell(self, result: Result) -> None:
        """Learns from a result; raises ValueError for a trial that was not asked, or was told already."""
        ...


@runtime_checkable
class RecallingOptimizer(Optimizer, Protocol):
    """An optimizer that is a function of the trials so far: a run resumes without proposing anything again."""

    def recall(self, trial: Trial) -> None:
        """Notes a trial that was asked before, in place of the ``ask`` that returned it.

        Raises ValueError where the trial's id is not the next one.
        """
        ...


class OpenTrials(Generic[Handle]):
    """Numbers trials from 0 and keeps, for those not told yet, what the engine calls them."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._n_trials = 0
        self._handles: dict[int, Handle] = {}

    def open(self, config: Config, fidelity: int, handle: Handle) -> Trial:
        """Returns a new trial; all trials of one configuration share a seed, and with it their checkpoints."""
        trial = Trial(self._n_trials, config, fidelity, trial_seed(self._seed, config))
        self._handles[trial.id] = handle
        self._n_trials += 1
        return trial

    def close(self, trial: Trial) -> Handle:
        """Returns what the engine calls a trial, which is told now; raises ValueError if it is not open."""
        if trial.id not in self._handles:
            raise ValueError(f"trial {trial.id} was not asked, or was told already")
        return self._handles.pop(trial.id)


def identity(config: Config) -> str:
    """Returns the same text for equal configurations, which ConfigSpace's own hash does not promise."""
    return config_key(config, 0)


def trial_seed(seed: int, config: Config) -> int:
    """Returns 31 bits of the SHA-256 of the configuration and the experiment's seed."""
    return int(config_key(config, seed)[:8], 16) >> 1
