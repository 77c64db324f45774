"""The member of a front that fits what a user asks for, and why."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dsnn_hpo import choosing, pareto
from dsnn_hpo.errors import ChoiceError
from dsnn_hpo.journal import History
from dsnn_hpo.report._certainty import interval
from dsnn_hpo.report._words import readable, with_interval
from dsnn_hpo.report.choice._price import prices
from dsnn_hpo.report.choice._wishes import Limit, Wishes, figure, figure_name, named
from dsnn_hpo.trial import Objective, Result


@dataclass(frozen=True, slots=True)
class Choice:
    """What became of a user's wishes.

    Attributes:
        wishes: what was asked for.
        satisfied: the members that keep all limits, best first by the rule.
        scores: by trial, what the rule ranks by, the smaller the better; empty where it is an objective itself.
        why: in a sentence or two why the first of them is chosen; if there is none, which member is nearest, and what
            it misses.
        nearest: the member that misses the limits least, where none keeps them; None otherwise.
    """

    wishes: Wishes
    satisfied: tuple[Result, ...]
    scores: Mapping[int, float]
    why: str
    nearest: Result | None = None

    @property
    def chosen(self) -> Result | None:
        """Returns the member that is chosen; None if no one keeps the limits."""
        return self.satisfied[0] if self.satisfied else None


def choose(history: History, wishes: Wishes) -> Choice:
    """Returns the members of a run's front that keep the limits, the chosen one first.

    The knee and the weights look at the whole front, so that a limit changes who may be chosen, not how members are
    ranked. With limits alone, what the limits leave open decides: the best of the one objective without limit, and of
    several, or where all are limited, the nearest to the best of each under equal weights.

    Raises:
        ChoiceError: the front is empty.
    """
    members, objectives = history.front(), history.objectives
    if not members:
        raise ChoiceError(f"there is nothing to choose from: none of {len(history.results)} trials completed yet")
    kept = [m for m in members if not any(limit.shortfall(m) for limit in wishes.limits)]
    if not kept:
        nearest = _nearest(members, wishes.limits)
        return Choice(wishes, (), {}, _says_nearest(nearest, wishes.limits), nearest)
    if wishes.rule == "knee":
        return _by_knee(members, kept, objectives, wishes)
    if wishes.rule == "weights":
        return _by_weights(members, kept, objectives, wishes)
    return _by_limits(members, kept, objectives, wishes)


def _by_knee(
    members: Sequence[Result], kept: Sequence[Result], objectives: Sequence[Objective], wishes: Wishes
) -> Choice:
    losses = pareto.losses_of(members, objectives)
    heights = _by_trial(members, pareto.knee_heights(losses))
    ranked = _ranked(kept, heights)
    chosen, knee = ranked[0].trial.id, members[pareto.knee(losses)].trial.id
    if chosen == knee:
        why = f"trial {chosen} is the knee: of the members the farthest below the line between the front's extremes"
    else:
        why = f"the front's knee, trial {knee}, does not keep the limits; of those that do, trial {chosen} is the"
        why += " farthest below the line between the front's extremes"
    if len(members) < 3:
        why += f" (a front of {len(members)} has no bend)"
    return Choice(wishes, ranked, heights, _sentences(why, _doubts(ranked[0], wishes.limits)))


def _by_weights(
    members: Sequence[Result], kept: Sequence[Result], objectives: Sequence[Objective], wishes: Wishes
) -> Choice:
    scores = _distances(members, objectives, wishes.weights)
    ranked = _ranked(kept, scores)
    weights = ", ".join(f"{named(name)} {readable(weight)}" for name, weight in wishes.weights.items())
    best = ranked[0].trial.id
    why = f"trial {best} is the nearest to the best of each objective under the weights {weights}: {scores[best]:.3f}"
    if len(ranked) > 1:
        why += f", the next, trial {ranked[1].trial.id}, {scores[ranked[1].trial.id]:.3f}"
    return Choice(wishes, ranked, scores, _sentences(why, _doubts(ranked[0], wishes.limits)))


def _by_limits(
    members: Sequence[Result], kept: Sequence[Result], objectives: Sequence[Objective], wishes: Wishes
) -> Choice:
    if len(kept) == 1:
        why = f"trial {kept[0].trial.id} is the only member with {_all(wishes.limits)}"
        return Choice(wishes, tuple(kept), {}, _sentences(why, _doubts(kept[0], wishes.limits)))
    limited = {figure_name(limit.name) for limit in wishes.limits}
    free = [objective for objective in objectives if objective.name not in limited]
    if len(free) == 1:
        # The epsilon-constraint method (Haimes, Lasdon and Wismer 1971).
        (objective,) = free
        losses = {m.trial.id: objective.loss(m.values[objective.name]) for m in members}
        ranked = _ranked(kept, losses)
        best = ranked[0].trial.id
        why = f"of the {len(kept)} members with {_all(wishes.limits)}, trial {best} has the best {named(objective.name)}, which has no limit"
        return Choice(wishes, ranked, {}, _sentences(why, _doubts(ranked[0], wishes.limits)))
    open_ones = free or list(objectives)
    scores = _distances(members, objectives, {objective.name: 1.0 for objective in open_ones})
    ranked = _ranked(kept, scores)
    names = ", ".join(named(objective.name) for objective in open_ones)
    why = (
        f"of the {len(kept)} members with {_all(wishes.limits)}, trial {ranked[0].trial.id} is the nearest to the best"
    )
    why += f" of each of {names}, which weigh the same"
    return Choice(wishes, ranked, scores, _sentences(why, _doubts(ranked[0], wishes.limits)))


def _distances(
    members: Sequence[Result], objectives: Sequence[Objective], weights: Mapping[str, float]
) -> dict[int, float]:
    row = [weights.get(objective.name, 0.0) for objective in objectives]
    return _by_trial(members, choosing.chebyshev(pareto.losses_of(members, objectives), row))


def _by_trial(members: Sequence[Result], values: pareto.Losses) -> dict[int, float]:
    return dict(zip((m.trial.id for m in members), values.tolist(), strict=True))


def _ranked(kept: Sequence[Result], scores: Mapping[int, float]) -> tuple[Result, ...]:
    # Equal scores leave the front's order: the best first objective first.
    return tuple(sorted(kept, key=lambda m: scores[m.trial.id]))


def _all(limits: Sequence[Limit]) -> str:
    return " and ".join(map(str, limits))


def _doubts(member: Result, limits: Sequence[Limit]) -> list[str]:
    return [
        f"the limit lies within the interval of its {named(limit.name)}, {_with_interval(member, limit.name)}"
        for limit in limits
        if limit.is_doubtful(member)
    ]


def _sentences(*texts: str | list[str]) -> str:
    flat = [one for text in texts for one in ([text] if isinstance(text, str) else text)]
    return " ".join(f"{text[0].upper()}{text[1:]}." for text in flat)


def _with_interval(member: Result, name: str) -> str:
    value = figure(member, name)
    return "–" if value is None else with_interval(value, interval(member, figure_name(name)))


def _nearest(members: Sequence[Result], limits: Sequence[Limit]) -> Result:
    """Returns the member whose greatest shortfall, in parts of the front's range of that figure, is the smallest."""

    def missed(member: Result) -> tuple[float, float]:
        shares = [limit.shortfall(member) / _range(members, limit) for limit in limits]
        return max(shares), sum(shares)

    return min(members, key=missed)


