"""The error of a trial: of the network that would be shipped, once it was trained as long as any, before that as it trains."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from dsnn_hpo import training
from dsnn_hpo.data import PreparedData
from dsnn_hpo.deploy import error_rate
from dsnn_hpo.errors import DivergedError, FreezeError
from dsnn_hpo.evaluation._inference import deployed
from dsnn_hpo.evaluation._network import Task
from dsnn_hpo.evaluation._shipped import packed
from dsnn_hpo.evaluation._trained import TrainedNetwork
from dsnn_hpo.executor import Executor
from dsnn_hpo.trial import Provenance, Trial


@dataclass(frozen=True, slots=True)
class Errors:
    """What a trial's network gets wrong.

    Attributes:
        values: ``error`` on the validation part; of a frozen network also ``emulation_error``, that of the network in
            floating point.
        provenance: how each of them was obtained.
        test_values: ``error`` on the test part; only of a trial that was trained as long as any.
        executor: the frozen network.
    """

    values: Mapping[str, float]
    provenance: Mapping[str, Provenance]
    test_values: Mapping[str, float] = field(default_factory=dict)
    executor: Executor | None = None


def errors_of(trained: TrainedNetwork, trial: Trial, task: Task, emulation_error: float) -> Errors:
    """Returns the errors of a trained network, after saving it frozen if it was trained as long as any.

    Args:
        trained: the network, as the training left it.
        trial: that trained it.
        task: of the run, whose folder gets the frozen network.
        emulation_error: of the network in floating point on the validation part.

    Raises:
        ModelFolderError: the frozen network cannot be written.
    """
    data = trained.data
    emulated = _of_samples(emulation_error, data, "network as it trains")
    if trial.fidelity < task.max_epochs:
        return Errors({"error": emulation_error}, {"error": emulated})
    try:
        executor = deployed(trained.network, data)
    except FreezeError as reason:
        doubt = f"the network cannot be frozen, nor exported ({reason})"
        how = {"error": replace(emulated, remarks=(doubt,))}
        return Errors({"error": emulation_error}, how, _test_values(trained))
    model = packed(executor, trial, task, data)
    error = error_rate(model, data.validation)
    return Errors(
        {"error": error, "emulation_error": emulation_error},
        {"error": _of_samples(error, data, "frozen network"), "emulation_error": emulated},
        {"error": error_rate(model, data.test)},
        executor,
    )


def _test_values(trained: TrainedNetwork) -> dict[str, float]:
    # Whatever happens on the test split must not reach the search.
    with contextlib.suppress(DivergedError):
        batch_size = trained.settings.training.test_batch_size
        return {"error": training.error_rate(trained.network, trained.data.test, trained.data, batch_size)}
    return {}


def _of_samples(share: float, data: PreparedData, whose: str) -> Provenance:
    """Returns the provenance of a share of the validation part, with the interval of Agresti and Coull (1998)."""
    n = len(data.validation)
    adjusted = (share * n + 2) / (n + 4)
    ci95 = 1.96 * math.sqrt(adjusted * (1 - adjusted) / (n + 4))
    return Provenance(f"validation samples, {whose}", "measured", "inference", "", ci95, n)
