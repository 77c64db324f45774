"""The page that explains a run: its text, what it does with hostile text, and a real browser that opens it."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dsnn_hpo.errors import InputError
from dsnn_hpo.journal import History, Mark, Measured, Told
from dsnn_hpo.report import front_json, report_html, save_page
from dsnn_hpo.trial import FailureCause, Provenance, Trial
from tests.report.synthetic import failed, header, history, measured_again, prefix

THREE = ("error", "inference_energy_j", "model_size_bytes")
HOSTILE = "</script><script>window.harmed = 1</script><img src=x onerror='window.harmed = 1'>"


def data_of(page: str, name: str) -> Any:
    """What a script element of the page holds."""
    return json.loads(re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page, re.S)[1])


def hostile() -> History:
    """A run of whose texts each would harm a careless page."""
    run = history(45, name=HOSTILE)
    events = []
    for event in run.events:
        if isinstance(event, Told):
            result = event.result
            trial = replace(result.trial, config={**result.trial.config, HOSTILE: HOSTILE, "a<b": "&lt;"})
            result = replace(result, trial=trial)
            if result.error:
                result = replace(result, error=HOSTILE, cause=FailureCause.DIVERGED, log_tail=HOSTILE + "\ud800")
            else:
                how = Provenance(HOSTILE, "measured", "process", HOSTILE, 0.01, remarks=(HOSTILE,))
                result = replace(result, provenance={"error": how}, test_values={HOSTILE: 0.5})
            event = replace(event, result=result)
        events.append(event)
    events[-1] = Mark("failed", events[-1].time, HOSTILE)
    texts = {"experiment_text": HOSTILE, "data_digest": HOSTILE, "versions": {HOSTILE: HOSTILE}}
    return History(replace(run.header, experiment={"task": {"dataset": HOSTILE, "model": HOSTILE}}, **texts), events)


def test_the_page_tells_what_was_searched_found_and_spent():
    run = measured_again(history(72))
    page = report_html(run)
    members = run.front()
    assert "networks without multiplications for digits with a low error and a low inference energy" in page
    assert f"{len(members)} of them are on the Pareto front" in page
    assert f"({1 - members[0].values['error']:.1%} are right)" in page
    for member in members:
        assert f'<section id="trial-{member.trial.id}">' in page
        assert f'<a href="#trial-{member.trial.id}">' in page
    assert "Begun 2025-06-15 15:06 UTC; finished." in page
    assert page.count('<tr class="knee">') == 1
    assert "measured (cpu: known; whole machine; a bench)" in page
    assert "name: digits\n" in page
    assert "dsnn-hpo run experiment.yaml" in page
    assert f"{sum(1 for r in run.results if r.error)} × exception" in page
    assert "DivergedError: the loss became NaN in epoch 1" in page
    assert "nothing can be said" not in page.replace("Nothing can be said", "")


def test_the_page_holds_the_front_and_each_hover_text_once():
    run = history(72)
    page = report_html(run)
    assert data_of(page, "front-json") == json.loads(json.dumps(front_json(run)))
    assert [figure["name"] for figure in data_of(page, "figures")] == [
        "front",
        "hypervolume",
        "importance",
        "trade_off",
        "parallel_coordinates",
        "rungs",
    ]
    shown = {r.trial.id for r in run.results if r.values}
    assert {int(id_) for id_ in data_of(page, "hovers")} <= shown
    assert page.count("learning_rate = ") == len(data_of(page, "hovers"))
    assert page.count("plotly.js v") == 1


@pytest.mark.parametrize("objectives", [THREE[:1], THREE[:2], THREE])
@pytest.mark.parametrize("n_events", [0, 2, 3, 30])
def test_a_run_that_goes_on_has_a_page(objectives, n_events):
    page = report_html(prefix(history(45, objectives), n_events))
    assert ("this page tells what was known at" in page) == (n_events >= 3)
    assert ('id="members"' in page) == (n_events >= 3)


def test_a_run_of_failures_has_a_page():
    events = [Mark("started", 0.0), *(Told(failed(Trial(i, {"lr": 0.1 * i}, 1, 0)), float(i)) for i in range(12))]
    page = report_html(History(header(), events))
    assert "12 × exception" in page
    assert "There is no front yet" in page
    assert data_of(page, "figures") == []


def test_a_mixed_front_is_the_first_thing_said():
    run = measured_again(history(72))
    other = {"inference_energy_j": Provenance("gpu: nvml", "measured", "device", "a card", 0.1)}
    again = Measured(run.front()[0].trial, dict(run.front()[0].values), other, 1.0, run.events[-1].time + 1)
    page = report_html(run.extended(again))
    assert page.index('<p class="warning">MIXED: inference_energy_j') < page.index('id="front"')


def test_hostile_texts_stay_texts():
    page = report_html(hostile())
    assert "<script>window" not in page
    assert "<img" not in page
    assert page.count("</script>") == 5
    hovers = data_of(page, "hovers")
    assert all("<img" not in text and "&lt;img" in text for text in hovers.values())


def test_the_policy_lets_only_its_own_scripts_run_and_loads_nothing():
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', report_html(history(9)))[1]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "http" not in policy
    assert "unsafe" not in policy.partition("style-src")[0]


def test_files_of_the_page_and_its_figures(tmp_path):
    files = save_page(history(45), tmp_path / "new" / "mine.html", tmp_path / "figures")
    assert files.page.read_text().startswith("<!DOCTYPE html>")
    assert sorted(path.name for path in files.figures) == sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert len(files.figures) == 12
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["mine.html"]
    early = save_page(prefix(history(45), 3), tmp_path / "early.html", tmp_path / "early")
    assert [path.name for path in early.figures] == ["front.png", "front.svg"]
    with pytest.raises(InputError, match="is a folder; name the file"):
        save_page(history(9), tmp_path, tmp_path / "figures")


@pytest.fixture(scope="module")
def browser():
    """Returns a real browser without a window; closed soon, since two of them do not get along in one process."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("Debian's package chromium is not installed")
    playwright = pytest.importorskip("playwright.sync_api", reason="the Python package playwright is not installed")
    with playwright.sync_playwright() as driver:
        # Tests run as root in containers, where Chromium's own sandbox cannot start.
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


