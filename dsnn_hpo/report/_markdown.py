"""The front as a markdown table."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from dsnn_hpo import pareto
from dsnn_hpo.journal import History
from dsnn_hpo.report._rows import epochs, label, readable
from dsnn_hpo.trial import Objective, Result, Scalar

_N_SHOWN = 6
_N_ENOUGH_TO_RANK = 8


def front_markdown(history: History, link: Callable[[Result], str] | None = None) -> str:
    """Returns a sentence on the front and a table of its members, best first objective first.

    The table shows the hyperparameters that differ among the members, the most telling ones if there are many; what
    the members share stands below it.

    Args:
        history: the run.
        link: gives the address behind a member's trial number; without it the number is plain.
    """
    members = history.front()
    if not members:
        return f"The front is empty: none of {len(history.results)} trials completed yet."
    shown = _telling(history, members)
    header, rows = _table(history, members, shown, link)
    lines = [_summary(history, members), "", _row(header), _row(["---:"] * len(header)), *map(_row, rows)]
    names = sorted({name for m in members for name in m.trial.config})
    shared = [name for name in names if not _differs(members, name)]
    if shared:
        text = ", ".join(f"{name} = {_cell(members[0].trial.config[name])}" for name in shared)
        lines += ["", f"All members share {text}." if len(members) > 1 else f"Its configuration: {text}."]
    n_more = len(names) - len(shared) - len(shown)
    if n_more:
        lines += ["", f"{n_more} more {'hyperparameter differs' if n_more == 1 else 'hyperparameters differ'}."]
    return "\n".join(lines) + "\n"


def _summary(history: History, members: Sequence[Result]) -> str:
    n_failed = sum(1 for r in history.results if not r.values)
    parts = [f"**{len(members)} on the front** at {epochs(history.front_fidelity)}, of {len(history.results)} trials"]
    if n_failed:
        parts[0] += f" ({n_failed} failed)"
    for objective in history.objectives:
        best = min(members, key=lambda m: objective.loss(m.values[objective.name]))
        parts.append(f"best {label(objective)} **{readable(best.values[objective.name])}** (trial {best.trial.id})")
    if len(members) > 2 and len(history.objectives) > 1:
        knee = members[pareto.knee(pareto.losses_of(members, history.objectives))]
        parts.append(f"knee: trial {knee.trial.id}")
    return "; ".join(parts) + "."


def _table(
    history: History, members: Sequence[Result], shown: Sequence[str], link: Callable[[Result], str] | None
) -> tuple[list[str], list[list[str]]]:
    tested = [o for o in history.objectives if any(o.name in m.test_values for m in members)]
    header = ["trial", *map(label, history.objectives), *(label(o, "test") for o in tested), *map(_cell, shown)]
    rows = []
    for member in members:
        number = str(member.trial.id)
        cells = [number if link is None else f"[{number}]({link(member)})"]
        cells += [readable(member.values[o.name]) for o in history.objectives]
        cells += [_optional(member.test_values.get(o.name)) for o in tested]
        cells += [_optional(member.trial.config.get(name)) for name in shown]
        rows.append(cells)
    return header, rows


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: Scalar) -> str:
    return readable(value).replace("|", "\\|").replace("\n", " ")


def _optional(value: Scalar | None) -> str:
    return "–" if value is None else _cell(value)


def _differs(members: Sequence[Result], name: str) -> bool:
    return len({repr(m.trial.config.get(name)) for m in members}) > 1


def _telling(history: History, members: Sequence[Result]) -> list[str]:
    """Returns at most six hyperparameters that differ among the members, those first that sway an objective most."""
    # dict.fromkeys keeps the order of the search space, in which related hyperparameters stand together.
    differing = [n for n in dict.fromkeys(n for m in members for n in m.trial.config) if _differs(members, n)]
    results = pareto.completed(history.results, history.front_fidelity)
    if len(differing) <= _N_SHOWN or len(results) < _N_ENOUGH_TO_RANK:
        return differing[:_N_SHOWN]
    sway = {name: max(_sway(results, name, o) for o in history.objectives) for name in differing}
    kept = sorted(differing, key=lambda name: -sway[name])[:_N_SHOWN]
    return [name for name in differing if name in kept]


def _sway(results: Sequence[Result], name: str, objective: Objective) -> float:
    """Returns how far a hyperparameter sways an objective, 0 to 1: the size of Spearman's rank correlation.

    The choices of a categorical one count in the order of their mean rank. A hyperparameter that only some
    configurations have counts by their share.
    """
    known = [r for r in results if name in r.trial.config]
    values = [r.trial.config[name] for r in known]
    y = _ranks(np.array([r.values[objective.name] for r in known]))
    if all(isinstance(v, int | float) for v in values):
        x = _ranks(np.array(values, dtype=np.float64))
    else:
        mean_rank = {v: y[[w == v for w in values]].mean() for v in set(values)}
        x = np.array([mean_rank[v] for v in values])
    if len(known) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    share_known = len(known) / len(results)
    return share_known * abs(float(np.corrcoef(x, y)[0, 1]))


def _ranks(values: pareto.Losses) -> pareto.Losses:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(counts) - (counts - 1) / 2
    return np.asarray(mean_rank[inverse], dtype=np.float64)
