"""Searches as jobs in processes of one thread each; their outcomes as lines of a file, so that nothing is done twice."""

from __future__ import annotations

import gzip
import json
import multiprocessing
import os
import signal
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from searching.entrants import Entrant
from searching.problem import Problem
from searching.problems import make_problem
from searching.simulation import Point, Setting, simulate

FORMAT = 1
LIMIT_S = 7200
"""A search that takes longer is given up: a peer that hangs must not hold up the others."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
N_DIGITS = 6


@dataclass(frozen=True, slots=True)
class JobSpec:
    """One search: an entrant on an instance of a problem, in a setting; the seed is also the instance."""

    problem: str
    entrant: Entrant
    seed: int
    setting: Setting

    @property
    def key(self) -> str:
        """Returns text that is the same for the same search."""
        return json.dumps([self.problem, self.entrant.key, self.seed, asdict(self.setting)], separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Record:
    """What is kept of a search: what was asked for, its outcome in brief, and the box that its hypervolume is measured in.

    Attributes:
        key: of the job.
        problem, entrant: names.
        seed: of optimizer and instance.
        setting: as ``Setting``.
        points: (cost, time, losses ...) of each configuration trained to the end that added to the hypervolume.
        reference: the worst losses still of interest.
        best: the hypervolume that there is.
        ask_ms: median, p90 and maximum of a proposal, milliseconds.
        tell_ms: the same of a result.
        busy: share of the workers' time.
        makespan: in full trainings of mean pace.
        n_trials: trainings of any length.
        cost: spent.
        seconds: that the job took.
    """

    key: str
    problem: str
    entrant: str
    seed: int
    setting: dict[str, Any]
    points: list[list[float]]
    reference: list[float]
    best: float
    ask_ms: list[float]
    tell_ms: list[float]
    busy: float
    makespan: float
    n_trials: int
    cost: float
    seconds: float


def search(job: JobSpec, limit_s: int = LIMIT_S) -> Record:
    """Returns the record of a search, which is carried out here, in a process's main thread.

    Raises:
        TimeoutError: it took longer than ``limit_s``.
    """
    signal.signal(signal.SIGALRM, partial(_give_up, limit_s))
    signal.alarm(limit_s)
    try:
        return _searched(job)
    finally:
        signal.alarm(0)


def _give_up(limit_s: int, _signal: int, _frame: FrameType | None) -> None:
    raise TimeoutError(f"took longer than {limit_s} s")


def _searched(job: JobSpec) -> Record:
    # Warnings of the peers about themselves.
    warnings.simplefilter("ignore")
    began = time.perf_counter()
    problem = make_problem(job.problem, job.seed)
    optimizer = job.entrant.make(problem, job.seed, job.setting.n_workers, job.setting.continues)
    outcome = simulate(problem, optimizer, job.setting)
    return Record(
        key=job.key,
        problem=job.problem,
        entrant=job.entrant.label,
        seed=job.seed,
        setting=asdict(job.setting),
        points=[_rounded([point.cost, point.time, *point.losses]) for point in _adding(outcome.points, problem)],
        reference=problem.reference.tolist(),
        best=problem.best,
        ask_ms=_quantiles_ms(outcome.ask_s),
        tell_ms=_quantiles_ms(outcome.tell_s),
        busy=round(outcome.busy, 4),
        makespan=round(outcome.makespan, 4),
        n_trials=outcome.n_trials,
        cost=round(outcome.cost, 4),
        seconds=round(time.perf_counter() - began, 2),
    )


def run_all(jobs: Sequence[JobSpec], path: Path, n_processes: int) -> int:
    """Returns how many searches failed, after carrying out those that ``path`` does not hold yet.

    Each outcome is appended as soon as it is known: an interrupted comparison goes on where it was. Says on standard error how
    far it is.
    """
    known = {record.key for record in read_records(path)}
    left = [job for job in jobs if job.key not in known]
    print(f"{len(jobs)} searches, {len(jobs) - len(left)} of them known", file=sys.stderr, flush=True)
    if not left:
        return 0
    path.parent.mkdir(parents=True, exist_ok=True)
    # Inherited by the processes, before they load a library that would start threads.
    os.environ.update(dict.fromkeys(THREADS, "1"))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_processes, mp_context=context) as pool:
        futures = {pool.submit(search, job): job for job in left}
        try:
            return _collect(futures, path)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            print("interrupted; the same command goes on from here", file=sys.stderr)
            raise SystemExit(130) from None


def _collect(futures: dict[Future[Record], JobSpec], path: Path) -> int:
    began, n_failed = time.monotonic(), 0
    for n_done, future in enumerate(as_completed(futures), start=1):
        job = futures[future]
        what = f"{job.problem}, {job.entrant.label}, seed {job.seed}"
        try:
            record = future.result()
        except Exception as error:  # noqa: BLE001 - a peer that fails is reported, and the others go on
            n_failed += 1
            print(f"FAILED {what}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            continue
        append(path, record)
        left_h = (time.monotonic() - began) / n_done * (len(futures) - n_done) / 3600
        print(
            f"{n_done}/{len(futures)} {what}: {record.n_trials} trainings, {record.seconds:.0f} s; about {left_h:.1f} h left",
            file=sys.stderr,
            flush=True,
        )
    return n_failed


def append(path: Path, record: Record) -> None:
    """Adds a record to a file; a line that an interruption cut off is ended first."""
    is_cut = path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
    with path.open("a") as stream:
        stream.write(("\n" if is_cut else "") + json.dumps({"format": FORMAT, **asdict(record)}) + "\n")


def read_records(path: Path) -> list[Record]:
    """Returns the records of a file, none if there is no file; a line that was cut off, or is of another format, is left out.

    A file whose name ends in ``.gz`` is compressed: it can be read, and not be added to.
    """
    if not path.exists():
        return []
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    records = []
    for line in text.splitlines():
        try:
            data = json.loads(line)
            if data.pop("format", None) == FORMAT:
                records.append(Record(**data))
        except (json.JSONDecodeError, TypeError, AttributeError):
            continue
    return records


def _adding(points: Iterable[Point], problem: Problem) -> Iterator[Point]:
    """Yields the points that are better than the reference, and that none before them is as good as."""
    before = np.empty((0, len(problem.reference)))
    for point in points:
        losses = np.asarray(point.losses)
        if (losses < problem.reference).all() and not (before <= losses).all(axis=1).any():
            before = np.vstack([before, losses])
            yield point


def _rounded(values: Iterable[float]) -> list[float]:
    return [float(f"{value:.{N_DIGITS}g}") for value in values]


def _quantiles_ms(seconds: Sequence[float]) -> list[float]:
    if not seconds:
        return [0.0, 0.0, 0.0]
    return [round(1000 * float(q), 3) for q in np.quantile(seconds, [0.5, 0.9, 1.0])]
