"""A plan as a table."""

from __future__ import annotations

from dsnn_hpo.kernels.packed_weight import PackedWeight
from dsnn_hpo.kernels.plan import Convolve, Plan, ShiftChannels, Step
from dsnn_hpo.kernels.plan_weight import AdderWeight, Weight, WinogradWeight

_HEADER = ("step", "kind", "output", "bits", "weight bytes", "terms")


def described(plan: Plan) -> str:
    """Returns a line a step, and the sums; terms are products, or distances or minima, of an input and a weight."""
    rows = [_HEADER, *(_row(plan, step) for step in plan.steps)]
    n_macs = sum(plan.n_macs(step) for step in plan.steps)
    rows.append(("total", "", "", "", f"{plan.n_weight_bytes:,}", f"{n_macs:,}"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    lines = []
    for row in rows:
        left = [cell.ljust(width) for cell, width in zip(row[:3], widths[:3], strict=True)]
        right = [cell.rjust(width) for cell, width in zip(row[3:], widths[3:], strict=True)]
        lines.append("  ".join([*left, *right]).rstrip())
    return "\n".join(lines)


def _row(plan: Plan, step: Step) -> tuple[str, ...]:
    target = getattr(step, "target", None)
    if target is None:
        shape = f"{plan.n_outputs} float32"
    else:
        activation = plan.activations[target.activation]
        shape = f"{target.n_channels}x{activation.height}x{activation.width}"
    if not isinstance(step, Convolve):
        kind = "channel shift" if isinstance(step, ShiftChannels) else type(step).__name__.lower()
        return (step.name, kind, shape, "", "", "")
    kind = _kind(step.weight)
    extra = " + residual" if step.residual else ""
    bytes_, macs = f"{step.weight.n_bytes:,}", f"{plan.n_macs(step):,}"
    return (step.name, f"{kind}{extra}", shape, str(step.weight.bits), bytes_, macs)


def _kind(weight: Weight) -> str:
    if isinstance(weight, AdderWeight):
        return "adder" if weight.operation == "distance" else "minimum"
    if isinstance(weight, WinogradWeight):
        return "winograd adder"
    return "shift" if isinstance(weight, PackedWeight) else "int8"
