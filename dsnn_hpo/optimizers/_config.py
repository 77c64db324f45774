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
    """Optuna: NSGA-II, multi-objective TPE or Gaussian processes, every configuration trained for all epochs."""

    name: Literal["optuna"] = "optuna"
    sampler: Literal["nsga2", "tpe", "gp"] = Field(
        default="nsga2", description="evolution, a density model, or Gaussian processes"
    )
    population_size: int = Field(strict=True, default=20, ge=2, description="nsga2: configurations in a generation")
    n_initial: PositiveInt = Field(default=10, description="tpe, gp: random configurations before the model proposes")

    @model_validator(mode="after")
    def _refuse_unused(self) -> Self:
        unused = "n_initial" if self.sampler == "nsga2" else "population_size"
        if unused in self.model_fields_set:
            raise ValueError(f"{unused} has no effect with sampler {self.sampler}")
        return self


class RandomConfig(_Settings):
    """Random search, every configuration trained for all epochs."""

    name: Literal["random"] = "random"


class PriorConfig(BaseModel):
    """Where the best values of one hyperparameter are believed to be: a normal or beta distribution, or weighted choices."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    mu: float | None = Field(default=None, description="of a number: the likeliest value")
    sigma: float | None = Field(
        default=None, gt=0, description="of a number: one standard deviation; on a log scale the factor that it is"
    )
    alpha: float | None = Field(default=None, ge=1, description="of a number: of a beta distribution over its range")
    beta: float | None = Field(default=None, ge=1, description="of a number: of a beta distribution over its range")
    weights: dict[bool | int | float | str, Annotated[float, Field(gt=0)]] | None = Field(
        default=None, description="of a choice: by value, how likely next to the others, whose weight is 1"
    )

    @model_validator(mode="after")
    def _refuse_halves(self) -> Self:
        if self.model_fields_set not in ({"mu", "sigma"}, {"alpha", "beta"}, {"weights"}):
            raise ValueError("give mu and sigma, or alpha and beta, or weights")
        return self


class BayesianConfig(_Settings):
    """Gaussian processes over all fidelities, expected hypervolume improvement, fidelity by the worth of a test."""

    name: Literal["bayesian"] = "bayesian"
    n_initial: PositiveInt | None = Field(
        default=None,
        description="configurations chosen without the model, each at the lowest rung (default: 7 a hyperparameter, at most "
        "64, and at most the cost of 3 full trainings, a fifth of the full trainings and a third of the trials of the "
        "budget, but hyperparameters + 2 at least)",
    )
    reference: dict[str, float] = Field(
        default_factory=dict,
        description="by objective, the worst value still of interest, in its own unit, e.g. {error: 0.2}: the model "
        "seeks nothing worse (default: what most of the first configurations reach)",
    )
    weights: dict[str, float] = Field(
        default_factory=dict,
        description="by objective, how much it matters next to the others, whose weight is 1, e.g. {error: 2}",
    )
    constraints: tuple[str, ...] = Field(
        default=(), description="what a configuration must keep to be of use, e.g. ['model_size_bytes <= 65536']"
    )
    cost: Literal["epochs", "seconds", "energy"] = Field(
        default="epochs", description="what a training costs; seconds and joules an epoch are learnt"
    )
    test_price: float = Field(
        default=1.0,
        gt=0,
        le=100,
        description="weight of the cost of a training that is only a test: lower values test more, at lower rungs",
    )
    continues: bool = Field(
        default=True, description="a longer training goes on from the last checkpoint, and costs the difference only"
    )
    prior_weight: float = Field(
        default=10.0,
        ge=0,
        le=1e4,
        description="how much priors, and the search space's normal and beta distributions and weighted choices, count as "
        "beliefs about the best configurations: density to the power of this over the number of results; 0: only samples "
        "follow them",
    )
    priors: dict[str, dict[str, PriorConfig]] = Field(
        default_factory=dict,
        description="by objective and hyperparameter, where its best values are believed to be, e.g. {error: {lr: {mu: 3e-3, "
        "sigma: 3}}}, in place of what the search space says of all objectives",
    )
    warm_start: tuple[str, ...] = Field(
        default=(),
        description="folders of earlier runs with the same objectives, relative to the experiment file; what they found "
        "helps the model, and is no part of this run's front",
    )


class AshaConfig(_Settings):
    """Asynchronous successive halving by non-dominated sorting and crowding; for very many workers."""

    name: Literal["asha"] = "asha"
    proposals: Literal["evolutionary", "random", "tpe"] = Field(
        default="evolutionary",
        description="where new configurations come from: good ones' children, chance, Optuna's TPE",
    )
    brackets: PositiveInt = Field(
        default=1, description="how many of Hyperband's brackets; 1 starts every configuration at the lowest rung"
    )


def _spelled_out(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


OptimizerConfig = Annotated[
    Annotated[BayesianConfig | AshaConfig | SmacConfig | OptunaConfig | RandomConfig, Field(discriminator="name")],
    BeforeValidator(
        _spelled_out,
        json_schema_input_type=Literal["bayesian", "asha", "smac", "optuna", "random"]
        | BayesianConfig
        | AshaConfig
        | SmacConfig
        | OptunaConfig
        | RandomConfig,
    ),
]
"""A mapping with a ``name``, or the bare name: ``optimizer: smac``."""
