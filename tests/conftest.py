"""What tests of several packages share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.execution.slurm.cluster import Cluster, started


@pytest.fixture(scope="session")
def slurm_cluster() -> Iterator[Cluster]:
    """Returns a real SLURM cluster of three nodes without accounting; skips where it cannot be started."""
    with started() as cluster:
        yield cluster
