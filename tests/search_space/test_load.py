from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from ConfigSpace import ConfigurationSpace

from dsnn_hpo.errors import SearchSpaceError
from dsnn_hpo.search_space import (
    HYPERPARAMETERS,
    ModelFacts,
    check_fixed,
    find_space,
    load_search_space,
    plain,
    shipped_spaces,
)
from dsnn_hpo.trial import Scalar


def _resnet_convolutions(arguments: Mapping[str, Scalar]) -> int:
    return 1 + 6 * int(arguments.get("depth", 3))


RESNET = ModelFacts("resnet20", {"width": 16, "depth": 3}, _resnet_convolutions, lambda _: 3)
FIXED = ModelFacts("vgg19", {}, lambda _: 16, lambda _: 5)
MLP = ModelFacts("mlp", {"width": 64}, lambda _: 0, lambda _: 1)

LR = "{name: lr, type: uniform_float, lower: 1e-4, upper: 0.1, log: true}"
SHIFT_DEPTH = "{name: shift_depth, type: uniform_int, lower: 0, upper: 1000, meta: {upper: n_convolutions}}"
OPTIMIZER = "{name: optimizer, type: categorical, choices: [SGD, Adam]}"
MOMENTUM = "{name: momentum, type: uniform_float, lower: 0, upper: 0.9}"
DEPTH = "{name: depth, type: uniform_int, lower: 1, upper: 3}"


def _load(
    folder: Path, items: list[str], more: str = "", model: ModelFacts = RESNET, seed: int = 0
) -> ConfigurationSpace:
    file = folder / "space.yaml"
    file.write_text("hyperparameters:\n" + "".join(f"  - {item}\n" for item in items) + more)
    return load_search_space(file, model, seed)


def _samples(space: ConfigurationSpace, n_samples: int = 300) -> list[dict[str, Scalar]]:
    return [plain(configuration) for configuration in space.sample_configuration(n_samples)]


@pytest.mark.parametrize("name", shipped_spaces())
@pytest.mark.parametrize("model", [RESNET, FIXED, MLP], ids=lambda model: model.name)
def test_shipped_spaces_fit_every_model(name: str, model: ModelFacts) -> None:
    space = load_search_space(find_space(name, Path()), model, 0)
    for config in [plain(space.get_default_configuration()), *_samples(space)]:
        assert ("shift_depth" in config) == (model is not MLP and name.startswith("dsnn"))
        if "shift_depth" in config:
            assert int(config["shift_depth"]) <= model.n_convolutions(config)
        for hyperparameter in config:
            assert hyperparameter in HYPERPARAMETERS or hyperparameter in model.arguments


def test_the_shipped_space() -> None:
    space = load_search_space(find_space("dsnn", Path()), RESNET, 0)
    default = plain(space.get_default_configuration())
    assert default["shift_depth"] == _resnet_convolutions(default) == 13
    assert space["shift_depth"].upper == 19
    assert space["lr"].log
    assert space["weight_decay"].log
    samples = _samples(space)
    with_momentum = {"SGD", "Adam", "RMSprop", "RAdam", "Ranger"}
    assert all(("momentum" in config) == (config["optimizer"] in with_momentum) for config in samples)
    assert {config["shift_depth"] for config in samples} == set(range(20))
    assert {config["activation_rounding"] for config in samples} == {"nearest"}


def test_the_hybrid_space() -> None:
    space = load_search_space(find_space("hybrid", Path()), RESNET, 0)
    default = plain(space.get_default_configuration())
    operators = [f"stage{stage}_operator" for stage in (1, 2, 3)]
    assert [default[name] for name in operators] == ["shift_q"] * 3
    assert not any(name.startswith("stage4") for name in space)
    shifts = {"shift_q", "shift_ps", "dense_shift", "shift_add"}
    samples = _samples(space, 600)
    for config in samples:
        chosen = [config[name] for name in operators]
        for stage, operator in enumerate(chosen, start=1):
            assert (f"stage{stage}_weight_bits" in config) == (operator in shifts)
        for name in ("activation_integer_bits", "activation_fraction_bits", "rounding"):
            assert (name in config) == any(operator in shifts for operator in chosen)
        assert ("first_layer" in config) == (chosen[0] != "conv")
        assert config["last_layer"] == "keep"
    for name in operators:
        assert {config[name] for config in samples} == {*shifts, "adder", "spatial_shift", "conv"}


