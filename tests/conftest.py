"""What tests of several packages share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.execution.slurm.cluster import Cluster, started

# Read when NumPy and torch are loaded. What tests compute is small, and threads that wait for each other on a busy machine
# take seconds for milliseconds of it; tests of several threads ask for them.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")


@pytest.fixture(scope="session")
def slurm_cluster() -> Iterator[Cluster]:
    """Returns a real SLURM cluster of three nodes without accounting; skips where it cannot be started."""
    with started() as cluster:
        yield cluster
