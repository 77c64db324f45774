"""The page's sections of text and tables. Whatever a user has written is escaped here."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from html import escape

from dsnn_hpo import pareto
from dsnn_hpo.journal import History, Mark
from dsnn_hpo.report._certainty import interval, mixtures
from dsnn_hpo.report._footprint import J_PER_WH, footprint_lines, footprint_of
from dsnn_hpo.report._markdown import failures, front_table
from dsnn_hpo.report._words import epochs, label, readable, with_interval
from dsnn_hpo.trial import Objective, Result

_LINKS = (
    ("front", "front"),
    ("table", "table"),
    ("hypervolume", "gain"),
    ("importance", "importance"),
    ("parallel_coordinates", "configurations"),
    ("rungs", "rungs"),
    ("cost", "cost"),
    ("failures", "failures"),
    ("origins", "origins"),
    ("reproduce", "reproduce"),
)


def head_section(history: History) -> str:
    """Returns the title, the state, and in plain words what was searched and what was found."""
    links = " ".join(f'<a href="#{place}">{text}</a>' for place, text in _LINKS)
    warnings = [
        f"MIXED: {warning}; these figures do not belong in one front."
        for warning in mixtures(history.front(), history.objectives)
    ]
    lines = [f"<h1>{escape(history.header.name)}</h1>", f'<p class="quiet">{escape(_state(history))}</p>']
    lines += [f'<p class="warning">{escape(warning)}</p>' for warning in warnings]
    lines += [f"<p>{escape(_searched(history))}</p>", _offers(history), f"<nav>{links}</nav>"]
    return "\n".join(lines)


def front_section(history: History) -> str:
    """Returns the front's table, whose trial numbers lead to the members below, and its notes."""
    table = front_table(history, n_hyperparameters=8)
    known = {*failures(history), *footprint_lines(footprint_of(history))} if table.rows else set()
    notes = [note for note in table.notes if note not in known and not note.startswith("MIXED")]
    rows = [
        [f'<a href="#trial-{member.trial.id}">{escape(number)}</a>', *map(escape, cells)]
        for member, (number, *cells) in zip(history.front(), table.rows, strict=True)
    ]
    knee = _knee(history)
    marks = ["knee" if knee and member.trial.id == knee.trial.id else "" for member in history.front()]
    lines = ['<h2 id="table">The front in figures</h2>', f"<p>{escape(table.summary.replace('**', ''))}</p>"]
    lines += [_table(table.header, rows, marks=marks)] if rows else []
    lines += [f'<p class="quiet says">{escape(note)}</p>' for note in notes]
    return "\n".join([*lines, '<p><button id="save-json" type="button">Save the front as JSON</button></p>'])


def members_section(history: History) -> str:
    """Returns each member of the front with its whole configuration, how its figures came, and how to ship it."""
    members = history.front()
    if not members:
        return ""
    return "\n".join(['<h2 id="members">The members of the front</h2>', *(_member(history, m) for m in members)])


def footprint_section(history: History) -> str:
    """Returns what the study has cost, part by part."""
    cost = footprint_of(history)
    parts = {
        "training": cost.training_j,
        "failed trials": cost.failed_j,
        "lost attempts": cost.lost_j,
        "measuring, and training the front again": cost.measuring_j,
        "driver and optimizer": cost.driver_j,
        "in all": cost.total_j,
    }
    rows = [
        [name, f"{joules:,.4g}", readable(joules / J_PER_WH), f"{joules / cost.total_j:.0%}" if cost.total_j else "–"]
        for name, joules in parts.items()
        if joules or name == "in all"
    ]
    spent = (
        f"{len(history.results)} trainings of {history.n_epochs:,} epochs in all, "
        f"{history.running_s / 60:,.1f} minutes during which a driver was at work."
    )
    lines = footprint_lines(cost)[1:]
    return "\n".join(
        [
            '<h2 id="cost">What the study cost</h2>',
            f"<p>{escape(spent)}</p>",
            _table(("", "J", "Wh", "share"), rows),
            *(f"<p>{escape(line)}</p>" for line in lines),
        ]
    )


