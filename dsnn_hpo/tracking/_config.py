"""The ``tracking`` section of an experiment file."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class TrackingConfig(BaseModel):
    """Where MLflow keeps its copy of the run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    uri: str | None = Field(
        default=None,
        description="MLflow tracking URI: sqlite:///FILE, postgresql+psycopg2://..., mysql+pymysql://... or the "
        "http(s):// address of a server; by default a SQLite file beside the runs",
    )
    experiment: str | None = Field(
        default=None, min_length=1, description="name of the MLflow experiment; by default the name of this one"
    )
