"""A real SLURM cluster of three virtual nodes on this machine, for tests."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("slurm-local.sh")
N_NODES = 3
PROGRAMS = {"munged": "munge", "slurmctld": "slurmctld", "slurmd": "slurmd", "sbatch": "slurm-client"}
ACCOUNTING_PROGRAMS = {"slurmdbd": "slurmdbd", "mariadbd": "mariadb-server"}
SYSTEM_PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"


class Cluster:
    """A running cluster; its commands work in this process and those that it starts."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment

    def script(self, *arguments: str) -> None:
        """Runs the script that made the cluster, e.g. ``crash-node n1 now``."""
        subprocess.run(["bash", SCRIPT, *arguments], env=self._environment, check=True, timeout=120)

    def command(self, *arguments: str) -> str:
        """Returns what one of SLURM's commands prints."""
        return subprocess.run(arguments, check=True, capture_output=True, text=True, timeout=60).stdout.strip()

    def running(self) -> dict[str, str]:
        """Returns the nodes of the jobs that run, by job."""
        listed = self.command("squeue", "-h", "--array", "--states=RUNNING", "-o", "%i %N")
        return dict(line.split() for line in listed.splitlines())

    def jobs(self) -> list[str]:
        """Returns the jobs that are not over."""
        return self.command("squeue", "-h", "--array", "-o", "%i").split()


def skip_without_slurm(with_accounting: bool = False) -> None:
    """Skips a test where a cluster cannot be started, and says why."""
    programs = PROGRAMS | (ACCOUNTING_PROGRAMS if with_accounting else {})
    missing = [package for program, package in programs.items() if shutil.which(program, path=SYSTEM_PATH) is None]
    if missing:
        pytest.skip(f"a real SLURM needs the Debian packages: {' '.join(missing)}")
    if os.geteuid() != 0:
        pytest.skip("a SLURM cluster of several nodes on one machine is started by root")


@contextmanager
def started(with_accounting: bool = False) -> Iterator[Cluster]:
    """Yields a cluster of its own."""
    skip_without_slurm(with_accounting)
    # Short: sockets lie in it.
    folder = tempfile.mkdtemp(prefix="slurm-", dir="/tmp")
    environment = {
        **os.environ,
        "SLURM_LOCAL_DIR": folder,
        "SLURM_LOCAL_DBD": str(int(with_accounting)),
        "SLURM_LOCAL_PORT": str(_free_ports()),
    }
    cluster = Cluster(environment)
    previous = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = f"{folder}/slurm.conf"
    try:
        cluster.script("start", str(N_NODES))
        yield cluster
    finally:
        cluster.script("clean")
        os.environ.pop("SLURM_CONF")
        if previous is not None:
            os.environ["SLURM_CONF"] = previous


def _free_ports() -> int:
    """Returns the first of twenty ports that nothing listens on."""
    while True:
        first = random.randrange(17000, 32000, 20)
        if all(_is_free(port) for port in range(first, first + 20)):
            return first


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
