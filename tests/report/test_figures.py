import io
import json
import re

import pytest
from PIL import Image

from dsnn_hpo.journal import Asked, History, Told
from dsnn_hpo.report import front_html, front_png, report_figures, save_report
from dsnn_hpo.trial import Trial
from tests.report.synthetic import history, prefix

OBJECTIVES = {
    1: ("error",),
    2: ("error", "inference_energy_j"),
    3: ("error", "inference_energy_j", "model_size_bytes"),
    4: ("error", "inference_energy_j", "model_size_bytes", "latency_ms"),
}


def _figure(page: str) -> tuple[list[dict], dict]:
    """The traces and the layout that the page hands to plotly."""
    call = page[page.rindex("Plotly.newPlot(") :]
    decoder = json.JSONDecoder()
    data, end = decoder.raw_decode(call, call.index("["))
    layout, _ = decoder.raw_decode(call, call.index("{", end))
    return data, layout


def _buttons(layout: dict) -> list[str]:
    return [button["label"] for menu in layout["updatemenus"] for button in menu["buttons"]]


def test_page_needs_no_network():
    page = front_html(history())
    assert not re.search(r'<(script|link|img)[^>]+(src|href)="', page)
    assert "plotly.js v" in page


def test_front_is_a_red_staircase_over_grey_results():
    run = history(45)
    traces, layout = _figure(front_html(run))
    lower, others, front = traces
    assert lower["visible"] == "legendonly"
    assert len(lower["text"]) > 0
    assert front["line"]["shape"] == "hv"
    assert front["line"]["color"] == front["marker"]["color"] != others["marker"]["color"]
    members = sorted(run.front(), key=lambda m: m.values["inference_energy_j"])
    assert len(front["text"]) == len(members)
    full = {r.trial.key for r in run.results if r.values and r.trial.fidelity == 9}
    assert len(others["text"]) + len(members) == len(full)
    assert layout["xaxis"]["title"]["text"] == "inference energy (J/1000 samples)"
    assert layout["yaxis"]["title"]["text"] == "validation error"


def test_hover_tells_the_whole_configuration_and_all_figures():
    run = history(45)
    traces, _ = _figure(front_html(run))
    member = min(run.front(), key=lambda m: m.values["inference_energy_j"])
    text = traces[2]["text"][0]
    assert f"trial {member.trial.id}<" in text
    assert all(f"<br>{name} = " in text for name in member.trial.config)
    assert "J/1000 samples" in text
    assert f"(test {member.test_values['error']:.3g})" in text


def test_buttons_switch_scales_and_split():
    _, layout = _figure(front_html(history(45)))
    assert _buttons(layout) == ["x linear", "x log", "y linear", "y log", "validation", "test"]
    split = layout["updatemenus"][2]["buttons"]
    assert split[1]["args"][0]["y"] != split[0]["args"][0]["y"]
    assert split[1]["args"][1]["yaxis.title.text"] == "test error"
    assert split[1]["args"][0]["x"] == split[0]["args"][0]["x"], "energy was measured once"


@pytest.mark.parametrize(("n_objectives", "n_pairs"), [(3, 3), (4, 6)])
def test_more_objectives_have_a_menu_of_pairs_and_a_colour(n_objectives, n_pairs):
    traces, layout = _figure(front_html(history(45, OBJECTIVES[n_objectives])))
    pairs = [label for label in _buttons(layout) if " over " in label]
    assert sum("(test)" not in label for label in pairs) == n_pairs
    # Of the objectives, only the error was tested.
    assert sum("(test)" in label for label in pairs) == n_objectives - 1
    assert "model size (B)" in traces[2]["marker"]["colorbar"]["title"]["text"]


def test_one_objective_is_drawn_over_the_trials():
    run = history(45, OBJECTIVES[1])
    traces, layout = _figure(front_html(run))
    assert layout["xaxis"]["title"]["text"] == "trial"
    assert traces[1]["name"] == "best so far"
    assert f"trial {run.front()[0].trial.id}<" in traces[1]["text"][-1]


@pytest.mark.parametrize(("n_events", "text"), [(1, "No trial has ended yet"), (2, "No trial has ended yet")])
def test_an_empty_front_says_so(n_events, text):
    _, layout = _figure(front_html(prefix(history(), n_events)))
    assert layout["annotations"][0]["text"] == text


def test_a_hostile_name_stays_text():
    page = front_html(history(name="</script><script>alert(1)</script>$x$"))
    assert "<script>alert(1)" not in page
    assert front_png(history(name="</script>$x$ $\\frac$"))[:4] == b"\x89PNG"


