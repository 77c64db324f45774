"""The guide shows what the benchmark prints."""

import importlib
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def hardware(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("hardware")


def test_the_guide_has_a_row_for_every_operator(hardware):
    shown = hardware.GUIDE.read_text().split(hardware.BEGIN)[1].split(hardware.END)[0]
    names = [line.split("`")[1] for line in shown.splitlines()[2:]]
    assert names[:2] == ["conv, float32", "conv"]
    assert set(names[1:]) == set(hardware.OPERATORS)


def test_the_guide_has_the_numbers_of_today(hardware):
    base = hardware.row_of("conv")
    rows = [hardware.row_of("conv", frozen=False), base, *map(hardware.row_of, ("shift_q", "adder", "winograd_adder"))]
    for line in hardware.table_of(rows, base).splitlines():
        assert f"{line}\n" in hardware.GUIDE.read_text()
