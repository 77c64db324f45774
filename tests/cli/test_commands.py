"""The commands as a user types them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dsnn_hpo.experiment import ExperimentConfig, front_members, read_run, start

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
    commands = ["run", "resume", "check", "status", "logs", "front", "compare", "report", "measure", "export"]
    commands += ["predict", "evaluate", "register", "sync", "ui", "doctor", "schema"]
    assert re.findall(r"│ (\w+) ", ended.stdout)[: len(commands)] == commands


@pytest.mark.parametrize(
    "command", ["--help", "run --help", "schema", "front RUN", "front RUN --json", "status RUN", "run wrong.yaml"]
)
def test_heavy_libraries_are_not_loaded_for_light_commands(command, finished, tmp_path):
    (tmp_path / "wrong.yaml").write_text(EXPERIMENT.replace("budget:", "bugdet:"))
    code = f"""
import sys
sys.argv = {["dsnn-hpo", *command.replace("RUN", str(finished.folder.path)).split()]!r}
from dsnn_hpo.cli import main
try:
    main()
except SystemExit as ended:
    assert (ended.code or 0) == {2 if "wrong.yaml" in command else 0}
heavy = {{"torch", "ConfigSpace", "smac", "optuna", "mlflow", "codecarbon", "matplotlib", "plotly", "sklearn"}}
print("loaded:", sorted(heavy & set(sys.modules)))
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
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
    assert list(front) == ["objectives", "members", "warnings", "footprint", "prices", "choice"]
    assert front["choice"] is None
    assert front["warnings"] == []
    assert front["footprint"]["training_j"] > 0
    for member, expected in zip(front["members"], front_members(finished.history), strict=True):
        assert list(member) == ["trial", "config", "values", "test_values", "provenance", "p_optimal"]
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


def test_report_writes_a_page_and_says_where(finished, tmp_path):
    folder = finished.folder.path
    # The end of a run writes it, too.
    assert (folder / "report" / "report.html").exists()
    ended = dsnn_hpo("report", folder)
    assert ended.returncode == 0, ended.stderr
    assert f"page:    {folder}/report/report.html" in ended.stdout
    assert f"figures: {folder}/report/figures: front, " in ended.stdout
    assert (folder / "report" / "figures" / "front.svg").exists()
    ended = dsnn_hpo("report", folder, "--to", tmp_path / "mine.html")
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "mine.html").exists()
    assert (tmp_path / "mine_figures" / "front.png").exists()


def test_report_of_a_folder_without_a_run_or_to_a_folder(finished, tmp_path):
    for arguments, said in (((tmp_path,), "holds no run"), ((finished.folder.path, "--to", tmp_path), "is a folder")):
        ended = dsnn_hpo("report", *arguments)
        assert ended.returncode == 2
        assert said in ended.stderr
        assert "Traceback" not in ended.stderr


def test_schema_accepts_what_the_program_accepts():
    schema = json.loads(dsnn_hpo("schema").stdout)
    assert set(schema["required"]) == {"name", "task", "search_space", "objectives", "fidelity", "budget"}
    assert schema["additionalProperties"] is False
    assert "inference_energy_j" in schema["properties"]["objectives"]["items"]["enum"]


def with_optimizer(file, optimizer, folder):
    """Returns a copy of an experiment file with another optimizer."""
    other = folder / "other.yaml"
    other.write_text(f"{file.read_text()}optimizer: {optimizer}\n")
    return other


def test_check_prints_the_plan(file, tmp_path):
    ended = dsnn_hpo("check", with_optimizer(file, "smac", tmp_path))
    assert ended.returncode == 0
    # Hyperband, eta 3, 1 to 3 epochs: (3 @ 1, 1 @ 3), (2 @ 3).
    assert "3 x 1" in ended.stdout
    assert "1 x 3" in ended.stdout
    assert "2 x 3" in ended.stdout
    assert "a round: 6 trainings, 11 epochs" in ended.stdout
    assert "8 trainings" in ended.stdout
    assert "300 to train, 100 to validate" in ended.stdout


def test_check_says_how_a_search_begins_that_has_no_rounds(file, tmp_path):
    ended = dsnn_hpo("check", with_optimizer(file, "{name: bayesian, n_initial: 5}", tmp_path))
    assert ended.returncode == 0, ended.stderr
    said = " ".join(ended.stdout.split())
    assert "bayesian: 5 configurations x 1 epochs to begin with, two of the best x 3" in said
    assert "whether to 1 or 3 epochs" in said
    assert "in all: at most 8 trainings" in said
    assert "a round:" not in said


