import numpy as np
import pytest
from ConfigSpace import (
    BetaIntegerHyperparameter,
    CategoricalHyperparameter,
    Configuration,
    ConfigurationSpace,
    Constant,
    EqualsCondition,
    ForbiddenAndConjunction,
    ForbiddenEqualsClause,
    NormalIntegerHyperparameter,
    OrdinalHyperparameter,
    UniformFloatHyperparameter,
    UniformIntegerHyperparameter,
)

from dsnn_hpo.optimizers._vectors import VectorSpace, fingerprints
from dsnn_hpo.search_space import plain


def build() -> ConfigurationSpace:
    kind, momentum = CategoricalHyperparameter("kind", ["a", "b", "c"]), UniformFloatHyperparameter("momentum", 0, 1)
    depth, width = UniformIntegerHyperparameter("depth", 1, 4), OrdinalHyperparameter("width", [4, 8, 16])
    space = ConfigurationSpace(seed=0)
    space.add(kind, momentum, depth, width, Constant("rounding", "nearest"))
    space.add(EqualsCondition(momentum, kind, "a"))
    space.add(ForbiddenAndConjunction(ForbiddenEqualsClause(depth, 4), ForbiddenEqualsClause(width, 16)))
    return space


SPACE = build()


@pytest.fixture
def vectors():
    return VectorSpace(SPACE)


def check(vectors, rows):
    for row in rows:
        configuration = Configuration(SPACE, values=dict(vectors.config(row)))
        configuration.check_valid_configuration()
        assert ("momentum" in configuration) == (configuration["kind"] == "a")
        np.testing.assert_allclose(vectors.row(plain(configuration)), row)


def test_drawn_mutated_and_crossed_rows_are_legal(vectors):
    generator = np.random.default_rng(0)
    drawn = vectors.draw(200, generator)
    assert len(drawn) == 200
    check(vectors, drawn)
    check(vectors, vectors.mutate(drawn, generator))
    check(vectors, vectors.cross(drawn[:100], drawn[100:], generator))


def test_a_mutation_changes_something_unless_it_was_switched_off(vectors):
    generator = np.random.default_rng(0)
    parent = np.repeat(
        vectors.row({"kind": "a", "momentum": 0.5, "depth": 2, "width": 8, "rounding": "nearest"})[None], 300, 0
    )
    children = vectors.mutate(parent, generator, steps=(1e-3,))
    assert parent[0].tobytes() not in {child.tobytes() for child in children}
    assert len(set(fingerprints(children))) > 20


def test_different_choices_are_one_apart_and_inactive_ones_are_in_the_middle(vectors):
    rows = np.stack(
        [
            vectors.row({"kind": kind, "depth": 2, "width": 8, "rounding": "nearest", **extra})
            for kind, extra in (("a", {"momentum": 0.5}), ("b", {}))
        ]
    )
    features = vectors.features(rows)
    assert features.shape == (2, 6)
    assert np.linalg.norm(features[0] - features[1]) == pytest.approx(1.0)
    assert ((features >= 0) & (features <= 1)).all()


@pytest.mark.parametrize("kind", [NormalIntegerHyperparameter, BetaIntegerHyperparameter])
def test_drawn_integers_are_those_of_their_configurations(kind):
    space = ConfigurationSpace()
    shape = (8, 3) if kind is NormalIntegerHyperparameter else (2, 3)
    space.add(kind("n", *shape, lower=2, upper=40, log=True))
    space.add(ForbiddenEqualsClause(space["n"], 12))
    vectors = VectorSpace(space)
    rows = vectors.draw(200, np.random.default_rng(0))
    assert 12 not in {vectors.config(row)["n"] for row in rows}
    assert set(fingerprints(rows)) <= set(fingerprints(vectors.enumerate()))


def test_a_finite_space_is_enumerated_once_each():
    space = ConfigurationSpace()
    kind, depth = CategoricalHyperparameter("kind", ["a", "b"]), UniformIntegerHyperparameter("depth", 1, 3)
    space.add(kind, depth)
    space.add(EqualsCondition(depth, kind, "a"))
    vectors = VectorSpace(space)
    rows = vectors.enumerate()
    assert {tuple(vectors.config(row).values()) for row in rows} == {("a", 1), ("a", 2), ("a", 3), ("b",)}
    assert len(rows) == 4
    assert VectorSpace(SPACE).enumerate() is None


@pytest.mark.parametrize("step", [0.1, 1.0, 3.0])
@pytest.mark.parametrize("n_values", [2, 3, 6])
def test_a_mutated_ordinal_takes_another_of_its_values(n_values, step):
    space = ConfigurationSpace()
    space.add(OrdinalHyperparameter("size", list(range(n_values))))
    vectors = VectorSpace(space)
    for place in range(n_values):
        children = vectors.mutate(np.full((200, 1), float(place)), np.random.default_rng(0), [step])[:, 0]
        assert set(children) <= set(range(n_values)) - {place}
