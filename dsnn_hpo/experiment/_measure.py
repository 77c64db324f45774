"""Measuring a finished front on this machine, whatever machine it was found on, without training anything."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from dsnn_hpo import pareto
from dsnn_hpo.energy import EnergyConfig
from dsnn_hpo.errors import InputError
from dsnn_hpo.evaluation import MEASURED_FIGURES, Figures, measure_again
from dsnn_hpo.experiment._build import build_again
from dsnn_hpo.experiment._folder import RunFolder, read_run
from dsnn_hpo.experiment._remeasure import worth_measuring
from dsnn_hpo.experiment.config import config_of
from dsnn_hpo.journal import History
from dsnn_hpo.trial import OBJECTIVES, Provenance, Result


@dataclass(frozen=True, slots=True)
class Remeasured:
    """A configuration of a run, measured here.

    Attributes:
        trial: its id.
        there: the run's own figures, by the name of what was measured here; of a run that modelled its energy, the modelled.
        here: those of this machine.
        provenance: how the latter were obtained.
        ranks: by figure, the place among the configurations measured there and here, from 1, the best first.
        on_front: whether it is on the front by the figures there and here.
    """

    trial: int
    there: Mapping[str, float]
    here: Mapping[str, float]
    provenance: Mapping[str, Provenance]
    ranks: Mapping[str, tuple[int, int]]
    on_front: tuple[bool, bool]


@dataclass(frozen=True, slots=True)
class RunMeasurement:
    """What measuring a run here has shown.

    Attributes:
        compared: the figures measured here, and the run's own that each is compared with.
        members: the configurations.
        file: holds all of it.
    """

    compared: Mapping[str, str]
    members: tuple[Remeasured, ...]
    file: Path

    @property
    def changed(self) -> tuple[Remeasured, ...]:
        """Returns the configurations whose rank is another here, or that join or leave the front."""
        return tuple(
            m for m in self.members if m.on_front[0] != m.on_front[1] or any(a != b for a, b in m.ranks.values())
        )


def measure_run(
    path: str | Path, *, device: str = "cpu", country: str | None = None, show: Callable[[str], None] = lambda _: None
) -> RunMeasurement:
    """Returns the figures of a run's front, and of what is near it, on this machine, and writes them into its folder.

    Args:
        path: the run folder, with its checkpoints; its data set must be here, too.
        device: ``cpu``, or ``cuda`` with a number perhaps, on which it is the emulation that is measured.
        country: whose electricity mix gives the grams of CO2 here; the experiment's own if None.
        show: is told what is measured, a line each.

    Raises:
        InputError: the run searched for nothing that is measured, or has no front, no data here, or no checkpoints.
        EnergyError: nothing can be measured here.
    """
    folder = RunFolder(Path(path))
    history = read_run(folder.path)
    config = config_of(history.header)
    changes: dict[str, object] = {} if country is None else {"country": country}
    if config.energy.final_repeats == 0:
        # The run measured nothing after its search; here it is what was asked for.
        changes["final_repeats"] = EnergyConfig().final_repeats
    config = config.model_copy(update={"energy": config.energy.model_copy(update=changes)})
    _check_device(device)
    names = _to_measure(history, device)
    results = _chosen(history)
    if not results:
        raise InputError(f"{folder.path} has no front to measure: no trial has completed")
    task = replace(build_again(config, folder).task(folder.path), objectives=tuple(names))
    order = list(results)
    random.Random(time.time_ns()).shuffle(order)
    fresh: dict[int, Figures] = {}
    for number, result in enumerate(order, start=1):
        show(f"measuring trial {result.trial.id} ({number} of {len(order)})")
        figures = measure_again(result.trial, task, device=device)
        fresh[result.trial.id] = figures if device == "cpu" else _of_emulation(figures, names, device)
    found = _compared(history, results, fresh, names)
    file = _write(folder, history, found)
    return RunMeasurement(names, tuple(found), file)


def _chosen(history: History) -> list[Result]:
    """Returns the front, and what the search found on it or near it, by the best figures; by the first objective."""
    ids = {result.trial.id for result in (*worth_measuring(history), *history.front())}
    first = history.objectives[0]
    chosen = [result for result in history.latest_results() if result.trial.id in ids]
    return sorted(chosen, key=lambda result: first.loss(result.values[first.name]))


def _to_measure(history: History, device: str) -> dict[str, str]:
    """Returns the figures to measure here, and the run's own figure that each is compared with."""
    objectives = history.header.objectives
    names = {name: name for name in objectives if name in MEASURED_FIGURES}
    if not names and "hardware_energy_uj" in objectives:
        names = {"inference_energy_j": "hardware_energy_uj"}
    if device != "cpu":
        names = {name: there for name, there in names.items() if name.endswith("_energy_j")}
    if names:
        return names
    raise InputError(
        f"{history.header.name}: none of its objectives, {', '.join(objectives)}, is measured on {device}; those that are, "
        f"or that are compared with one, are {', '.join(sorted({*MEASURED_FIGURES, 'hardware_energy_uj'}))}"
    )


def _of_emulation(figures: Figures, names: Iterable[str], device: str) -> Figures:
    """Returns the emulation's energy in the place of the run's energies, and says so."""
    how = figures.provenance["emulation_energy_j"]
    how = replace(how, remarks=(*how.remarks, f"emulation on {device}, not the executor"))
    energies = [name for name in names if name.endswith("_energy_j")]
    value = figures.values["emulation_energy_j"]
    return Figures(dict.fromkeys(energies, value), dict.fromkeys(energies, how), figures.spent_j)


def _check_device(device: str) -> None:
    import torch

    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"--device {device}: {reason}; give cpu, or cuda on a machine with a card") from None


def _compared(
    history: History, results: Sequence[Result], fresh: Mapping[int, Figures], names: Mapping[str, str]
) -> list[Remeasured]:
    objectives = history.objectives
    losses = pareto.losses_of(results, objectives)
    here = losses.copy()
    for name, there in names.items():
        column = history.header.objectives.index(there)
        here[:, column] = [OBJECTIVES[name].loss(fresh[result.trial.id].values[name]) for result in results]
    fronts = pareto.non_dominated(losses), pareto.non_dominated(here)
    columns = {name: history.header.objectives.index(there) for name, there in names.items()}
    places = {name: (_places(losses[:, i]), _places(here[:, i])) for name, i in columns.items()}
    return [
        Remeasured(
            trial=result.trial.id,
            there={name: result.values[there] for name, there in names.items()},
            here=fresh[result.trial.id].values,
            provenance=fresh[result.trial.id].provenance,
            ranks={name: (places[name][0][i], places[name][1][i]) for name in names},
            on_front=(bool(fronts[0][i]), bool(fronts[1][i])),
        )
        for i, result in enumerate(results)
    ]


def _places(losses: pareto.Losses) -> list[int]:
    return [1 + int((losses < loss).sum()) for loss in losses]


def _write(folder: RunFolder, history: History, found: Sequence[Remeasured]) -> Path:
    file = folder.path / "measured" / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    file.parent.mkdir(exist_ok=True)
    content = {"run_id": history.header.run_id, "time": time.time(), "members": [asdict(m) for m in found]}
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return file
