"""Importance as figures: bars for each objective, and curves over the weight of the objectives."""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING

from dsnn_hpo.report._importance import Effect, Importance
from dsnn_hpo.report._matplotlib import dress
from dsnn_hpo.report._plotly import new_figure
from dsnn_hpo.report._points import GREY, SERIES
from dsnn_hpo.report._words import label

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing
    from plotly.graph_objects import Figure

_N_ROWS = 10
_N_CURVES = 6
_LEAST_SHARE = 0.01
_PALE, _FULL = 0.3, 1.0
_SHARE = "share of the variance"


def importance_figure(found: Importance) -> Figure:
    """Returns bars: the share of each objective's variance by hyperparameter and pair, with the spread over the trees."""
    figure = new_figure()
    titles = [html.escape(title) for title in _rows(found)]
    for colour, (name, shares) in zip(SERIES, _bars(found).items(), strict=False):
        figure.add_bar(
            orientation="h",
            name=html.escape(_legend(found, name)),
            y=titles,
            x=[e.share for e in shares],
            error_x={"type": "data", "array": [e.spread for e in shares], "color": GREY, "thickness": 1, "width": 3},
            marker={"color": colour, "opacity": _FULL if found.fits[name].says_something else _PALE},
            hovertemplate="%{y}: <b>%{x:.1%}</b> ± %{error_x.array:.1%}<extra></extra>",
        )
    figure.update_layout(barmode="group", bargap=0.25, legend={"y": 0, "yanchor": "bottom"}, margin={"t": 20, "l": 10})
    figure.update_xaxes(title=_SHARE, tickformat=".0%", range=[0, _limit(found)])
    figure.update_yaxes(autorange="reversed", automargin=True, ticks="", ticksuffix="  ")
    return figure


def draw_importance(drawing: Drawing, found: Importance) -> None:
    """Draws the same bars."""
    axes = drawing.subplots()
    titles, n = _rows(found), len(found.objectives)
    for i, (name, shares) in enumerate(_bars(found).items()):
        places = [row + (i - (n - 1) / 2) * 0.75 / n for row in range(len(titles))]
        alpha = _FULL if found.fits[name].says_something else _PALE
        spreads = [e.spread for e in shares]
        widths = [e.share for e in shares]
        axes.barh(places, widths, 0.7 / n, color=SERIES[i % len(SERIES)], alpha=alpha, label=_legend(found, name))
        axes.errorbar(widths, places, xerr=spreads, fmt="none", ecolor=GREY, elinewidth=1, capsize=2)
    dress(axes, _SHARE, "")
    axes.set_yticks(range(len(titles)), titles)
    axes.invert_yaxis()
    axes.set_xlim(0, _limit(found))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.legend(frameon=False, loc="lower right")


def trade_off_figure(found: Importance) -> Figure | None:
    """Returns curves: each hyperparameter's share of the weighted sum's variance; None where nothing can be said."""
    curves = _curves(found)
    if not curves:
        return None
    figure = new_figure()
    for colour, (name, shares) in zip(SERIES, curves.items(), strict=False):
        figure.add_scatter(
            name=html.escape(name),
            x=found.weights,
            y=shares,
            mode="lines",
            line={"color": colour, "width": 2},
            hovertemplate=f"{html.escape(name)}: <b>%{{y:.1%}}</b> at a weight of %{{x:.2f}}<extra></extra>",
        )
    figure.update_layout(margin={"t": 20}, legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02})
    figure.update_layout(legend={"yanchor": "bottom"})
    figure.update_xaxes(title=_weight(found), range=[0, 1])
    figure.update_yaxes(title=_SHARE, tickformat=".0%", rangemode="tozero")
    return figure


def draw_trade_off(drawing: Drawing, found: Importance) -> None:
    """Draws the same curves."""
    axes = drawing.subplots()
    for colour, (name, shares) in zip(SERIES, _curves(found).items(), strict=False):
        heights = [math.nan if share is None else share for share in shares]
        axes.plot(found.weights, heights, color=colour, linewidth=1.8, label=name)
    dress(axes, _weight(found), _SHARE)
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.legend(frameon=False, loc="best")


def _rows(found: Importance) -> list[str]:
    """Returns the effects that are shown, the strongest first, those that the forest is sure of before others."""
    strength: dict[str, tuple[bool, float]] = {}
    for name, effects in found.effects.items():
        sure = found.fits[name].says_something
        for effect in effects:
            strength[effect.title] = max(strength.get(effect.title, (False, 0.0)), (sure, effect.share))
    ordered = sorted(strength, key=lambda title: (not strength[title][0], -strength[title][1]))
    kept = [title for title in ordered if strength[title][1] >= _LEAST_SHARE] or ordered
    return kept[:_N_ROWS]


def _bars(found: Importance) -> dict[str, list[Effect]]:
    none = Effect((), 0.0, 0.0)
    known = {name: {e.title: e for e in effects} for name, effects in found.effects.items()}
    return {name: [effects.get(title, none) for title in _rows(found)] for name, effects in known.items()}


def _curves(found: Importance) -> dict[str, list[float | None]]:
    """Returns the strongest hyperparameters' shares at each weight, None where nothing can be said."""
    curves = {
        n: [None if math.isnan(x) else x for x in shares] for n, shares in list(found.trade_off.items())[:_N_CURVES]
    }
    return {n: shares for n, shares in curves.items() if max((x or 0.0 for x in shares), default=0.0) >= _LEAST_SHARE}


def _legend(found: Importance, name: str) -> str:
    objective = next(o for o in found.objectives if o.name == name)
    words = label(objective).partition(" (")[0]
    return words if found.fits[name].says_something else f"{words} (not to be relied on)"


def _weight(found: Importance) -> str:
    first, *others = (label(o).partition(" (")[0] for o in found.objectives)
    return f"weight of the {first} against {' and '.join(f'the {other}' for other in others)}"


def _limit(found: Importance) -> float:
    return min(1.0, 1.1 * max((e.share + e.spread for bars in _bars(found).values() for e in bars), default=1.0))
