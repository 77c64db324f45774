import numpy as np
import pytest

from dsnn_hpo.optimizers.bayesian import _gp, _map

GROUPS = np.asarray([0, 1, 1, 2])


def sample(n: int, seed: int = 0, noise: float = 0.0) -> _gp.Data:
    generator = np.random.default_rng(seed)
    features = generator.random((n, 4))
    bias = generator.choice([0.0, 0.3, 1.0], size=n)
    values = np.sin(4 * features[:, 0]) + features[:, 1] + bias * (0.5 + features[:, 3])
    values = values + noise * generator.standard_normal(n)
    return _gp.Data(features, bias, values - values.mean(), np.zeros(n), np.zeros(n))


@pytest.mark.parametrize("with_bias", [True, False])
def test_the_gradient_is_that_of_the_density(with_bias):
    data = sample(25)
    data = data if with_bias else _gp.Data(data.features, np.zeros(25), data.values, data.noise, data.doubt)
    density = _map._Density(data, GROUPS, 3)
    start = density.vector(_gp.Hyperparameters.starts(3)[0])
    vector = start + 0.3 * np.random.default_rng(1).standard_normal(len(start))
    _, gradient = density(vector)
    steps = 1e-5 * np.eye(len(vector))
    numeric = [(density(vector + step)[0] - density(vector - step)[0]) / 2e-5 for step in steps]
    np.testing.assert_allclose(gradient, numeric, rtol=1e-4, atol=1e-5)


def test_low_fidelities_tell_of_the_full_one():
    data, unseen = sample(80, noise=0.01), sample(200, seed=1)
    at_full = np.flatnonzero(unseen.bias == 0)
    seen_low = data.rows(np.flatnonzero(data.bias > 0))
    seen_both = data
    errors = []
    for seen in (seen_low, seen_both):
        fitted = _map.fit(seen, GROUPS, _gp.Hyperparameters.starts(3))
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
        data = _gp.Data(features, np.zeros(1), np.ones(1), np.full(1, variance), np.zeros(1))
        process = _gp.Process(data, GROUPS, _gp.Hyperparameters.starts(3)[0])
        predictions.append(float(process.predict(features)[0][0]))
    assert predictions[0] > 0.99
    assert predictions[1] < 0.5


def test_a_path_agrees_with_predictions():
    data = sample(40)
    process = _gp.Process(data, GROUPS, _map.fit(data, GROUPS, _gp.Hyperparameters.starts(3)))
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
    mean, _ = _gp.Process(same, GROUPS, _map.fit(same, GROUPS, _gp.Hyperparameters.starts(3))).predict(data.features)
    assert np.isfinite(mean).all()


def curves(of_low):
    """Returns 40 configurations of one hyperparameter at the lowest fidelity, and eight of them at the full one."""
    x = np.random.default_rng(3).random((40, 1))
    values = np.sin(6 * x[:, 0])
    features = np.concatenate([x, x[:8]])
    bias = np.concatenate([np.ones(40), np.zeros(8)])
    return (
        _gp.Data(features, bias, np.concatenate([of_low(values), values[:8]]), np.zeros(48), np.zeros(48)),
        x[8:],
        values[8:],
    )


@pytest.mark.parametrize("of_low", [lambda v: -0.5 * v, lambda v: 3 * v + 1], ids=["turned round", "stretched"])
def test_differences_that_a_short_training_shows_otherwise_are_learnt_from_few_long_ones(of_low):
    data, unseen, truth = curves(of_low)
    groups = np.zeros(1, dtype=np.intp)
    found = _map.fit(data, groups, _gp.Hyperparameters.starts(1))
    means, _ = _gp.Process(data, groups, found).predict(unseen)
    assert np.sqrt(np.mean((means - truth) ** 2)) < 0.15


def test_a_bias_that_falls_late_is_believed_at_no_short_training():
    generator = np.random.default_rng(5)
    x = generator.random((60, 1))
    truth, h = np.sin(6 * x[:, 0]), np.cos(9 * x[:, 0])
    # Seen at b = 1, 0.48 and 0.17: the bias of the last is still nine tenths of the first's.
    bias = np.repeat([1.0, 0.48, 0.17], 20)
    values = truth + np.repeat([1.0, 0.97, 0.9], 20) * h
    full = generator.choice(60, 10, replace=False)
    data = _gp.Data(
        np.concatenate([x, x[full]]),
        np.concatenate([bias, np.zeros(10)]),
        np.concatenate([values, truth[full]]),
        np.zeros(70),
        np.zeros(70),
    )
    groups = np.zeros(1, dtype=np.intp)
    found = _map.fit(data, groups, _gp.Hyperparameters.starts(1))
    means, variances = _gp.Process(data, groups, found).predict(x)
    assert np.mean(np.abs(means - truth) < 3 * np.sqrt(variances) + 0.05) > 0.9
    assert np.sqrt(np.mean((means - truth) ** 2)) < 0.25


def test_what_features_do_by_themselves_is_learnt_from_few_trainings():
    generator = np.random.default_rng(7)
    x = generator.random((230, 8))
    values = 2 * x[:, 0] + 3 * (x[:, 1] - 0.6) ** 2 - x[:, 2]
    data = _gp.Data(x[:30], np.zeros(30), values[:30] - values.mean(), np.zeros(30), np.zeros(30))
    groups = np.arange(8)
    found = _map.fit(data, groups, _gp.Hyperparameters.starts(8))
    means, _ = _gp.Process(data, groups, found).predict(x[30:])
    error = np.std(means + values.mean() - values[30:])
    assert error < 0.05 * np.std(values)
    assert found.effects[:3].min() > found.effects[3:].max()
