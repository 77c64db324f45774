"""Networks by name, and a user's own by ``module:function``; every mistake is a ModelError."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import torch
from torch import nn

from dsnn_hpo import operators
from dsnn_hpo.errors import ModelError, one_of
from dsnn_hpo.models._blocks import InputShape
from dsnn_hpo.models._cnn import cnn
from dsnn_hpo.models._googlenet import googlenet
from dsnn_hpo.models._mlp import mlp
from dsnn_hpo.models._mobilenet import mobilenet_v2
from dsnn_hpo.models._resnet import resnet18, resnet20
from dsnn_hpo.models._vgg import vgg11, vgg16, vgg19

Constructor = Callable[..., nn.Module]

MODELS: Mapping[str, Constructor] = MappingProxyType(
    {
        "mlp": mlp,
        "cnn": cnn,
        "resnet20": resnet20,
        "resnet18": resnet18,
        "mobilenet_v2": mobilenet_v2,
        "vgg11": vgg11,
        "vgg16": vgg16,
        "vgg19": vgg19,
        "googlenet": googlenet,
    }
)

MIN_SIDE = 8


def build_model(name: str, input_shape: InputShape, n_classes: int, arguments: Mapping[str, Any]) -> nn.Module:
    """Returns the network ``name``, on torch's default device, in training mode, float32.

    Raises ModelError for an unknown name, argument or shape, and for whatever goes wrong in a user's own function.

    Args:
        name: a key of ``MODELS``, or ``module:function`` of a function called like a constructor in ``MODELS``; the
            module is looked for where Python does, then in the current folder.
        input_shape: channels, height and width; the shipped networks need at least 8x8.
        n_classes: at least 2.
        arguments: keyword arguments, the ones that ``model_arguments`` names.
    """
    constructor = _constructor(name)
    _check_task(name, input_shape, n_classes)
    try:
        inspect.signature(constructor).bind(input_shape, n_classes, **arguments)
    except TypeError as error:
        offered = ", ".join(model_arguments(name)) or "none"
        raise ModelError(
            f"model {name!r} cannot be called as f(input_shape, n_classes, **{dict(arguments)!r}): {error}; "
            f"its arguments: {offered}"
        ) from error
    try:
        network = constructor(tuple(input_shape), n_classes, **arguments)
    except Exception as error:
        raise ModelError(
            f"model {name!r} with arguments {dict(arguments)!r} cannot be built: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(network, nn.Module):
        raise ModelError(f"model {name!r} must return a torch.nn.Module, not {type(network).__name__}")
    return network


def model_arguments(name: str) -> Mapping[str, Any]:
    """Returns the model's keyword arguments that a search may set, with their defaults, in order of definition.

    Of a user's own function these are all parameters with a default, after the first two. Raises ModelError if there
    is no such model.
    """
    parameters = list(inspect.signature(_constructor(name)).parameters.values())[2:]
    return MappingProxyType({p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty})


def n_convolutions(name: str, input_shape: InputShape, n_classes: int, arguments: Mapping[str, Any]) -> int:
    """Returns the model's number of convolutions: the largest meaningful ``shift_depth``.

    The model is built on torch's meta device, without memory for its weights. Raises ModelError as ``build_model``.
    """
    with torch.device("meta"):
        return operators.n_convolutions(build_model(name, input_shape, n_classes, arguments))


def n_stages(name: str, input_shape: InputShape, n_classes: int, arguments: Mapping[str, Any]) -> int:
    """Returns the model's number of stages, runs of layers of one resolution; see ``operators.stages``.

    A blank sample runs through the model: on torch's meta device, which computes shapes only, or, where a user's own
    model cannot run on that, in earnest. Raises ModelError as ``build_model``, and where the model cannot run at all.
    """
    try:
        with torch.device("meta"):
            return _run_for_stages(name, input_shape, n_classes, arguments)
    except Exception:  # noqa: BLE001 - whatever the meta device does not know; a real fault comes again below
        pass
    try:
        with torch.random.fork_rng(devices=[]):
            return _run_for_stages(name, input_shape, n_classes, arguments)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"model {name!r} with arguments {dict(arguments)!r} cannot run on a sample of shape {input_shape}: "
            f"{type(error).__name__}: {error}"
        ) from error


def _run_for_stages(name: str, input_shape: InputShape, n_classes: int, arguments: Mapping[str, Any]) -> int:
    network = build_model(name, input_shape, n_classes, arguments)
    return len(set(operators.stages(network, input_shape).values()))


def _check_task(name: str, input_shape: InputShape, n_classes: int) -> None:
    if len(input_shape) != 3 or min(input_shape) < 1:
        raise ModelError(f"input shape must be (channels, height, width), each at least 1, not {input_shape!r}")
    if name in MODELS and min(input_shape[1:]) < MIN_SIDE:
        height, width = input_shape[1:]
        raise ModelError(f"model {name!r} needs inputs of at least {MIN_SIDE}x{MIN_SIDE}, not {height}x{width}")
    if n_classes < 2:
        raise ModelError(f"a model needs at least 2 classes, not {n_classes!r}")


def _constructor(name: str) -> Constructor:
    if name in MODELS:
        return MODELS[name]
    if ":" not in name:
        raise ModelError(f"unknown model {one_of(name, MODELS)}; your own: 'module:function'")
    module_name, _, function_name = name.partition(":")
    module = _module(name, module_name)
    function = getattr(module, function_name, None)
    if function is None:
        public = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise ModelError(f"model {name!r}: module {module_name!r} has no {one_of(function_name, public)}")
    if not callable(function):
        raise ModelError(f"model {name!r}: {function_name!r} is a {type(function).__name__}, not a function")
    return function  # type: ignore[no-any-return]


def _module(name: str, module_name: str) -> ModuleType:
    try:
        with _current_folder_importable():
            return importlib.import_module(module_name)
    except Exception as error:
        raise ModelError(
            f"model {name!r}: cannot import module {module_name!r}: {type(error).__name__}: {error}; "
            f"it must be installed, on PYTHONPATH or in {Path.cwd()}"
        ) from error


@contextmanager
def _current_folder_importable() -> Iterator[None]:
    # A console script, unlike ``python -m``, does not look for modules in the current folder.
    folder = str(Path.cwd())
    sys.path.append(folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
