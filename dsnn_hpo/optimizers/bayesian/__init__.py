"""The model-based optimizer: Gaussian processes over all fidelities, and expected hypervolume improvement."""

from dsnn_hpo.optimizers.bayesian._optimizer import BayesianOptimizer

__all__ = ["BayesianOptimizer"]
