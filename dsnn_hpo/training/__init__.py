"""Training to a number of epochs, from a checkpoint where there is one."""

from dsnn_hpo.training._checkpoint import Checkpoint, load_checkpoint
from dsnn_hpo.training._optimizers import OPTIMIZERS, OptimizerFamily, optimizer_family
from dsnn_hpo.training._settings import TrainingSettings
from dsnn_hpo.training._train import error_rate, train

__all__ = [
    "OPTIMIZERS",
    "Checkpoint",
    "OptimizerFamily",
    "TrainingSettings",
    "error_rate",
    "load_checkpoint",
    "optimizer_family",
    "train",
]