def test_the_hybrid_space_knows_which_of_a_model_s_networks_have_a_stage() -> None:
    model = ModelFacts("cnn", {"depth": 3}, lambda _: 1, lambda arguments: int(arguments.get("depth", 3)))
    space = load_search_space(find_space("hybrid", Path()), model, 0)
    for config in _samples(space):
        names = {name for name in config if name.endswith("_operator")}
        assert names == {f"stage{stage}_operator" for stage in range(1, int(config["depth"]) + 1)}


def test_fixed_hyperparameters_join_as_constants(tmp_path: Path) -> None:
    fixed: dict[str, Scalar] = {"operator": "adder", "weight_bits": 4, "width": 8, "momentum": 0.5}
    file = tmp_path / "space.yaml"
    file.write_text(f"hyperparameters: [{LR}]\n")
    check_fixed(fixed, RESNET)
    space = load_search_space(file, RESNET, 0, fixed)
    for config in [plain(space.get_default_configuration()), *_samples(space, 20)]:
        assert config.pop("lr")
        assert config == fixed
        assert type(config["weight_bits"]) is int


@pytest.mark.parametrize(
    ("fixed", "message"),
    [
        ({"opertor": "adder"}, r"unknown hyperparameter 'opertor' \(did you mean 'operator'\?"),
        ({"operator": "addre"}, r"operator: 'addre' \(did you mean 'adder'\?"),
        ({"weight_bits": 9}, r"weight_bits: 9 is out of range \(allowed: 2 <= value <= 8\)"),
        ({"lr": True}, "lr: True is not a number"),
        ({"height": 3}, "unknown hyperparameter 'height'"),
    ],
)
def test_wrong_fixed_hyperparameters_are_refused(fixed: dict[str, Scalar], message: str) -> None:
    with pytest.raises(SearchSpaceError, match=message):
        check_fixed(fixed, RESNET)


