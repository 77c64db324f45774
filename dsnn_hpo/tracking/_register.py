"""A trial's network as a version of a registered model."""

from __future__ import annotations

from dataclasses import dataclass

from dsnn_hpo.errors import InputError
from dsnn_hpo.journal import History
from dsnn_hpo.tracking._mirror import impatient_mlflow
from dsnn_hpo.tracking._rendered import Content
from dsnn_hpo.tracking._session import Session, Target

_NOT_IN_NAMES = "/:"


@dataclass(frozen=True, slots=True)
class Registration:
    """What a trial is to be called: the registered model, and aliases of this version of it."""

    trial: int
    name: str
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.name.strip() or set(self.name) & set(_NOT_IN_NAMES) or self.name != self.name.strip():
            raise InputError(f"--name {self.name!r}: a registered model's name has no '/' or ':' and is not empty")
        for alias in self.aliases:
            numbered = alias[:1].lower() == "v" and alias[1:].isdigit()
            if not alias.replace("-", "").replace("_", "").isalnum() or numbered or alias.lower() == "latest":
                raise InputError(
                    f"--alias {alias!r}: an alias has letters, digits, '-' and '_', and is neither 'latest' nor 'v' with a number"
                )


@dataclass(frozen=True, slots=True)
class Registered:
    """A version of a registered model, its logged model, and the addresses under which it loads."""

    name: str
    version: str
    model_id: str
    uris: tuple[str, ...]


def register(history: History, target: Target, content: Content, registration: Registration) -> Registered:
    """Returns the version of a registered model that a trial's network is; made where it is not there, never twice.

    Args:
        history: of the run, which is brought up to date in the store first.
        target: the store.
        content: makes what is shown; holds the packed models.
        registration: the trial, and what it is to be called.

    Raises:
        InputError: there is no such finished trial, or no packed model of it.
        TrackingError: the store has no registry, refused, or did not answer.
    """
    result = history.latest(history.completed(registration.trial))
    session = Session(target, content)
    # A registry in a database looks logged models up where the environment says, not where it is itself.
    with impatient_mlflow(MLFLOW_TRACKING_URI=target.uri):
        session.sync(history, final=True)
        model_id = session.log_model(result)
        from dsnn_hpo.tracking.mlflow import register as register_model

        tags = {name: f"{value:.6g}" for name, value in result.values.items() if name in history.header.objectives}
        tags |= {"dsnn_hpo.run_id": history.header.run_id, "dsnn_hpo.trial": str(registration.trial)}
        version = register_model(target.uri, model_id, registration.name, registration.aliases, tags)
    uris = (
        *(f"models:/{registration.name}@{alias}" for alias in registration.aliases),
        f"models:/{registration.name}/{version}",
    )
    return Registered(registration.name, version, model_id, uris)
