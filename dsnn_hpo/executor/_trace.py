"""From a module to the graph of operations, by torch.fx."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from dsnn_hpo.errors import FreezeError
from dsnn_hpo.executor import _layers as layers
from dsnn_hpo.executor._calibrate import run_traced
from dsnn_hpo.executor._graph import Affine, Concat, Graph, Input, Move, Node, Operation, Shape, identity, sorted_graph
from dsnn_hpo.executor._in_place import stale_uses
from dsnn_hpo.operators import FixedPoint, SpatialShift2d

SUPPORTED = (
    "Conv2d, Linear, the layers of all operators, BatchNorm, ReLU, ReLU6, Hardtanh, max and average pooling, adaptive pooling, Dropout, "
    "Flatten, zero padding, slices, sums and concatenation"
)


@dataclass(frozen=True, slots=True)
class Traced:
    """A network traced: the module that evaluates it value by value, and its graph."""

    module: fx.GraphModule
    graph: Graph


def trace(network: nn.Module, sample: Tensor) -> Traced:
    """Returns the network as a graph; ``sample`` is a small batch of inputs, (n, c, h, w).

    Raises:
        FreezeError: the network cannot be traced, or has an operation that the executor does not know.
    """
    try:
        module = fx.GraphModule(network, _Tracer().trace(network))
    except Exception as error:
        raise FreezeError(
            f"torch.fx cannot trace the network, as freezing needs: {type(error).__name__}: {error}"
        ) from error
    return Traced(module, _Translation(module, sample).graph())


class _Proxy(fx.Proxy):
    def __iadd__(self, other: Any) -> Any:
        # Of itself torch.fx makes ``+=`` a sum that leaves its first term, and what shares its memory, as it was.
        return self.tracer.create_proxy("call_function", operator.iadd, (self, other), {})


class _Tracer(fx.Tracer):
    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m) in _MODULES or isinstance(m, FixedPoint) or super().is_leaf_module(m, module_qualified_name)


class _Translation:
    """From traced calls to operations; a call that changes nothing but the view of a value becomes no operation."""

    def __init__(self, module: fx.GraphModule, sample: Tensor) -> None:
        self._module = module
        self._n_samples = len(sample)
        self._nodes: dict[str, Node] = {}
        self._alias: dict[str, str] = {}
        self._values: dict[str, Any] = {}
        try:
            run_traced(module, sample, self._remember)
            self._stale = stale_uses(module, sample)
        except Exception as error:
            raise FreezeError(
                f"the network fails on calibration samples of shape {tuple(sample.shape[1:])} on {sample.device}: "
                f"{type(error).__name__}: {error}"
            ) from error

    def graph(self) -> Graph:
        """Returns the whole network's graph."""
        output = ""
        for call in self._module.graph.nodes:
            if call.op == "output":
                output = self._output(call)
            elif call.op == "placeholder":
                if self._nodes:
                    raise FreezeError("the network takes several inputs, expected one")
                self._add(call, Input(), (), self._image_shape(call))
            elif isinstance(self._values[call.name], Tensor) and call.op != "get_attr":
                self._translate(call)
        return sorted_graph(self._nodes.values(), output)

    def _remember(self, name: str, value: Any) -> None:
        # Of tensors only the shape matters; a value of no memory has it too.
        self._values[name] = value.to("meta") if isinstance(value, Tensor) else value

    def _output(self, call: fx.Node) -> str:
        (result,) = call.args
        if not isinstance(result, fx.Node) or not isinstance(self._values[result.name], Tensor):
            raise FreezeError("the network must return one tensor of logits")
        shape = tuple(self._values[result.name].shape)
        if len(shape) != 2:
            raise FreezeError(f"the network must return logits (n, classes), not a tensor of shape {shape}")
        return self._alias[result.name]

    def _translate(self, call: fx.Node) -> None:
        if call.op == "call_module":
            target: Any = self._module.get_submodule(str(call.target))
            handler = _MODULES.get(type(target))
            arguments: tuple[Any, ...] = (target,)
        else:
            target = call.target
            handler = (_METHODS if call.op == "call_method" else _FUNCTIONS).get(target)
            arguments = ()
        where = self._where(call)
        if handler is None:
            raise FreezeError(f"{where} cannot be frozen; supported are {SUPPORTED}")
        self._check_in_place(call)
        try:
            handler(self, call, *arguments)
        except layers.UnsupportedError as error:
            raise FreezeError(f"{where} cannot be frozen: {error}") from error

    def _where(self, call: fx.Node) -> str:
        if call.op == "call_module":
            return f"module {call.target!r} ({type(self._module.get_submodule(str(call.target))).__name__})"
        name = call.target if isinstance(call.target, str) else getattr(call.target, "__name__", str(call.target))
        return f"operation {name!r} (value {call.name!r})"

    def _check_in_place(self, call: fx.Node) -> None:
        if call in self._stale:
            value, later = self._stale[call]
            changed = call.args[0] if call.args else value
            raise FreezeError(
                f"{self._where(call)} changes the value {str(changed)!r} in place, which {later.name!r} uses "
                f"afterwards as {value.name!r}; make it not in place"
            )

    def argument(self, call: fx.Node, position: int, name: str, default: Any = None) -> Any:
        """Returns a call's argument, with the values that the traced sample gave."""
        value = call.args[position] if len(call.args) > position else call.kwargs.get(name, default)
        return fx.node.map_arg(value, lambda node: self._values[node.name])

    def source(self, call: fx.Node, position: int = 0, name: str = "input") -> Node:
        """Returns the node that a call takes."""
        value = call.args[position] if len(call.args) > position else call.kwargs.get(name)
        if not isinstance(value, fx.Node) or value.name not in self._alias:
            raise layers.UnsupportedError(f"its input must be a value of the network, not {value!r}")
        return self._nodes[self._alias[value.name]]

    def sources(self, call: fx.Node) -> list[Node]:
        """Returns the nodes in a call's first argument, a list."""
        found = [value for value in call.args[0] if isinstance(value, fx.Node)]  # type: ignore[union-attr]
        return [self._nodes[self._alias[value.name]] for value in found]

    def is_vector(self, call: fx.Node) -> bool:
        """Returns whether a call's result is a vector a sample."""
        return bool(self._values[call.name].dim() == 2)

    def same(self, call: fx.Node) -> None:
        """Makes the call's result another name of its input."""
        self._alias[call.name] = self.source(call).name

    def add(self, call: fx.Node, operation: Operation, *sources: Node, shape: Shape | None = None) -> None:
        """Makes the call an operation on the given nodes."""
        self._add(call, operation, tuple(node.name for node in sources), shape or self._shape(call, operation, sources))

    def reshape(self, call: fx.Node) -> None:
        """Makes the call another view of its input, if the order of elements is channel, row, column."""
        before, after = self.source(call), tuple(self._values[call.name].shape)
        n_features = before.shape[0] * before.shape[1] * before.shape[2]
        is_vector = after == (self._n_samples, n_features)
        is_pixel = n_features == before.shape[0] and after[:2] == (self._n_samples, n_features)
        if not (is_vector or is_pixel) and after != (self._n_samples, *before.shape):
            raise layers.UnsupportedError(f"from {before.shape} to {after[1:]} is no flattening of a sample")
        if is_vector and before.operation == Input() and before.shape != (n_features, 1, 1):
            self._add(call, Input(is_flat=True), (), (n_features, 1, 1))
        else:
            self._alias[call.name] = before.name

    def _add(self, call: fx.Node, operation: Operation, inputs: tuple[str, ...], shape: Shape) -> None:
        label = str(call.target) if call.op == "call_module" else call.name
        self._nodes[call.name] = Node(call.name, label, operation, inputs, shape)
        self._alias[call.name] = call.name

    def _shape(self, call: fx.Node, operation: Operation, sources: tuple[Node, ...]) -> Shape:
        if isinstance(operation, Affine):
            return sources[0].shape
        return self._image_shape(call)

    def _image_shape(self, call: fx.Node) -> Shape:
        shape = tuple(self._values[call.name].shape)[1:]
        if len(shape) not in (1, 3):
            raise FreezeError(f"{call.name!r} has samples of shape {shape}, expected (c, h, w) or (features,)")
        return (shape[0], shape[1], shape[2]) if len(shape) == 3 else (shape[0], 1, 1)


