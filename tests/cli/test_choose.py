"""`dsnn-hpo front` with wishes, and `dsnn-hpo compare`, as a user types them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dsnn_hpo.cli.compare import _spread
from dsnn_hpo.journal import History, Journal
from tests.cli.test_commands import dsnn_hpo
from tests.report.synthetic import history


def written(whole: History, folder: Path, **header: object) -> Path:
    """Returns a folder that holds a run's journal."""
    folder.mkdir(parents=True)
    with Journal.create(folder / "journal.jsonl", replace(whole.header, **header)) as journal:
        for event in whole.events:
            journal.append(event)
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Returns a folder with two runs each of two experiments."""
    folder = tmp_path_factory.mktemp("runs")
    for name, n_configs in (("smac", 45), ("random", 18)):
        for seed in range(2):
            whole = history(n_configs, name=name, seed=seed + n_configs)
            experiment = {**whole.header.experiment, "seed": seed}
            written(whole, folder / name / str(seed), run_id=f"{name}{seed}", experiment=experiment)
    return folder


def test_a_member_is_chosen_and_how_to_ship_it_is_said(runs):
    ended = dsnn_hpo("front", runs / "smac/0", "--max", "energy=1000", "--min", "accuracy=0.1", "--knee")
    assert ended.returncode == 0, ended.stderr
    (marked,) = (line for line in ended.stdout.splitlines() if "→" in line)
    trial = marked.split()[1]
    assert f"Trial {trial} is the knee" in ended.stdout
    assert f"The next point of accuracy, from trial {trial} towards trial " in ended.stdout
    assert f"dsnn-hpo export {runs / 'smac/0'} {trial} --to trial{trial}" in ended.stdout


def test_json_has_the_choice_and_all_prices(runs):
    ended = dsnn_hpo("front", runs / "smac/0", "--prefer", "accuracy:2,energy:1", "--json")
    front = json.loads(ended.stdout)
    trials = {member["trial"] for member in front["members"]}
    assert front["choice"]["chosen"] == front["choice"]["satisfied"][0]
    assert set(front["choice"]["satisfied"]) == trials
    assert {price["trial"] for price in front["prices"]} | {front["members"][0]["trial"]} == trials


def test_what_cannot_be_had_is_exit_code_1_and_names_the_nearest(runs):
    asked = ("front", runs / "smac/0", "--min", "accuracy=0.999", "--max", "energy=0.001")
    ended = dsnn_hpo(*asked)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert (
        "No member of the front has inference energy ≤ 0.001 and accuracy ≥ 0.999. The nearest is trial" in ended.stderr
    )
    ended = dsnn_hpo(*asked, "--json")
    assert ended.returncode == 1
    assert json.loads(ended.stdout)["choice"]["chosen"] is None


def test_a_mistyped_name_is_exit_code_2(runs):
    ended = dsnn_hpo("front", runs / "smac/0", "--max", "inference_energi_j=1")
    assert ended.returncode == 2
    assert "did you mean 'inference_energy_j'" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_two_runs_are_compared(runs):
    ended = dsnn_hpo("compare", runs / "smac/0", runs / "random/1")
    assert ended.returncode == 0, ended.stderr
    assert "The joint front" in ended.stdout
    assert "Hypervolumes are shares of one box" in ended.stdout
    assert "the seed of the split differs" in ended.stderr


def test_runs_are_grouped_and_a_picture_is_written(runs, tmp_path):
    folders = [runs / name / str(seed) for name in ("smac", "random") for seed in range(2)]
    picture = tmp_path / "both.png"
    ended = dsnn_hpo("compare", *folders, "--to", picture)
    assert ended.returncode == 0, ended.stderr
    assert "smac against random: Mann-Whitney, p = " in ended.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")
    # The same, said with an option.
    said = json.loads(dsnn_hpo("compare", *folders[:2], "--against", *folders[2:], "--json").stdout)
    assert [group["labels"] for group in said["groups"]] == [["smac/0", "smac/1"], ["random/0", "random/1"]]


def test_mistakes_in_comparing(runs, tmp_path):
    for arguments, says in (
        ((runs / "smac/0",), "at least two runs"),
        ((runs / "smac/0", runs / "smac/0"), "given twice"),
        ((runs / "smac/0", tmp_path), "holds no run"),
        ((runs / "smac/0", runs / "smac/1", "--to", tmp_path / "x.pdf"), "written as one of"),
    ):
        ended = dsnn_hpo("compare", *arguments)
        assert ended.returncode == 2, arguments
        assert says in ended.stderr
        assert "Traceback" not in ended.stderr


def test_all_runs_after_against_are_meant():
    assert _spread(["a", "--against", "b", "c", "--to", "x.png", "d"]) == [
        *("a", "--against", "b", "--against", "c", "--to", "x.png", "d")
    ]
    assert _spread(["a", "b", "--json", "--against", "c"]) == ["a", "b", "--json", "--against", "c"]