def test_doctor_says_first_how_far_energy_is_to_be_trusted():
    ended = dsnn_hpo("doctor")
    assert ended.returncode == 0, ended.stderr
    assert re.match(r"energy +\S Energy is (measured|estimated)", ended.stdout)
    findings = json.loads(dsnn_hpo("doctor", "--json").stdout)
    assert all(list(finding) == ["part", "state", "says", "mend"] for finding in findings)
    assert {"energy", "kernels", "GPU", "SLURM", "MLflow", "data"} <= {finding["part"] for finding in findings}


def test_measure_of_a_run_that_measured_nothing(finished):
    ended = dsnn_hpo("measure", finished.folder.path)
    assert ended.returncode == 2
    assert "none of its objectives, error, model_size_bytes, is measured" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_measure_of_a_folder_without_a_run(tmp_path):
    ended = dsnn_hpo("measure", tmp_path)
    assert ended.returncode == 2
    assert "holds no run" in ended.stderr


def test_ui_without_a_run(tmp_path):
    ended = dsnn_hpo("ui", cwd=tmp_path)
    assert ended.returncode == 2
    assert "no run below runs/" in ended.stderr


def test_status_of_a_finished_run(finished):
    ended = dsnn_hpo("status", finished.folder.path)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[0] == "tiny: finished"
    assert "8 completed, 0 in flight" in ended.stdout
    assert "100% of the budget" in ended.stdout
    assert "go on:" not in ended.stdout
    told = json.loads(dsnn_hpo("status", finished.folder.path, "--json").stdout)
    assert (told["state"], told["n_completed"], told["running"]) == ("finished", 8, [])


def test_status_from_another_terminal_while_a_run_goes_on_and_after_it_was_killed(file, tmp_path):
    experiment = tmp_path / "long.yaml"
    experiment.write_text(EXPERIMENT.replace("trials: 8", "trials: 1000"))
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "dsnn_hpo", "run", str(experiment), "--out", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as driver:
        deadline = time.monotonic() + 120
        while not (folder / "progress").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        told = json.loads(dsnn_hpo("status", folder, "--json").stdout)
        driver.kill()
    assert (told["state"], told["driver"], told["go_on"]) == ("running", str(driver.pid), "")
    (trial,) = told["running"]
    assert (trial["attempt"], trial["log"]) == (1, f"logs/{trial['id']:05d}.log")
    ended = dsnn_hpo("status", folder)
    assert ended.stdout.splitlines()[0] == "tiny: killed"
    assert f"go on:   dsnn-hpo resume {folder}" in ended.stdout


def test_logs_of_a_trial(finished):
    ended = dsnn_hpo("logs", finished.folder.path, 3)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("== 00003-1 ")


def test_logs_of_a_trial_that_is_not_there(finished):
    ended = dsnn_hpo("logs", finished.folder.path, 99)
    assert ended.returncode == 2
    assert "has no trial 99; its trials are 0 to 7" in ended.stderr


def test_the_log_of_a_failed_trial_has_the_traceback_and_the_front_says_why(tmp_path):
    (tmp_path / "mine.py").write_text(
        """
from torch import nn

def network(input_shape, n_classes, width=8):
    if width > 8:
        raise RuntimeError("too wide for me")
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, n_classes))
"""
    )
    (tmp_path / "space.yaml").write_text(
        """
name: widths
hyperparameters:
  - {name: lr, type: uniform_float, lower: 0.01, upper: 0.1}
  - {name: width, type: uniform_int, lower: 7, upper: 10, default_value: 8}
"""
    )
    text = EXPERIMENT.replace("model: cnn", "model: mine:network").replace(
        "search_space: dsnn", "search_space: space.yaml"
    )
    (tmp_path / "own.yaml").write_text(f"{text}optimizer: random\n")
    ended = dsnn_hpo("run", "own.yaml", "--out", "run", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    (failed, *_) = (r for r in read_run(tmp_path / "run").results if not r.values)
    # The lines are broken to the terminal's width.
    said = " ".join(ended.stdout.split())
    assert re.search(
        r"3 failed \(exception\), the last one trial \d+: model .* built: RuntimeError: too wide for me", said
    )
    assert "RuntimeError: too wide for me" in failed.log_tail
    log = dsnn_hpo("logs", "run", failed.trial.id, cwd=tmp_path).stdout
    assert "Traceback" in log
    assert 'mine.py", line 6, in network' in log
