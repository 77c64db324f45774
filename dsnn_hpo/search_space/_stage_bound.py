"""Fitting the hyperparameters of stages to the stages that the model's networks really have."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from dsnn_hpo.search_space._check import Item, Place
from dsnn_hpo.search_space._hyperparameters import N_STAGES, stage_hyperparameter
from dsnn_hpo.search_space._model_bound import Counts, ModelFacts, count_over_networks

_WHATS: tuple[Literal["operator", "weight_bits"], ...] = ("operator", "weight_bits")


def refuse_two_choices(items: Mapping[str, Item], file: Path) -> None:
    """Raises SearchSpaceError where two hyperparameters would settle what one layer becomes."""
    of_stages = [name for name in _of_stages(items) if name.endswith("operator")]
    choices = [name for name in ("shift_type", "operator", *of_stages[:1]) if name in items]
    if len(choices) > 1:
        Place(file, f"hyperparameter {choices[0]}").fail(
            f"what a layer becomes is settled by {choices[1]} already; remove one of them"
        )


def bound_by_stages_(kept: dict[str, Item], model: ModelFacts, file: Path) -> list[Item]:
    """Returns conditions under which hyperparameters of stages are active: only where the network has the stage.

    An optional one whose stage no network of the space has is dropped, in place; another raises SearchSpaceError.
    """
    named = _of_stages(kept)
    if not named:
        return []
    counts = count_over_networks(
        kept, model, model.n_stages, "stages", Place(file, f"hyperparameter {next(iter(named))}")
    )
    conditions: list[Item] = []
    for name, stage in named.items():
        place = Place(file, f"hyperparameter {name}")
        if stage > counts.largest:
            if not (kept[name].get("meta") or {}).get("optional", False):
                place.fail(f"{_stages(model, counts)}; remove it, or add meta: {{optional: true}}")
            del kept[name]
        elif stage > counts.smallest:
            conditions.append(_condition(name, stage, model, counts, place))
    return conditions


def _of_stages(items: Mapping[str, Item]) -> dict[str, int]:
    stages = {stage_hyperparameter(stage, what): stage for stage in range(1, N_STAGES + 1) for what in _WHATS}
    return {name: stage for name, stage in stages.items() if name in items}


def _condition(name: str, stage: int, model: ModelFacts, counts: Counts, place: Place) -> Item:
    if len(counts.arguments) > 1:
        place.fail(
            f"some networks of {model.name} in this space have fewer than {stage} stages, by "
            f"{' and '.join(counts.arguments)} together; narrow these so that one of them decides"
        )
    (argument,) = counts.arguments
    values = [value for (value,), n_stages in counts.by_values.items() if n_stages >= stage]
    return {"type": "IN", "child": name, "parent": argument, "values": values}


def _stages(model: ModelFacts, counts: Counts) -> str:
    n_stages = f"{counts.largest} {'stage' if counts.largest == 1 else 'stages'}"
    if not counts.arguments:
        return f"{model.name} has {n_stages}"
    return f"{model.name} has at most {n_stages} in this space (by {', '.join(counts.arguments)})"
