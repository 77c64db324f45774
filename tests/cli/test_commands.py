"""The commands as a user types them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dsnn_hpo.experiment import ExperimentConfig, front_members, start

EXPERIMENT = """\
name: tiny
task: {dataset: digits, model: cnn, n_train: 300, n_validation: 100}
search_space: dsnn
objectives: [error, model_size_bytes]
fidelity: {min_epochs: 1, max_epochs: 3}
budget: {trials: 8}
"""


def dsnn_hpo(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dsnn_hpo", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, timeout=300)


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("cli") / "tiny.yaml"
    file.write_text(EXPERIMENT)
    return file


@pytest.fixture(scope="module")
def finished(file):
    """Returns the outcome of a finished run."""
    return start(ExperimentConfig.from_file(file), file.parent / "run")


def test_help_lists_the_commands():
    ended = dsnn_hpo("--help")
    assert ended.returncode == 0
    assert re.findall(r"│ (\w+) ", ended.stdout)[:6] == ["run", "resume", "check", "front", "ui", "schema"]


@pytest.mark.parametrize("command", ["--help", "run --help", "schema"])
def test_heavy_libraries_are_not_loaded_for_light_commands(command):
    code = f"""
import sys
sys.argv = {["dsnn-hpo", *command.split()]!r}
from dsnn_hpo.cli import main
try:
    main()
except SystemExit as ended:
    assert not ended.code
loaded = {{"torch", "smac", "optuna", "mlflow", "codecarbon", "matplotlib", "plotly", "sklearn"}} & set(sys.modules)
print("loaded:", sorted(loaded))
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "loaded: []"


def test_run_in_the_default_folder_prints_the_front_and_where_to_go_on(file, tmp_path):
    ended = dsnn_hpo("run", file, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    [folder] = (tmp_path / "runs" / "tiny").iterdir()
    assert re.fullmatch(r"\d{8}-\d{6}", folder.name)
    relative = folder.relative_to(tmp_path)
    assert f"figure:  {relative}/report/pareto_front.html" in ended.stdout
    assert f"browse:  dsnn-hpo ui {relative}" in ended.stdout
    assert (folder / "report" / "pareto_front.html").stat().st_size > 100_000
    assert (tmp_path / "runs" / "mlflow.db").exists()
    # Plain lines, one a trial, where there is no terminal.
    assert len(re.findall(r"^trial \d+ \(\w+, (?:1 epoch|3 epochs)\): ", ended.stderr, re.MULTILINE)) == 8
    assert ended.stderr.splitlines()[-1] == "tiny: finished"


def test_front_prints_a_table(finished):
    ended = dsnn_hpo("front", finished.folder.path)
    assert ended.returncode == 0
    members = front_members(finished.history)
    numbers = re.findall(r"^ +(\d+) +\S+ +\S+", ended.stdout, re.MULTILINE)
    assert [int(number) for number in numbers] == [member.trial for member in members]


def test_front_as_json_is_json_and_nothing_else(finished):
    ended = dsnn_hpo("front", finished.folder.path, "--json")
    front = json.loads(ended.stdout)
    assert front["objectives"] == ["error", "model_size_bytes"]
    assert list(front) == ["objectives", "members"]
    for member, expected in zip(front["members"], front_members(finished.history), strict=True):
        assert list(member) == ["trial", "config", "values", "test_values"]
        assert member["trial"] == expected.trial
        assert member["config"] == dict(expected.config)
        assert member["values"]["error"] == expected.values["error"]
        assert 0 <= member["test_values"]["error"] <= 1


def test_front_of_a_folder_without_a_run(tmp_path):
    ended = dsnn_hpo("front", tmp_path / "nowhere")
    assert ended.returncode == 2
    assert "holds no run" in ended.stderr


def test_front_of_a_damaged_journal_names_the_line(finished, tmp_path):
    lines = (finished.folder.path / "journal.jsonl").read_text().splitlines(keepends=True)
    lines[2] = lines[2].replace('"time":', '"tume":')
    (tmp_path / "journal.jsonl").write_text("".join(lines))
    ended = dsnn_hpo("front", tmp_path)
    assert ended.returncode == 1
    assert "line 3 is damaged" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_schema_accepts_what_the_program_accepts():
    schema = json.loads(dsnn_hpo("schema").stdout)
    assert set(schema["required"]) == {"name", "task", "search_space", "objectives", "fidelity", "budget"}
    assert schema["additionalProperties"] is False
    assert "inference_energy_j" in schema["properties"]["objectives"]["items"]["enum"]


def test_check_prints_the_plan(file):
    ended = dsnn_hpo("check", file)
    assert ended.returncode == 0
    # Hyperband, eta 3, 1 to 3 epochs: (3 @ 1, 1 @ 3), (2 @ 3).
    assert "3 x 1" in ended.stdout
    assert "1 x 3" in ended.stdout
    assert "2 x 3" in ended.stdout
    assert "a round: 6 trainings, 11 epochs" in ended.stdout
    assert "8 trainings" in ended.stdout
    assert "300 to train, 100 to validate" in ended.stdout


def test_ui_without_a_run(tmp_path):
    ended = dsnn_hpo("ui", cwd=tmp_path)
    assert ended.returncode == 2
    assert "no run below runs/" in ended.stderr
