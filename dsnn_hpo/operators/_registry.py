"""Operators by name: the choices that a search space has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from dsnn_hpo.errors import one_of
from dsnn_hpo.operators._adder import Adder
from dsnn_hpo.operators._config import ShiftConfig
from dsnn_hpo.operators._layer import Operator
from dsnn_hpo.operators._min_conv import MinConv
from dsnn_hpo.operators._pointwise_depthwise import PointwiseDepthwise
from dsnn_hpo.operators._schemes import ShiftType
from dsnn_hpo.operators._shift_add import ShiftAdd
from dsnn_hpo.operators._spatial_shift import ShiftConv, SpatialShift
from dsnn_hpo.operators._winograd_adder import WinogradAdder


@dataclass(frozen=True, slots=True)
class OperatorEntry:
    """An operator that has a name: what it is, where it was published, and how its settings are made.

    ``make`` takes the formats of shift weights and activations, which it may ignore, and the operator's own options.
    """

    description: str
    paper: str
    make: Callable[..., Operator | None]


def operator(name: str, shift: ShiftConfig, **options: Any) -> Operator | None:
    """Returns the operator of a name in ``OPERATORS`` with its settings, None for "conv": a float layer stays one.

    Raises ValueError for an unknown name.

    Args:
        name: a key of ``OPERATORS``.
        shift: formats of weights and activations; its ``shift_type`` is that of the name.
        options: the operator's own, see its class.
    """
    if name not in OPERATORS:
        raise ValueError(f"no operator {one_of(name, OPERATORS)}")
    return OPERATORS[name].make(shift, **options)


def _shift(shift_type: ShiftType) -> Callable[[ShiftConfig], Operator]:
    return lambda shift: replace(shift, shift_type=shift_type)


def _plain(operator_type: Callable[..., Operator], **defaults: Any) -> Callable[..., Operator]:
    """Returns a maker of an operator that no format of shift weights concerns."""
    return lambda _shift, **options: operator_type(**{**defaults, **options})


def _shift_add(shift_type: ShiftType) -> Callable[..., Operator]:
    return lambda shift, **options: ShiftAdd(replace(shift, shift_type=shift_type), Adder(**options))


_DEEP_SHIFT = "DeepShift: Elhoushi et al., CVPR Workshops 2021, arXiv 1905.13298"
_SHIFT_ADD_NET = "ShiftAddNet: You et al., NeurIPS 2020, arXiv 2010.12785"

OPERATORS: Mapping[str, OperatorEntry] = MappingProxyType(
    {
        "shift_q": OperatorEntry("weights rounded to signed powers of two", _DEEP_SHIFT, _shift("Q")),
        "shift_ps": OperatorEntry("powers of two whose shift and sign are trained", _DEEP_SHIFT, _shift("PS")),
        "dense_shift": OperatorEntry(
            "zero-free powers of two from a sign and binary factors",
            "DenseShift: Li et al., ICCV 2023, arXiv 2208.09708",
            _shift("dense"),
        ),
        "s3": OperatorEntry(
            "powers of two and zero from a sign, a gate and binary factors",
            "S3: Li et al., NeurIPS 2021, arXiv 2107.03453",
            _shift("s3"),
        ),
        "two_term": OperatorEntry(
            "sums of two signed powers of two",
            "APoT: Li et al., ICLR 2020, arXiv 1909.13144",
            _shift("two_term"),
        ),
        "fixed_shift": OperatorEntry(
            "signed powers of two that are drawn and not trained",
            _SHIFT_ADD_NET,
            _shift("fixed"),
        ),
        "adder": OperatorEntry(
            "l1 distances instead of products", "AdderNet: Chen et al., CVPR 2020, arXiv 1912.13200", _plain(Adder)
        ),
        "adder_annealed": OperatorEntry(
            "distances that go from l2 to l1 while training",
            "Universal Adder Neural Networks: Xu et al., 2021, arXiv 2105.14202",
            _plain(Adder, annealing="l2_to_l1"),
        ),
        "winograd_adder": OperatorEntry(
            "l1 distances in the Winograd domain, 16 for 2x2 outputs of a 3x3 filter",
            "Winograd Algorithm for AdderNet: Li et al., ICML 2021, arXiv 2105.05530",
            _plain(WinogradAdder, annealing="l2_to_l1"),
        ),
        "min_conv": OperatorEntry(
            "the smaller magnitude, with the sign of the product",
            "MinConvNets: Yang et al., 2021, arXiv 2101.09492",
            _plain(MinConv),
        ),
        "shift_add": OperatorEntry(
            "a layer of powers of two, then one of l1 distances", _SHIFT_ADD_NET, _shift_add("PS")
        ),
        "fixed_shift_add": OperatorEntry(
            "the same with powers of two that are not trained", _SHIFT_ADD_NET, _shift_add("fixed")
        ),
        "spatial_shift": OperatorEntry(
            "groups of channels move by a pixel, then a 1x1 convolution",
            "Shift: Wu et al., CVPR 2018, arXiv 1711.08141",
            _plain(SpatialShift),
        ),
        "shift_conv": OperatorEntry(
            "a 1x1 convolution, a spatial shift, a 1x1 convolution",
            "Shift: Wu et al., CVPR 2018, arXiv 1711.08141",
            _plain(ShiftConv),
        ),
        "pdp": OperatorEntry(
            "a 1x1, a depthwise and a 1x1 convolution",
            "Unifying Tensor View: Li et al., 2023, arXiv 2312.09922",
            _plain(PointwiseDepthwise),
        ),
        "conv": OperatorEntry("the float layer itself", "", lambda _shift: None),
    }
)
