"""The README shows what the committed measurement says, and the benchmark runs."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture
def kernel_table(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("kernel_table")


def test_the_readme_has_the_table_of_the_committed_rows(kernel_table):
    rows = kernel_table.Row.from_json((BENCHMARKS / "kernels.json").read_text())
    assert {row.threads for row in rows} == {1, 2}
    shown = (ROOT / "README.md").read_text().split(kernel_table.BEGIN)[1].split(kernel_table.END)[0]
    machine, table = shown.split("\n\n", 1)
    assert machine.startswith("On ")
    assert table == kernel_table.table(rows)


def test_a_cell_has_the_hardest_peer_of_its_column_on_one_and_two_threads(kernel_table):
    def row(peer, threads, ratio):
        return kernel_table.Row("work", peer, threads, ratio)

    rows = [
        row("float32, eager", 1, 30.0),
        row("float32, MKL-prepacked", 1, 9.0),
        row("float32, oneDNN-prepacked", 1, 3.04),
        row("float32, eager", 2, 25.4),
        row("torch int8 dynamic", 1, 1.5),
        row("the machine's limit", 1, 0.756),
    ]
    assert kernel_table.table(rows).splitlines()[2] == "| work | 9.0× | 3.0× / 25× | 1.50× |  | 76 % |"
    assert kernel_table.Row.from_json(kernel_table.Row.to_json(rows)) == rows


def test_measured_works_take_the_place_of_their_rows(kernel_table):
    def row(work, threads, ratio):
        return kernel_table.Row(work, "float32, eager", threads, ratio)

    before = [row("a", 1, 1.0), row("gone", 1, 2.0), row("c", 1, 3.0), row("a", 2, 4.0)]
    rows = [row("a", 1, 5.0), row("b", 1, 6.0)]
    expected = [row("a", 1, 5.0), row("b", 1, 6.0), row("c", 1, 3.0), row("a", 2, 4.0)]
    assert kernel_table.merged(before, rows, ["a", "b", "c"]) == expected


@pytest.mark.slow
def test_the_quick_benchmark_writes_its_rows(tmp_path):
    file = tmp_path / "rows.json"
    command = [sys.executable, str(BENCHMARKS / "kernels.py"), "--quick", "--json", str(file)]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    rows = json.loads(file.read_text())
    assert {tuple(row) for row in rows} == {("work", "peer", "threads", "ratio")}
    assert {row["threads"] for row in rows} == {1}
    assert all(row["ratio"] > 0 for row in rows)
    for peer in ("float32, MKL-prepacked", "torch int8 dynamic", "torch quantised convolution", "DeepShift's scheme"):
        assert peer in {row["peer"] for row in rows}