def _range(members: Sequence[Result], limit: Limit) -> float:
    values = [value for m in members if (value := limit.value(m)) is not None]
    return (max(values) - min(values) if values else 0.0) or abs(limit.bound) or 1.0


def _says_nearest(nearest: Result, limits: Sequence[Limit]) -> str:
    missed = []
    for limit in limits:
        value, shortfall = limit.value(nearest), limit.shortfall(nearest)
        if value is None:
            missed.append(f"it has no {named(limit.name)}")
        elif shortfall:
            over = "above" if limit.sense == "max" else "below"
            missed.append(
                f"{named(limit.name)} {readable(value)} is {readable(shortfall)} {over} {readable(limit.bound)}"
            )
    what = "; ".join(missed)
    return f"No member of the front has {_all(limits)}. The nearest is trial {nearest.trial.id}: {what}."


def choice_json(history: History, choice: Choice | None) -> dict[str, Any]:
    """Returns ``{"prices": [...], "choice": {...}}``; the choice is null where nothing was asked for.

    Prices are those of ``Price``, of every member. A choice has ``rule``, ``limits``, ``weights``, ``satisfied`` (trials,
    best first), ``chosen``, ``why``, ``scores`` (by trial, ``[[trial, score], ...]``) and, if no member keeps the limits,
    ``nearest`` with ``misses``: by how much it fails each limit, null where it has no such figure.
    """
    found: dict[str, Any] = {"prices": [asdict(price) for price in prices(history)], "choice": None}
    if choice is None:
        return found
    nearest = choice.nearest
    found["choice"] = {
        "rule": choice.wishes.rule,
        "limits": [asdict(limit) for limit in choice.wishes.limits],
        "weights": dict(choice.wishes.weights),
        "satisfied": [m.trial.id for m in choice.satisfied],
        "chosen": None if choice.chosen is None else choice.chosen.trial.id,
        "why": choice.why,
        "scores": [[m.trial.id, choice.scores[m.trial.id]] for m in choice.satisfied if choice.scores],
        "nearest": None if nearest is None else nearest.trial.id,
        "misses": {} if nearest is None else {str(one): _missed(one, nearest) for one in choice.wishes.limits},
    }
    return found


def _missed(limit: Limit, member: Result) -> float | None:
    shortfall = limit.shortfall(member)
    return shortfall if math.isfinite(shortfall) else None
