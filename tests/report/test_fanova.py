from itertools import combinations, product

import numpy as np
import pytest

from dsnn_hpo.report._fanova import Domain, at, covariances, decompose
from dsnn_hpo.report._forest import fit_forest

SIZES = (3, 4, 2, 5)
DOMAINS = [Domain(-0.5, n - 0.5, discrete=True) for n in SIZES]


def _grid() -> np.ndarray:
    return np.array(list(product(*(range(n) for n in SIZES))), dtype=float)


def _forest(seed: int):
    """A forest over whole numbers that has not seen all of them together."""
    generator = np.random.default_rng(seed)
    inputs = _grid()[generator.permutation(120)[:70]]
    targets = inputs[:, 0] * inputs[:, 3] + np.sin(inputs[:, 1]) - inputs[:, 2] + generator.normal(0, 0.3, 70)
    return fit_forest(inputs, targets, np.arange(70), seed)


def _predicted(leaves, points: np.ndarray) -> np.ndarray:
    inside = (leaves.lower[None] < points[:, None]) & (points[:, None] <= leaves.upper[None])
    mask = inside.all(axis=2)
    assert (mask.sum(axis=1) == 1).all(), "leaves tile the space"
    return mask @ leaves.values


def _effect(values: np.ndarray, kept: tuple[int, ...]) -> np.ndarray:
    """The marginal over all inputs but some, less the mean."""
    others = tuple(i for i in range(len(SIZES)) if i not in kept)
    return values.mean(axis=others) - values.mean()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_variances_are_those_of_counting_every_combination(seed):
    for leaves in _forest(seed).trees[:8]:
        values = _predicted(leaves, _grid()).reshape(SIZES)
        found = decompose(leaves, DOMAINS)
        assert found.total == pytest.approx(values.var())
        main = [(_effect(values, (i,)) ** 2).mean() for i in range(4)]
        assert found.main == pytest.approx(main)
        for i, j in combinations(range(4), 2):
            both = (_effect(values, (i, j)) ** 2).mean()
            assert found.pairs[i, j] == pytest.approx(both - main[i] - main[j], abs=1e-9)


def test_covariances_are_those_of_counting_every_combination():
    trees = [_forest(seed).trees[0] for seed in range(3)]
    total, main = covariances(trees, DOMAINS)
    values = [_predicted(leaves, _grid()).reshape(SIZES) for leaves in trees]
    weights = np.array([0.2, 0.5, -0.3])
    mixed = sum(w * v for w, v in zip(weights, values, strict=True))
    assert weights @ total @ weights == pytest.approx(mixed.var())
    for i in range(4):
        assert weights @ main[i] @ weights == pytest.approx((_effect(mixed, (i,)) ** 2).mean())
    for k, leaves in enumerate(trees):
        alone = decompose(leaves, DOMAINS)
        assert (total[k, k], *main[:, k, k]) == pytest.approx((alone.total, *alone.main))


def test_an_input_that_is_held_is_one_no_longer():
    leaves = at(_forest(0).trees[0], 1, 2.0)
    points = _grid()
    values = _predicted(leaves, np.delete(points, 1, axis=1))
    whole = _predicted(_forest(0).trees[0], np.where(np.arange(4) == 1, 2.0, points))
    assert values == pytest.approx(whole)


def test_an_additive_function_has_its_analytic_shares():
    generator = np.random.default_rng(0)
    inputs = generator.uniform(0, 1, (1500, 4)).astype(np.float32).astype(np.float64)
    targets = 4 * inputs[:, 0] + 2 * inputs[:, 1] + inputs[:, 2]
    forest = fit_forest(inputs, targets, np.arange(len(inputs)))
    found = [decompose(leaves, [Domain(0.0, 1.0)] * 4) for leaves in forest.trees]
    shares = np.mean([np.array(each.main) / each.total for each in found], axis=0)
    assert shares == pytest.approx([16 / 21, 4 / 21, 1 / 21, 0], abs=0.02)
    assert max(np.mean([each.pairs[pair] / each.total for each in found]) for pair in found[0].pairs) < 0.02


def test_what_two_inputs_do_together_is_their_interaction_alone():
    generator = np.random.default_rng(0)
    inputs = generator.uniform(-1, 1, (2000, 3)).astype(np.float32).astype(np.float64)
    forest = fit_forest(inputs, inputs[:, 0] * inputs[:, 1], np.arange(len(inputs)))
    found = [decompose(leaves, [Domain(-1.0, 1.0)] * 3) for leaves in forest.trees]
    assert np.mean([each.pairs[0, 1] / each.total for each in found]) > 0.9


def test_the_same_seed_gives_the_same_forest_and_bags_hold_whole_groups():
    inputs = np.repeat(np.arange(30.0)[:, None], 2, axis=1)
    generator = np.random.default_rng(3)
    targets, groups = generator.normal(size=30), np.arange(30) // 3
    first, again = (fit_forest(inputs, targets, groups, seed=1) for _ in range(2))
    assert all((a.values == b.values).all() for a, b in zip(first.trees, again.trees, strict=True))
    # Noise within groups: who had seen two of three could foretell the third a little; nobody foretells noise.
    levels = np.repeat(generator.normal(size=10), 3)
    foretold = fit_forest(np.repeat(generator.normal(size=(10, 2)), 3, axis=0), levels, groups).out_of_bag
    assert abs(np.corrcoef(foretold, levels)[0, 1]) < 0.75
