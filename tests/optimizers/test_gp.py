import numpy as np
import pytest

from dsnn_hpo.optimizers.bayesian import _gp

GROUPS = np.asarray([0, 1, 1, 2])


def sample(n: int, seed: int = 0, noise: float = 0.0) -> _gp.Data:
    generator = np.random.default_rng(seed)
    features = generator.random((n, 4))
    bias = generator.choice([0.0, 0.3, 1.0], size=n)
    values = np.sin(4 * features[:, 0]) + features[:, 1] + bias * (0.5 + features[:, 3])
    values = values + noise * generator.standard_normal(n)
    return _gp.Data(features, bias, values - values.mean(), np.zeros(n))


@pytest.mark.parametrize("with_bias", [True, False])
def test_the_gradient_is_that_of_the_density(with_bias):
    data = sample(25)
    data = data if with_bias else _gp.Data(data.features, np.zeros(25), data.values, data.noise)
    evaluation = _gp._Evaluation(data, GROUPS, 3, with_bias)
    start = _gp.Hyperparameters.starts(3)[0].vector(with_bias)
    vector = start + 0.3 * np.random.default_rng(1).standard_normal(len(start))
    _, gradient = evaluation(vector)
    steps = 1e-5 * np.eye(len(vector))
    numeric = [(evaluation(vector + step)[0] - evaluation(vector - step)[0]) / 2e-5 for step in steps]
    np.testing.assert_allclose(gradient, numeric, rtol=1e-4, atol=1e-5)


def test_low_fidelities_tell_of_the_full_one():
    data, unseen = sample(80, noise=0.01), sample(200, seed=1)
    at_full = np.flatnonzero(unseen.bias == 0)
    seen_low = data.rows(np.flatnonzero(data.bias > 0))
    seen_both = data
    errors = []
    for seen in (seen_low, seen_both):
        fitted = _gp.fit(seen, GROUPS, _gp.Hyperparameters.starts(3))
        mean, variance = _gp.Process(seen, GROUPS, fitted).predict(unseen.features[at_full])
        error = mean - unseen.values[at_full]
        errors.append(np.std(error))
        assert (variance > 0).all()
    assert errors[0] < 0.4 * np.std(unseen.values[at_full])
    assert errors[1] < 0.15 * np.std(unseen.values[at_full])


def test_known_noise_weakens_a_value():
    features = np.asarray([[0.5, 0.5, 0.5, 0.5]])
    predictions = []
    for variance in (0.0, 4.0):
        data = _gp.Data(features, np.zeros(1), np.ones(1), np.full(1, variance))
        process = _gp.Process(data, GROUPS, _gp.Hyperparameters.starts(3)[0])
        predictions.append(float(process.predict(features)[0][0]))
    assert predictions[0] > 0.99
    assert predictions[1] < 0.5


def test_a_path_agrees_with_predictions():
    data = sample(40)
    process = _gp.Process(data, GROUPS, _gp.fit(data, GROUPS, _gp.Hyperparameters.starts(3)))
    feature, bias = np.full(4, 0.4), np.asarray([0.0, 0.3, 1.0])
    mean, covariance = process.paths(feature, bias)
    for j, level in enumerate(bias):
        one, variance = process.predict(feature[None], np.asarray([level]))
        assert one[0] == pytest.approx(mean[j])
        assert variance[0] == pytest.approx(covariance[j, j], abs=1e-9)
    assert np.linalg.eigvalsh(covariance).min() > -1e-9


def test_equal_rows_do_not_break_it():
    data = sample(6)
    index = np.zeros(50, dtype=np.intp)
    same = data.rows(index)
    mean, _ = _gp.Process(same, GROUPS, _gp.fit(same, GROUPS, _gp.Hyperparameters.starts(3))).predict(data.features)
    assert np.isfinite(mean).all()
