"""An executor on a Dask scheduler, in one event loop; a coroutine follows each job."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import shutil
import threading
import time
import uuid
import warnings
from collections.abc import Coroutine
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from distributed import Client, KilledWorker
from distributed.deploy.spec import SpecCluster

from dsnn_hpo.errors import DsnnHpoError, DsnnHpoWarning, ExperimentError, WorkerLostError
from dsnn_hpo.execution._config import DaskConfig
from dsnn_hpo.execution._protocol import Job
from dsnn_hpo.execution.dask import _remote
from dsnn_hpo.execution.dask._cluster import open_cluster
from dsnn_hpo.execution.dask._tend import tend

CONNECT_S = 10.0
RECONNECT_S = 60.0
SETTLE_S = 2.0
"""Within this time the trial of a lost worker has ended, too; until then nothing else may use its checkpoints."""
INTERRUPT_EVERY_S = 1.0
CLOSE_S = 5.0

T = TypeVar("T")


class DaskExecutor:
    """Runs jobs on the workers of a Dask scheduler, each in a process of its own beside its worker.

    A lost worker fails its own job. When the scheduler is lost, so is all that it had; what is submitted then waits
    for it for ``RECONNECT_S``, and after that ``submit`` raises DsnnHpoError.

    Args:
        config: where the scheduler is, or what to ask of the cluster that is to be made.
        folder: the run folder; the driver and all workers must see it.
    """

    def __init__(self, config: DaskConfig, folder: Path) -> None:
        self._config = config
        self._folder = folder.resolve()
        session_id = f"dask-{uuid.uuid4().hex[:12]}"
        begun = self._folder / "jobs" / session_id
        self._session = _remote.Session(session_id, config.threads_per_worker, config.limits, begun)
        self._slots = asyncio.Semaphore(config.workers)
        self._connecting = asyncio.Lock()
        self._futures: dict[Future[Any], asyncio.Task[None]] = {}
        self._client: Client | None = None
        self._cluster: SpecCluster | None = None
        self._tending: asyncio.Task[None] | None = None
        self._is_open = False
        self._given_up = ""
        self._interrupting: concurrent.futures.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="dsnn-hpo-dask", daemon=True)
        self._thread.start()

    def _soon(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        if self._loop is None:
            coroutine.close()
            raise RuntimeError("the executor is closed")
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    async def _open(self) -> None:
        begun = self._session.begun
        # Those of drivers that were killed. This one has the run folder to itself.
        for left in begun.parent.glob("dask-*/"):
            shutil.rmtree(left, ignore_errors=True)
        begun.mkdir(parents=True)
        if self._config.cluster is not None:
            self._cluster = await open_cluster(self._config.cluster, self._config.workers, begun)
            lists_jobs = self._config.cluster.type == "slurm"
            self._tending = asyncio.ensure_future(tend(self._cluster, lists_jobs, self._give_up))
        try:
            self._client = await self._reach()
        except (OSError, ValueError, ImportError) as error:
            raise ExperimentError(
                f"execution.address: no Dask scheduler answered at {self._config.address} within {CONNECT_S:g} s: {error}"
            ) from error
        await self._check(self._client)

    async def _reach(self) -> Client:
        to = self._cluster or self._config.address
        client = Client(to, asynchronous=True, timeout=CONNECT_S, set_as_default=False, name="dsnn-hpo")
        try:
            await client
        except BaseException:
            await _within(CLOSE_S, client.close())
            raise
        return client

    async def _check(self, client: Client) -> None:
        # The workers of our own cluster are still to come, from this environment.
        try:
            scheduler = await client.run_on_scheduler(_remote.place, self._folder)
        except Exception as error:
            raise _cannot_use_it("scheduler", error) from error
        _check_place("scheduler", scheduler)
        workers = await client.run(_remote.place, self._folder, on_error="return")
        for address, place in workers.items():
            # One that was lost at this moment says nothing of the others.
            if isinstance(place, Exception) and not isinstance(place, OSError):
                raise _cannot_use_it(f"worker {address}", place) from place
            if isinstance(place, _remote.Place):
                _check_place(f"worker {address}", place)
                self._check_sees_folder(address, place)
        if self._cluster is None and not workers:
            warnings.warn(
                f"the Dask scheduler at {self._config.address} has no workers yet; trials wait for them",
                DsnnHpoWarning,
                stacklevel=2,
            )

    def _check_sees_folder(self, address: str, place: _remote.Place) -> None:
        if not place.sees_folder:
            raise ExperimentError(
                f"execution: the Dask worker {address} does not see the run folder {self._folder}; it must lie on a file "
                "system that the driver and all workers share"
            )

    @property
    def n_workers(self) -> int:
        """Returns how many jobs run at the same time, if the scheduler has as many workers."""
        return self._config.workers

    def submit(self, job: Job) -> Future[Any]:
        """Returns the future result of the job; see ``Executor`` for what it fails with.

        The first job opens the connection, or the cluster: a finished run needs neither.

        Raises:
            ExperimentError: there is no such scheduler, or its workers cannot run trials; or the cluster cannot be made.
            DsnnHpoError: the scheduler has been away for too long, or the jobs of the cluster end at once.
        """
        if self._given_up:
            raise DsnnHpoError(self._given_up)
        if not self._is_open:
            self._soon(self._open()).result()
            self._is_open = True
        future: Future[Any] = Future()
        self._soon(self._begin(job, future)).result()
        return future

    async def _begin(self, job: Job, future: Future[Any]) -> None:
        self._futures[future] = asyncio.ensure_future(self._follow(job, future))

    async def _follow(self, job: Job, future: Future[Any]) -> None:
        try:
            async with self._slots:
                result, error = await self._outcome(job)
        except Exception as raised:  # noqa: BLE001 - it is Dask's, whatever it is: not the trial's
            result, error = None, WorkerLostError(f"Dask could not run it: {type(raised).__name__}: {raised}")
        # Nothing is awaited from here on, and closing happens in this loop: the future is settled once.
        del self._futures[future]
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)

    async def _outcome(self, job: Job) -> tuple[Any, BaseException | None]:
        client = await self._connected()
        task = client.submit(
            _remote.run, self._session, _remote.packed(job), key=f"{self._session.id}-{job.id}", pure=False, retries=0
        )
        coming: Any = task.result()
        try:
            result, error = await coming
        except KilledWorker as killed:
            reason = f"its Dask worker {killed.last_worker.address} was lost"
        except concurrent.futures.CancelledError:
            reason = "the connection to the Dask scheduler was lost"
        else:
            return (None, error) if error is not None else (_remote.unpacked(result), None)
        await asyncio.sleep(SETTLE_S)
        return None, WorkerLostError(reason)

    async def _connected(self) -> Client:
        async with self._connecting:
            deadline = time.monotonic() + RECONNECT_S
            while self._client is None or self._client.status != "running":
                if self._client is not None:
                    await _within(CLOSE_S, self._client.close())
                    self._client = None
                try:
                    self._client = await self._reach()
                except OSError as error:
                    if time.monotonic() > deadline:
                        self._given_up = (
                            f"the Dask scheduler at {self._config.address} has been away for {RECONNECT_S:g} s "
                            f"({error}); start it again, then resume the run"
                        )
                        raise
            return self._client

    def _give_up(self, reason: str) -> None:
        self._given_up = f"{reason} in {self._folder / 'jobs'}; mend that, then resume the run"
        self._fail_all(reason)

    def _fail_all(self, reason: str) -> None:
        failed, self._futures = self._futures, {}
        for future, following in failed.items():
            following.cancel()
            future.set_exception(WorkerLostError(reason))

    def interrupt(self) -> None:
        """Tells all jobs to stop: those that run from now on, too."""
        if self._interrupting is None:
            self._interrupting = self._soon(self._keep_interrupting())

    async def _keep_interrupting(self) -> None:
        # Again and again: workers come and go.
        while True:
            if self._client is not None:
                await _within(
                    INTERRUPT_EVERY_S * 5, self._client.run(_remote.interrupt, self._session.id, on_error="ignore")
                )
            await asyncio.sleep(INTERRUPT_EVERY_S)

    def close(self) -> None:
        """Ends all jobs at once, and the cluster if it is ours; jobs that did not end fail with WorkerLostError."""
        if self._loop is None:
            return
        self._soon(self._close()).result()
        loop, self._loop = self._loop, None
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join()
        loop.close()
        shutil.rmtree(self._session.begun, ignore_errors=True)

    async def _close(self) -> None:
        if self._interrupting is not None:
            self._interrupting.cancel()
        self._fail_all("its worker was ended")
        if self._client is not None:
            if self._client.status == "running":
                await _within(CLOSE_S, self._client.run(_remote.end, self._session.id, on_error="ignore"))
            await _within(CLOSE_S, self._client.close())
        if self._tending is not None:
            self._tending.cancel()
        if self._cluster is not None:
            await _within(CLOSE_S * 3, self._cluster.close())
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for other in others:
            other.cancel()
        await asyncio.gather(*others, return_exceptions=True)


def _cannot_use_it(where: str, error: Exception) -> ExperimentError:
    return ExperimentError(
        f"execution: the Dask {where} cannot use dsnn-hpo, which must be installed there as it is here "
        f"({type(error).__name__}: {error})"
    )


def _check_place(where: str, place: _remote.Place) -> None:
    ours = _remote.place(Path())
    for what in ("python", "dsnn_hpo"):
        there, here = getattr(place, what), getattr(ours, what)
        if there != here:
            raise ExperimentError(f"execution: the Dask {where} has {what} {there}, here is {here}; install the same")


async def _within(seconds: float, action: Any) -> None:
    """Waits for a farewell, but not for ever; what is wrong with it does not matter any more."""
    with contextlib.suppress(Exception):
        await asyncio.wait_for(action, seconds)
