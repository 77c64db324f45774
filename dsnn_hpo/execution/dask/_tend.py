"""What Dask does not do for its clusters: jobs that were refused, or that ended before their worker joined, are replaced."""

from __future__ import annotations

import asyncio
import getpass
import warnings
from collections.abc import Callable

from distributed.deploy.spec import SpecCluster

from dsnn_hpo.errors import DsnnHpoWarning
from dsnn_hpo.execution.dask._cluster import forget_unsubmitted

TEND_EVERY_S = 20.0
COMMAND_TIMEOUT_S = 60.0
N_FALSE_STARTS_TO_GIVE_UP = 5


async def tend(cluster: SpecCluster, lists_jobs: bool, give_up: Callable[[str], None]) -> None:
    """Looks after a cluster for ever.

    Dask takes such jobs for workers that are still to come; taken out of its books, they are asked for again.

    Args:
        cluster: adapts to a number of workers.
        lists_jobs: whether it is SLURM's, whose jobs can be listed.
        give_up: called with the reason when one job after the other ended at once.
    """
    n_false_starts = 0
    suspects: set[str] = set()
    while True:
        await asyncio.sleep(TEND_EVERY_S)
        if forget_unsubmitted(cluster):
            warnings.warn("the batch system refused a Dask worker; it is asked again", DsnnHpoWarning, stacklevel=1)
        absent = _absent(cluster)
        if not absent:
            n_false_starts = 0
        listed = await _listed_jobs() if lists_jobs and absent else None
        if listed is None:
            continue
        gone = {name for name in absent if cluster.workers[name].job_id not in listed}
        # Twice in a row: its worker may have joined, or it may have been submitted, while the jobs were listed.
        for name in gone & suspects:
            await cluster.workers.pop(name).close()
            n_false_starts += 1
        suspects = gone
        if n_false_starts >= N_FALSE_STARTS_TO_GIVE_UP and not cluster.scheduler_info["workers"]:
            give_up(
                f"{n_false_starts} jobs, one after the other, ended before their Dask worker joined; see their logs"
            )
            return


def _absent(cluster: SpecCluster) -> list[str]:
    """Returns the workers of the cluster, by name, that are jobs but have not joined."""
    joined = {str(worker["name"]) for worker in cluster.scheduler_info["workers"].values()}
    # A job of several processes numbers its workers.
    return [name for name in cluster.workers if not any(j == name or j.startswith(f"{name}-") for j in joined)]


async def _listed_jobs() -> set[str] | None:
    """Returns the user's jobs that SLURM knows and that are not over, or None if it does not say."""
    try:
        process = await asyncio.create_subprocess_exec(
            *("squeue", "--noheader", "--user", getpass.getuser(), "--format", "%A"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        output, _ = await asyncio.wait_for(process.communicate(), COMMAND_TIMEOUT_S)
    except (OSError, TimeoutError):
        return None
    return set(output.decode().split()) if process.returncode == 0 else None
