import numpy as np
import pytest

from dsnn_hpo.optimizers.bayesian import _ehvi
from dsnn_hpo.pareto import hypervolume


@pytest.mark.parametrize("n_objectives", [1, 2, 3, 4])
def test_expected_improvement_is_that_of_drawn_points(n_objectives):
    generator = np.random.default_rng(n_objectives)
    front, reference = generator.random((10, n_objectives)), np.full(n_objectives, 1.1)
    means, sds = 0.3 * generator.random((4, n_objectives)), 0.05 + 0.2 * generator.random((4, n_objectives))
    boxes = _ehvi.undominated(front, reference)
    expected = _ehvi.expected_improvement(boxes, means, sds**2)
    now = hypervolume(front, reference)
    for mean, sd, value in zip(means, sds, expected, strict=True):
        draws = mean + sd * generator.standard_normal((2000, n_objectives))
        gains = np.asarray([hypervolume(np.vstack([front, draw]), reference) - now for draw in draws])
        assert value == pytest.approx(gains.mean(), abs=4 * gains.std() / np.sqrt(2000) + 1e-6)


def test_boxes_fill_what_is_undominated():
    generator = np.random.default_rng(0)
    front, reference = generator.random((8, 3)), np.ones(3)
    boxes = _ehvi.undominated(front, reference)
    # What a point far below everything gains is all that the front leaves.
    far = np.full((1, 3), -1.0)
    gain = _ehvi.expected_improvement(boxes, far, np.full((1, 3), 1e-12))[0]
    assert gain == pytest.approx(8.0 - hypervolume(front, reference), rel=1e-6)


def test_an_empty_front_leaves_everything():
    boxes = _ehvi.undominated(np.full((3, 2), 5.0), np.ones(2))
    gain = _ehvi.expected_improvement(boxes, np.zeros((1, 2)), np.full((1, 2), 1e-12))[0]
    assert gain == pytest.approx(1.0, rel=1e-4)


def test_a_front_with_too_many_boxes_is_thinned():
    directions = np.abs(np.random.default_rng(0).standard_normal((300, 4)))
    front = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    boxes = _ehvi.undominated(front, np.full(4, 1.5))
    assert len(boxes.lower) <= _ehvi.MAX_BOXES
