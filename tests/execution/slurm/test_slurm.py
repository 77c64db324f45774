"""The executor on a real SLURM, without accounting: what becomes of jobs whatever befalls them."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from dsnn_hpo.errors import ClusterError, MemoryLimitError, TimeLimitError, TrialInterruptedError, WorkerLostError
from dsnn_hpo.execution import Job, SlurmConfig, check_execution
from dsnn_hpo.execution.slurm import SlurmExecutor, _executor
from dsnn_hpo.execution.slurm._commands import Queue, SlurmSilentError, cancel
from tests.execution import jobs
from tests.execution.slurm.cluster import started

ROOT = Path(__file__).parents[3]
PATIENCE_S = 90


@pytest.fixture
def make(slurm_cluster, tmp_path):
    """Returns a function that makes an executor in a folder of the test's and returns one that submits to it."""
    made = []

    def submitter(folder=tmp_path / "run", **config):
        executor = SlurmExecutor(SlurmConfig(kind="slurm", **config), folder)
        made.append(executor)

        def submit(function, argument=None, name="00000-1"):
            return executor.submit(Job(name, function, argument, folder / "logs" / f"{name}.log"))

        submit.executor = executor
        return submit

    yield submitter
    for executor in made:
        executor.close()


def wait_until(condition, timeout_s=PATIENCE_S):
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(0.1)
    return found


def begun_on(cluster, folder):
    """Returns job and node once the only job has begun its work."""
    wait_until(lambda: (folder / "begun").exists() and len(cluster.running()) == 1)
    [(job, node)] = cluster.running().items()
    return job, node


def test_jobs_that_are_ready_together_are_an_array_and_leave_nothing(slurm_cluster, make, tmp_path):
    submit = make(workers=3, cpus=2, memory_gb=0.5, setup=["export GREETING=hello"], sbatch={"comment": "a b"})
    futures = [submit(jobs.variable, name, f"0000{i}-1") for i, name in enumerate(["SLURM_ARRAY_TASK_ID", "GREETING"])]
    futures.append(submit(jobs.variable, "OMP_NUM_THREADS", "00002-1"))
    assert [future.result(PATIENCE_S) for future in futures] == ["0", "hello", "2"]
    assert list((tmp_path / "run" / "jobs").iterdir()) == []
    assert (tmp_path / "run" / "jobs").stat().st_mode & 0o077 == 0


def test_a_trial_runs_once_also_where_whole_nodes_are_given(slurm_cluster, make):
    assert make(sbatch={"exclusive": True})(jobs.variable, "SLURM_STEP_NUM_TASKS").result(PATIENCE_S) == "1"


def test_a_cancelled_job_is_lost_and_the_others_go_on(slurm_cluster, make, tmp_path):
    submit = make(workers=2)
    victim = submit(jobs.checkpointing, tmp_path)
    job, _ = begun_on(slurm_cluster, tmp_path)
    other = submit(jobs.moment, 5.0, "00001-1")
    slurm_cluster.command("scancel", job)
    with pytest.raises(WorkerLostError, match="was cancelled") as lost:
        victim.result(PATIENCE_S)
    assert 0 <= lost.value.ran_s < 60
    assert (tmp_path / "checkpoint").exists()
    assert other.result(PATIENCE_S)


def test_a_requeued_job_goes_on_as_the_same(slurm_cluster, make, tmp_path):
    future = make()(jobs.deaf, tmp_path)
    job, _ = begun_on(slurm_cluster, tmp_path)
    slurm_cluster.command("scontrol", "requeue", job)
    assert future.result(PATIENCE_S) == "second time"


def test_a_job_whose_time_is_up_keeps_a_checkpoint_and_is_requeued(slurm_cluster, make, tmp_path):
    future = make()(jobs.checkpointing, tmp_path)
    job, _ = begun_on(slurm_cluster, tmp_path)
    # What SLURM sends some time before the limit.
    slurm_cluster.command("scancel", "--signal=USR2", job)
    assert len(future.result(PATIENCE_S)) == 2
    assert (tmp_path / "checkpoint").exists()


