"""Asynchronous successive halving for several objectives, over any number of workers, with Hyperband's brackets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ConfigSpace import ConfigurationSpace

from dsnn_hpo.optimizers._config import AshaConfig
from dsnn_hpo.optimizers._evolution import evolved
from dsnn_hpo.optimizers._fresh import Fresh
from dsnn_hpo.optimizers._halving import Ladder
from dsnn_hpo.optimizers._trials import Trials
from dsnn_hpo.optimizers._vectors import Floats, VectorSpace
from dsnn_hpo.trial import Fidelity, Objective, Result, Trial


class AshaOptimizer:
    """Promotes one in ``eta`` as soon as a rung has earned it, and proposes new configurations in between.

    A pure function of the trials so far and of the seed, so that a run resumes by ``recall``.

    Args:
        config: its settings.
        space: of the configurations; left untouched.
        objectives: at least one.
        fidelity: its rungs are those of the ladder.
        seed: fixes the proposals.
    """

    def __init__(
        self,
        config: AshaConfig,
        space: ConfigurationSpace,
        objectives: Sequence[Objective],
        fidelity: Fidelity,
        seed: int,
    ) -> None:
        self._config = config
        self._seed = seed
        self._space = VectorSpace(space)
        self._ladder = Ladder(fidelity.rungs(), fidelity.eta, config.brackets)
        self._trials = Trials(self._space, objectives, seed)
        self._fresh = Fresh(self._space, self._trials)
        self._parzen = None
        if config.proposals == "tpe":
            # Optuna takes a second to import.
            from dsnn_hpo.optimizers._parzen import ParzenProposals

            self._parzen = ParzenProposals(space, self._space, len(objectives))

    def ask(self) -> Trial | None:
        """Returns the next trial: a promotion where one is earned, else a new configuration.

        None where every configuration of a finite space is at the highest rung, or on its way.
        """
        generator = np.random.default_rng([self._seed, self._trials.n_asked])
        promotion = self._ladder.promotion(self._trials)
        if promotion is None:
            row = self._new(generator)
            if row is not None:
                return self._trials.ask(row, self._ladder.start(self._trials))
            promotion = self._ladder.any_promotion(self._trials)
        if promotion is None:
            return None
        return self._trials.ask(self._trials.rows([promotion.index])[0], promotion.fidelity)

    def tell(self, result: Result) -> None:
        """Learns from a result; a configuration that failed goes no further."""
        self._trials.told(result)

    def recall(self, trial: Trial) -> None:
        """Notes a trial that was asked before, in place of asking for it."""
        self._trials.asked(trial)

    def _new(self, generator: np.random.Generator) -> Floats | None:
        if self._config.evaluate_default and not self._trials.n_asked:
            return self._space.row(self._space.default)
        if self._parzen is not None:
            return self._parzen.propose(self._trials, self._fresh, self._ladder.rungs, generator)
        if self._config.proposals == "evolutionary":
            return evolved(self._space, self._trials, self._fresh, self._ladder.rungs, generator)
        return self._fresh.one(generator)
