"""The `energy:` section of an experiment file."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


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
        description="seconds of repeated inference passes that are measured during the search, at least 2",
    )
    final_window_s: float = Field(
        strict=True,
        default=5.0,
        ge=5.0,
        le=600.0,
        description="seconds of each window of the figures that go on the front, at least 5: a card's counter steps "
        "ten times a second and its power is a mean over one",
    )
    final_repeats: int = Field(
        strict=True,
        default=6,
        ge=0,
        le=1000,
        description="windows that are measured for such a figure at most, at least 3; 0: the front is not measured again "
        "after the search",
    )
    final_ci: float = Field(
        strict=True,
        default=0.05,
        gt=0.0,
        lt=1.0,
        description="half the width of the 95 % interval, as a part of the mean, at which no more windows are measured",
    )
    idle: Literal["keep", "subtract"] = Field(
        default="keep",
        description="whether a figure of inference includes what the machine takes at rest; to subtract it takes scope machine",
    )
    ram: Literal["model", "none"] = Field(
        default="model",
        description="what stands for memory that has no counter: CodeCarbon's model, a constant power by its size, or nothing",
    )

    hardware: str = Field(
        default="horowitz-45nm",
        description="table of costs of the modelled energy: horowitz-45nm, shiftaddnet-45nm, paper-compatible, "
        "zynq-7-zc706, or a YAML file of your own, relative to this one",
    )
    memory: Literal["flat", "row_stationary", "none"] = Field(
        default="flat",
        description="what moving bytes costs in it: so much a byte, by reuse on a row-stationary array (Eyeriss), or nothing",
    )

    @model_validator(mode="after")
    def _is_an_interval(self) -> EnergyConfig:
        if self.final_repeats in (1, 2):
            raise ValueError("final_repeats: an interval takes at least 3 windows; 0 measures nothing after the search")
        return self

    @model_validator(mode="after")
    def _idle_has_an_owner(self) -> EnergyConfig:
        if self.idle == "subtract" and self.scope == "process":
            raise ValueError(
                "idle: subtract needs scope: machine: of what a machine takes at rest, no part is one process's own"
            )
        return self
