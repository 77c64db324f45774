"""What is found on a machine, and the line that mends each lack."""

from __future__ import annotations

import pytest

from dsnn_hpo import kernels
from dsnn_hpo.data import DATASETS
from dsnn_hpo.errors import DataError, KernelError
from dsnn_hpo.experiment import _doctor, examine


def test_energy_comes_first_and_says_how_far_it_is_to_be_trusted():
    findings = examine()
    parts = list(dict.fromkeys(finding.part for finding in findings))
    assert parts == ["energy", "processor", "kernels", "GPU", "SLURM", "MLflow", "data"]
    first = findings[0]
    assert first.says.startswith("Energy is ")
    assert (first.state == "ok") == first.says.startswith("Energy is measured")
    assert {finding.state for finding in findings} <= {"ok", "lack", "note"}


def test_kernels_in_use_are_named(monkeypatch):
    monkeypatch.setattr(kernels, "isa", lambda: "avx2")
    monkeypatch.setattr(kernels, "available_isas", lambda: ("baseline", "avx2"))
    (found,) = _doctor._kernels()
    assert (found.state, found.says) == ("ok", "compiled; avx2 in use, of baseline, avx2")


def test_kernels_that_are_not_there_have_their_mend(monkeypatch):
    monkeypatch.setattr(kernels, "isa", lambda: None)
    monkeypatch.setattr(kernels, "available_isas", tuple)
    (found,) = _doctor._kernels()
    assert found.state == "lack"
    assert "nothing can be measured on the executor" in found.says
    assert "pip install" in found.mend


def test_broken_kernels_have_their_mend(monkeypatch):
    def broken():
        raise KernelError("of another version")

    monkeypatch.setattr(kernels, "isa", broken)
    (found,) = _doctor._kernels()
    assert (found.state, found.says, found.mend) == ("lack", "of another version", "make kernels")


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """Returns a function that puts a command of that name, a shell script, where commands are looked for: only there."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def put(name, script):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)

    return put


def test_without_slurm_it_is_no_lack(commands):
    (found,) = _doctor._slurm()
    assert found.state == "note"


def test_partitions_are_named_and_accounting_without_jobs_is_accounting(commands):
    commands("sinfo", "echo 'debug* 3 nodes up'")
    commands("sacct", "exit 0")
    (found,) = _doctor._slurm()
    assert (found.state, found.says) == ("ok", "partitions: debug* 3 nodes up")


def test_a_cluster_without_accounting_is_told(commands):
    commands("sinfo", "echo 'debug* 3 nodes up'")
    commands("sacct", "exit 1")
    assert [found.state for found in _doctor._slurm()] == ["ok", "note"]


@pytest.mark.parametrize("script", ["exit 1", "exit 0"])
def test_a_cluster_that_does_not_answer_is_a_lack(commands, script):
    commands("sinfo", script)
    (found,) = _doctor._slurm()
    assert (found.state, found.mend) == ("lack", "scontrol ping")


def test_each_data_set_is_found_or_has_the_line_that_obtains_it(monkeypatch):
    def nowhere(name):
        raise DataError("not there")

    monkeypatch.setattr(_doctor.data, "check_dataset", nowhere)
    *findings, by_path = _doctor._data()
    lacks = [found for found in findings if found.state == "lack"]
    assert lacks
    assert all(found.mend for found in lacks)
    told = " ".join(found.says for found in (*findings, by_path))
    assert all(name in told for name in DATASETS)
