"""Which hyperparameters matter: for each objective, and for the trade-off between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dsnn_hpo import pareto
from dsnn_hpo.journal import History
from dsnn_hpo.report._columns import Column, hyperparameters, spans_decades
from dsnn_hpo.report._fanova import Domain, at, covariances, decompose
from dsnn_hpo.report._forest import Array, Leaves, fit_forest
from dsnn_hpo.report._words import epochs, label
from dsnn_hpo.trial import Objective, Result

FEWEST_CONFIGURATIONS = 10
FEWEST_R2 = 0.3
_FAIR_R2, _GOOD_R2 = 0.5, 0.75
N_WEIGHTS = 21
_N_MOST_RESULTS = 2000


@dataclass(frozen=True, slots=True)
class Effect:
    """The share of an objective's variance, 0 to 1, that one hyperparameter is the cause of, or a pair beyond its two.

    Attributes:
        names: of one hyperparameter or of two.
        share: the mean over the trees.
        spread: the standard deviation over the trees.
    """

    names: tuple[str, ...]
    share: float
    spread: float

    @property
    def title(self) -> str:
        """Returns ``"lr"`` or ``"lr × width"``."""
        return " × ".join(self.names)


@dataclass(frozen=True, slots=True)
class Fit:
    """How well a forest foretells configurations it has not seen, the effect of the epochs left out of account.

    Attributes:
        r2: the share of the variance that it foretells; 1 is all, 0 or less nothing.
        rank_correlation: Spearman's, between what it says and what came.
    """

    r2: float
    rank_correlation: float

    @property
    def says_something(self) -> bool:
        """Returns whether importances drawn from it are worth a look."""
        return self.r2 >= FEWEST_R2


@dataclass(frozen=True, slots=True)
class Importance:
    """Which hyperparameters matter, and how sure that is.

    Attributes:
        objectives: of the run.
        effects: of each objective, the strongest first.
        fits: of each objective.
        weights: of the first objective, from 0 to 1; the others share the rest evenly.
        trade_off: by hyperparameter, the share of the variance of the weighted sum at each weight, NaN where the forest
            foretells too little; the strongest first.
        fidelity: in epochs, at which these hold.
        n_configurations: that it was learned from.
        n_results: likewise.
    """

    objectives: tuple[Objective, ...]
    effects: Mapping[str, tuple[Effect, ...]]
    fits: Mapping[str, Fit]
    weights: tuple[float, ...]
    trade_off: Mapping[str, tuple[float, ...]]
    fidelity: int
    n_configurations: int
    n_results: int

    def sentences(self) -> list[str]:
        """Returns what it was learned from, and a word on how sure each objective's importances are."""
        lines = [
            f"Learned from {self.n_results} results of {self.n_configurations} configurations, "
            f"and told for {epochs(self.fidelity)}."
        ]
        for objective in self.objectives:
            fit = self.fits[objective.name]
            how = f"R² {fit.r2:.2f}, rank correlation {fit.rank_correlation:.2f} on configurations it had not seen"
            lines.append(f"{label(objective)}: {_verdict(fit)} ({how}).")
        return lines


