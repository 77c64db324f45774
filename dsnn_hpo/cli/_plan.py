"""Printing the plan of an experiment: brackets and rungs as configurations x epochs, trainings, epochs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ConfigSpace import UniformIntegerHyperparameter
from rich.table import Table

from dsnn_hpo.cli._console import console
from dsnn_hpo.kernels import isa
from dsnn_hpo.optimizers import BayesianConfig, Budget, Plan, initial_design, plan

if TYPE_CHECKING:
    from dsnn_hpo.experiment import Experiment


def print_plan(experiment: Experiment) -> None:
    """Prints what a run of the experiment will do."""
    config = experiment.config
    out = console()
    split = experiment.split
    shape = "x".join(map(str, experiment.dataset.input_shape))
    out.print(
        f"{config.name}: {config.task.model} on {config.task.dataset} ({shape}, {len(experiment.dataset.classes)} classes)",
        markup=False,
    )
    out.print(
        f"images: {len(split.train)} to train, {len(split.validation)} to validate, {len(split.test)} to test",
        markup=False,
    )
    names = ", ".join(f"{h.name}" for h in experiment.space.values())
    out.print(f"search space: {len(experiment.space)} hyperparameters: {names}", markup=False)
    out.print(f"objectives: {', '.join(f'{o.goal} {o.name} ({o.unit})' for o in experiment.objectives)}", markup=False)
    out.print(f"kernels: {isa() or 'reference in plain torch'}", markup=False)
    for note in experiment.warm_start.notes:
        out.print(f"warm start from {note}", markup=False)
    cap = experiment.space.get("epochs")
    if isinstance(cap, UniformIntegerHyperparameter) and cap.upper < config.fidelity.max_epochs:
        out.print(f"note: the search space's own `epochs` ends every training after {cap.upper} epochs at the latest")
    if isinstance(config.optimizer, BayesianConfig):
        out.print(_model_based(config.optimizer, experiment), markup=False)
    elif steps := plan(config.optimizer, config.rungs):
        out.print(_bracket_table(steps, config.optimizer.name))
        out.print(_totals(steps, experiment), markup=False)


def _model_based(optimizer: BayesianConfig, experiment: Experiment) -> str:
    """Returns how a search begins that is not planned in rounds, and what it may spend."""
    config, budget = experiment.config, experiment.config.budget
    *lower, full = config.rungs.rungs()
    n_initial = initial_design(optimizer, experiment.space, config.rungs, Budget(budget.trials, budget.full_trainings))
    lines = [f"bayesian: {n_initial} configurations x {min([*lower, full])} epochs to begin with"]
    if lower:
        choices = f"{', '.join(map(str, lower))} or {full}"
        lines[0] += (
            f", two of the best x {full}; then a model chooses what to train next, and whether to {choices} epochs"
        )
    limits = [f"{budget.trials} trainings"] if budget.trials is not None else []
    if budget.full_trainings is not None:
        limits.append(f"{math.ceil(budget.full_trainings * full)} epochs ({budget.full_trainings:g} full trainings)")
    return "\n".join([*lines, f"in all: at most {' and '.join([*limits, *_other_limits(experiment)])}"])


def _bracket_table(steps: Plan, optimizer: str) -> Table:
    table = Table(title=f"One round of {optimizer}: configurations x epochs", title_justify="left")
    n_rungs = max(len(bracket) for bracket in steps.brackets)
    table.add_column("bracket", justify="right")
    for rung in range(n_rungs):
        table.add_column(f"rung {rung + 1}", justify="right")
    table.add_column("trainings", justify="right")
    table.add_column("epochs", justify="right")
    for number, bracket in enumerate(steps.brackets, start=1):
        one = Plan((bracket,))
        cells = [f"{n} x {epochs}" for n, epochs in bracket]
        cells += [""] * (n_rungs - len(cells))
        table.add_row(str(number), *cells, str(one.n_trainings), str(one.n_epochs))
    return table


def _other_limits(experiment: Experiment) -> list[str]:
    budget = experiment.config.budget
    limits = [f"{budget.wall_time_s:g} s"] if budget.wall_time_s is not None else []
    return limits + ([f"{budget.energy_wh:g} Wh"] if budget.energy_wh is not None else [])


def _totals(steps: Plan, experiment: Experiment) -> str:
    budget, max_epochs = experiment.config.budget, experiment.config.fidelity.max_epochs
    rounds = []
    if budget.trials is not None:
        rounds.append(budget.trials / steps.n_trainings)
    if budget.full_trainings is not None:
        rounds.append(budget.full_trainings * max_epochs / steps.n_epochs)
    limits = _other_limits(experiment)
    limit = f"; at most {' and '.join(limits)}" if limits else ""
    a_round = f"a round: {steps.n_trainings} trainings, {steps.n_epochs} epochs"
    if not rounds:
        return f"{a_round}; rounds until the budget is spent{limit}"
    n_rounds = min(rounds)
    n_trainings = math.ceil(n_rounds * steps.n_trainings)
    n_epochs = math.ceil(n_rounds * steps.n_epochs)
    return f"{a_round}\nin all: {n_rounds:.3g} rounds, {n_trainings} trainings, about {n_epochs} epochs{limit}"
