"""Synthetic histories: successive halving over random configurations, with plausible curves and times."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from dsnn_hpo.journal import Asked, Event, Header, History, Mark, Measured, Told
from dsnn_hpo.trial import Epoch, Fidelity, Provenance, Result, Scalar, Trial, TrialState

START = 1_750_000_000.0
FIDELITY = Fidelity(1, 9, 3)


def header(objectives: Sequence[str] = ("error", "inference_energy_j"), name: str = "digits") -> Header:
    return Header(
        run_id="0123456789abcdef",
        name=name,
        created=START,
        experiment={"name": name, "task": {"dataset": "digits", "batch_size": 64}, "objectives": list(objectives)},
        experiment_text=f"name: {name}\n",
        objectives=tuple(objectives),
        fidelity=FIDELITY,
        versions={"dsnn_hpo": "0.1.0"},
    )


def config(rng: random.Random) -> dict[str, Scalar]:
    chosen: dict[str, Scalar] = {
        "optimizer": rng.choice(["adam", "sgd", "ranger"]),
        "learning_rate": 10 ** rng.uniform(-4, -1),
        "weight_bits": rng.randint(2, 6),
        "shift_depth": rng.randint(0, 4),
        "batch_size": rng.choice([32, 64, 128]),
        "rounding": rng.choice(["deterministic", "stochastic"]),
        "width": rng.choice([0.5, 1.0, 2.0]),
        "activation_bits": rng.randint(4, 16),
        "model": "cnn",
    }
    if chosen["optimizer"] == "sgd":
        chosen["momentum"] = rng.uniform(0.5, 0.99)
    return chosen


def completed(trial: Trial, objectives: Sequence[str], n_epochs: int) -> Result:
    rng = random.Random(f"{trial.key} {trial.fidelity}")
    c = trial.config
    miss = abs(math.log10(float(c["learning_rate"])) + 2.2)
    width, bits = float(c["width"]), int(c["weight_bits"])
    error = min(0.9, (0.02 + 0.09 * miss**2 + 0.06 / width + 0.05 * (6 - bits)) * (1 + 2.5 / trial.fidelity))
    known = {
        "error": error,
        "inference_energy_j": width**1.7 * (1 + 0.3 * bits) * rng.uniform(0.9, 1.1),
        "train_energy_j": 40.0 * width * trial.fidelity * rng.uniform(0.9, 1.1),
        "model_size_bytes": float(round(2400 * width**2 * bits)),
        "latency_ms": 0.4 * width * rng.uniform(0.9, 1.1),
    }
    first = trial.fidelity - n_epochs + 1
    curve = [
        Epoch(n, 2.3 * error / n**0.5, error * (1 + 1 / n), 0.01 / n, 0.7) for n in range(first, trial.fidelity + 1)
    ]
    return Result(
        trial=trial,
        state=TrialState.COMPLETED,
        values={name: known[name] for name in objectives},
        seconds=0.7 * n_epochs,
        test_values={"error": min(1.0, error * rng.uniform(0.95, 1.25))} if "error" in objectives else {},
        curve=tuple(curve),
        n_epochs=n_epochs,
        energy_j=11.0 * n_epochs,
    )


def failed(trial: Trial) -> Result:
    return Result(
        trial, TrialState.FAILED, error="DivergedError: the loss became NaN in epoch 1", seconds=0.2, n_epochs=1
    )


def history(
    n_configs: int = 27,
    objectives: Sequence[str] = ("error", "inference_energy_j"),
    name: str = "digits",
    seed: int = 0,
    mark: str | None = "finished",
) -> History:
    """Brackets of nine configurations: nine for 1 epoch, the best three for 3, the best one for 9; and some run in full."""
    rng = random.Random(seed)
    events: list[Event] = [Mark("started", START)]
    trial_id = 0

    def train(chosen: dict[str, Scalar], fidelity: int, trained: int, config_seed: int) -> Result:
        nonlocal trial_id
        trial = Trial(trial_id, chosen, fidelity, config_seed)
        time = START + 10.0 * trial_id
        broken = trial_id % 13 == 5
        result = failed(trial) if broken else completed(trial, objectives, fidelity - trained)
        events.extend([Asked(trial, time + 1), Told(result, time + 9.25)])
        trial_id += 1
        return result

    for bracket in range(0, n_configs, 9):
        chosen = [config(rng) for _ in range(min(9, n_configs - bracket))]
        if bracket % 18 == 9:
            for one in chosen:
                train(one, 9, 0, 1)
            continue
        trained = 0
        for fidelity in FIDELITY.rungs():
            results = [train(one, fidelity, trained, 1) for one in chosen]
            ranked = sorted((r for r in results if r.values), key=lambda r: r.values[objectives[0]])
            chosen = [dict(r.trial.config) for r in ranked[: max(1, len(chosen) // 3)]]
            trained = fidelity
    if mark:
        events.append(Mark(mark, START + 10.0 * trial_id + 5))  # type: ignore[arg-type]
    return History(header(objectives, name), tuple(events))


def measured_again(whole: History) -> History:
    """The history of a search, with its front measured again; the most frugal member takes ten times what was thought."""
    search = [event for event in whole.events if not (isinstance(event, Mark) and event.name == "finished")]
    front = whole.front()
    events: list[Event] = [*search, Mark("measuring", search[-1].time + 1, "the front again")]
    for member in front:
        known = member.values["inference_energy_j"]
        value = known * (10.0 if member is front[-1] else 1.01)
        how = Provenance("cpu: known", "measured", "machine", "a bench", ci95=0.02 * value, n_repeats=5)
        time = events[-1].time + 7.5
        values = {"inference_energy_j": value, "float32_energy_j": 9.0}
        events.append(Measured(member.trial, values, {"inference_energy_j": how}, 3.0, time))
    events.append(Mark("finished", events[-1].time + 1))
    return History(whole.header, events)


def prefix(whole: History, n_events: int) -> History:
    """What the journal held after so many events."""
    return History(whole.header, whole.events[:n_events])