def test_what_is_searched_cannot_be_fixed(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(f"hyperparameters: [{LR}]\n")
    with pytest.raises(
        SearchSpaceError, match=r"space\.yaml: hyperparameter lr: is fixed to 0\.1 by the experiment; remove"
    ):
        load_search_space(file, RESNET, 0, {"lr": 0.1})


def test_the_published_space_to_the_letter() -> None:
    space = load_search_space(find_space("dsnn_paper", Path()), FIXED, 0)
    ranges = {h.name: (h.lower, h.upper, h.default_value, h.log) for h in space.values() if hasattr(h, "lower")}
    assert ranges == {
        "batch_size": (127, 128, 128, False),
        "test_batch_size": (500, 2000, 1000, False),
        "lr": (0.001, 0.2, 0.1, False),
        "momentum": (0.0, 0.9, 0.9, False),
        "epochs": (2, 20, 5, False),
        "weight_bits": (2, 5, 5, False),
        "activation_integer_bits": (4, 32, 16, False),
        "activation_fraction_bits": (4, 32, 16, False),
        "shift_depth": (1, 16, 16, False),
        "weight_decay": (1e-6, 1e-2, 1e-4, False),
    }
    choices = {h.name: (list(h.choices), h.default_value) for h in space.values() if hasattr(h, "choices")}
    assert choices == {
        "optimizer": (["SGD", "Adam", "adadelta", "adagrad", "rmsprop", "radam", "ranger"], "SGD"),
        "shift_type": (["Q", "PS"], "PS"),
        "rounding": (["deterministic", "stochastic"], "deterministic"),
    }
    assert not space.conditions
    assert not space.forbidden_clauses


def test_the_seed_decides_the_samples(tmp_path: Path) -> None:
    one, same, other = (_samples(_load(tmp_path, [LR], seed=seed), 5) for seed in (1, 1, 2))
    assert one == same != other


def test_plain_values_have_plain_types(tmp_path: Path) -> None:
    model = ModelFacts("cnn", {"width": 8, "dropout": 0.1, "norm": True, "act": "relu"}, lambda _: 3, lambda _: 3)
    items = [
        OPTIMIZER,
        LR,
        "{name: width, type: ordinal, sequence: [4, 8]}",
        "{name: dropout, type: categorical, choices: [0.0, 0.5]}",
        "{name: norm, type: categorical, choices: [true, false]}",
        "{name: act, type: constant, value: relu}",
    ]
    space = _load(tmp_path, items, model=model)
    for config in _samples(space, 20):
        types = {name: type(value) for name, value in config.items()}
        assert types == {"optimizer": str, "lr": float, "width": int, "dropout": float, "norm": bool, "act": str}
        assert list(config) == [name for name in space if name in config]


def test_optional_hyperparameters_vanish_with_their_clauses(tmp_path: Path) -> None:
    items = [LR, OPTIMIZER, "{name: groups, type: uniform_int, lower: 1, upper: 4, meta: {optional: true}}"]
    more = "conditions:\n  - {type: EQ, child: groups, parent: optimizer, value: SGD}\n"
    space = _load(tmp_path, items, more)
    assert set(space) == {"lr", "optimizer"}
    assert not space.conditions


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([SHIFT_DEPTH], (0, 19, 19)),
        ([SHIFT_DEPTH, DEPTH], (0, 19, 13)),
        ([SHIFT_DEPTH, "{name: depth, type: constant, value: 1}"], (0, 7, 7)),
        ([SHIFT_DEPTH.replace("meta", "default_value: 0, meta")], (0, 19, 0)),
        ([SHIFT_DEPTH.replace("meta", "default_value: 900, meta")], (0, 19, 19)),
        (["{name: shift_depth, type: uniform_int, lower: 2, upper: 19, default_value: 4}"], (2, 19, 4)),
    ],
)
def test_shift_depth_is_bounded_by_the_model(tmp_path: Path, items: list[str], expected: tuple[int, int, int]) -> None:
    space = _load(tmp_path, items)
    hyperparameter = space["shift_depth"]
    assert (hyperparameter.lower, hyperparameter.upper, hyperparameter.default_value) == expected
    assert all(int(c["shift_depth"]) <= _resnet_convolutions(c) for c in _samples(space))


def test_every_network_of_a_grid_has_its_own_bound(tmp_path: Path) -> None:
    def n_convolutions(arguments: Mapping[str, Scalar]) -> int:
        return int(arguments.get("depth", 1)) * (2 if arguments.get("norm") else 1)

    model = ModelFacts("own", {"depth": 1, "norm": False, "width": 4}, n_convolutions, lambda _: 1)
    items = [
        SHIFT_DEPTH,
        DEPTH,
        "{name: norm, type: categorical, choices: [true, false]}",
        "{name: width, type: uniform_int, lower: 1, upper: 500}",
    ]
    samples = _samples(_load(tmp_path, items, model=model), 600)
    assert all(int(c["shift_depth"]) <= n_convolutions(c) for c in samples)
    assert {c["shift_depth"] for c in samples} == set(range(7))


def test_a_lone_possible_depth_becomes_a_constant(tmp_path: Path) -> None:
    model = ModelFacts("tiny", {}, lambda _: 1, lambda _: 1)
    space = _load(tmp_path, [LR, SHIFT_DEPTH.replace("lower: 0", "lower: 1")], model=model)
    assert {config["shift_depth"] for config in _samples(space, 20)} == {1}