def failures_section(history: History) -> str:
    """Returns the failures by cause, with the last one of each, and what the driver said of its stops."""
    failed = [r for r in history.results if r.error]
    lines = ['<h2 id="failures">What failed</h2>']
    if not failed:
        lines.append(f"<p>None of {len(history.results)} trials failed.</p>")
    counts = Counter(_cause(r) for r in failed)
    last = {_cause(r): r for r in failed}
    for cause, n in counts.most_common():
        example = last[cause]
        lines.append(f"<h3>{n} × {escape(cause)}</h3><p>The last one is trial {example.trial.id}: ")
        lines.append(f"{escape(example.error or '')}</p>")
        if example.log_tail:
            lines.append(
                f"<details><summary>the end of its log</summary><pre>{escape(example.log_tail)}</pre></details>"
            )
    if history.n_lost:
        lines.append(f"<p>{history.n_lost} attempts were lost through no fault of their trials, and made again.</p>")
    stops = (e for e in history.events if isinstance(e, Mark) and e.name in ("interrupted", "failed", "finished"))
    said = [stop.reason for stop in stops if stop.reason]
    lines += [f"<p>{escape(reason)}</p>" for reason in dict.fromkeys(said)]
    return "\n".join(lines)


def origins_section(history: History) -> str:
    """Returns how each figure was obtained, on what, by which sensors; and the versions of libraries."""
    found: Counter[tuple[str, str]] = Counter()
    for result in history.latest_results():
        for name, how in result.provenance.items():
            found[name, str(replace(how, ci95=None, n_repeats=1, remarks=()))] += 1
    rows = [[escape(name), escape(how), str(n)] for (name, how), n in sorted(found.items())]
    versions = [[escape(name), escape(version)] for name, version in history.header.versions.items()]
    table = _table(("figure", "how it was obtained", "results"), rows, "text")
    return "\n".join(
        [
            '<h2 id="origins">Where the figures come from</h2>',
            table if rows else "<p>No trial says how its figures were obtained.</p>",
            "<h3>Versions</h3>",
            _table(("library", "version"), versions, "text"),
        ]
    )


def reproduce_section(history: History) -> str:
    """Returns the experiment file, the commands, the seeds and the digest of the data."""
    header = history.header
    seeds = sorted({r.trial.seed for r in history.results})
    shown = ", ".join(map(str, seeds[:10])) + (f" and {len(seeds) - 10} more" if len(seeds) > 10 else "")
    facts = [
        ["run", header.run_id],
        ["data", f"SHA-256 {header.data_digest}" if header.data_digest else "no digest was kept"],
        ["seed of the search", str(header.experiment.get("seed", 0))],
        ["seeds of trainings", shown or "none yet"],
    ]
    commands = "dsnn-hpo check experiment.yaml\ndsnn-hpo run experiment.yaml"
    return "\n".join(
        [
            '<h2 id="reproduce">How to reproduce</h2>',
            "<p>Save this as <code>experiment.yaml</code>. The run folder has it too, with the search space and the split as "
            "they were.</p>",
            f"<pre>{escape(header.experiment_text)}</pre>",
            f"<pre>{escape(commands)}</pre>",
            "<p>With the same seed, versions and data, and one worker, an optimizer proposes the same configurations. "
            "With several, it learns in the order in which trials end; measured energies differ from run to run.</p>",
            _table(("", ""), [[escape(name), escape(value)] for name, value in facts], "text"),
        ]
    )


def _state(history: History) -> str:
    started = _time(history.header.created)
    if history.finished:
        return f"Begun {started}; finished."
    last = next((e for e in reversed(history.events) if isinstance(e, Mark)), None)
    until = _time(history.events[-1].time) if history.events else started
    if last is None or not history.results:
        return f"Begun {started}; no trial has ended yet."
    states = {"interrupted": "interrupted", "failed": "ended by an error", "measuring": "measuring its front again"}
    state = states.get(last.name, "running, or killed")
    return f"Begun {started}; {state}: this page tells what was known at {until}."


def _searched(history: History) -> str:
    experiment, fidelity = history.header.experiment, history.header.fidelity
    task = experiment.get("task", {})
    task = task if isinstance(task, dict) else {}
    optimizer = experiment.get("optimizer", "")
    optimizer = optimizer.get("name", "") if isinstance(optimizer, dict) else optimizer
    what = " and ".join(f"a {'low' if o.goal == 'minimize' else 'high'} {_words(o)}" for o in history.objectives)
    network = f", model {task['model']}," if "model" in task else ""
    n_configs = len({r.trial.key for r in history.results})
    n_failed = sum(1 for r in history.results if r.error)
    lengths = epochs(fidelity.max_epochs)
    if fidelity.min_epochs != fidelity.max_epochs:
        lengths = f"{fidelity.min_epochs} to {lengths}"
    return (
        f"Searched: networks without multiplications for {task.get('dataset', 'a data set')}{network} with {what}. "
        f"{n_configs} configurations were trained, {len(history.results)} trainings of {lengths}"
        f"{f', {n_failed} of which failed' if n_failed else ''}"
        f"{f'; {optimizer} chose them' if optimizer else ''}."
    )


