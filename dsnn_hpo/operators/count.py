"""Counting what a network computes and moves for one sample, exactly: operations, their widths, bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from dsnn_hpo.errors import DsnnHpoError, InputError
from dsnn_hpo.operators import _work_of_functions as functions
from dsnn_hpo.operators import _work_of_layers as layers
from dsnn_hpo.operators._blank_pass import run_blank_sample
from dsnn_hpo.operators._shift import ShiftLayer
from dsnn_hpo.operators._size import FLOAT_BITS, n_bytes, stored_bits
from dsnn_hpo.operators._work import (
    OPERATIONS,
    Convolution,
    Numbers,
    Operation,
    OperationCount,
    integers,
    merged,
    numbers_of,
)

_MAX_BITS = 32
_FLOAT32 = Numbers("float", FLOAT_BITS, FLOAT_BITS)


@dataclass(frozen=True, slots=True)
class LayerCounts:
    """What one call of a layer, or of a function between layers, takes for one sample; see ``count_operations``.

    Attributes:
        name: the qualified name of the layer, or of the module that calls the function; empty for the network itself.
        operator: "conv", "linear", "shift_q", "batch_norm", "relu", "add", ...
        output_shape: without the batch dimension.
        operations: one entry for each operation, width and kind of number that occurs.
        n_zero_terms: how many terms, counted in ``operations``, have a weight of zero: what a machine that skips zeros
            saves, a shift, a sign flip and an addition each. 0 for operators other than shifts.
        weight_bytes: what the layer's parameters take, packed; 0 where an earlier call has read them.
        read_bytes: the layer's input activations.
        written_bytes: its output activations.
        convolution: the loops of its sums; None where it has none, and for a convolution along three dimensions.
    """

    name: str
    operator: str
    output_shape: tuple[int, ...]
    operations: tuple[OperationCount, ...]
    n_zero_terms: int
    weight_bytes: int
    read_bytes: int
    written_bytes: int
    convolution: Convolution | None = None

    def n(self, operation: Operation) -> int:
        """Returns how many times an operation takes place, on numbers of any width and kind."""
        return sum(count.n for count in self.operations if count.operation == operation)


@dataclass(frozen=True, slots=True)
class NetworkCounts:
    """What a network takes for one sample: its layers' counts, in order of execution, and their sums."""

    input_shape: tuple[int, ...]
    layers: tuple[LayerCounts, ...]

    @property
    def operations(self) -> tuple[OperationCount, ...]:
        """Returns the sums over all layers, one entry for each operation, width and kind of number."""
        return merged(count for layer in self.layers for count in layer.operations)

    @property
    def n_zero_terms(self) -> int:
        """Returns the terms with a weight of zero, over all layers."""
        return sum(layer.n_zero_terms for layer in self.layers)

    @property
    def weight_bytes(self) -> int:
        """Returns the bytes of all parameters, each read once."""
        return sum(layer.weight_bytes for layer in self.layers)

    @property
    def read_bytes(self) -> int:
        """Returns the bytes of activations that all layers read."""
        return sum(layer.read_bytes for layer in self.layers)

    @property
    def written_bytes(self) -> int:
        """Returns the bytes of activations that all layers write."""
        return sum(layer.written_bytes for layer in self.layers)

    def n(self, operation: Operation) -> int:
        """Returns how many times an operation takes place, on numbers of any width and kind."""
        return sum(layer.n(operation) for layer in self.layers)

    def __str__(self) -> str:
        """Returns ``counts_table`` of the counts."""
        return counts_table(self)


