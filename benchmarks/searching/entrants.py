"""Who takes part: our optimizers by their own settings, and peers at their best documented ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from dsnn_hpo.optimizers import Optimizer, OptimizerConfig, make_optimizer
from searching.beliefs import KINDS, beliefs
from searching.problem import Problem


class UnknownEntrantError(Exception):
    """There is no such entrant in this version, or its settings are wrong."""


@dataclass(frozen=True, slots=True)
class Entrant:
    """A way to search.

    Attributes:
        label: unique in a comparison.
        settings: of ``dsnn_hpo.optimizers`` if ``engine`` is "dsnn_hpo". ``reference: problem`` hands it the problem's own
            thresholds, ``priors: good`` or ``priors: misleading`` beliefs about where each objective is best.
        engine: whose it is: ours or our adapter's ("dsnn_hpo"), or a peer's ("hyperband", "optuna", "smac").
    """

    label: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    engine: str = "dsnn_hpo"

    @property
    def key(self) -> str:
        """Returns its engine and settings as text."""
        return json.dumps([self.engine, dict(self.settings)], sort_keys=True, separators=(",", ":"))

    def make(self, problem: Problem, seed: int, n_workers: int, continues: bool) -> Optimizer:
        """Returns a fresh optimizer.

        Args:
            problem: to be searched.
            seed: fixes its proposals.
            n_workers: how many trainings will run at a time.
            continues: whether longer trainings go on from shorter ones.

        Raises:
            UnknownEntrantError: this version has no such optimizer, or the settings are wrong.
        """
        if self.engine == "hyperband":
            from searching.hyperband import HyperbandOptimizer

            return HyperbandOptimizer(problem, seed)
        if self.engine == "optuna":
            from searching.optuna_peer import OptunaPeer

            return OptunaPeer(problem, seed, self.settings, n_workers)
        if self.engine == "smac":
            from searching.smac_peer import SmacPeer

            return SmacPeer(problem, seed)
        config = _config_of(self, problem, seed, continues)
        return make_optimizer(config, problem.space, problem.objectives, problem.fidelity, seed)


PEERS = (
    Entrant("random", {"name": "random"}),
    Entrant("Hyperband", engine="hyperband"),
    # Through our adapter: its docstring says which defects of SMAC 2.4.1 it works around.
    Entrant("SMAC", {"name": "smac"}),
    Entrant("NSGA-II", {"sampler": "nsga2", "population_size": 20}, "optuna"),
    Entrant("TPE", {"sampler": "tpe"}, "optuna"),
    Entrant("GPSampler", {"sampler": "gp"}, "optuna"),
    Entrant("ASHA, random", {"name": "asha", "proposals": "random"}),
)
OURS = (
    Entrant("ASHA, evolutionary", {"name": "asha", "proposals": "evolutionary"}),
    Entrant("bayesian", {"name": "bayesian"}),
    Entrant("bayesian, thresholds", {"name": "bayesian", "reference": "problem"}),
)
BELIEVING = tuple(Entrant(f"bayesian, {kind} priors", {"name": "bayesian", "priors": kind}) for kind in KINDS)
SLOW = (Entrant("SMAC, direct", engine="smac"),)
"""Without our adapter SMAC spends minutes of processor time on a search."""
ON_REQUEST = (*BELIEVING, *SLOW)
"""Take part only where they are named."""
FILLED_IN = (("reference", "problem"), *(("priors", kind) for kind in KINDS))
"""Settings that depend on the problem."""
MAIN = "bayesian"
"""The entrant whose figures are compared with the peers' by default."""


def entrants(chosen: list[str] | None = None, extra: list[str] | None = None) -> list[Entrant]:
    """Returns the entrants with these labels (by default all that this version has, less those on request), and ours with further settings.

    Args:
        chosen: labels.
        extra: settings of ``dsnn_hpo.optimizers`` as JSON, optionally after a label: ``label={"name": "bayesian", ...}``.

    Raises:
        UnknownEntrantError: there is no such label, or the settings are wrong.
    """
    every = {entrant.label: entrant for entrant in (*PEERS, *OURS, *ON_REQUEST)}
    unknown = [label for label in chosen or () if label not in every]
    if unknown:
        raise UnknownEntrantError(f"there is no entrant {unknown[0]!r}; there are: {', '.join(map(repr, every))}")
    usual = [entrant for entrant in (*PEERS, *OURS) if _exists(entrant)]
    picked = usual if chosen is None else [every[label] for label in chosen]
    for entrant in picked:
        _check(entrant)
    return picked + [_parsed(text) for text in extra or ()]


def _exists(entrant: Entrant) -> bool:
    try:
        _check(entrant)
    except UnknownEntrantError:
        return False
    return True


def _parsed(text: str) -> Entrant:
    """Returns the entrant of ``label={...}``, or of ``{...}``, which is then its label, too."""
    label, brace, body = text.partition("{")
    try:
        entrant = Entrant(label.rstrip("=") or text, json.loads(brace + body))
    except json.JSONDecodeError as error:
        raise UnknownEntrantError(f'{text!r} has no JSON ({error}); write e.g. \'{{"name": "asha"}}\'') from None
    _check(entrant)
    return entrant


def _check(entrant: Entrant) -> None:
    """Raises UnknownEntrantError where this version has no such optimizer or settings."""
    if entrant.engine == "dsnn_hpo":
        _validated({k: v for k, v in entrant.settings.items() if (k, v) not in FILLED_IN}, entrant.label)


def _config_of(entrant: Entrant, problem: Problem, seed: int, continues: bool) -> OptimizerConfig:
    filled = dict(entrant.settings)
    if filled.get("reference") == "problem":
        pairs = zip(problem.objectives, problem.reference, strict=True)
        filled["reference"] = {objective.name: float(limit) for objective, limit in pairs}
    if filled.get("priors") in KINDS:
        filled["priors"] = beliefs(problem, filled["priors"], seed)
    if filled.get("name") == "bayesian":
        filled.setdefault("continues", continues)
    # A default configuration that nobody chose is any point, and an optimum in the middle of the cube its own reward.
    filled.setdefault("evaluate_default", problem.has_default)
    return _validated(filled, entrant.label)


def _validated(settings: Mapping[str, Any], label: str) -> OptimizerConfig:
    try:
        config: OptimizerConfig = TypeAdapter(OptimizerConfig).validate_python(dict(settings))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UnknownEntrantError(f"{label!r} is not in this version: {place}: {first['msg']}") from None
    return config