@pytest.mark.parametrize("n_objectives", [1, 2, 3, 4])
@pytest.mark.parametrize("n_events", [0, 3, None])
def test_picture(n_objectives, n_events):
    run = history(27, OBJECTIVES[n_objectives])
    picture = Image.open(io.BytesIO(front_png(run if n_events is None else prefix(run, n_events))))
    assert picture.size == (1760, 800)
    assert Image.open(io.BytesIO(front_png(run, width_px=990))).size == (990, 450)
    reds = sum(n for n, colour in picture.convert("RGB").getcolors(2**24) if colour == (200, 16, 46))
    assert (reds > 50) == (n_events is None or (n_events == 3 and n_objectives <= 2))


def test_files_are_written_whole_and_replaced(tmp_path):
    folder = tmp_path / "report"
    files = save_report(prefix(history(), 10), folder)
    before = files.json.read_text()
    assert save_report(history(), folder) == files
    assert sorted(p.name for p in folder.iterdir()) == [
        "front.json",
        "front.md",
        "pareto_front.html",
        "pareto_front.png",
        "report.html",
    ]
    assert files.json.read_text() != before
    assert json.loads(files.json.read_text())["members"]


NAMES = ["front", "hypervolume", "importance", "trade_off", "parallel_coordinates", "rungs"]


@pytest.mark.parametrize("n_objectives", [1, 2, 3])
@pytest.mark.parametrize("n_events", [0, 3, 40, None])
def test_figures_are_drawn_or_say_why_not(n_objectives, n_events):
    run = history(45, OBJECTIVES[n_objectives])
    figures = report_figures(run if n_events is None else prefix(run, n_events))
    assert [f.name for f in figures] == [n for n in NAMES if n != "trade_off" or n_objectives > 1]
    for figure in figures:
        assert figure.reading.endswith(".")
        assert (figure.draw is None) == (figure.interactive is None)
        if figure.draw is None:
            assert n_events is not None
            with pytest.raises(ValueError, match="nothing to draw"):
                figure.file("png")
        else:
            assert figure.interactive().data
    assert sum(f.draw is not None for f in figures) == {0: 0, 3: 1}.get(n_events, len(figures))


@pytest.mark.parametrize("n_objectives", [1, 3])
def test_figures_are_files_that_need_nothing_else(n_objectives):
    for figure in report_figures(history(45, OBJECTIVES[n_objectives])):
        assert Image.open(io.BytesIO(figure.file("png"))).size[0] == 1760
        drawing = figure.file("svg")
        assert b"<svg" in drawing[:1000]
        assert b"<text" not in drawing
        assert not re.search(rb'href="(?!#|data:)', drawing)
        assert drawing == figure.file("svg"), "the same run gives the same file"


def test_parallel_coordinates_lead_each_line_across_all_axes():
    run = history(72)
    (figure,) = [f for f in report_figures(run) if f.name == "parallel_coordinates"]
    others, front = figure.interactive().data
    n_axes = front.x.index(None)
    members = [m.trial.id for m in run.front()]
    assert front.x[: n_axes + 1] == (*range(n_axes), None)
    assert list(dict.fromkeys(i for i in front.customdata if i is not None)) == members
    assert front.line.color == "#c8102e" != others.line.color
    assert all(y is None or -0.2 < y <= 1 for y in (*front.y, *others.y))
    # sgd alone has momentum: the others' lines pass below its axis.
    texts = [a.text for a in figure.interactive().layout.annotations]
    assert {"none", "sgd", "adam", "stochastic"} <= set(texts)


def test_rungs_join_the_ranks_of_those_that_went_on():
    run = history(45)
    (figure,) = [f for f in report_figures(run) if f.name == "rungs"]
    assert len(figure.says) == 2
    assert figure.says[0].startswith("Rank correlation of the error, 1 to 3 epochs: ")
    _, front = figure.interactive().data
    assert front.line.color == "#c8102e"
    buttons = figure.interactive().layout.updatemenus[0].buttons
    assert [b.label for b in buttons] == ["error", "inference energy"]
    one = report_figures(history(9, seed=1))[-1]
    assert one.draw is not None


def trial_of(event: Asked | Told) -> Trial:
    return event.trial if isinstance(event, Asked) else event.result.trial


def test_runs_of_one_fidelity_have_no_rungs():
    run = history(45)
    events = [e for e in run.events if not isinstance(e, Asked | Told) or trial_of(e).fidelity == 9]
    (figure,) = [f for f in report_figures(History(run.header, events)) if f.name == "rungs"]
    assert figure.draw is None
    assert figure.reading == "All trials were trained equally long. There are no ranks to compare."


def test_axes_that_span_decades_begin_logarithmic():
    _, layout = _figure(front_html(history(45)))
    # Energies span a factor of 20, errors one of 10.
    assert layout["xaxis"]["type"] == "log"
    assert "type" not in layout["yaxis"]
    assert [menu["active"] for menu in layout["updatemenus"][:2]] == [1, 0]
