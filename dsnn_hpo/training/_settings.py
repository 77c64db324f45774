"""What a training depends on, besides the network, the data and the number of epochs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from dsnn_hpo.data import check_augmentation
from dsnn_hpo.errors import InputError, one_of
from dsnn_hpo.training._optimizers import optimizer_family

SCHEDULES = ("cosine", "constant")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """How to train; checked when made, raising InputError.

    ``momentum`` is the velocity's factor of SGD and RMSprop and the first moment's decay (beta1) of Adam, RAdam and
    Ranger; None means the optimizer's default, and to Adadelta and Adagrad, which have none, it does not matter.
    ``max_epochs`` is the maximal fidelity: the schedule of the learning rate is laid over it, so that a shorter
    training is the beginning of the longest one.
    """

    optimizer: str
    lr: float
    weight_decay: float
    batch_size: int
    max_epochs: int
    seed: int
    momentum: float | None = None
    test_batch_size: int = 512
    schedule: Literal["cosine", "constant"] = "cosine"
    augmentation: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        optimizer_family(self.optimizer)
        check_augmentation(self.augmentation)
        if self.schedule not in SCHEDULES:
            raise InputError(f"there is no schedule {one_of(self.schedule, SCHEDULES)}")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise InputError(f"lr is {self.lr}, expected a number above 0")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise InputError(f"weight_decay is {self.weight_decay}, expected 0 or more")
        if self.momentum is not None and not 0 <= self.momentum < 1:
            raise InputError(f"momentum is {self.momentum}, expected 0 or more and less than 1")
        for name in ("batch_size", "test_batch_size", "max_epochs"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}, expected at least 1")
        if self.seed < 0:
            raise InputError(f"seed is {self.seed}, expected 0 or more")

    def lr_at(self, step: int, n_steps_per_epoch: int) -> float:
        """Returns the learning rate of a step, counted from 0 over all epochs.

        Cosine: ``lr / 2 * (1 + cos(pi * step / n_steps))`` over the maximal fidelity (Loshchilov & Hutter 2017,
        eq. 5, without restarts).
        """
        if self.schedule == "constant":
            return self.lr
        return self.lr / 2 * (1 + math.cos(math.pi * step / (self.max_epochs * n_steps_per_epoch)))
