"""Versions of registered models."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from dsnn_hpo.tracking.mlflow._store import asking, client_of

_VERSIONS = "mlflow.modelVersions"
_EXISTS = "RESOURCE_ALREADY_EXISTS"


def register(uri: str, model_id: str, name: str, aliases: Sequence[str], tags: Mapping[str, str]) -> str:
    """Returns the version of a registered model that a logged model is, the one it has already where there is one.

    Args:
        uri: of the store.
        model_id: the logged model.
        name: of the registered model, which is made where there is none.
        aliases: that are to point to the version from now on.
        tags: of the version.

    Raises:
        TrackingError: the store has no registry, refuses the name or an alias, or does not answer.
    """
    with asking(uri):
        client = client_of(uri)
        try:
            client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != _EXISTS:
                raise
        version = _version_of(client, model_id, name) or _create(client, model_id, name, tags)
        _link(client, model_id, name, version)
        for alias in aliases:
            client.set_registered_model_alias(name, alias, version)
        return version


def _version_of(client: MlflowClient, model_id: str, name: str) -> str | None:
    quoted = name.replace("'", "''")
    for version in client.search_model_versions(f"name = '{quoted}'"):
        if version.source == f"models:/{model_id}":
            return str(version.version)
    return None


def _link(client: MlflowClient, model_id: str, name: str, version: str) -> None:
    """Makes the model's page show the version, as a server does of itself and a database does not."""
    tags = client.get_logged_model(model_id).tags
    known = json.loads(tags.get(_VERSIONS, "[]"))
    if not any(one["name"] == name and str(one["version"]) == version for one in known):
        own = {"name": name, "version": int(version)}
        client.set_logged_model_tags(model_id, {_VERSIONS: json.dumps([*known, own])})


def _create(client: MlflowClient, model_id: str, name: str, tags: Mapping[str, str]) -> str:
    model = client.get_logged_model(model_id)
    made = client.create_model_version(
        name, f"models:/{model_id}", run_id=model.source_run_id, tags=dict(tags), model_id=model_id
    )
    return str(made.version)
