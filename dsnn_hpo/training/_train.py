"""The training loop."""

from __future__ import annotations

import copy
import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from dsnn_hpo.data import PreparedData, Samples, batches
from dsnn_hpo.errors import DivergedError, TrialError
from dsnn_hpo.operators import clamp_parameters_, parameter_groups, regularization, set_progress_
from dsnn_hpo.training._checkpoint import Checkpoint
from dsnn_hpo.training._memory_format import memory_format_for
from dsnn_hpo.training._optimizers import optimizer_family
from dsnn_hpo.training._settings import TrainingSettings
from dsnn_hpo.trial import Epoch

AfterEpoch: TypeAlias = Callable[[Callable[[], Checkpoint]], None]


def train(
    network: nn.Module,
    data: PreparedData,
    settings: TrainingSettings,
    n_epochs: int,
    start: Checkpoint | None = None,
    after_epoch: AfterEpoch | None = None,
) -> Checkpoint:
    """Returns the checkpoint after ``n_epochs`` in all; ``network`` is trained in place, on its device.

    Its memory is laid out for the training (``memory_format_for``) and contiguous again after; so is a checkpoint's.

    With ``start`` the training goes on from there: on the CPU, bit by bit as if it had never stopped, for which
    torch's global generator is seeded anew at the start of each epoch. A last batch of one sample is left out, on
    which batch normalisation could not train. The loss is the cross-entropy and the regulariser of the shifts;
    the curve's ``train_loss`` is the mean cross-entropy, its ``lr`` that of the epoch's first step.

    ``after_epoch`` is called after each epoch but the last, with a function that makes a checkpoint of the training as it
    stands; what it raises ends the training.

    Raises:
        DivergedError: the loss or an output became NaN or infinite; names epoch and step.
        TrialError: ``start`` does not fit the network or the optimizer.
        ValueError: ``n_epochs`` is below that of ``start`` or above the maximal fidelity.
    """
    first_epoch = 0 if start is None else start.epoch
    if not max(first_epoch, 1) <= n_epochs <= settings.max_epochs:
        raise ValueError(f"n_epochs is {n_epochs}, expected {max(first_epoch, 1)} to {settings.max_epochs}")
    optimizer = _optimizer(network, settings)
    if start is not None:
        _restore_(network, optimizer, start)
    curve = list(start.curve) if start is not None else []
    memory_format = memory_format_for(network)
    try:
        _lay_out_(network, optimizer, memory_format)
        for epoch in range(first_epoch, n_epochs):
            curve.append(_epoch(network, optimizer, data, settings, epoch))
            if after_epoch is not None and epoch + 1 < n_epochs:
                after_epoch(lambda: _checkpoint(network, optimizer, curve, start))
    finally:
        _lay_out_(network, optimizer, torch.contiguous_format)
    network.eval()
    return _checkpoint(network, optimizer, curve, start)


@torch.no_grad()
def error_rate(network: nn.Module, samples: Samples, data: PreparedData, batch_size: int) -> float:
    """Returns the share of misclassified samples, 0 to 1, in eval mode; the network's mode is put back after.

    Raises:
        DivergedError: an output is NaN or infinite.
        ValueError: there are no samples.
    """
    if not len(samples):
        raise ValueError("an error rate needs at least one sample")
    device, memory_format = _device(network), memory_format_for(network)
    was_training = network.training
    network.eval()
    n_wrong = 0
    for images, labels in batches(samples, batch_size, mean=data.mean, std=data.std):
        logits = network(images.to(device, memory_format=memory_format))
        if not torch.isfinite(logits).all():
            raise DivergedError("an output of the network is NaN or infinite; a lower learning rate may help")
        n_wrong += int((logits.argmax(dim=1) != labels.to(device)).sum())
    network.train(was_training)
    return n_wrong / len(samples)


def _checkpoint(
    network: nn.Module, optimizer: Optimizer, curve: Sequence[Epoch], start: Checkpoint | None
) -> Checkpoint:
    return Checkpoint(
        epoch=len(curve),
        network_state=_on_cpu(network.state_dict()),
        optimizer_state=_on_cpu(optimizer.state_dict()),
        curve=tuple(curve),
        train_energy_j=0.0 if start is None else start.train_energy_j,
        co2_g=0.0 if start is None else start.co2_g,
        start_epoch=0 if start is None else start.epoch,
    )


