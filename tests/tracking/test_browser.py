"""What a user sees, in a real browser on a real server: 500 configurations, from the printed link on.

``DSNN_HPO_PICTURES`` names a folder for the pictures.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dsnn_hpo import tracking
from dsnn_hpo.deploy import save_model
from dsnn_hpo.experiment._mirror import draw_front, links_of
from dsnn_hpo.tracking import Content, Packed
from dsnn_hpo.tracking._standing import standing_of
from tests.deploy.networks import facts_of, frozen
from tests.report.synthetic import history
from tests.tracking.conftest import Store, free_port, serving

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install playwright)")

N_CHILDREN = 500
SHAPE = (1, 8, 8)
WIDTH_PX, HEIGHT_PX = 1600, 1000
PATIENCE_MS = 60_000
RED = "#c8102e"
# It opens by itself in a fresh browser and takes a quarter of the window.
NO_ASSISTANT = """try {
    localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true');
    localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false');
} catch (error) { /* a frame without storage */ }"""
# The first plotly figure of the page is the scatter, the one of the view that comes first.
SCATTER = """() => {
    const figure = [...document.querySelectorAll('.js-plotly-plot')].find(f => f.data && f.data.some(t => t.mode === 'markers'));
    if (!figure) return null;
    const trace = figure.data.find(t => t.mode === 'markers');
    return trace.x.map((x, i) => [x, trace.y[i], trace.marker.color[i]]);
}"""


@dataclass
class Shown:
    """A run on a server, open in a browser."""

    page: Any
    base_url: str
    run: Any
    status: Any

    @property
    def links(self):
        return links_of(self.base_url, self.status)

    def picture(self, name: str) -> None:
        if folder := os.environ.get("DSNN_HPO_PICTURES"):
            self.page.screenshot(path=str(Path(folder, f"mlflow_{name}.png")))

    def visit(self, address: str) -> None:
        # From another page: a change of what follows the # alone does not load anew.
        self.page.goto("about:blank")
        self.page.goto(address)


@pytest.fixture(scope="module")
def chromium():
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("Debian's package chromium is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def shown(chromium, empty_database, tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    shutil.copy(empty_database, folder / "mlflow.db")
    store = Store(f"sqlite:///{folder}/mlflow.db", folder / "artifacts")
    executor = frozen("mlp", "shift", SHAPE)
    save_model(executor, facts_of(executor), folder / "model")
    run = history(N_CHILDREN)
    packed = Packed(folder / "model", SHAPE, "digits", "d" * 64)
    status = store.sync(run, Content(draw_front, packed=lambda _: packed))
    port = free_port()
    with serving(store, port):
        page = chromium.new_page(viewport={"width": WIDTH_PX, "height": HEIGHT_PX})
        page.set_default_timeout(PATIENCE_MS)
        page.add_init_script(NO_ASSISTANT)
        yield Shown(page, f"http://127.0.0.1:{port}", run, status)


@pytest.mark.timeout(400)
def test_the_printed_link_opens_on_the_charts_with_the_right_front(shown):
    shown.visit(shown.links.charts)
    shown.page.wait_for_function(f"() => ({SCATTER})() !== null")
    shown.page.get_by_text("Parallel Coordinates").first.wait_for()
    members = {(m.values["inference_energy_j"], m.values["error"]) for m in shown.run.front()}
    shown.page.wait_for_function(
        f"() => ({SCATTER})().filter(p => p[2] === '{RED}').length === {len(members)}", timeout=PATIENCE_MS
    )
    points = shown.page.evaluate(SCATTER)
    red = sorted((x, y) for x, y, colour in points if colour == RED)
    assert red == sorted(members)
    assert len(points) > len(red), "others are beside it"
    shown.page.wait_for_timeout(1500)
    shown.picture("charts")


@pytest.mark.timeout(200)
def test_the_runs_are_found_by_rank_and_knee(shown):
    standing = standing_of(shown.run)
    client = tracking_client(shown)
    for filter_, n in (
        ("tags.pareto = 'true'", len(standing.front)),
        ("tags.pareto_rank = '1'", len(standing.front)),
        ("tags.pareto_rank = '2'", list(standing.ranks.values()).count("2")),
        ("tags.knee = 'true'", 1),
    ):
        assert len(client.search_runs([shown.status.experiment_id], filter_)) == n, filter_


def tracking_client(shown):
    from dsnn_hpo.tracking.mlflow import MlflowClient

    return MlflowClient(shown.base_url)


@pytest.mark.timeout(400)
def test_the_page_has_table_and_picture_and_leads_to_a_child(shown):
    shown.visit(shown.links.page)
    shown.page.get_by_text("on the front").first.wait_for()
    shown.page.wait_for_timeout(500)
    shown.picture("page")
    shown.page.get_by_text("Show more").first.click()
    picture = shown.page.locator("img[src*='pareto_front.png']")
    picture.wait_for()
    shown.page.wait_for_function(
        "() => (image => image.complete && image.naturalWidth > 500)(document.querySelector(\"img[src*='pareto_front.png']\"))"
    )
    shown.picture("landing_page")
    member = shown.run.front()[0]
    with shown.page.expect_popup() as opened:
        shown.page.get_by_role("link", name=str(member.trial.id), exact=True).first.click()
    child = opened.value
    child.get_by_text(re.compile(rf"trial .*\b{member.trial.id}\b")).first.wait_for()
    child.get_by_text("learning_rate").first.wait_for()
    child.close()


def most_alone(run):
    """The member of the front that is farthest from all other points."""
    results = [r for r in run.results if r.values and r.trial.fidelity == run.front_fidelity]
    points = np.array([list(r.values.values()) for r in results])
    points /= np.ptp(points, axis=0)

    def distance(member):
        own = next(i for i, r in enumerate(results) if r.trial.id == member.trial.id)
        return sorted(np.abs(points - points[own]).sum(axis=1))[1]

    return max(run.front(), key=distance)


@pytest.mark.timeout(400)
def test_the_interactive_figure_is_drawn_and_answers_the_pointer(shown):
    link = tracking.run_link(
        shown.base_url, shown.status.experiment_id, shown.status.run_id, artifact="pareto_front.html"
    )
    shown.visit(link)
    frame = shown.page.frame_locator("iframe")
    frame.locator(".js-plotly-plot .scatterlayer .point").first.wait_for()
    member = most_alone(shown.run)
    place = """(figure, wanted) => {
        figure = figure.closest('.js-plotly-plot');
        for (const [n, trace] of figure.data.entries())
            for (const [i, y] of Array.from(trace.y || []).entries())
                if (trace.mode && trace.mode.includes('markers') && Math.abs(y - wanted) < 1e-9) {
                    const axes = figure._fullLayout;
                    return [axes.xaxis._offset + axes.xaxis.d2p(trace.x[i]), axes.yaxis._offset + axes.yaxis.d2p(y)];
                }
        return null;
    }"""
    plot = frame.locator(".js-plotly-plot")
    x, y = plot.evaluate(place, member.values["error"])
    box = plot.bounding_box()
    shown.page.mouse.move(box["x"] + x + 3, box["y"] + y + 3)
    shown.page.mouse.move(box["x"] + x, box["y"] + y)
    hover = frame.locator(".hoverlayer .hovertext")
    hover.first.wait_for()
    assert f"trial {member.trial.id}" in hover.first.text_content()
    shown.picture("interactive")


@pytest.mark.timeout(400)
def test_the_models_of_the_front_are_listed(shown):
    shown.visit(f"{shown.base_url}/#/experiments/{shown.status.experiment_id}/models?workflowType=machine_learning")
    for member in shown.run.front():
        shown.page.get_by_text(f"trial-{member.trial.id}", exact=True).first.wait_for()
    shown.picture("models")
    shown.page.get_by_text(f"trial-{shown.run.front()[0].trial.id}", exact=True).first.click()
    shown.page.get_by_text("Ready").first.wait_for()
    shown.page.wait_for_timeout(1500)
    shown.picture("model")