def importance(history: History, seed: int = 0) -> Importance | None:
    """Returns the importance of the hyperparameters, or None while there are too few configurations, or none differ.

    Functional ANOVA (Hutter, Hoos & Leyton-Brown 2014) of a random forest. A journal has no surrogate; this one is of the
    kind that SMAC searches with, fitted on the search's own trials: one an objective, from results at all fidelities, with
    the epochs (by their logarithm) as one more input, which then is held at the front's.

    For the trade-off, weighted sums of the objectives, each scaled to [0, 1], are decomposed at weights from 0 to 1
    (Theodorakopoulos, Stahl & Lindauer 2024, "Hyperparameter importance analysis for multi-objective AutoML"). They fit a
    forest for each weight; here trees of the objectives' own forests, learned from the same bag, are weighted and added.

    A hyperparameter is uniform over the values seen, by their logarithm where they span decades. One that a configuration
    does not have takes a value drawn from those of the others: what a switch brings is then the switch's, whereas a fixed
    value would tell the forest who has none.
    An objective that spans decades is taken by its logarithm, as its axis is.
    """
    results = _latest(history)
    columns = hyperparameters(results)
    keys = {key: i for i, key in enumerate(dict.fromkeys(r.trial.key for r in results))}
    if len(keys) < FEWEST_CONFIGURATIONS or not columns:
        return None
    targets, ranges = _targets(results, history.objectives)
    samples = _samples(results, columns, np.array([keys[r.trial.key] for r in results]), history.front_fidelity)
    names, m = [each.name for each in columns], len(history.objectives)
    learned = [_learned(samples, targets[:, i], seed) for i in range(m)]
    weights = np.linspace(0, 1, N_WEIGHTS).tolist() if m > 1 else []
    mixes = [_mix(weight, m) / ranges for weight in weights]
    return Importance(
        objectives=history.objectives,
        effects={o.name: _effects(names, samples, each) for o, each in zip(history.objectives, learned, strict=True)},
        fits={o.name: _fit([each], np.ones(1)) for o, each in zip(history.objectives, learned, strict=True)},
        weights=tuple(weights),
        trade_off=_trade_off(names, samples, learned, mixes) if weights else {},
        fidelity=history.front_fidelity,
        n_configurations=len(keys),
        n_results=len(results),
    )


@dataclass(frozen=True, slots=True)
class _Samples:
    """What a forest learns from: inputs, the epochs last, their domains, and the configuration of each row."""

    inputs: Array
    domains: tuple[Domain, ...]
    groups: npt.NDArray[np.int64]
    fidelity: float


def _samples(
    results: Sequence[Result], columns: Sequence[Column], groups: npt.NDArray[np.int64], fidelity: int
) -> _Samples:
    encoded = [_encoded(each, i) for i, each in enumerate(columns)]
    log_epochs = np.log([r.trial.fidelity for r in results])
    inputs = np.stack([*(values for values, _ in encoded), log_epochs], axis=1)
    # As the trees will see them: a cut is then never beyond the last value.
    inputs = inputs.astype(np.float32).astype(np.float64)
    domains = tuple(_domain(inputs[:, i], discrete) for i, (_, discrete) in enumerate(encoded))
    return _Samples(inputs, domains, groups, float(np.float32(np.log(fidelity))))


@dataclass(frozen=True, slots=True)
class _Learned:
    """A forest for an objective: its trees at the front's fidelity; what came, and what was foretold unseen, shape (n,).

    Both less their fidelity's mean: that more epochs help is no merit of a forest.
    """

    trees: tuple[Leaves, ...]
    came: Array
    foretold: Array


def _learned(samples: _Samples, targets: Array, seed: int) -> _Learned:
    forest = fit_forest(samples.inputs, targets, samples.groups, seed)
    last = samples.inputs.shape[1] - 1
    log_epochs = samples.inputs[:, last]
    return _Learned(
        tuple(at(leaves, last, samples.fidelity) for leaves in forest.trees),
        _within(targets, log_epochs),
        _within(forest.out_of_bag, log_epochs),
    )


def _verdict(fit: Fit) -> str:
    if not fit.says_something:
        return "nothing can be said; the forest cannot foretell it"
    if fit.r2 < _FAIR_R2:
        return "a rough idea"
    return "fairly sure" if fit.r2 < _GOOD_R2 else "sure"


def _latest(history: History) -> list[Result]:
    done = {(r.trial.key, r.trial.fidelity): r for r in pareto.completed(history.latest_results())}
    return list(done.values())[-_N_MOST_RESULTS:]


def _targets(results: Sequence[Result], objectives: Sequence[Objective]) -> tuple[Array, Array]:
    """Returns the losses with unit variance, shape (n, n_objectives), and the range of each on that scale."""
    columns = []
    for objective in objectives:
        values = np.array([r.values[objective.name] for r in results], dtype=np.float64)
        values = np.log(values) if spans_decades(values.tolist()) else values
        columns.append(values if objective.goal == "minimize" else -values)
    losses = np.stack(columns, axis=1)
    deviations = losses.std(axis=0)
    scaled = (losses - losses.mean(axis=0)) / np.where(deviations > 0, deviations, 1.0)
    ranges = np.ptp(scaled, axis=0)
    return scaled, np.where(ranges > 0, ranges, 1.0)


