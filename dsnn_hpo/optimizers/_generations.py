"""A store for Optuna's NSGA-II that looks at the last generations only, so that a proposal's cost does not grow."""

from __future__ import annotations

import copy
from collections.abc import Container

from optuna.samplers import NSGAIISampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

_GENERATION = NSGAIISampler._get_generation_key()
_PARENTS = NSGAIISampler._get_parent_cache_key_prefix()


class GenerationStorage(InMemoryStorage):
    """Trials in memory, of which those that NSGA-II will not look at again are passed over.

    It breeds a generation from the one before and that one's parents, and looks through all trials for them.

    Args:
        population_size: of a generation.
    """

    def __init__(self, population_size: int) -> None:
        super().__init__()
        self._population_size = population_size
        self._recent: list[int] = []

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Returns the id of a new trial."""
        trial_id = super().create_new_trial(study_id, template_trial)
        if len(self._recent) > 8 * self._population_size:
            self._forget(study_id)
        self._recent.append(len(self._studies[study_id].trials) - 1)
        return trial_id

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Returns the trials that NSGA-II may still look at, in order."""
        if states == (TrialState.WAITING,):
            return super().get_all_trials(study_id, deepcopy, states)
        trials = [trial for trial in self._trials(study_id) if states is None or trial.state in states]
        return copy.deepcopy(trials) if deepcopy else trials

    def _trials(self, study_id: int) -> list[FrozenTrial]:
        trials = self._studies[study_id].trials
        return [trials[number] for number in self._recent]

    def _forget(self, study_id: int) -> None:
        trials = self._trials(study_id)
        newest = max(trial.system_attrs.get(_GENERATION, 0) for trial in trials)
        attributes = self._studies[study_id].system_attrs
        parents = {i for generation in (newest - 1, newest) for i in attributes.get(f"{_PARENTS}{generation}", ())}
        self._recent = [
            trial.number
            for trial in trials
            if not trial.state.is_finished()
            or trial._trial_id in parents
            or (trial.state is TrialState.COMPLETE and trial.system_attrs.get(_GENERATION, newest) >= newest - 1)
        ]
