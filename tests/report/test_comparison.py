"""Runs compared: what is refused, what is warned of, figures, words and pictures."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace

import pytest
from PIL import Image

from dsnn_hpo import pareto
from dsnn_hpo.errors import InputError
from dsnn_hpo.journal import History, Told
from dsnn_hpo.report import (
    compare_runs,
    comparison_html,
    comparison_json,
    comparison_png,
    comparison_tables,
    comparison_text,
    save_comparison,
)
from dsnn_hpo.trial import Fidelity
from tests.report.synthetic import history, prefix


def run(seed: int = 0, name: str = "digits", n_configs: int = 45, **changes) -> History:
    whole = history(n_configs, changes.pop("objectives", ("error", "inference_energy_j")), name, seed)
    experiment = {**whole.header.experiment, "seed": changes.pop("split_seed", 0)}
    header = {"run_id": f"{name}{seed}", "data_digest": "a" * 64, "experiment": experiment, **changes}
    return History(replace(whole.header, **header), whole.events)


def groups(n: int = 3) -> dict[str, History]:
    runs = {f"a{i}": run(i, "smac", 63, split_seed=i) for i in range(n)}
    return runs | {f"b{i}": run(100 + i, "random", 18, split_seed=i) for i in range(n)}


def test_two_runs_their_joint_front_and_coverage():
    runs = {"one": run(1), "two": run(2)}
    found = compare_runs(runs)
    everyone = [(label, m) for label, whole in runs.items() for m in whole.front()]
    losses = pareto.losses_of([m for _, m in everyone], found.objectives)
    expected = {(everyone[i][0], everyone[i][1].trial.id) for i in pareto.non_dominated(losses).nonzero()[0]}
    assert {(label, m.trial.id) for label, m in found.joint} == expected
    assert sum(one.n_joint for one in found.runs) == len(found.joint)
    assert all(0 <= share <= 1 for share in found.coverage.values())
    assert found.groups == found.tests == found.warnings == ()
    for one in found.runs:
        assert 0 < one.hypervolume <= 1
        assert one.anytime[-1][1] == pytest.approx(one.hypervolume)
        volumes = [value for _, value in one.anytime]
        assert volumes == sorted(volumes)


def test_a_longer_search_is_no_worse_in_the_common_box():
    whole = run(3, n_configs=72)
    half = History(replace(whole.header, run_id="half"), [*whole.events[: len(whole.events) // 2]])
    found = compare_runs({"half": half, "whole": whole})
    assert found.runs[0].hypervolume <= found.runs[1].hypervolume
    assert found.coverage["whole", "half"] == 1.0
    assert found.warnings == ("half is not finished",)
    assert any(line.startswith("whole has ") for line in comparison_text(found))


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (run(2, objectives=("error", "model_size_bytes")), "runs of different objectives cannot be compared"),
        (run(2, data_digest="b" * 64), r"runs on different data cannot be compared: one is on digits \(SHA-256 aaaa"),
        (run(1), "one and two are the same run"),
        (prefix(run(2), 1), "two has no front yet: none of its 0 trials completed"),
    ],
)
def test_what_cannot_be_compared_is_refused(other, says):
    with pytest.raises(InputError, match=says):
        compare_runs({"one": run(1), "two": other})


def test_one_run_is_too_few():
    with pytest.raises(InputError, match="at least two runs"):
        compare_runs({"one": run(1)})


def test_the_order_of_objectives_does_not_matter():
    other = run(2, objectives=("inference_energy_j", "error"))
    assert compare_runs({"one": run(1), "two": other}).objectives == run(1).objectives


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"fidelity": Fidelity(1, 27, 3)}, "the longest training differs: one 9 epochs, two 27 epochs"),
        ({"split_seed": 5}, "the seed of the split differs: one 0, two 5; errors are of other validation images"),
        ({"data_digest": ""}, "a run does not say which data it had"),
        (
            {"experiment": {"task": {"dataset": "digits", "n_validation": 100}}},
            "the sizes of the split differ: one the default, two n_validation: 100",
        ),
    ],
)
def test_what_is_less_comparable_is_warned_of(changes, says):
    (warning,) = compare_runs({"one": run(1), "two": run(2, **changes)}).warnings
    assert warning.startswith(says)


def test_groups_by_the_names_of_experiments():
    found = compare_runs(groups())
    assert [(group.name, group.labels) for group in found.groups] == [
        ("smac", ("a0", "a1", "a2")),
        ("random", ("b0", "b1", "b2")),
    ]
    # The seeds are the same in both groups: the comparison is fair, and can be made in pairs.
    assert found.warnings == ()
    (test,) = found.tests
    assert [each.test for each in test.differences] == ["Mann-Whitney", "Wilcoxon"]
    assert "Too few runs for a difference at 5 %" in " ".join(comparison_text(found))


def test_runs_of_one_name_stand_for_themselves_unless_set_against_each_other():
    runs = {f"r{i}": run(i, split_seed=i) for i in range(4)}
    assert compare_runs(runs).groups == ()
    found = compare_runs(runs, ["r2", "r3"])
    assert [group.labels for group in found.groups] == [("r0", "r1"), ("r2", "r3")]
    assert [each.test for each in found.tests[0].differences] == ["Mann-Whitney"]
    assert any("the seed of the split differs" in warning for warning in found.warnings)


def test_runs_of_one_seed_are_not_independent():
    runs = {"a": run(1), "b": run(2), "c": run(3, "other")}
    found = compare_runs(runs)
    assert "runs of digits share a seed (0): they are not independent, the test is too sure" in found.warnings
    assert "No test of other: it takes two runs or more." in comparison_text(found)


def test_json_has_it_all():
    data = json.loads(json.dumps(comparison_json(compare_runs(groups())), allow_nan=False))
    keys = ["objectives", "ideal", "reference", "runs", "joint", "coverage", "groups", "tests", "warnings"]
    assert list(data) == keys
    assert len(data["coverage"]) == 6 * 5
    for group in data["groups"]:
        assert list(group["attainment"]) == ["0.25", "0.5", "0.75"]
        # What more runs attain is no better.
        quarter, most = (group["attainment"][level] for level in ("0.25", "0.75"))
        assert min(p["error"] for p in quarter) <= min(p["error"] for p in most)
        assert all(low <= middle <= high for _, low, middle, high in group["anytime"])


def test_tables_are_whole():
    for found in (compare_runs(groups()), compare_runs({"one": run(1), "two": run(2)})):
        for table in comparison_tables(found):
            assert table.rows
            assert all(len(row) == len(table.header) for row in table.rows)
    titles = [table.title for table in comparison_tables(compare_runs(groups(4)))]
    assert titles == ["Runs", "Over seeds", "The joint front"]


THREE = ("error", "inference_energy_j", "model_size_bytes")


def by_speed(whole: History) -> History:
    """Returns a run of two objectives, the second of which is maximised."""

    def changed(result):
        speed = {"error": result.values["error"], "samples_per_s": 1e3 / result.values["inference_energy_j"]}
        return replace(result, values=speed)

    events = [
        replace(e, result=changed(e.result)) if isinstance(e, Told) and e.result.values else e for e in whole.events
    ]
    return History(replace(whole.header, objectives=("error", "samples_per_s")), events)


@pytest.mark.parametrize("objectives", [THREE[:1], THREE[:2], THREE, ("error", "samples_per_s")])
@pytest.mark.parametrize("over_seeds", [False, True])
def test_pictures(objectives, over_seeds):
    is_speed = "samples_per_s" in objectives
    searched = THREE[:2] if is_speed else objectives
    runs = {label: run(i, label[0], 27, objectives=searched) for i, label in enumerate(("a0", "a1", "b0", "b1"))}
    runs = {label: by_speed(whole) if is_speed else whole for label, whole in runs.items()}
    found = compare_runs(runs if over_seeds else dict(list(runs.items())[1:3]))
    assert bool(found.groups) == over_seeds
    assert Image.open(io.BytesIO(comparison_png(found, 900))).size == (900, 409)
    page = comparison_html(found)
    assert not re.search(r'<(script|link|img)[^>]+(src|href)="', page)
    assert "hypervolume, share of the common box" in page


def test_a_label_cannot_break_out_of_the_page():
    page = comparison_html(compare_runs({"<script>x": run(1), "$two_$": run(2)}))
    assert "<script>x" not in page.split("Plotly.newPlot(")[0].rsplit("plotly.js", 1)[-1]
    assert "\\u003cscript\\u003ex" not in page
    comparison_png(compare_runs({"<script>x": run(1), "_$two_$": run(2)}), 900)


def test_a_picture_has_a_kind_and_a_place(tmp_path):
    found = compare_runs({"one": run(1), "two": run(2)})
    with pytest.raises(InputError, match=r"written as one of \.html, \.png"):
        save_comparison(found, tmp_path / "x.pdf")
    with pytest.raises(InputError, match="there is no folder"):
        save_comparison(found, tmp_path / "nowhere" / "x.png")
    save_comparison(found, tmp_path / "x.png")
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]
