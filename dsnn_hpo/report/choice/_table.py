"""A choice as a table."""

from __future__ import annotations

from dataclasses import dataclass

from dsnn_hpo.journal import History
from dsnn_hpo.report._certainty import interval, quality
from dsnn_hpo.report._words import label, with_interval
from dsnn_hpo.report.choice._choose import Choice
from dsnn_hpo.report.choice._price import Price, price_text, prices
from dsnn_hpo.report.choice._wishes import figure, figure_name, named
from dsnn_hpo.trial import Result

MARK = "→"


@dataclass(frozen=True, slots=True)
class ChoiceTable:
    """The members that keep the limits as text, best first, the chosen one marked; and how to read it."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


def choice_table(history: History, choice: Choice) -> ChoiceTable:
    """Returns the members that keep the limits, or the nearest one, with scores, objectives and prices of accuracy."""
    members = choice.satisfied or ((choice.nearest,) if choice.nearest else ())
    objectives = history.objectives
    further = dict.fromkeys(
        figure_name(limit.name)
        for limit in choice.wishes.limits
        if figure_name(limit.name) not in history.header.objectives
    )
    costs = [objective for objective in objectives if objective.name != "error"]
    found = {(price.trial, price.objective): price for price in prices(history)}
    priced = [cost for cost in costs if found]
    scored = bool(choice.scores)
    header = (
        "",
        "trial",
        *(("score",) if scored else ()),
        *(label(o, quality=quality(members, o)) for o in objectives),
        *map(named, further),
        *(f"next point of accuracy ({cost.unit})" for cost in priced),
    )
    rows = tuple(
        (
            MARK if member is choice.chosen else "",
            str(member.trial.id),
            *((f"{choice.scores[member.trial.id]:.3f}",) if scored and choice.satisfied else ()),
            *(_with_interval(member, name) for name in (*history.header.objectives, *further)),
            *(_price(found.get((member.trial.id, cost.name))) for cost in priced),
        )
        for member in members
    )
    return ChoiceTable(header, rows, _notes(found, members))


def _notes(found: dict[tuple[int, str], Price], members: tuple[Result, ...]) -> tuple[str, ...]:
    shown = {member.trial.id for member in members}
    if any(price.overlapping for (trial, _), price in found.items() if trial in shown):
        return ("Prices in brackets are not distinguishable from nothing: intervals overlap.",)
    return ()


def _price(price: Price | None) -> str:
    return "–" if price is None else price_text(price)


def _with_interval(member: Result, name: str) -> str:
    value = figure(member, name)
    return "–" if value is None else with_interval(value, interval(member, name))
