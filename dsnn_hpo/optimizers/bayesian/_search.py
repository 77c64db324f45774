"""One proposal of the model: the configuration and fidelity of the best value per cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dsnn_hpo.optimizers._trials import Index, Trials
from dsnn_hpo.optimizers._vectors import Floats, VectorSpace
from dsnn_hpo.optimizers.bayesian._acquisition import Acquisition, Bounds, rates_of_tests, with_exact
from dsnn_hpo.optimizers.bayesian._candidates import found
from dsnn_hpo.optimizers.bayesian._costs import Costs, Unit
from dsnn_hpo.optimizers.bayesian._earlier import Earlier
from dsnn_hpo.optimizers.bayesian._exact import ExactLosses
from dsnn_hpo.optimizers.bayesian._fits import Fitted
from dsnn_hpo.optimizers.bayesian._model import Model, Table, bias_of, chosen_rows, table_of
from dsnn_hpo.optimizers.bayesian._success import Labels, Success
from dsnn_hpo.pareto import non_dominated

MAX_ROWS = 320
MAX_IN_FLIGHT = 128
REFERENCE_QUANTILE = 0.9
REFERENCE_MARGIN = 0.1
"""In scaled losses; without it a constant objective would leave nothing to gain."""
N_WEIGHED = 4
N_LOOKED_UP, MAX_LOOKED_UP = 8, 24
"""New candidates whose exact losses are looked up, and how many where none keeps its limits: building a network takes up to 40 ms."""
N_DRAWS = 64
LEAST_LOG_BELIEF = -300.0


@dataclass(frozen=True, slots=True)
class Aim:
    """What is searched for, in losses (smaller is better) of outputs, of which the objectives come first.

    Attributes:
        n_objectives: how many outputs are objectives.
        reference: by output, the worst loss still of interest; those not given are inferred.
        limits: by output, the highest loss that is acceptable.
        weights: shape (n_objectives,), how much each matters, 1 in the mean; None for all alike.
        test_price: what a test costs, over what it does cost; above 1 there are fewer of them.
        unit: of cost.
        prior_weight: of the space's priors.
        continues: whether a longer training of a configuration goes on from its last one, and pays the difference only.
    """

    n_objectives: int
    reference: Mapping[int, float]
    limits: Mapping[int, float]
    weights: Floats | None
    test_price: float
    unit: Unit
    prior_weight: float
    continues: bool


@dataclass(frozen=True, slots=True)
class Known:
    """What a proposal is made from.

    Attributes:
        space: of the configurations.
        trials: so far.
        rungs: the fidelities to choose from, ascending.
        n_initial: how many configurations were chosen without a model.
        seed: of the optimizer.
        exact: losses that need no training.
        earlier: what other runs have found.
    """

    space: VectorSpace
    trials: Trials
    rungs: Sequence[int]
    n_initial: int
    seed: int
    exact: ExactLosses
    earlier: Earlier

    @property
    def full(self) -> int:
        """Returns the highest fidelity."""
        return self.rungs[-1]

    def bias(self, fidelities: Sequence[int]) -> Floats:
        """Returns b(s) of fidelities."""
        return bias_of(fidelities, self.rungs[0], self.full)

    def features(self, index: Sequence[int] | Index) -> Floats:
        """Returns the features of configurations."""
        return self.space.features(self.trials.rows(index))

    def table(self, n: int | None = None) -> Table:
        """Returns the first ``n`` completed trials, or all."""
        return table_of(self.trials, self.space, self.rungs[0], self.full, n)


@dataclass(frozen=True, slots=True)
class _Option:
    row: Floats
    reached: int
    value: float
    relative_cost: float
    exact: Floats
    belief: float


class Proposer:
    """Makes one proposal.

    Args:
        known: what it is made from.
        aim: what is searched for.
        fitted: the processes' hyperparameters.
        generator: draws candidates and outcomes of tests.
    """

    def __init__(self, known: Known, aim: Aim, fitted: Fitted, generator: np.random.Generator) -> None:
        self._known, self._aim, self._generator = known, aim, generator
        priors = known.space.priors
        # Of several objectives' priors, each proposal follows one (PriMO, Basu et al. 2025).
        self._prior = priors[generator.integers(len(priors))] if len(priors) > 1 else priors[0]
        trials = known.trials
        table = known.table()
        kept = chosen_rows(table.losses, table.bias, MAX_ROWS, known.seed)
        pending = trials.in_flight()[-MAX_IN_FLIGHT:]
        self._in_flight = [index for index, _ in pending]
        believed = known.features(self._in_flight), known.bias([fidelity for _, fidelity in pending])
        learnt = table.rows(kept).joined(known.earlier.table(trials))
        self._model = Model(learnt, known.space.groups, fitted.outputs, believed)
        told = {trials.outcomes[i].index for i in kept}
        self._index: Index = np.asarray(sorted(told | set(self._in_flight)), dtype=np.intp)
        self._means, _ = self._model.predict(known.features(self._index))
        self._means = with_exact(self._means, self._told_exactly(self._index))
        self._costs = Costs(trials, known.space, aim.unit)
        success = None
        if fitted.success is not None:
            success = Success(Labels(trials, known.space), known.space.groups, fitted.success)
        # What was not trained to the end, nor is being, is not had yet, however sure the model is of it.
        had = [i for i, index in enumerate(self._index) if trials.configurations[index].has_or_awaits(known.full)]
        self._value = Acquisition(
            self._model, self._means[had], self._reference(), self._bounds(), success, aim.weights
        )

    def propose(self) -> tuple[Floats, int] | None:
        """Returns a row and a fidelity, or None where everything was proposed, or nothing seems worth it."""
        options = self._options()
        if not options:
            return None
        draws = self._generator.standard_normal((N_DRAWS // 2, len(self._model.processes)))
        draws = np.concatenate([draws, -draws])
        choices = [choice for option in options for choice in self._weighed(option, draws)]
        rate, row, fidelity = max(choices, key=lambda choice: choice[0])
        return (row, fidelity) if rate > 0 else None

    def _options(self) -> list[_Option]:
        """Returns the best of what is new and of what could go on, by value over the cost of training it to the end."""
        known = self._known
        best = non_dominated(self._means[:, : self._aim.n_objectives])
        second = np.flatnonzero(~best)
        second = second[non_dominated(self._means[second, : self._aim.n_objectives])]
        parents = known.trials.rows(self._index[np.concatenate([np.flatnonzero(best), second])])
        rows, values = found(known.trials, known.space, parents, self._worth, self._generator)
        options = self._best_of_new(rows, values)
        waiting = np.intersect1d(known.trials.waiting(known.full), self._index)
        if len(waiting):
            reached = np.asarray([known.trials.configurations[i].reached for i in waiting])
            exact = self._told_exactly(waiting)
            rows = known.trials.rows(waiting)
            values = self._worth(rows, exact)
            options += self._best_of(rows, reached, values, exact)
        return options

    def _best_of_new(self, rows: Floats, values: Floats) -> list[_Option]:
        """Returns the best of new rows; where some losses are known, those of the most promising in place of predictions.

        Where none of those keeps its limits, the predictions stand: what is learnt of one leads nearer to them.
        """
        known = self._known
        exact = np.full((len(rows), len(self._model.processes)), np.nan)
        if len(known.exact.columns):
            rates = values / self._costs.relative(known.space.features(rows))
            order = np.argsort(-rates, kind="stable")
            for first in range(0, min(len(rows), MAX_LOOKED_UP), N_LOOKED_UP):
                chosen = order[first : first + N_LOOKED_UP]
                losses = known.exact.of(rows[chosen])
                keeps = known.exact.keeps_limits(losses)
                if keeps.any():
                    rows, exact = rows[chosen[keeps]], self._scaled(losses[keeps])
                    values = self._worth(rows, exact)
                    break
        return self._best_of(rows, np.zeros(len(rows), dtype=np.int64), values, exact)

    def _worth(self, rows: Floats, exact: Floats | None = None) -> Floats:
        """Returns the value of training each row to the end, weighed by what is believed of it."""
        return self._value(self._known.space.features(rows), exact) * self._belief(rows)

    def _belief(self, rows: Floats) -> Floats:
        """Returns the prior's density of rows, over the highest, to a power that falls with the results (PiBO, Hvarfner et al. 2022)."""
        prior, weight = self._prior, self._aim.prior_weight
        if prior.is_uniform or not weight:
            return np.ones(len(rows))
        below = prior.log_density(rows) - prior.max_log_density
        # Of what is so unlikely that nothing would be left of it, values still tell which is better.
        n_results = max(1, len(self._known.trials.outcomes))
        return np.exp(np.maximum(below * weight / n_results, LEAST_LOG_BELIEF))

    def _told_exactly(self, index: Index) -> Floats:
        """Returns the scaled losses of known configurations that need no training, NaN for all others."""
        return self._scaled(self._known.exact.only(self._known.trials.latest(index)))

    def _scaled(self, losses: Floats) -> Floats:
        return np.stack([scale.apply(losses[:, j]) for j, scale in enumerate(self._model.scales)], axis=1)

    def _best_of(self, rows: Floats, reached: npt.NDArray[np.int64], values: Floats, exact: Floats) -> list[_Option]:
        if not len(rows):
            return []
        relative = self._costs.relative(self._known.space.features(rows))
        left = relative * (self._known.full - (reached if self._aim.continues else 0))
        order = np.argsort(-values / left, kind="stable")[:N_WEIGHED]
        belief = self._belief(rows)
        return [
            _Option(rows[i], int(reached[i]), float(values[i]), float(relative[i]), exact[i], float(belief[i]))
            for i in order
        ]

    def _weighed(self, option: _Option, draws: Floats) -> list[tuple[float, Floats, int]]:
        """Returns (value per cost, row, fidelity) of an option: at full fidelity, and tested at each lower one first."""
        known, aim = self._known, self._aim
        begun = option.reached if aim.continues else 0
        cost = option.relative_cost * (known.full - begun)
        choices = [(option.value / cost, option.row, known.full)]
        levels = [level for level in known.rungs[:-1] if level > option.reached]
        if levels and option.value > 0:
            feature = known.space.features(option.row[None])[0]
            after = self._value.after_tests(feature, known.bias(levels), draws, option.exact) * option.belief
            lengths = np.asarray(levels, dtype=np.float64)
            tests = aim.test_price * option.relative_cost * (lengths - begun)
            rests = option.relative_cost * (known.full - lengths * aim.continues)
            rates = rates_of_tests(after, tests, rests)
            choices += [(float(rate), option.row, level) for rate, level in zip(rates, levels, strict=True)]
        return choices

    def _reference(self) -> Floats:
        """Returns the scaled reference point: the user's, or else wide enough for most of the initial design."""
        m, n_priors = self._aim.n_objectives, len(self._known.space.priors)
        n_initial = min(self._known.n_initial, len(self._known.trials.configurations))
        # What beliefs chose is better than most, and the box around it would lack the ends of the front.
        unbelieved = range(n_initial)[n_priors - 1 :: n_priors] or range(n_initial)
        means, _ = self._model.predict(self._known.features(unbelieved))
        reference = np.quantile(means[:, :m], REFERENCE_QUANTILE, axis=0) + REFERENCE_MARGIN
        for j, loss in self._aim.reference.items():
            reference[j] = self._model.scales[j].apply(np.asarray([loss]))[0]
        return np.asarray(reference, dtype=np.float64)

    def _bounds(self) -> Bounds:
        limits = self._aim.limits
        scaled = [self._model.scales[j].apply(np.asarray([loss]))[0] for j, loss in limits.items()]
        return Bounds(np.asarray(list(limits), dtype=np.intp), np.asarray(scaled, dtype=np.float64))
