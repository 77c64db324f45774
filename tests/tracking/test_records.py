from dataclasses import replace

import pytest

from dsnn_hpo.journal import History, Mark, Measured
from dsnn_hpo.tracking._records import FRONT_COLOUR, Records
from dsnn_hpo.trial import Provenance
from tests.report.synthetic import header, history, measured_again, prefix


def _of(whole: History) -> Records:
    records = Records(whole.header)
    records.advance(whole)
    return records


@pytest.mark.parametrize("whole", [history(27), measured_again(history(27))], ids=["searched", "measured again"])
@pytest.mark.parametrize("step", [1, 3])
def test_grown_bit_by_bit_is_the_same_as_read_at_once(whole, step):
    grown = Records(whole.header)
    for n in range(0, len(whole.events) + 1, step):
        grown.advance(prefix(whole, n))
    grown.advance(whole)
    at_once = _of(whole)
    assert grown.keys == at_once.keys
    assert [grown.child(k) for k in grown.keys] == [at_once.child(k) for k in at_once.keys]
    assert grown.parent() == at_once.parent()


@pytest.mark.parametrize("whole", [history(27), measured_again(history(27))], ids=["searched", "measured again"])
@pytest.mark.parametrize("step", [1, 2])
def test_all_that_changes_is_named_and_parts_are_only_added(whole, step):
    records = Records(whole.header)
    before = {}
    for n in range(1, len(whole.events) + 1, step):
        changed = records.advance(prefix(whole, n)) | records.take_moved()
        after = {key: replace(records.child(key), membership=None) for key in records.keys}
        assert {key for key in after if after[key] != before.get(key)} <= changed
        for key, record in before.items():
            assert after[key].parts[: len(record.parts)] == record.parts
        before = after


def test_a_promoted_configuration_is_one_run_with_a_point_at_each_rung():
    whole = history(27)
    keys = [r.trial.key for r in whole.results]
    promoted = max(keys, key=keys.count)
    results = [r for r in whole.results if r.trial.key == promoted]
    assert len(results) == 3
    record = _of(whole).child(promoted)
    points = [p for part in record.parts for p in part]
    assert [(p.step, p.value) for p in points if p.name == "error"] == [
        (r.trial.fidelity, r.values["error"]) for r in results
    ]
    assert [p.step for p in points if p.name == "train_loss"] == list(range(1, 10))
    assert [p.value for p in points if p.name == "final_error"] == [results[-1].values["error"]]
    assert [p.value for p in points if p.name == "test_error"] == [r.test_values["error"] for r in results]
    assert record.name == "trial " + " › ".join(str(r.trial.id) for r in results)


def test_states():
    whole = history(27)
    records = _of(whole)
    states = {r.trial.key: ("FINISHED" if r.values else "FAILED") for r in whole.results}
    assert "FAILED" in states.values()
    for key, state in states.items():
        record = records.child(key)
        assert record.status == state
        assert ("error" in record.tags) == (state == "FAILED")
    assert records.parent().status == "FINISHED"


@pytest.mark.parametrize(
    ("mark", "status"), [("interrupted", "KILLED"), ("failed", "FAILED"), ("resumed", "RUNNING"), (None, "RUNNING")]
)
def test_what_was_in_flight_shares_the_fate_of_the_run(mark, status):
    whole = prefix(history(27), 10)
    assert len(whole.in_flight) == 1
    if mark:
        whole = History(whole.header, (*whole.events, Mark(mark, 2e9, "because")))
    records = _of(whole)
    assert records.parent().status == status
    assert records.child(whole.in_flight[0].trial.key).status == ("RUNNING" if status == "RUNNING" else "KILLED")
    assert records.parent().tags.get("dsnn_hpo.reason") == ("because" if mark else None)


def test_the_front_is_marked():
    whole = history(45)
    records = _of(whole)
    front = {m.trial.key for m in whole.front()}
    for key in records.keys:
        record = records.child(key)
        assert (record.tags["pareto"] == "true") == (key in front)
        assert (record.tags["mlflow.runColor"] == FRONT_COLOUR) == (key in front)
        assert record.membership.value == float(key in front)


def test_experiment_is_flattened_and_shortened():
    head = replace(
        header(), experiment={"a": {"b c": 1, "d/e": None}, "list": [1, {"x": 2}], "long": "x" * 9000, "s/p": 3}
    )
    params = Records(head).parent().params
    assert params["a.b c"] == "1"
    assert params["list"] == '[1, {"x": 2}]'
    assert len(params["long"]) == 400
    assert params["s_p"] == "3"
    assert "a.d/e" not in params


def test_times_are_the_journal_s():
    whole = history(9)
    record = _of(whole).child(whole.results[0].trial.key)
    assert record.start_ms == 1_750_000_001_000
    assert record.parts[0][0].time_ms == 1_750_000_009_250


def test_how_energy_was_obtained_is_tagged():
    whole = history(9)
    told = whole.events[-2]
    how = Provenance("cpu: cpu_load", "estimated", "process", "a CPU")
    measured = replace(told, result=replace(told.result, provenance={"inference_energy_j": how}))
    records = _of(History(whole.header, (*whole.events[:-2], measured, whole.events[-1])))
    assert records.child(told.result.trial.key).tags["measured_by.inference_energy_j"] == str(how)


def latest(record):
    """The value of each metric as MLflow shows it: of the highest step, the latest."""
    points = sorted((p for part in record.parts for p in part), key=lambda p: (p.step, p.time_ms))
    return {point.name: point.value for point in points}


def test_figures_measured_again_are_the_latest_with_their_intervals():
    search = history(27)
    whole = measured_again(search)
    records = _of(whole)
    for event in whole.events:
        if isinstance(event, Measured):
            record = records.child(event.trial.key)
            shown = latest(record)
            value, how = event.values["inference_energy_j"], event.provenance["inference_energy_j"]
            assert (shown["inference_energy_j"], shown["final_inference_energy_j"]) == (value, value)
            assert shown["inference_energy_j_ci95"] == how.ci95
            assert shown["final_float32_energy_j"] == 9.0
            assert record.tags["measured_by.inference_energy_j"] == str(how)
            assert record.end_ms == round(event.time * 1000)
    others = {r.trial.key for r in whole.results} - {m.trial.key for m in search.front()}
    assert all("inference_energy_j_ci95" not in latest(records.child(key)) for key in others)


def test_who_leaves_the_front_is_marked_as_off_it_and_who_joins_as_on_it():
    search = history(27)
    whole = measured_again(search)
    before, after = ({m.trial.key for m in run.front()} for run in (search, whole))
    assert before - after
    records = _of(prefix(whole, len(search.events) - 1))
    assert {key for key in records.keys if records.child(key).membership.value} == before
    changed = records.advance(whole)
    assert before ^ after <= changed
    for key in records.keys:
        record = records.child(key)
        assert record.membership.value == float(key in after)
        assert (record.tags["pareto"], record.tags["mlflow.runColor"] == FRONT_COLOUR) == (
            ("true", True) if key in after else ("false", False)
        )
    # A later point than that of the search, or MLflow would go on showing that.
    assert records.child(min(before - after)).membership.step > len(search.results)


def test_the_test_figures_of_further_seeds_are_shown():
    search = history(9)
    member = search.front()[0]
    event = Measured(member.trial, {"error": 0.2}, {}, 1.0, 2e9, test_values={"error": 0.25})
    record = _of(History(search.header, (*search.events[:-1], event))).child(member.trial.key)
    assert latest(record)["final_error"] == 0.2
    assert (latest(record)["test_error"], latest(record)["final_test_error"]) == (0.25, 0.25)
