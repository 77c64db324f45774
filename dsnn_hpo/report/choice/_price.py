"""What the next point of accuracy costs, from each member of a front."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dsnn_hpo import choosing, pareto
from dsnn_hpo.journal import History
from dsnn_hpo.report._certainty import interval
from dsnn_hpo.report._words import label, readable, with_interval
from dsnn_hpo.trial import OBJECTIVES, Objective, Result

POINT = 0.01
_WHOLE = 0.995


@dataclass(frozen=True, slots=True)
class Price:
    """What more accuracy costs in one objective, from one member of a front.

    Attributes:
        trial: the member.
        objective: in which it is paid.
        unit: of the objective.
        points: of accuracy that are gained: 1, or fewer percentage points where the front ends before.
        extra: by how much the objective's value changes, in its unit; what is maximised falls.
        percent: the same, of the member's own value; None if that is 0.
        ci95: half the width of the interval of ``extra``, at the errors as they are; None if no cost has an interval.
        towards: the trial to which the way leads; the price is linear between neighbours.
        overlapping: what cannot be told apart between the two: figures whose 95 % intervals overlap.
    """

    trial: int
    objective: str
    unit: str
    points: float
    extra: float
    percent: float | None
    ci95: float | None
    towards: int
    overlapping: tuple[str, ...]


def prices(history: History) -> list[Price]:
    """Returns the price of the next percentage point of validation accuracy, of each member and each cost.

    Costs are the objectives other than the error. The most accurate member has no price, and a run that does not
    search for the error has none at all. Members are in the front's order.
    """
    return prices_of(history.front(), history.objectives)


def prices_of(members: Sequence[Result], objectives: Sequence[Objective]) -> list[Price]:
    """Returns the same of the members of a front."""
    if "error" not in {objective.name for objective in objectives}:
        return []
    costs = [objective for objective in objectives if objective.name != "error"]
    found = (_price(members, row, cost) for row in range(len(members)) for cost in costs)
    return [price for price in found if price is not None]


def _price(members: Sequence[Result], row: int, cost: Objective) -> Price | None:
    errors, losses = pareto.losses_of(members, [OBJECTIVES["error"], cost]).T
    way = choosing.next_step(errors, losses, row, POINT)
    if way is None:
        return None
    member, after = members[row], members[way.after]
    extra, own = cost.loss(way.extra_loss), member.values[cost.name]
    return Price(
        trial=member.trial.id,
        objective=cost.name,
        unit=cost.unit,
        points=way.gain / POINT,
        extra=extra,
        percent=100 * extra / abs(own) if own else None,
        ci95=_interval(members, row, way, cost.name),
        towards=after.trial.id,
        overlapping=tuple(name for name in ("error", cost.name) if overlap(member, after, name)),
    )


def _interval(members: Sequence[Result], row: int, way: choosing.Way, name: str) -> float | None:
    """Returns half the interval of a difference of independent figures, one of which may lie between two members."""
    if all(interval(members[i], name) is None for i in (row, way.before, way.after)):
        return None
    shares = dict.fromkeys((row, way.before, way.after), 0.0)
    shares[row] -= 1.0
    shares[way.before] += 1.0 - way.share
    shares[way.after] += way.share
    return math.hypot(*(share * (interval(members[i], name) or 0.0) for i, share in shares.items()))


def overlap(one: Result, other: Result, name: str) -> bool:
    """Returns whether the 95 % intervals of a figure overlap; a figure without one is exact."""
    widths = (interval(one, name) or 0.0) + (interval(other, name) or 0.0)
    return widths > 0 and abs(one.values[name] - other.values[name]) <= widths


def price_text(price: Price) -> str:
    """Returns a price for a table, e.g. ``"+0.31±0.09 (+25%)"``, in parentheses where it cannot be told from nothing."""
    text = _signed(price) + ("" if price.percent is None else f" ({price.percent:+.0f}%)")
    text += "" if price.points > _WHOLE else f" for {price.points:.2g}"
    return f"[{text}]" if price.overlapping else text


def _signed(price: Price) -> str:
    return ("+" if price.extra >= 0 else "") + with_interval(price.extra, price.ci95)


def price_lines(history: History, trial: int | None = None) -> list[str]:
    """Returns what the next point of accuracy costs, as sentences: from a member, without one from the knee.

    From the most accurate member, which has no next one, they say what the last point before it cost. Empty if the
    error is not searched for beside something else, or the front is empty.
    """
    members, objectives = history.front(), history.objectives
    if not members or len(objectives) < 2 or "error" not in {objective.name for objective in objectives}:
        return []
    start = next((m for m in members if m.trial.id == trial), None) or members[_knee(members, objectives)]
    who = f"trial {start.trial.id}" + ("" if trial is not None or len(members) < 3 else ", the knee,")
    found = prices_of(members, objectives)
    own = [price for price in found if price.trial == start.trial.id]
    if own:
        return [f"The next point of accuracy, from {who} {_sentence(price)}." for price in own]
    lines = [f"There is no next point of accuracy: no member has a smaller error than {who.rstrip(',')}."]
    worse = [m for m in members if m.values["error"] > start.values["error"]]
    if worse:
        before = min(worse, key=lambda m: m.values["error"]).trial.id
        lines += [f"The last one, from trial {before} {_sentence(p)}." for p in found if p.trial == before]
    return lines


def _knee(members: Sequence[Result], objectives: Sequence[Objective]) -> int:
    return pareto.knee(pareto.losses_of(members, objectives)) if len(members) > 2 else len(members) - 1


def _sentence(price: Price) -> str:
    objective = OBJECTIVES[price.objective]
    name = label(objective).removesuffix(f" ({objective.unit})")
    share = "" if price.percent is None else f" ({price.percent:+.0f} %)"
    text = f"towards trial {price.towards}: {_signed(price)} {price.unit} of {name}{share}"
    if price.points <= _WHOLE:
        text += f" for the {readable(price.points)} points that are left"
    if price.overlapping:
        text += f"; not distinguishable: the intervals of {' and of '.join(price.overlapping)} overlap"
    return text
