"""The front as a table, and that in markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dsnn_hpo import pareto
from dsnn_hpo.journal import History
from dsnn_hpo.report._certainty import LIKELY, interval, mixtures, optimality, quality
from dsnn_hpo.report._footprint import footprint_lines, footprint_of
from dsnn_hpo.report._words import epochs, label, readable, with_interval
from dsnn_hpo.trial import Objective, Result, Scalar

_N_ENOUGH_TO_RANK = 8


@dataclass(frozen=True, slots=True)
class FrontTable:
    """The front as text: a sentence on it, a header and a row a member, and what to say below the table."""

    summary: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


def front_table(history: History, n_hyperparameters: int = 6) -> FrontTable:
    """Returns the front as a table of text, best first objective first; the trial's id is the first column.

    The table shows the hyperparameters that differ among the members, the ``n_hyperparameters`` most telling ones if
    there are more; what the members share is in the notes. An empty front has no rows.
    """
    members = history.front()
    if not members:
        text = f"The front is empty: none of {len(history.results)} trials completed yet."
        return FrontTable(text, (), (), tuple(failures(history)))
    shown = _telling(history, members, n_hyperparameters)
    header, rows = _table(history, members, shown)
    names = sorted({name for m in members for name in m.trial.config})
    shared = [name for name in names if not _differs(members, name)]
    notes = []
    if shared:
        text = ", ".join(f"{name} = {readable(members[0].trial.config[name])}" for name in shared)
        notes.append(f"All members share {text}." if len(members) > 1 else f"Its configuration: {text}.")
    if history.front_fidelity < history.header.fidelity.max_epochs:
        longest = epochs(history.header.fidelity.max_epochs)
        notes.append(f"No trial of {longest} has completed: these are not the final figures, and they are not tested.")
    notes += failures(history)
    notes += [
        f"MIXED: {warning}; these figures do not belong in one front."
        for warning in mixtures(members, history.objectives)
    ]
    notes += _near(history, members)
    notes += _origins(history, members)
    notes += footprint_lines(footprint_of(history))
    if n_more := len(names) - len(shared) - len(shown):
        notes.append(f"{n_more} more {'hyperparameter differs' if n_more == 1 else 'hyperparameters differ'}.")
    return FrontTable(_summary(history, members), header, rows, tuple(notes))


def front_markdown(history: History, link: Callable[[Result], str] | None = None) -> str:
    """Returns the front's table (see ``front_table``) as markdown.

    Args:
        history: the run.
        link: gives the address behind a member's trial number; without it the number is plain.
    """
    table = front_table(history)
    lines = [table.summary]
    if table.rows:
        lines += ["", _row(table.header), _row(["---:"] * len(table.header))]
    for member, (number, *cells) in zip(history.front(), table.rows, strict=True):
        lines.append(_row([number if link is None else f"[{number}]({link(member)})", *map(_escaped, cells)]))
    return "\n".join([*lines, *(line for note in table.notes for line in ("", _escaped(note)))]) + "\n"


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
    history: History, members: Sequence[Result], shown: Sequence[str]
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    tested = [o for o in history.objectives if any(o.name in m.test_values for m in members)]
    chances = optimality(history)
    header = (
        "trial",
        *(label(o, quality=quality(members, o)) for o in history.objectives),
        *(("P(optimal)",) if chances else ()),
        *(label(o, "test") for o in tested),
        *shown,
    )
    rows = tuple(
        (
            str(member.trial.id),
            *(_with_interval(member, o.name) for o in history.objectives),
            *((f"{chances[member.trial.id]:.2f}",) if chances else ()),
            *(_optional(member.test_values.get(o.name)) for o in tested),
            *(_optional(member.trial.config.get(name)) for name in shown),
        )
        for member in members
    )
    return header, rows


def _near(history: History, members: Sequence[Result]) -> list[str]:
    """Returns a line that names the configurations off the front that may belong to it."""
    ids = {member.trial.id for member in members}
    likely = [(chance, id_) for id_, chance in optimality(history).items() if chance > LIKELY and id_ not in ids]
    if not likely:
        return []
    named = ", ".join(f"trial {id_} ({chance:.2f})" for chance, id_ in sorted(likely, key=lambda c: (-c[0], c[1])))
    return [f"Within the intervals these may be optimal too, with probability: {named}."]


def _origins(history: History, members: Sequence[Result]) -> list[str]:
    """Returns a line for each way in which objectives were obtained, and one for each kind of doubt about them."""
    names: dict[str, list[str]] = {}
    doubts: dict[str, set[int]] = {}
    for objective in history.objectives:
        hows = [(r.trial.id, r.provenance[objective.name]) for r in members if objective.name in r.provenance]
        for text in dict.fromkeys(str(replace(how, ci95=None, n_repeats=1, remarks=())) for _, how in hows):
            names.setdefault(text, []).append(objective.name)
        for trial, how in hows:
            for remark in how.remarks:
                doubts.setdefault(remark.partition(" (")[0], set()).add(trial)
    lines = [f"{', '.join(each)}: {how}." for how, each in names.items() if each != ["error"]]
    return lines + [f"Doubtful: {doubt} ({len(trials)} of {len(members)} members)." for doubt, trials in doubts.items()]


def failures(history: History) -> list[str]:
    """Returns a line for each cause of failure, with the reason given last."""
    last: dict[str, Result] = {}
    counts: Counter[str] = Counter()
    for result in history.results:
        if result.error:
            cause = str(result.cause or "exception").replace("_", " ")
            counts[cause] += 1
            last[cause] = result
    return [
        f"{n} failed ({cause}), the last one trial {last[cause].trial.id}: {last[cause].error}"
        for cause, n in counts.most_common()
    ]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _with_interval(result: Result, name: str) -> str:
    return with_interval(result.values[name], interval(result, name))


def _optional(value: Scalar | None) -> str:
    return "–" if value is None else readable(value)


def _differs(members: Sequence[Result], name: str) -> bool:
    return len({repr(m.trial.config.get(name)) for m in members}) > 1


def _telling(history: History, members: Sequence[Result], n_shown: int) -> list[str]:
    """Returns at most ``n_shown`` hyperparameters that differ among the members, those first that sway an objective most."""
    # dict.fromkeys keeps the order of the search space, in which related hyperparameters stand together.
    differing = [n for n in dict.fromkeys(n for m in members for n in m.trial.config) if _differs(members, n)]
    results = pareto.completed(history.latest_results(), history.front_fidelity)
    if len(differing) <= n_shown or len(results) < _N_ENOUGH_TO_RANK:
        return differing[:n_shown]
    sway = {name: max(_sway(results, name, o) for o in history.objectives) for name in differing}
    kept = sorted(differing, key=lambda name: -sway[name])[:n_shown]
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