_Handler = Callable[..., None]


def _module_layer(t: _Translation, call: fx.Node, module: nn.Module) -> None:
    source = t.source(call)
    if isinstance(module, layers.LINEAR_LAYERS) and not t.is_vector(call):
        raise layers.UnsupportedError("its input must be a vector a sample; flatten it before")
    t.add(call, layers.weighted(module, source.shape), source)


def _spatial_shift(t: _Translation, call: fx.Node, module: SpatialShift2d) -> None:
    source = t.source(call)
    t.add(call, layers.spatial_move(module, source.shape), source)


def _module_norm(t: _Translation, call: fx.Node, module: Any) -> None:
    source = t.source(call)
    t.add(call, layers.normalisation(module, source.shape), source)


def _clamp(low: float, high: float) -> _Handler:
    def handler(t: _Translation, call: fx.Node, *_: Any) -> None:
        source = t.source(call)
        t.add(call, layers.clamp(source.shape, low, high), source)

    return handler


def _hardtanh(t: _Translation, call: fx.Node, module: nn.Hardtanh | None = None) -> None:
    low = module.min_val if module else t.argument(call, 1, "min_val", -1.0)
    high = module.max_val if module else t.argument(call, 2, "max_val", 1.0)
    _clamp(low, high)(t, call)


