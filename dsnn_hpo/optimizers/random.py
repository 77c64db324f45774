"""Random search at full fidelity: the baseline that every other engine must beat."""

from __future__ import annotations

import copy

from ConfigSpace import Configuration, ConfigurationSpace

from dsnn_hpo.optimizers._config import RandomConfig
from dsnn_hpo.optimizers._protocol import OpenTrials, identity
from dsnn_hpo.search_space import plain
from dsnn_hpo.trial import Config, Fidelity, Result, Trial

N_DRAWN = 64
MAX_REPEATS = 1000
"""After this many known configurations in a row a finite space counts as exhausted."""


class RandomOptimizer:
    """Proposes configurations by the space's own distributions, none twice."""

    def __init__(self, config: RandomConfig, space: ConfigurationSpace, fidelity: Fidelity, seed: int) -> None:
        self._space = copy.deepcopy(space)
        self._space.seed(seed)
        self._max_epochs = fidelity.max_epochs
        self._known: set[str] = set()
        self._is_exhausted = False
        self._first: Config | None = plain(self._space.get_default_configuration()) if config.evaluate_default else None
        self._drawn: list[Configuration] = []
        self._open: OpenTrials[None] = OpenTrials(seed)

    def ask(self) -> Trial | None:
        """Returns the next trial, or None where every configuration of a finite space was proposed."""
        proposal, self._first = self._first or self._sample(), None
        if proposal is None:
            self._is_exhausted = True
            return None
        self._known.add(identity(proposal))
        return self._open.open(proposal, self._max_epochs, None)

    def tell(self, result: Result) -> None:
        """Notes that a trial ended; random search learns nothing from it."""
        self._open.close(result.trial)

    def _sample(self) -> Config | None:
        for _ in range(0 if self._is_exhausted else MAX_REPEATS):
            if not self._drawn:
                # Many at a time cost a fifth of one by one.
                self._drawn = self._space.sample_configuration(N_DRAWN)[::-1]
            proposal = plain(self._drawn.pop())
            if identity(proposal) not in self._known:
                return proposal
        return None
