"""Asynchronous successive halving for several objectives: who goes on, and where the next one starts.

Pure functions of the trials so far. Promotion is ASHA's (Li et al. 2020) with the order of NSGA-II (Deb et al. 2002):
non-dominated sorting, then crowding, as in MO-ASHA (Schmucker et al. 2021). Brackets are Hyperband's (Li et al. 2018).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from dsnn_hpo.optimizers._trials import Trials
from dsnn_hpo.optimizers._vectors import Floats
from dsnn_hpo.pareto import fronts


def best_first(losses: Floats, n: int) -> list[int]:
    """Returns the ``n`` best rows, front by front; within a front the least crowded first.

    Args:
        losses: shape (n_rows, m), smaller is better.
        n: how many, at most.
    """
    order: list[int] = []
    for front in fronts(losses):
        if len(order) >= n:
            break
        # Of one or two, both are ends.
        if len(front) > 2:
            front = front[np.argsort(-_crowding(losses[front]), kind="stable")]
        order.extend(front.tolist())
    return order[:n]


def _crowding(losses: Floats) -> Floats:
    """Returns the crowding distance of each row, infinite at the ends."""
    n, m = losses.shape
    distance = np.zeros(n)
    for j in range(m):
        order = np.argsort(losses[:, j], kind="stable")
        sorted_ = losses[order, j]
        width = sorted_[-1] - sorted_[0]
        distance[order[[0, -1]]] = np.inf
        if width > 0 and n > 2:
            distance[order[1:-1]] += (sorted_[2:] - sorted_[:-2]) / width
    return distance


@dataclass(frozen=True, slots=True)
class Promotion:
    """A configuration that goes on, and to which fidelity."""

    index: int
    fidelity: int


@dataclass(slots=True)
class Ladder:
    """The rungs, and who may climb them.

    Attributes:
        rungs: in epochs, ascending.
        eta: one in eta goes on.
        n_brackets: how many of Hyperband's brackets; 1 starts all at the lowest rung.
    """

    rungs: Sequence[int]
    eta: int
    n_brackets: int = 1
    _orders: dict[tuple[int, int], tuple[int, list[int]]] = field(default_factory=dict)

    def promotion(self, trials: Trials) -> Promotion | None:
        """Returns the next promotion, that to the highest rung first; None where no rung has earned one.

        With many trials in flight, rungs are leapt over: by the time that a rung after the other has said who is best,
        so many workers would have spent what there is on beginnings.
        """
        if self._n_leapt_for <= sum(known.n_in_flight for known in trials.configurations):
            leap = self._leap(trials)
            if leap is not None:
                return leap
        for level in range(len(self.rungs) - 2, -1, -1):
            for start in range(min(level + 1, self.n_brackets)):
                index = self._next_of(trials, start, level)
                if index is not None:
                    return Promotion(index, self.rungs[level + 1])
        return None

    @property
    def _n_leapt_for(self) -> int:
        """Returns how many trials in flight make rungs worth leaping over: as many as end in one full training."""
        return int(self.eta ** (len(self.rungs) - 1))

    def _leap(self, trials: Trials) -> Promotion | None:
        """Returns the farthest leap of two rungs or more that is due: of n results, ``n / eta**k`` may go k rungs up at once.

        It is the best that waits, of those that may be promoted; who has come as far by other ways counts.
        """
        known = trials.configurations
        top = len(self.rungs) - 1
        for level in range(top - 1):
            n_here = len(trials.at(self.rungs[level]))
            for height in range(top - level, 1, -1):
                target = self.rungs[level + height]
                n_gone = sum(k.last >= target and k.first <= self.rungs[level] for k in known)
                if n_gone < n_here // self.eta**height and (found := self._next_of(trials, 0, level)) is not None:
                    return Promotion(found, target)
        return None

    def any_promotion(self, trials: Trials) -> Promotion | None:
        """Returns a promotion whether earned or not, of the best one that waits; for spaces without new configurations."""
        waiting = set(trials.waiting(self.rungs[-1]).tolist())
        for level in range(len(self.rungs) - 2, -1, -1):
            here = [(i, o) for i, o in trials.at(self.rungs[level]).items() if i in waiting]
            here = [(i, o) for i, o in here if trials.configurations[i].last == self.rungs[level]]
            if here:
                best = best_first(np.asarray([o for _, o in here]), 1)[0]
                return Promotion(here[best][0], self.rungs[level + 1])
        return None

    def start(self, trials: Trials) -> int:
        """Returns the fidelity at which the next new configuration starts: of the bracket that is most behind its share."""
        n_brackets = min(self.n_brackets, len(self.rungs))
        if n_brackets == 1:
            return self.rungs[0]
        s_max = len(self.rungs) - 1
        shares = np.asarray(
            [math.ceil(self.eta**s * (s_max + 1) / (s + 1)) for s in range(s_max, s_max - n_brackets, -1)]
        )
        firsts = [known.first for known in trials.configurations]
        counts = np.asarray([firsts.count(self.rungs[b]) for b in range(n_brackets)])
        return self.rungs[int(((counts + 1) / shares).argmin())]

    def _next_of(self, trials: Trials, start: int, level: int) -> int | None:
        """Returns who of a rung, and of the bracket that begins at rung ``start``, may go on."""
        for i in self._best(trials, start, level):
            known = trials.configurations[i]
            if known.last == self.rungs[level] and not known.n_in_flight and not known.has_failed:
                return i
        return None

    def _best(self, trials: Trials, start: int, level: int) -> list[int]:
        """Returns the best of a rung, one in eta, best first."""
        first, fidelity = self.rungs[start], self.rungs[level]
        known = trials.configurations
        here = [(i, o) for i, o in trials.at(fidelity).items() if self.n_brackets == 1 or known[i].first == first]
        n_failed = sum(k.has_failed and k.last == fidelity and k.first == first for k in known)
        n_best = (len(here) + n_failed) // self.eta
        if not n_best:
            return []
        # The order changes with the rung only, which most asks leave alone.
        n_told = sum(o.fidelity == fidelity for o in trials.outcomes)
        key, stamp = (start, level), n_told * 1_000_003 + n_best
        if self._orders.get(key, (-1, []))[0] != stamp:
            order = best_first(np.asarray([o for _, o in here]), n_best)
            self._orders[key] = stamp, [here[i][0] for i in order]
        return self._orders[key][1]