def count_operations(
    network: nn.Module, input_shape: Sequence[int], *, activation_bits: int | None = None
) -> NetworkCounts:
    """Returns what the network computes and moves for one sample of ``input_shape`` (without batch) in inference.

    The network runs once on zeros, in evaluation mode; modes, random state and values stay as they are. The counts
    are of its arithmetic on dense hardware: nothing depends on the sample, no zero and no pixel of padding is skipped,
    and no layer is fused with another. Accumulation is included: an accumulator starts at the bias, or at zero, and each
    term is added to it, so that a sum of n terms takes n additions with a bias and without. A subtraction is an addition.

    ===================  ===========================================================================================
    operator             takes
    ===================  ===========================================================================================
    conv, linear         a multiplication and an addition a term
    shift_q, shift_ps,   a shift, a sign flip and an addition a term; terms of weight zero too, which
    dense_shift, s3,     ``n_zero_terms`` tells, and those of weight one; rounding to fixed point counts nothing
    fixed_shift
    two_term             the same for each of a weight's two powers of two
    adder                two additions and an absolute value a term: the difference and the sum; an annealed layer
                         as what it becomes, with exponent 1
    winograd_adder       the same for 16 terms a tile of 2x2 outputs and pair of channels, those at the edges whole;
                         32 additions a tile and input channel, 24 a tile and output channel for the transforms, one
                         an output for the bias
    min_conv             a comparison, a sign flip and an addition a term; a shift (the scale) and an absolute value
                         an input, once
    spatial_shift        no arithmetic, only bytes
    batch_norm           a multiplication and an addition an element, as in the executor, which does them where it
                         rounds the sums of the layer before
    relu, clamp          a comparison an element and bound
    add, subtract        an addition an element
    max_pool             a comparison less than the elements of each window
    mean, mean_pool      an addition an element of each window and a multiplication a window
    concatenate, pad     no arithmetic, only bytes
    ===================  ===========================================================================================

    Layers made of others (the shift-add pair, the spatial shift with its 1x1 convolution, the conv-shift-conv block,
    pointwise-depthwise-pointwise) are a row for each of theirs.

    Views, new tensors and copies into another layout count nothing. Published figures (ShiftAddNAS, ``hw_utils.py``)
    charge no accumulation: they are had from the multiplications of conv, the shifts of shift and the absolute values
    of adder layers alone, a term each.

    Widths: a float layer computes in its input's dtype. A shift layer shifts integers of its activations' bits, at most
    32, and sums in 32 bits. With ``activation_bits`` the network is counted as if frozen: everything is an integer of
    so many bits, sums have 32 bits, and float32 remain the multiplications and additions of batch normalisation and of
    means, as in the executor. Integers that a Winograd adder has transformed are 2 bits wider.

    Bytes: each call reads its inputs and writes its output, in its own width; parameters are read once, by the first
    call, packed as ``packed_size_bytes`` says, with ``activation_bits`` float weights in so many bits too.

    Raises:
        InputError: the network holds a module with parameters or a function that no rule is known for, named in the
            message; it fails on the sample; or the shape or number of bits is none.
    """
    shape = _checked_shape(input_shape)
    _check(network, activation_bits)
    recorder = _Recorder(activation_bits)
    try:
        with _watched(network, recorder), _FunctionMode(recorder):
            run_blank_sample(network, shape)
    except DsnnHpoError:
        raise
    except Exception as error:
        raise InputError(
            f"the network fails on a sample of shape {shape}, so it cannot be counted: {type(error).__name__}: {error}"
        ) from error
    return NetworkCounts(shape, tuple(recorder.rows))


def counts_table(counts: NetworkCounts) -> str:
    """Returns the counts as a table in Markdown: a row a call, and their sums."""
    header = (
        "layer",
        "operator",
        "output",
        *(_plural(name) for name in OPERATIONS),
        "weight bytes",
        "activation bytes",
    )
    rows = [
        (layer.name, layer.operator, "x".join(map(str, layer.output_shape)), *_numbers(layer))
        for layer in counts.layers
    ]
    lines = [header, ("---", "---", "---", *["---:"] * (len(header) - 3)), *rows, ("total", "", "", *_numbers(counts))]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _numbers(counts: LayerCounts | NetworkCounts) -> tuple[str, ...]:
    moved = counts.read_bytes + counts.written_bytes
    return tuple(f"{n:,}" for n in (*map(counts.n, OPERATIONS), counts.weight_bytes, moved))


def _plural(operation: Operation) -> str:
    return operation.replace("_", " ") + "s"


