"""How sure a front is: intervals, chances, mixtures; and what a study cost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dsnn_hpo.journal import History, Lost, Mark, Measured, Told
from dsnn_hpo.report import (
    footprint_lines,
    footprint_of,
    front_html,
    front_json,
    front_markdown,
    front_rows,
    front_table,
)
from dsnn_hpo.report._certainty import mixtures, optimality, quality
from dsnn_hpo.trial import OBJECTIVES, Provenance
from tests.report.synthetic import history

ENERGY = OBJECTIVES["inference_energy_j"]


def how(ci95=None, quality="estimated", hardware="a CPU", method="cpu: cpu_load"):
    return Provenance(method, quality, "process", hardware, ci95, 5)


def measured_again(run, change=lambda value: value, **provenance):
    """Returns the history after each member of the front was measured again."""
    for member in run.front():
        values = {"inference_energy_j": change(member.values["inference_energy_j"])}
        origin = {"inference_energy_j": how(**provenance)}
        run = run.extended(Measured(member.trial, values, origin, 2.0, run.events[-1].time + 1))
    return run


def test_nothing_is_said_of_chances_without_intervals():
    run = history(72)
    assert optimality(run) == {}
    assert "P(optimal)" not in front_markdown(run)
    assert all(member["p_optimal"] is None for member in front_json(run)["members"])


def test_exact_members_are_certain_and_wide_ones_are_not():
    run = history(72)
    narrow = optimality(measured_again(run, ci95=1e-9))
    assert all(narrow[m.trial.id] == 1.0 for m in run.front())
    assert sum(narrow.values()) == pytest.approx(len(run.front()))
    wide = optimality(measured_again(run, ci95=3.0))
    assert min(wide[m.trial.id] for m in run.front()) < 0.95
    assert sum(chance > 0 for chance in wide.values()) > len(run.front())


def test_a_member_found_to_be_worse_leaves_the_front():
    run = history(72)
    worst = run.front()[0]
    values = {"inference_energy_j": 1e9}
    again = run.extended(Measured(worst.trial, values, {"inference_energy_j": how(0.1)}, 1.0, run.events[-1].time + 1))
    assert worst.trial.id not in {m.trial.id for m in again.front()} or worst.values["error"] < min(
        m.values["error"] for m in again.front()[1:]
    )
    assert again.latest_results()[worst.trial.id].values["inference_energy_j"] == 1e9
    # What the search has told stays as it was.
    assert again.results[worst.trial.id].values == worst.values
    assert run.front()[0].values == worst.values


def test_tables_show_intervals_chances_and_who_else_may_be_optimal():
    run = measured_again(history(72), ci95=2.0)
    table = front_table(run)
    assert "P(optimal)" in table.header
    assert "inference energy, estimated (J/1000 samples)" in table.header
    assert all("±" in row[2] for row in table.rows)
    assert any(note.startswith("Within the intervals these may be optimal too") for note in table.notes)
    rows = front_rows(run)
    assert {row["inference_energy_j_ci95"] for row in rows} == {2.0}
    assert all(0 <= row["p_optimal"] <= 1 for row in rows)
    page = front_html(run)
    assert "Pareto-optimal with probability" in page
    assert "inference energy, estimated" in page


def test_a_front_of_several_origins_says_so_loudly():
    run = history(72)
    members = [replace(m, provenance={"inference_energy_j": how()}) for m in run.front()]
    assert mixtures(members, run.objectives) == []
    assert quality(members, ENERGY) == "estimated"
    elsewhere = [replace(members[0], provenance={"inference_energy_j": how(hardware="another CPU")}), *members[1:]]
    (warning,) = mixtures(elsewhere, run.objectives)
    assert "2 machines: a CPU; another CPU" in warning
    sensed = how(quality="measured", method="cpu: rapl")
    otherwise = [replace(members[0], provenance={"inference_energy_j": sensed}), *members[1:]]
    (warning,) = mixtures(otherwise, run.objectives)
    assert "2 ways" in warning
    assert quality(otherwise, ENERGY) == "mixed"


def test_a_mixed_front_is_marked_in_table_figure_and_json():
    run = history(72)
    run = measured_again(run, ci95=0.1)
    member = run.front()[0]
    other = {"inference_energy_j": how(0.1, hardware="another CPU")}
    run = run.extended(Measured(member.trial, dict(member.values), other, 1.0, run.events[-1].time + 1))
    assert any(note.startswith("MIXED: inference_energy_j") for note in front_table(run).notes)
    assert "MIXED" in front_html(run)
    assert len(front_json(run)["warnings"]) == 1


def test_the_footprint_adds_up_to_the_history_s_energy():
    run = history(72)
    lost = run.results[3].trial
    events = []
    for event in run.events:
        if isinstance(event, Told) and event.result.values:
            event = replace(event, result=replace(event.result, measuring_energy_j=3.0))
        events.append(event)
        if isinstance(event, Told) and event.result.trial == lost:
            continue
    asked = next(i for i, e in enumerate(events) if getattr(e, "trial", None) == lost)
    events.insert(asked + 1, Lost(lost, 1, "killed", 5.0, 7.0, events[asked].time))
    events[-1] = Mark("finished", events[-1].time, "", 11.0)
    whole = measured_again(History(run.header, events), ci95=0.1)
    cost = footprint_of(whole)
    assert cost.lost_j == 7.0
    assert cost.driver_j == 11.0
    n_completed = sum(bool(r.values) for r in whole.results)
    assert cost.measuring_j == pytest.approx(3.0 * n_completed + 2.0 * len(whole.measured))
    assert cost.total_j == pytest.approx(whole.energy_j)
    assert cost.hypervolume_per_kwh == pytest.approx(cost.hypervolume / (cost.total_j / 3.6e6))
    assert footprint_lines(cost)[0].startswith(f"The study took {cost.total_j / 3600:.3g} Wh: training")


def test_members_that_save_energy_repay_their_training():
    run = history(72)
    member = run.front()[0]
    energy = member.values["inference_energy_j"]
    values = {"inference_energy_j": energy, "float32_energy_j": energy + 4.0}
    run = run.extended(Measured(member.trial, values, {}, 0.0, run.events[-1].time + 1))
    assert footprint_of(run).repaid_after[member.trial.id] == 0.0
    (index,) = [i for i, r in enumerate(run.results) if r.trial.id == member.trial.id]
    result = run.results[index]
    told = replace(result, values={**result.values, "train_energy_j": 80.0})
    events = [replace(e, result=told) if isinstance(e, Told) and e.result is result else e for e in run.events]
    assert footprint_of(History(run.header, events)).repaid_after[member.trial.id] == pytest.approx(1000 * 80 / 4)


def test_a_member_asked_again_for_fewer_epochs_keeps_its_chance():
    run = measured_again(history(72), ci95=0.1)
    member = run.front()[0]
    again = replace(member, trial=replace(member.trial, id=10**6, fidelity=1))
    later = run.extended(Told(again, run.events[-1].time + 1))
    assert optimality(later) == optimality(run)
    assert [row["trial"] for row in front_rows(later)] == [row["trial"] for row in front_rows(run)]
