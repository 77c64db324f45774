import json
import subprocess
import sys
from dataclasses import replace

import pytest

from dsnn_hpo import pareto
from dsnn_hpo.journal import History, Told
from dsnn_hpo.report import front_json, front_markdown, front_rows, front_table
from dsnn_hpo.trial import Provenance, Result
from tests.report.synthetic import history, prefix


def test_rows_hold_the_front_with_every_figure_and_hyperparameter():
    run = history(45)
    rows = front_rows(run)
    assert [row["trial"] for row in rows] == [m.trial.id for m in run.front()]
    assert len(rows) >= 3
    for row, member in zip(rows, run.front(), strict=True):
        assert row["key"] == member.trial.key
        assert row["epochs"] == 9
        assert row["inference_energy_j"] == member.values["inference_energy_j"]
        assert row["test_error"] == member.test_values["error"]
        assert {k.removeprefix("config."): v for k, v in row.items() if k.startswith("config.")} == member.trial.config


def test_json_has_exactly_the_promised_shape():
    run = history(45)
    data = json.loads(json.dumps(front_json(run)))
    assert list(data) == ["objectives", "members", "warnings", "footprint"]
    assert data["objectives"] == ["error", "inference_energy_j"]
    keys = ["trial", "config", "values", "test_values", "provenance", "p_optimal"]
    assert all(list(m) == keys for m in data["members"])
    assert [m["values"] for m in data["members"]] == [dict(m.values) for m in run.front()]


def test_json_of_an_empty_front():
    empty = front_json(prefix(history(), 1))
    assert (empty["objectives"], empty["members"], empty["warnings"]) == (["error", "inference_energy_j"], [], [])
    assert empty["footprint"]["total_j"] == 0.0


def _table(markdown: str) -> list[list[str]]:
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_markdown_starts_with_the_gist_and_links_each_trial():
    run = history(72)
    text = front_markdown(run, lambda result: f"#/runs/{result.trial.key}")
    first = text.splitlines()[0]
    best = run.front()[0]
    assert f"**{len(run.front())} on the front** at 9 epochs" in first
    assert f"best error **{best.values['error']:.3g}** (trial {best.trial.id})" in first
    knee = run.front()[pareto.knee(pareto.losses_of(run.front(), run.objectives))]
    assert f"knee: trial {knee.trial.id}" in first
    rows = _table(text)[2:]
    assert [row[0] for row in rows] == [f"[{m.trial.id}](#/runs/{m.trial.key})" for m in run.front()]


def test_markdown_shows_the_telling_hyperparameters_and_says_what_is_shared():
    text = front_markdown(history(72))
    header = _table(text)[0]
    assert header[:4] == ["trial", "error", "inference energy (J/1000 samples)", "test error"]
    assert {"width", "weight_bits"} <= set(header[4:])
    assert len(header) == 4 + 6
    assert "model = cnn" in text
    assert "model" not in header


def test_markdown_cannot_be_broken_by_a_value():
    run = history(9, mark=None)
    [member] = run.front()
    member.trial.config["width"] = "a|b\nc"
    assert "width = a\\|b c" in front_markdown(run)


@pytest.mark.parametrize("n_events", [1, 2])
def test_markdown_of_an_empty_front_says_so(n_events):
    assert front_markdown(prefix(history(), n_events)).startswith("The front is empty")


def test_one_objective_gives_one_member():
    text = front_markdown(history(45, ("error",)))
    assert len(_table(text)) == 3
    assert "Its configuration: " in text


def test_tables_need_neither_a_plotting_library_nor_torch():
    code = "import sys, dsnn_hpo.report as r; print([m for m in ('torch', 'matplotlib', 'plotly') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_failed_trials_are_counted_but_never_members():
    run = history(45)
    n_failed = sum(1 for r in run.results if not r.values)
    assert n_failed > 0
    assert f"({n_failed} failed)" in front_markdown(run)
    assert all(isinstance(m, Result) and m.values for m in run.front())


RAPL = Provenance("cpu: rapl", "measured", "machine", "a CPU, 2 cores")


def test_notes_say_how_energy_was_obtained():
    whole = history(9)
    events = [
        replace(e, result=replace(e.result, provenance={"inference_energy_j": RAPL}))
        if isinstance(e, Told) and e.result.values
        else e
        for e in whole.events
    ]
    assert f"inference_energy_j: {RAPL}." in front_table(History(whole.header, events)).notes
    assert not any(note.startswith("inference_energy_j") for note in front_table(whole).notes)


def test_a_front_below_the_longest_training_says_so():
    whole = history(9)
    low = tuple(e for e in whole.events if not isinstance(e, Told) or e.result.trial.fidelity < 9)
    assert any("No trial of 9 epochs has completed" in note for note in front_table(History(whole.header, low)).notes)
    assert not any("No trial of" in note for note in front_table(whole).notes)