class _Recorder:
    """Keeps the rows, and which module is being called."""

    def __init__(self, activation_bits: int | None) -> None:
        self.rows: list[LayerCounts] = []
        self._integers = None if activation_bits is None else integers(activation_bits)
        self._callers: list[str] = []
        self._layer: nn.Module | None = None
        self._weights_read: set[Tensor] = set()

    @property
    def is_between_layers(self) -> bool:
        """Returns whether the network is running, and none of the layers that are counted as a whole."""
        return bool(self._callers) and self._layer is None

    def enter(self, name: str, module: nn.Module) -> None:
        """Takes note that a module is called."""
        self._callers.append(name)
        if self._layer is not None:
            return
        if layers.rule_of(module) is not None:
            self._layer = module
        elif parameters := [name for name, _ in module.named_parameters(recurse=False)]:
            raise InputError(
                f"cannot count module {name!r} ({type(module).__name__}), which holds {', '.join(parameters)}: "
                f"layers that can be counted are {layers.layer_names()}, and modules made of them"
            )

    def leave(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        """Takes note that a module returns, and writes its row if it is counted as a whole."""
        name = self._callers.pop()
        if self._layer is not module:
            return
        x = cast("Tensor", inputs[0])
        numbers = self._numbers_of(module, x)
        rule = cast("Callable[[layers.LayerCall], layers.LayerWork]", layers.rule_of(module))
        work = rule(layers.LayerCall(module, x, output, numbers, self._scaling(x)))
        self._write(name, work, self._weight_bytes(module), (x,), output, numbers)
        self._layer = None

    def function(self, overload: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """Takes note of a function that was called; inside a layer it is part of that."""
        aten_name = overload._schema.name.removeprefix("aten::")
        if not self.is_between_layers or functions.is_free(aten_name):
            return
        output = result[0] if isinstance(result, tuple | list) else result
        function = functions.function_of(aten_name)
        if function is None or not isinstance(output, Tensor):
            caller = f"module {self._callers[-1]!r}" if self._callers[-1] else "the network"
            raise InputError(
                f"cannot count the function {aten_name!r} that {caller} calls: functions that can be counted are "
                f"{functions.SUPPORTED}"
            )
        arguments = {a.name: a.default_value for a in overload._schema.arguments if a.has_default_value()}
        arguments |= dict(zip((a.name for a in overload._schema.arguments), args, strict=False)) | kwargs
        numbers = self._integers or numbers_of(output)
        call = functions.FunctionCall(arguments, output, numbers, self._scaling(output))
        work = layers.LayerWork(function.name, function.rule(call))
        self._write(self._callers[-1], work, 0, tuple(_tensors(arguments.values())), output, numbers)

    def _write(
        self,
        name: str,
        work: layers.LayerWork,
        weight_bytes: int,
        inputs: tuple[Tensor, ...],
        output: Tensor,
        numbers: Numbers,
    ) -> None:
        self.rows.append(
            LayerCounts(
                name,
                work.operator,
                tuple(output.shape[1:]),
                merged(work.operations),
                work.n_zero_terms,
                weight_bytes,
                sum(numbers.n_bytes(x.numel()) for x in inputs),
                numbers.n_bytes(output.numel()),
                work.convolution,
            )
        )

    def _numbers_of(self, module: nn.Module, x: Tensor) -> Numbers:
        if self._integers is not None:
            return self._integers
        return integers(module.config.bias_bits) if isinstance(module, ShiftLayer) else numbers_of(x)

    def _scaling(self, x: Tensor) -> Numbers:
        return _FLOAT32 if self._integers is not None else numbers_of(x)

    def _weight_bytes(self, module: nn.Module) -> int:
        new = {tensor: bits for tensor, bits in stored_bits(module).items() if tensor not in self._weights_read}
        self._weights_read |= new.keys()
        if self._integers is not None and not isinstance(module, ShiftLayer | nn.modules.batchnorm._BatchNorm):
            new |= {tensor: self._integers.bits for tensor in new if tensor is module.weight}
        return sum(n_bytes(tensor, bits) for tensor, bits in new.items())


class _FunctionMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Shows the recorder each ATen operation that is executed."""

    def __init__(self, recorder: _Recorder) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._recorder = recorder

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self._recorder.is_between_layers:
            # In inference mode functions made of others arrive whole, not as what they are made of.
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        self._recorder.function(func, args, kwargs, result)
        return result


@contextmanager
def _watched(network: nn.Module, recorder: _Recorder) -> Iterator[None]:
    """Shows the recorder each call of a module in the network."""
    handles = []
    for name, module in network.named_modules():
        handles.append(module.register_forward_pre_hook(_entering(name, recorder)))
        handles.append(module.register_forward_hook(recorder.leave))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _entering(name: str, recorder: _Recorder) -> Callable[[nn.Module, Any], None]:
    return lambda module, _inputs: recorder.enter(name, module)


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _checked_shape(input_shape: Sequence[int]) -> tuple[int, ...]:
    shape = tuple(input_shape) if isinstance(input_shape, Iterable) else ()
    if not shape or not all(isinstance(n, int) and n > 0 for n in shape):
        raise InputError(f"input_shape must be one sample's shape, for example (3, 32, 32), not {input_shape!r}")
    return shape


def _check(network: nn.Module, activation_bits: int | None) -> None:
    if activation_bits is not None and not (isinstance(activation_bits, int) and 1 <= activation_bits <= _MAX_BITS):
        raise InputError(
            f"activation_bits must be None or a whole number from 1 to {_MAX_BITS}, not {activation_bits!r}"
        )
    on_meta = [name for name, tensor in network.state_dict().items() if tensor.is_meta]
    if on_meta:
        raise InputError(f"{on_meta[0]!r} is on the meta device: zeros among weights are counted, so it needs values")
