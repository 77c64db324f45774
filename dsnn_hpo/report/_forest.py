"""A random forest as boxes with values: the only door to scikit-learn's trees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

N_TREES = 64
_MIN_LEAF = 3
_FEATURES = 5 / 6
_LEAF = -1


@dataclass(frozen=True, slots=True)
class Leaves:
    """The leaves of a tree: boxes that tile the space of its inputs.

    Attributes:
        lower: shape (n_leaves, n_inputs), excluded; minus infinity where there is no bound.
        upper: shape (n_leaves, n_inputs), included.
        values: shape (n_leaves,), the tree's prediction within each.
    """

    lower: Array
    upper: Array
    values: Array


@dataclass(frozen=True, slots=True)
class Forest:
    """Trees, and what they say of the samples that they have not seen, shape (n,); NaN where all saw one."""

    trees: tuple[Leaves, ...]
    out_of_bag: Array


def fit_forest(inputs: Array, targets: Array, groups: npt.NDArray[np.int64], seed: int = 0) -> Forest:
    """Returns a random forest; the same samples and seed give the same one.

    The settings are those of SMAC's surrogate (leaves of 3 samples and more, 5/6 of the inputs tried at each split),
    with more trees than its 10, whose spread would say little. Groups are drawn, not samples: a configuration that was
    trained for 1 and for 3 epochs is in a tree's bag as a whole or not at all, or else its one result would tell the other.
    The k-th trees of forests for several targets have the same bag.

    Args:
        inputs: shape (n, n_inputs).
        targets: shape (n,).
        groups: shape (n,), counting from 0.
        seed: fixes the draws.
    """
    # Imported here: it takes half a second, and a table of the front does without.
    from sklearn.tree import DecisionTreeRegressor

    generator = np.random.default_rng(seed)
    n_groups = int(groups.max()) + 1
    sums, counts = np.zeros_like(targets), np.zeros(len(targets))
    trees = []
    for _ in range(N_TREES):
        drawn = np.bincount(generator.integers(n_groups, size=n_groups), minlength=n_groups)[groups]
        tree = DecisionTreeRegressor(
            min_samples_leaf=_MIN_LEAF, max_features=_FEATURES, random_state=int(generator.integers(2**31))
        )
        bag = np.repeat(np.arange(len(groups)), drawn)
        tree.fit(inputs[bag], targets[bag])
        trees.append(_leaves(tree.tree_, inputs.shape[1]))
        left_out = drawn == 0
        if left_out.any():
            sums[left_out] += tree.predict(inputs[left_out])
            counts[left_out] += 1
    out_of_bag = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    return Forest(tuple(trees), out_of_bag)


def _leaves(tree: Any, n_inputs: int) -> Leaves:
    left, right, feature, threshold = tree.children_left, tree.children_right, tree.feature, tree.threshold
    lower, upper, nodes = [], [], []
    stack = [(0, np.full(n_inputs, -np.inf), np.full(n_inputs, np.inf))]
    while stack:
        node, low, high = stack.pop()
        if left[node] == _LEAF:
            lower.append(low)
            upper.append(high)
            nodes.append(node)
            continue
        name, cut = feature[node], threshold[node]
        below, above = high.copy(), low.copy()
        below[name] = above[name] = cut
        stack += [(right[node], above, high), (left[node], low, below)]
    return Leaves(np.array(lower), np.array(upper), np.asarray(tree.value[nodes, 0, 0], dtype=np.float64))