UNKNOWN = "{name: lrr, type: constant, value: 1}"
FAULTS: list[tuple[list[str], str, str]] = [
    ([UNKNOWN], "", r"unknown hyperparameter 'lrr' \(did you mean 'lr'\?"),
    ([], "", "the space is empty"),
    (["just text"], "", "hyperparameter 1: expected keys and values, got 'just text'"),
    (["{type: constant, value: 1}"], "", "hyperparameter 1: needs a name"),
    ([LR, LR], "", "hyperparameter lr: is described twice"),
    (["{name: lr, type: uniform_flaot, lower: 0.1, upper: 1}"], "", "did you mean 'uniform_float'"),
    (["{name: lr, type: gamma_float, mu: 0.1, sigma: 1}"], "", "hyperparameter lr: unknown type 'gamma_float'"),
    (["{name: lr, type: [a], lower: 0.1, upper: 1}"], "", "hyperparameter lr: unknown type"),
    (["{name: lr, lower: 0.1, upper: 1}"], "", "unknown type None"),
    (["{name: lr, type: uniform_float, lower: 0.1}"], "", "key 'upper' is missing"),
    (["{name: lr, type: uniform_float, lower: 0.1, uper: 1}"], "", r"unknown key 'uper' \(did you mean 'upper'\?"),
    (
        ["{name: lr, type: uniform_float, lower: 0, upper: 1}"],
        "",
        r"lower: 0 is out of range \(allowed: 0 < value <= 10",
    ),
    (["{name: lr, type: uniform_float, lower: .nan, upper: 1}"], "", "lower: nan is not finite"),
    (["{name: lr, type: uniform_float, lower: abc, upper: 1}"], "", "lower: 'abc' is not a number"),
    (["{name: lr, type: uniform_float, lower: true, upper: 1}"], "", "lower: True is not a number"),
    (["{name: lr, type: uniform_float, lower: 1, upper: 0.1}"], "", "lower 1 is above upper 0.1"),
    (["{name: lr, type: uniform_float, lower: 1, upper: 1}"], "", "both 1; use type constant"),
    (["{name: lr, type: uniform_float, lower: 0.1, upper: 1, default_value: 2}"], "", "default_value 2 is not between"),
    (["{name: lr, type: uniform_float, lower: 0.1, upper: 1, log: maybe}"], "", "log must be true or false"),
    (["{name: momentum, type: uniform_float, lower: 0, upper: 0.9, log: true}"], "", "log scale needs a lower bound"),
    (["{name: momentum, type: constant, value: 1}"], "", r"value: 1 is out of range \(allowed: 0 <= value < 1\)"),
    (["{name: weight_bits, type: uniform_int, lower: 1, upper: 4}"], "", r"allowed: 2 <= value <= 8"),
    (["{name: weight_bits, type: uniform_int, lower: 2.5, upper: 4}"], "", "2.5 is not a whole number"),
    (["{name: weight_bits, type: uniform_float, lower: 2, upper: 4}"], "", "use type uniform_int"),
    (["{name: optimizer, type: uniform_int, lower: 1, upper: 4}"], "", "use type categorical"),
    (["{name: optimizer, type: categorical, choices: [SGD, Adma]}"], "", "did you mean 'Adam'"),
    (["{name: optimizer, type: categorical, choices: []}"], "", "choices is empty"),
    (["{name: optimizer, type: categorical, choices: SGD}"], "", "expected a list, got 'SGD'"),
    (["{name: optimizer, type: categorical, choices: [SGD, SGD]}"], "", "names 'SGD' more than once"),
    (["{name: optimizer, type: categorical, choices: [[SGD]]}"], "", "is not text"),
    (
        ["{name: optimizer, type: categorical, choices: [SGD, Adam], default_value: Ranger}"],
        "",
        "default_value 'Ranger'",
    ),
    (["{name: optimizer, type: categorical, choices: [SGD, Adam], weights: [1]}"], "", "weights must be 2 numbers"),
    (["{name: optimizer, type: categorical, choices: [SGD, Adam], weights: [1, -1]}"], "", "at least 0, not -1"),
    (["{name: shift_type, type: categorical, choices: [q]}"], "", r"'q' \(did you mean 'Q'\?"),
    (["{name: depth, type: uniform_int, lower: 1, upper: 2, meta: {optinal: true}}"], "", "did you mean 'optional'"),
    (
        ["{name: depth, type: uniform_int, lower: 1, upper: 2, meta: {optional: 3}}"],
        "",
        "optional must be true or false",
    ),
    (["{name: depth, type: uniform_int, lower: 1, upper: 2, meta: {upper: convs}}"], "", "meta: upper must be 'convs'"),
    (["{name: shift_depth, type: uniform_int, lower: 0, upper: 20}"], "", "upper 20 is above 19, the number of conv"),
    (["{name: shift_depth, type: uniform_int, lower: 8, upper: 19}", DEPTH], "", "lower 8 is above 7, the fewest conv"),
    (["{name: shift_depth, type: constant, value: 20}"], "", "20 is above 19"),
    (["{name: shift_depth, type: constant, value: 9}", DEPTH], "", "9 is above 7"),
    ([LR], "conditons: []\n", r"unknown key 'conditons' \(did you mean 'conditions'\?"),
    ([LR], "conditions: {a: b}\n", "conditions: expected a list"),
    (
        [LR, OPTIMIZER],
        "conditions:\n  - {type: EQ, child: mom, parent: optimizer, value: SGD}\n",
        "conditions, entry 1",
    ),
    ([LR, OPTIMIZER], "conditions:\n  - {type: EQ, child: lr, parent: optimizer}\n", "key 'value' is missing"),
    ([LR, OPTIMIZER], "conditions:\n  - {type: ISA, child: lr, parent: optimizer, value: SGD}\n", "unknown type 'ISA'"),
    ([LR, OPTIMIZER], "conditions:\n  - {type: EQ, child: lr, parent: optimizer, value: Foo}\n", "entry 1: .*Foo"),
    ([LR], "conditions:\n  - {type: GT, child: lr, parent: lr, value: 0.01}\n", "conditions, entry 1: "),
    ([LR, OPTIMIZER], "conditions:\n  - {type: IN, child: lr, parent: optimizer, values: []}\n", "values is empty"),
    (
        [LR, OPTIMIZER],
        "conditions:\n  - {type: EQ, child: [lr], parent: optimizer, value: SGD}\n",
        "child must be the name",
    ),
    (
        [LR, OPTIMIZER],
        "forbiddens:\n  - {type: EQUALS, name: optimizer, value: SGD}\n",
        "forbiddens, entry 1: .*orbidden",
    ),
    ([LR, OPTIMIZER], "forbiddens:\n  - {type: AND, clauses: []}\n", "AND joins at least two clauses"),
    (
        [SHIFT_DEPTH, DEPTH, OPTIMIZER],
        "conditions:\n  - {type: EQ, child: depth, parent: optimizer, value: SGD}\n",
        "depends on depth, which therefore cannot be conditional",
    ),
]


