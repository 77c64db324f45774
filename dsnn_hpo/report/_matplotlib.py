"""What the drawn figures share: looks, scales, and turning them into files."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from dsnn_hpo.report._columns import spans_decades
from dsnn_hpo.report._points import FAINT, GRID, INK
from dsnn_hpo.report._words import readable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Draw = Callable[["Figure"], None]
Format = Literal["png", "svg"]

QUIET = "#667085"
_MOST_DECADES_WITH_2_AND_5 = 3


@dataclass(frozen=True, slots=True)
class Canvas:
    """A figure's size in inches, and the share of its height that is kept free above."""

    width: float
    height: float
    room_above: float = 0.0


def picture(draw: Draw, canvas: Canvas, file_format: Format = "png", width_px: int = 1760) -> bytes:
    """Returns a picture; the same drawing gives the same bytes.

    Args:
        draw: draws it.
        canvas: its size.
        file_format: of an SVG, letters are outlines, so that it needs no font.
        width_px: of a PNG.
    """
    # Imported here, so that a table of the front does not wait for matplotlib. No pyplot: it keeps global state.
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    dpi = width_px / canvas.width
    looks: dict[Any, Any] = {
        "font.family": ["DejaVu Sans"],
        "font.size": 10,
        "text.color": INK,
        "axes.labelcolor": INK,
        # A dollar sign in a name would start mathematics.
        "text.parse_math": False,
        "svg.fonttype": "path",
        "svg.hashsalt": "dsnn-hpo",
    }
    with rc_context(looks):
        layout = ConstrainedLayoutEngine(rect=(0.008, 0.01, 0.984, 0.99 - canvas.room_above), wspace=0.05)
        figure = Figure(figsize=(canvas.width, canvas.height), dpi=dpi, facecolor="white", layout=layout)
        backend = FigureCanvasAgg(figure) if file_format == "png" else FigureCanvasSVG(figure)
        draw(figure)
        buffer = io.BytesIO()
        metadata = {"Date": None} if file_format == "svg" else None
        backend.print_figure(buffer, format=file_format, dpi=dpi, metadata=metadata)
    return buffer.getvalue()


def say(axes: Axes, text: str) -> None:
    """Writes a sentence where there is nothing to draw."""
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, fontsize=12)
    axes.set_axis_off()


def scale(axes: Axes, name: Literal["x", "y"], values: Sequence[float]) -> None:
    """Makes an axis logarithmic, with plain numbers on it, if its values span more than a decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if not spans_decades(values):
        return
    axes.set(**{f"{name}scale": "log"})
    axis = axes.xaxis if name == "x" else axes.yaxis
    narrow = max(values) < min(values) * 10**_MOST_DECADES_WITH_2_AND_5
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if narrow else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: readable(float(value))))
    axis.set_minor_formatter(NullFormatter())


def dress(axes: Axes, x_label: str, y_label: str) -> None:
    """Makes axes look like the others."""
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(color=GRID, linewidth=0.9)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", color=FAINT, labelcolor=INK)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(FAINT)
