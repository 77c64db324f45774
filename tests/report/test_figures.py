import io
import json
import re

import pytest
from PIL import Image

from dsnn_hpo.report import front_html, front_png, save_report
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
    assert sum(" over " in label for label in _buttons(layout)) == n_pairs
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
    ]
    assert files.json.read_text() != before
    assert json.loads(files.json.read_text())["members"]
