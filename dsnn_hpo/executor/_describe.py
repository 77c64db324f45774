"""A plan as a table."""

from __future__ import annotations

from dsnn_hpo.kernels.packed_weight import PackedWeight
from dsnn_hpo.kernels.plan import Convolve, Plan, Step

_HEADER = ("step", "kind", "output", "bits", "weight bytes", "MACs")


def described(plan: Plan) -> str:
    """Returns a line a step, and the sums."""
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
        return (step.name, type(step).__name__.lower(), shape, "", "", "")
    kind = "shift" if isinstance(step.weight, PackedWeight) else "int8"
    extra = " + residual" if step.residual else ""
    bytes_, macs = f"{step.weight.n_bytes:,}", f"{plan.n_macs(step):,}"
    return (step.name, f"{kind}{extra}", shape, str(step.weight.bits), bytes_, macs)
