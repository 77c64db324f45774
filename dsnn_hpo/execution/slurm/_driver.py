"""The driver as a SLURM job, which is requeued when its time is up and goes on where it was."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dsnn_hpo.errors import ClusterError
from dsnn_hpo.execution._config import SlurmConfig
from dsnn_hpo.execution.slurm._commands import SlurmSilentError, command
from dsnn_hpo.execution.slurm._request import check_jobs, checkpoint_time_s, flags, memory, try_out, whose

MAX_RESTARTS_KILLED = 20
"""A driver that was killed is begun again, so many times together with those whose time was up."""

_SCRIPT = """\
#!/bin/bash
{setup}
restarts=${{SLURM_RESTART_COUNT:-0}}
job=$SLURM_JOB_ID
time_is_up=
told_to_end=
trap 'time_is_up=1; kill -TERM "$driver" 2>/dev/null' USR1
# The driver gets this signal from SLURM too; a second one would end it at once.
trap 'told_to_end=1' TERM
{command} &
driver=$!
wait "$driver"
code=$?
# A signal ends the waiting, not the driver.
while kill -0 "$driver" 2>/dev/null; do
  wait "$driver"
  code=$?
done
wait "$driver" 2>/dev/null
again=$?
[ "$again" -eq 127 ] || code=$again
if [ "$code" -eq 137 ] && [ -z "$told_to_end" ] && [ "$restarts" -lt {max_restarts} ]; then
  time_is_up=1
fi
if [ "$code" -ne 0 ] && [ -n "$time_is_up" ] && [ -z "$told_to_end" ]; then
  echo "requeued onto: {resume}"
  scontrol requeue "$job" && sleep 600
fi
exit "$code"
"""


def check_driver(config: SlurmConfig) -> None:
    """Checks that the cluster would take the jobs of the trials and of the driver; raises ClusterError."""
    check_jobs(config)
    try_out(_options(config))


def submit_driver(config: SlurmConfig, folder: Path, resume: Sequence[str]) -> str:
    """Returns the id of the SLURM job that drives the run in a folder.

    Args:
        config: its ``driver`` says what to ask for.
        folder: the run folder; the job's script and its log, ``driver.log``, lie in it.
        resume: the command that carries the run on.

    Raises:
        ClusterError: SLURM does not take the job.
    """
    script = folder / "driver.sh"
    resuming = shlex.join(resume)
    text = _SCRIPT.format(
        setup="\n".join(config.setup), command=resuming, resume=resuming, max_restarts=MAX_RESTARTS_KILLED
    )
    script.write_text(text, encoding="utf-8")
    options = {"output": folder / "driver.log", "open-mode": "append", **_options(config)}
    try:
        return command(["sbatch", "--parsable", *flags(options), str(script)]).strip().partition(";")[0]
    except SlurmSilentError as error:
        raise ClusterError(f"SLURM does not take the driver's job: {error}") from None


def _options(config: SlurmConfig) -> dict[str, Any]:
    driver = config.driver
    options: dict[str, Any] = {
        "job-name": "dsnn-hpo",
        "time": driver.time_min,
        "mem": memory(driver.memory_gb),
        "requeue": True,
        # To the script alone, which passes it on.
        "signal": f"B:USR1@{checkpoint_time_s(driver.time_min)}",
        **whose(config),
    }
    if driver.partition is not None:
        options["partition"] = driver.partition
    return options | driver.sbatch