def _encoded(each: Column, seed: int) -> tuple[Array, bool]:
    """Returns a column's numbers, those that are missing filled in, and whether they are discrete."""
    values = each.positions()
    missing = np.isnan(values)
    generator = np.random.default_rng(seed)
    values[missing] = generator.choice(values[~missing], size=int(missing.sum()))
    return values, bool(each.levels)


def _domain(values: Array, discrete: bool) -> Domain:
    if discrete:
        return Domain(-0.5, float(values.max()) + 0.5, discrete=True)
    low, high = float(values.min()), float(values.max())
    # One value, and configurations that have none: nothing can depend on it.
    return Domain(low, high if high > low else low + 1.0)


def _mix(weight: float, n_objectives: int) -> Array:
    """Returns the weights of all objectives, shape (n_objectives,): the first one's, the others alike."""
    return np.array([weight, *[(1 - weight) / (n_objectives - 1)] * (n_objectives - 1)])


def _effects(names: Sequence[str], samples: _Samples, learned: _Learned) -> tuple[Effect, ...]:
    variances = [decompose(leaves, samples.domains) for leaves in learned.trees]
    scales = np.array([_inverse(each.total) for each in variances])
    shares: dict[tuple[str, ...], Array] = {}
    for i, name in enumerate(names):
        shares[(name,)] = scales * [each.main[i] for each in variances]
    for i, j in sorted({pair for each in variances for pair in each.pairs}):
        found = [each.pairs.get((i, j), 0.0) for each in variances]
        shares[names[i], names[j]] = scales * np.maximum(found, 0.0)
    effects = (Effect(names, float(share.mean()), float(share.std())) for names, share in shares.items())
    return tuple(sorted(effects, key=lambda effect: -effect.share))


def _trade_off(
    names: Sequence[str], samples: _Samples, learned: Sequence[_Learned], mixes: Sequence[Array]
) -> dict[str, tuple[float, ...]]:
    trees = zip(*(each.trees for each in learned), strict=True)
    found = [covariances(same_bag, samples.domains) for same_bag in trees]
    totals, mains = (np.stack(part) for part in zip(*found, strict=True))
    rows = []
    for mix in mixes:
        scales = np.array([_inverse(float(total)) for total in totals @ mix @ mix])
        share = ((mains @ mix @ mix) * scales[:, None]).mean(axis=0)
        rows.append(share if _fit(learned, mix).says_something else np.full(len(names), np.nan))
    table = np.stack(rows)
    strength = np.where(np.isnan(table), 0.0, table).max(axis=0)
    return {names[i]: tuple(table[:, i].tolist()) for i in np.argsort(-strength, kind="stable")}


def _inverse(total: float) -> float:
    # A tree of one leaf has no variance to share.
    return 1 / total if total > 1e-12 else 0.0


def _within(values: Array, fidelities: Array) -> Array:
    """Returns values less the mean of their fidelity's."""
    kept = values.copy()
    for fidelity in np.unique(fidelities):
        rows = fidelities == fidelity
        known = values[rows & ~np.isnan(values)]
        kept[rows] -= known.mean() if len(known) else 0.0
    return kept


def _fit(learned: Sequence[_Learned], mix: Array) -> Fit:
    """Returns how well the objectives, weighted and added, are foretold."""
    came = mix @ np.stack([each.came for each in learned])
    foretold = mix @ np.stack([each.foretold for each in learned])
    known = ~np.isnan(foretold)
    came, foretold = came[known], foretold[known]
    total = float((came**2).sum())
    if total < 1e-12:
        return Fit(0.0, 0.0)
    return Fit(1 - float(((came - foretold) ** 2).sum()) / total, rank_correlation(came, foretold))


def rank_correlation(first: Array, second: Array) -> float:
    """Returns Spearman's rank correlation, -1 to 1; 0 where one of the two does not vary."""
    a, b = (_ranks(values) for values in (first, second))
    return float(np.corrcoef(a, b)[0, 1]) if np.ptp(a) > 0 and np.ptp(b) > 0 else 0.0


def _ranks(values: Array) -> Array:
    """Returns ranks, equal values sharing their mean one."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[inverse], dtype=np.float64)
