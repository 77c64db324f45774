"""The short form of `make chaos`."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.chaos import run


def test_a_search_that_faults_strike_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    print(run(tmp_path / "chaos", n_trials=16, n_faults=8, n_workers=2, seed=3))
