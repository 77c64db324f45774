"""The optimizer section of an experiment: which engine proposes, and with which settings."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveInt, model_validator


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    evaluate_default: bool = Field(default=True, description="propose the search space's default configuration first")


class SmacConfig(_Settings):
    """SMAC: Hyperband over epochs, proposals by a random forest on a random scalarisation (ParEGO)."""

    name: Literal["smac"] = "smac"
    n_initial: PositiveInt | None = Field(
        default=None, description="random configurations before the model proposes (default: hyperparameters + 2)"
    )
    min_trials: PositiveInt | None = Field(
        default=None,
        description="results that a rung must have before the model learns from it (default: hyperparameters + 2)",
    )


class OptunaConfig(_Settings):
    """Optuna: NSGA-II or multi-objective TPE, every configuration trained for all epochs."""

    name: Literal["optuna"] = "optuna"
    sampler: Literal["nsga2", "tpe"] = Field(default="nsga2", description="evolution, or a density model")
    population_size: int = Field(strict=True, default=20, ge=2, description="nsga2: configurations in a generation")
    n_initial: PositiveInt = Field(default=10, description="tpe: random configurations before the model proposes")

    @model_validator(mode="after")
    def _refuse_unused(self) -> Self:
        unused = "n_initial" if self.sampler == "nsga2" else "population_size"
        if unused in self.model_fields_set:
            raise ValueError(f"{unused} has no effect with sampler {self.sampler}")
        return self


class RandomConfig(_Settings):
    """Random search, every configuration trained for all epochs."""

    name: Literal["random"] = "random"


def _spelled_out(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


OptimizerConfig = Annotated[
    Annotated[SmacConfig | OptunaConfig | RandomConfig, Field(discriminator="name")],
    BeforeValidator(
        _spelled_out,
        json_schema_input_type=Literal["smac", "optuna", "random"] | SmacConfig | OptunaConfig | RandomConfig,
    ),
]
"""A mapping with a ``name``, or the bare name: ``optimizer: smac``."""
