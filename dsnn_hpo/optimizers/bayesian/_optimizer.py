"""The model-based optimizer: what to try next, and how far to train it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from ConfigSpace import ConfigurationSpace

from dsnn_hpo.optimizers._background import Background, Budget
from dsnn_hpo.optimizers._config import BayesianConfig
from dsnn_hpo.optimizers._constraints import constraints_of, mean_one_weights, reference_losses
from dsnn_hpo.optimizers._evolution import evolved
from dsnn_hpo.optimizers._fresh import Fresh
from dsnn_hpo.optimizers._halving import Ladder
from dsnn_hpo.optimizers._priors import Prior, priors_of
from dsnn_hpo.optimizers._trials import Trials
from dsnn_hpo.optimizers._vectors import Floats, VectorSpace
from dsnn_hpo.optimizers.bayesian._earlier import Earlier
from dsnn_hpo.optimizers.bayesian._exact import ExactLosses
from dsnn_hpo.optimizers.bayesian._fits import Fits, Fitted, fit_all
from dsnn_hpo.optimizers.bayesian._search import Aim, Known, Proposer
from dsnn_hpo.optimizers.bayesian._success import Labels
from dsnn_hpo.pareto import knee, non_dominated
from dsnn_hpo.trial import Fidelity, Objective, Result, Trial

MAX_INITIAL = 64
INITIAL_PER_DIMENSION = 7
INITIAL_COST = 3.0
INITIAL_SHARE = 0.2
N_STRAIGHT_TO_FULL = 2
MIN_RESULTS = 6
RANDOM_SHARE = 0.05
MAX_LOOKED_UP = 32
EARLIEST_FIT = 0.7
"""Fits begin when this share of the initial design is told; before, none is used."""

Proposal = tuple[Floats, int]


class BayesianOptimizer:
    """Proposes by multi-fidelity Gaussian processes, expected hypervolume improvement, and the worth of shorter tests.

    A pure function of the trials so far and of the seed, so that a run resumes by ``recall``: nothing is fitted again
    but the model in use.

    Args:
        config: its settings.
        space: of the configurations; left untouched.
        objectives: at least one.
        fidelity: its rungs are the fidelities that are tried.
        seed: fixes the proposals.
        background: what there is before the search.

    Raises:
        InputError: a constraint, the reference, a weight, a prior or a known figure is not right for the objectives or the space.
    """

    def __init__(
        self,
        config: BayesianConfig,
        space: ConfigurationSpace,
        objectives: Sequence[Objective],
        fidelity: Fidelity,
        seed: int,
        background: Background | None = None,
    ) -> None:
        background = background or Background()
        self._config = config
        self._seed = seed
        self._m = len(objectives)
        constraints = constraints_of(config, objectives)
        outputs = tuple({o.name: o for o in (*objectives, *(c.output for c in constraints))}.values())
        rungs = fidelity.rungs()
        space_ = VectorSpace(space, priors_of(config, space, objectives))
        earlier = Earlier(background.earlier, space_, outputs, rungs, self._m)
        n_initial = config.n_initial or default_n_initial(space_.n_free, rungs, background.budget)
        if config.n_initial is None and len(earlier) >= n_initial:
            # What it is for is known in part.
            n_initial = min(n_initial, max(space_.n_free + 2, n_initial // 2))
        limits = {outputs.index(c.output): c.limit for c in constraints}
        self._exact = ExactLosses(space_, outputs, background.known, limits)
        self._known = Known(
            space_, Trials(space_, outputs, seed, self._m), rungs, n_initial, seed, self._exact, earlier
        )
        self._aim = Aim(
            n_objectives=self._m,
            reference=reference_losses(config, objectives),
            limits=limits,
            weights=mean_one_weights(config, objectives),
            test_price=config.test_price,
            unit=config.cost,
            prior_weight=config.prior_weight,
            continues=config.continues,
        )
        self._fresh = Fresh(space_, self._known.trials)
        self._ladder = Ladder(rungs, fidelity.eta)
        self._fits: Fits[Fitted] = Fits(self._prepared_fit, rungs[-1])

    def ask(self) -> Trial | None:
        """Returns the next trial, or None where nothing is left to propose until something is told."""
        generator = np.random.default_rng([self._seed, self._known.trials.n_asked])
        proposal = self._proposal(generator)
        if proposal is None:
            return None
        trial = self._known.trials.ask(*proposal)
        if self._known.space.n_free and len(self._known.trials.outcomes) >= EARLIEST_FIT * self._known.n_initial:
            self._fits.begin(self._known.trials.ends)
        return trial

    def tell(self, result: Result) -> None:
        """Learns from a result; a configuration that failed is not proposed again."""
        self._known.trials.told(result)

    def recall(self, trial: Trial) -> None:
        """Notes a trial that was asked before, in place of asking for it."""
        self._known.trials.asked(trial)

    def _proposal(self, generator: np.random.Generator) -> Proposal | None:
        trials = self._known.trials
        if trials.n_asked == 0 and self._config.evaluate_default:
            return self._known.space.row(self._known.space.default), self._known.rungs[0]
        if len(trials.configurations) < self._known.n_initial:
            row = self._best_of_earlier_runs()
            row = self._new(generator, self._prior_in_turn) if row is None else row
            if row is not None:
                return row, self._known.rungs[0]
        proposal = self._first_full(generator)
        if proposal is None and generator.random() < RANDOM_SHARE and (row := self._new(generator)) is not None:
            return row, self._known.rungs[0]
        return proposal or self._modelled(generator) or self._unmodelled(generator)

    @property
    def _prior_in_turn(self) -> Sequence[Prior]:
        # The last in turn says what the space does: by its share of the initial design the reference is guessed.
        priors = self._known.space.priors
        return (priors[len(self._known.trials.configurations) % len(priors)],)

    def _first_full(self, generator: np.random.Generator) -> Proposal | None:
        """Returns one of the best of the initial design, to be trained to the end, while hardly any was."""
        trials, full = self._known.trials, self._known.full
        n_full = sum(known.has_or_awaits(full) for known in trials.configurations)
        if n_full >= N_STRAIGHT_TO_FULL or len(trials.outcomes) < self._enough:
            return None
        waiting = set(trials.waiting(full).tolist())
        here = {i: losses for i, losses in trials.at(self._known.rungs[0]).items() if i in waiting}
        here = {i: losses for i, losses in here.items() if self._keeps_known_limits(i)} or here
        if not here:
            return None
        losses = np.asarray(list(here.values()))
        front = np.flatnonzero(non_dominated(losses))
        # The knee first: the ends of a front say little about the rest of it.
        chosen = generator.choice(front) if n_full else front[knee(losses[front])]
        return trials.configurations[list(here)[int(chosen)]].row, full

    def _best_of_earlier_runs(self) -> Floats | None:
        """Returns the best row of earlier runs that is new, for the first half of the initial design."""
        known = self._known
        if len(known.trials.configurations) > known.n_initial // 2:
            return None
        rows = known.earlier.best[: known.n_initial]
        new = np.flatnonzero(known.trials.is_new(rows))
        return rows[new[0]] if len(new) else None

    def _new(self, generator: np.random.Generator, priors: Sequence[Prior] = ()) -> Floats | None:
        """Returns a random row that keeps the limits as far as they are known, if that can be found; None without any."""
        row = self._fresh.one(generator, priors)
        for _ in range(MAX_LOOKED_UP if self._exact.bounds_any else 0):
            if row is None or self._exact.keeps_limits(self._exact.of(row[None]))[0]:
                break
            row = self._fresh.one(generator, priors)
        return row

    def _keeps_known_limits(self, index: int) -> bool:
        losses = self._exact.only(self._known.trials.latest([index]))
        return bool(self._exact.keeps_limits(losses)[0])

    @property
    def _enough(self) -> int:
        return max(MIN_RESULTS, min(self._known.n_initial // 2, self._known.space.n_free + 2))

    def _unmodelled(self, generator: np.random.Generator) -> Proposal | None:
        """Returns what asynchronous successive halving does next, with evolutionary proposals."""
        trials = self._known.trials
        promotion = self._ladder.promotion(trials)
        if promotion is None:
            row = evolved(self._known.space, trials, self._fresh, self._known.rungs, generator)
            if row is not None:
                return row, self._known.rungs[0]
            promotion = self._ladder.any_promotion(trials)
        return None if promotion is None else (trials.configurations[promotion.index].row, promotion.fidelity)

    def _modelled(self, generator: np.random.Generator) -> Proposal | None:
        """Returns what the model finds best, or None where there is none yet, or it could not be fitted."""
        if len(self._known.trials.outcomes) < self._enough or not self._known.space.n_free:
            return None
        try:
            fitted = self._fits.used(self._known.trials.ends)
            return Proposer(self._known, self._aim, fitted, generator).propose() if fitted else None
        except np.linalg.LinAlgError:
            # Successive halving goes on without a model; whether it fails depends on the trials alone.
            return None

    def _prepared_fit(self, n_ended: int) -> Callable[[], Fitted]:
        # What the thread reads is copied here.
        known = self._known
        labels = Labels(known.trials, known.space, n_ended)
        n = sum(fidelity > 0 for fidelity in known.trials.ends[:n_ended])
        return partial(
            fit_all, known.table(n), labels, known.space.groups, self._seed, known.earlier.table(known.trials, n)
        )


def default_n_initial(n_free: int, rungs: Sequence[int], budget: Budget) -> int:
    """Returns the size of the initial design: 7 a dimension, 64 at most, and not above the cost of 3 full trainings.

    Nor above a fifth of the budget, or a third of its trials; but at least the dimensions and two, as long as these are
    not more than half of the trials.
    """
    cost = INITIAL_COST if budget.full_trainings is None else min(INITIAL_COST, INITIAL_SHARE * budget.full_trainings)
    affordable = int(cost * rungs[-1] / rungs[0])
    if budget.trials is not None:
        affordable = min(affordable, budget.trials // 3)
        n_free = min(n_free, budget.trials // 2 - 2)
    return max(1, min(INITIAL_PER_DIMENSION * max(1, n_free), MAX_INITIAL, max(n_free + 2, affordable)))
