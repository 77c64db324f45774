"""How soon one optimizer has what another has in the end."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("search_experiments")


def test_the_first_result_that_is_as_good_as_the_peers_last_counts(script):
    ours = {1: [(10, 0.2), (20, 0.5), (30, 0.7)], 2: [(10, 0.1), (40, 0.3)], 3: [(5, 0.9)]}
    peer = {1: [(50, 0.4), (100, 0.5)], 2: [(100, 0.4)]}
    met, missed = script.reached_by(ours, peer)
    assert (met.seed, met.epochs, met.peer_epochs, met.share) == (1, 20, 100, 0.2)
    assert missed.epochs is None
    assert missed.share == float("inf")
    text = script.described("digits", "bayesian", "smac", [met, missed])
    assert "after 20 epochs (20%), in the end 0.7000" in text
    assert "seed 2: smac has 0.4000 after 100 epochs; bayesian: not reached" in text
    assert "MISSED; 1 of 2 seeds" in text


def test_hypervolume_is_that_of_full_trainings_in_the_box_of_all_searches(script):
    one = script.Search("digits", "bayesian", 0, 100, [[20.0, 0.5, 2.0], [50.0, 0.6, 3.0], [90.0, 0.0, 12.0]])
    other = script.Search("digits", "smac", 0, 80, [[70.0, 1.0, 1.0]])
    none = script.Search("digits", "smac", 1, 80, [])
    series = script.series_of([one, other, none])
    # From the best of each, 0 and 1, to a tenth beyond the worst of the fronts, 1.1 and 13.1.
    box = 1.1 * 12.1
    first, both = 0.6 * 11.1 / box, (0.6 * 11.1 + 0.5 * 1.1) / box
    assert series["bayesian"][0] == [
        (20, pytest.approx(first)),
        (50, pytest.approx(first)),
        (90, pytest.approx(both)),
        (100, pytest.approx(both)),
    ]
    assert series["smac"] == {
        0: [(70, pytest.approx(0.1 * 12.1 / box)), (80, pytest.approx(0.1 * 12.1 / box))],
        1: [(80, 0.0)],
    }
    assert script.series_of([none]) == {}


def test_the_shipped_searches_are_read(script):
    searches = script.read_searches(script.KEPT)
    assert len({search.key for search in searches}) == len(searches) > 0
    assert all(search.points for search in searches)


@pytest.mark.slow
def test_searches_are_carried_out_once_and_reported(tmp_path):
    def call(*arguments):
        common = ["--experiments", "digits_hardware", "--folder", str(tmp_path)]
        command = [sys.executable, str(BENCHMARKS / "search_experiments.py"), *arguments, *common]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    run = "run", "--seeds", "1", "--until", "3"
    assert call(*run).splitlines() == ["digits_hardware, bayesian, seed 0", "digits_hardware, smac, seed 0"]
    assert call(*run) == ""
    text = call("report", "--figure", str(tmp_path / "a.svg"), "--json", str(tmp_path / "a.json"))
    assert "digits_hardware: bayesian against smac" in text
    [row] = json.loads((tmp_path / "a.json").read_text())["digits_hardware"]
    assert row["peer_epochs"] >= 81
    assert "</svg>" in (tmp_path / "a.svg").read_text()
    kept = "--searches", str(tmp_path / "kept.jsonl")
    for _ in range(2):
        assert call("keep", *kept) == f"{kept[1]}: 2 searches\n"
    assert call("report", *kept) == text