class Opened:
    """A page in a browser, and what it complained of or asked the network for."""

    def __init__(self, browser, file: Path, width: int = 1200) -> None:
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page = browser.new_page(viewport={"width": width, "height": 900})
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(file.as_uri())
        self.page.wait_for_selector("body[data-drawn]", state="attached", timeout=60_000)


def _middle(point: Any) -> tuple[float, float]:
    box = point.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


@pytest.mark.parametrize("objectives", [THREE[:2], THREE])
def test_a_browser_draws_all_figures_without_a_network_and_hovering_shows_a_configuration(
    browser, tmp_path, objectives
):
    file = tmp_path / "report.html"
    run = measured_again(history(72, objectives))
    file.write_text(report_html(run), encoding="utf-8")
    opened = Opened(browser, file)
    page = opened.page
    assert page.locator(".figure").count() == int(page.get_attribute("body", "data-drawn")) == 6
    for place in page.locator(".figure").all():
        assert place.locator(".trace path").count() > 0
    for name in ("front", "parallel_coordinates", "rungs"):
        place = page.locator(f"#figure-{name}")
        place.scroll_into_view_if_needed()
        point = page.locator(f"#figure-{name} .scatterlayer .trace:last-child .points path").first
        page.mouse.move(*_middle(point))
        text = page.locator(f"#figure-{name} .hoverlayer .hovertext").first.text_content()
        assert re.search(r"trial \d+", text), name
        assert "learning_rate = " in text
    # The last one hovered over lies elsewhere by now.
    page.locator("#figure-front").scroll_into_view_if_needed()
    point = page.locator("#figure-front .scatterlayer .trace:last-child .points path").first
    page.mouse.move(*_middle(point))
    page.mouse.click(*_middle(point))
    page.wait_for_function("location.hash.startsWith('#trial-')")
    with page.expect_download() as download:
        page.click("#save-json")
    assert json.loads(Path(download.value.path()).read_text())["objectives"] == list(objectives)
    assert opened.complaints == []
    assert [url for url in opened.requests if not url.startswith(("file:", "blob:", "data:"))] == []
    page.close()


def test_a_browser_shows_hostile_texts_as_texts(browser, tmp_path):
    save_page(hostile(), tmp_path / "report.html", tmp_path / "figures")
    opened = Opened(browser, tmp_path / "report.html")
    assert opened.page.title().startswith("</script><script>window.harmed")
    assert opened.page.evaluate("window.harmed") is None
    assert opened.page.locator("img").count() == 0
    assert opened.complaints == []
    opened.page.close()


def test_on_a_phone_only_figures_and_tables_scroll_sideways(browser, tmp_path):
    file = tmp_path / "report.html"
    file.write_text(report_html(history(72, THREE)), encoding="utf-8")
    opened = Opened(browser, file, width=390)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 390
    opened.page.close()


def test_a_thousand_configurations_open_in_time_and_take_little_room(browser, tmp_path):
    file = tmp_path / "report.html"
    file.write_text(report_html(history(1000, THREE)), encoding="utf-8")
    # Plotly alone has 4.8 MB.
    assert file.stat().st_size < 7_000_000
    opened = Opened(browser, file)
    seconds = opened.page.evaluate("performance.now()") / 1000
    # Three seconds where nothing else runs; a machine with other work to do takes longer.
    assert seconds < 15
    opened.page.close()
