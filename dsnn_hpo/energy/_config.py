"""The `energy:` section of an experiment file."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class EnergyConfig(BaseModel):
    """How energy is measured; nothing is fetched from a network."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    country: str = Field(
        default="DEU",
        description="ISO 3166 code (three letters) of the country whose electricity mix turns joules into grams of CO2eq",
        pattern=r"^[A-Z]{3}$",
    )
    scope: Literal["process", "machine"] = Field(
        default="process",
        description="what is charged: the worker's own share of processor and memory (right for several workers on one "
        "machine), or the whole machine (right for one worker that has the machine to itself)",
    )
    window_s: float = Field(
        strict=True,
        default=2.0,
        ge=2.0,
        le=600.0,
        description="seconds of repeated inference passes that are measured, at least 2",
    )