def _clamp_function(t: _Translation, call: fx.Node) -> None:
    low, high = t.argument(call, 1, "min"), t.argument(call, 2, "max")
    if not all(bound is None or isinstance(bound, int | float) for bound in (low, high)):
        raise layers.UnsupportedError("its bounds must be numbers, not tensors")
    _clamp(-float("inf") if low is None else float(low), float("inf") if high is None else float(high))(t, call)


def _same(t: _Translation, call: fx.Node, *_: Any) -> None:
    t.same(call)


def _dropout(t: _Translation, call: fx.Node) -> None:
    if t.argument(call, 2, "training", True):
        raise layers.UnsupportedError("it drops values while evaluating: pass training=self.training")
    t.same(call)


def _reshape(t: _Translation, call: fx.Node, *_: Any) -> None:
    t.reshape(call)


def _pool(kind: Callable[..., Operation], parameters: tuple[tuple[str, Any], ...]) -> _Handler:
    """Returns a handler of a pooling; ``parameters`` are the function's after its input, with defaults."""

    def handler(t: _Translation, call: fx.Node, module: nn.Module | None = None) -> None:
        source = t.source(call)
        if module is None:
            given = {name: t.argument(call, 1 + i, name, default) for i, (name, default) in enumerate(parameters)}
        else:
            given = {name: getattr(module, name, default) for name, default in parameters}
        t.add(call, kind(source.shape, t._image_shape(call), **given), source)

    return handler


def _mean(t: _Translation, call: fx.Node) -> None:
    source, axes = t.source(call), t.argument(call, 1, "dim")
    axes = {axis % 4 for axis in axes} if isinstance(axes, list | tuple) else {axes}
    if axes != {2, 3}:
        raise layers.UnsupportedError("only the mean over height and width, dim=(2, 3)")
    channels = source.shape[0]
    t.add(call, layers.adaptive_mean(source.shape, (channels, 1, 1)), source, shape=(channels, 1, 1))


def _add(t: _Translation, call: fx.Node) -> None:
    if t.argument(call, 2, "alpha", 1) != 1:
        raise layers.UnsupportedError("alpha must be 1")
    first, second = t.source(call), t.source(call, 1, "other")
    if first.shape != second.shape:
        raise layers.UnsupportedError(f"the terms' shapes {first.shape} and {second.shape} differ")
    t.add(call, identity(first.shape[0]), first, second)


def _cat(t: _Translation, call: fx.Node) -> None:
    parts = t.sources(call)
    if t.argument(call, 1, "dim", 0) not in (1, -3 if not t.is_vector(call) else -1):
        raise layers.UnsupportedError("only along the channels, dim=1")
    if len({part.shape[1:] for part in parts}) > 1:
        raise layers.UnsupportedError("vectors flattened from images of different sizes")
    _, height, width = parts[0].shape
    t.add(call, Concat(), *parts, shape=(sum(part.shape[0] for part in parts), height, width))