def test_a_preempted_job_keeps_a_checkpoint_and_goes_on_later(slurm_cluster, make, tmp_path):
    future = make(cpus=2, partition="main", sbatch={"nodelist": "n1"})(jobs.checkpointing, tmp_path)
    begun_on(slurm_cluster, tmp_path)
    slurm_cluster.command(
        "sbatch", "-p", "high", "-w", "n1", "-c", "2", "-o", "/dev/null", "--job-name=other", "--wrap", "sleep 3"
    )
    assert future.result(PATIENCE_S) == ["n1", "n1"]
    assert (tmp_path / "checkpoint").exists()


def test_a_job_whose_node_crashes_goes_on_elsewhere(slurm_cluster, make, tmp_path):
    future = make()(jobs.checkpointing, tmp_path)
    _, node = begun_on(slurm_cluster, tmp_path)
    slurm_cluster.script("crash-node", node, "now")
    try:
        first, second = future.result(PATIENCE_S)
        assert first == node != second
    finally:
        slurm_cluster.script("start-node", node)


def test_a_job_that_takes_too_much_has_failed(slurm_cluster, make):
    submit = make(workers=2, memory_gb=0.4, trial_time_s=2.0)
    too_long, too_much = submit(jobs.sleep, 60), submit(jobs.fill_memory, 10**9, "00001-1")
    with pytest.raises(TimeLimitError, match="longer than the 2 s"):
        too_long.result(PATIENCE_S)
    with pytest.raises(MemoryLimitError, match=r"more memory .*0\.4 GiB"):
        too_much.result(PATIENCE_S)


def test_interrupted_jobs_leave_the_queue_or_keep_a_checkpoint(slurm_cluster, make, tmp_path):
    submit = make(workers=2, sbatch={"nodelist": "n2", "exclusive": True})
    running = submit(jobs.checkpointing, tmp_path)
    begun_on(slurm_cluster, tmp_path)
    pending, waiting = submit(jobs.sleep, 60, "00001-1"), submit(jobs.sleep, 60, "00002-1")
    wait_until(lambda: len(slurm_cluster.jobs()) == 2)
    submit.executor.interrupt()
    for future in (running, pending, waiting):
        error = future.exception(15)
        assert isinstance(error, TrialInterruptedError), error or future.result()
    assert (tmp_path / "checkpoint").exists()


def test_what_a_killed_driver_left_is_ended_or_used(slurm_cluster, make, tmp_path):
    script = tmp_path / "driver.py"
    script.write_text(
        textwrap.dedent(f"""
        import sys, time
        from pathlib import Path
        sys.path.insert(0, {str(ROOT)!r})
        from dsnn_hpo.execution import Job, SlurmConfig
        from dsnn_hpo.execution.slurm import SlurmExecutor, _executor
        from tests.execution import jobs
        folder = Path({str(tmp_path)!r})
        executor = SlurmExecutor(SlurmConfig(kind="slurm", workers=2), folder / "run")
        # It must not see the result any more.
        executor._take_result = lambda slurm_id: None
        executor.submit(Job("00000-1", jobs.checkpointing, folder, folder / "0.log"))
        executor.submit(Job("00001-1", jobs.square, 3, folder / "1.log"))
        print("submitted", flush=True)
        time.sleep(600)
        """)
    )
    driver = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT)
    with driver:
        driver.stdout.readline()
        wait_until(lambda: (tmp_path / "begun").exists() and any((tmp_path / "run").rglob("*_result.pkl")))
        driver.kill()
    assert slurm_cluster.jobs() != []
    submit = make(workers=2)
    assert slurm_cluster.jobs() == []
    assert (tmp_path / "checkpoint").exists()
    assert submit(jobs.square, 3, "00001-1").result(0) == 9
    assert len(submit(jobs.checkpointing, tmp_path).result(PATIENCE_S)) == 2


