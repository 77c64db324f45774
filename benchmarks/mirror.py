"""What the mirror in MLflow costs: milliseconds a child run and seconds a refresh, beside bare calls of the client.

    python benchmarks/mirror.py

A real MLflow server on SQLite, over HTTP on this machine, and a search of 500 configurations. A child is written live
(once when it is asked, once when it is told) and replayed (all in one pass). The peer writes the same runs with
``create_run``, ``log_batch`` and ``set_terminated``, the least that MLflow's client takes. A refresh draws and uploads the
front, its table, the landing page and the ranks, after one more result that moves the front.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator

import numpy as np

from dsnn_hpo import tracking
from dsnn_hpo.experiment._mirror import draw_front
from dsnn_hpo.journal import Asked, Event, Header, History, Mark, Told
from dsnn_hpo.report import report_html
from dsnn_hpo.tracking._records import Records
from dsnn_hpo.tracking._session import Session, Target
from dsnn_hpo.trial import Epoch, Fidelity, Result, Trial, TrialState

N_EPOCHS = 9
N_LIVE = 40
START = 1_750_000_000.0


def search(n_children: int, seed: int = 0) -> History:
    """Returns a search of so many configurations, each trained in full, with plausible figures and curves."""
    rng = random.Random(seed)
    header = Header(
        run_id=f"{seed:032x}",
        name="mirror",
        created=START,
        experiment={"name": "mirror"},
        experiment_text="name: mirror\n",
        objectives=("error", "inference_energy_j"),
        fidelity=Fidelity(1, N_EPOCHS, 3),
        versions={},
    )
    events: list[Event] = [Mark("started", START)]
    for number in range(n_children):
        trial = Trial(number, {f"h{i}": rng.random() for i in range(10)}, N_EPOCHS, 1)
        time_s = START + 10 * number
        events += [Asked(trial, time_s + 1), Told(_result(trial, rng), time_s + 9)]
    return History(header, events)


def _result(trial: Trial, rng: random.Random, best: float = 0.0) -> Result:
    energy = rng.uniform(1.0, 20.0) - best
    error = 0.02 + 0.3 / energy + rng.expovariate(20.0) - 0.001 * best
    curve = tuple(Epoch(n, 2 * error / n, error * (1 + 1 / n), 0.01, 0.7) for n in range(1, trial.fidelity + 1))
    values = {"error": error, "inference_energy_j": energy}
    tested = {"error": error * 1.1}
    return Result(trial, TrialState.COMPLETED, values, 6.3, None, tested, curve, trial.fidelity, 100.0)


@contextlib.contextmanager
def served() -> Iterator[str]:
    """Yields the address of an MLflow server on a new SQLite file."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="dsnn_hpo_") as name:
        command = tracking.ui_command(f"sqlite:///{name}/mlflow.db", None, port)
        command += ["--artifacts-destination", f"{name}/artifacts"]
        with subprocess.Popen(
            command, env=tracking.ui_environment(), cwd=name, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as server:
            try:
                tracking.wait_until_up(f"http://127.0.0.1:{port}", 120, server)
                yield f"http://127.0.0.1:{port}"
            finally:
                server.terminate()


def bare_ms(address: str, history: History) -> list[float]:
    """Returns the milliseconds of each child with the bare client calls for the same runs."""
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag

    client = MlflowClient(address)
    experiment = client.create_experiment(f"bare {history.header.run_id}")
    records = Records(history.header)
    records.advance(history)
    took = []
    for key in records.keys:
        record = records.child(key)
        points = [p for part in record.parts for p in part]
        points += [record.membership] if record.membership else []
        started = time.perf_counter()
        run = client.create_run(experiment, start_time=record.start_ms, run_name=record.name)
        client.log_batch(
            run.info.run_id,
            [Metric(p.name, p.value, p.time_ms, p.step) for p in points],
            [Param(k, v) for k, v in record.params.items()],
            [RunTag(k, v) for k, v in record.tags.items()],
        )
        client.set_terminated(run.info.run_id, record.status, record.end_ms)
        took.append(1000 * (time.perf_counter() - started))
    return took


def measured(address: str, history: History, n_refreshes: int) -> dict[str, float]:
    """Returns medians: ms a child replayed, ms a child live, seconds of a refresh, and of the last pass."""
    session = Session(Target(address, None, None), tracking.Content(draw_front, page=report_html))
    n_children = len(history.results)
    session.sync(History(history.header, history.events[:1]), final=True)
    times = [time.perf_counter()]
    session.sync(history, final=False, progress=lambda _done, _of: times.append(time.perf_counter()))
    replayed = statistics.median(np.diff(times).tolist())
    rng = random.Random(1)
    live, refreshes = [], []
    for number in range(n_children, n_children + N_LIVE):
        trial = Trial(number, {f"h{i}": rng.random() for i in range(10)}, N_EPOCHS, 1)
        when = history.events[-1].time + 1
        started = time.perf_counter()
        history = history.extended(Asked(trial, when))
        session.sync(history, final=False)
        history = history.extended(Told(_result(trial, rng), when + 8))
        session.sync(history, final=False)
        live.append(time.perf_counter() - started)
    for number in range(n_children + N_LIVE, n_children + N_LIVE + n_refreshes):
        trial = Trial(number, {f"h{i}": rng.random() for i in range(10)}, N_EPOCHS, 1)
        when = history.events[-1].time + 1
        history = history.extended(Asked(trial, when)).extended(Told(_result(trial, rng, best=0.5), when + 8))
        session._next_refresh = 0.0
        started = time.perf_counter()
        session.sync(history, final=False)
        refreshes.append(time.perf_counter() - started)
    started = time.perf_counter()
    session.sync(history, final=True)
    return {
        "replayed": 1000 * replayed,
        "live": 1000 * statistics.median(live),
        "refresh": statistics.median(refreshes),
        "last": time.perf_counter() - started,
    }


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--children", type=int, default=500)
    parser.add_argument("--refreshes", type=int, default=5)
    arguments = parser.parse_args()
    with served() as address:
        # Before and after: what else the machine does falls on both.
        n_bare = min(arguments.children, 100)
        before = bare_ms(address, search(n_bare, seed=1))
        ours = measured(address, search(arguments.children), arguments.refreshes)
        bare = statistics.median(before + bare_ms(address, search(n_bare, seed=2)))
    print(f"child run, bare client calls: {bare:.1f} ms")
    print(f"child run, replayed:          {ours['replayed']:.1f} ms ({ours['replayed'] / bare:.2f} of bare)")
    print(f"child run, live:              {ours['live']:.1f} ms ({ours['live'] / bare:.2f} of bare)")
    print(f"refresh, after one result:    {ours['refresh']:.2f} s at {arguments.children} children")
    print(f"the last pass, with the page: {ours['last']:.2f} s")


if __name__ == "__main__":
    main()