def _offers(history: History) -> str:
    """Returns what the front offers: the best of each objective, and the knee."""
    members = history.front()
    if not members:
        return "<p>There is no front yet: no trial has completed.</p>"
    items = []
    for objective in history.objectives:
        best = min(members, key=lambda m: objective.loss(m.values[objective.name]))
        items.append(f"<b>Best {escape(_words(objective))}:</b> {_offer(history, best)}")
    if (knee := _knee(history)) is not None:
        text = "beyond it, a little more of one objective costs most of another"
        items.append(f"<b>Knee:</b> {_offer(history, knee)} – {text}.")
    sentence = f"{len(members)} of them are on the Pareto front: none is better in everything."
    if len(members) == 1:
        sentence = "One of them is better than all others in everything."
    return f"<p>{sentence}</p><ul>{''.join(f'<li>{item}</li>' for item in items)}</ul>"


def _offer(history: History, member: Result) -> str:
    """Returns a member in words: its trial and its figures."""
    figures = []
    for o in history.objectives:
        value = with_interval(member.values[o.name], interval(member, o.name))
        right = f" ({1 - member.values[o.name]:.1%} are right)" if o.name == "error" else ""
        figures.append(f"{_words(o)} {value}{'' if o.unit == '1' else f' {o.unit}'}{right}")
    return f'<a href="#trial-{member.trial.id}">trial {member.trial.id}</a>, {escape(", ".join(figures))}'


def _member(history: History, member: Result) -> str:
    trial = member.trial
    names = [*history.header.objectives, *(n for n in member.values if n not in history.header.objectives)]
    units = {o.name: "" if o.unit == "1" else f" {o.unit}" for o in history.objectives}
    figures = []
    for name in names:
        how = member.provenance.get(name)
        value = with_interval(member.values[name], interval(member, name)) + units.get(name, "")
        origin = "" if how is None else f'<br><span class="quiet">{escape(str(how))}</span>'
        figures.append([escape(name), escape(value) + origin])
    figures += [[escape(f"test {name}"), escape(readable(value))] for name, value in member.test_values.items()]
    config = [[escape(name), escape(readable(value))] for name, value in trial.config.items()]
    about = f"{epochs(trial.fidelity)}, seed {trial.seed}, configuration {trial.key}"
    ship = f"dsnn-hpo export RUN_DIR {trial.id} --to {shlex.quote(f'trial_{trial.id}')}"
    return (
        f'<section id="trial-{trial.id}"><h3>Trial {trial.id}</h3><p class="quiet says">{escape(about)}. '
        f'To ship it: <code>{escape(ship)}</code></p><div class="member">'
        f"{_table(('hyperparameter', 'value'), config, 'text')}{_table(('figure', 'value'), figures, 'text')}"
        "</div></section>"
    )


def _knee(history: History) -> Result | None:
    members = history.front()
    if len(members) < 3 or len(history.objectives) < 2:
        return None
    return members[pareto.knee(pareto.losses_of(members, history.objectives))]


def _cause(result: Result) -> str:
    return str(result.cause or "exception").replace("_", " ")


def _words(objective: Objective) -> str:
    return label(objective).partition(" (")[0]


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def _table(header: Iterable[str], rows: Sequence[Sequence[str]], kind: str = "", marks: Sequence[str] = ()) -> str:
    """Returns a table; its cells are HTML already, its header is text."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(
        f'<tr class="{mark}">{"".join(f"<td>{cell}</td>" for cell in row)}</tr>'
        for row, mark in zip(rows, marks or [""] * len(rows), strict=True)
    )
    head = f"<thead><tr>{head}</tr></thead>" if head.replace("<th></th>", "") else ""
    return f'<div class="wide"><table class="{kind}">{head}<tbody>{body}</tbody></table></div>'