def test_a_silent_slurm_loses_nothing(slurm_cluster, make, tmp_path, monkeypatch):
    answer, silent = Queue.rows, []

    def rows(queue):
        if silent:
            raise SlurmSilentError("slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
        return answer(queue)

    monkeypatch.setattr(Queue, "rows", rows)
    monkeypatch.setattr(_executor, "MAX_POLL_S", 2.0)
    submit = make(workers=2)
    silent.append(True)
    victim, other = submit(jobs.checkpointing, tmp_path), submit(jobs.square, 4, "00001-1")
    assert other.result(PATIENCE_S) == 16
    job, _ = begun_on(slurm_cluster, tmp_path)
    slurm_cluster.command("scancel", job)
    time.sleep(4)
    assert not victim.done()
    silent.clear()
    with pytest.raises(WorkerLostError, match="cancelled"):
        victim.result(PATIENCE_S)


def test_a_job_that_vanishes_is_lost(slurm_cluster, make, tmp_path, monkeypatch):
    # SLURM forgets jobs some minutes after their end; without accounting nobody knows what became of them.
    monkeypatch.setattr(Queue, "rows", lambda queue: {})
    future = make()(jobs.checkpointing, tmp_path)
    with pytest.raises(WorkerLostError, match="vanished from SLURM's queue"):
        future.result(PATIENCE_S)
    # That SLURM does not know it any more does not keep it from being cancelled, to be sure.
    cancel(["99999999"])


def test_a_job_that_will_never_start_is_an_error(slurm_cluster, make, tmp_path, monkeypatch):
    monkeypatch.setattr(_executor, "NEVER_PATIENCE_S", 1.0)
    submit = make(partition="high", job_time_min=10)
    slurm_cluster.command("scontrol", "update", "partitionname=high", "maxtime=5")
    try:
        with pytest.raises(ClusterError, match="PartitionTimeLimit"):
            submit(jobs.square, 3).result(PATIENCE_S)
    finally:
        slurm_cluster.command("scontrol", "update", "partitionname=high", "maxtime=INFINITE")


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"partition": "mian"}, "--partition=mian.*nvalid partition"),
        ({"constraint": "a100"}, "--constraint=a100.*feature"),
        ({"memory_gb": 999.0}, "--mem=1022976M.*not available"),
        ({"sbatch": {"no-such-option": 1}}, "unrecognized option"),
    ],
)
def test_what_the_cluster_does_not_have_is_an_error_before_the_run(slurm_cluster, config, complaint):
    with pytest.raises(ClusterError, match=f"(?s){complaint}"):
        check_execution(SlurmConfig(kind="slurm", **config))


def test_without_slurm_s_commands_the_error_names_them(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ClusterError, match=r"not found on this machine: sbatch, srun"):
        check_execution(SlurmConfig(kind="slurm"))


@pytest.mark.slow
def test_where_there_is_accounting_it_says_what_became_of_a_job_that_vanished(tmp_path, monkeypatch):
    with started(with_accounting=True) as cluster:
        executor = SlurmExecutor(SlurmConfig(kind="slurm", workers=2), tmp_path)
        try:
            cancelled = executor.submit(Job("0-1", jobs.checkpointing, tmp_path, tmp_path / "log"))
            job, _ = begun_on(cluster, tmp_path)
            left = executor.submit(Job("1-1", jobs.leave, 3, tmp_path / "log"))
            wait_until(lambda: cluster.jobs() == [job])
            cluster.command("scancel", job)
            wait_until(lambda: "CANCELLED" in cluster.command("sacct", "-n", "-X", "-j", job, "-o", "State"))
            monkeypatch.setattr(Queue, "rows", lambda queue: {})
            for future, reason in ((cancelled, "was cancelled"), (left, "exit code 3")):
                with pytest.raises(WorkerLostError, match=reason):
                    future.result(PATIENCE_S)
        finally:
            executor.close()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_real_time_limit(slurm_cluster, make, tmp_path):
    submit = make(workers=2, job_time_min=1)
    for name in "ab":
        (tmp_path / name).mkdir()
    good, bad = submit(jobs.checkpointing, tmp_path / "a"), submit(jobs.deaf, tmp_path / "b", "00001-1")
    assert len(good.result(240)) == 2
    with pytest.raises(WorkerLostError, match="reached its time limit of 1 min"):
        bad.result(240)
