"""The image and the services, as far as can be checked without building them; with a Docker engine, by building them."""

from __future__ import annotations

import fnmatch
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from dsnn_hpo.experiment import ExperimentConfig

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]


def instructions():
    """Returns the stages of the Dockerfile: the line that begins each, and its instructions, whole."""
    text = re.sub(r"^\s*#.*\n", "", (DOCKER / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip()]
    stages = {}
    for line in lines:
        if line.startswith("FROM "):
            current = stages.setdefault(line.rpartition(" AS ")[2], [])
        if not line.startswith("ARG") or stages:
            current.append(line)
    return stages


STAGES = instructions()


def copied(stage):
    """Returns what a stage copies from the checkout."""
    lines = [line.split() for line in STAGES[stage] if line.startswith("COPY ") and "--from" not in line]
    return [source for _, *sources, _ in lines for source in sources]


@pytest.mark.parametrize("stage", STAGES)
def test_all_that_is_copied_is_there_and_not_ignored(stage):
    allowed = re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    for source in copied(stage):
        assert (ROOT / source).exists(), source
        assert source in allowed, source


def test_all_that_the_build_reads_is_copied():
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())
    included = build["tool"]["scikit-build"]["wheel"]["force-include"]
    assert {*included, *build["tool"]["scikit-build"]["wheel"]["packages"], build["project"]["readme"]} <= {
        *copied("build")
    }


def test_no_built_library_is_copied():
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert any(fnmatch.fnmatch("dsnn_hpo/kernels/libdsnn_kernels.so", pattern) for pattern in ignored)


@pytest.mark.parametrize("stage", ["tracking", "runtime"])
def test_what_runs_has_no_compiler_and_is_not_root(stage):
    assert "-slim-" in STAGES[stage][0]
    assert not any("g++" in line for line in STAGES[stage])
    [user] = [line for line in STAGES[stage] if line.startswith("USER ")]
    assert user == "USER 1000:1000"


def test_the_last_stage_is_the_one_that_runs():
    assert list(STAGES)[-1] == "runtime"


def test_python_is_the_one_that_the_constraints_are_for():
    [version] = re.findall(r"^ARG PYTHON_VERSION=(.*)$", (DOCKER / "Dockerfile").read_text(), re.MULTILINE)
    assert f"Python {version}." in (ROOT / "constraints.txt").read_text().splitlines()[0]


def test_everything_that_is_installed_is_pinned():
    pinned = {re.split("[=@ ]", line)[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines()}
    for line in (DOCKER / "tracking.txt").read_text().splitlines():
        assert line.startswith("#") or "==" in line or line in pinned
    assert {"torch", "triton"} <= pinned
    images = [line.split()[1] for stage in STAGES.values() for line in stage if line.startswith("FROM ")]
    images += [service["image"] for service in SERVICES.values() if "build" not in service]
    for image in images:
        assert re.search(r":(\$\{PYTHON_VERSION\}|\d)", image), image


def test_services_hang_together():
    for name, service in SERVICES.items():
        assert set(service.get("depends_on", ())) <= set(SERVICES)
        assert all("healthcheck" in SERVICES[needed] for needed in service.get("depends_on", ()))
        assert set(service["networks"]) <= set(COMPOSE["networks"])
        for volume in service["volumes"]:
            source, target = volume.split(":")[:2]
            assert source in COMPOSE["volumes"] or (DOCKER / source).exists(), volume
            assert target.startswith("/")
        if "build" in service:
            assert (DOCKER / service["build"]["context"] / service["build"]["dockerfile"]).exists()
            assert service["build"]["target"] in STAGES
            assert service["cap_drop"] == ["ALL"], name
            assert service["read_only"], name


def test_only_this_machine_reaches_the_server_and_only_the_server_the_database():
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert ports == {"tracking": ["127.0.0.1:5000:5000"]}
    assert "driver" not in [name for name, s in SERVICES.items() if "storage" in s["networks"]]
    assert COMPOSE["networks"]["storage"]["internal"]


def test_there_is_no_password_in_the_repository():
    assert SERVICES["database"]["environment"]["POSTGRES_PASSWORD"].startswith("${POSTGRES_PASSWORD:?")
    assert ":${POSTGRES_PASSWORD}@" in SERVICES["tracking"]["environment"]["MLFLOW_BACKEND_STORE_URI"]


def test_cards_are_for_the_driver():
    [name] = yaml.safe_load((DOCKER / "compose.cuda.yaml").read_text())["services"]
    assert name == "driver"


def test_the_driver_s_experiment_is_right_and_its_server_answers_to_that_name():
    experiment, _ = SERVICES["driver"]["command"]
    assert f"./digits.yaml:{experiment}:ro" in SERVICES["driver"]["volumes"]
    config = ExperimentConfig.from_file(DOCKER / "digits.yaml")
    host = config.tracking_uri.removeprefix("http://")
    assert host in SERVICES["tracking"]["environment"]["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    assert host.partition(":")[0] in SERVICES


def test_a_container_that_is_started_again_resumes(tmp_path, monkeypatch):
    fake = tmp_path / "bin" / "dsnn-hpo"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\necho "$@"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:/usr/bin:/bin")

    def said():
        command = [DOCKER / "run-or-resume", "file.yaml", tmp_path / "run"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    assert said() == f"run file.yaml --out {tmp_path}/run"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "journal.jsonl").touch()
    assert said() == f"resume {tmp_path}/run"


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_image_builds_and_runs():
    if shutil.which("docker") is None or subprocess.run(["docker", "info"], capture_output=True).returncode:
        pytest.skip("needs a Docker engine")
    subprocess.run(["docker", "build", "--file", DOCKER / "Dockerfile", "--tag", "dsnn-hpo:test", ROOT], check=True)
    run = ["docker", "run", "--rm", "--read-only", "--tmpfs", "/tmp", "--entrypoint", "python", "dsnn-hpo:test"]
    code = "from dsnn_hpo.kernels import isa; import os; assert isa() and os.getuid() == 1000"
    subprocess.run([*run, "-c", code], check=True)
