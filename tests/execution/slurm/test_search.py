"""A search whose driver and trials are jobs of a real SLURM, disturbed, ends like one of local workers that is not."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from dsnn_hpo import journal
from dsnn_hpo.errors import JournalError
from dsnn_hpo.experiment import ExperimentConfig, RunFolder, front_members, run, run_status
from dsnn_hpo.journal import Lost, Mark, Told

ROOT = Path(__file__).parents[3]
N_TRIALS = 8
EXPERIMENT = f"""\
name: small
task: {{dataset: digits, model: cnn, n_train: 300, n_validation: 100, model_arguments: {{width: 4, depth: 1}}}}
search_space: dsnn
objectives: [error, model_size_bytes]
fidelity: {{min_epochs: 1, max_epochs: 3}}
optimizer: random
budget: {{trials: {N_TRIALS}}}
"""
# Two CPUs each: one trial a node.
ON_SLURM = {
    "kind": "slurm",
    "workers": 3,
    "partition": "main",
    "cpus": 2,
    "threads": 1,
    "memory_gb": 1.5,
    "driver": {"partition": "main", "time_min": 60, "memory_gb": 1.5},
}


def cli(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "dsnn_hpo", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def events(folder, kind):
    with contextlib.suppress(JournalError, FileNotFoundError):
        return [event for event in journal.read(folder / "journal.jsonl").events if isinstance(event, kind)]
    return []


def wait_until(condition, folder, timeout_s=300.0):
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        log = folder / "driver.log"
        assert time.monotonic() < deadline, log.read_text() if log.exists() else "the driver did not begin"
        time.sleep(0.1)
    return found


def cancelled_newest(cluster, driver_job):
    """Cancels the job of a trial that has only just begun, if there is one: not one that is about to end."""
    listed = cluster.command("squeue", "-h", "--array", "--states=PENDING,CONFIGURING,RUNNING", "-o", "%i %M")
    new = [job for job, ran in map(str.split, listed.splitlines()) if job != driver_job and ran in ("0:00", "0:01")]
    if new:
        cluster.command("scancel", new[-1])
    return bool(new)


def front(history):
    return [(m.trial, m.config, m.values["error"], m.values["model_size_bytes"]) for m in front_members(history)]


@pytest.mark.timeout(900)
def test_a_search_over_three_nodes_loses_nothing(slurm_cluster, tmp_path):
    description = yaml.safe_load(EXPERIMENT)
    file, folder = tmp_path / "experiment.yaml", tmp_path / "run"
    file.write_text(yaml.safe_dump(description | {"execution": ON_SLURM}))
    submitted = cli("run", file, "--out", folder, "--submit")
    assert submitted.returncode == 0, submitted.stderr
    driver_job = re.search(r"SLURM job (\d+)", submitted.stdout)[1]

    # A trial's job is cancelled, then the driver is killed, then its time is up.
    wait_until(lambda: len(events(folder, Told)) >= 1, folder)
    wait_until(lambda: cancelled_newest(slurm_cluster, driver_job), folder)
    wait_until(lambda: events(folder, Lost), folder)
    os.kill(int(RunFolder(folder).driver()), signal.SIGKILL)
    wait_until(lambda: len(events(folder, Mark)) == 2, folder)
    n_told = len(events(folder, Told))
    wait_until(lambda: len(events(folder, Told)) > n_told, folder)
    slurm_cluster.command("scancel", "--batch", "--signal=USR1", driver_job)
    wait_until(lambda: events(folder, Mark)[-1].name == "finished", folder)

    names = [mark.name for mark in events(folder, Mark)]
    assert names == ["started", "resumed", "interrupted", "resumed", "finished"]
    history = journal.read(folder / "journal.jsonl")
    assert sorted(result.trial.id for result in history.results) == list(range(N_TRIALS))
    assert {event.reason.split(" was ")[-1] for event in events(folder, Lost)} == {"cancelled"}
    logs = "".join(path.read_text() for path in (folder / "logs").iterdir())
    assert len(set(re.findall(r"process (\d+)", logs))) >= N_TRIALS
    assert front(history) == [
        (m.trial, m.config, m.values["error"], m.values["model_size_bytes"])
        for m in run(ExperimentConfig.from_mapping(description, tmp_path), tmp_path / "local")
    ]
    wait_until(lambda: slurm_cluster.jobs() == [], folder)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_driver_s_job_that_is_cancelled_stops_in_order(slurm_cluster, tmp_path):
    file, folder = tmp_path / "experiment.yaml", tmp_path / "run"
    file.write_text(yaml.safe_dump(yaml.safe_load(EXPERIMENT) | {"execution": ON_SLURM, "budget": {"trials": 1000}}))
    submitted = cli("run", file, "--out", folder, "--submit")
    driver_job = re.search(r"SLURM job (\d+)", submitted.stdout)[1]
    wait_until(lambda: len(events(folder, Told)) >= 1, folder)
    slurm_cluster.command("scancel", driver_job)
    wait_until(lambda: slurm_cluster.jobs() == [], folder)
    status = run_status(folder)
    assert (status.state, status.driver) == ("interrupted", "")
    assert f"dsnn-hpo resume {folder}" in status.go_on


def test_a_driver_can_be_submitted_to_slurm_only(tmp_path):
    file = tmp_path / "experiment.yaml"
    file.write_text(EXPERIMENT)
    ended = cli("run", file, "--submit")
    assert ended.returncode == 2
    assert "execution.kind" in ended.stderr
    assert "'slurm'" in ended.stderr
    assert "Traceback" not in ended.stderr