@pytest.mark.parametrize(("items", "more", "message"), FAULTS)
def test_faults_name_file_place_and_remedy(tmp_path: Path, items: list[str], more: str, message: str) -> None:
    with pytest.raises(SearchSpaceError, match=message) as caught:
        _load(tmp_path, items, more)
    assert str(tmp_path / "space.yaml") in str(caught.value)


@pytest.mark.parametrize("content", ["", "[]", "text", "hyperparameters: 3", "hyperparameters: {a: 1}", "name: x"])
def test_files_without_hyperparameters(tmp_path: Path, content: str) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(content)
    with pytest.raises(SearchSpaceError, match=r"space\.yaml"):
        load_search_space(file, RESNET, 0)


def test_models_without_convolutions(tmp_path: Path) -> None:
    space = _load(tmp_path, [LR, SHIFT_DEPTH], model=MLP)
    assert set(space) == {"lr"}
    with pytest.raises(SearchSpaceError, match="upper 3 is above 0, the number of convolutions of mlp"):
        _load(tmp_path, ["{name: shift_depth, type: uniform_int, lower: 0, upper: 3}"], model=MLP)
    with pytest.raises(SearchSpaceError, match="no hyperparameters that model mlp has"):
        _load(tmp_path, [SHIFT_DEPTH], model=MLP)


