from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from ConfigSpace import ConfigurationSpace

from dsnn_hpo.errors import SearchSpaceError
from dsnn_hpo.search_space import N_STAGES, ModelFacts, load_search_space, plain
from dsnn_hpo.trial import Scalar

LR = "{name: lr, type: uniform_float, lower: 1e-4, upper: 0.1, log: true}"
DEPTH = "{name: depth, type: uniform_int, lower: 1, upper: 4}"


def _facts(n_stages: int) -> ModelFacts:
    return ModelFacts("fixed", {}, lambda _: 9, lambda _: n_stages)


def _stages_by_depth(arguments: Mapping[str, Scalar]) -> int:
    return int(arguments.get("depth", 1))


# As many stages as it is deep.
GROWING = ModelFacts("growing", {"depth": 4, "width": 8}, _stages_by_depth, _stages_by_depth)


def _operator(stage: int, meta: str = "") -> str:
    return f"{{name: stage{stage}_operator, type: categorical, choices: [conv, adder, shift_q]{meta}}}"


def _bits(stage: int, meta: str = "") -> str:
    return f"{{name: stage{stage}_weight_bits, type: uniform_int, lower: 2, upper: 5{meta}}}"


OPTIONAL = ", meta: {optional: true}"


def _load(folder: Path, items: list[str], more: str = "", model: ModelFacts = GROWING) -> ConfigurationSpace:
    file = folder / "space.yaml"
    file.write_text("hyperparameters:\n" + "".join(f"  - {item}\n" for item in items) + more)
    return load_search_space(file, model, 0)


def _samples(space: ConfigurationSpace, n_samples: int = 300) -> list[dict[str, Scalar]]:
    return [plain(configuration) for configuration in space.sample_configuration(n_samples)]


@pytest.mark.parametrize("item", [_operator(3), _bits(3)])
def test_a_stage_beyond_the_networks_is_an_error_that_names_it(tmp_path: Path, item: str) -> None:
    name = item.split(",")[0].removeprefix("{name: ")
    with pytest.raises(
        SearchSpaceError, match=rf"space\.yaml: hyperparameter {name}: fixed has 2 stages; remove it, or"
    ):
        _load(tmp_path, [LR, item], model=_facts(2))
    assert name in _load(tmp_path, [LR, item], model=_facts(3))
    with pytest.raises(SearchSpaceError, match=r"growing has at most 2 stages in this space \(by depth\)"):
        _load(tmp_path, [DEPTH.replace("4", "2"), item])


def test_an_optional_stage_beyond_the_networks_is_dropped_with_what_depends_on_it(tmp_path: Path) -> None:
    items = [LR, *(make(stage, OPTIONAL) for stage in (1, 2, 3) for make in (_operator, _bits))]
    conditions = "conditions:\n" + "".join(
        f"  - {{type: EQ, child: stage{s}_weight_bits, parent: stage{s}_operator, value: shift_q}}\n" for s in (1, 2, 3)
    )
    space = _load(tmp_path, items, conditions, _facts(2))
    assert set(space) == {"lr", *(f"stage{s}_{what}" for s in (1, 2) for what in ("operator", "weight_bits"))}
    for config in _samples(space, 50):
        for stage in (1, 2):
            assert (f"stage{stage}_weight_bits" in config) == (config[f"stage{stage}_operator"] == "shift_q")


def test_a_model_with_more_stages_than_there_are_names_is_fine(tmp_path: Path) -> None:
    items = [_operator(stage) for stage in range(1, N_STAGES + 1)]
    assert len(_load(tmp_path, items, model=_facts(9))) == N_STAGES
    with pytest.raises(SearchSpaceError, match="unknown hyperparameter 'stage5_operator'"):
        _load(tmp_path, [_operator(5)], model=_facts(9))


def test_no_configuration_has_a_stage_that_its_network_has_not(tmp_path: Path) -> None:
    items = [DEPTH, *(_operator(stage) for stage in (1, 2, 3, 4)), *(_bits(stage) for stage in (2, 3))]
    condition = "conditions:\n  - {type: EQ, child: stage3_weight_bits, parent: stage3_operator, value: shift_q}\n"
    space = _load(tmp_path, items, condition)
    assert space["depth"].default_value == 2
    for config in [plain(space.get_default_configuration()), *_samples(space)]:
        depth = int(config["depth"])
        assert [f"stage{s}_operator" in config for s in (1, 2, 3, 4)] == [s <= depth for s in (1, 2, 3, 4)]
        assert ("stage2_weight_bits" in config) == (depth >= 2)
        assert ("stage3_weight_bits" in config) == (depth >= 3 and config["stage3_operator"] == "shift_q")


def test_bits_that_all_stages_share_need_one_that_is_there(tmp_path: Path) -> None:
    items = [_operator(stage, OPTIONAL) for stage in (1, 2, 3)]
    items.append("{name: weight_bits, type: uniform_int, lower: 2, upper: 5}")
    parts = ", ".join(f"{{type: EQ, child: weight_bits, parent: stage{s}_operator, value: shift_q}}" for s in (1, 2, 3))
    condition = f"conditions:\n  - {{type: OR, conditions: [{parts}]}}\n"
    for n_stages in (1, 2, 3):
        for config in _samples(_load(tmp_path, items, condition, _facts(n_stages)), 60):
            names = [config.get(f"stage{s}_operator") for s in (1, 2, 3)]
            assert ("weight_bits" in config) == ("shift_q" in names)


def test_stages_that_two_arguments_decide_together_are_refused(tmp_path: Path) -> None:
    def n_stages(arguments: Mapping[str, Scalar]) -> int:
        return max(int(arguments.get("depth", 1)), int(arguments.get("width", 1)))

    model = ModelFacts("square", {"depth": 1, "width": 1}, _stages_by_depth, n_stages)
    width = "{name: width, type: uniform_int, lower: 1, upper: 2}"
    with pytest.raises(
        SearchSpaceError, match=r"stage2_operator: some networks of square .* fewer than 2 stages, by depth"
    ):
        _load(tmp_path, [DEPTH, width, _operator(2)], model=model)
    assert "stage2_operator" in _load(
        tmp_path, [DEPTH, width.replace("1", "2").replace("2}", "3}"), _operator(2)], model=model
    )


def test_a_conditional_argument_cannot_decide_the_stages(tmp_path: Path) -> None:
    optimizer = "{name: optimizer, type: categorical, choices: [SGD, Adam]}"
    condition = "conditions:\n  - {type: EQ, child: depth, parent: optimizer, value: SGD}\n"
    with pytest.raises(SearchSpaceError, match="depends on depth, which therefore cannot be conditional"):
        _load(tmp_path, [optimizer, DEPTH, _operator(2)], condition)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (["{name: shift_type, type: constant, value: Q}", "{name: operator, type: constant, value: adder}"], "shift_type: .*by operator"),
        (["{name: shift_type, type: constant, value: Q}", _operator(1), _operator(2)], "shift_type: .*by stage1_operator"),
        (["{name: operator, type: constant, value: adder}", _operator(2)], "operator: .*by stage2_operator"),
    ],
)  # fmt: skip
def test_what_a_layer_becomes_is_settled_once(tmp_path: Path, items: list[str], message: str) -> None:
    with pytest.raises(SearchSpaceError, match=message):
        _load(tmp_path, [LR, *items], model=_facts(3))


def test_an_unknown_operator_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SearchSpaceError, match=r"choices: 'addre' \(did you mean 'adder'\?"):
        _load(tmp_path, [_operator(1).replace("adder", "addre")], model=_facts(3))