def _slice(t: _Translation, call: fx.Node) -> None:
    source = t.source(call)
    if t._image_shape(call)[1:] == (1, 1) and source.shape[1:] != (1, 1) and t.is_vector(call):
        raise layers.UnsupportedError("only slices that keep four dimensions")
    t.add(call, layers.sliced(source.shape, t.argument(call, 1, "index")), source)


def _pad(t: _Translation, call: fx.Node, module: nn.ZeroPad2d | None = None) -> None:
    source = t.source(call)
    if module is None:
        padding, mode = t.argument(call, 1, "pad"), t.argument(call, 2, "mode", "constant")
        value = t.argument(call, 3, "value", None)
    else:
        padding, mode, value = module.padding, "constant", 0.0
    if mode != "constant" or value:
        raise layers.UnsupportedError("only padding with zeros")
    move: Move = layers.padded(source.shape, tuple(padding))
    t.add(call, move, source)


_RELU, _RELU6 = _clamp(0.0, float("inf")), _clamp(0.0, 6.0)
_MAX_POOL = _pool(
    layers.max_pool,
    (
        ("kernel_size", None),
        ("stride", None),
        ("padding", 0),
        ("dilation", 1),
        ("ceil_mode", False),
        ("return_indices", False),
    ),
)
_MEAN_POOL = _pool(
    layers.mean_pool,
    (
        ("kernel_size", None),
        ("stride", None),
        ("padding", 0),
        ("ceil_mode", False),
        ("count_include_pad", True),
        ("divisor_override", None),
    ),
)
_ADAPTIVE_MEAN, _ADAPTIVE_MAX = (
    _pool(layers.adaptive_mean, ()),
    _pool(layers.adaptive_max, (("output_size", None), ("return_indices", False))),
)

_MODULES: dict[type[nn.Module], _Handler] = {
    **dict.fromkeys((*layers.LINEAR_LAYERS, *layers.CONVOLUTIONS), _module_layer),
    SpatialShift2d: _spatial_shift,
    nn.BatchNorm1d: _module_norm,
    nn.BatchNorm2d: _module_norm,
    nn.ReLU: _RELU,
    nn.ReLU6: _RELU6,
    nn.Hardtanh: _hardtanh,
    nn.Identity: _same,
    nn.Dropout: _same,
    nn.Dropout1d: _same,
    nn.Dropout2d: _same,
    nn.Flatten: _reshape,
    nn.ZeroPad2d: _pad,
    nn.MaxPool2d: _MAX_POOL,
    nn.AvgPool2d: _MEAN_POOL,
    nn.AdaptiveAvgPool2d: _ADAPTIVE_MEAN,
    nn.AdaptiveMaxPool2d: _ADAPTIVE_MAX,
}
_FUNCTIONS: dict[Any, _Handler] = {
    **dict.fromkeys((F.relu, F.relu_, torch.relu, torch.relu_), _RELU),
    F.relu6: _RELU6,
    F.hardtanh: _hardtanh,
    torch.clamp: _clamp_function,
    **dict.fromkeys((F.dropout, F.dropout2d), _dropout),
    **dict.fromkeys((torch.flatten, torch.reshape, torch.squeeze), _reshape),
    **dict.fromkeys((operator.add, operator.iadd, torch.add), _add),
    **dict.fromkeys((torch.cat, torch.concat), _cat),
    operator.getitem: _slice,
    F.pad: _pad,
    torch.mean: _mean,
    **dict.fromkeys((F.max_pool2d, torch.max_pool2d), _MAX_POOL),
    F.avg_pool2d: _MEAN_POOL,
    F.adaptive_avg_pool2d: _ADAPTIVE_MEAN,
    F.adaptive_max_pool2d: _ADAPTIVE_MAX,
}
_METHODS: dict[Any, _Handler] = {
    **dict.fromkeys(("relu", "relu_"), _RELU),
    **dict.fromkeys(("clamp", "clamp_"), _clamp_function),
    **dict.fromkeys(("add", "add_"), _add),
    **dict.fromkeys(("flatten", "view", "reshape", "squeeze"), _reshape),
    **dict.fromkeys(("contiguous", "clone"), _same),
    "mean": _mean,
}