def test_too_many_networks_to_count(tmp_path: Path) -> None:
    model = ModelFacts("deep", {"depth": 1}, lambda arguments: int(arguments.get("depth", 1)), lambda _: 1)
    with pytest.raises(SearchSpaceError, match="span 5000 networks; narrow them to at most 1000"):
        _load(tmp_path, [SHIFT_DEPTH, "{name: depth, type: uniform_int, lower: 1, upper: 5000}"], model=model)


def test_configspaces_own_file_can_be_loaded(tmp_path: Path) -> None:
    condition = "conditions:\n  - {type: EQ, child: momentum, parent: optimizer, value: SGD}\n"
    written = _load(tmp_path, [LR, OPTIMIZER, MOMENTUM], condition)
    written.to_yaml(tmp_path / "again.yaml")
    read = load_search_space(tmp_path / "again.yaml", RESNET, 0)
    assert read == written
    assert _samples(read, 20) == _samples(written, 20)


def test_huge_ranges_of_a_models_arguments(tmp_path: Path) -> None:
    items = [SHIFT_DEPTH, "{name: width, type: uniform_int, lower: 1, upper: 2000000000, log: true}"]
    assert _load(tmp_path, items)["shift_depth"].upper == 19
    with pytest.raises(SearchSpaceError, match="upper: 99999999999999999999 is out of range"):
        _load(tmp_path, [items[1].replace("2000000000", "99999999999999999999")])


NORMAL = "{name: lr, type: normal_float, lower: 1e-4, upper: 0.1, mu: 0.003, sigma: 3, log: true}"


def test_beliefs_are_distributions_of_the_space(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    bits = "{name: weight_bits, type: beta_int, lower: 2, upper: 6, alpha: 3, beta: 2}"
    depth = (
        "{name: shift_depth, type: normal_int, lower: 0, upper: 1000, mu: 12, sigma: 3, meta: {upper: n_convolutions}}"
    )
    file.write_text(f"hyperparameters: [{NORMAL}, {bits}, {depth}]\n")
    space = load_search_space(file, FIXED, 0)
    assert space["shift_depth"].upper < 1000
    rates = [float(config["lr"]) for config in _samples(space, 400)]
    # A deviation of a logarithm is a factor.
    assert 0.6 < np.mean([0.001 < rate < 0.009 for rate in rates]) < 0.76


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (
            NORMAL.replace("sigma: 3", "sigma: 0.5"),
            "on a log scale one deviation is a factor of lower . sigma, which must be above 1, not 0.5001",
        ),
        (NORMAL.replace("sigma: 3, log: true", "sigma: 0"), "sigma must be above 0, not 0"),
        (NORMAL.replace("mu: 0.003", "mu: 5"), "mu 5 is not between lower 0.0001 and upper 0.1"),
        (NORMAL.replace("mu: 0.003", "mu: small"), "mu must be a number, not 'small'"),
        (NORMAL.replace("mu: 0.003, ", ""), "key 'mu' is missing"),
        (
            "{name: weight_bits, type: beta_int, lower: 2, upper: 6, alpha: 0.5, beta: 2}",
            "alpha must be 1 or more, not 0.5",
        ),
        ("{name: weight_bits, type: normal_float, lower: 2, upper: 6, mu: 4, sigma: 1}", "use type normal_int"),
    ],
)
def test_wrong_beliefs_are_refused(tmp_path: Path, item: str, message: str) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(f"hyperparameters: [{item}]\n")
    with pytest.raises(SearchSpaceError, match=message):
        load_search_space(file, FIXED, 0)