def _optimizer(network: nn.Module, settings: TrainingSettings) -> Optimizer:
    family = optimizer_family(settings.optimizer)
    groups = parameter_groups(network, settings.weight_decay)
    return family.constructor(groups, lr=settings.lr, **family.arguments(settings.momentum))


def _restore_(network: nn.Module, optimizer: Optimizer, start: Checkpoint) -> None:
    try:
        network.load_state_dict(start.network_state)
        # A copy, since optimizers go on using the tensors they are given.
        optimizer.load_state_dict(copy.deepcopy(dict(start.optimizer_state)))
    except (RuntimeError, ValueError, KeyError) as error:
        raise TrialError(f"the checkpoint of epoch {start.epoch} is of another training: {error}") from error


def _lay_out_(network: nn.Module, optimizer: Optimizer, memory_format: torch.memory_format) -> None:
    """Returns nothing; reorders the memory of images' weights, and of what the optimizer remembers of them."""
    remembered = [state for states in optimizer.state.values() for state in states.values()]
    for tensor in itertools.chain(network.parameters(), network.buffers(), remembered):
        if isinstance(tensor, Tensor) and tensor.dim() == 4:
            tensor.data = tensor.data.contiguous(memory_format=memory_format)


def _epoch(
    network: nn.Module,
    optimizer: Optimizer,
    data: PreparedData,
    settings: TrainingSettings,
    epoch: int,
) -> Epoch:
    """Returns the curve's row of one epoch, counted from 0."""
    started = time.perf_counter()
    generator = _seeded(settings.seed, epoch)
    n_steps = _n_steps(len(data.train), settings.batch_size)
    train_batches = batches(
        data.train,
        settings.batch_size,
        mean=data.mean,
        std=data.std,
        augmentation=settings.augmentation,
        generator=generator,
    )
    network.train()
    set_progress_(network, (epoch + 1) / settings.max_epochs)
    device, memory_format = _device(network), memory_format_for(network)
    total, n_seen = 0.0, 0
    for step, (images, labels) in enumerate(itertools.islice(train_batches, n_steps)):
        for group in optimizer.param_groups:
            group["lr"] = settings.lr_at(epoch * n_steps + step, n_steps) * group["lr_scale"]
        batch = images.to(device, memory_format=memory_format), labels.to(device)
        loss = _step_(network, optimizer, batch, settings.weight_decay)
        if not math.isfinite(loss):
            raise DivergedError(f"the training loss became {loss} in epoch {epoch + 1}, step {step + 1}", epoch + 1)
        total += loss * len(labels)
        n_seen += len(labels)
    try:
        error = error_rate(network, data.validation, data, settings.test_batch_size)
    except DivergedError as diverged:
        raise DivergedError(f"after epoch {epoch + 1}, step {n_steps}: {diverged}", epoch + 1) from diverged
    return Epoch(
        number=epoch + 1,
        train_loss=total / n_seen,
        validation_error=error,
        lr=settings.lr_at(epoch * n_steps, n_steps),
        seconds=time.perf_counter() - started,
    )


def _step_(network: nn.Module, optimizer: Optimizer, batch: tuple[Tensor, Tensor], weight_decay: float) -> float:
    """Returns the cross-entropy of a batch, NaN or infinite if the whole loss is; then takes one step."""
    images, labels = batch
    cross_entropy = functional.cross_entropy(network(images), labels)
    loss = cross_entropy + regularization(network, weight_decay)
    value = loss.item()
    if not math.isfinite(value):
        return value
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    clamp_parameters_(network)
    return cross_entropy.item()


def _n_steps(n_samples: int, batch_size: int) -> int:
    n_full, n_left = divmod(n_samples, batch_size)
    is_last_kept = n_left > 1 or (n_left == 1 and n_full == 0)
    return n_full + is_last_kept


def _seeded(seed: int, epoch: int) -> torch.Generator:
    """Returns the generator of an epoch's data; seeds torch's global one, of dropout and stochastic rounding."""
    data_seed, global_seed = np.random.SeedSequence([seed, epoch]).generate_state(2, np.uint64).tolist()
    torch.manual_seed(global_seed)
    return torch.Generator().manual_seed(data_seed)


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device


def _on_cpu(state: Mapping[str, Any]) -> dict[str, Any]:
    copied: dict[str, Any] = _copied(dict(state))
    return copied


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        # Whatever the order in the network's memory.
        return value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_copied(item) for item in value)
    return value
